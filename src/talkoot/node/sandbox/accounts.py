"""A uid of its own for every cell, where the node is root.

With it the caps on processes count exactly this cell, and nothing of the host belongs to it. The uids are high
and unused; they follow from the node's pid, so that two nodes of one machine do not share any.
"""

import os
from collections import deque
from pathlib import Path
from typing import Final

from talkoot.core.errors import Busy

_CELLS: Final = 256
_BASES: Final = ((0x70000000, 0xFF000), (40_000, 64))
"""First uid, and number of nodes that fit: above all ranges in use, or within the 65,536 of a container."""


class Accounts:
    """The uids of one node."""

    def __init__(self) -> None:
        # Longest unused first: what a cell left may still be dying, and would count against the next one's cap.
        self._free = deque(range(_CELLS))
        self.first = _first_uid() if os.geteuid() == 0 else None

    @property
    def own_uid(self) -> bool:
        """Whether cells get a uid of their own."""
        return self.first is not None

    def take(self) -> int | None:
        """A uid that no other cell has; None where cells run under the node's own."""
        if self.first is None:
            return None
        try:
            return self.first + self._free.popleft()
        except IndexError:
            raise Busy(f"all {_CELLS} cells of this node are in use", hint="Close one first.") from None

    def give_back(self, uid: int | None) -> None:
        """The cell has ended."""
        if uid is not None and self.first is not None:
            self._free.append(uid - self.first)


def _first_uid() -> int | None:
    """The first base that this user namespace maps; None where root is the only user."""
    ranges = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    for base, nodes in _BASES:
        first = base + os.getpid() % nodes * _CELLS
        if any(start <= first and first + _CELLS <= start + count for start, _, count in ranges):
            return first
    return None
