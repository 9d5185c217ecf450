"""The one thread that starts cells and watches over them.

Cells are started from it because a process told to die with its parent dies with the *thread* that started it:
this one lives as long as the sandbox. Between starts it looks at every cell, and ends one that uses more than
it may in a way that the kernel does not hold.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeVar

from talkoot.core.errors import NoSandbox

LOOK_EVERY_S: Final = 0.05

T = TypeVar("T")


class Watched(Protocol):
    """What the keeper looks at."""

    def look(self) -> None:
        """Check, and act. Must not raise and must not block."""


class Keeper:
    """Runs what it is given, in order, in a thread of its own."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._watched: set[Watched] = set()
        self._putting = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._keep, name="talkoot-cells", daemon=True)
        self._thread.start()

    def call(self, action: Callable[[], T]) -> T:
        """Do it in the keeper's thread, and give what it gave."""
        future: Future[T] = Future()

        def do() -> None:
            try:
                future.set_result(action())
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                future.set_exception(error)

        with self._putting:
            if self._closed:
                raise NoSandbox("the sandbox is closed")
            self._work.put(do)
        return future.result()

    def watch(self, cell: Watched) -> None:
        """Look at it from now on."""
        self.call(lambda: self._watched.add(cell))

    def forget(self, cell: Watched) -> None:
        """Look at it no more."""
        self._watched.discard(cell)

    def close(self) -> None:
        """End the thread; what was started from it may end with it."""
        with self._putting:
            self._closed = True
            self._work.put(None)
        self._thread.join()

    def _keep(self) -> None:
        while True:
            for action in self._gathered():
                if action is None:
                    return
                action()
            for cell in tuple(self._watched):
                cell.look()

    def _gathered(self) -> list[Any]:
        """The work at hand; waits for the next look, or where nothing is watched, for the first work."""
        try:
            return [self._work.get(timeout=LOOK_EVERY_S if self._watched else None)]
        except queue.Empty:
            return []
