"""What a hostile or broken node can put into an exchange, and what it must not get out of it."""

import time

import msgspec
import pytest

from talkoot.core import codec, ids, limits
from talkoot.core.errors import BadInput, BadSignature, TalkootError
from talkoot.core.types import Close, NumericClass, Quorum, Receipt, Rung, TaskLimits, Trust
from talkoot.testing import ScriptedNode, drain
from talkoot.testing.nodes import Killed
from talkoot.wire import messages as m

ODD = NumericClass("x86_64", "glibc 2.36", "3.11", "x86-64-v3", "nobody has this")


def states(hub, job):
    return {state for state, _ in hub.operator.answers(job).values()}


def request(node, **changes):
    bare = m.Exchange(node.boot, node.description, None, (), (), (), 0, 0.0)
    return msgspec.structs.replace(bare, **changes)


MANY = tuple(range(200_000))


@pytest.mark.parametrize(
    "changes",
    [
        {"handed_back": MANY},
        {"leases": MANY},
        {"jobs": tuple(b"%16d" % i for i in range(10_000))},
        {"jobs": (b"x" * 17,)},
        {"channel": 2},
        {"channel": -1},
        {"want": -1},
    ],
)
def test_oversized_or_impossible_exchanges_are_refused_unread(hub, changes):
    node = ScriptedNode(hub, "a")
    with pytest.raises(TalkootError):
        hub.exchange(node.key, request(node, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"slots": 10**9},
        {"slots": 0},
        {"slots": -1},
        {"memory_bytes": -1},
        {"memory_bytes": 2**63},
        {"disk_bytes": -5},
        {"name": "a\x1b[2J"},
        {"name": ""},
        {"python": "3.11\n" * 1000},
        {"version": "x" * 10_000},
        {"gpus": ("g",) * 1000},
        {"gpus": ("x" * 10_000,)},
        {"numeric_class": NumericClass("x" * 100_000, "", "", "", "")},
    ],
)
def test_a_description_of_what_no_device_is_is_refused(hub, changes):
    node = ScriptedNode(hub, "a")
    with pytest.raises(TalkootError):
        hub.exchange(node.key, request(node, description=msgspec.structs.replace(node.description, **changes)))


def test_a_huge_want_gets_no_more_than_the_node_may_hold(hub):
    node = ScriptedNode(hub, "greedy", slots=1)
    hub.operator.submit(range(2_000), verifier=Trust())
    for _ in range(8):
        node.talk(2**60)
    assert len(node.held) <= limits.MAX_ATTEMPTS_PER_LEASE
    assert hub.rows("SELECT count(*) FROM attempts WHERE state = 'leased'")[0][0] == len(node.held)


def test_a_reply_is_bounded_in_bytes_and_the_rest_comes_later(hub):
    node = ScriptedNode(hub, "a", slots=64, behaviour=lambda value, item: len(value))
    job = hub.operator.submit([bytes(1_000_000)] * 24, verifier=Trust())
    reply = node.talk(64)
    size = sum(len(item.arguments) for lease in reply.leases for item in lease.items)
    assert 0 < size <= limits.MAX_LEASE_BYTES_PER_EXCHANGE
    node.lose_reply = True
    node.talk(64)
    node._leases.clear()  # it says that it knows nothing: all is sent again, but not all at once
    node.held.clear()
    reply = node.talk(64)
    size = sum(len(item.arguments) for lease in reply.leases for item in lease.items)
    assert 0 < size <= limits.MAX_LEASE_BYTES_PER_EXCHANGE
    drain([node])
    assert states(hub, job) == {"final"}


def test_a_job_id_of_a_megabyte_is_refused_at_once(hub):
    began = time.monotonic()
    with pytest.raises(TalkootError):
        hub.operator.cancel(bytes(range(256)) * 4096)
    assert time.monotonic() - began < 1
    assert ids.from_base32(ids.base32(b"\xff\x00" * 50)) == b"\xff\x00" * 50


def test_a_node_that_polls_but_never_answers_loses_its_leases_and_gets_the_job_no_more(hub):
    mute, other = ScriptedNode(hub, "mute"), ScriptedNode(hub, "other")
    job = hub.operator.submit(range(4), verifier=Trust(), task_limits=TaskLimits(time_s=10))
    mute.talk(4)
    for _ in range(100):
        hub.clock.advance(20)
        mute.talk()
        other.talk()
        hub.engine.tick()
    assert hub.rows("SELECT DISTINCT attempts.state FROM attempts") == [("lost",)]
    assert mute.talk(4).leases == ()
    drain([other])
    assert states(hub, job) == {"final"}


def test_a_lease_within_its_time_is_left_alone_and_a_restart_of_the_hub_gives_a_fresh_period(hub):
    node = ScriptedNode(hub, "slow")
    job = hub.operator.submit([3], verifier=Trust(), task_limits=TaskLimits(time_s=10_000))
    node.talk(1)
    for _ in range(2):
        for _ in range(600):
            hub.clock.advance(20)
            node.talk()
            hub.engine.tick()
        hub.crash()
    node.do_all()
    node.talk()
    assert states(hub, job) == {"final"}


def test_a_node_that_takes_and_hands_back_for_ever_does_not_fail_the_task(hub):
    shy, a, b = (ScriptedNode(hub, name) for name in ("shy", "a", "b"))
    job = hub.operator.submit(range(3))
    for _ in range(limits.MAX_EXECUTIONS_PER_TASK + 3):
        shy.talk(3)
        shy.talk(handed_back=tuple(item.attempt for _, item in shy.held))
        shy.held.clear()
    for _ in range(limits.MAX_EXECUTIONS_PER_TASK + 3):
        shy.talk(3)
        shy.restart()
    shy.talk()
    drain([a, b])
    assert hub.operator.answers(job) == {i: ("final", i * i) for i in range(3)}


def test_who_takes_and_gives_back_does_not_keep_the_others_from_the_task(hub):
    shy, a = ScriptedNode(hub, "shy"), ScriptedNode(hub, "a")
    a.talk()
    job = hub.operator.submit(range(4), verifier=Trust())
    shy.talk(4)
    for _ in range(12):
        hub.clock.advance(1)
        shy.talk(4, handed_back=tuple(item.attempt for _, item in shy.held[:4]))
        shy.held = shy.held[4:]
        a.work(4)
    assert states(hub, job) == {"final"}


def test_a_task_that_ends_every_device_that_takes_it_is_given_up(hub):
    job = hub.operator.submit([1], verifier=Trust())
    for i in range(limits.MAX_EXECUTIONS_PER_TASK):
        node = ScriptedNode(hub, f"n{i}")
        node.talk(1)
        node.restart()
        node.talk()
    assert states(hub, job) == {"failed"}


def refuses(reason):
    def behaviour(value, item):
        from talkoot.testing.nodes import Refused

        raise Refused(reason)

    return behaviour


def test_two_who_refuse_do_not_fail_what_a_third_can_do(hub):
    bad = [ScriptedNode(hub, name, behaviour=refuses("environment: no room")) for name in ("x", "y")]
    good = [ScriptedNode(hub, name) for name in ("a", "b")]
    for node in good:
        node.talk()
    job = hub.operator.submit(range(3))
    drain(bad)
    drain(good)
    assert hub.operator.answers(job) == {i: ("final", i * i) for i in range(3)}


def test_a_task_that_all_who_are_there_refuse_fails_with_their_reason(hub):
    bad = [ScriptedNode(hub, name, behaviour=refuses("environment: no room")) for name in ("x", "y")]
    job = hub.operator.submit(range(3))
    drain(bad)
    assert states(hub, job) == {"failed"}
    assert hub.rows("SELECT DISTINCT reason FROM tasks") == [("environment: no room",)]


def test_a_class_that_nobody_else_has_does_not_hold_a_task_for_ever(hub):
    odd = ScriptedNode(hub, "odd", numeric=ODD)
    job = hub.operator.submit(range(4))
    odd.work(4)
    drain([ScriptedNode(hub, name) for name in "ab"])
    assert hub.operator.answers(job) == {i: ("final", i * i) for i in range(4)}


def test_while_others_of_the_class_are_there_a_copy_stays_within_it(hub):
    a, b, odd = ScriptedNode(hub, "a"), ScriptedNode(hub, "b"), ScriptedNode(hub, "odd", numeric=ODD)
    b.talk()
    job = hub.operator.submit(range(2))
    a.work(2)
    assert odd.work(2) == 0
    drain([b])
    assert states(hub, job) == {"final"}


def test_the_submitters_own_device_may_decide_in_any_class(hub):
    a, b = ScriptedNode(hub, "a"), ScriptedNode(hub, "b")
    own = ScriptedNode(hub, "own", owner=hub.operator.key, numeric=ODD)
    b.talk()
    job = hub.operator.submit([5])
    a.work(1)
    assert own.work(1) == 1
    assert hub.operator.answers(job) == {0: ("final", 25)}


def test_a_receipt_of_another_class_than_the_node_described_is_refused(hub):
    node = ScriptedNode(hub, "a")
    hub.operator.submit([5])
    node.talk(1)
    node.description = msgspec.structs.replace(node.description, numeric_class=ODD)
    node.do_all()
    with pytest.raises(TalkootError, match="class"):
        node.talk()
    assert hub.rows("SELECT class FROM tasks") == [(b"",)]


@pytest.mark.parametrize("becomes_like_the_anchor", [False, True])
def test_an_answer_given_in_one_class_convicts_nobody_in_another(hub, becomes_like_the_anchor):
    """Also when an honest device gets a new library and is of the anchor's class by the time of the verdict."""
    odd = ScriptedNode(hub, "odd", behaviour=lambda v, i: v * 1.01, numeric=ODD)
    other = ScriptedNode(hub, "other", behaviour=lambda v, i: v)
    job = hub.operator.submit([5.0], verifier=Quorum(2, Close(1e-6, 0)))
    for _ in range(2):
        odd.work(1)
        other.work(1)
    assert hub.operator.answers(job)[0][0] == "disputed"
    anchor = ScriptedNode(hub, "anchor", anchor=True, behaviour=lambda v, i: v)
    if becomes_like_the_anchor:
        odd.description = msgspec.structs.replace(odd.description, numeric_class=anchor.description.numeric_class)
        odd.restart()
        odd.talk()
    drain([anchor])
    drain([anchor, ScriptedNode(hub, "third", behaviour=lambda v, i: v)])
    assert hub.operator.answers(job) == {0: ("final", 5.0)}
    assert hub.rows("SELECT count(*) FROM convictions") == [(0,)]


def test_a_liar_that_will_not_run_it_again_does_not_keep_the_dispute_open(hub):
    liar = ScriptedNode(hub, "liar", behaviour=lambda v, i: -1)
    a, b, anchor = ScriptedNode(hub, "a"), ScriptedNode(hub, "b"), ScriptedNode(hub, "anchor", anchor=True)
    for node in (a, b, anchor):
        node.talk()
    job = hub.operator.submit([7])
    liar.work(1)
    a.work(1)
    for _ in range(200):
        hub.clock.advance(10)
        liar.talk(0)  # it is there, and takes nothing
        for node in (a, b, anchor):
            node.work(2)
        hub.engine.tick()
    assert hub.operator.answers(job) == {0: ("final", 49)}


def test_a_liar_that_takes_the_rerun_and_gives_it_back_does_not_keep_the_dispute_open(hub):
    liar = ScriptedNode(hub, "liar", behaviour=lambda v, i: -1)
    a, b = ScriptedNode(hub, "a"), ScriptedNode(hub, "b")
    for node in (a, b):
        node.talk()
    job = hub.operator.submit([7])
    liar.work(1)
    a.work(1)
    for _ in range(20):
        liar.talk(2)
        liar.talk(handed_back=tuple(item.attempt for _, item in liar.held))
        liar.held.clear()
        a.work(2)
        b.work(2)
    assert hub.operator.answers(job) == {0: ("final", 49)}


def test_copies_that_an_owner_may_not_give_do_not_hide_those_that_it_may(hub):
    """`y` could not do the first tasks: they head the queue for ever, and it must see beyond them."""

    def weak(value, item):
        from talkoot.testing.nodes import Killed

        if value < 30:
            raise Killed("memory: too small")
        return value * value

    x, y = ScriptedNode(hub, "x"), ScriptedNode(hub, "y", behaviour=weak)
    job = hub.operator.submit(range(60))
    for _ in range(20):
        x.work(4)
    for _ in range(20):
        y.work(1)
    for _ in range(20):
        y.work(4)
    assert {i for i, (state, _) in hub.operator.answers(job).items() if state == "final"} == set(range(30, 60))


def test_a_parked_node_that_cannot_be_served_takes_nothing_from_the_others(hub):
    a, b = ScriptedNode(hub, "a"), ScriptedNode(hub, "b")
    a.talk()
    b.talk()
    got = []
    hub.engine.park(a.number, 4, frozenset(), got.append)
    hub.engine.park(b.number, 4, frozenset(), got.append)
    job = hub.operator.submit(range(2), verifier=Trust())
    assert len(got) == 1
    hub.engine.parked.clear()
    hub.engine.db.execute("UPDATE nodes SET description = x'c1' WHERE no = ?", (a.number,))  # what must never be
    hub.engine.park(a.number, 4, frozenset(), got.append)
    hub.engine.park(b.number, 4, frozenset(), got.append)
    second = hub.operator.submit(range(10, 12), verifier=Trust())
    assert len(got) == 2
    assert not hub.engine.parked
    hub.engine.db.execute("UPDATE nodes SET description = ? WHERE no = ?", (msgspec.msgpack.encode(a.description), a.number))
    assert job != second


def test_a_node_that_boots_again_and_again_does_not_have_every_dispute_judged_each_time(hub):
    liar, a = ScriptedNode(hub, "liar", slots=64, behaviour=lambda v, i: -1), ScriptedNode(hub, "a", slots=64)
    job = hub.operator.submit(range(1, 300))
    for _ in range(16):
        liar.work(64)
        a.work(64)
    disputed = sum(state == "disputed" for state, _ in hub.operator.answers(job).values())
    assert disputed == 299
    flapping = ScriptedNode(hub, "flapping", numeric=ODD)
    count = 0

    def counted(*_):
        nonlocal count
        count += 1

    flapping.talk()
    hub.engine.db.set_progress_handler(counted, 1000)
    flapping.restart()
    flapping.talk()
    hub.engine.db.set_progress_handler(None, 0)
    assert count < 100
    # and yet all of them are looked at, with time
    late = ScriptedNode(hub, "late", slots=64)
    for _ in range(40):
        late.work(64)
        hub.clock.advance(1)
        for node in (liar, a):
            node.talk()
        hub.engine.tick()
    assert hub.operator.answers(job) == {i: ("final", (i + 1) ** 2) for i in range(299)}


def test_disputes_that_nobody_can_decide_do_not_hide_the_rest_of_the_job(hub):
    liar, a = ScriptedNode(hub, "liar", behaviour=lambda v, i: -1), ScriptedNode(hub, "a")
    job = hub.operator.submit(range(1, 60))
    for _ in range(60):
        liar.work(2)
        a.work(2)
    assert states(hub, job) == {"disputed"}


def test_numbers_beyond_what_the_database_keeps_are_a_clear_error(hub):
    node = ScriptedNode(hub, "a", core_ms=2**63)
    hub.operator.submit([5])
    node.talk(1)
    node.do_all()
    with pytest.raises(TalkootError):
        node.talk()
    with pytest.raises(TalkootError):
        hub.exchange(node.key, request(node, handed_back=(2**63,)))


def test_answers_are_still_counted_once_when_a_batch_names_an_attempt_twice(hub):
    node = ScriptedNode(hub, "a")
    job = hub.operator.submit([5], verifier=Trust())
    node.talk(1)
    node.do_all()
    node._outbox *= 2
    node.talk()
    assert states(hub, job) == {"final"}
    assert hub.rows("SELECT answered, accepted FROM tallies") == [(1, 1)]
    assert hub.rows("SELECT count(*) FROM transfers WHERE reason = 'pay'") == [(1,)]


def test_who_lost_a_task_and_got_it_again_has_one_voice_and_one_pay(hub):
    node, other = ScriptedNode(hub, "a"), ScriptedNode(hub, "b")
    job = hub.operator.submit([5])
    node.talk(1)
    hub.clock.advance(31)
    other.talk()
    hub.engine.tick()
    node.talk(1)  # as one who comes back, and gets it again
    node.talk(1)
    assert len(node.held) == 2
    node.do_all()
    node.talk()
    assert states(hub, job) == {"provisional"}
    drain([other])
    assert states(hub, job) == {"final"}
    assert hub.rows("SELECT earned FROM tallies") == [(100,), (100,)]


@pytest.mark.parametrize("changes", [{"index": 1}, {"job": bytes(16)}, {"action": bytes(32)}, {"hub": bytes(32)}])
def test_a_receipt_for_another_task_than_was_leased_is_refused(hub, changes):
    node = ScriptedNode(hub, "a")
    hub.operator.submit(range(3))
    node.talk(1)
    node.do_all()
    node._outbox = [(msgspec.structs.replace(receipt, **changes), answer) for receipt, answer in node._outbox]
    with pytest.raises(BadSignature):
        node.talk()
    assert hub.rows("SELECT state FROM attempts") == [("leased",)]


def test_a_receipt_or_answer_that_was_not_signed_for_is_refused(hub):
    node = ScriptedNode(hub, "a")
    hub.operator.submit(range(3), verifier=Trust())
    node.talk(2)
    node.do_all()
    sent = []
    exchange, hub.exchange = hub.exchange, lambda key, request: sent.append(request) or exchange(key, request)
    node.lose_reply = True
    with pytest.raises(TalkootError):  # lost before it came: only what was sent is wanted here
        node.boot, boot = b"", node.boot
        node.talk()
    (good,) = (msgspec.structs.replace(request, boot=boot) for request in sent)
    more = msgspec.msgpack.decode(good.receipts[0], type=Receipt)
    changed = msgspec.msgpack.encode(msgspec.structs.replace(more, core_ms=10**6))
    other = msgspec.structs.replace(good.answers[0], answer=codec.encode(-1))
    for bad in (
        msgspec.structs.replace(good, receipts=(changed, *good.receipts[1:])),
        msgspec.structs.replace(good, receipts=good.receipts[:1], answers=good.answers[:1]),
        msgspec.structs.replace(good, answers=(other, *good.answers[1:])),
        msgspec.structs.replace(good, batch=None),
    ):
        with pytest.raises(BadSignature):
            exchange(node.key, bad)
    assert len(exchange(node.key, good).accepted) == 2


def test_a_receipt_for_somebody_elses_attempt_is_refused(hub):
    node, thief = ScriptedNode(hub, "a"), ScriptedNode(hub, "b")
    hub.operator.submit(range(3))
    node.talk(1)
    node.do_all()
    thief._outbox = node._outbox
    with pytest.raises(BadSignature):
        thief.talk()


def test_a_receipt_sent_again_before_the_verdict_is_acknowledged_and_changes_nothing(hub):
    node = ScriptedNode(hub, "a")
    hub.operator.submit([5])
    node.talk(1)
    node.do_all()
    node.lose_reply = True
    node.talk()
    before = hub.rows("SELECT * FROM attempts")
    assert len(node.talk().accepted) == 1
    assert hub.rows("SELECT * FROM attempts") == before


def test_quorums_of_many_survive_one_liar(hub):
    nodes = [ScriptedNode(hub, f"n{i}") for i in range(10)]
    nodes[4].behaviour = lambda value, item: -1
    job = hub.operator.submit([3], verifier=Quorum(9))
    drain(nodes)
    assert hub.operator.answers(job) == {0: ("final", 9)}


def test_arguments_are_what_they_were(hub):
    job = hub.operator.submit([1])
    assert hub.rows("SELECT arguments FROM tasks") == [(codec.encode(((1,), {})),)]
    assert hub.operator.arguments(job) == {0: 1}


def test_a_reason_that_would_play_with_a_terminal_is_refused(hub):
    def play(value, item):
        raise Killed("crashed: \x1b[2Jgone")

    node = ScriptedNode(hub, "a", behaviour=play)
    hub.operator.submit([1])
    node.talk(1)
    node.do_all()
    with pytest.raises(BadInput, match="control characters"):
        node.talk()


def test_an_honest_node_on_another_rung_of_the_sandbox_is_not_convicted_for_what_its_sandbox_refuses(hub):
    """Found by a stranger: whether a lock can be made depends on the rung, and the honest answer cost a conviction."""

    def refused_here(value, item):
        return "no lock to be had"

    odd = ScriptedNode(hub, "odd", behaviour=refused_here, rung=Rung.LANDLOCK)
    others = [ScriptedNode(hub, name, anchor=name == "anchor") for name in ("a", "b", "anchor")]
    job = hub.operator.submit([3])
    odd.work()
    for _ in range(12):
        for node in (*others, odd):
            node.work()
    assert hub.operator.answers(job)[0] == ("final", 9)
    assert hub.rows("SELECT count(*) FROM convictions") == [(0,)]


def test_a_task_that_gives_back_its_lease_a_few_times_is_not_kept_waiting(hub):
    node = ScriptedNode(hub, "a")
    hub.operator.submit([1], verifier=Trust())
    for _ in range(3):
        (lease,) = node.talk(1).leases
        node.held.clear()
        node.talk(handed_back=(lease.items[0].attempt,))
    assert node.work() == 1
