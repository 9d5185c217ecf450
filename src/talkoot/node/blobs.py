"""Programs and locks on the node's disk, by their ids: each is fetched once.

What is read is checked against its id, so that a file that was damaged or changed is as if it were not there. The
cache only saves time: where the disk is full it keeps nothing, and nothing fails for that.
"""

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from talkoot.core.limits import MIB

MAX_BYTES: Final = 512 * MIB
Identify = Callable[[bytes], bytes]
"""From a content to its id."""


class BlobCache:
    """A folder of contents; the least recently used go when it is full. Safe for threads and processes."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)  # programs of strangers are nobody else's business

    def get(self, name: bytes, identify: Identify) -> bytes | None:
        """The content with this id; None where it is not kept."""
        path = self._folder / name.hex()
        try:
            data = path.read_bytes()
            if identify(data) == name:
                os.utime(path)
                return data
            path.unlink(missing_ok=True)
        except OSError:
            pass
        return None

    def put(self, name: bytes, data: bytes) -> None:
        """Keep a content, if there is room."""
        if len(data) > self._max_bytes:
            return
        with self._lock, contextlib.suppress(OSError):
            self._make_room(len(data))
            handle, draft = tempfile.mkstemp(dir=self._folder, prefix=".part-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                os.replace(draft, self._folder / name.hex())
            except OSError:
                os.unlink(draft)
                raise

    def _make_room(self, wanted: int) -> None:
        kept = []
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                kept.append((status.st_mtime, status.st_size, entry.path))
        kept.sort()
        total = sum(size for _, size, _ in kept)
        for _, size, path in kept:
            if total + wanted <= self._max_bytes:
                return
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            total -= size
