"""`talkoot jobs`."""

from typing import Annotated

from cyclopts import Parameter

from talkoot.cli import words
from talkoot.cli.options import Json, WhichHub
from talkoot.cli.output import columns, job_row, show
from talkoot.cli.reach import reach
from talkoot.core.errors import BadInput
from talkoot.core.ids import job_text
from talkoot.core.limits import MAX_PAGE_ROWS
from talkoot.wire.messages import JobRow, JobRows, ViewJobs

_HEAD = ("job", "name", "state", "answers", "", "confidence", "credits", "submitted")


def jobs(
    *,
    limit: Annotated[int, Parameter(help="How many, the newest first.")] = 20,
    hub: WhichHub = None,
    json: Json = False,
) -> None:
    """List the jobs of your projects.

    Example: talkoot jobs --limit 5
    """
    if not 1 <= limit <= MAX_PAGE_ROWS:
        raise BadInput(f"{limit} jobs cannot be listed", hint=f"1 to {MAX_PAGE_ROWS}.")
    with reach(hub) as hub_here:
        rows = hub_here.client.call("/v1/view/jobs", ViewJobs(limit), JobRows).jobs
    told = columns([_HEAD, *map(_line, rows)]) if rows else "no jobs yet; `talkoot.connect().map(...)` makes one"
    show([job_row(row) for row in rows], told, as_json=json)


def _line(row: JobRow) -> tuple[str, ...]:
    progress = row.progress
    counts = (f"{progress.final:,} of {progress.total:,}", words.trouble(progress))
    cost = words.money(progress.spent_microcredits).removesuffix(" credits")
    return (job_text(row.job), row.name, words.state(progress), *counts, words.sure(progress), cost, words.when(row.submitted_ms))
