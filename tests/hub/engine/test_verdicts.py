"""The engine with scripted nodes: quorum, trust, the ladder, conviction, pay. Virtual time, real database."""

from talkoot.core.types import Close, Quorum, Trust
from talkoot.testing import ScriptedNode, drain


def test_two_strangers_who_agree_make_answers_final_and_are_both_paid(hub):
    nodes = [ScriptedNode(hub, name) for name in "ab"]
    job = hub.operator.submit(range(10))
    drain(nodes)
    assert hub.operator.answers(job) == {i: ("final", i * i) for i in range(10)}
    assert hub.rows("SELECT state, copies FROM jobs") == [("done", 10)]
    assert {earned for (earned,) in hub.rows("SELECT earned FROM tallies")} == {10 * 100}


def test_one_stranger_alone_makes_answers_provisional_only(hub):
    node = ScriptedNode(hub, "a")
    job = hub.operator.submit(range(3))
    drain([node])
    assert {state for state, _ in hub.operator.answers(job).values()} == {"provisional"}


def test_the_submitters_own_device_is_enough_alone_and_costs_nothing(hub):
    own = ScriptedNode(hub, "own", owner=hub.operator.key)
    job = hub.operator.submit(range(3))
    drain([own])
    assert {state for state, _ in hub.operator.answers(job).values()} == {"final"}
    assert hub.rows("SELECT sum(amount) FROM transfers WHERE reason = 'pay'") == [(None,)]


def test_trust_takes_one_answer_of_anybody(hub):
    node = ScriptedNode(hub, "a")
    job = hub.operator.submit(range(3), verifier=Trust())
    drain([node])
    assert {state for state, _ in hub.operator.answers(job).values()} == {"final"}


def liar(value, item):
    return -1 if value % 3 == 0 else value * value


def test_a_liar_is_convicted_by_the_hubs_anchor_and_its_provisional_answers_are_opened_again(hub):
    anchor = ScriptedNode(hub, "anchor", anchor=True)
    nodes = [ScriptedNode(hub, "liar", behaviour=liar), ScriptedNode(hub, "a"), ScriptedNode(hub, "b")]
    job = hub.operator.submit(range(1, 40))
    nodes[0].work(30)
    drain([*nodes, anchor])
    assert hub.operator.answers(job) == {i: ("final", (i + 1) ** 2) for i in range(39)}
    assert hub.rows("SELECT nodes.name, state FROM convictions JOIN nodes ON nodes.no = node") == [("liar", "convicted")]
    assert nodes[0].goodbye
    assert hub.rows("SELECT count(*) FROM transfers WHERE reason = 'forfeit'")[0][0] > 0


def test_without_an_anchor_a_majority_of_owners_decides_and_nobody_is_convicted(hub):
    nodes = [ScriptedNode(hub, "liar", behaviour=liar), ScriptedNode(hub, "a"), ScriptedNode(hub, "b")]
    job = hub.operator.submit(range(1, 20))
    drain(nodes)
    assert hub.operator.answers(job) == {i: ("final", (i + 1) ** 2) for i in range(19)}
    assert hub.rows("SELECT count(*) FROM convictions") == [(0,)]


def test_two_against_each_other_without_anyone_to_decide_stay_disputed(hub):
    nodes = [ScriptedNode(hub, "liar", behaviour=lambda v, i: -1), ScriptedNode(hub, "a")]
    job = hub.operator.submit([7])
    drain(nodes)
    assert hub.operator.answers(job)[0][0] == "disputed"
    drain([*nodes, ScriptedNode(hub, "late")])
    assert hub.operator.answers(job)[0] == ("final", 49)


def test_a_program_that_is_not_deterministic_is_told_so_and_nobody_is_convicted(hub):
    def draw(value, item):
        return hub.random.random()

    nodes = [ScriptedNode(hub, name, behaviour=draw) for name in "abc"]
    anchor = ScriptedNode(hub, "anchor", anchor=True, behaviour=draw)
    job = hub.operator.submit([1, 2])
    drain([*nodes, anchor])
    assert {state for state, _ in hub.operator.answers(job).values()} == {"failed"}
    assert hub.rows("SELECT reason FROM tasks")[0][0].startswith("not_deterministic")
    assert hub.rows("SELECT count(*) FROM convictions") == [(0,)]


def test_close_accepts_small_differences_and_refuses_large_ones(hub):
    def off_by(error):
        return lambda value, item: value * (1 + error)

    nodes = [ScriptedNode(hub, "a", behaviour=off_by(1e-12)), ScriptedNode(hub, "b", behaviour=off_by(0))]
    job = hub.operator.submit([1.0, 2.0], verifier=Quorum(2, Close(1e-9, 0)))
    drain(nodes)
    assert {state for state, _ in hub.operator.answers(job).values()} == {"final"}


def test_another_owner_gets_the_task_when_a_node_falls_silent_and_a_late_answer_is_not_paid_twice(hub):
    a, b, c = (ScriptedNode(hub, name) for name in "abc")
    job = hub.operator.submit(range(4))
    a.talk(4)
    hub.clock.advance(31)
    b.talk()
    c.talk()
    hub.engine.tick()
    drain([b, c])
    a.do_all()
    a.talk()
    assert {state for state, _ in hub.operator.answers(job).values()} == {"final"}
    assert hub.rows("SELECT count(*) FROM transfers WHERE reason = 'pay'") == [(8,)]


def test_a_restarted_node_loses_its_former_leases_at_once(hub):
    a = ScriptedNode(hub, "a")
    job = hub.operator.submit(range(4), verifier=Trust())
    a.talk(4)
    a.restart()
    drain([a])
    assert {state for state, _ in hub.operator.answers(job).values()} == {"final"}


def test_the_same_job_again_is_answered_from_memory(hub):
    nodes = [ScriptedNode(hub, name) for name in "ab"]
    hub.operator.submit(range(5))
    drain(nodes)
    again = hub.operator.submit(range(5))
    assert hub.operator.answers(again) == {i: ("final", i * i) for i in range(5)}
    assert hub.rows("SELECT remembered, attempts FROM jobs WHERE id = ?", again) == [(5, 0)]


def test_the_same_action_under_way_in_another_job_is_waited_for_and_not_done_twice(hub):
    nodes = [ScriptedNode(hub, name) for name in "ab"]
    first = hub.operator.submit(range(5))
    second = hub.operator.submit(range(5))
    assert hub.rows("SELECT waiting FROM jobs WHERE id = ?", second) == [(5,)]
    hub.operator.cancel(first)
    assert hub.rows("SELECT queued FROM jobs WHERE id = ?", second) == [(5,)]
    drain(nodes)
    assert hub.operator.answers(second) == {i: ("final", i * i) for i in range(5)}


def test_cancelling_pays_for_what_was_answered_and_returns_the_rest(hub):
    a = ScriptedNode(hub, "a")
    before = hub.rows("SELECT balance FROM accounts WHERE kind = 'project'")[0][0]
    job = hub.operator.submit(range(6))
    a.work(2)
    hub.operator.cancel(job)
    after = hub.rows("SELECT balance FROM accounts WHERE kind = 'project'")[0][0]
    assert before - after == 2 * 100
    assert a.work() == 0


def test_a_budget_is_never_overspent_and_the_rest_waits(hub):
    nodes = [ScriptedNode(hub, name) for name in "ab"]
    cap = 10 * 1000
    job = hub.operator.submit(range(6), budget_microcredits=2 * cap)
    drain(nodes)
    states = [state for state, _ in hub.operator.answers(job).values()]
    assert states.count("final") >= 1
    assert hub.rows("SELECT min(balance) FROM accounts WHERE kind = 'escrow'")[0][0] >= 0


def test_leases_whose_reply_was_lost_are_sent_again(hub):
    a = ScriptedNode(hub, "a")
    job = hub.operator.submit(range(3), verifier=Trust())
    a.lose_reply = True
    a.talk(4)
    assert not a.held
    drain([a])
    assert {state for state, _ in hub.operator.answers(job).values()} == {"final"}
    assert hub.rows("SELECT count(*) FROM attempts") == [(3,)]


def test_receipts_whose_acknowledgement_was_lost_are_not_counted_twice(hub):
    a = ScriptedNode(hub, "a")
    job = hub.operator.submit(range(3), verifier=Trust())
    a.talk(4)
    a.do_all()
    a.lose_reply = True
    a.talk()
    a.talk()
    assert {state for state, _ in hub.operator.answers(job).values()} == {"final"}
    assert hub.rows("SELECT answered FROM tallies") == [(3,)]
