"""The life cycles of tasks, attempts, leases and jobs, each one table: (state, event) -> state.

States are nouns and adjectives, events are in the past tense. An edge that is not in the table does not
exist: asking for it raises `Conflict` with the state and the event, and nothing changes. The tables are the
whole truth about what may follow what; the hub's commands ask them, the docs are generated from them.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from talkoot.core.errors import Conflict


class TaskState(StrEnum):
    """Where a task is."""

    WAITING = "waiting"
    """For the answers of other tasks, or of the same action in another job."""
    QUEUED = "queued"
    RUNNING = "running"
    PROVISIONAL = "provisional"
    """There is an answer, usable with its present confidence, unpaid; it may be re-opened."""
    DISPUTED = "disputed"
    """Answers differ, and the ladder has not yet said which is right."""
    FINAL = "final"
    """Paid, never re-opened."""
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskEvent(StrEnum):
    """What can happen to a task."""

    INPUTS_KNOWN = "inputs_known"
    INPUT_FAILED = "input_failed"
    REMEMBERED = "remembered"
    LEASED = "leased"
    RELEASED = "released"
    """Its last live attempt ended without an answer."""
    ANSWERED = "answered"
    DIFFERED = "differed"
    REOPENED = "reopened"
    ACCEPTED = "accepted"
    GIVEN_UP = "given_up"
    CANCELLED = "cancelled"


class AttemptState(StrEnum):
    """Where one contributor's work on one task is."""

    LEASED = "leased"
    ANSWERED = "answered"
    """Its receipt is in; the verdict is not."""
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """The verdict found another answer right."""
    SURPLUS = "surplus"
    """Answered, but the task no longer needed it."""
    KILLED = "killed"
    """The task exceeded a limit or ended its process."""
    REFUSED = "refused"
    HANDED_BACK = "handed_back"
    LOST = "lost"
    """The node fell silent, or came back without it."""
    CANCELLED = "cancelled"
    LATE = "late"
    """Answered after its lease was over and the task settled; never paid."""


class AttemptEvent(StrEnum):
    """What can happen to an attempt."""

    ANSWERED = "answered"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_NEEDED = "not_needed"
    KILLED = "killed"
    REFUSED = "refused"
    HANDED_BACK = "handed_back"
    LOST = "lost"
    CANCELLED = "cancelled"


class LeaseState(StrEnum):
    """A lease is what carries a chunk of attempts to a node; it lives as long as one of them is live."""

    GRANTED = "granted"
    SETTLED = "settled"
    HANDED_BACK = "handed_back"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class LeaseEvent(StrEnum):
    """What can happen to a lease."""

    SETTLED = "settled"
    HANDED_BACK = "handed_back"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class JobState(StrEnum):
    """Where a job is."""

    OPEN = "open"
    """Takes more tasks."""
    SEALED = "sealed"
    """All its tasks are known; some are not settled."""
    DONE = "done"
    CANCELLED = "cancelled"


class JobEvent(StrEnum):
    """What can happen to a job."""

    SEALED = "sealed"
    SETTLED = "settled"
    """Its last task was settled after it was sealed."""
    CANCELLED = "cancelled"


_T, _TE = TaskState, TaskEvent
TASK: Final[Mapping[tuple[TaskState, TaskEvent], TaskState]] = {
    (_T.WAITING, _TE.INPUTS_KNOWN): _T.QUEUED,
    (_T.WAITING, _TE.REMEMBERED): _T.FINAL,
    (_T.WAITING, _TE.INPUT_FAILED): _T.FAILED,
    (_T.WAITING, _TE.CANCELLED): _T.CANCELLED,
    (_T.QUEUED, _TE.REMEMBERED): _T.FINAL,
    (_T.QUEUED, _TE.LEASED): _T.RUNNING,
    (_T.QUEUED, _TE.ANSWERED): _T.PROVISIONAL,  # a late answer of a lost attempt, still needed
    (_T.QUEUED, _TE.ACCEPTED): _T.FINAL,
    (_T.QUEUED, _TE.GIVEN_UP): _T.FAILED,
    (_T.QUEUED, _TE.CANCELLED): _T.CANCELLED,
    (_T.RUNNING, _TE.LEASED): _T.RUNNING,
    (_T.RUNNING, _TE.RELEASED): _T.QUEUED,
    (_T.RUNNING, _TE.ANSWERED): _T.PROVISIONAL,
    (_T.RUNNING, _TE.ACCEPTED): _T.FINAL,
    (_T.RUNNING, _TE.GIVEN_UP): _T.FAILED,
    (_T.RUNNING, _TE.CANCELLED): _T.CANCELLED,
    (_T.PROVISIONAL, _TE.LEASED): _T.PROVISIONAL,
    (_T.PROVISIONAL, _TE.RELEASED): _T.PROVISIONAL,
    (_T.PROVISIONAL, _TE.ANSWERED): _T.PROVISIONAL,
    (_T.PROVISIONAL, _TE.DIFFERED): _T.DISPUTED,
    (_T.PROVISIONAL, _TE.REOPENED): _T.QUEUED,
    (_T.PROVISIONAL, _TE.ACCEPTED): _T.FINAL,
    (_T.PROVISIONAL, _TE.GIVEN_UP): _T.FAILED,
    (_T.PROVISIONAL, _TE.CANCELLED): _T.CANCELLED,
    (_T.DISPUTED, _TE.LEASED): _T.DISPUTED,
    (_T.DISPUTED, _TE.RELEASED): _T.DISPUTED,
    (_T.DISPUTED, _TE.ANSWERED): _T.DISPUTED,
    (_T.DISPUTED, _TE.DIFFERED): _T.DISPUTED,
    (_T.DISPUTED, _TE.REOPENED): _T.QUEUED,
    (_T.DISPUTED, _TE.ACCEPTED): _T.FINAL,
    (_T.DISPUTED, _TE.GIVEN_UP): _T.FAILED,
    (_T.DISPUTED, _TE.CANCELLED): _T.CANCELLED,
}

_A, _AE = AttemptState, AttemptEvent
ATTEMPT: Final[Mapping[tuple[AttemptState, AttemptEvent], AttemptState]] = {
    (_A.LEASED, _AE.ANSWERED): _A.ANSWERED,
    (_A.LEASED, _AE.KILLED): _A.KILLED,
    (_A.LEASED, _AE.REFUSED): _A.REFUSED,
    (_A.LEASED, _AE.HANDED_BACK): _A.HANDED_BACK,
    (_A.LEASED, _AE.LOST): _A.LOST,
    (_A.LEASED, _AE.CANCELLED): _A.CANCELLED,
    (_A.ANSWERED, _AE.ACCEPTED): _A.ACCEPTED,
    (_A.ANSWERED, _AE.REJECTED): _A.REJECTED,
    (_A.ANSWERED, _AE.NOT_NEEDED): _A.SURPLUS,
    (_A.LOST, _AE.ANSWERED): _A.ANSWERED,
    (_A.LOST, _AE.NOT_NEEDED): _A.LATE,
    (_A.LOST, _AE.KILLED): _A.LATE,
    (_A.LOST, _AE.REFUSED): _A.LATE,
    (_A.HANDED_BACK, _AE.NOT_NEEDED): _A.LATE,
    (_A.CANCELLED, _AE.NOT_NEEDED): _A.LATE,
}

_L, _LE = LeaseState, LeaseEvent
LEASE: Final[Mapping[tuple[LeaseState, LeaseEvent], LeaseState]] = {
    (_L.GRANTED, _LE.SETTLED): _L.SETTLED,
    (_L.GRANTED, _LE.HANDED_BACK): _L.HANDED_BACK,
    (_L.GRANTED, _LE.EXPIRED): _L.EXPIRED,
    (_L.GRANTED, _LE.CANCELLED): _L.CANCELLED,
}

_J, _JE = JobState, JobEvent
JOB: Final[Mapping[tuple[JobState, JobEvent], JobState]] = {
    (_J.OPEN, _JE.SEALED): _J.SEALED,
    (_J.OPEN, _JE.CANCELLED): _J.CANCELLED,
    (_J.SEALED, _JE.SETTLED): _J.DONE,
    (_J.SEALED, _JE.CANCELLED): _J.CANCELLED,
}

SETTLED_TASKS: Final = frozenset({TaskState.FINAL, TaskState.FAILED, TaskState.CANCELLED})
LIVE_JOBS: Final = frozenset({JobState.OPEN, JobState.SEALED})

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


def after(table: Mapping[tuple[S, E], S], state: S, event: E) -> S:
    """The state that follows. Raises `Conflict` when the life cycle has no such edge."""
    try:
        return table[state, event]
    except KeyError:
        kind = type(state).__name__.removesuffix("State").lower()
        raise Conflict(f"a {kind} that is {state.value} cannot be {event.value.replace('_', ' ')}") from None
