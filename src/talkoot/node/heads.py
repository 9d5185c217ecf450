"""The newest checkpoint of a hub that this node has seen, kept as evidence: a hub that forks or goes back is caught.

Every reply of the hub carries its signed head. A head that is smaller than what the hub was told the node knows, or
of the same size with another root, is a fork: both notes are written into the node's folder, where they prove it.
"""

import contextlib
import os
import threading
from pathlib import Path
from typing import Final

from talkoot.core import limits
from talkoot.core.errors import BadSignature, Conflict
from talkoot.crypto.checkpoint import Checkpoint, log_origin, open_checkpoint

_NEWEST: Final = "checkpoint"
_EVIDENCE: Final = "fork-{}"


class Heads:
    """What is known of one hub's log. Safe for threads."""

    def __init__(self, folder: Path, hub: bytes) -> None:
        self._folder = folder
        self._hub = hub
        self._origin = log_origin(hub)
        self._lock = threading.Lock()
        self._note = self._written = _read(folder / _NEWEST)
        self._newest: Checkpoint | None = None
        with contextlib.suppress(BadSignature):  # a damaged file is as good as none
            self._newest = open_checkpoint(self._note, self._origin, hub) if self._note else None

    @property
    def size(self) -> int:
        """Of the newest head; 0 before there is one."""
        newest = self._newest
        return newest.size if newest else 0

    def take(self, note: str, known_size: int) -> None:
        """Look at the head that came in the reply to a request that named `known_size`.

        Raises BadSignature where the hub did not sign it, and Conflict where it shows a fork.
        """
        if not note or note == self._note:
            return
        head = open_checkpoint(note, self._origin, self._hub)
        with self._lock:
            newest = self._newest
            # Replies overtake each other: a head may be older than the newest, but not than what the request named.
            if newest is not None and (head.size < known_size or (head.size == newest.size and head.root != newest.root)):
                self._testify(note, head, newest)
            if newest is None or head.size > newest.size:
                self._newest, self._note = head, note

    def save(self) -> None:
        """Write the newest head to disk. Losing it only loses what an earlier run saw."""
        with self._lock:
            if self._note != self._written:
                with contextlib.suppress(OSError):
                    self._write(_NEWEST, self._note)
                    self._written = self._note

    def _testify(self, note: str, head: Checkpoint, newest: Checkpoint) -> None:
        kept = f"both notes are in {self._folder}"
        try:
            for number, text in enumerate((self._note, note), 1):
                self._write(_EVIDENCE.format(number), text)
        except OSError as error:
            kept = f"the notes could not be kept ({error.strerror})"
        raise Conflict(
            f"the hub's log was of {newest.size} entries, and now the hub signs another of {head.size}: it is not the"
            f" same log any more; {kept}",
            hint="Ask the hub's operator; a hub restored from an old backup looks like this too. Take no more work of it.",
        )

    def _write(self, name: str, text: str) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f".{name}.{os.getpid()}"
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, self._folder / name)


def _read(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(limits.MAX_CHECKPOINT_CHARS)
    except OSError:
        return ""
