"""From a lock to a folder of packages: install, check, compile, in a temporary folder that is thrown away if not.

Nothing of the packages runs: uv unpacks wheels, and the bytecode is compiled by the agent's own interpreter
without its site, with the packages on no path of it.
"""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from uv import find_uv_bin

from talkoot.core import installer, limits
from talkoot.core.errors import DiskFull, TooLarge, Unavailable
from talkoot.core.lock import Lock, requirements_text
from talkoot.node import environment_check
from talkoot.node.environment_check import Caps, Contents

_POLL_S: Final = 0.02

# Under -I -S in an empty folder; the paths in the bytecode are relative, hence the same on every device.
_COMPILE: Final = """
import compileall, py_compile, resource, sys
target, memory, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
compileall.compile_dir(target, quiet=2, force=True, workers=workers, stripdir=target,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


class Recipe(NamedTuple):
    """What a build needs to know of its device."""

    interpreter: str
    settings: Mapping[str, str]
    caps: Caps
    timeout_s: float


def base_interpreter() -> str:
    """The interpreter under any virtual environment: its version and site are what sandboxes get."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def build(place: Path, lock: Lock, recipe: Recipe, *, guard_fd: int, report: Callable[[str], None]) -> Contents:
    """Fill `place/target` with the packages of the lock. `place` is new and empty, and the caller removes it.

    `guard_fd` is the file descriptor of the lock under which this is done; the programs started here hold it
    too, so that it is not free before the last of them has ended, even if this process is killed.

    Raises RequirementError or TooLarge for what the packages are, Unavailable or DiskFull for what the device is.
    """
    work, target = place / "work", place / "target"
    work.mkdir()
    target.mkdir()
    (work / "requirements.txt").write_text(requirements_text(lock))
    deadline = time.monotonic() + recipe.timeout_s
    watch = _Watch(place, recipe.caps, deadline, guard_fd)
    report(f"installing {len(lock.packages)} packages")
    command = installer.install_command(find_uv_bin(), recipe.interpreter, str(target), "requirements.txt")
    returncode = _run(command, work, recipe.settings, watch)
    if returncode != 0:
        words = (work / "stderr").read_bytes()[-64 * limits.KIB :].decode(errors="replace")
        raise installer.failure("the environment cannot be built", returncode, words, hide=(str(place),))
    report("checking")
    environment_check.check(target, lock, recipe.caps)
    report("compiling")
    arguments = [str(target), str(limits.ENVIRONMENT_COMPILE_MEMORY_BYTES), "2"]
    # Its status is not asked: a file that does not compile is a matter of whoever imports it.
    _run([recipe.interpreter, "-I", "-S", "-c", _COMPILE, *arguments], work, {}, watch)
    return environment_check.measure(target, recipe.caps)


class _Watch:
    """Ends a program that takes too long or fills the disk."""

    def __init__(self, place: Path, caps: Caps, deadline: float, guard_fd: int) -> None:
        self.guard_fd = guard_fd
        self._place = place
        self._deadline = deadline
        self._used_cap = 2 * caps.size_bytes + limits.MIN_FREE_DISK_BYTES  # once in uv's cache, once in the target
        self._free_at_first = shutil.disk_usage(place).free
        self.check()

    def check(self) -> None:
        free = shutil.disk_usage(self._place).free
        if free < limits.MIN_FREE_DISK_BYTES:
            raise DiskFull(f"the environment cannot be built: only {free // limits.MIB} MiB of disk are free")
        if self._free_at_first - free > self._used_cap:
            raise TooLarge(f"building the environment took more than {self._used_cap // limits.MIB} MiB of disk")
        if time.monotonic() > self._deadline:
            raise Unavailable("the environment cannot be built: it took too long", hint="Try again; much is kept.")


def _run(command: Sequence[str], work: Path, settings: Mapping[str, str], watch: _Watch) -> int:
    with open(work / "stderr", "wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=dict(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=(watch.guard_fd,),
            start_new_session=True,
            umask=0o022,
        )
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_POLL_S)
            watch.check()
    except BaseException:
        if process.returncode is None:  # not waited for, so the number is still its own
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        raise


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Turn an error of the file system into DiskFull or Unavailable."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("the environment cannot be built: no room left on the disk") from error
        raise Unavailable(f"the environment store cannot be used: {error.strerror or error}") from error
