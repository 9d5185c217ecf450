"""The types that every room shares: what a job asks for, what a node is, what a receipt states.

They are msgspec Structs encoded as MessagePack arrays in field order, so the order of fields is part of the
format: new fields are added at the end, with a default. Names carry units. Money is integers.
"""

from enum import StrEnum
from typing import Literal

import msgspec

from talkoot.core import ids, limits


class Exact(msgspec.Struct, frozen=True, array_like=True, tag="exact"):
    """Two answers are the same when their canonical encodings are the same bytes."""


class Close(msgspec.Struct, frozen=True, array_like=True, tag="close"):
    """Same when of one shape and `|a - b| <= atol + rtol * max(|a|, |b|)` in every number."""

    rtol: float
    atol: float


Comparator = Exact | Close


class Trust(msgspec.Struct, frozen=True, array_like=True, tag="trust"):
    """One answer is enough, whoever gives it."""


class Quorum(msgspec.Struct, frozen=True, array_like=True, tag="quorum"):
    """`copies` answers of distinct owners must agree; the submitter's own devices count as enough alone."""

    copies: int = 2
    comparator: Comparator = Exact()


Verifier = Trust | Quorum


class Isolation(StrEnum):
    """How long a sandbox lives."""

    JOB = "job"
    TASK = "task"


class TaskLimits(msgspec.Struct, frozen=True, array_like=True):
    """What one task may use; beyond any of them it is killed and reported as such."""

    memory_bytes: int = limits.DEFAULT_MEMORY_BYTES
    time_s: float = limits.DEFAULT_TASK_TIME_S
    cpus: int = 1
    scratch_bytes: int = limits.DEFAULT_SCRATCH_BYTES
    scratch_files: int = limits.DEFAULT_SCRATCH_FILES
    processes: int = limits.DEFAULT_PROCESSES
    answer_bytes: int = limits.MAX_ANSWER_BYTES


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """What a submitter signs (kind `manifest`): nodes check it, so a hub can neither inject code nor lower a price."""

    hub: bytes
    project: str
    job: bytes
    name: str
    program: bytes
    environment: bytes
    python: str
    """Minor version that the carrier and the lock are made for, such as `3.11`."""
    seed: int
    pure: bool
    verifier: Verifier
    task_limits: TaskLimits
    price_cap_microcredits: int
    """Most that one core-second may cost."""
    budget_microcredits: int
    """Most that the whole job may cost."""
    isolation: Isolation = Isolation.JOB


class Rung(StrEnum):
    """The ways in which a sandbox can hold, strongest first; `none` takes only its owner's own jobs."""

    BWRAP = "bwrap"
    NAMESPACES = "namespaces"
    LANDLOCK = "landlock"
    NONE = "none"


class NumericClass(msgspec.Struct, frozen=True, array_like=True):
    """Machines of one class give the same bits for the same floating-point program."""

    machine: str
    libc: str
    python: str
    simd: str
    blas: str
    """The kernel family that OpenBLAS is pinned to in the sandbox, and its threads."""
    gpu: str = ""


class NodeDescription(msgspec.Struct, frozen=True, array_like=True):
    """What a node says of itself when it starts."""

    name: str
    slots: int
    """Tasks of one CPU that it runs at a time."""
    memory_bytes: int
    disk_bytes: int
    numeric_class: NumericClass
    rung: Rung
    python: str
    gpus: tuple[str, ...] = ()
    version: str = ""


class Outcome(StrEnum):
    """What an attempt came to."""

    ANSWERED = "answered"
    RAISED = "raised"
    """The task's own exception. It is an answer: it is compared (type and place), and paid."""
    KILLED = "killed"
    """A limit ended the task, or it ended its own process."""
    REFUSED = "refused"
    """The node could not or would not run it (environment, sandbox, a signature that does not verify)."""


class Receipt(msgspec.Struct, frozen=True, array_like=True):
    """A contributor's statement of what one attempt did. The Merkle root over a batch of them is signed."""

    hub: bytes
    attempt: int
    job: bytes
    index: int
    action: bytes
    outcome: Outcome
    commitment: bytes
    """`ids.answer_commitment(salt, sha256(answer))`; empty bytes where there is no answer."""
    core_ms: int
    """Wall time of the task as the agent saw it, times the CPUs it had."""
    memory_bytes: int
    numeric_class: bytes
    """First 8 bytes of the digest of the node's numeric class."""
    rung: Rung
    fresh: bool
    """Whether the sandbox was made for this task alone."""
    reason: str = ""
    """For killed and refused: a code of `KillReason`, a colon, and words."""
    enforced: str = ""
    """How the caps on memory and processes were held: `cgroup`, `rlimit`, `polled`, joined by commas."""


class KillReason(StrEnum):
    """Why an attempt was killed or refused."""

    MEMORY = "memory"
    TIME = "time"
    SCRATCH = "scratch"
    PROCESSES = "processes"
    CRASHED = "crashed"
    """The worker's process ended: os._exit, a signal, a fault in native code."""
    ANSWER_TOO_LARGE = "answer_too_large"
    ENVIRONMENT = "environment"
    SANDBOX = "sandbox"
    SIGNATURE = "signature"


class Note(msgspec.Struct, frozen=True, array_like=True):
    """What a task said beside its answer: never compared, at most `limits.MAX_NOTE_BYTES` in all."""

    message: str = ""
    """Of the exception."""
    traceback: str = ""
    stdout: bytes = b""
    stderr: bytes = b""


class Purpose(StrEnum):
    """Why an attempt was handed out. The node is not told, except that a `referee` runs in a fresh sandbox."""

    WORK = "work"
    COPY = "copy"
    """Another owner's answer for the quorum, or the next rung of the ladder."""
    RERUN = "rerun"
    """The same node once more, after a difference."""
    REFEREE = "referee"


Role = Literal["owner", "researcher", "contributor", "anchor"]
"""What a ticket makes of who redeems it. An anchor's device is answered for by the hub."""

ROLES: tuple[Role, ...] = ("owner", "researcher", "contributor", "anchor")

CLASS_DIGEST_BYTES = 8


def class_digest(numeric: NumericClass) -> bytes:
    """The short name of a numeric class, as receipts and the queue have it."""
    return ids.derive("numeric-class/1", msgspec.msgpack.encode(numeric))[:CLASS_DIGEST_BYTES]
