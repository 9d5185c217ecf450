"""The node's end of a worker: frames out and in, and what the task prints, without ever waiting for ever.

Everything that arrives is hostile. Lengths are checked before anything is kept, output is counted and dropped
beyond its share, and every wait has a deadline.
"""

import os
import select
import time
from contextlib import suppress
from typing import Final

from talkoot.core.limits import KIB
from talkoot.node.guest.frames import LENGTH_BYTES

_CHUNK: Final = 64 * KIB
_MOST_DRAINS: Final = 64
"""Reads of left-over output after an answer: a process that writes for ever must not hold the node."""


class Late(Exception):
    """The deadline came first."""


class Ended(Exception):
    """The process is gone."""


class Broken(Exception):
    """What came is not what was agreed."""


class Capture:
    """The head and the tail of a stream."""

    def __init__(self, most_bytes: int) -> None:
        self._half = most_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def add(self, data: bytes) -> None:
        """Keep what fits."""
        self._total += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail += data
            if len(self._tail) > self._half:
                del self._tail[: -self._half]

    def take(self) -> bytes:
        """What was kept since the last call; where there was more, a line says how much."""
        if not self._total:
            return b""
        left_out = self._total - len(self._head) - len(self._tail)
        between = b"\n[%d bytes left out]\n" % left_out if left_out else b""
        text = bytes(self._head) + between + bytes(self._tail)
        self._head.clear()
        self._tail.clear()
        self._total = 0
        return text


class Channel:
    """Uses the descriptors of one worker, and closes none. Used by one thread at a time."""

    def __init__(self, *, request_fd: int, answer_fd: int, stdout_fd: int, stderr_fd: int, pidfd: int, most_output: int) -> None:
        self._request_fd = request_fd
        self._answer_fd = answer_fd
        self._pidfd = pidfd
        self.stdout = Capture(most_output)
        self.stderr = Capture(most_output)
        self._streams = {stdout_fd: self.stdout, stderr_fd: self.stderr}
        for fd in (request_fd, answer_fd, stdout_fd, stderr_fd, pidfd):
            os.set_blocking(fd, False)
        self._poll = select.poll()
        for fd in (answer_fd, stdout_fd, stderr_fd, pidfd):
            self._poll.register(fd, select.POLLIN)

    def exchange(self, frame: bytes, *, most_bytes: int, timeout_s: float) -> bytes:
        """Send a frame (which has its length before it), and give the body of the one that comes back.

        Raises Late, Ended or Broken; after any of them the worker is of no use.
        """
        deadline = time.monotonic() + timeout_s
        rest = self._send(memoryview(frame))
        body = bytearray()
        while (wanted := _missing(body, most_bytes)) > 0:
            self._wait(deadline, sending=bool(rest))
            if rest:
                rest = self._send(rest)
            body += self._receive(wanted)
        self._drain()
        return bytes(memoryview(body)[LENGTH_BYTES:])

    def hello(self, timeout_s: float) -> None:
        """Wait for the one byte by which the launcher says that it is up."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._wait(deadline, sending=False)
            if data := self._receive(1):
                if data != b"+":
                    raise Broken("the launcher did not say hello")
                return

    def is_up(self) -> bool:
        """Whether the process has not ended. From any thread."""
        return not self._ends_within(0)

    def wait_for_end(self, timeout_s: float) -> None:
        """Give a process whose pipes are closed a moment to end by itself, so that its exit status is its own."""
        self._ends_within(timeout_s)

    def output(self) -> tuple[bytes, bytes]:
        """What was printed since the last call."""
        self._drain()
        return self.stdout.take(), self.stderr.take()

    def _ends_within(self, timeout_s: float) -> bool:
        one = select.poll()
        one.register(self._pidfd, select.POLLIN)
        return bool(one.poll(timeout_s * 1000))

    def _wait(self, deadline: float, *, sending: bool) -> None:
        """Until there is something to do; output is taken at once."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise Late
        if sending:
            self._poll.register(self._request_fd, select.POLLOUT)
        ready = dict(self._poll.poll(min(left, 3600.0) * 1000))
        if sending:
            self._poll.unregister(self._request_fd)
        for fd in self._streams.keys() & ready.keys():
            self._take(fd)
        if self._pidfd in ready and self._answer_fd not in ready:
            raise Ended

    def _send(self, view: memoryview) -> memoryview:
        with suppress(BlockingIOError):
            try:
                while view:
                    view = view[os.write(self._request_fd, view) :]
            except BrokenPipeError:
                raise Ended from None
        return view

    def _receive(self, most: int) -> bytes:
        try:
            data = os.read(self._answer_fd, min(most, 16 * _CHUNK))
        except BlockingIOError:
            return b""
        if not data:
            raise Ended
        return data

    def _take(self, fd: int) -> bool:
        """Read some output; False when there is none, now or for ever."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._poll.unregister(fd)
            del self._streams[fd]
            return False
        self._streams[fd].add(data)
        return True

    def _drain(self) -> None:
        for fd in list(self._streams):
            for _ in range(_MOST_DRAINS):
                if not self._take(fd):
                    break


def _missing(body: bytearray, most_bytes: int) -> int:
    """Bytes still to come of a frame. Raises Broken where its length is beyond the limit."""
    if len(body) < LENGTH_BYTES:
        return LENGTH_BYTES - len(body)
    size = int.from_bytes(body[:LENGTH_BYTES], "little")
    if size > most_bytes:
        raise Broken(f"the worker announced {size} bytes where at most {most_bytes} are allowed")
    return LENGTH_BYTES + size - len(body)
