"""The hub's ordered record: the two-call contract, and its SQLite implementation.

    append(entries, after=position) -> position    fences: raises Conflict when `after` is not the last position
    read(start) -> iterator of (position, entry)

Nothing else may write a log. Positions start at 1. The leaf of entry n in the Merkle tree (RFC 6962) is the
hash of its public part, so the payload may be erased without breaking a proof.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from talkoot.core.errors import Conflict
from talkoot.core.events import Entry
from talkoot.crypto.merkle import Frontier, leaf_hash

_READ_ROWS = 1000


class Log(Protocol):
    """Where entries are kept. One class of tests runs against every implementation."""

    def append(self, entries: Sequence[Entry], *, after: int) -> int:
        """Add entries behind position `after`, which MUST be the last; return the new last position.

        MUST add all or none. MUST raise `Conflict`, having changed nothing, when `after` is not the last.
        """
        ...

    def read(self, start: int = 1) -> Iterator[tuple[int, Entry]]:
        """Yield (position, entry) from `start` on, in order, without gaps."""
        ...

    def size(self) -> int:
        """The last position (0 when empty)."""
        ...


class SqliteLog:
    """The log in the hub's own database, so that an entry and what it does to the tables are one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        row = connection.execute("SELECT value FROM meta WHERE key = 'frontier'").fetchone()
        self.frontier = msgspec.msgpack.decode(row[0], type=Frontier) if row else Frontier(0, ())

    def append(self, entries: Sequence[Entry], *, after: int) -> int:
        """See `Log.append`. Runs inside the caller's transaction."""
        if after != self.frontier.size:
            raise Conflict(
                f"the log has {self.frontier.size} entries, and the writer believed {after}",
                hint="another process writes this log; only one hub may have it open",
            )
        frontier, rows = self.frontier, []
        for position, entry in enumerate(entries, after + 1):
            leaf = leaf_hash(entry.public)
            frontier = frontier.append(leaf)
            rows.append((position, entry.public, entry.salt, entry.payload, leaf))
        self._connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", rows)
        self._connection.execute(
            "INSERT INTO meta VALUES ('frontier', ?1) ON CONFLICT DO UPDATE SET value = ?1",
            (msgspec.msgpack.encode(frontier),),
        )
        self.frontier = frontier
        return frontier.size

    def reload(self) -> None:
        """Forget what was appended in a transaction that was rolled back."""
        self.__init__(self._connection)  # type: ignore[misc]

    def read(self, start: int = 1) -> Iterator[tuple[int, Entry]]:
        """See `Log.read`."""
        while True:
            rows = self._connection.execute(
                "SELECT position, public, salt, payload FROM log WHERE position >= ? ORDER BY position LIMIT ?",
                (start, _READ_ROWS),
            ).fetchall()
            for position, public, salt, payload in rows:
                yield position, Entry(public, salt, payload)
            if len(rows) < _READ_ROWS:
                return
            start = rows[-1][0] + 1

    def size(self) -> int:
        """See `Log.size`."""
        return self.frontier.size
