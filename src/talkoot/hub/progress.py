"""Where a job is, and why nothing moves when nothing moves: in numbers and in words."""

from collections.abc import Sequence
from typing import Any, Final

from talkoot.core import pricing
from talkoot.core.lifecycle import LIVE_JOBS, JobState
from talkoot.core.types import Manifest
from talkoot.hub.fold import decode_manifest
from talkoot.hub.offers import FREE, Query, need_of, offers, why_not
from talkoot.wire.messages import Progress, WaitReason

COLUMNS: Final = (
    "no, id, project, submitter, submitter_account, name, state, account, price, cap, reserved, manifest, entry, ended_entry,"
    " total, waiting, queued, running, provisional, disputed, final, failed, cancelled, remembered, attempts, copies,"
    " reruns, confidence"
)
MAX_WORDS_REASONS: Final = 4
"""Reasons that fit in one line."""
SHARED: Final = "the same actions are under way in another job"


class JobFacts:
    """One row of `jobs`, by name, with its manifest."""

    def __init__(self, row: Any) -> None:
        self._row = dict(zip(COLUMNS.replace(" ", "").split(","), row, strict=True))
        self.no: int = self._row["no"]
        self.state = JobState(self._row["state"])
        self.manifest: Manifest = decode_manifest(self._row["manifest"])

    def __getitem__(self, column: str) -> Any:
        return self._row[column]

    @property
    def live(self) -> bool:
        """Whether something may still happen to it."""
        return self.state in LIVE_JOBS


def present_nodes(query: Query) -> int:
    """How many nodes are there."""
    return int(query("SELECT count(*) FROM nodes WHERE state = 'present'")[0][0])


def progress_of(query: Query, job: JobFacts, nodes: int) -> Progress:
    """Where the job is. `nodes`: how many are present."""
    counts = {name: job[name] for name in ("total", "waiting", "queued", "running", "provisional", "disputed", "final")}
    counts |= {name: job[name] for name in ("failed", "cancelled", "remembered", "attempts", "copies", "reruns")}
    return Progress(
        state=job.state.value,
        **counts,
        nodes=nodes,
        confidence_ppm=job["confidence"] if job["final"] else 0,
        spent_microcredits=spent(query, job),
        why_waiting=why_waiting(query, job, nodes),
    )


def spent(query: Query, job: JobFacts) -> int:
    """What the job has cost so far: what came into its escrow, less what is there and what went back.

    Not the sum of its payments, which would be read again at every look.
    """
    (balance,) = query("SELECT balance FROM accounts WHERE id = ?", job["account"])[0]
    released = 0
    if not job.live:
        last = query("SELECT amount, reason FROM transfers WHERE job = ? ORDER BY id DESC LIMIT 1", job.no)
        released = last[0][0] if last and last[0][1] == "release" else 0
    return int(job.manifest.budget_microcredits - balance - released)


def why_waiting(query: Query, job: JobFacts, nodes: int) -> str:
    """In words, when nothing of the job runs though something is left to do; empty otherwise."""
    if not job.live or job["running"]:
        return ""
    left = job["waiting"] + job["queued"] + job["provisional"] + job["disputed"]
    if not left:
        return "" if job.state is not JobState.OPEN else "it is open: more tasks may come"
    index = wanted_task(query, job.no)
    if index is None:
        leased = query("SELECT 1 FROM attempts WHERE job = ? AND state = 'leased' LIMIT 1", job.no)
        if leased:
            return ""
        return SHARED if _waits_for_a_twin(query, job.no) else "its tasks wait for the answers of other tasks"
    if not nodes:
        return "no device is here to take its tasks (`talkoot invite` makes a ticket for one)"
    return in_words(waiting_for(query, job, index, gone=False))


def _waits_for_a_twin(query: Query, job: int) -> bool:
    elsewhere = "SELECT 1 FROM twins t JOIN actions a ON a.key = t.key WHERE t.job = ? AND a.job <> t.job LIMIT 1"
    return bool(query(elsewhere, job))


def wanted_task(query: Query, job: int) -> int | None:
    """The first task of a job for which somebody is wanted."""
    row = query("SELECT idx FROM queue WHERE job = ? LIMIT 1", job)
    return row[0][0] if row else None


def waiting_for(query: Query, job: JobFacts, index: int, *, gone: bool = True) -> list[WaitReason]:
    """Per node, why it does not take the task now; without those that are gone for good if not `gone`."""
    need = need_of(job.manifest, job["submitter_account"])
    broke = _out_of_budget(query, job)
    owners = {offer.name: offer.owner for offer in offers(query)}
    return [
        WaitReason(name, broke if broke and why == FREE and owners[name] != need.submitter else why)
        for name, why in why_not(query, job.no, index, need, gone=gone)
    ]


def _out_of_budget(query: Query, job: JobFacts) -> str:
    (balance,) = query("SELECT balance FROM accounts WHERE id = ?", job["account"])[0]
    free = max(0, balance - job["reserved"])
    if free >= job["cap"]:
        return ""
    return (
        f"the job's budget does not cover it: {pricing.credits_text(free)} credits are free, and an attempt may cost"
        f" {pricing.credits_text(job['cap'])}"
    )


def in_words(reasons: Sequence[WaitReason]) -> str:
    """Reasons in one line, nodes with the same reason together."""
    alike: dict[str, list[str]] = {}
    for reason in reasons:
        alike.setdefault(reason.why, []).append(reason.node)
    parts = [f"{_names(names)}: {why}" for why, names in list(alike.items())[:MAX_WORDS_REASONS]]
    if len(alike) > MAX_WORDS_REASONS:
        parts.append(f"and {len(alike) - MAX_WORDS_REASONS} more reasons")
    return "; ".join(parts)


def _names(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    shown = ", ".join(names[:3])
    return f"{shown} (each)" if len(names) <= 3 else f"{shown} and {len(names) - 3} more (each)"
