"""What cannot be sent, and what to do instead. No rule here makes an object sendable."""

import io
import socket
import sys
import threading
import types
import weakref
from typing import Final

from talkoot.core import limits
from talkoot.core.errors import BadInput, ProgramError, TooLarge

_INSIDE: Final = "Make it inside the function, so that each task has its own."
_HINTS: Final[tuple[tuple[tuple[type, ...], str], ...]] = (
    (
        (type(threading.Lock()), type(threading.RLock()), threading.Thread, threading.local),
        "Tasks run in processes of their own and share nothing: drop it, or make it inside the function.",
    ),
    ((io.TextIOBase, io.BufferedIOBase, io.RawIOBase), "Read it before, and pass its content as an argument."),
    ((types.GeneratorType, types.AsyncGeneratorType), "Pass list(...) of it as an argument, or call it inside the function."),
    ((types.CoroutineType,), "Await it before, and pass its result as an argument."),
    ((socket.socket,), "Tasks have no network: fetch before, and pass what was fetched as an argument."),
    ((weakref.ref, weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet), _INSIDE),
    ((types.FrameType, types.TracebackType), "Pass the text of it instead."),
)
_BY_NAME: Final = {
    "sqlite3.Connection": "Tasks see no host files: read the rows before, and pass them as an argument.",
    "sqlite3.Cursor": "Tasks see no host files: read the rows before, and pass them as an argument.",
}
_MEMORY_FILES: Final = (io.StringIO, io.BytesIO)
_OURS: Final = ("talkoot.sdk", "talkoot.wire", "talkoot.hub", "talkoot.node", "talkoot.sim", "talkoot.cli")


class CannotSendError(Exception):
    """Raised in the walk, where only the object is known; the walker adds the path to it."""

    def __init__(self, reason: str, hint: str = _INSIDE) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint

    def at(self, path: str) -> BadInput:
        """The error for the caller."""
        return ProgramError(f"{path}: {self.reason}", hint=self.hint)


class TooLargeToSendError(CannotSendError):
    """One thing that alone, or with the rest of the program, is beyond the limit."""

    def __init__(self, largest: int, total: int | None = None) -> None:
        whole = f"the program is {total:,} bytes" if total is not None else "the program is too large"
        super().__init__(whole, "Pass it to the function as an argument instead.")
        self.largest = largest

    def at(self, path: str) -> BadInput:
        return TooLarge(
            f"{self.reason}, and the limit is {limits.MAX_PROGRAM_BYTES:,} bytes;"
            f" largest in it is {path} ({self.largest:,} bytes)",
            hint=self.hint,
        )


def type_name(cls: type) -> str:
    """How a type is called in a message."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def check(value: object) -> None:
    """Raise CannotSendError for what is known to be bound to this process, before anybody tries to copy it."""
    cls = type(value)
    if cls in _MEMORY_FILES:
        return
    module = cls.__module__
    if isinstance(module, str) and module.startswith(_OURS) and module in sys.modules:
        raise CannotSendError(
            f"a {type_name(cls)} cannot be sent: tasks cannot reach the hub",
            "Use the client around the call, and pass only values to the function.",
        )
    for types_, hint in _HINTS:
        if isinstance(value, types_):
            raise CannotSendError(f"a {type_name(cls)} cannot be sent", hint)


def unknown(value: object, why: BaseException | None = None) -> CannotSendError:
    """The refusal of an object that offers no way to copy it."""
    name = type_name(type(value))
    because = f" ({why})" if why is not None and str(why) and name not in str(why) else ""
    return CannotSendError(f"a {name} cannot be sent{because}", _BY_NAME.get(name, _INSIDE))
