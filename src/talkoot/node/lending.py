"""How a device comes to work for a hub: a ticket is redeemed, and the device says whose it is.

Doing it again with the same keys changes nothing, so a device that was stopped is lent again in the same way.
"""

import socket

import msgspec

from talkoot.core import limits
from talkoot.core.errors import BadSignature
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.signed import Kind, Signed
from talkoot.wire.client import Client, hello
from talkoot.wire.home import Home, KnownHub
from talkoot.wire.messages import Join, Joined, Lending
from talkoot.wire.tickets import Ticket


class Lent(msgspec.Struct, frozen=True):
    """A device that a hub knows."""

    known: KnownHub
    key: bytes
    """The device's public key."""
    name: str
    """How the device calls itself; the hub may add a number to it."""
    node: int
    """Its number on the hub."""
    role: str
    project: str


def default_name() -> str:
    """How a device is called when nobody says it."""
    return socket.gethostname()[: limits.MAX_NAME_CHARS] or "node"


def lend(home: Home, known: KnownHub, *, person: str, name: str = "", ticket: Ticket | None = None) -> Lent:
    """Lend this device to a hub, by a ticket or as somebody whom the hub knows; the hub is remembered.

    `name` tells several devices apart that one person lends from one place. Raises what the hub answers: TicketError,
    NotAllowed for a key that it does not know; BadSignature where there is another hub; HubUnreachable.
    """
    greeting = hello(known.address)
    if greeting.hub != known.key:
        raise BadSignature(
            f"At {known.address} there is another hub than the one that the ticket is of.",
            hint="Its address may have changed: ask for a new ticket.",
        )
    key = home.node(known.key, name)
    called = name or default_name()
    request = Join(ticket.secret if ticket else b"", person, _statement(key, known, home.person(), called))
    with Client(known.address, known.key, home.person()) as client:
        joined = client.call("/v1/join", request, Joined)
    known = KnownHub(known.address, known.hub, greeting.name, joined.project)
    home.remember(known)
    return Lent(known, key.public, called, joined.node, joined.role, joined.project)


def invited_to(ticket: Ticket) -> KnownHub:
    """The hub that a ticket is for."""
    return KnownHub(ticket.address, ticket.hub.hex(), "", ticket.project)


def _statement(key: SigningKey, known: KnownHub, person: SigningKey, name: str) -> Signed:
    return key.sign(Kind.LENDING, msgspec.msgpack.encode(Lending(known.key, person.public, name)))
