"""`talkoot invite`."""

from typing import Annotated, Literal

from cyclopts import Parameter

from talkoot.cli import words
from talkoot.cli.options import Json, WhichHub
from talkoot.cli.output import show
from talkoot.cli.reach import reach
from talkoot.core.errors import BadInput
from talkoot.wire.messages import Invite, Invited
from talkoot.wire.tickets import read_ticket

MAX_HOURS = 24 * 365


def invite(
    *,
    role: Literal["contributor", "researcher", "anchor", "owner"] = "contributor",
    project: str | None = None,
    hours: Annotated[float, Parameter(help="How long the ticket can be used.")] = 24,
    hub: WhichHub = None,
    json: Json = False,
) -> None:
    """Make a ticket that invites somebody to a hub.

    A ticket is good for one person. Send it by a channel that only they read: who has it can use it.

    Example: talkoot invite --role researcher --hours 48

    Parameters
    ----------
    role
        contributor lends devices; researcher submits jobs; an anchor's device is answered for by the hub, and referees
        when answers differ; owner submits, and may invite.
    project
        To what they are invited. Otherwise the project of the hub that you joined.
    """
    if not 0 < hours <= MAX_HOURS:
        raise BadInput(f"a ticket cannot be good for {hours:g} hours", hint=f"More than 0, and at most {MAX_HOURS:,}.")
    with reach(hub) as hub_here:
        request = Invite(project or hub_here.known.project, role, hours * 3600)
        text = hub_here.client.call("/v1/invite", request, Invited).ticket
    ticket = read_ticket(text, now_ms=0)
    value = {
        "ticket": text,
        "address": ticket.address,
        "project": ticket.project,
        "role": ticket.role,
        "expires_ms": ticket.expires_ms,
    }
    told = f"{text}\n\nGood once, as {ticket.role} of project {ticket.project}, until {words.when(ticket.expires_ms)}."
    show(value, f"{told}\nOn the device of who is invited: talkoot join TICKET", as_json=json)
