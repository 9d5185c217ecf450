"""`talkoot cancel`."""

from typing import Annotated

from cyclopts import Parameter

from talkoot.cli import words
from talkoot.cli.options import Json, WhichHub
from talkoot.cli.output import job_row, show
from talkoot.cli.reach import reach, read_job
from talkoot.core.ids import job_text
from talkoot.wire.messages import Cancel, JobView, Nothing, ViewJob


def cancel(
    job: Annotated[str, Parameter(help="Its id, as `talkoot jobs` lists it.")],
    /,
    *,
    hub: WhichHub = None,
    json: Json = False,
) -> None:
    """Cancel a job.

    Tasks that are under way are stopped; what was answered is paid. Doing it again changes nothing.

    Example: talkoot cancel job_aeaqcaibaeaqcaibaeaqcaibae
    """
    wanted = read_job(job)
    with reach(hub) as hub_here:
        hub_here.client.call("/v1/jobs/cancel", Cancel(wanted), Nothing)
        row = hub_here.client.call("/v1/view/job", ViewJob(wanted, 0), JobView).row
    progress = row.progress
    told = f"{job_text(row.job)} is {progress.state}: {progress.cancelled:,} of {words.count(progress.total, 'task')} cancelled"
    show(job_row(row), f"{told}, {progress.final:,} answered, {words.money(progress.spent_microcredits)} spent", as_json=json)
