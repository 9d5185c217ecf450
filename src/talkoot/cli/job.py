"""`talkoot job`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec
from cyclopts import Parameter

from talkoot.cli import words
from talkoot.cli.options import Json, WhichHub
from talkoot.cli.output import columns, job_row, jsonable, show
from talkoot.cli.reach import reach, read_job
from talkoot.core import confidence
from talkoot.core.ids import JobId, job_text
from talkoot.core.limits import MAX_PAGE_ROWS
from talkoot.core.types import Comparator, Exact, Trust, Verifier
from talkoot.wire.client import Client
from talkoot.wire.messages import AttemptRow, JobView, TaskRow, TaskView, ViewJob, ViewTask, WaitReason

FEW_TASKS = 10
"""Up to so many, every task's story is told."""
LISTED_TASKS = 100


def job(
    job: Annotated[str, Parameter(help="Its id, as `talkoot jobs` lists it.")],
    /,
    *,
    task: Annotated[int | None, Parameter(help="Tell the story of this task alone (0 is the first).")] = None,
    hub: WhichHub = None,
    json: Json = False,
) -> None:
    """Show one job: where it is, what it cost, and what happened to its tasks.

    Of a job that waits, it says for each device why it does not take it. The story of every task is told where there
    are few; with --json, all of them are listed.

    Example: talkoot job job_aeaqcaibaeaqcaibaeaqcaibae --task 3
    """
    wanted = read_job(job)
    with reach(hub) as hub_here:
        seen = _look(hub_here.client, wanted, task, everything=json)
    show(seen.plain(), "\n".join(_told(seen, task)), as_json=json)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was asked for of a job."""

    view: JobView
    stories: tuple[TaskView, ...]

    def plain(self) -> dict[str, object]:
        """For JSON."""
        value: dict[str, object] = jsonable(self.view)
        return value | {"row": job_row(self.view.row), "stories": jsonable(self.stories)}


def _look(client: Client, job: JobId, task: int | None, *, everything: bool) -> Seen:
    view = client.call("/v1/view/job", ViewJob(job, MAX_PAGE_ROWS if everything else LISTED_TASKS), JobView)
    tasks = list(view.tasks)
    while everything and task is None and tasks and len(tasks) < view.row.progress.total:
        page = client.call("/v1/view/job", ViewJob(job, MAX_PAGE_ROWS, tasks[-1].index + 1), JobView).tasks
        if not page:
            break
        tasks += page
    if task is not None:
        chosen = [task]
    else:
        chosen = [row.index for row in tasks] if len(tasks) <= FEW_TASKS else []
    stories = tuple(client.call("/v1/view/task", ViewTask(job, index), TaskView) for index in chosen)
    return Seen(msgspec.structs.replace(view, tasks=tuple(tasks)), stories)


def _told(seen: Seen, task: int | None) -> Iterator[str]:
    yield from _head(seen.view)
    if seen.view.waiting:
        yield "why it waits:"
        yield from _waiting(seen.view.waiting)
    if task is None:
        yield from _tasks(seen.view)
    for story in seen.stories:
        yield from _story(story)


def _head(view: JobView) -> Iterator[str]:
    row, progress = view.row, view.row.progress
    counts = {
        "final": progress.final,
        "failed": progress.failed,
        "cancelled": progress.cancelled,
        "provisional": progress.provisional,
        "disputed": progress.disputed,
        "running": progress.running,
        "queued": progress.queued,
        "waiting": progress.waiting,
    }
    shown = ", ".join(f"{number:,} {state}" for state, number in counts.items() if number) or "none yet"
    yield f"{job_text(row.job)}  {row.name}: {words.state(progress)}"
    ended = f", ended {words.when(row.ended_ms)}" if row.ended_ms else ""
    yield f"  project {row.project}, submitted {words.when(row.submitted_ms)} by {row.submitter}{ended}"
    yield f"  {words.count(progress.total, 'task')}: {shown}"
    reruns = f"{words.count(progress.copies, 'copy')}, of them {words.count(progress.reruns, 're-run')}"
    yield f"  {words.count(progress.attempts, 'attempt')}, {reruns}, {progress.remembered:,} answered from memory"
    yield f"  verifier: {_verifier(view.manifest.verifier)}"
    yield f"  confidence at least {words.sure(progress)}"
    budget = f"{words.money(progress.spent_microcredits)} of {words.money(view.manifest.budget_microcredits)}"
    yield f"  cost {budget}; {words.money(view.price_microcredits)} a core-second"


def _verifier(verifier: Verifier) -> str:
    if isinstance(verifier, Trust):
        return "one answer is enough, whoever gives it"
    owners = words.count(verifier.copies, "distinct owner")
    return f"{owners} must give {_comparator(verifier.comparator)}; one device of your own is enough alone"


def _comparator(comparator: Comparator) -> str:
    if isinstance(comparator, Exact):
        return "the same bits"
    return f"the same within rtol {comparator.rtol:g}, atol {comparator.atol:g}"


def _tasks(view: JobView) -> Iterator[str]:
    if not view.tasks:
        return
    head = ("task", "state", "attempts", "confidence", "credits", "")
    yield columns([head, *map(_task, view.tasks)], indent=2)
    left = view.row.progress.total - len(view.tasks)
    if left > 0:
        yield f"  and {left:,} more (--task N shows one, --json all)"


def _task(row: TaskRow) -> tuple[str, ...]:
    sure = confidence.text(row.confidence_ppm) if row.confidence_ppm else ""
    cost = words.money(row.cost_microcredits).removesuffix(" credits")
    return (str(row.index), row.state, str(row.attempts), sure, cost, row.reason)


def _story(view: TaskView) -> Iterator[str]:
    yield f"task {view.row.index}: {view.row.state}"
    yield from (f"  {line}" for line in view.story)
    yield from (f"  {_attempt(row)}" for row in view.attempts if row.outcome)
    if view.waiting:
        yield "  why it waits:"
        yield from (f"  {line}" for line in _waiting(view.waiting))


def _attempt(row: AttemptRow) -> str:
    usage = f"{row.core_ms / 1000:.3g} core-seconds, {words.size(row.memory_bytes)}, sandbox {row.rung}"
    paid = f", paid {words.money(row.paid_microcredits)}" if row.paid_microcredits else ""
    return f"attempt {row.attempt} on {row.node} ({row.purpose}): {row.state}, {usage}{paid}"


def _waiting(reasons: tuple[WaitReason, ...]) -> Iterator[str]:
    return (f"  {reason.node}: {reason.why}" for reason in reasons)
