"""`connect`: which hub, in whose name, for which project."""

import getpass
import os
import time
from pathlib import Path

from talkoot.core.errors import TicketError
from talkoot.core.types import Role
from talkoot.sdk.connection import Connection
from talkoot.sdk.hub import Hub
from talkoot.sdk.progress import make_display
from talkoot.wire.client import Client, hello
from talkoot.wire.home import Home, KnownHub
from talkoot.wire.messages import Join, Joined
from talkoot.wire.tickets import PREFIX, Ticket, read_ticket

_SUBMITTING_ROLES: tuple[Role, ...] = ("owner", "researcher")


def connect(
    which: str | None = None,
    *,
    home: Path | str | None = None,
    project: str | None = None,
    progress: bool | None = None,
) -> Hub:
    """Connect to a hub: by its address, name or key, or with a ticket; without a choice, the one used last.

    `TALKOOT_HUB` chooses where `which` does not. A ticket is redeemed once, and the hub remembered from then on. `home`
    is the folder of your key and of the hubs you know; `project` is one of yours on that hub; `progress=False` shows
    nothing.

    Raises NotFound when no such hub is known, HubUnreachable, TicketError.
    """
    place = Home(home)
    known = choose(place, which)
    return Hub(Connection(known, place.person(), project or known.project, place.path / "locks", make_display(progress)))


def choose(home: Home, which: str | None) -> KnownHub:
    """The hub that is meant: `which`, otherwise `TALKOOT_HUB`, otherwise the one used last. Raises as `connect` does."""
    wanted = which or os.environ.get("TALKOOT_HUB") or None
    if wanted is not None and _is_ticket(wanted):
        return _redeem(home, wanted)
    return home.find(wanted)


def _is_ticket(text: str) -> bool:
    return "".join(text.split()).lower().startswith(PREFIX)


def _redeem(home: Home, text: str) -> KnownHub:
    ticket = read_ticket(text, now_ms=0)
    for known in home.hubs():
        if known.key == ticket.hub and known.project == ticket.project:
            return known  # the ticket was redeemed here before: a script with a ticket in it can be run again
    ticket = read_ticket(text, now_ms=time.time_ns() // 1_000_000)
    if ticket.role not in _SUBMITTING_ROLES:
        raise TicketError(
            f"the ticket makes you a {ticket.role}, who submits no jobs",
            hint="To lend this device: `talkoot join TICKET`. To submit jobs, ask for a ticket of role researcher.",
        )
    joined = _join(home, ticket)
    known = KnownHub(ticket.address, ticket.hub.hex(), hello(ticket.address).name, joined.project)
    home.remember(known)
    return known


def _join(home: Home, ticket: Ticket) -> Joined:
    with Client(ticket.address, ticket.hub, home.person()) as client:
        return client.call("/v1/join", Join(ticket.secret, _person_name()), Joined)


def _person_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
