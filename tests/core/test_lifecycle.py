"""The transition tables: what may follow what, and what may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkoot.core import lifecycle as lc
from talkoot.core.errors import Conflict

TABLES = {
    "task": (lc.TASK, lc.TaskState, lc.TaskEvent, lc.TaskState.QUEUED),
    "attempt": (lc.ATTEMPT, lc.AttemptState, lc.AttemptEvent, lc.AttemptState.LEASED),
    "lease": (lc.LEASE, lc.LeaseState, lc.LeaseEvent, lc.LeaseState.GRANTED),
    "job": (lc.JOB, lc.JobState, lc.JobEvent, lc.JobState.OPEN),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_state_can_be_reached_and_every_event_happens(name):
    table, states, events, first = TABLES[name]
    reached = {first} | ({lc.TaskState.WAITING} if name == "task" else set())
    while True:
        more = {new for (old, _), new in table.items() if old in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(states)
    assert {event for _, event in table} == set(events)


@pytest.mark.parametrize("state", sorted(lc.SETTLED_TASKS))
@pytest.mark.parametrize("event", list(lc.TaskEvent))
def test_a_settled_task_never_moves_again(state, event):
    with pytest.raises(Conflict, match=f"a task that is {state.value} cannot be"):
        lc.after(lc.TASK, state, event)


@given(st.lists(st.sampled_from(list(lc.AttemptEvent)), max_size=8))
def test_an_attempt_is_accepted_at_most_once_and_only_after_an_answer(events):
    state, accepted, answered = lc.AttemptState.LEASED, 0, False
    for event in events:
        try:
            state = lc.after(lc.ATTEMPT, state, event)
        except Conflict:
            continue
        answered = answered or event is lc.AttemptEvent.ANSWERED
        accepted += state is lc.AttemptState.ACCEPTED
        assert answered or not accepted
    assert accepted <= 1
