"""Commands about people, tickets and devices: open the hub, invite, join, leave."""

from talkoot.core import events as ev
from talkoot.core import ids, limits
from talkoot.core.errors import BadInput, BadSignature, Conflict, NotAllowed, NotFound, TicketError, TooLarge
from talkoot.core.lifecycle import LeaseEvent
from talkoot.core.types import ROLES
from talkoot.crypto.signed import Kind, Signed, verify
from talkoot.hub.commands import presence
from talkoot.hub.tx import TREASURY, Tx
from talkoot.wire.messages import Invite, Join, Joined, Leave, Lending
from talkoot.wire.parse import parse
from talkoot.wire.tickets import ticket_id

DEFAULT_PROJECT = "default"
MAX_NODES_PER_MEMBER = 1_000
MAX_OPEN_TICKETS = 10_000


def open_hub(tx: Tx, operator: bytes, operator_name: str) -> None:
    """The first command of every hub: treasury, the default project with its grant, the operator as its owner."""
    tx.emit(ev.HubOpened(tx.hub, tx.settings.name))
    tx.emit(ev.AccountOpened(TREASURY, "treasury", b""))
    _member(tx, operator, operator_name, b"")
    create_project(tx, DEFAULT_PROJECT)
    tx.emit(ev.RoleGiven(operator, DEFAULT_PROJECT, "owner"))


def create_project(tx: Tx, name: str) -> None:
    """A new project, with its grant from the treasury."""
    account = tx.next_number("accounts")
    tx.emit(ev.AccountOpened(account, "project", name.encode()))
    tx.emit(ev.ProjectCreated(name, account))
    if tx.settings.grant_microcredits:
        tx.emit(ev.Transferred(TREASURY, account, tx.settings.grant_microcredits, "grant"))


def check_name(name: str, what: str) -> str:
    """A name that can stand in a line of text, or `BadInput`."""
    if not name or len(name) > limits.MAX_NAME_CHARS or not name.isprintable():
        raise BadInput(f"{name!r} cannot be the name of a {what}: 1 to {limits.MAX_NAME_CHARS} printable characters")
    return name


def has_role(tx: Tx, member: bytes, project: str, *roles: str) -> bool:
    """Whether the member has one of the roles in the project."""
    held = {role for (role,) in tx.all("SELECT role FROM roles WHERE member = ? AND project = ?", member, project)}
    return not held.isdisjoint(roles)


def invite(tx: Tx, inviter: bytes, request: Invite, secret: bytes, expires_ms: int) -> None:
    """Issue a ticket. Only an owner of the project may; only its id is kept."""
    if request.role not in ROLES:
        raise BadInput(f"{request.role!r} is not a role", hint=f"one of {', '.join(ROLES)}")
    if not has_role(tx, inviter, request.project, "owner"):
        raise NotAllowed(f"only an owner of project {request.project!r} may invite to it")
    (open_tickets,) = tx.one("SELECT count(*) FROM tickets WHERE member IS NULL AND expires_ms > ?", tx.now_ms)
    if open_tickets >= MAX_OPEN_TICKETS:
        raise TooLarge(f"there are {open_tickets} unused tickets", hint="wait until some expire")
    tx.emit(ev.TicketIssued(ticket_id(secret), request.project, request.role, expires_ms, inviter))


def join(tx: Tx, member: bytes, request: Join) -> Joined:
    """Redeem a ticket, lend a device, or both. Doing it again with the same keys changes nothing."""
    project, role, fresh = _redeem(tx, member, request) if request.secret else _known(tx, member)
    if request.lending is None:
        return Joined(project, role)
    anchor = role == "anchor" and (fresh or not _has_anchor(tx, member))  # one ticket, one anchor
    return Joined(project, role, _lend(tx, member, request.lending, anchor=anchor))


def _has_anchor(tx: Tx, member: bytes) -> bool:
    sql = "SELECT 1 FROM nodes JOIN members ON members.account = nodes.owner WHERE members.key = ? AND anchor LIMIT 1"
    return tx.one(sql, member) is not None


def _redeem(tx: Tx, member: bytes, request: Join) -> tuple[str, str, bool]:
    """(project, role, whether the ticket was unused)."""
    ticket = ticket_id(request.secret)
    row = tx.one("SELECT project, role, expires_ms, inviter, member FROM tickets WHERE id = ?", ticket)
    if row is None:
        raise TicketError("this hub never issued that ticket", hint="ask who gave it to you for a new one")
    project, role, expires_ms, inviter, redeemer = row
    if redeemer == member:
        return project, role, False
    if redeemer is not None:
        raise TicketError("that ticket was used by somebody else; each is good for one person", hint="ask for a new one")
    if tx.now_ms > expires_ms:
        raise TicketError("that ticket has expired", hint="ask who gave it to you for a new one")
    if tx.one("SELECT 1 FROM members WHERE key = ?", member) is None:
        _member(tx, member, request.name, inviter)
    tx.emit(ev.TicketRedeemed(ticket, member))
    tx.emit(ev.RoleGiven(member, project, role))
    return project, role, True


def _known(tx: Tx, member: bytes) -> tuple[str, str, bool]:
    row = tx.one("SELECT project, role FROM roles WHERE member = ? ORDER BY role LIMIT 1", member)
    if row is None:
        raise NotAllowed(
            "this hub does not know your key",
            hint="join with a ticket: somebody who is in can make one (talkoot invite)",
        )
    # Without a ticket nobody lends an anchor: that takes an invitation of the hub's.
    return row[0], "contributor", False


def _member(tx: Tx, key: bytes, name: str, inviter: bytes) -> None:
    account = tx.next_number("accounts")
    tx.emit(ev.AccountOpened(account, "member", key))
    tx.emit(ev.MemberJoined(key, check_name(name, "person"), account, inviter))


def _lend(tx: Tx, member: bytes, signed: Signed, *, anchor: bool) -> int:
    payload = verify(signed, Kind.LENDING)
    lending = parse(payload, Lending, "statement of lending")
    if lending.hub != tx.hub or lending.member != member:
        raise BadSignature("the device's statement is for another hub or another person")
    row = tx.one("SELECT no, owner, anchor FROM nodes WHERE key = ?", signed.key)
    (account,) = tx.one("SELECT account FROM members WHERE key = ?", member)
    if row is not None:
        if row[1] != account:
            raise Conflict("that device's key belongs to another member", hint="remove its key file and join again")
        return int(row[0])
    (count,) = tx.one("SELECT count(*) FROM nodes WHERE owner = ?", account)
    if count >= MAX_NODES_PER_MEMBER:
        raise TooLarge(f"one member lends at most {MAX_NODES_PER_MEMBER} devices to a hub")
    node = tx.next_number("nodes", "no")
    tx.emit(ev.NodeJoined(node, signed.key, member, _free_name(tx, check_name(lending.name, "device")), anchor))
    return node


def _free_name(tx: Tx, name: str) -> str:
    taken = {n for (n,) in tx.all("SELECT name FROM nodes WHERE name = ? OR name LIKE ? || '-%'", name, name)}
    if name not in taken:
        return name
    return next(f"{name}-{i}" for i in range(2, len(taken) + 3) if f"{name}-{i}" not in taken)


def leave(tx: Tx, signer: bytes, request: Leave) -> None:
    """A node leaves, politely: what it holds goes back into the queue at once."""
    row = tx.one(
        "SELECT nodes.no, nodes.state FROM nodes JOIN members ON members.account = nodes.owner"
        " WHERE nodes.key = ?1 AND ?2 IN (nodes.key, members.key)",
        request.node,
        signer,
    )
    if row is None:
        raise NotFound("no such device of yours on this hub")
    node, state = row
    if state in ("present", "silent"):
        presence.depart(tx, node, "left", LeaseEvent.HANDED_BACK)


def node_of(tx: Tx, key: bytes) -> tuple[int, str]:
    """(number, state) of the node with this key, or `NotAllowed`."""
    row = tx.one("SELECT no, state FROM nodes WHERE key = ?", key)
    if row is None:
        raise NotAllowed(f"this hub does not know the node {ids.key_text(key)}", hint="join with a ticket")
    return int(row[0]), str(row[1])
