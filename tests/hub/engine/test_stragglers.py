"""At the tail: what has been out for much longer than usual is given to somebody else as well."""

from talkoot.core.types import Trust
from talkoot.testing import ScriptedNode


def test_a_straggler_is_handed_out_again_and_the_slow_node_is_told_to_stop(hub):
    slow, quick = ScriptedNode(hub, "slow"), ScriptedNode(hub, "quick")
    job = hub.operator.submit(range(4), verifier=Trust())
    slow.talk(1)
    quick.talk(3)
    hub.clock.advance(1)
    quick.do_all()
    assert quick.talk(4).leases == (), "one second is not late when a task takes one"
    for _ in range(4):
        hub.clock.advance(2)
        slow.talk()  # it is there, and slow
    assert quick.work(4) == 1
    assert {state for state, _ in hub.operator.answers(job).values()} == {"final"}
    assert len(slow.talk().cancels) == 1
