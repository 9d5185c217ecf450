"""Reading a job's answers: everything settled since a cursor, in log order, or a wait until there is something.

A cursor is `settled << 32 | index`: the position of the log at which the last task that was looked at settled, and its
index. A task that settles again (provisional, then final) gets a later position, so it is sent again, and a cursor may
pass over what is not asked for.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from talkoot.core import ids, limits
from talkoot.core.errors import NotFound
from talkoot.core.lifecycle import LIVE_JOBS, TaskState
from talkoot.core.types import Outcome
from talkoot.hub import progress
from talkoot.hub.offers import Query
from talkoot.wire.messages import Answer, Answers, Progress

INDEX_BITS: Final = 32
_SETTLED: Final = frozenset({TaskState.FINAL, TaskState.FAILED, TaskState.CANCELLED})
_PAGE: Final = 256
_SQL: Final = (
    "SELECT t.settled, t.idx, t.state, a.outcome, coalesce(b.data, x''), coalesce(a.note, x''), t.confidence, t.cost,"
    " t.executions, t.source_job > 0, t.reason"
    " FROM tasks t LEFT JOIN attempts a ON a.id = t.canonical AND t.state <> 'failed'"
    " LEFT JOIN blobs b ON b.digest = a.answer"
    " WHERE t.job = ? AND t.settled > 0 AND (t.settled, t.idx) > (?, ?) ORDER BY t.settled, t.idx LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Page:
    """What one look found. `progress` is there when it is worth sending."""

    answers: tuple[Answer, ...]
    cursor: int
    progress: Progress | None


def own_job(query: Query, submitter: bytes, job: bytes) -> progress.JobFacts:
    """The submitter's job, or `NotFound` (also for somebody else's)."""
    rows = query(f"SELECT {progress.COLUMNS} FROM jobs WHERE id = ? AND submitter = ?", job, submitter)  # noqa: S608
    if not rows:
        raise NotFound(f"no job {ids.job_text(job)} of yours on this hub")
    return progress.JobFacts(rows[0])


def has_news(query: Query, submitter: bytes, job: bytes, after: int) -> bool:
    """Whether a look would find something, or an end. Two small steps in an index, whatever the job's size."""
    rows = query("SELECT no, state FROM jobs WHERE id = ? AND submitter = ?", job, submitter)
    if not rows or rows[0][1] not in LIVE_JOBS:
        return True
    place = after >> INDEX_BITS, after & ((1 << INDEX_BITS) - 1)
    sql = "SELECT 1 FROM tasks WHERE job = ? AND settled > 0 AND (settled, idx) > (?, ?) LIMIT 1"
    return bool(query(sql, rows[0][0], *place))


def look(query: Query, submitter: bytes, job_id: bytes, after: int, *, provisional: bool, report: bool) -> Page:
    """One look: what has settled after the cursor, within the limits of one reply.

    The progress comes along when there are answers, when there will be no more, or when `report` asks for it.
    """
    job = own_job(query, submitter, job_id)
    answers, cursor, complete = _collect(query, job.no, max(0, after), provisional=provisional)
    if not answers and not report and (job.live or not complete):
        return Page((), cursor, None)
    return Page(answers, cursor, progress.progress_of(query, job, progress.present_nodes(query)))


def _collect(query: Query, job: int, after: int, *, provisional: bool) -> tuple[tuple[Answer, ...], int, bool]:
    """(answers, new cursor, whether everything was looked at)."""
    found: list[Answer] = []
    size, cursor = 0, after
    while True:
        rows = query(_SQL, job, cursor >> INDEX_BITS, cursor & ((1 << INDEX_BITS) - 1), _PAGE)
        for row in rows:
            answer = _answer(query, job, row)
            wanted = provisional or row[2] in _SETTLED
            more = len(answer.answer) + len(answer.note)
            full = len(found) >= limits.MAX_ANSWERS_PER_READ or size + more > limits.MAX_ANSWER_BYTES_PER_READ
            if wanted and found and full:
                return tuple(found), cursor, False
            if wanted:
                found.append(answer)
                size += more
            cursor = row[0] << INDEX_BITS | row[1]
        if len(rows) < _PAGE:
            return tuple(found), cursor, True


def _answer(query: Query, job: int, row: Any) -> Answer:
    _, index, state, outcome, answer, note, confidence, cost, executions, remembered, reason = row
    if state == TaskState.FAILED:  # what it printed before it was killed is what its submitter needs most
        last = query(
            "SELECT note FROM attempts WHERE job = ? AND idx = ? AND state = 'killed' ORDER BY id DESC LIMIT 1", job, index
        )
        note = last[0][0] if last else b""
    return Answer(
        index,
        state,
        Outcome(outcome) if outcome else None,
        bytes(answer),
        bytes(note),
        confidence,
        cost,
        executions,
        bool(remembered),
        reason,
    )


class JobBells:
    """Who waits for news of which job. For the event loop's thread."""

    def __init__(self) -> None:
        self._bells: dict[bytes, set[asyncio.Event]] = {}

    @contextmanager
    def hung(self, job: bytes, bell: asyncio.Event) -> Iterator[None]:
        """Set the event at every commit that touches the job."""
        self._bells.setdefault(job, set()).add(bell)
        try:
            yield
        finally:
            others = self._bells[job]
            others.discard(bell)
            if not others:
                del self._bells[job]

    def ring(self, jobs: Iterable[bytes]) -> None:
        """Something happened to these jobs."""
        for job in jobs:
            for bell in self._bells.get(job, ()):
                bell.set()


def as_reply(page: Page) -> Answers:
    """The page as it is sent; it must have its progress."""
    assert page.progress is not None, "a page that is sent says where the job is"
    return Answers(page.answers, page.cursor, page.progress)
