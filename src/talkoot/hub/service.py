"""What the handlers of a hub share: the engine's writer, the readers, who is known, who waits.

Everything here belongs to the thread of the event loop, unless it says otherwise.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from talkoot.core import limits
from talkoot.core.errors import Busy
from talkoot.core.ids import PublicKey
from talkoot.crypto.keys import SigningKey
from talkoot.hub.answers import JobBells
from talkoot.hub.engine import Command, Engine
from talkoot.hub.offers import Query
from talkoot.hub.polls import Polls
from talkoot.hub.readers import Readers
from talkoot.hub.tx import Settings
from talkoot.hub.writer import Writer
from talkoot.wire.envelope import EPOCH_BYTES, Epochs

T = TypeVar("T")
MAX_KNOWN_KEYS: Final = 100_000


class Service:
    """One running hub."""

    def __init__(self, engine: Engine, writer: Writer, readers: Readers, address: str) -> None:
        self.address = address
        self.key: SigningKey = engine.key
        self.hub: PublicKey = engine.hub
        self.settings: Settings = engine.settings
        self.origin = engine.origin
        self.writer = writer
        self.readers = readers
        self.polls = Polls(engine, writer)
        self.bells = JobBells()
        self.epochs = Epochs(os.urandom(EPOCH_BYTES), time.monotonic(), draw=lambda: os.urandom(EPOCH_BYTES))
        self.stopping = asyncio.Event()
        self.waiting = 0
        """Long polls that are being kept."""
        self._known: set[bytes] = set()
        engine.on_commit.append(lambda jobs: writer.tell(lambda: self.bells.ring(jobs)))

    async def command(self, kind: str, run: Callable[..., T], will: bytes = b"") -> T:
        """Have the writer carry out a command; raises its error."""
        reply: T = await self.writer.ask(Command(kind, run, will))
        return reply

    async def read(self, question: Callable[[Query], T]) -> T:
        """Ask the database, beside the writer."""
        return await self.readers.read(question)

    async def knows(self, key: bytes) -> bool:
        """Whether the key is a member's or a node's. Keys are never forgotten, so a yes may be remembered."""
        if key not in self._known:
            sql = "SELECT 1 FROM members WHERE key = ?1 UNION ALL SELECT 1 FROM nodes WHERE key = ?1 LIMIT 1"
            if not await self.read(lambda query: query(sql, key)):
                return False
            if len(self._known) >= MAX_KNOWN_KEYS:
                self._known.clear()
            self._known.add(key)
        return True

    async def wait(self, news: Callable[[], Awaitable[object]], gone: asyncio.Future[None], timeout_s: float) -> None:
        """Wait until there is news, the asker is gone, the hub stops, or the time is over.

        Raises Busy when too many wait already.
        """
        if self.waiting >= limits.MAX_PARKED_REQUESTS:
            raise Busy(f"{limits.MAX_PARKED_REQUESTS} requests wait already", hint="try again in a moment")
        self.waiting += 1
        ends = [asyncio.ensure_future(news()), asyncio.ensure_future(self.stopping.wait())]
        try:
            await asyncio.wait([*ends, gone], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.waiting -= 1
            for end in ends:
                end.cancel()
