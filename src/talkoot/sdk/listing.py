"""Jobs as rows for people: what `hub.jobs()` and `hub.job()` give."""

from dataclasses import dataclass
from datetime import UTC, datetime

from talkoot.core import confidence, ids
from talkoot.core.pricing import CREDIT
from talkoot.wire.messages import JobRow


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job as it is now."""

    id: str
    name: str
    project: str
    submitter: str
    state: str
    """`open`, `sealed`, `done` or `cancelled`."""
    tasks: int
    final: int
    failed: int
    cancelled: int
    running: int
    remembered: int
    """Answers that the hub knew already."""
    confidence: float
    """The least among the answers so far."""
    cost: float
    """Credits spent so far."""
    submitted: datetime
    ended: datetime | None
    why_waiting: str
    """In words, when nothing runs; empty otherwise."""


def summarize(row: JobRow) -> JobSummary:
    """The row of the hub in a researcher's units."""
    progress = row.progress
    return JobSummary(
        id=ids.job_text(row.job),
        name=row.name,
        project=row.project,
        submitter=row.submitter,
        state=progress.state,
        tasks=progress.total,
        final=progress.final,
        failed=progress.failed,
        cancelled=progress.cancelled,
        running=progress.running,
        remembered=progress.remembered,
        confidence=progress.confidence_ppm / confidence.PPM,
        cost=progress.spent_microcredits / CREDIT,
        submitted=_time(row.submitted_ms),
        ended=_time(row.ended_ms) if row.ended_ms else None,
        why_waiting=progress.why_waiting,
    )


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
