"""From the specification of a cell to the command that starts it and the plan that its launcher follows."""

import os
import platform
import resource
import shutil
from dataclasses import dataclass
from typing import Any, Final

from talkoot.core.limits import KIB, MIB
from talkoot.core.types import Rung, TaskLimits
from talkoot.node.sandbox import seccomp
from talkoot.node.sandbox.model import CellSpec
from talkoot.node.sandbox.syscalls import NUMBERS
from talkoot.node.sandbox.view import DEVICES, View, granted

INNER_UID: Final = 65534
ADDRESS_SPACE_HEADROOM_BYTES: Final = 256 * MIB
"""Address space that is mapped and never used (thread stacks, libraries) beyond the memory a task may have."""
OWN_PROCESSES: Final = 4
"""Launcher, bubblewrap, the cell's first process: they count against the cap, but are not the task's."""
MAX_OPEN_FILES: Final = 1024
_OLDEST_LANDLOCK_WITH_OWN_UID: Final = 3
"""ABI 3 (Linux 6.2) covers truncate."""
_OLDEST_LANDLOCK_WITH_NODE_UID: Final = 6
"""ABI 6 (Linux 6.12) keeps signals from the owner's other processes."""
_THREAD_VARIABLES: Final = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True)
class Start:
    """What is known when a cell is started."""

    rung: Rung
    spec: CellSpec
    view: View
    own_uid: bool
    """Whether the cell has a uid of its own."""
    processes_of_uid: int
    """Processes and threads that the uid has already, where they count against the cap."""
    request_fd: int
    answer_fd: int
    root: str
    """An empty folder, to build a root on."""
    python: str
    """The interpreter, as a path on the host."""
    runtime: str
    """The runtime folder, as a path on the host."""


def environment_variables(spec: CellSpec, view: View) -> dict[str, str]:
    """All variables of a worker: few, fixed, nothing of the node's."""
    places, threads = view.places, str(max(1, spec.limits.cpus))
    variables = {
        "PATH": "/usr/bin:/bin",
        "HOME": f"{places.scratch}/work",
        "TMPDIR": f"{places.scratch}/tmp",  # noqa: S108 - in the cell
        "USER": "talkoot",
        "LOGNAME": "talkoot",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "LD_LIBRARY_PATH": f"{places.python}/lib",
        "PYTHONPATH": os.pathsep.join(p for p in (places.runtime, places.environment) if p),
        "PYTHONHASHSEED": str(spec.hash_seed),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "2",
        "TALKOOT_INPUTS": places.inputs,
    }
    variables |= dict.fromkeys(_THREAD_VARIABLES, threads)
    if spec.blas_core:
        variables["OPENBLAS_CORETYPE"] = spec.blas_core
    return variables


def _resource_limits(start: Start) -> list[tuple[int, int]]:
    cap = start.spec.limits
    pairs = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, cap.memory_bytes + ADDRESS_SPACE_HEADROOM_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, max(cap.scratch_bytes, MIB)),
        (resource.RLIMIT_MEMLOCK, 64 * KIB),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_RTPRIO, 0),
    ]
    if start.rung is not Rung.NONE:
        pairs.append((resource.RLIMIT_NPROC, start.processes_of_uid + cap.processes + OWN_PROCESSES))
    return [(number, _at_most_ours(number, value)) for number, value in pairs]


def _at_most_ours(number: int, value: int) -> int:
    """A limit that the node itself has cannot be raised."""
    hard = resource.getrlimit(number)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def launcher_plan(start: Start) -> dict[str, Any]:
    """What `launch.py` is told (plain types only: it travels as marshal)."""
    view, places = start.view, start.view.places
    machine, flat = platform.machine(), start.rung is Rung.LANDLOCK
    bare = start.rung is Rung.NONE
    plan: dict[str, Any] = {
        "parent": 0 if start.rung is Rung.BWRAP else os.getpid(),
        "view": None,
        "bare": bare,
        "landlock": None if bare else {"paths": granted(view, start.spec), "least_abi": _least_abi(start)},
        "limits": _resource_limits(start),
        "filter": b"" if bare else seccomp.build(machine, flat=flat),
        "subreaper": True,
        "fds": [start.request_fd, start.answer_fd],
        "cwd": places.scratch,
        "argv": [
            places.executable,
            "-S",
            "-m",
            "talkoot.node.guest",
            str(start.request_fd),
            str(start.answer_fd),
            places.runtime,
        ],
        "env": environment_variables(start.spec, view),
    }
    if start.rung is Rung.NAMESPACES:
        plan |= {
            "root": start.root,
            "inner_uid": INNER_UID,
            "pivot_root": NUMBERS["pivot_root"][seccomp.ARCHITECTURES[machine][0]],
            "view": {
                "binds": [(source, target, "read") for source, target in view.binds]
                + [(device, device, "device") for device in DEVICES],
                "scratch": [(places.scratch, _tmpfs_options(start.spec.limits))],
                "folders": ["/inputs", "/dev"],
                "links": list(view.links),
            },
        }
    return plan


def _least_abi(start: Start) -> int:
    """Where namespaces hold, Landlock is a second fence, and may be missing."""
    if start.rung is not Rung.LANDLOCK:
        return -1
    return _OLDEST_LANDLOCK_WITH_OWN_UID if start.own_uid else _OLDEST_LANDLOCK_WITH_NODE_UID


def _tmpfs_options(cap: TaskLimits) -> str:
    # Three folders of ours and the root itself are not the task's.
    return f"size={max(cap.scratch_bytes, 64 * KIB)},nr_inodes={cap.scratch_files + 4},mode=700"


def command(start: Start, config_fd: int) -> list[str]:
    """What the node starts."""
    places = start.view.places
    if start.rung is not Rung.BWRAP:
        return [start.python, "-I", "-S", f"{start.runtime}/launch.py", str(config_fd), str(start.answer_fd)]
    bwrap = shutil.which("bwrap")
    assert bwrap is not None
    flags = "--unshare-all --unshare-user --disable-userns --cap-drop ALL --new-session --die-with-parent --clearenv"
    words = [bwrap, *flags.split(), "--uid", str(INNER_UID), "--gid", str(INNER_UID), "--hostname", "talkoot"]
    words += ["--setenv", "LD_LIBRARY_PATH", f"{places.python}/lib"]
    for source, target in start.view.binds:
        words += ["--ro-bind", source, target]
    words += ["--proc", "/proc", "--dir", "/inputs", "--dir", "/dev"]
    for device in DEVICES:
        words += ["--dev-bind", device, device]
    words += ["--perms", "0700", "--size", str(max(start.spec.limits.scratch_bytes, 64 * KIB))]
    words += ["--tmpfs", places.scratch]
    for text, target in start.view.links:
        words += ["--symlink", text, target]
    inner = [places.executable, "-I", "-S", f"{places.runtime}/launch.py", str(config_fd), str(start.answer_fd)]
    return [*words, "--remount-ro", "/", "--chdir", places.scratch, "--", *inner]
