"""Commands about who is there: a node that starts, falls silent, leaves, comes back, or lets its work lie."""

from typing import Final

import msgspec

from talkoot.core import events as ev
from talkoot.core import limits
from talkoot.core.lifecycle import AttemptEvent, LeaseEvent
from talkoot.core.types import NodeDescription, Purpose, class_digest
from talkoot.hub.commands import settle
from talkoot.hub.tx import Tx

_AT_ONCE: Final = 8
"""Disputed tasks looked at again in the very exchange in which a node arrives; the others follow with the ticks."""
_A_TICK: Final = 100


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
        tx.memory.overdue = {(n, job) for n, job in tx.memory.overdue if n != node}
    elif state == "present" and bytes(known) == msgspec.msgpack.encode(description):
        return True
    tx.emit(ev.NodeBooted(node, boot, description, class_digest(description.numeric_class)))
    tx.queue_touched = True
    for nodes in tx.memory.unheard.values():
        nodes.discard(0)
    tx.memory.newcomers = True
    reconsider(tx, _AT_ONCE)
    return True


def reconsider(tx: Tx, most: int) -> None:
    """Look again at some of the disputed tasks, each in its turn: perhaps a newcomer is who was missing to decide."""
    if tx.memory.reconsidered is None:
        if not tx.memory.newcomers:
            return
        tx.memory.newcomers, tx.memory.reconsidered = False, (0, -1)
    rows = tx.all(
        "SELECT job, idx FROM tasks WHERE state = 'disputed' AND (job, idx) > (?, ?) ORDER BY job, idx LIMIT ?",
        *tx.memory.reconsidered,
        most,
    )
    for job, index in rows:
        settle.consider(tx, job, index)
    tx.memory.reconsidered = rows[-1] if len(rows) == most else None


def depart(tx: Tx, node: int, why: str, how: LeaseEvent) -> None:
    """A node is gone: its leases end, its tasks go back into the queue, what only it could do is asked of others."""
    tx.emit(ev.NodeLeft(node, why))
    tx.memory.seen.pop(node, None)
    tx.memory.cancels.pop(node, None)
    drop_leases(tx, node, how)
    for job, index in tx.all("SELECT DISTINCT job, idx FROM queue WHERE node = ? AND node > 0", node):
        tx.emit(ev.Unwanted(job, index))
        settle.consider(tx, job, index)


def drop_leases(tx: Tx, node: int, how: LeaseEvent) -> None:
    """End every lease of a node, and want its attempts again."""
    for (attempt,) in tx.all("SELECT id FROM attempts WHERE node = ? AND state = 'leased'", node):
        _note_return(tx, attempt)
    held = tx.all("SELECT DISTINCT lease FROM attempts WHERE node = ? AND state = 'leased'", node)
    tasks = tx.all("SELECT DISTINCT job, idx FROM attempts WHERE node = ? AND state = 'leased'", node)
    for (lease,) in held:
        tx.emit(ev.LeaseMoved(lease, how))
    for job, index in tasks:
        settle.release(tx, job, index)


def hand_back(tx: Tx, node: int, attempts: tuple[int, ...]) -> None:
    """A node gives single attempts back."""
    for attempt in dict.fromkeys(attempts):
        row = tx.one("SELECT job, idx FROM attempts WHERE id = ? AND node = ? AND state = 'leased'", attempt, node)
        if row is not None:
            tx.emit(ev.AttemptMoved(attempt, AttemptEvent.HANDED_BACK))
            _note_return(tx, attempt)
            settle.release(tx, *row)


def _note_return(tx: Tx, attempt: int) -> None:
    """An attempt ends without an answer. Who was to run it again is not waited for: the dispute goes on without."""
    job, index, node, owner, purpose = tx.one("SELECT job, idx, node, owner, purpose FROM attempts WHERE id = ?", attempt)
    if purpose == Purpose.RERUN:
        tx.memory.unheard.setdefault((job, index), set()).add(node)
    else:
        tx.memory.note_return(job, index, owner, tx.now)


def expire(tx: Tx) -> None:
    """Nodes not heard of for the silence limit lose their leases. Monotonic time only: clock jumps do no harm."""
    for (node,) in tx.all("SELECT no FROM nodes WHERE state = 'present'"):
        seen = tx.memory.seen.setdefault(node, tx.now)  # after a restart every node gets a full period
        if tx.now - seen > tx.settings.silence_s:
            depart(tx, node, "silent", LeaseEvent.EXPIRED)
    reconsider(tx, _A_TICK)
    if tx.now >= tx.memory.next_overdue_check:
        tx.memory.next_overdue_check = tx.now + limits.OVERDUE_CHECK_S
        _take_back_overdue(tx)
        _go_on_without(tx)
        _forget_settled(tx)


def _take_back_overdue(tx: Tx) -> None:
    """A node may poll for ever and never answer: what it has held for too long goes to others."""
    for attempt, job, index, node in tx.all("SELECT id, job, idx, node FROM attempts WHERE state = 'leased'"):
        since = tx.memory.granted.setdefault(attempt, tx.now)  # after a restart every attempt gets a full period
        if tx.now - since <= limits.LEASE_TASK_TIMES * tx.manifest(job).task_limits.time_s + limits.LEASE_GRACE_S:
            continue
        if tx.one("SELECT state FROM attempts WHERE id = ?", attempt)[0] != "leased":
            continue  # what happened to the attempt before it settled the task
        tx.emit(ev.AttemptMoved(attempt, AttemptEvent.LOST, "its node held it for too long"))
        tx.memory.overdue.add((node, job))
        tx.memory.cancels.setdefault(node, set()).add(attempt)
        _note_return(tx, attempt)
        settle.release(tx, job, index)


def _go_on_without(tx: Tx) -> None:
    """Disputes that wait for somebody who is there and does not come: after a while, the ladder's next rung."""
    stuck: set[tuple[int, int]] = set()
    rows = tx.all(
        "SELECT DISTINCT job, idx, queue.node FROM tasks JOIN queue USING (job, idx)"
        " WHERE tasks.state = 'disputed' AND tasks.live = 0 AND purpose IN ('rerun', 'copy')"
    )
    for job, index, node in rows:
        since = tx.memory.waited.setdefault((job, index, node), tx.now)
        unheard = tx.memory.unheard.setdefault((job, index), set())
        if tx.now - since > limits.DISPUTE_PATIENCE_S and node not in unheard:
            unheard.add(node)
            stuck.add((job, index))
    for job, index in sorted(stuck):
        if tx.one("SELECT state FROM tasks WHERE job = ? AND idx = ?", job, index)[0] == "disputed":
            tx.emit(ev.Unwanted(job, index))
            settle.consider(tx, job, index)


def _forget_settled(tx: Tx) -> None:
    tx.memory.forget_returns(tx.now)
    tx.memory.forget_settled(
        {a for (a,) in tx.all("SELECT id FROM attempts WHERE state = 'leased'")},
        {lease for (lease,) in tx.all("SELECT id FROM leases WHERE state = 'granted'")},
        {job for (job,) in tx.all("SELECT no FROM jobs WHERE state IN ('open', 'sealed')")},
        set(tx.all("SELECT job, idx FROM tasks WHERE state = 'disputed'")),
    )
