"""Whether a node may take an attempt, and if not, why not, in words that its owner and the submitter understand.

One rule serves both the scheduler and the explanation, so they cannot disagree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from talkoot.core.types import Exact, Purpose, Quorum, Rung, TaskLimits, Verifier


@dataclass(frozen=True, slots=True)
class Offer:
    """What matters of a node."""

    node: int
    owner: int
    name: str
    state: str
    """`present`, `silent`, `left` or `convicted`."""
    anchor: bool
    slots: int
    memory_bytes: int
    python: str
    rung: Rung
    class_digest: bytes


@dataclass(frozen=True, slots=True)
class Need:
    """What matters of a job."""

    submitter: int
    """Account of the submitter."""
    python: str
    limits: TaskLimits
    verifier: Verifier


@dataclass(frozen=True, slots=True)
class Place:
    """What matters of one wanted attempt."""

    purpose: Purpose
    node: int
    """Only this node may take it (0: any)."""
    owners: Sequence[int]
    """Accounts of owners who have had an attempt at the task."""
    class_digest: bytes
    """Numeric class of the first answer; empty while there is none."""
    class_is_free: bool = False
    """Nobody else of that class is there: another class is better than no second answer."""


def pins_class(verifier: Verifier) -> bool:
    """Exact comparison makes sense only among machines that give the same bits."""
    return isinstance(verifier, Quorum) and isinstance(verifier.comparator, Exact)


def job_obstacle(offer: Offer, need: Need) -> str:
    """Why the node can take no task of the job at all; empty when it can."""
    if offer.state != "present":
        return {
            "silent": "it has not been heard of; its leases went to others",
            "left": "it has left",
            "convicted": "it was found to give wrong answers and gets no more work",
        }.get(offer.state, offer.state)
    if offer.rung is Rung.NONE and offer.owner != need.submitter:
        return "no sandbox works on it, so it takes only its owner's own jobs (`talkoot doctor` there says why)"
    if offer.python != need.python:
        return f"it has Python {offer.python}, and the program is made for {need.python}"
    if offer.slots < need.limits.cpus:
        return f"it lends {offer.slots} CPU, and a task asks for {need.limits.cpus}"
    share = offer.memory_bytes * need.limits.cpus // max(1, offer.slots)
    wanted = memory_taken(need.limits, offer.rung)
    if share < wanted:
        return f"it lends {_mib(share)} of memory a task, and a task takes {_mib(wanted)} (scratch included)"
    return ""


def memory_taken(limits: TaskLimits, rung: Rung) -> int:
    """What a task may take of a device's memory: where the sandbox mounts its scratch, scratch is memory too."""
    return limits.memory_bytes + (limits.scratch_bytes if rung in (Rung.BWRAP, Rung.NAMESPACES) else 0)


def place_obstacle(offer: Offer, need: Need, place: Place) -> str:
    """Why the node cannot take this attempt; empty when it can. `job_obstacle` must have been empty."""
    if place.node and place.node != offer.node:
        return "another node is to run it again, to see whether it agrees with itself"
    if place.purpose is Purpose.RERUN:
        return ""
    if place.purpose is Purpose.REFEREE:
        if not offer.anchor:
            return "an anchor must decide, and it is none"
    elif offer.owner in place.owners:
        return "its owner has had this task already; a second answer must come from another owner"
    elsewhere = pins_class(need.verifier) and place.class_digest and place.class_digest != offer.class_digest
    if elsewhere and not (place.purpose is not Purpose.REFEREE and (place.class_is_free or offer.owner == need.submitter)):
        return "its numeric class differs from that of the first answer, so equal bits cannot be expected"
    return ""


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
