"""The warm worker: takes one program, then runs tasks of it, one at a time, until its cell is ended.

It is built so that a task's answer depends on nothing but its action: before each task the generators are
seeded, the environment variables and an empty scratch are restored, and a program that holds mutable state is
built anew. It enforces nothing, for a task can do in this process whatever it likes; what holds is outside.
"""

import _thread
import errno
import os
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from talkoot.core import codec, errors
from talkoot.node.guest import frames, rebuild, scratch
from talkoot.node.guest.frames import Finished, Status
from talkoot.node.guest.seeds import Seeds

_FOLDERS: Final = ("work", "tmp", "shm")
_MOST_PLACES: Final = 100
"""Frames at each end of a traceback that are part of the answer."""
_NO_PROCESS: Final = 2**31 - 1
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def main(request_fd: int, answer_fd: int, runtime: str) -> None:
    """Serve requests until there are no more."""
    for fd in (request_fd, answer_fd):
        os.set_inheritable(fd, False)
    Worker(request_fd, answer_fd, runtime).serve()


class Worker:
    """State of the process: the program at hand, and what must be as at the start before each task."""

    def __init__(self, request_fd: int, answer_fd: int, runtime: str) -> None:
        self._request_fd = request_fd
        self._answer_fd = answer_fd
        self._pid = os.getpid()
        self._scratch = os.getcwd()
        self._streams = (sys.stdout, sys.stderr)
        self._program: rebuild.Loaded | None = None
        self._function: Callable[..., Any] | None = None
        self._seeds = Seeds()
        _hide_runtime(runtime)
        self._clean_scratch()
        self._seeds.watch()
        self._environ = dict(os.environ)

    def serve(self) -> None:
        """Answer each request with one frame."""
        self._send(frames.Ready(python=sys.version.partition(" ")[0]))
        while True:
            request = frames.decode_request(self._receive())
            if isinstance(request, frames.Task):
                self._send(self._run(request))
            elif isinstance(request, frames.Load):
                self._send(self._load(request.carrier))
            else:
                self._send(frames.Checked(_what_is_open(request)))

    def _receive(self) -> bytes:
        size = int.from_bytes(self._read(frames.LENGTH_BYTES), "little")
        return self._read(size)

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = os.read(self._request_fd, min(size - len(data), 1 << 20))
            if not part:
                os._exit(0)
            data += part
        return bytes(data)

    def _send(self, frame: frames.Reply) -> None:
        view = memoryview(frames.pack(frame))
        while view:
            view = view[os.write(self._answer_fd, view) :]

    def _load(self, carrier: bytes) -> frames.Loaded:
        self._program = self._function = None
        try:
            program = rebuild.load(carrier)
            self._function = program.build()
            self._program = program
        except BaseException as error:  # noqa: BLE001 - the program's own code runs here, and may raise anything
            return frames.Loaded(error=f"{type(error).__qualname__}: {_text(error)}")
        return frames.Loaded()

    def _run(self, task: frames.Task) -> Finished:
        self._restore()
        self._seeds.start(task.seed)
        try:
            finished = self._attempt(task)
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt of a task are its answer too
            finished = self._failure(error)
        if os.getpid() != self._pid:
            # A task forked, and its child came back out of the task's function: it has no part in what follows.
            os._exit(0)
        for stream in self._streams:
            with suppress(Exception):
                stream.flush()
        return finished if self._tidy() else _used_up(finished)

    def _attempt(self, task: frames.Task) -> Finished:
        program, function = self._program, self._function
        assert program is not None
        if function is None or program.mutable:
            function = program.build()
        self._function = None if program.mutable else function
        inputs = [codec.decode(data, classes=program.classes) for data in task.inputs]
        arguments = codec.decode(task.arguments, classes=program.classes, holes=inputs or None)
        args, kwargs = arguments
        value = function(*args, **kwargs)
        try:
            return Finished(Status.ANSWERED, codec.encode(value, limit_bytes=task.answer_bytes))
        except errors.TooLarge as error:
            return Finished(Status.ANSWER_TOO_LARGE, message=_text(error))
        except errors.CodecError as error:
            return _raised(error, [], "")

    def _failure(self, error: BaseException) -> Finished:
        if isinstance(error, MemoryError):
            return Finished(Status.MEMORY, message=_text(error), traceback=_formatted(error))
        if isinstance(error, OSError) and error.errno in _FULL:
            return Finished(Status.SCRATCH, message=_text(error), traceback=_formatted(error))
        if isinstance(error, (BlockingIOError, RuntimeError)) and not _can_fork():
            return Finished(Status.PROCESSES, message=_text(error), traceback=_formatted(error))
        try:
            places = self._program.frames_of(error.__traceback__) if self._program else []
        except Exception:  # noqa: BLE001 - a task can break its own traceback
            places = []
        return _raised(error, places, _formatted(error))

    def _restore(self) -> None:
        """Undo what an earlier task did to the process, as far as it shows in an answer."""
        sys.stdout, sys.stderr = self._streams
        if os.environ != self._environ:
            os.environ.clear()
            os.environ.update(self._environ)

    def _tidy(self) -> bool:
        """Leave an empty scratch; False when the worker cannot be as new (threads, processes, files remain)."""
        try:
            self._clean_scratch()
        except OSError:
            return False
        return _thread._count() == 0 and not _children_live()

    def _clean_scratch(self) -> None:
        if sorted(os.listdir(self._scratch)) != sorted(_FOLDERS) or any(
            os.path.islink(path) or os.listdir(path) for path in self._paths()
        ):
            scratch.empty(self._scratch)
            for path in self._paths():
                os.mkdir(path, 0o700)
        os.chdir(os.path.join(self._scratch, _FOLDERS[0]))

    def _paths(self) -> list[str]:
        return [os.path.join(self._scratch, name) for name in _FOLDERS]


def _hide_runtime(runtime: str) -> None:
    """Leave the import path to the job: its environment may hold another msgspec than ours.

    Our own modules live on by the references that they hold to each other.
    """
    environment = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != runtime]
    ours = {runtime, os.getcwd(), "", *environment}
    sys.path[:] = [path for path in sys.path if path not in ours] + environment
    os.environ["PYTHONPATH"] = os.pathsep.join(environment)
    for name in list(sys.modules):
        if name.partition(".")[0] == "msgspec":
            del sys.modules[name]
    sys.path_importer_cache.clear()
    sys.modules["__main__"] = types.ModuleType("__main__")


def _raised(error: BaseException, places: list[tuple[int, int]], formatted: str) -> Finished:
    name = type(error).__qualname__[: frames.MAX_MESSAGE_CHARS]
    if len(places) > 2 * _MOST_PLACES:
        places = places[:_MOST_PLACES] + places[-_MOST_PLACES:]
    answer = codec.encode({"type": name, "frames": [list(place) for place in places]})
    return Finished(Status.RAISED, answer, _text(error), formatted)


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - the exception's own code
        text = "(the exception has no text)"
    return _sendable(text[: frames.MAX_MESSAGE_CHARS])


def _formatted(error: BaseException) -> str:
    """The traceback from the task's function on: the end of it, where it is too long."""
    import traceback

    try:
        inner = error.__traceback__
        for _ in range(2):  # this module's frames
            inner = inner.tb_next if inner and inner.tb_next else inner
        text = "".join(traceback.format_exception(type(error), error, inner))
    except BaseException:  # noqa: BLE001 - the exception's own code
        return ""
    return _sendable(text[-frames.MAX_TRACEBACK_CHARS :])


def _sendable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _used_up(finished: Finished) -> Finished:
    return Finished(finished.status, finished.answer, finished.message, finished.traceback, used_up=True)


def _children_live() -> bool:
    """Whether processes remain; those that have ended are reaped. The worker is their subreaper."""
    try:
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
    except ChildProcessError:
        return False


def _can_fork() -> bool:
    try:
        child = os.fork()
    except OSError:
        return False
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


def _what_is_open(check: frames.Check) -> list[str]:
    """What this process can do that a cell must refuse."""
    import socket

    found = []
    with suppress(OSError):
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        found.append("a network socket can be made")
    with suppress(OSError), open(check.witness, "rb"):
        found.append("a file of the host can be read")
    with suppress(OSError):
        os.kill(check.node or _NO_PROCESS, 0)
        found.append("a process of the host can be signalled")
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))
        found.append("the system call filter is not in force")
    return found
