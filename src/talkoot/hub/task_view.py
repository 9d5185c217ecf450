"""One task: its attempts with their receipts and proofs, and its story in plain words.

What an attempt answered (`value`, a digest) and what it was for are shown to others than the submitter only when the task
is settled: a contributor must not be able to try out guesses on another's answer, nor to tell a check from a task.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from talkoot.core import confidence, pricing
from talkoot.core.errors import NotFound
from talkoot.core.events import AttemptAnswered, Payload, ReceiptSetAside
from talkoot.core.lifecycle import SETTLED_TASKS, TaskState
from talkoot.core.types import Receipt
from talkoot.crypto import merkle
from talkoot.crypto.signed import Signed
from talkoot.hub import progress, views
from talkoot.hub.offers import Query
from talkoot.wire import messages as m

_PURPOSES: Final = {
    "work": "",
    "copy": " as a further opinion",
    "rerun": " once more, to see whether it agrees with itself",
    "referee": " as referee",
}
_ENDS: Final = {
    "handed_back": "gave it back",
    "lost": "fell silent or came back without it",
    "cancelled": "was told to stop: it was needed no more",
}


class _Attempt:
    """One row of `attempts` with what belongs to it."""

    COLUMNS: Final = (
        "attempts.id, nodes.name, members.name, purpose, attempts.state, outcome, value, core_ms, receipt,"
        " attempts.reason, granted, ended, coalesce((SELECT amount FROM transfers t WHERE t.attempt = attempts.id"
        " AND t.reason = 'pay'), 0), nodes.key"
    )

    def __init__(self, row: Any, times: dict[int, int]) -> None:
        self.id, self.node, self.owner, self.purpose, self.state, self.outcome, self.value = row[:7]
        self.core_ms, self.receipt, self.reason, self.granted, self.ended, self.paid, self.key = row[7:]
        self.granted_ms, self.ended_ms = times[self.granted], times.get(self.ended, 0)
        self.stated = msgspec.msgpack.decode(self.receipt, type=Receipt) if self.receipt else None


def task(query: Query, viewer: bytes, request: m.ViewTask) -> m.TaskView:
    """Everything there is to see of a task."""
    job = views.find_job(query, viewer, request.job)
    index = request.index if 0 <= request.index < 2**63 else -1
    rows = query(
        "SELECT idx, state, executions, confidence, cost, reason, action, settled, source_job, source_idx"
        " FROM tasks WHERE job = ? AND idx = ?",
        job.no,
        index,
    )
    if not rows:
        raise NotFound(f"the job has no task {request.index}")
    row = m.TaskRow(*rows[0][:6])
    action, settled, source_job, source_index = rows[0][6:]
    attempts = _attempts(query, job.no, index)
    shown = row.state in SETTLED_TASKS or viewer == job["submitter"]
    wanted = query("SELECT 1 FROM queue WHERE job = ? AND idx = ? LIMIT 1", job.no, index)
    return m.TaskView(
        request.job,
        row,
        action,
        tuple(_attempt_row(query, attempt, shown=shown) for attempt in attempts),
        tuple(_story(query, job, row, attempts, settled, (source_job, source_index), shown=shown)),
        tuple(progress.waiting_for(query, job, index)) if wanted else (),
    )


def _attempts(query: Query, job: int, index: int) -> list[_Attempt]:
    rows = query(
        f"SELECT {_Attempt.COLUMNS} FROM attempts JOIN nodes ON nodes.no = attempts.node"  # noqa: S608
        " JOIN members ON members.account = attempts.owner WHERE job = ? AND idx = ? ORDER BY attempts.id",
        job,
        index,
    )
    times = views.times_of(query, (position for row in rows for position in row[10:12]))
    return [_Attempt(row, times) for row in rows]


def _attempt_row(query: Query, attempt: _Attempt, *, shown: bool) -> m.AttemptRow:
    proof = _proof(query, attempt)
    return m.AttemptRow(
        attempt.id,
        attempt.node,
        attempt.owner,
        attempt.purpose if shown else "",
        attempt.state,
        attempt.outcome,
        attempt.value if shown else b"",
        attempt.core_ms,
        attempt.stated.memory_bytes if attempt.stated else 0,
        attempt.stated.rung.value if attempt.stated else "",
        attempt.reason,
        attempt.granted_ms,
        attempt.ended_ms,
        attempt.paid,
        attempt.receipt,
        *proof,
    )


def _proof(query: Query, attempt: _Attempt) -> tuple[Signed | None, tuple[bytes, ...], int]:
    """(signed batch, inclusion proof, place) of the attempt's receipt, from the entry that it came in with.

    Nothing where the receipt has not come.
    """
    if not attempt.receipt:
        return None, (), 0
    entry = _entry_of(query, attempt)
    if entry is None or not entry.will:
        return None, (), 0
    signed = msgspec.msgpack.decode(entry.will, type=Signed)
    batch = msgspec.msgpack.decode(signed.payload, type=m.ReceiptBatch)
    leaves, leaf = leaves_of(entry), merkle.leaf_hash(attempt.receipt)
    if merkle.root(leaves) != batch.root:
        return None, (), 0
    place = leaves.index(leaf)
    return signed, tuple(merkle.inclusion_proof(leaves, place)), place


def leaves_of(entry: Payload) -> list[bytes]:
    """The leaves of the batch that an exchange brought: of recorded receipts in their order, others at their places."""
    aside = {event.place: event.leaf for event in entry.events if isinstance(event, ReceiptSetAside)}
    recorded = [merkle.leaf_hash(event.receipt) for event in entry.events if isinstance(event, AttemptAnswered)]
    rest = iter(recorded)
    return [aside.get(place) or next(rest) for place in range(len(aside) + len(recorded))]


def _entry_of(query: Query, attempt: _Attempt) -> Payload | None:
    rows = query("SELECT payload FROM log WHERE position = ?", attempt.ended)
    return msgspec.msgpack.decode(rows[0][0], type=Payload) if rows else None


# The story.


def _story(
    query: Query,
    job: progress.JobFacts,
    row: m.TaskRow,
    attempts: list[_Attempt],
    settled: int,
    source: tuple[int, int],
    *,
    shown: bool,
) -> Iterator[str]:
    (added_ms,) = views.times_of(query, [job["entry"]]).values()
    yield f"{views.clock_text(added_ms)}  {views.name_of(query, job['submitter'])} submitted the job"
    events = [event for attempt in attempts for event in _told(attempt, shown=shown)]
    for at_ms, words in sorted(events, key=lambda event: event[0]):
        yield f"{views.clock_text(at_ms)}  {words}"
    if settled:
        (settled_ms,) = views.times_of(query, [settled]).values()
        yield f"{views.clock_text(settled_ms)}  {_settled(query, row, source)}"
        yield from (f"{views.clock_text(settled_ms)}  {words}" for attempt in attempts for words in _judged(attempt))
    else:
        yield _open(row)


def _told(attempt: _Attempt, *, shown: bool) -> Iterator[tuple[int, str]]:
    who = f"{attempt.node} ({attempt.owner})"
    yield attempt.granted_ms, f"{who} got it{_PURPOSES[attempt.purpose] if shown else ''}"
    if not attempt.ended_ms:
        return
    if attempt.state in _ENDS:
        yield attempt.ended_ms, f"{who} {_ENDS[attempt.state]}"
    elif attempt.state in ("killed", "refused"):
        how = "was stopped at it" if attempt.state == "killed" else "would not run it"
        yield attempt.ended_ms, f"{who} {how}: {attempt.reason}"
    elif attempt.state == "late":
        yield attempt.ended_ms, f"{who} answered too late"
    else:
        what = "says that it raised" if attempt.outcome == "raised" else "answered"
        yield attempt.ended_ms, f"{who} {what}, after {attempt.core_ms / 1000:.3f} core-seconds"


def _settled(query: Query, row: m.TaskRow, source: tuple[int, int]) -> str:
    sure = confidence.text(row.confidence_ppm)
    if row.state == TaskState.FAILED:
        return f"the task failed: {row.reason}"
    if row.state == TaskState.CANCELLED:
        return "the task was cancelled"
    if row.state == TaskState.PROVISIONAL:
        return f"there is an answer, sure to {sure}; it is not final yet"
    if source[0]:
        (name,) = query("SELECT name FROM jobs WHERE no = ?", source[0])[0]
        return f"the answer was known from task {source[1]} of {name}; nothing was run (sure to {sure})"
    return f"the answer is final, sure to {sure}"


def _judged(attempt: _Attempt) -> Iterator[str]:
    if attempt.state == "accepted":
        pay = f" and paid {pricing.credits_text(attempt.paid)} credits" if attempt.paid else ""
        yield f"the answer of {attempt.node} was accepted{pay}"
    elif attempt.state == "rejected":
        yield f"the answer of {attempt.node} was rejected{': ' + attempt.reason if attempt.reason else ''}"
    elif attempt.state == "surplus":
        yield f"the answer of {attempt.node} was not needed any more"


def _open(row: m.TaskRow) -> str:
    words = {
        TaskState.WAITING: "it waits for the answers of other tasks",
        TaskState.QUEUED: "it waits for a node",
        TaskState.RUNNING: "it is being worked at",
        TaskState.DISPUTED: "the answers differ; more are being asked for",
    }.get(TaskState(row.state), row.state)
    return f"now: {words}{' (' + row.reason + ')' if row.reason else ''}"
