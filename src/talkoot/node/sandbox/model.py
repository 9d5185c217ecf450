"""What is asked of a sandbox and what it answers, as plain data."""

from dataclasses import dataclass, field
from pathlib import Path

from talkoot.core.types import Note, Outcome, Rung, TaskLimits


@dataclass(frozen=True)
class CellSpec:
    """What one cell is made for: all tasks that run in it are of one job."""

    limits: TaskLimits
    environment: Path | None = None
    """A folder of installed packages, mounted read-only and on the import path."""
    hash_seed: int = 0
    """PYTHONHASHSEED of the worker."""
    blas_core: str = ""
    """OPENBLAS_CORETYPE; empty leaves the choice to the library."""
    inputs: tuple[tuple[Path, str], ...] = ()
    """Read-only files and folders: path on the host, name below the folder in TALKOOT_INPUTS."""


@dataclass(frozen=True)
class RungReport:
    """What trying a rung showed."""

    rung: Rung
    works: bool
    reason: str = ""
    """Why it does not work."""
    remedy: str = ""
    """What the owner of the device can do about it."""
    enforced: tuple[str, ...] = ()
    """How the caps are held in it: `cgroup`, `rlimit`, `polled`."""


@dataclass(frozen=True)
class Run:
    """What came of running one task."""

    outcome: Outcome
    """ANSWERED, RAISED or KILLED."""
    answer: bytes = b""
    """Canonical bytes of the value; for RAISED of `{"type": str, "frames": [[code number, lasti], ...]}`."""
    note: Note = field(default_factory=Note)
    wall_ms: int = 0
    memory_bytes: int = 0
    reason: str = ""
    """For KILLED: a code of `KillReason`, a colon, and words."""
