"""Every message between hub, nodes and clients, as a type.

Bodies are MessagePack arrays in field order. A request is a POST whose body is a `Signed` of kind `request`;
a reply is the plain struct. Keys in requests are those of the signer: they are never repeated in a body.
"""

import msgspec

from talkoot.core.types import Manifest, NodeDescription, Outcome
from talkoot.crypto.signed import Signed


class _Message(msgspec.Struct, frozen=True, array_like=True):
    pass


class Nothing(_Message, frozen=True):
    """An empty body or reply."""


# People and devices: /v1/invite, /v1/join, /v1/leave


class Invite(_Message, frozen=True):
    project: str
    role: str
    lifetime_s: float


class Invited(_Message, frozen=True):
    ticket: str

    def __repr__(self) -> str:
        return "Invited(ticket=...)"  # a ticket is a secret until it is used


class Lending(_Message, frozen=True):
    """Signed by the node's key (kind `lending`): this node works for this member on this hub."""

    hub: bytes
    member: bytes
    name: str


class Join(_Message, frozen=True):
    """Signed by the member's key. With `lending`, the device is lent; without, only the person joins."""

    secret: bytes
    """The ticket's; empty for a member who lends one more device."""
    name: str
    """How the person wants to be called."""
    lending: Signed | None = None

    def __repr__(self) -> str:
        return f"Join(name={self.name!r}, secret=..., lending={self.lending is not None})"


class Joined(_Message, frozen=True):
    project: str
    role: str
    node: int = 0


class Leave(_Message, frozen=True):
    """Signed by the node, or by its owner: the node hands back what it holds and leaves."""

    node: bytes


# Content: /v1/blobs/put, /v1/blobs/get


class PutBlobs(_Message, frozen=True):
    """The hub derives the id of each itself, from its kind: `program` (a carrier) or `environment` (a lock)."""

    kinds: tuple[str, ...]
    blobs: tuple[bytes, ...]


class GetBlobs(_Message, frozen=True):
    digests: tuple[bytes, ...]
    """Ids of programs and environments. Who asks checks what comes."""


class Blobs(_Message, frozen=True):
    blobs: tuple[bytes, ...]


# Jobs: /v1/jobs/submit, /v1/jobs/add, /v1/jobs/cancel, /v1/jobs/answers


class TaskRef(_Message, frozen=True):
    job: bytes
    index: int


class Item(_Message, frozen=True):
    """One task of a job. `index` is the client's; adding it again with the same content changes nothing."""

    index: int
    arguments: bytes
    """Canonical encoding of (args, kwargs); `Hole(n)` stands for the answer of the n-th input."""
    position: int | None
    """Part of the action id and of the seed; None for `pure=True`."""
    inputs: tuple[TaskRef, ...] = ()


class Submit(_Message, frozen=True):
    """A new job with its first tasks: all of it exists afterwards, or none."""

    manifest: Signed
    items: tuple[Item, ...]
    sealed: bool


class Add(_Message, frozen=True):
    job: bytes
    items: tuple[Item, ...]
    sealed: bool


class Submitted(_Message, frozen=True):
    job: bytes
    tasks: int
    remembered: int
    """How many of the tasks sent were answered at once from memory."""


class Cancel(_Message, frozen=True):
    job: bytes
    indices: tuple[int, ...] = ()
    """Only these tasks; none named: the whole job."""


class Progress(_Message, frozen=True):
    """Where a job is, for a progress line."""

    state: str
    total: int
    waiting: int
    queued: int
    running: int
    provisional: int
    disputed: int
    final: int
    failed: int
    cancelled: int
    remembered: int
    attempts: int
    copies: int
    """Attempts beyond the first of each task, including `reruns`."""
    reruns: int
    nodes: int
    """Present nodes of the hub."""
    confidence_ppm: int
    """The least among the answers so far."""
    spent_microcredits: int
    why_waiting: str
    """In words, when nothing runs; empty otherwise."""


class ReadAnswers(_Message, frozen=True):
    job: bytes
    after: int
    """The cursor of the last reply (0 at first)."""
    wait_s: float
    provisional: bool = False
    """Also send answers that are not final yet; a later change is sent again."""


class Answer(_Message, frozen=True):
    index: int
    state: str
    outcome: Outcome | None
    """None for a task that failed or was cancelled without an answer."""
    answer: bytes
    note: bytes
    """Encoded `core.types.Note` of the contributor whose answer is the canonical one."""
    confidence_ppm: int
    cost_microcredits: int
    attempts: int
    remembered: bool
    reason: str


class Answers(_Message, frozen=True):
    answers: tuple[Answer, ...]
    cursor: int
    progress: Progress


# Nodes: /v1/exchange


class ReceiptBatch(_Message, frozen=True):
    """Signed by the node (kind `receipts`): the Merkle root over the encoded receipts of one exchange."""

    hub: bytes
    count: int
    root: bytes


class AnswerData(_Message, frozen=True):
    """What belongs to a receipt but is not in it, because the receipt may be shown before the task is final."""

    attempt: int
    salt: bytes
    answer: bytes
    note: bytes


class Exchange(_Message, frozen=True):
    boot: bytes
    """8 random bytes of this run of the node: leases of an earlier run are lost."""
    description: NodeDescription | None
    """At the first exchange of a boot, and when something changed."""
    batch: Signed | None
    receipts: tuple[bytes, ...]
    answers: tuple[AnswerData, ...]
    handed_back: tuple[int, ...]
    """Attempts that it does not want to do."""
    want: int
    """How many attempts it can take now."""
    wait_s: float
    """How long the hub may keep the request when there is nothing to say."""
    jobs: tuple[bytes, ...] = ()
    """Jobs whose manifest it holds, so that the reply need not repeat it."""
    checkpoint_size: int = 0
    channel: int = 0
    """A node may have two exchanges out at a time, one on each channel. A lease whose reply was lost is sent again on
    the channel it was granted on, which is how the hub tells lost from on its way."""
    leases: tuple[int, ...] = ()
    """Leases it knows of and has not reported in full."""


class LeaseItem(_Message, frozen=True):
    attempt: int
    index: int
    action: bytes
    arguments: bytes
    position: int | None
    inputs: tuple[bytes, ...]
    """The answers for the holes in `arguments`."""
    fresh: bool
    """Run it in a sandbox made for it alone."""


class Lease(_Message, frozen=True):
    lease: int
    job: bytes
    manifest: Signed | None
    """Left out when the node said that it holds it."""
    items: tuple[LeaseItem, ...]


class Exchanged(_Message, frozen=True):
    leases: tuple[Lease, ...]
    cancels: tuple[int, ...]
    accepted: tuple[int, ...]
    """Attempts whose receipts (or hand-backs) are now on disk: they need not be sent again."""
    checkpoint: str
    """The hub's newest signed checkpoint; empty when the node has seen it."""
    goodbye: str = ""
    """Why the hub gives this node no more work; empty otherwise."""
    describe: bool = False
    """Nothing was done: the hub does not know this boot; send the same again with the description."""


# Looking: /v1/view/*


class ViewJobs(_Message, frozen=True):
    limit: int = 100


class ViewJob(_Message, frozen=True):
    job: bytes
    tasks: int = 100
    """How many tasks to list."""
    first: int = 0


class ViewTask(_Message, frozen=True):
    job: bytes
    index: int


class JobRow(_Message, frozen=True):
    job: bytes
    name: str
    project: str
    submitter: str
    submitted_ms: int
    ended_ms: int
    """0 while it is live."""
    progress: Progress


class JobRows(_Message, frozen=True):
    jobs: tuple[JobRow, ...]


class NodeRow(_Message, frozen=True):
    node: int
    key: bytes
    name: str
    owner: str
    state: str
    anchor: bool
    slots: int
    rung: str
    numeric_class: str
    running: int
    answered: int
    accepted: int
    rejected: int
    earned_microcredits: int
    why: str
    """Of a convicted node: the evidence in words."""


class WaitReason(_Message, frozen=True):
    node: str
    why: str


class TaskRow(_Message, frozen=True):
    index: int
    state: str
    attempts: int
    confidence_ppm: int
    cost_microcredits: int
    reason: str


class AttemptRow(_Message, frozen=True):
    attempt: int
    node: str
    owner: str
    purpose: str
    state: str
    outcome: str
    value: bytes
    core_ms: int
    memory_bytes: int
    rung: str
    reason: str
    granted_ms: int
    ended_ms: int
    paid_microcredits: int
    receipt: bytes
    """The encoded receipt; empty before it is in."""
    batch: Signed | None
    """The signature over the batch that the receipt came in."""
    proof: tuple[bytes, ...]
    """From the receipt to the root that the batch signs."""
    leaf: int
    """Its place in the batch."""


class TaskView(_Message, frozen=True):
    job: bytes
    row: TaskRow
    action: bytes
    attempts: tuple[AttemptRow, ...]
    story: tuple[str, ...]
    """What happened, one line each, oldest first."""
    waiting: tuple[WaitReason, ...]
    """Per node in words, when the task waits for one."""


class JobView(_Message, frozen=True):
    row: JobRow
    manifest: Manifest
    escrow_microcredits: int
    price_microcredits: int
    tasks: tuple[TaskRow, ...]
    waiting: tuple[WaitReason, ...]


class AccountRow(_Message, frozen=True):
    account: int
    kind: str
    name: str
    balance_microcredits: int


class ConvictionRow(_Message, frozen=True):
    node: str
    owner: str
    job: bytes
    index: int
    attempt: int
    words: str
    at_ms: int


class HubView(_Message, frozen=True):
    name: str
    hub: bytes
    version: str
    nodes: tuple[NodeRow, ...]
    accounts: tuple[AccountRow, ...]
    convictions: tuple[ConvictionRow, ...]
    log_size: int
    checkpoint: str
