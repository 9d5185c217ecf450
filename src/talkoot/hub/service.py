"""What the handlers of a hub share: the engine's writer, the readers, who is known, who waits.

Everything here belongs to the thread of the event loop, unless it says otherwise.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self, TypeVar

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
        self.stopping = False
        self.waiting: set[Patience] = set()
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

    def glance(self, question: Callable[[Query], T]) -> T:
        """Ask the database at once: only what takes microseconds, for nothing else happens meanwhile."""
        return self.readers.glance(question)

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

    def stop_waiting(self) -> None:
        """Answer every long poll at once, and keep no further ones."""
        self.stopping = True
        for patience in self.waiting:
            patience.wake.set()


class Patience:
    """One long poll being kept: `with Patience(service, gone) as patience: await patience.wait(seconds)`.

    Raises Busy at the beginning when too many are kept already. `gone` ends when the asker is not there any more.
    """

    def __init__(self, service: Service, gone: Coroutine[Any, Any, None]) -> None:
        self.wake = asyncio.Event()
        """Set it when there is news; clear it before looking again."""
        self._service = service
        self._gone = gone

    def __enter__(self) -> Self:
        if len(self._service.waiting) >= limits.MAX_PARKED_REQUESTS:
            self._gone.close()
            raise Busy(f"{limits.MAX_PARKED_REQUESTS} requests wait already", hint="try again in a moment")
        self._watch = asyncio.get_running_loop().create_task(self._gone)
        self._watch.add_done_callback(lambda _: self.wake.set())
        self._service.waiting.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._service.waiting.discard(self)
        self._watch.cancel()

    @property
    def gone(self) -> bool:
        """Whether the asker has gone away."""
        return self._watch.done()

    @property
    def over(self) -> bool:
        """Whether there is no sense in waiting any longer."""
        return self.gone or self._service.stopping

    async def wait(self, timeout_s: float) -> None:
        """Until `wake` is set, the asker is gone, the hub stops, or the time is over."""
        if not self.over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self.wake.wait()

    async def pause(self, pause_s: float) -> None:
        """A moment without looking, whatever the news; the end of waiting is not missed."""
        if not self.over:
            await asyncio.sleep(pause_s)
