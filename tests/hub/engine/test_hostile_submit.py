"""What a hostile, unlucky or careless submitter can ask for, and who must not pay for it."""

import time

import msgspec
import pytest

from talkoot.core import codec, ids
from talkoot.core.errors import TalkootError
from talkoot.core.types import Quorum, TaskLimits, Trust
from talkoot.crypto.keys import SigningKey
from talkoot.hub.commands import jobs
from talkoot.testing import InProcessHub, ScriptedNode, drain
from talkoot.testing.checks import assert_laws
from talkoot.testing.network import Submitter
from talkoot.wire import messages as m


def states(hub, job):
    return {state for state, _ in hub.operator.answers(job).values()}


def refs(job, *indices):
    return tuple(m.TaskRef(job, i) for i in indices)


def test_limits_that_are_no_numbers_are_refused(hub):
    for time_s in (float("nan"), float("inf"), 0.0, -1.0):
        with pytest.raises(TalkootError):
            hub.operator.submit([1], task_limits=TaskLimits(time_s=time_s))
    with pytest.raises(TalkootError):
        hub.operator.submit([1], task_limits=TaskLimits(scratch_files=-1))


def test_a_manifest_of_megabytes_is_refused(hub):
    with pytest.raises(TalkootError):
        hub.operator.submit([1], python="3.11" * 1_000_000)


def test_one_task_may_take_the_same_answer_twice(hub):
    nodes = [ScriptedNode(hub, name, behaviour=lambda v, i: 7) for name in "ab"]
    first = hub.operator.submit([2])
    second = hub.operator.submit([3], inputs=[refs(first, 0, 0)], program=b"other")
    drain(nodes)
    assert states(hub, second) == {"final"}


def test_a_task_sent_again_with_other_inputs_is_a_conflict(hub):
    first = hub.operator.submit([2, 3])
    second = hub.operator.submit([4], inputs=[refs(first, 0)], sealed=False)

    def send(*indices):
        item = m.Item(0, codec.encode(((4,), {})), 0, refs(first, *indices))
        request = m.Add(second, (item,), False)
        key = hub.operator.key
        return hub.ask(key, "/v1/jobs/add", request, lambda tx: jobs.add(tx, key.public, request))

    send(0)
    with pytest.raises(TalkootError, match="other content"):
        send(1)


def test_an_index_twice_in_one_request_is_a_clear_error(hub):
    job = hub.operator.submit([], sealed=False)
    items = (m.Item(0, codec.encode(((1,), {})), 0), m.Item(0, codec.encode(((2,), {})), 0))
    request, key = m.Add(job, items, False), hub.operator.key
    with pytest.raises(TalkootError, match="twice"):
        hub.ask(key, "/v1/jobs/add", request, lambda tx: jobs.add(tx, key.public, request))


LONG = 2_500


def chain(hub, length=LONG):
    job = hub.random.randbytes(16)
    inputs = [()] + [refs(job, i - 1) for i in range(1, length)]
    return hub.operator.submit([1] * length, inputs=inputs, job=job)


def test_a_long_chain_can_be_cancelled(hub):
    job = chain(hub)
    hub.operator.cancel(job)
    assert states(hub, job) == {"cancelled", "failed"} or states(hub, job) == {"cancelled"}


def test_a_long_chain_whose_first_task_fails_fails_as_a_whole(hub):
    def dies(value, item):
        from talkoot.testing.nodes import Killed

        raise Killed("memory: too much")

    job = chain(hub)
    drain([ScriptedNode(hub, name, behaviour=dies) for name in "ab"])
    assert states(hub, job) == {"failed"}


def test_many_equal_tasks_can_be_cancelled_in_no_time(hub):
    began = time.monotonic()
    job = hub.operator.submit([1] * 3_000, pure=True)
    hub.operator.cancel(job)
    assert states(hub, job) == {"cancelled"}
    assert time.monotonic() - began < 5
    job = hub.operator.submit([1] * 3_000, pure=True)
    request, key = m.Cancel(job, tuple(range(2_999))), hub.operator.key
    began = time.monotonic()
    hub.ask(key, "/v1/jobs/cancel", request, lambda tx: jobs.cancel(tx, key.public, request))
    assert time.monotonic() - began < 5
    assert hub.rows("SELECT cancelled, queued FROM jobs WHERE id = ?", job) == [(2_999, 1)]


def test_many_equal_tasks_are_answered_by_the_first(hub):
    job = hub.operator.submit([1] * 2_000, pure=True)
    drain([ScriptedNode(hub, name) for name in "ab"])
    assert hub.operator.answers(job) == dict.fromkeys(range(2_000), ("final", 1))
    assert hub.rows("SELECT count(*) FROM attempts") == [(2,)]


def test_equal_tasks_fail_one_after_the_other_without_looking_at_all_the_others_each_time(hub):
    def dies(value, item):
        from talkoot.testing.nodes import Killed

        raise Killed("memory: too much")

    job = hub.operator.submit([1] * 300, pure=True)
    before = hub.rows("SELECT sum(length(payload)) FROM log")[0][0]
    drain([ScriptedNode(hub, name, behaviour=dies, slots=64) for name in "ab"], rounds=700)
    assert states(hub, job) == {"failed"}
    assert hub.rows("SELECT sum(length(payload)) FROM log")[0][0] - before < 300 * 10_000


def test_too_many_indices_in_a_cancel_are_refused(hub):
    job = hub.operator.submit([1])
    request, key = m.Cancel(job, (0,) * 100_000), hub.operator.key
    with pytest.raises(TalkootError):
        hub.ask(key, "/v1/jobs/cancel", request, lambda tx: jobs.cancel(tx, key.public, request))


def colleague(hub):
    key = SigningKey.generate(hub.random.randbytes(32))
    hub.admit(key, "colleague", role="researcher")
    return Submitter(hub, key)


def test_the_own_device_of_one_submitter_does_not_speak_to_another(hub):
    """What a colleague's own device says is enough for the colleague, and for nobody else."""
    other = colleague(hub)
    false = ScriptedNode(hub, "false", owner=other.key, behaviour=lambda v, i: -1)
    other.submit(range(3))
    drain([false])
    job = hub.operator.submit(range(3))
    drain([ScriptedNode(hub, name) for name in "ab"])
    assert hub.operator.answers(job) == {i: ("final", i * i) for i in range(3)}


def test_a_colleagues_job_that_nobody_can_do_does_not_hold_up_mine(hub):
    other = colleague(hub)
    other.submit(range(3), task_limits=TaskLimits(memory_bytes=2**50, time_s=10))
    job = hub.operator.submit(range(3))
    drain([ScriptedNode(hub, name) for name in "ab"])
    assert states(hub, job) == {"final"}


def test_my_own_job_with_impossible_limits_does_not_hold_up_the_next_try(hub):
    hub.operator.submit(range(3), task_limits=TaskLimits(memory_bytes=2**50, time_s=10))
    job = hub.operator.submit(range(3))
    drain([ScriptedNode(hub, name) for name in "ab"])
    assert states(hub, job) == {"final"}


def test_a_submitters_own_device_cannot_bring_the_pay_of_others_down(hub):
    stranger = ScriptedNode(hub, "stranger", core_ms=1_000)
    own = ScriptedNode(hub, "own", owner=hub.operator.key, core_ms=0)
    hub.operator.submit([5])
    stranger.work(1)
    own.work(1)
    assert hub.rows("SELECT amount FROM transfers WHERE reason = 'pay'") == [(1_000,)]


def test_who_answered_a_disputed_task_is_paid_when_its_submitter_cancels_it(hub):
    stranger = ScriptedNode(hub, "stranger", core_ms=1_000)
    own = ScriptedNode(hub, "own", owner=hub.operator.key, behaviour=lambda v, i: -1)
    other = ScriptedNode(hub, "other")
    other.talk()
    job = hub.operator.submit([5])
    stranger.work(1)
    own.work(1)
    assert states(hub, job) == {"disputed"}
    hub.operator.cancel(job)
    assert hub.rows("SELECT amount FROM transfers WHERE reason = 'pay'") == [(1_000,)]


def test_a_late_answer_that_decides_is_paid(hub):
    late, other = ScriptedNode(hub, "late", core_ms=1_000), ScriptedNode(hub, "other", core_ms=1_000)
    job = hub.operator.submit([5])
    late.talk(1)
    hub.clock.advance(31)
    other.talk()
    hub.engine.tick()
    late.do_all()
    late.talk()
    drain([other])
    assert states(hub, job) == {"final"}
    assert hub.rows("SELECT earned FROM tallies") == [(1_000,), (1_000,)]


def test_a_late_answer_never_takes_what_is_set_aside_for_others(hub):
    late, other = ScriptedNode(hub, "late", core_ms=10_000), ScriptedNode(hub, "other", core_ms=10_000)
    job = hub.operator.submit([5], budget_microcredits=2 * 10_000)
    late.talk(1)
    hub.clock.advance(31)
    other.talk()
    hub.engine.tick()
    late.do_all()
    late.talk()
    drain([other])
    assert states(hub, job) == {"final"}
    assert hub.rows("SELECT sum(amount) <= 20000 FROM transfers WHERE reason = 'pay'") == [(1,)]


def test_a_scarce_budget_is_spent_on_whole_quorums_and_never_set_aside_twice(hub):
    cap = 10_000
    nodes = [ScriptedNode(hub, name, core_ms=10**9) for name in "ab"]
    job = hub.operator.submit(range(6), budget_microcredits=5 * cap)
    for node in nodes:
        node.talk(8)
        assert len(node.held) == 2
        assert_laws(hub)
    for node in nodes:
        node.do_all()
        node.talk()
        assert_laws(hub)
    drain(nodes)
    assert sorted(state for state, _ in hub.operator.answers(job).values()) == ["final"] * 2 + ["queued"] * 4


def coin(hub, values):
    return lambda value, item: values[hub.random.randrange(len(values))]


@pytest.mark.parametrize("seed", range(30))
def test_a_program_that_tosses_a_coin_frames_no_node_that_differs_from_itself(tmp_path, seed):
    hub = InProcessHub(tmp_path / "hub.db", seed=seed)
    nodes = [ScriptedNode(hub, name, behaviour=coin(hub, (0, 1))) for name in "abc"]
    anchor = ScriptedNode(hub, "anchor", anchor=True, behaviour=coin(hub, (0, 1)))
    hub.operator.submit(range(6))
    drain([*nodes, anchor])
    for attempt, node, job, index in hub.rows("SELECT attempt, node, job, idx FROM convictions"):
        said = hub.rows("SELECT DISTINCT value FROM attempts WHERE node = ? AND job = ? AND idx = ?", node, job, index)
        assert len(said) == 1, f"attempt {attempt}: its node said two things"
        again = hub.rows(
            "SELECT purpose FROM attempts WHERE node = ? AND job = ? AND idx = ? AND purpose = 'rerun'", node, job, index
        )
        assert again, f"attempt {attempt}: its node was not asked again"
    assert_laws(hub)
    hub.engine.close()


def test_a_job_whose_runs_differ_from_themselves_elsewhere_convicts_nobody(hub):
    """One task shows that the program is not steady; then no other task of the job proves anything."""
    tosses = {("a", 0): iter((1, 2, 3, 4)), ("b", 0): iter((5, 6, 7, 8))}

    def behaviour(name):
        def run(value, item):
            found = tosses.get((name, value))
            return next(found) if found else (-1 if name == "b" else value)

        return run

    nodes = [ScriptedNode(hub, name, behaviour=behaviour(name)) for name in "abc"]
    anchor = ScriptedNode(hub, "anchor", anchor=True, behaviour=behaviour("anchor"))
    job = hub.operator.submit(range(2))
    a, b, _ = nodes
    a.work(1)
    b.work(1)
    a.work(1)
    b.work(1)
    assert hub.operator.answers(job)[0][0] == "failed"
    drain([*nodes, anchor])
    assert hub.rows("SELECT count(*) FROM convictions") == [(0,)]


def test_jobs_of_equal_standing_get_equal_turns(hub):
    node = ScriptedNode(hub, "a", slots=2)
    first = hub.operator.submit(range(100), verifier=Trust())
    second = hub.operator.submit(range(100, 200), verifier=Trust())
    for _ in range(20):
        node.work(2)
    done = {job: sum(s == "final" for s, _ in hub.operator.answers(job).values()) for job in (first, second)}
    assert done == {first: 20, second: 20}


def test_a_member_with_very_many_open_jobs_is_stopped(hub, monkeypatch):
    from talkoot.core import limits

    monkeypatch.setattr(limits, "MAX_LIVE_JOBS_PER_MEMBER", 3)
    for _ in range(3):
        hub.operator.submit([], sealed=False, budget_microcredits=0)
    with pytest.raises(TalkootError, match="jobs"):
        hub.operator.submit([], sealed=False, budget_microcredits=0)


def test_a_ticket_for_an_anchor_makes_one_anchor(hub):
    from talkoot.crypto.signed import Kind
    from talkoot.hub.commands import people

    owner = SigningKey.generate(hub.random.randbytes(32))
    secret = b"s" * 16
    invitation = m.Invite("default", "anchor", 3600)
    expires = hub.clock.wall_ms() + 1000
    hub.do("invite", lambda tx: people.invite(tx, hub.operator.key.public, invitation, secret, expires))

    def lend(name):
        key = SigningKey.generate(hub.random.randbytes(32))
        lending = m.Lending(hub.engine.hub, owner.public, name)
        signed = key.sign(Kind.LENDING, msgspec.msgpack.encode(lending))
        return hub.do("join", lambda tx: people.join(tx, owner.public, m.Join(secret, "o", signed))).node

    numbers = [lend("one"), lend("two")]
    assert hub.rows("SELECT no, anchor FROM nodes ORDER BY no") == [(numbers[0], 1), (numbers[1], 0)]


def test_a_conviction_while_the_node_has_answers_in_other_disputes_opens_these_again(hub):
    anchor = ScriptedNode(hub, "anchor", anchor=True)
    liar = ScriptedNode(hub, "liar", slots=64, behaviour=lambda v, i: -1)
    nodes = [ScriptedNode(hub, name, slots=64) for name in "ab"]
    first = hub.operator.submit(range(1, 20))
    second = hub.operator.submit(range(100, 120), verifier=Quorum(3))
    for _ in range(4):
        liar.work(64)
        nodes[0].work(64)
    assert "disputed" in states(hub, first)
    drain([anchor, *nodes, liar])
    drain([anchor, *nodes, ScriptedNode(hub, "c", slots=64)])
    assert hub.operator.answers(first) == {i: ("final", (i + 1) ** 2) for i in range(19)}
    assert hub.operator.answers(second) == {i: ("final", (i + 100) ** 2) for i in range(20)}
    assert hub.rows("SELECT nodes.name FROM convictions JOIN nodes ON nodes.no = node") == [("liar",)]


def test_what_a_convicted_node_alone_had_answered_is_no_answer_any_more(hub):
    anchor = ScriptedNode(hub, "anchor", anchor=True)
    liar = ScriptedNode(hub, "liar", slots=64, behaviour=lambda v, i: -1 if v == 1 else v * v)
    honest = ScriptedNode(hub, "a")
    wide = TaskLimits(cpus=64, time_s=10)  # only the liar's device is wide enough
    given = hub.operator.submit(range(10, 15), program=b"other", task_limits=wide)
    for _ in range(5):
        liar.work(64)
    assert states(hub, given) == {"provisional"}
    hub.operator.submit([1])
    drain([liar, honest, anchor])
    assert hub.rows("SELECT nodes.name FROM convictions JOIN nodes ON nodes.no = node") == [("liar",)]
    assert set(hub.operator.answers(given).values()) == {("queued", None)}
    assert_laws(hub)


def test_an_unknown_job_is_told_apart_from_nothing(hub):
    for job in (b"", b"x", bytes(16), bytes(10**6)):
        with pytest.raises(TalkootError):
            hub.operator.cancel(job)
    assert ids.job_text(bytes(16)).startswith("job_")
