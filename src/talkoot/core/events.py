"""What the hub's log says happened: a closed union of past-tense events.

An entry of the log is what one command did: its events in order, and the signed statement of whoever wanted it.
The tables of the hub are a fold of these events and of nothing else. Events use the hub's own small numbers
for jobs, nodes, accounts, attempts and leases; numbers are given in log order and never re-used.

The public part of an entry, which every member may audit, has the kind, the time, the transfers between
pseudonymous accounts, and a salted commitment to the payload; the payload has the rest.
"""

from typing import Annotated

import msgspec

from talkoot.core.lifecycle import AttemptEvent, JobEvent, LeaseEvent, TaskEvent
from talkoot.core.types import NodeDescription, Purpose


class _Event(msgspec.Struct, frozen=True, array_like=True, tag=lambda name: name):
    pass


class HubOpened(_Event, frozen=True):
    """The first event of every log."""

    hub: bytes
    name: str


class AccountOpened(_Event, frozen=True):
    account: int
    kind: str
    """`treasury`, `project`, `member` or `escrow`."""
    subject: bytes


class Transferred(_Event, frozen=True):
    debit: int
    credit: int
    amount_microcredits: int
    reason: str
    """`grant`, `escrow`, `pay`, `release` or `forfeit`."""
    job: int = 0
    index: int = -1
    attempt: int = 0


class ProjectCreated(_Event, frozen=True):
    name: str
    account: int


class TicketIssued(_Event, frozen=True):
    ticket: bytes
    project: str
    role: str
    expires_ms: int
    inviter: bytes


class TicketRedeemed(_Event, frozen=True):
    ticket: bytes
    member: bytes


class MemberJoined(_Event, frozen=True):
    member: bytes
    name: str
    account: int
    inviter: bytes


class RoleGiven(_Event, frozen=True):
    member: bytes
    project: str
    role: str


class NodeJoined(_Event, frozen=True):
    node: int
    key: bytes
    member: bytes
    name: str
    anchor: bool


class NodeBooted(_Event, frozen=True):
    node: int
    boot: bytes
    description: NodeDescription
    class_digest: bytes


class NodeLeft(_Event, frozen=True):
    """`left` (politely), `silent`, or `convicted`."""

    node: int
    why: str


class JobSubmitted(_Event, frozen=True):
    job: int
    id: bytes
    submitter: bytes
    account: int
    price_microcredits: int
    attempt_cap_microcredits: int
    manifest: bytes
    """The signed manifest, encoded."""


class TaskAdded(_Event, frozen=True):
    """Its arguments and position stand in the submitter's signed request, the entry's will, at place `item`."""

    job: int
    index: int
    item: int
    action: bytes
    """Empty while the task waits for inputs."""
    inputs: tuple[tuple[int, int], ...] = ()
    """(job, index) of the tasks whose answers it takes."""
    waits: bool = False
    """For inputs, or for the same action under way in another job."""


class JobMoved(_Event, frozen=True):
    job: int
    event: JobEvent


class TaskMoved(_Event, frozen=True):
    job: int
    index: int
    event: TaskEvent
    reason: str = ""
    confidence_ppm: int = 0
    canonical: int = 0
    """The attempt whose answer is the task's."""


class TaskBound(_Event, frozen=True):
    """A waiting task's inputs are known, and so is its action id."""

    job: int
    index: int
    action: bytes


class TaskRemembered(_Event, frozen=True):
    """The answer was known: (source_job, source_index) is final and of the same action."""

    job: int
    index: int
    source_job: int
    source_index: int


class TaskJoined(_Event, frozen=True):
    """The same action is under way in another job; this task waits for it."""

    job: int
    index: int
    twin_job: int
    twin_index: int


class Wanted(_Event, frozen=True):
    """One more attempt is wanted."""

    job: int
    index: int
    purpose: Purpose
    node: int = 0
    """Only this node may take it (0: any)."""
    holder: int = 0
    """The account of the owner of the first attempt, which may not take it (0: nobody yet)."""


class Unwanted(_Event, frozen=True):
    """No further attempts are wanted for the task."""

    job: int
    index: int


class Leased(_Event, frozen=True):
    lease: int
    node: int
    job: int
    items: tuple[tuple[int, int, Purpose], ...]
    """(attempt, index, purpose)"""
    copies: int
    """Copies by other owners that each first attempt makes wanted."""
    reserve_microcredits: int
    """Set aside for each attempt in the job's escrow until it is settled."""


class LeaseMoved(_Event, frozen=True):
    lease: int
    event: LeaseEvent


class AttemptAnswered(_Event, frozen=True):
    """A receipt came in for an attempt."""

    attempt: int
    event: AttemptEvent
    receipt: bytes
    value: bytes
    """What is compared: digest over the outcome and the canonical answer."""
    answer: bytes
    """Digest of the answer's bytes, which are kept as a blob."""
    salt: bytes
    note: bytes


class ReceiptSetAside(_Event, frozen=True):
    """A receipt came in the same batch as others that were recorded, and was not needed itself. The leaf that it has in
    the batch is kept, so that the others can still be proved."""

    place: int
    leaf: bytes


class AttemptMoved(_Event, frozen=True):
    attempt: int
    event: AttemptEvent
    reason: str = ""


class Convicted(_Event, frozen=True):
    """A hub's anchor found the answer wrong, in the same numeric class, after the re-run."""

    node: int
    job: int
    index: int
    attempt: int
    referee: int
    """The attempt of the anchor."""
    words: str


Event = (
    HubOpened
    | AccountOpened
    | Transferred
    | ProjectCreated
    | TicketIssued
    | TicketRedeemed
    | MemberJoined
    | RoleGiven
    | NodeJoined
    | NodeBooted
    | NodeLeft
    | JobSubmitted
    | TaskAdded
    | JobMoved
    | TaskMoved
    | TaskBound
    | TaskRemembered
    | TaskJoined
    | Wanted
    | Unwanted
    | Leased
    | LeaseMoved
    | AttemptAnswered
    | ReceiptSetAside
    | AttemptMoved
    | Convicted
)


class Payload(msgspec.Struct, frozen=True, array_like=True):
    """The part of an entry that only its project sees."""

    events: tuple[Event, ...]
    will: bytes = b""
    """The signed statement that asked for it (a `Signed`, encoded); empty where the hub acted by itself."""


class PublicPart(msgspec.Struct, frozen=True, array_like=True):
    """The part of an entry that every member may audit. Its encoding is the leaf of the log's tree."""

    kind: str
    at_ms: Annotated[int, msgspec.Meta(ge=0)]
    transfers: tuple[tuple[int, int, int], ...]
    """(debit, credit, amount in microcredits)"""
    commitment: bytes


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the log, as stored."""

    public: bytes
    salt: bytes
    payload: bytes
