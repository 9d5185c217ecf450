"""The one thread that changes the hub: it takes commands as they come, in groups, one commit for each group.

Whoever asks is on the event loop and gets a future; answers go back in one hand-over for a whole group. The queue is
bounded: what does not fit is refused with `Busy` at once, and nothing waits without being counted. Nothing but this
thread may touch the engine while it runs.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from talkoot.core import limits
from talkoot.core.errors import Busy, InternalError, TalkootError, Unavailable
from talkoot.hub.engine import Command, Done, Engine

MAX_TICK_S: Final = 1.0
_TICKS_PER_SILENCE: Final = 10
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What the writer has done since it started, for `/metrics`."""

    commands: int = 0
    refused: int = 0
    groups: int = 0
    busy_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Asked:
    command: Command
    future: asyncio.Future[Any]


class Writer:
    """Runs an engine in a thread of its own. Its public methods, but `tell`, are for the event loop's thread."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop, crashed: Callable[[BaseException], None]) -> None:
        self.counts = Counts()
        self._engine = engine
        self._loop = loop
        self._crashed = crashed
        """Called on the event loop when the thread has died."""
        self._tick_s = min(MAX_TICK_S, engine.settings.silence_s / _TICKS_PER_SILENCE)
        self._changed = threading.Condition()
        self._asked: deque[_Asked] = deque()
        self._errands: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._outbox: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="talkoot-writer", daemon=True)
        file = engine.db.execute("PRAGMA database_list").fetchone()[2]
        self._journal = Path(file + "-wal") if file else None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Commands that wait for their turn."""
        return len(self._asked)

    @property
    def alive(self) -> bool:
        """Whether commands are being carried out."""
        return self._thread.is_alive() and not self._stopping

    def ask(self, command: Command) -> asyncio.Future[Any]:
        """Queue a command; the future gets its reply or its error.

        Raises Busy when `limits.MAX_WRITE_QUEUE` commands wait already, Unavailable when the hub is stopping.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        with self._changed:
            if self._stopping:
                raise Unavailable("the hub is stopping", hint="try again when it is back")
            if len(self._asked) >= limits.MAX_WRITE_QUEUE:
                raise Busy(f"{limits.MAX_WRITE_QUEUE} commands wait for the hub's writer", hint="try again in a moment")
            self._asked.append(_Asked(command, future))
            self._changed.notify()
        return future

    def errand(self, action: Callable[[], None]) -> None:
        """Have something small done in the writer's thread, before the next group of commands."""
        with self._changed:
            self._errands.append(action)
            self._changed.notify()

    def tell(self, action: Callable[[], None]) -> None:
        """From the writer's thread: have something done on the event loop, with the other news of this turn."""
        self._outbox.append(action)

    async def stop(self) -> None:
        """Carry out what is queued, then end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    # The thread.

    def _run(self) -> None:
        try:
            self._loop_until_stopped()
        except BaseException as error:  # noqa: BLE001 - whatever it was, nobody may wait for a thread that is dead
            _log.critical("the hub's writer died; the hub stops", exc_info=error)
            with self._changed:
                self._stopping = True
                left = list(self._asked)
                self._asked.clear()
            self._outbox += [_failing(asked.future, InternalError()) for asked in left]
            self._outbox.append(partial(self._crashed, error))
            self._hand_over()

    def _loop_until_stopped(self) -> None:
        next_tick = time.monotonic() + self._tick_s
        while True:
            group, errands = self._take(next_tick)
            for errand in errands:
                errand()
            if group:
                self._carry_out(group)
            self._hand_over()
            if time.monotonic() >= next_tick:
                self._tick()
                self._hand_over()
                next_tick = time.monotonic() + self._tick_s
            if not group and not errands and self._stopping and not self._asked and not self._errands:
                return

    def _take(self, until: float) -> tuple[list[_Asked], list[Callable[[], None]]]:
        """What there is to do, as soon as there is something, or nothing when it is `until`."""
        with self._changed:
            while not (self._asked or self._errands or self._stopping):
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            group = [self._asked.popleft() for _ in range(min(len(self._asked), limits.GROUP_COMMIT_COMMANDS))]
            errands = list(self._errands)
            self._errands.clear()
        return group, errands

    def _carry_out(self, group: list[_Asked]) -> None:
        began = time.monotonic()
        try:
            done = self._execute([asked.command for asked in group])
        except BaseException:
            self._outbox += [_failing(asked.future, InternalError()) for asked in group]
            raise
        self.counts.groups += 1
        self.counts.commands += len(group)
        self.counts.refused += sum(one.error is not None for one in done)
        self.counts.busy_s += time.monotonic() - began
        self._outbox.append(lambda: _settle(group, done))

    def _execute(self, commands: list[Command]) -> list[Done]:
        """A group; and each command alone when one of them fails in a way that none may fail.

        A fault that one request can cause must not take the hub from everybody else. The engine has rolled the group
        back, so that nothing is lost by trying again; when it had committed already, the fault is not a command's.
        """
        size = self._engine.log.size()
        try:
            return self._engine.execute(commands)
        except (sqlite3.Error, MemoryError):
            raise
        except Exception as error:
            if self._engine.log.size() != size:
                raise
            if len(commands) > 1:
                return [done for command in commands for done in self._execute([command])]
            _log.exception("the command %s failed in a way that it should not", commands[0].kind, exc_info=error)
            return [Done(error=InternalError())]

    def _tick(self) -> None:
        try:
            self._engine.tick()
        except TalkootError as error:  # a full disk, mostly: the next tick tries again
            _log.warning("time could not be kept: %s", error)
        if self._journal is not None and _size(self._journal) > limits.MAX_JOURNAL_BYTES:
            try:
                self._engine.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.OperationalError as error:
                _log.warning("the database's journal could not be folded in: %s", error)

    def _hand_over(self) -> None:
        if not self._outbox:
            return
        actions, self._outbox = self._outbox, []
        try:
            self._loop.call_soon_threadsafe(_do_all, actions)
        except RuntimeError:  # the loop is closed: nobody waits any more
            _log.debug("news for %d who are gone", len(actions))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _do_all(actions: list[Callable[[], None]]) -> None:
    for action in actions:
        action()


def _settle(group: list[_Asked], done: list[Done]) -> None:
    for asked, one in zip(group, done, strict=True):
        if asked.future.done():
            continue
        if one.error is not None:
            asked.future.set_exception(one.error)
        else:
            asked.future.set_result(one.reply)


def _failing(future: asyncio.Future[Any], error: TalkootError) -> Callable[[], None]:
    def fail() -> None:
        if not future.done():
            future.set_exception(error)

    return fail
