"""Handing out leases: which attempts a node gets, over all jobs, and stragglers again at the tail."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from talkoot.core import events as ev
from talkoot.core import limits
from talkoot.core.limits import MAX_ATTEMPTS_PER_LEASE
from talkoot.core.matching import Need, Offer, Place, job_obstacle, place_obstacle
from talkoot.core.types import Purpose, Quorum
from talkoot.crypto.signed import Signed
from talkoot.hub.commands import follow
from talkoot.hub.offers import (
    ENGAGED,
    NODE_COLUMNS,
    class_is_free,
    eligible,
    need_of,
    offer_of,
    owners_of,
    refusal,
)
from talkoot.hub.tx import Tx
from talkoot.wire.messages import Lease, LeaseItem

STRAGGLER_FACTOR = 3.0
STRAGGLER_MIN_S = 2.0
_LOOK_AHEAD = 4
"""Rows of the queue looked at for each attempt wanted, because some may not go to this node."""
_ENGAGED: Final = ", ".join(f"'{state}'" for state in ENGAGED)
_HOLDERS: Final = (  # each holder by one step in the index: a plain DISTINCT reads the whole queue of the job
    "WITH RECURSIVE holders (holder) AS (SELECT min(holder) FROM queue WHERE job = ?1 UNION ALL"
    " SELECT (SELECT min(holder) FROM queue WHERE job = ?1 AND queue.holder > holders.holder) FROM holders"
    " WHERE holders.holder IS NOT NULL) SELECT holder FROM holders WHERE holder IS NOT NULL"
)


def again(tx: Tx, node: int, channel: int, known: frozenset[int], held_manifests: frozenset[bytes]) -> tuple[Lease, ...]:
    """Leases whose reply was lost: granted on this channel (or before the hub's restart), and unknown to the node."""
    lost = [
        (lease, job)
        for lease, job in tx.all("SELECT id, job FROM leases WHERE node = ? AND state = 'granted'", node)
        if lease not in known and tx.memory.channels.get(lease, channel) == channel
    ]
    leases: list[Lease] = []
    size = 0
    for lease, job in lost:
        items = tx.all("SELECT id, idx, purpose FROM attempts WHERE lease = ? AND state = 'leased' ORDER BY id", lease)
        size += sum(_size(tx, job, index) for _, index, _ in items)
        if leases and size > limits.MAX_LEASE_BYTES_PER_EXCHANGE:
            break  # the others with the next exchange
        (job_id,) = tx.one("SELECT id FROM jobs WHERE no = ?", job)
        leases.append(_lease(tx, lease, job, job_id, items, held_manifests))
    return tuple(leases)


def _lease(tx: Tx, lease: int, job: int, job_id: bytes, items: Sequence[tuple[int, int, str]], held: frozenset[bytes]) -> Lease:
    manifest = None if job_id in held else _signed_manifest(tx, job)
    return Lease(lease, job_id, manifest, tuple(_item(tx, job, a, i, Purpose(p)) for a, i, p in items))


def grant(
    tx: Tx, node: int, want: int, held_manifests: frozenset[bytes], channel: int, sent: Sequence[Lease] = ()
) -> tuple[Lease, ...]:
    """Lease up to `want` attempts to the node, from the job that was served longest ago onwards.

    `sent` goes with the same reply.
    """
    offer = offer_of(tx.one(f"SELECT {NODE_COLUMNS} FROM nodes WHERE no = ?", node))  # noqa: S608
    leases: list[Lease] = []
    tx.flush()
    jobs = tx.all(
        "SELECT no, id, submitter_account, account, cap, reserved, state FROM jobs WHERE state IN ('open', 'sealed')"
        " AND queued + running + provisional + disputed > 0"
    )
    jobs.sort(key=lambda row: tx.memory.served.get(row[0], 0))
    (held,) = tx.one("SELECT count(*) FROM attempts WHERE node = ? AND state = 'leased'", node)
    left = min(want, offer.slots * MAX_ATTEMPTS_PER_LEASE - held, limits.MAX_ATTEMPTS_PER_NODE - held)
    sent_bytes = sum(len(item.arguments) + sum(map(len, item.inputs)) for lease in sent for item in lease.items)
    room = Room(limits.MAX_LEASE_BYTES_PER_EXCHANGE - sent_bytes, empty=not sent)
    for row in jobs:
        if left <= 0 or room.size <= 0:
            break
        if (node, row[0]) not in tx.memory.overdue:
            left -= _grant_from(tx, offer, row, left, held_manifests, leases, room)
    for lease in leases:
        tx.memory.channels[lease.lease] = channel
    return tuple(leases)


@dataclass(slots=True)
class Room:
    """What still fits into a reply."""

    size: int
    empty: bool
    """Nothing is in it yet."""


def _grant_from(
    tx: Tx, offer: Offer, row: Any, want: int, held_manifests: frozenset[bytes], leases: list[Lease], room_left: Room
) -> int:
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
    chosen = _that_fit(tx, job, chosen, room_left)
    if not chosen:
        return 0
    lease, first = tx.next_number("leases"), tx.next_number("attempts")
    items = tuple((first + i, index, purpose) for i, (index, purpose) in enumerate(chosen))
    tx.emit(ev.Leased(lease, offer.node, job, items, copies, reserve))
    tx.memory.turns += 1
    tx.memory.served[job] = tx.memory.turns
    for attempt, _, _ in items:
        tx.memory.granted[attempt] = tx.now
    leases.append(_lease(tx, lease, job, job_id, items, held_manifests))
    tx.jobs_touched.add(job)
    return len(items) * need.limits.cpus


def _that_fit(tx: Tx, job: int, chosen: Sequence[tuple[int, Purpose]], room: Room) -> list[tuple[int, Purpose]]:
    """Those of them whose arguments and inputs fit into the reply; one fits always, so that it goes at all."""
    fitting: list[tuple[int, Purpose]] = []
    for index, purpose in chosen:
        size = _size(tx, job, index)
        if size > room.size and not room.empty:
            break
        room.size, room.empty = room.size - size, False
        fitting.append((index, purpose))
    return fitting


def _size(tx: Tx, job: int, index: int) -> int:
    size, takes = tx.one(
        "SELECT length(arguments), EXISTS (SELECT 1 FROM inputs i WHERE i.job = tasks.job AND i.idx = tasks.idx)"
        " FROM tasks WHERE job = ? AND idx = ?",
        job,
        index,
    )
    return int(size) + (sum(follow.input_sizes(tx, job, index)) if takes else 0)


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
    for (holder,) in tx.all(_HOLDERS, job):
        if holder and holder == offer.owner:
            continue  # copies of what this owner did first are for others
        # What only an anchor may take, or its owner has had already, is passed over here and not below: some of it may
        # head the queue for ever, and must not hide the rest.
        rows += tx.all(
            "SELECT urgency, idx, no, purpose, node FROM queue WHERE job = ?1 AND holder = ?2 AND node IN (0, ?3)"  # noqa: S608
            " AND (purpose <> 'copy' OR NOT EXISTS (SELECT 1 FROM attempts a WHERE a.job = queue.job"
            f" AND a.idx = queue.idx AND a.owner = ?4 AND a.state IN ({_ENGAGED})))"
            " AND (purpose <> 'referee' OR ?5) ORDER BY urgency, idx, no LIMIT ?6",
            job,
            holder,
            offer.node,
            offer.owner,
            offer.anchor,
            room * _LOOK_AHEAD,
        )
    rows.sort()
    chosen: dict[int, Purpose] = {}
    first, further = afford
    free = ClassIsFree(tx, job)
    for _, index, _, text, node in rows:
        purpose = Purpose(text)
        left = first if purpose is Purpose.WORK else further
        if len(chosen) < room and left > 0 and index not in chosen and _may(tx, offer, need, free, index, purpose, node):
            chosen[index] = purpose
            first -= purpose is Purpose.WORK
            further -= 1
    if not chosen:
        chosen = dict(_stragglers(tx, offer, need, job, min(room, further)))
    return list(chosen.items())


class ClassIsFree:
    """Whether nobody else of a numeric class is there for the job; the nodes are looked at once, and only when asked."""

    def __init__(self, tx: Tx, job: int) -> None:
        self.job = job
        self._tx = tx
        self._eligible: list[Offer] | None = None

    def __call__(self, owners: Sequence[int], class_digest: bytes) -> bool:
        if self._eligible is None:
            self._eligible = eligible(self._tx, self.job)
        return class_is_free(self._eligible, owners, class_digest)


def _may(tx: Tx, offer: Offer, need: Need, free: ClassIsFree, index: int, purpose: Purpose, node: int) -> bool:
    job = free.job
    if purpose is not Purpose.RERUN and tx.memory.returned.get((job, index, offer.owner), (0, 0.0))[1] > tx.now:
        return False  # it has let the task go more than once: others first
    executions, class_digest = tx.one("SELECT executions, class FROM tasks WHERE job = ? AND idx = ?", job, index)
    owners = owners_of(tx, job, index) if executions else ()
    if need.submitter in owners and purpose is Purpose.COPY and _own_at_work(tx, job, index, need.submitter):
        return False  # the submitter's own device is at it, and its answer will be enough
    elsewhere = bool(class_digest) and class_digest != offer.class_digest
    anywhere = elsewhere and purpose is not Purpose.REFEREE and free(owners, class_digest)
    return not place_obstacle(offer, need, Place(purpose, node, owners, class_digest, anywhere))


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
    free = ClassIsFree(tx, job)
    late: dict[int, int] = defaultdict(int)
    for attempt, index in rows:
        if tx.now - tx.memory.granted.setdefault(attempt, tx.now) > limit:
            late[index] += 1
    chosen: list[tuple[int, Purpose]] = []
    for index in late:
        if len(chosen) < room and _may(tx, offer, need, free, index, Purpose.COPY, 0):
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
