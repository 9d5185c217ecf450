"""The store of environments: folders of installed packages, each known by the hash of its lock.

A folder that stands in the store is whole: it is built elsewhere, under a lock, and renamed into place. The
nodes of one operating-system user share a store. Folders are to be mounted read-only inside a sandbox; they
must never stand on a path of any interpreter outside of one.

    root/whole/ENV/        the packages
    root/whole/ENV.json    what the build took
    root/locks/ENV         held shared by who uses the environment, alone by who builds or removes it
    root/building/         what is not whole
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from talkoot.core import installer, limits
from talkoot.core.errors import RequirementError, Unavailable
from talkoot.core.lock import Lock, decode_lock, environment_name
from talkoot.node.environment_build import Recipe, base_interpreter, build, disk_errors
from talkoot.node.environment_check import FOLDER_MODE, Caps

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The minor version for which environments are built here."""


class BuildTrace(msgspec.Struct, frozen=True):
    """What a build took, as kept beside the folder."""

    packages: int
    files: int
    size_bytes: int
    seconds: float


class EnvironmentStore:
    """The environments on a device. Safe to be used by several threads and several processes at once.

    An environment that `get` gave is held until `release`, `prune` or `close`; while any store holds it, no
    other removes it. `settings` are the owner's variables, by default out of `os.environ`.
    """

    def __init__(
        self,
        root: Path,
        *,
        settings: Mapping[str, str] | None = None,
        caps: Caps | None = None,
        timeout_s: float = limits.ENVIRONMENT_BUILD_TIMEOUT_S,
    ) -> None:
        self._root = root.absolute()
        self._recipe = Recipe(
            interpreter=base_interpreter(),
            settings=installer.owner_settings(os.environ if settings is None else settings),
            caps=caps or Caps(),
            timeout_s=timeout_s,
        )
        self._held: dict[str, _Hold] = {}
        self._mutex = threading.Lock()
        with disk_errors():
            for folder in (self._root, *(self._root / name for name in ("whole", "locks", "building"))):
                folder.mkdir(parents=True, exist_ok=True)
                _make_traversable(folder)

    def get(self, lock: bytes, *, report: Callable[[str], None] | None = None) -> Path | None:
        """The folder with the packages of an encoded lock, built if it is not there; None if it has none.

        Blocks while another process builds the same. `report` is told in a few words what is being done.
        Raises RequirementError or TooLarge if the lock or its packages are refused, Unavailable or DiskFull if
        they cannot be had now.
        """
        name = environment_name(lock)
        folder = self._folder(name)
        with self._mutex:
            if name in self._held and folder.is_dir():
                return folder
        parsed = decode_lock(lock)
        if parsed.python != PYTHON:
            raise RequirementError(f"the environment is for Python {parsed.python}; this device has {PYTHON}")
        if not parsed.packages:
            return None
        with disk_errors():
            self._keep(name, self._obtain(name, parsed, report or _say_nothing))
        return folder

    def known(self) -> list[str]:
        """The names (`lock.environment_name`) of the environments that are there, sorted."""
        return sorted(entry.name for entry in os.scandir(self._root / "whole") if entry.is_dir())

    def release(self, name: str) -> None:
        """Say that this store no longer uses an environment, so that it may be removed."""
        with self._mutex:
            hold = self._held.pop(name, None)
        if hold is not None:
            hold.close()

    def close(self) -> None:
        """Release every environment."""
        for name in list(self._held):
            self.release(name)

    def prune(self, keep: Collection[str]) -> int:
        """Remove the environments that are not in `keep` and that nobody uses; say how many these were.

        Releases what this store holds beyond `keep`. Clears away what builds that were killed left behind.
        """
        for name in [held for held in list(self._held) if held not in keep]:
            self.release(name)
        removed = 0
        with disk_errors():
            for name in self._started() | set(self.known()):
                with contextlib.suppress(BlockingIOError), _Hold(self._root / "locks" / name) as hold:
                    hold.alone(wait=False)
                    self._clear(name)
                    removed += name not in keep and self._remove(name)
        return removed

    def _folder(self, name: str) -> Path:
        return self._root / "whole" / name

    def _keep(self, name: str, hold: "_Hold") -> None:
        with self._mutex:
            kept = self._held.setdefault(name, hold)
        if kept is not hold:
            hold.close()

    def _obtain(self, name: str, lock: Lock, report: Callable[[str], None]) -> "_Hold":
        """Hold an environment shared; build it first, held alone, if it is not there."""
        hold = _Hold(self._root / "locks" / name)
        try:
            hold.shared()
            while not self._folder(name).is_dir():
                hold.alone()
                if not self._folder(name).is_dir():
                    self._build(name, lock, hold, report)
                hold.shared()  # not atomic: another may have removed it in between, so look again
        except BaseException:
            hold.close()
            raise
        return hold

    def _build(self, name: str, lock: Lock, hold: "_Hold", report: Callable[[str], None]) -> None:
        self._clear(name)
        started = time.monotonic()
        place = self._root / "building" / f"{name}.{secrets.token_hex(4)}"
        place.mkdir()
        try:
            contents = build(place, lock, self._recipe, guard_fd=hold.fd, report=report)
            _make_traversable(place / "target")
            seconds = round(time.monotonic() - started, 3)
            trace = BuildTrace(len(lock.packages), contents.files, contents.size_bytes, seconds)
            (place / "trace").write_bytes(msgspec.json.encode(trace))
            os.sync()  # a power cut must not leave empty files in a folder that is taken for whole
            os.rename(place / "trace", self._trace(name))
            os.rename(place / "target", self._folder(name))
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _trace(self, name: str) -> Path:
        return self._root / "whole" / f"{name}.json"

    def _started(self) -> set[str]:
        return {entry.name.partition(".")[0] for entry in os.scandir(self._root / "building")}

    def _clear(self, name: str) -> None:
        """Remove what builds of this name left. Only for who holds the name alone: their builders are dead."""
        for left in (self._root / "building").glob(f"{name}.*"):
            shutil.rmtree(left, ignore_errors=True)

    def _remove(self, name: str) -> bool:
        """Remove a whole environment: first out of its place in one step, then its files."""
        doomed = self._root / "building" / f"{name}.{secrets.token_hex(4)}"
        try:
            os.rename(self._folder(name), doomed)
        except FileNotFoundError:
            return False
        self._trace(name).unlink(missing_ok=True)
        shutil.rmtree(doomed, ignore_errors=True)
        return True


class _Hold:
    """A lock file, held by this object (not by the process: two objects exclude each other)."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def shared(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_SH)

    def alone(self, *, wait: bool = True) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def __enter__(self) -> "_Hold":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _make_traversable(folder: Path) -> None:
    """Let every user of the device enter and read, and nobody but its owner write: sandboxes run as others."""
    status = os.stat(folder)
    if status.st_uid != os.geteuid():
        raise Unavailable(f"the environment store {folder} belongs to another user", hint="Give this node a folder of its own.")
    if stat.S_IMODE(status.st_mode) != FOLDER_MODE:
        os.chmod(folder, FOLDER_MODE)


def _say_nothing(_: str) -> None:
    pass
