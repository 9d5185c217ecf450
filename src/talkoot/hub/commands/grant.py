"""Handing out leases: which attempts a node gets, over all jobs, and stragglers again at the tail."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from talkoot.core import events as ev
from talkoot.core.limits import MAX_ATTEMPTS_PER_LEASE
from talkoot.core.matching import Need, Offer, Place, job_obstacle, place_obstacle
from talkoot.core.types import Purpose, Quorum
from talkoot.crypto.signed import Signed
from talkoot.hub.commands import follow
from talkoot.hub.offers import NODE_COLUMNS, need_of, offer_of, owners_of, refusal
from talkoot.hub.tx import Tx
from talkoot.wire.messages import Lease, LeaseItem

STRAGGLER_FACTOR = 3.0
STRAGGLER_MIN_S = 2.0
_LOOK_AHEAD = 4
"""Rows of the queue looked at for each attempt wanted, because some may not go to this node."""


def again(tx: Tx, node: int, channel: int, known: frozenset[int], held_manifests: frozenset[bytes]) -> tuple[Lease, ...]:
    """Leases whose reply was lost: granted on this channel (or before the hub's restart), and unknown to the node."""
    lost = [
        (lease, job)
        for lease, job in tx.all("SELECT id, job FROM leases WHERE node = ? AND state = 'granted'", node)
        if lease not in known and tx.memory.channels.get(lease, channel) == channel
    ]
    leases: list[Lease] = []
    for lease, job in lost:
        (job_id,) = tx.one("SELECT id FROM jobs WHERE no = ?", job)
        items = tx.all("SELECT id, idx, purpose FROM attempts WHERE lease = ? AND state = 'leased' ORDER BY id", lease)
        leases.append(_lease(tx, lease, job, job_id, items, held_manifests))
    return tuple(leases)


def _lease(
    tx: Tx, lease: int, job: int, job_id: bytes, items: Sequence[tuple[int, int, str]], held: frozenset[bytes]
) -> Lease:
    manifest = None if job_id in held else _signed_manifest(tx, job)
    return Lease(lease, job_id, manifest, tuple(_item(tx, job, a, i, Purpose(p)) for a, i, p in items))


def grant(tx: Tx, node: int, want: int, held_manifests: frozenset[bytes], channel: int) -> tuple[Lease, ...]:
    """Lease up to `want` attempts to the node, from the job that was served longest ago onwards."""
    offer = offer_of(tx.one(f"SELECT {NODE_COLUMNS} FROM nodes WHERE no = ?", node))  # noqa: S608
    leases: list[Lease] = []
    tx.flush()
    jobs = tx.all(
        "SELECT no, id, submitter_account, account, cap, reserved, state FROM jobs WHERE state IN ('open', 'sealed')"
    )
    jobs.sort(key=lambda row: tx.memory.served.get(row[0], 0))
    left = want
    for row in jobs:
        if left <= 0:
            break
        taken = _grant_from(tx, offer, row, left, held_manifests, leases)
        left -= taken
    for lease in leases:
        tx.memory.channels[lease.lease] = channel
    return tuple(leases)


def _grant_from(tx: Tx, offer: Offer, row: Any, want: int, held_manifests: frozenset[bytes], leases: list[Lease]) -> int:
    """Lease attempts of one job; returns how much of the node's capacity they take."""
    job, job_id, submitter, escrow, cap, reserved, _ = row
    manifest = tx.manifest(job)
    need = need_of(manifest, submitter)
    if job_obstacle(offer, need) or refusal(tx.all, job, offer.node):
        return 0
    own = offer.owner == submitter
    reserve = 0 if own else cap
    copies = manifest.verifier.copies - 1 if isinstance(manifest.verifier, Quorum) and not own else 0
    room = min(want // need.limits.cpus, MAX_ATTEMPTS_PER_LEASE)
    afford = _afford(tx, job, escrow, reserved, reserve, copies, room) if reserve else Afford(room, room)
    chosen = _choose(tx, offer, need, job, room, afford) if room else []
    if not chosen:
        return 0
    lease, first = tx.next_number("leases"), tx.next_number("attempts")
    items = tuple((first + i, index, purpose) for i, (index, purpose) in enumerate(chosen))
    tx.emit(ev.Leased(lease, offer.node, job, items, copies, reserve))
    tx.memory.served[job] = max(tx.memory.served.values(), default=0) + 1
    for attempt, _, _ in items:
        tx.memory.granted[attempt] = tx.now
    leases.append(_lease(tx, lease, job, job_id, items, held_manifests))
    tx.jobs_touched.add(job)
    return len(items) * need.limits.cpus


class Afford(NamedTuple):
    """How many attempts the escrow can still reserve for."""

    first: int
    """First attempts of tasks, with all their copies."""
    further: int


def _afford(tx: Tx, job: int, escrow: int, reserved: int, reserve: int, copies: int, room: int) -> Afford:
    """A first attempt is handed out only when its copies can be paid too, so that no budget is spent on halves."""
    (balance,) = tx.one("SELECT balance FROM accounts WHERE id = ?", escrow)
    free = max(0, balance - reserved)
    (total,) = tx.one("SELECT total FROM jobs WHERE no = ?", job)
    promised = 0
    if free < reserve * (total + room) * (copies + 1):  # scarce: count what the queue has been promised
        (promised,) = tx.one("SELECT count(*) FROM queue WHERE job = ? AND purpose <> 'work'", job)
    return Afford(max(0, free - promised * reserve) // (reserve * (copies + 1)), free // reserve)


def _choose(tx: Tx, offer: Offer, need: Need, job: int, room: int, afford: Afford) -> list[tuple[int, Purpose]]:
    """(index, purpose) of the attempts that this node gets: urgent ones first, then in order of index."""
    rows: list[Any] = []
    for (holder,) in tx.all("SELECT DISTINCT holder FROM queue WHERE job = ?", job):
        if holder and holder == offer.owner:
            continue  # copies of what this owner did first are for others
        rows += tx.all(
            "SELECT urgency, idx, no, purpose, node FROM queue WHERE job = ? AND holder = ? AND node IN (0, ?)"
            " ORDER BY urgency, idx, no LIMIT ?",
            job,
            holder,
            offer.node,
            room * _LOOK_AHEAD,
        )
    rows.sort()
    chosen: dict[int, Purpose] = {}
    first, further = afford
    for _, index, _, text, node in rows:
        purpose = Purpose(text)
        left = first if purpose is Purpose.WORK else further
        if len(chosen) < room and left > 0 and index not in chosen and _may(tx, offer, need, job, index, purpose, node):
            chosen[index] = purpose
            first -= purpose is Purpose.WORK
            further -= 1
    if not chosen:
        chosen = dict(_stragglers(tx, offer, need, job, min(room, further)))
    return list(chosen.items())


def _may(tx: Tx, offer: Offer, need: Need, job: int, index: int, purpose: Purpose, node: int) -> bool:
    executions, class_digest = tx.one("SELECT executions, class FROM tasks WHERE job = ? AND idx = ?", job, index)
    owners = owners_of(tx, job, index) if executions else ()
    if need.submitter in owners and purpose is Purpose.COPY and _own_at_work(tx, job, index, need.submitter):
        return False  # the submitter's own device is at it, and its answer will be enough
    return not place_obstacle(offer, need, Place(purpose, node, owners, class_digest))


def _own_at_work(tx: Tx, job: int, index: int, submitter: int) -> bool:
    row = tx.one("SELECT 1 FROM attempts WHERE job = ? AND idx = ? AND owner = ? AND state = 'leased'", job, index, submitter)
    return row is not None


def _stragglers(tx: Tx, offer: Offer, need: Need, job: int, room: int) -> list[tuple[int, Purpose]]:
    """At the tail: tasks that have been out for much longer than usual, once more, to somebody else."""
    usual = tx.memory.durations.get(job)
    if usual is None:
        return []
    limit = max(STRAGGLER_MIN_S, STRAGGLER_FACTOR * usual)
    rows = tx.all(
        "SELECT attempts.id, attempts.idx FROM attempts JOIN tasks USING (job, idx)"
        " WHERE job = ? AND attempts.state = 'leased' AND attempts.owner <> ? AND purpose IN ('work', 'copy')"
        " AND tasks.live <= 2 AND tasks.executions < 6 ORDER BY attempts.id LIMIT ?",
        job,
        offer.owner,
        room * _LOOK_AHEAD,
    )
    late: dict[int, int] = defaultdict(int)
    for attempt, index in rows:
        if tx.now - tx.memory.granted.setdefault(attempt, tx.now) > limit:
            late[index] += 1
    chosen: list[tuple[int, Purpose]] = []
    for index in late:
        if len(chosen) < room and _may(tx, offer, need, job, index, Purpose.COPY, 0):
            tx.emit(ev.Wanted(job, index, Purpose.COPY, 0, 0))
            chosen.append((index, Purpose.COPY))
    return chosen


def _signed_manifest(tx: Tx, job: int) -> Signed:
    (data,) = tx.one("SELECT manifest FROM jobs WHERE no = ?", job)
    return msgspec.msgpack.decode(data, type=Signed)


def _item(tx: Tx, job: int, attempt: int, index: int, purpose: Purpose) -> LeaseItem:
    action, arguments, position, had_inputs = tx.one(
        "SELECT action, arguments, position, EXISTS (SELECT 1 FROM inputs i WHERE i.job = tasks.job AND i.idx = tasks.idx)"
        " FROM tasks WHERE job = ? AND idx = ?",
        job,
        index,
    )
    inputs: tuple[bytes, ...] = ()
    if had_inputs:
        digests = follow.input_digests(tx, job, index)
        inputs = tuple(bytes(tx.one("SELECT data FROM blobs WHERE digest = ?", d)[0]) for d in digests)
    fresh = purpose in (Purpose.RERUN, Purpose.REFEREE)
    return LeaseItem(attempt, index, action, arguments, position, inputs, fresh)
