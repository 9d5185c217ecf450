"""The frames between a node and the worker in a cell: four bytes of length (little-endian), then msgpack.

The node believes nothing of what comes back: a length beyond the limit or a frame that is not exactly one of
these types means that the worker is broken, and the cell is ended.
"""

from enum import StrEnum
from typing import Final

import msgspec

LENGTH_BYTES: Final = 4
MAX_MESSAGE_CHARS: Final = 2_000
MAX_TRACEBACK_CHARS: Final = 4_000
"""Characters, each of at most four bytes."""
FRAME_OVERHEAD_BYTES: Final = 64 * 1024
"""Beside the answer: message, traceback, and the frame itself."""


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load"):
    """Take a program; it stays for the tasks that follow."""

    carrier: bytes


class Task(msgspec.Struct, frozen=True, array_like=True, tag="task"):
    """Run the program once."""

    arguments: bytes
    seed: int
    answer_bytes: int
    inputs: tuple[bytes, ...] = ()
    """The answers for the holes in the arguments, in their order."""


class Check(msgspec.Struct, frozen=True, array_like=True, tag="check"):
    """Try what a cell must refuse: read a host file, signal the node (0: not seen from here), open a socket."""

    witness: str
    node: int


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The worker is up."""

    python: str


class Loaded(msgspec.Struct, frozen=True, array_like=True, tag="loaded"):
    """The program was taken; or not, and why."""

    error: str = ""


class Checked(msgspec.Struct, frozen=True, array_like=True, tag="checked"):
    """What was possible though it must not be."""

    open: list[str]


class Status(StrEnum):
    """How a task ended, as the worker saw it."""

    ANSWERED = "answered"
    RAISED = "raised"
    MEMORY = "memory"
    SCRATCH = "scratch"
    PROCESSES = "processes"
    ANSWER_TOO_LARGE = "answer_too_large"


class Finished(msgspec.Struct, frozen=True, array_like=True, tag="finished"):
    """One task is done."""

    status: Status
    answer: bytes = b""
    message: str = ""
    traceback: str = ""
    used_up: bool = False
    """Threads or processes were left behind: the next task needs a new worker."""


Request = Load | Task | Check
Reply = Ready | Loaded | Checked | Finished

_encoder: Final = msgspec.msgpack.Encoder()
_requests: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
_replies: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)


def pack(frame: Request | Reply) -> bytes:
    """A frame with its length before it."""
    body = _encoder.encode(frame)
    return len(body).to_bytes(LENGTH_BYTES, "little") + body


def decode_request(body: bytes) -> Request:
    """Raises msgspec.DecodeError."""
    return _requests.decode(body)


def decode_reply(body: bytes) -> Reply:
    """Raises msgspec.DecodeError for everything that is not exactly a reply."""
    return _replies.decode(body)
