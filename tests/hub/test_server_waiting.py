"""Long polls: nobody waits for what is there, nobody is woken for nothing, nobody is forgotten."""

import http.client
import time

import pytest

from talkoot.core import codec, limits
from talkoot.core.errors import Busy
from talkoot.core.types import Trust
from talkoot.hub.tx import Settings
from talkoot.wire import messages as m

SOON_S = 5.0
"""Far below the 15 s for which a poll is kept: who is answered within it was woken."""


def test_a_submission_wakes_a_parked_node_in_its_own_commit(hub, aside, parked):
    device = hub.device()
    device.exchange()
    with aside(device.take, wait_s=20) as waiting:
        parked(1)
        began = time.monotonic()
        job = hub.operator.submit([3])
        ((job_id, _, value),) = waiting.result()
        assert time.monotonic() - began < SOON_S
    assert (job_id, value) == (job, 9)
    submitted, leased = hub.rows("SELECT jobs.entry, granted FROM attempts JOIN jobs ON jobs.no = job")[0]
    assert leased == submitted + 1  # the next entry of the log, with nothing between


def test_an_answer_wakes_its_submitter(hub, aside, parked):
    job = hub.operator.submit([3], verifier=Trust())
    device = hub.device()
    done = device.take()
    with aside(hub.operator.answers, job, wait_s=20) as waiting:
        parked(1)
        device.exchange(done)
        reply = waiting.result()
    assert [(x.index, codec.decode(x.answer)) for x in reply.answers] == [(0, 9)]


def test_a_cancel_reaches_a_parked_node_at_once(hub, aside, parked):
    job = hub.operator.submit([1, 2])
    device = hub.device()
    done = device.take()
    with aside(device.exchange, want=2, wait_s=20) as waiting:
        parked(1)
        hub.operator.call("/v1/jobs/cancel", m.Cancel(job))
        assert sorted(waiting.result().cancels) == sorted(item.attempt for _, item, _ in done)


def test_a_cancel_wakes_who_waits_for_answers(hub, aside, parked):
    job = hub.operator.submit([1])
    with aside(hub.operator.answers, job, wait_s=20) as waiting:
        parked(1)
        hub.operator.call("/v1/jobs/cancel", m.Cancel(job))
        reply = waiting.result()
    assert reply.progress.state == "cancelled"
    assert [(x.state, x.outcome) for x in reply.answers] == [("cancelled", None)]


def test_a_poll_that_nothing_wakes_ends_with_where_the_job_is(hub):
    job = hub.operator.submit([1])
    reply = hub.operator.answers(job, wait_s=0.05)
    assert (reply.answers, reply.progress.queued) == ((), 1)
    assert hub.device().exchange(want=0, wait_s=0.05).leases == ()


@pytest.mark.parametrize("wait_s", [float("nan"), -1.0, 0.0])
def test_a_wait_that_is_no_time_is_none(hub, wait_s):
    job = hub.operator.submit([1])
    assert hub.operator.answers(job, wait_s=wait_s).answers == ()
    assert hub.device().exchange(want=0, wait_s=wait_s).leases == ()


def test_a_newer_exchange_on_the_channel_answers_the_older_one(hub, aside, parked):
    device = hub.device()
    device.exchange()
    with aside(device.take, wait_s=20) as old:
        parked(1)
        with aside(device.exchange, want=1, wait_s=20, channel=1) as other:
            parked(2)
            with aside(device.take, wait_s=20) as new:
                assert old.result() == []
                hub.operator.submit([1, 2, 3, 4, 5])
                other.result()
                new.result()
    assert hub.rows("SELECT count(DISTINCT id), count(*) FROM attempts") == [(5, 5)]


def test_leases_for_a_node_that_went_away_are_sent_again(hub, aside, parked):
    device = hub.device()
    device.exchange()
    connection = http.client.HTTPConnection(*hub.address.removeprefix("http://").split(":"))
    with aside(device.exchange, want=4, wait_s=20) as waiting:
        parked(1)
        device.client.close()
        with pytest.raises(Exception, match="closed"):
            waiting.result()
    parked(0)
    connection.close()
    from talkoot.wire.client import Client

    device.client = Client(hub.address, hub.key, device.key)
    hub.clients.append(device.client)
    hub.operator.submit([1, 2])
    assert len(device.take()) == 2


def test_a_hub_that_stops_answers_all_who_wait_at_once(hub, aside, parked):
    job = hub.operator.submit([1], verifier=Trust())
    device = hub.device()
    done = device.take()
    with aside(hub.operator.answers, job, wait_s=20) as submitter, aside(device.exchange, want=0, wait_s=20) as node:
        parked(2)
        began = time.monotonic()
        hub._running.stop()
        assert submitter.result().answers == ()
        assert node.result().leases == ()
        assert time.monotonic() - began < SOON_S
    assert done


def test_a_node_is_never_kept_longer_than_it_may_be_silent(serve_hub, tmp_path):
    hub = serve_hub(tmp_path / "short", settings=Settings(silence_s=0.4))
    device = hub.device()
    for _ in range(3):
        assert device.exchange(want=1, wait_s=20).leases == ()
    assert hub.rows("SELECT state FROM nodes") == [("present",)]


def test_a_silent_node_loses_its_lease_to_another(serve_hub, tmp_path):
    hub = serve_hub(tmp_path / "short", settings=Settings(silence_s=0.3))
    hub.operator.submit([1], verifier=Trust())
    lost, other = hub.device("lost"), hub.device("other")
    assert len(lost.take()) == 1
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not other.take(wait_s=0.1):
        pass
    assert dict(hub.rows("SELECT name, state FROM nodes"))["lost"] == "silent"
    assert [state for (state,) in hub.rows("SELECT state FROM attempts ORDER BY id")] == ["lost", "leased"]


def test_too_many_who_wait_are_told_so(hub, aside, parked, monkeypatch):
    job = hub.operator.submit([1])
    monkeypatch.setattr(limits, "MAX_PARKED_REQUESTS", 1)
    with aside(hub.operator.answers, job, wait_s=20):
        parked(1)
        with pytest.raises(Busy):
            hub.operator.answers(job, wait_s=1)
        device = hub.device()
        with pytest.raises(Busy):
            device.exchange(want=1, wait_s=1)
        hub.operator.call("/v1/jobs/cancel", m.Cancel(job))


def test_a_full_write_queue_is_busy_and_nothing_is_half_done(hub, monkeypatch):
    monkeypatch.setattr(limits, "MAX_WRITE_QUEUE", 0)
    with pytest.raises(Busy):
        hub.device()
    monkeypatch.undo()
    hub.device()
    assert hub.rows("SELECT count(*) FROM nodes") == [(1,)]
