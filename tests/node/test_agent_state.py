"""What a node holds and does next: events in, instructions out. No threads, no clock."""

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from talkoot.core import limits
from talkoot.node.signals import (
    Empty,
    Ended,
    JobRefused,
    Kill,
    Lost,
    Refuse,
    Rejected,
    Replied,
    Report,
    Start,
    Stopped,
    Talk,
    Ticked,
    WentUnanswered,
    Work,
)
from talkoot.node.state import MAX_UNACKNOWLEDGED_BYTES, REPORT, State
from talkoot.wire.messages import AnswerData, LeaseItem

JOB, OTHER = b"j" * 16, b"o" * 16


def work(attempt, job=JOB, cpus=1, lease=1):
    return Work(job, LeaseItem(attempt, attempt, b"action", b"", 0, (), False), cpus, lease)


def report(attempt, size=10):
    return Report(b"receipt", AnswerData(attempt, b"", b"a" * size, b""))


def leased(*attempts, lease=1, **more):
    return Replied("poll-1", leased=tuple(work(a, lease=lease, **more) for a in attempts))


def started(instructions):
    return [(it.slot, it.work.attempt) for it in instructions if isinstance(it, Start)]


@pytest.fixture
def state():
    return State(2)


def test_a_fresh_node_asks_for_a_task_a_slot_and_parks_a_poll(state):
    assert state.poll_due()
    assert state.draft_poll("poll-1").want == 2
    assert not state.poll_due()
    assert not state.report_due()


def test_what_is_leased_starts_at_once_and_the_next_when_a_slot_is_free(state):
    assert started(state.handle(leased(1, 2, 3), 0.0)) == [(0, 1), (1, 2)]
    assert started(state.handle(Ended(2, report(2), 0.1), 0.1)) == [(1, 3)]
    assert state.report_due()


def test_a_receipt_is_kept_until_the_hub_names_it(state):
    state.handle(leased(1), 0.0)
    state.handle(Ended(1, report(1), 0.1), 0.1)
    assert [it.answer.attempt for it in state.draft_report().reports] == [1]
    assert not state.report_due()
    state.handle(WentUnanswered(REPORT), 0.2)
    assert [it.answer.attempt for it in state.draft_report().reports] == [1]
    state.handle(Replied(REPORT, accepted=(1,)), 0.3)
    assert not state.report_due()
    assert state.held() == state.leases() == ()


def test_a_receipt_that_the_hub_never_takes_becomes_a_refusal_and_then_a_hand_back(state):
    state.handle(leased(1), 0.0)
    state.handle(Ended(1, Report(b"receipt", report(1).answer, work(1)), 0.1), 0.1)
    (refuse,) = [it for it in state.handle(Rejected(1), 0.2) if isinstance(it, Refuse)]
    assert refuse.works == (work(1),)
    state.handle(Ended(1, report(1), 0.0), 0.2)
    state.handle(Rejected(1), 0.3)
    assert state.draft_report().handed_back == (1,)


def test_a_lease_that_comes_twice_is_taken_once(state):
    state.handle(leased(1, lease=7), 0.0)
    assert started(state.handle(leased(1, lease=7), 0.1)) == []
    state.handle(Ended(1, report(1), 0.1), 0.2)
    state.draft_report()
    state.handle(Replied(REPORT, accepted=(1,)), 0.3)
    assert started(state.handle(leased(1, lease=7), 0.4)) == []


def test_a_cancelled_task_that_runs_is_killed_and_leaves_no_receipt(state):
    state.handle(leased(1, 2, 3), 0.0)
    out = state.handle(Replied("poll-1", cancels=(2, 3)), 0.1)
    assert [it for it in out if isinstance(it, Kill)] == [Kill(1, 2)]
    state.handle(Ended(2, report(2), 0.1), 0.2)
    assert state.held() == (1,)


def test_a_cancel_may_overtake_its_lease(state):
    state.handle(Replied(REPORT, cancels=(5,)), 0.0)
    assert started(state.handle(leased(5, 6), 0.1)) == [(0, 6)]


def test_a_job_keeps_to_the_slot_where_its_cell_is_warm(state):
    state.handle(Replied("poll-1", leased=(work(1, JOB), work(2, OTHER))), 0.0)
    state.handle(Ended(1, report(1), 0.1), 0.1)
    state.handle(Ended(2, report(2), 0.1), 0.1)
    assert started(state.handle(Replied("poll-1", leased=(work(3, OTHER, lease=2),)), 0.2)) == [(1, 3)]


def test_jobs_take_turns_in_a_slot_and_not_tasks(state):
    state = State(1)
    state.handle(Replied("poll-1", leased=tuple(work(a, (JOB, OTHER)[a % 2], lease=1) for a in range(1, 41))), 0.0)
    order, now = [], 0.0
    while state.running:
        (attempt,) = state.running
        order.append(attempt % 2)
        now += 0.1
        state.handle(Ended(attempt, report(attempt), 0.1), now)
    switches = sum(a != b for a, b in pairwise(order))
    assert len(order) == 40
    assert switches <= 5
    assert order[11] != order[0]  # after a second it was the other's turn


def test_a_task_of_two_cpus_waits_for_two_slots_and_empties_the_second(state):
    state.handle(leased(1), 0.0)
    assert started(state.handle(Replied("poll-1", leased=(work(2, cpus=2, lease=2), work(3, lease=2))), 0.1)) == []
    out = state.handle(Ended(1, report(1), 0.1), 0.2)
    assert started(out) == [(0, 2)]
    assert Empty(1) in out
    assert started(state.handle(Ended(2, report(2), 0.1), 0.3)) == [(0, 3)]


def test_short_tasks_are_asked_for_in_numbers(state):
    state.handle(leased(1, 2), 0.0)
    state.handle(Ended(1, report(1), 0.001), 0.1)
    assert state.draft_report().want > 100
    for attempt in range(3, 60):
        state.handle(leased(attempt, lease=attempt), 0.1)
        state.handle(Ended(attempt, report(attempt), 0.00001), 0.1)
    assert state.free() <= limits.MAX_ATTEMPTS_PER_EXCHANGE


def test_long_tasks_are_held_one_a_slot(state):
    state.handle(leased(1, 2), 0.0)
    state.handle(Ended(1, report(1), 60.0), 60.0)
    assert state.draft_report().want == 1


def test_what_the_polls_and_the_report_ask_for_is_never_more_than_what_is_free(state):
    state.draft_poll("poll-1")
    state.handle(leased(1, lease=1), 0.0)
    assert state.draft_poll("poll-1").want == 1
    state.handle(Ended(1, report(1), 60.0), 60.0)
    assert state.draft_report().want == 1
    assert state.free() == 0


def test_when_more_is_free_than_the_parked_poll_offers_another_takes_its_place(state):
    state.handle(leased(1, 2), 0.0)
    assert state.draft_poll("poll-1").want == 0
    state.handle(Ended(1, report(1), 60.0), 60.0)
    assert not state.poll_due()  # the report that is due asks for it
    state.draft_report()
    out = state.handle(Replied(REPORT, accepted=(1,)), 60.1)
    assert Talk() in out
    assert state.poll_due()
    assert state.draft_poll("poll-2").want == 1
    assert not state.poll_due()


def test_too_much_work_that_turns_out_long_goes_back_to_the_hub(state):
    state.handle(leased(1, 2), 0.0)
    state.handle(Ended(1, report(1), 0.001), 0.0)
    state.handle(Ended(2, report(2), 0.001), 0.0)
    state.handle(Replied("poll-1", leased=tuple(work(a, OTHER, lease=2) for a in range(10, 110))), 0.0)
    state.handle(Ticked(), 30.0)
    assert len(state.queue) <= 1
    assert max(state.handed_back) == 109
    assert state.report_due()


def test_a_refused_job_is_refused_whole_at_once(state):
    state.handle(leased(1, 2, 3, 4), 0.0)
    out = state.handle(JobRefused(JOB, "environment: no room"), 0.1)
    (refuse,) = [it for it in out if isinstance(it, Refuse)]
    assert [it.attempt for it in refuse.works] == [3, 4]
    assert refuse.reason == "environment: no room"
    for attempt in (3, 4):
        state.handle(Ended(attempt, report(attempt), 0.0), 0.1)
    state.check()


def test_a_job_that_cannot_run_now_is_handed_back(state):
    state.handle(leased(1, 2, 3), 0.0)
    state.handle(JobRefused(JOB, again=True), 0.1)
    state.handle(Ended(1, None, 0.0), 0.1)
    assert state.draft_report().handed_back == (1, 3)


def test_a_node_that_was_taken_for_gone_keeps_what_runs_and_drops_what_waits(state):
    state.handle(leased(1, 2, 3), 0.0)
    state.handle(Lost(), 1.0)
    assert sorted(state.held()) == [1, 2]


def test_stopping_kills_what_runs_hands_back_everything_and_asks_for_nothing(state):
    state.handle(leased(1, 2, 3), 0.0)
    out = state.handle(Stopped(), 1.0)
    assert {it.attempt for it in out if isinstance(it, Kill)} == {1, 2}
    for attempt in (1, 2):
        state.handle(Ended(attempt, None, 0.5), 1.0)
    assert state.draft_report().handed_back == (1, 2, 3)
    assert state.free() == 0
    assert not state.poll_due()


def test_a_node_whose_answers_are_not_taken_stops_asking(state):
    state.handle(leased(1), 0.0)
    state.handle(Ended(1, report(1, MAX_UNACKNOWLEDGED_BYTES + 1), 0.1), 0.1)
    assert state.free() == 0


def test_a_report_stays_within_what_a_request_may_hold(state):
    state.handle(leased(*range(1, 30)), 0.0)
    for attempt in range(1, 30):
        state.handle(Ended(attempt, report(attempt, limits.MAX_ANSWER_BYTES), 0.1), 0.1)
    sent = state.draft_report().reports
    assert sum(it.size_bytes for it in sent) < limits.MAX_REQUEST_BYTES
    assert len(state.done) == 29


class Node(RuleBasedStateMachine):
    """A hub that grants, cancels and loses replies at will; slots that end in any order."""

    @initialize(slots=st.integers(1, 4))
    def begin(self, slots):
        self.state = State(slots)
        self.now = 0.0
        self.next = 1
        self.granted, self.over, self.cancelled = set(), set(), set()
        self.slots = {}
        self.out = {}
        self.to_refuse = []

    def tell(self, event):
        self.now += 0.01
        for it in self.state.handle(event, self.now):
            match it:
                case Start(slot, work):
                    assert slot not in self.slots, "one attempt a slot"
                    self.slots[slot] = work.attempt
                case Kill(slot, attempt):
                    assert self.slots[slot] == attempt
                case Refuse(works, _):
                    self.to_refuse += [work.attempt for work in works]

    @precondition(lambda self: self.state.poll_due())
    @rule(channel=st.sampled_from(["poll-1", "poll-2"]))
    def poll(self, channel):
        if channel not in self.out:
            self.out[channel] = self.state.draft_poll(channel)

    @precondition(lambda self: self.state.report_due())
    @rule()
    def send(self):
        self.out[REPORT] = self.state.draft_report()

    @precondition(lambda self: self.out)
    @rule(data=st.data(), cpus=st.integers(1, 4), answered=st.booleans(), job=st.sampled_from([JOB, OTHER]))
    def reply(self, data, cpus, answered, job):
        channel = data.draw(st.sampled_from(sorted(self.out)))
        draft = self.out.pop(channel)
        if not answered:
            self.tell(WentUnanswered(channel))
            return
        cpus = min(cpus, self.state.slots)
        count = data.draw(st.integers(0, min(5, draft.want // cpus)))
        attempts = range(self.next, self.next + count)
        self.next += count + 1
        live = sorted(self.granted - self.over - self.cancelled)
        cancels = tuple(data.draw(st.lists(st.sampled_from(live), unique=True))) if live else ()
        accepted = tuple(it.answer.attempt for it in draft.reports) + draft.handed_back
        assert self.over.isdisjoint(accepted), "a receipt was sent again after it was accepted"
        self.granted.update(attempts)
        self.over.update(accepted)
        self.cancelled.update(cancels)
        self.tell(Replied(channel, tuple(work(a, job, cpus, self.next) for a in attempts), cancels, accepted))

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), took_s=st.floats(0.0001, 100))
    def end(self, data, took_s):
        slot = data.draw(st.sampled_from(sorted(self.slots)))
        attempt = self.slots.pop(slot)
        self.tell(Ended(attempt, report(attempt), took_s))

    @precondition(lambda self: self.to_refuse)
    @rule()
    def refuse(self):
        attempt = self.to_refuse.pop()
        self.tell(Ended(attempt, report(attempt), 0.0))

    @rule(job=st.sampled_from([JOB, OTHER]), again=st.booleans())
    def job_refused(self, job, again):
        self.tell(JobRefused(job, "environment: x", again))

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds):
        self.now += seconds
        self.tell(Ticked())

    @rule()
    def stop(self):
        if self.next > 40:
            self.tell(Stopped())

    @invariant()
    def nothing_is_forgotten(self):
        self.state.check()
        held = set(self.state.held())
        assert self.granted - self.over - self.cancelled <= held
        assert held <= self.granted - self.over


Node.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestNode = Node.TestCase
