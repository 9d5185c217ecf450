"""Tickets: one line of text that invites somebody to a hub.

    "talkoot1" + base32 of MessagePack of Signed(kind ticket, payload = MessagePack of Ticket), signed by the hub

Whoever has the text can redeem it, once; so the secret in it is in no repr, error or log line, and the hub keeps
`ticket_id(secret)` alone. The signature shows that nobody changed the ticket on its way. It cannot show that the
hub is the right one: that is as good as the channel through which the ticket came.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from talkoot.core import ids, limits
from talkoot.core.errors import BadInput, BadSignature, TicketError
from talkoot.core.types import ROLES
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.signed import Kind, decode_signed, encode_signed, verify
from talkoot.wire.address import parse_address

SECRET_BYTES: Final = 16
PREFIX: Final = "talkoot1"
_YEAR_9999_MS: Final = 253_402_300_799_000
_ASK: Final = "Copy it again, whole, or ask for a new one."


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """Who invites (a hub, at an address), to what, as what, until when; and the secret that stands for it."""

    address: str
    hub: bytes
    project: str
    role: str
    expires_ms: Annotated[int, msgspec.Meta(ge=0, le=_YEAR_9999_MS)]
    secret: bytes

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = ("address", "project", "role", "expires_ms")  # never the secret
        return [(name, getattr(self, name)) for name in shown]

    def __repr__(self) -> str:
        return f"Ticket({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


_decoder = msgspec.msgpack.Decoder(Ticket)


def ticket_id(secret: bytes) -> bytes:
    """By what the hub knows a ticket, without being able to redeem it."""
    return ids.derive("ticket/1", secret)


def write_ticket(key: SigningKey, ticket: Ticket) -> str:
    """The text of a ticket, signed with the hub's key. Raises TicketError for one that could not be read."""
    if ticket.hub != key.public:
        raise TicketError("A hub writes tickets to itself only.")
    _check(ticket)
    text = PREFIX + ids.base32(encode_signed(key.sign(Kind.TICKET, msgspec.msgpack.encode(ticket))))
    if len(text) > limits.MAX_TICKET_CHARS:
        raise TicketError(f"The ticket would have {len(text)} characters; {limits.MAX_TICKET_CHARS} is the most.")
    return text


def read_ticket(text: str, *, now_ms: int) -> Ticket:
    """The ticket in a text that a person pasted: case, white space and line breaks do not matter.

    Raises TicketError when it is not a ticket, too long, damaged or tampered with, or expired.
    """
    if len(text) > limits.MAX_TICKET_CHARS:
        raise TicketError(f"A ticket has {limits.MAX_TICKET_CHARS} characters at most; {len(text)} were given.")
    compact = "".join(text.split()).lower()
    if not text.isascii() or not compact.startswith(PREFIX):
        raise TicketError(f"The text is not a ticket: a ticket begins with {PREFIX!r}.", hint=_ASK)
    ticket = _open(compact.removeprefix(PREFIX))
    _check(ticket)
    if now_ms >= ticket.expires_ms:
        expired = datetime.fromtimestamp(ticket.expires_ms / 1000, UTC)
        raise TicketError(f"The ticket expired on {expired:%Y-%m-%d at %H:%M:%S} UTC.", hint="Ask who invited you for a new one.")
    return ticket


def _open(encoded: str) -> Ticket:
    # Errors of the steps inside are not passed on: they could show a part of the secret.
    try:
        signed = decode_signed(ids.from_base32(encoded))
        ticket = _decoder.decode(verify(signed, Kind.TICKET))
    except (ValueError, RecursionError, BadSignature):
        raise TicketError("The ticket is damaged or was tampered with.", hint=_ASK) from None
    if signed.key != ticket.hub:
        raise TicketError("The ticket is not signed by the hub that it invites to.", hint=_ASK)
    return ticket


def _check(ticket: Ticket) -> None:
    if len(ticket.secret) != SECRET_BYTES:
        raise TicketError(f"The secret of a ticket has {SECRET_BYTES} bytes, not {len(ticket.secret)}.")
    if ticket.role not in ROLES:
        raise TicketError(f"The ticket is for a role that does not exist: {ticket.role[:40]!r}.")
    if not 1 <= len(ticket.project) <= limits.MAX_NAME_CHARS:
        raise TicketError(f"The name of the ticket's project has {len(ticket.project)} characters.")
    if not 0 <= ticket.expires_ms <= _YEAR_9999_MS:
        raise TicketError("The ticket expires at a time that no clock shows.")
    try:
        parse_address(ticket.address)
    except BadInput as error:
        raise TicketError(f"The ticket's address cannot be used. {error.message}", hint=error.hint) from None
