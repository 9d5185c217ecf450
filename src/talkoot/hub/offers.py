"""Who could take a task: nodes as the matching rule sees them, and why they do not, in words."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from talkoot.core.matching import Need, Offer, Place, job_obstacle, place_obstacle
from talkoot.core.types import Manifest, NodeDescription, Purpose, Rung
from talkoot.hub.tx import Tx

NODE_COLUMNS = "no, owner, name, state, anchor, class, description"
ENGAGED = ("leased", "answered", "accepted", "rejected", "killed", "refused")
"""States of an attempt that keep its owner from another attempt at the task."""
FREE = "free to take the task when it next asks for work"
"""Why a node does not take a task that it could take."""
Query = Callable[..., list[Any]]


def offer_of(row: Any) -> Offer:
    """A row of NODE_COLUMNS as an offer."""
    number, owner, name, state, anchor, class_digest, description = row
    if not description:
        return Offer(number, owner, name, "left", bool(anchor), 0, 0, "", Rung.NONE, class_digest)
    said = msgspec.msgpack.decode(description, type=NodeDescription)
    return Offer(number, owner, name, state, bool(anchor), said.slots, said.memory_bytes, said.python, said.rung, class_digest)


def need_of(manifest: Manifest, submitter: int) -> Need:
    """What a job asks of a node."""
    return Need(submitter, manifest.python, manifest.task_limits, manifest.verifier)


def offers(query: Query) -> list[Offer]:
    """All nodes of the hub."""
    return [offer_of(row) for row in query(f"SELECT {NODE_COLUMNS} FROM nodes ORDER BY no")]  # noqa: S608


def refusal(query: Query, job: int, node: int) -> str:
    """Why the node refused a task of the job before; empty when it did not."""
    row = query("SELECT reason FROM attempts WHERE job = ? AND node = ? AND state = 'refused' LIMIT 1", job, node)
    return f"it refused a task of this job: {row[0][0]}" if row else ""


def eligible(tx: Tx, job: int) -> list[Offer]:
    """The nodes that could take tasks of the job now."""
    (submitter,) = tx.one("SELECT submitter_account FROM jobs WHERE no = ?", job)
    need = need_of(tx.manifest(job), submitter)
    return [o for o in offers(tx.all) if not job_obstacle(o, need) and not refusal(tx.all, job, o.node)]


def class_is_free(found: Sequence[Offer], owners: Sequence[int], class_digest: bytes) -> bool:
    """Whether none of the nodes found eligible, of owners who have not had the task, is of this numeric class.

    A first answer in a class that nobody else has would hold its task for ever. The copies may come from any class
    then: most programs give the same bits everywhere, and where they do not the ladder begins. Nobody is convicted
    across classes.
    """
    return not any(offer.class_digest == class_digest and offer.owner not in owners for offer in found)


def owners_of(tx: Tx, job: int, index: int) -> list[int]:
    """Accounts whose nodes have had the task, and may not have it again."""
    marks = ", ".join("?" * len(ENGAGED))
    return [
        owner
        for (owner,) in tx.all(
            f"SELECT DISTINCT owner FROM attempts WHERE job = ? AND idx = ? AND state IN ({marks})",  # noqa: S608
            job,
            index,
            *ENGAGED,
        )
    ]


def why_not(query: Query, job: int, index: int, need: Need, *, gone: bool = True) -> list[tuple[str, str]]:
    """Per node: (name, why it does not take the task now); without those that are gone for good if not `gone`."""
    wanted = query("SELECT purpose, node FROM queue WHERE job = ? AND idx = ?", job, index)
    marks = ", ".join("?" * len(ENGAGED))
    owners = [
        o
        for (o,) in query(
            f"SELECT DISTINCT owner FROM attempts WHERE job = ? AND idx = ? AND state IN ({marks})",  # noqa: S608
            job,
            index,
            *ENGAGED,
        )
    ]
    ((class_digest,),) = query("SELECT class FROM tasks WHERE job = ? AND idx = ?", job, index)
    found = []
    everybody = offers(query)
    obstacles = {offer.node: job_obstacle(offer, need) or refusal(query, job, offer.node) for offer in everybody}
    free = class_is_free([o for o in everybody if not obstacles[o.node]], owners, class_digest)
    for offer in everybody:
        if not gone and offer.state in ("left", "convicted"):
            continue
        why = obstacles[offer.node]
        if not why and wanted:
            reasons = [place_obstacle(offer, need, Place(Purpose(p), node, owners, class_digest, free)) for p, node in wanted]
            why = FREE if not all(reasons) else reasons[0]
        found.append((offer.name, why or FREE))
    return found
