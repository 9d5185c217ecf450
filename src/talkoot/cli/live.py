"""What a verb says that runs for long: a line that moves on a terminal, plain lines with the time elsewhere."""

import math
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from rich.status import Status

_MOVING_S: Final = 0.1
_PLAIN_S: Final = 1.0


class Ticker:
    """Lines about what goes on. `quiet` keeps stdout free: everything goes to stderr. Safe for threads."""

    def __init__(self, *, quiet: bool) -> None:
        self._stream = sys.stderr if quiet else sys.stdout
        self._live: Status | None = None
        self._open = ExitStack()
        self._lock = threading.Lock()
        self._said = -math.inf

    def __enter__(self) -> Self:
        if self._stream.isatty():
            from rich.console import Console

            self._live = Console(file=self._stream, highlight=False).status("")
            self._open.enter_context(self._live)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._live = None
            self._open.close()

    def line(self, text: str) -> None:
        """A line that stays."""
        self._write(text, "")

    def warn(self, text: str) -> None:
        """A line that must not be missed."""
        self._write(text, "bold red")

    def now(self, text: Callable[[], str]) -> None:
        """What goes on at the moment: on a terminal the moving line, elsewhere a line of its own. Said now and then
        only, however often it is called: short tasks begin and end faster than anybody reads, and words cost time."""
        with self._lock:
            if time.monotonic() - self._said < (_MOVING_S if self._live is not None else _PLAIN_S):
                return
            self._said = time.monotonic()
            if self._live is not None:
                self._live.update(text())
                return
        self.line(text())

    def _write(self, text: str, style: str) -> None:
        with self._lock:
            if self._live is not None:
                self._live.console.print(text, style=style or None, markup=False)
                return
            print(f"{time.strftime('%H:%M:%S')} {text}", file=self._stream, flush=True)
