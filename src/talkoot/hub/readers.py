"""Reading beside the writer: a few threads, each with a read-only connection, each question over one snapshot."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from talkoot.core import limits
from talkoot.core.errors import BadInput, Busy
from talkoot.hub import schema
from talkoot.hub.offers import Query

T = TypeVar("T")
READERS: Final = 3


class Readers:
    """A pool of read-only connections."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="talkoot-reader")
        self._own = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._waiting = 0

    async def read(self, question: Callable[[Query], T]) -> T:
        """Ask in a reader's thread; all that one question sees is of one moment. Raises Busy when too many wait."""
        if self._waiting >= limits.MAX_WAITING_READS:
            raise Busy(f"{limits.MAX_WAITING_READS} questions wait for the hub's database", hint="try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._ask, question)
        finally:
            self._waiting -= 1

    def glance(self, question: Callable[[Query], T]) -> T:
        """Ask at once, on the calling thread, which must be the event loop's: for what takes microseconds only."""
        return self._ask(question)

    def close(self) -> None:
        """End the threads and close their connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def _ask(self, question: Callable[[Query], T]) -> T:
        connection = self._connection()
        connection.execute("BEGIN")
        try:
            return question(query_of(connection))
        except OverflowError:
            raise BadInput("a number in the request is larger than any that the hub keeps") from None
        finally:
            connection.execute("ROLLBACK")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = schema.connect(self._path, read_only=True)
            self._connections.append(connection)
        return connection


def query_of(connection: sqlite3.Connection) -> Query:
    """The connection as a function from SQL and its values to all rows."""

    def query(sql: str, *values: object) -> list[Any]:
        return connection.execute(sql, values).fetchall()

    return query
