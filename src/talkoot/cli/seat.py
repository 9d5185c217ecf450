"""Which agents run here: one for each key of a device, and how `leave` finds the one to stop.

An agent holds a lock on a small file for as long as it lives, with its process number in it. So a file that a killed agent
left says nothing, and no other process that got the same number is ever taken for it.
"""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from talkoot.core.errors import Conflict
from talkoot.core.ids import key_text
from talkoot.wire.home import Home

_LOOK_EVERY_S: Final = 0.05


def _path(home: Home, key: bytes) -> Path:
    return home.path / "run" / f"{key_text(key)[-12:]}.pid"


@contextlib.contextmanager
def take(home: Home, key: bytes) -> Iterator[None]:
    """Be the one agent with this key. Raises Conflict when there is one already."""
    path = _path(home, key)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                "this device is lent to that hub already, by another process",
                hint="Stop it first (`talkoot leave`), or lend a second one under another name: --name.",
            ) from None
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        os.close(handle)


def stop(home: Home, key: bytes, *, patience_s: float) -> bool:
    """Ask the agent with this key to leave, and wait until it has; False when none runs. Raises Conflict if it stays."""
    try:
        handle = os.open(_path(home, key), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if _free(handle):
            return False
        process = int(os.read(handle, 20) or b"0")
        if process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        until = time.monotonic() + patience_s
        while not _free(handle):
            if time.monotonic() > until:
                raise Conflict(f"the process {process}, which lends this device, does not stop", hint=f"End it: kill {process}")
            time.sleep(_LOOK_EVERY_S)
    finally:
        os.close(handle)
    return True


def _free(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(handle, fcntl.LOCK_UN)
    return True
