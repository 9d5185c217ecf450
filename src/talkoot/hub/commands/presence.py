"""Commands about who is there: a node that starts, falls silent, leaves, comes back."""

from talkoot.core import events as ev
from talkoot.core.lifecycle import AttemptEvent, LeaseEvent
from talkoot.core.types import NodeDescription, class_digest
from talkoot.hub.commands import settle
from talkoot.hub.tx import Tx

_RECONSIDERED = 1_000
"""Disputed tasks looked at again when a node arrives."""


def arrive(tx: Tx, node: int, boot: bytes, description: NodeDescription | None) -> bool:
    """A node was heard of. False when it must send its description first.

    A new boot has lost what the former run held; so has a node that was taken for silent.
    """
    state, known_boot, known = tx.one("SELECT state, boot, description FROM nodes WHERE no = ?", node)
    tx.memory.seen[node] = tx.now
    if state == "convicted":
        return True
    if description is None:
        return bool(state == "present" and known_boot == boot and known)
    if known_boot != boot:
        drop_leases(tx, node, LeaseEvent.EXPIRED)
    tx.emit(ev.NodeBooted(node, boot, description, class_digest(description.numeric_class)))
    tx.queue_touched = True
    for job, index in tx.all("SELECT job, idx FROM tasks WHERE state = 'disputed' LIMIT ?", _RECONSIDERED):
        settle.consider(tx, job, index)  # perhaps the newcomer is who was missing to decide
    return True


def depart(tx: Tx, node: int, why: str, how: LeaseEvent) -> None:
    """A node is gone: its leases end, its tasks go back into the queue, what only it could do is asked of others."""
    tx.emit(ev.NodeLeft(node, why))
    tx.memory.seen.pop(node, None)
    tx.memory.cancels.pop(node, None)
    drop_leases(tx, node, how)
    for job, index in tx.all("SELECT DISTINCT job, idx FROM queue WHERE node = ?", node):
        tx.emit(ev.Unwanted(job, index))
        settle.consider(tx, job, index)


def drop_leases(tx: Tx, node: int, how: LeaseEvent) -> None:
    """End every lease of a node, and want its attempts again."""
    held = tx.all("SELECT DISTINCT lease FROM attempts WHERE node = ? AND state = 'leased'", node)
    tasks = tx.all("SELECT DISTINCT job, idx FROM attempts WHERE node = ? AND state = 'leased'", node)
    for (lease,) in held:
        tx.emit(ev.LeaseMoved(lease, how))
    for job, index in tasks:
        settle.release(tx, job, index)


def hand_back(tx: Tx, node: int, attempts: tuple[int, ...]) -> None:
    """A node gives single attempts back."""
    for attempt in attempts:
        row = tx.one("SELECT job, idx FROM attempts WHERE id = ? AND node = ? AND state = 'leased'", attempt, node)
        if row is not None:
            tx.emit(ev.AttemptMoved(attempt, AttemptEvent.HANDED_BACK))
            settle.release(tx, *row)


def expire(tx: Tx) -> None:
    """Nodes not heard of for the silence limit lose their leases. Monotonic time only: clock jumps do no harm."""
    for (node,) in tx.all("SELECT no FROM nodes WHERE state = 'present'"):
        seen = tx.memory.seen.setdefault(node, tx.now)  # after a restart every node gets a full period
        if tx.now - seen > tx.settings.silence_s:
            depart(tx, node, "silent", LeaseEvent.EXPIRED)
