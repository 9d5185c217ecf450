"""What a cell sees of the host: paths only, the same list for every rung.

With namespaces the list becomes mounts in a root of the cell's own, under fixed names. Without (`landlock`) it
becomes the paths that are granted, where they are.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from talkoot.core.types import Rung
from talkoot.node.sandbox.model import CellSpec
from talkoot.node.sandbox.store import Interpreter

SCRATCH: Final = "/scratch"
_SYSTEM: Final = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/bin", "/usr/share/zoneinfo")
_SYSTEM_ROOTS: Final = ("/lib", "/lib32", "/lib64", "/bin")
_READ_FILES: Final = ("/etc/ld.so.cache", "/sys/devices/system/cpu", "/sys/devices/system/node")
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_FLAT_FILES: Final = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self/maps",
    "/proc/stat",
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
)


@dataclass(frozen=True)
class Places:
    """Where things are, as the worker sees them."""

    python: str
    executable: str
    runtime: str
    environment: str
    inputs: str
    scratch: str


@dataclass(frozen=True)
class View:
    """What the cell sees, and where."""

    places: Places
    binds: tuple[tuple[str, str], ...]
    """Source on the host, target in the cell; read-only, with all below."""
    links: tuple[tuple[str, str], ...]
    """Text, and place of symbolic links."""


def of(rung: Rung, spec: CellSpec, interpreter: Interpreter, runtime: Path, cell: Path) -> View:
    """The view of a new cell whose folder on the host is `cell`."""
    if rung in {Rung.BWRAP, Rung.NAMESPACES}:
        return _own_root(spec, interpreter, runtime)
    places = Places(
        python=str(interpreter.folder),
        executable=str(interpreter.folder / interpreter.executable),
        runtime=str(runtime),
        environment=str(spec.environment or ""),
        inputs=str(cell / "inputs"),
        scratch=str(cell / "scratch"),
    )
    return View(places, (), tuple((str(path), str(cell / "inputs" / name)) for path, name in spec.inputs))


def _own_root(spec: CellSpec, interpreter: Interpreter, runtime: Path) -> View:
    binds = [(str(interpreter.folder), "/python"), (str(runtime), "/runtime")]
    if spec.environment is not None:
        binds.append((str(spec.environment), "/environment"))
    binds += [(str(path), f"/inputs/{name}") for path, name in spec.inputs]
    binds += [(path, path) for path in (*_SYSTEM, *_READ_FILES) if os.path.exists(path)]
    links = [(f"{SCRATCH}/tmp", "/tmp"), (f"{SCRATCH}/shm", "/dev/shm"), ("/proc/self/fd", "/dev/fd")]  # noqa: S108
    for path in _SYSTEM_ROOTS:
        if os.path.islink(path):
            links.append((os.readlink(path), path))
        elif os.path.isdir(path):
            binds.append((path, path))
    places = Places(
        python="/python",
        executable=f"/python/{interpreter.executable}",
        runtime="/runtime",
        environment="/environment" if spec.environment is not None else "",
        inputs="/inputs",
        scratch=SCRATCH,
    )
    return View(places, tuple(binds), tuple(links))


def granted(view: View, spec: CellSpec) -> list[tuple[str, bool]]:
    """Paths for Landlock, and whether they may be written: the second fence, or in `landlock` the only one."""
    places = view.places
    if view.binds:
        return [("/", False), (SCRATCH, True), *((path, True) for path in DEVICES)]
    readable = [places.python, places.runtime, *_SYSTEM, *_SYSTEM_ROOTS, *_READ_FILES, *_FLAT_FILES, *DEVICES[1:]]
    if places.environment:
        readable.append(places.environment)
    readable += [places.inputs, *(str(path) for path, _ in spec.inputs)]
    return [*((path, False) for path in readable), (places.scratch, True), (DEVICES[0], True)]
