"""Control groups: caps on memory, processes and CPU that the kernel holds for a whole cell.

Found by trying: on v1 as root, on v2 where the node's own group may have children with controllers (as root, or
in a delegated subtree). Where there are none the node polls instead, and every receipt says so.
"""

import itertools
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CONTROLLERS: Final[tuple[str, ...]] = ("memory", "pids", "cpu")
_CPU_PERIOD_US: Final = 100_000
_REMOVE_ATTEMPTS: Final = 50
_serial = itertools.count()


@dataclass(frozen=True)
class Caps:
    """What a group may use in all."""

    memory_bytes: int
    processes: int
    cpus: int


class Group:
    """The control group of one cell (on v1 a folder for each controller)."""

    def __init__(self, folders: dict[str, Path], *, v2: bool) -> None:
        self._folders = folders
        self._v2 = v2

    def set(self, caps: Caps) -> None:
        """Set the caps. Raises OSError."""
        memory, pids, cpu = (self._folders.get(name) for name in _CONTROLLERS)
        assert memory is not None
        assert pids is not None
        quota = caps.cpus * _CPU_PERIOD_US
        if self._v2:
            _write(memory / "memory.max", caps.memory_bytes)
            with suppress(OSError):
                _write(memory / "memory.swap.max", 0)
                _write(memory / "memory.oom.group", 1)
        else:
            _write(memory / "memory.limit_in_bytes", caps.memory_bytes)
            with suppress(OSError):  # there is no such file where swap is not accounted
                _write(memory / "memory.memsw.limit_in_bytes", caps.memory_bytes)
        _write(pids / "pids.max", caps.processes)
        if cpu is not None:
            with suppress(OSError):
                if self._v2:
                    _write(cpu / "cpu.max", f"{quota} {_CPU_PERIOD_US}")
                else:
                    _write(cpu / "cpu.cfs_period_us", _CPU_PERIOD_US)
                    _write(cpu / "cpu.cfs_quota_us", quota)

    def add(self, pids: Iterable[int]) -> None:
        """Move processes into the group. Raises OSError."""
        for pid in pids:
            for folder in set(self._folders.values()):
                _write(folder / "cgroup.procs", pid)

    def peak_bytes(self) -> int:
        """The most memory that the group ever had."""
        name = "memory.peak" if self._v2 else "memory.max_usage_in_bytes"
        with suppress(OSError, ValueError):
            return int((self._folders["memory"] / name).read_text())
        return 0

    def killed_for_memory(self) -> int:
        """How often the kernel ended a process of the group for want of memory."""
        name = "memory.events" if self._v2 else "memory.oom_control"
        return _counter(self._folders["memory"] / name, "oom_kill")

    def refused_processes(self) -> int:
        """How often a process or thread could not be made for the cap."""
        return _counter(self._folders["pids"] / "pids.events", "max")

    def remove(self) -> None:
        """End what is in the group, and remove it."""
        for folder in set(self._folders.values()):
            for _ in range(_REMOVE_ATTEMPTS):
                with suppress(OSError):
                    folder.rmdir()
                if not folder.exists():
                    break
                self._kill(folder)
                time.sleep(0.01)

    def _kill(self, folder: Path) -> None:
        with suppress(OSError, ValueError):
            for pid in (folder / "cgroup.procs").read_text().split():
                os.kill(int(pid), 9)


class Groups:
    """Makes groups, where this node may."""

    def __init__(self) -> None:
        self._parents, self._v2 = _parents()
        for parent in set(self._parents.values()):
            _remove_leftovers(parent)
        self.usable = self._try()

    def make(self, caps: Caps) -> Group:
        """A new group with its caps set. Raises OSError."""
        name = f"talkoot-{os.getpid()}-{next(_serial)}"
        folders: dict[str, Path] = {}
        group = Group(folders, v2=self._v2)
        try:
            for controller, parent in self._parents.items():
                folder = parent / name
                folder.mkdir(exist_ok=True)
                folders[controller] = folder
            group.set(caps)
        except OSError:
            group.remove()
            raise
        return group

    def _try(self) -> bool:
        if not {"memory", "pids"} <= self._parents.keys():
            return False
        try:
            self.make(Caps(64 * 2**20, 8, 1)).remove()
        except OSError:
            return False
        return True


def _remove_leftovers(parent: Path) -> None:
    """Groups of a node that was killed: empty, for their processes died with it."""
    for folder in parent.glob("talkoot-*-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists():
            with suppress(OSError):
                folder.rmdir()


def _parents() -> tuple[dict[str, Path], bool]:
    """The folder of this process's own group for each controller, and whether it is v2."""
    own: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            own |= dict.fromkeys(controllers.split(","), path)
    v1, v2 = _mounts()
    found = {name: _inside(*v1[name], own[name]) for name in _CONTROLLERS if name in v1 and name in own}
    if found or v2 is None:
        return found, False
    folder = _inside(*v2, own.get("", "/"))
    with suppress(OSError):
        _write(folder / "cgroup.subtree_control", " ".join(f"+{name}" for name in _CONTROLLERS))
    enabled: list[str] = []
    with suppress(OSError):
        enabled = (folder / "cgroup.subtree_control").read_text().split()
    return {name: folder for name in _CONTROLLERS if name in enabled}, True


def _mounts() -> tuple[dict[str, tuple[Path, str]], tuple[Path, str] | None]:
    """Mount point and root of each v1 controller, and of v2 (proc(5), mountinfo)."""
    v1: dict[str, tuple[Path, str]] = {}
    v2 = None
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            left, _, right = line.partition(" - ")
            root, point = left.split()[3:5]
            kind, _, options = right.split()[:3]
            if kind == "cgroup":
                v1 |= dict.fromkeys(options.split(","), (Path(point), root))
            elif kind == "cgroup2":
                v2 = (Path(point), root)
    return v1, v2


def _inside(point: Path, root: str, path: str) -> Path:
    below = path.removeprefix(root if root != "/" else "").strip("/")
    folder = point / below
    return folder if folder.is_dir() else point


def _write(path: Path, value: int | str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def _counter(path: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
