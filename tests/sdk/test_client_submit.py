import concurrent.futures
import random
import threading

import pytest

import talkoot
from talkoot.core.errors import HubUnreachable


def add(a, b=0, *, c=0):
    return a + b + c


def total(parts, scale=1):
    return scale * sum(parts["numbers"])


def sample(n):
    return [random.random() for _ in range(n)]


def fail(x):
    raise KeyError(x)


def test_a_future_has_the_value_and_what_is_known_about_it(hub):
    future = hub.submit(add, 1, b=2, c=3)
    assert future.result(10) == 6
    assert future.done()
    assert future.exception() is None
    assert future.confidence > 0.99
    assert future.cost == 0
    assert future.answer().value == 6
    assert future.story()
    assert len(future.receipts) == 1
    assert "done" in repr(future)


def test_futures_are_arguments_of_further_calls(hub):
    one = hub.submit(add, 1)
    two = hub.submit(add, one, b=one)
    of_another_job = hub.submit(total, {"numbers": [one, two, 4]}, scale=two)
    assert of_another_job.result(10) == 2 * (1 + 2 + 4)
    assert two.result() == 2
    assert [a.value for a in hub.map(add, [one, two, 5])] == [1, 2, 5]


def test_a_chain_of_calls_of_two_jobs_in_turn(hub):
    future = hub.submit(add, 1)
    for _ in range(10):
        future = hub.submit(total, {"numbers": [future, 1]})
        future = hub.submit(add, future)
    assert future.result(20) == 11


def test_what_takes_the_answer_of_a_failed_call_fails_with_its_error(hub):
    failed = hub.submit(fail, "salt")
    after = hub.submit(add, failed)
    with pytest.raises(KeyError, match="salt"):
        failed.result(10)
    with pytest.raises(talkoot.TaskFailed) as caught:
        after.result(10)
    assert not isinstance(caught.value, talkoot.TaskRaised)
    assert caught.value.__cause__ is failed.exception()


def test_repeated_samples_differ_and_are_the_same_in_the_next_run_whatever_the_order(world):
    world.node()
    with world.connect() as hub:
        futures = [hub.submit(sample, n) for n in (1, 2, 1, 3)]
        dependent = hub.submit(total, {"numbers": futures[1]})
        first = [f.result(10) for f in futures]
        total_of_first = dependent.result(10)
    assert first[0] != first[2]
    with world.connect() as hub:
        again = {n: [hub.submit(sample, n) for _ in range(copies)] for n, copies in ((3, 1), (1, 2), (2, 1))}
        assert [f.result(10) for f in again[1]] == [first[0], first[2]]
        assert again[2][0].result(10) == first[1]
        assert hub.submit(total, {"numbers": again[2][0]}).result(10) == total_of_first
        assert again[3][0].answer().remembered


def test_pure_submits_share_one_answer(world):
    node = world.node()
    with world.connect() as hub:
        pure = hub.options(pure=True, verify=talkoot.trust())
        assert len({tuple(pure.submit(sample, 2).result(10)) for _ in range(5)}) == 1
    assert node.runs == 1


def test_submits_that_gather_travel_together(world):
    with world.connect() as hub:
        requests = record_requests(hub)
        futures = [hub.submit(add, n) for n in range(200)]
        world.node()
        assert [f.result(10) for f in futures] == list(range(200))
    sent = [path for path in requests if path in ("/v1/jobs/submit", "/v1/jobs/add")]
    assert sent[0] == "/v1/jobs/submit"
    assert len(sent) < 60
    assert world.job_states() == ["done"]


def record_requests(hub):
    call, requests = hub._connection._client.call, []

    def recording(path, body, reply, **options):
        requests.append(path)
        return call(path, body, reply, **options)

    hub._connection._client.call = recording
    return requests


def test_a_cancelled_future_is_cancelled_on_the_hub_and_so_is_what_takes_it(world):
    with world.connect() as hub:
        future = hub.submit(add, 1)
        dependent = hub.submit(add, future)
        other = hub.submit(add, 5)
        assert future.cancel()
        assert future.cancelled()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result()
        with pytest.raises(talkoot.TaskFailed):
            dependent.result(10)
        world.node()
        assert other.result(10) == 5
        assert not other.cancel()
        (job,) = hub.jobs()
        assert (job.final, job.failed + job.cancelled) in {(1, 2), (1, 0)}


def test_futures_work_with_the_standard_library(hub):
    futures = [hub.submit(add, n) for n in range(5)]
    done, pending = concurrent.futures.wait(futures, timeout=10)
    assert (len(done), len(pending)) == (5, 0)
    assert sorted(f.result() for f in concurrent.futures.as_completed(futures)) == list(range(5))
    called = threading.Event()
    hub.submit(add, 9).add_done_callback(lambda f: called.set())
    assert called.wait(10)


def test_leaving_the_block_waits_for_what_was_submitted(world):
    with world.connect() as hub:
        futures = [hub.submit(add, n) for n in range(3)]
        answers = hub.map(add, range(3))
        world.node()
    assert [f.result(0) for f in futures] == [0, 1, 2]
    assert [a.value for a in answers] == [0, 1, 2]
    assert world.job_states() == ["done", "done"]
    with pytest.raises(talkoot.BadInput, match="closed"):
        hub.submit(add, 1)


def test_an_exception_in_the_block_cancels_the_futures(world):
    with pytest.raises(ZeroDivisionError), world.connect() as hub:
        future = hub.submit(add, 1)
        while not world.job_states():
            pass
        raise ZeroDivisionError
    assert isinstance(future.exception(0), talkoot.JobCancelled)
    assert world.job_states() == ["cancelled"]


def test_what_the_hub_refuses_comes_with_the_future(world):
    with world.connect(project="nowhere") as hub:
        future = hub.submit(add, 1)
        assert isinstance(future.exception(10), talkoot.NotAllowed)
        with pytest.raises(talkoot.NotAllowed):
            future.answer()
        assert isinstance(hub.submit(add, future).exception(10), talkoot.TaskFailed | talkoot.NotAllowed)


def test_a_future_of_another_connection_is_refused(world, hub):
    with world.connect() as other, pytest.raises(talkoot.BadInput, match="another connection"):
        hub.submit(add, other.submit(add, 1))


def test_a_hub_that_is_away_is_waited_for_and_said_so(world, monkeypatch):
    monkeypatch.setattr("talkoot.sdk.connection.PATIENCE_S", 0.0)
    world.node()
    with world.connect() as hub:
        said = []
        hub._connection.display.say = said.append
        call, failures = hub._connection._client.call, iter([1, 1])

        def flaky(path, body, reply, **options):
            if next(failures, None):
                raise HubUnreachable("away")
            return call(path, body, reply, **options)

        hub._connection._client.call = flaky
        assert hub.submit(add, 1).result(10) == 1
    assert said == ["hub not reachable, waiting", "hub reachable again"]


def test_ctrl_c_ends_the_block_though_the_hub_is_away(world):
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), world.connect() as hub:
        hub.submit(add, 0)
        world.server.stop()
        future = hub.submit(add, 1)
        raise KeyboardInterrupt
    assert isinstance(future.exception(0), talkoot.TalkootError)
    assert threading.active_count() <= before
