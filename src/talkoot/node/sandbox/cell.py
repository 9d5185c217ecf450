"""A cell: one warm worker in one sandbox, as the node holds it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec

from talkoot.core.errors import NoSandbox, ProgramError
from talkoot.core.limits import MAX_NOTE_BYTES
from talkoot.core.types import KillReason, Note, Outcome, Rung, TaskLimits
from talkoot.node.guest import frames
from talkoot.node.guest.frames import Status
from talkoot.node.sandbox import usage
from talkoot.node.sandbox.channel import Broken, Channel, Ended, Late
from talkoot.node.sandbox.model import Run
from talkoot.node.sandbox.watch import Watch

LOAD_TIMEOUT_S: Final = 120.0
"""Taking a program may import the whole of its environment."""
MOST_OUTPUT_BYTES: Final = (MAX_NOTE_BYTES - 4 * (frames.MAX_MESSAGE_CHARS + frames.MAX_TRACEBACK_CHARS)) // 2 - 256
"""Of each stream; the rest of the note is the message and the traceback."""
IDLE_CPU_S: Final = 1.0
"""Processor time, for each CPU, that threads of a library may spin away after a task before they sleep."""
_LONG_RUN_S: Final = 0.05
"""A run shorter than one look of the keeper is not asked for its memory again."""
_KILLED: Final = {
    Status.MEMORY: KillReason.MEMORY,
    Status.SCRATCH: KillReason.SCRATCH,
    Status.PROCESSES: KillReason.PROCESSES,
    Status.ANSWER_TOO_LARGE: KillReason.ANSWER_TOO_LARGE,
}


@dataclass(frozen=True)
class Holding:
    """What a cell is made of."""

    process: "subprocess.Popen[bytes]"
    channel: Channel
    watch: Watch


class Cell:
    """One warm worker in one sandbox.

    Used by one thread at a time; `kill` may come from any. After a KILLED run, and after a task that left threads
    or processes behind, the cell has ended (`alive` is False): open another.
    """

    def __init__(self, rung: Rung, enforced: str, limits: TaskLimits, holding: Holding) -> None:
        self.rung = rung
        self.enforced = enforced
        self._limits = limits
        self._process = holding.process
        self._channel = holding.channel
        self._watch = holding.watch
        self._give_back: Callable[[], None] = lambda: None
        self._using = threading.Lock()
        self._state = threading.Lock()
        self._reason = ""
        self._signalled = False
        self._finished = False
        self._memory_bytes = 0
        self._idle_cpu_s: float | None = None
        self._last_output = (b"", b"")

    def lend(self, give_back: Callable[[], None]) -> None:
        """Called once, when the cell has ended, to give back what the host lent to it."""
        self._give_back = give_back

    @property
    def alive(self) -> bool:
        """Whether it can take another task."""
        return not self._signalled and not self._finished and self._channel.is_up()

    def load(self, carrier: bytes) -> None:
        """Take a program for the runs that follow. Raises ProgramError, and NoSandbox where the cell has ended."""
        with self._using:
            reply = self._ask(frames.Load(carrier), timeout_s=LOAD_TIMEOUT_S)
        if not isinstance(reply, frames.Loaded):
            raise ProgramError(
                f"the program ended its worker while it was being loaded ({reply})",
                hint="Look at what the program's modules do when they are imported.",
            )
        if reply.error:
            raise ProgramError(f"the program cannot be built here: {reply.error[: frames.MAX_MESSAGE_CHARS]}")

    def check(self, witness: str, node: int) -> list[str]:
        """Have our own worker try what must be refused; gives what was possible."""
        with self._using:
            reply = self._ask(frames.Check(witness, node), timeout_s=10.0)
        return reply.open if isinstance(reply, frames.Checked) else [f"the worker does not answer ({reply})"]

    def run(self, arguments: bytes, seed: int, *, time_s: float, inputs: tuple[bytes, ...] = ()) -> Run:
        """Run the program once; `inputs` are the answers for the holes in the arguments.

        Raises NoSandbox where the cell has ended before.
        """
        with self._using:
            started = time.monotonic()
            request = frames.Task(arguments, seed, self._limits.answer_bytes, inputs)
            reply = self._ask(request, timeout_s=time_s)
            wall_s = time.monotonic() - started
            if isinstance(reply, frames.Finished):
                return self._finished_run(reply, wall_s)
            reason = reply if isinstance(reply, str) else f"{KillReason.CRASHED}: the worker answers out of turn"
            return self._killed_run(reason, wall_s)

    def kill(self, reason: str = "") -> None:
        """End it at once, from any thread; a run in progress gives KILLED with this reason."""
        with self._state:
            if self._signalled:
                return
            self._signalled = True
            self._reason = self._reason or reason
            if self.rung is Rung.NONE:
                # Nothing keeps its processes in one group, so they are looked for.
                for pid in usage.tree(self._process.pid)[1:]:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            # It is not reaped yet, so neither its pid nor its group can have become another's.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._using.acquire(blocking=False):
            try:
                self._finish()
            finally:
                self._using.release()

    def close(self) -> None:
        """End it, and give back what it held."""
        self.kill("closed by the node")
        with self._using:
            self._finish()

    def look(self) -> None:
        """The keeper looks whether a cap that the kernel does not hold is exceeded."""
        if self._signalled:
            return
        try:
            beyond = self._watch.beyond() or self._busy_while_idle()
        except Exception as error:  # noqa: BLE001 - a cell that cannot be watched must not run
            beyond = f"{KillReason.SANDBOX}: the node could not watch the cell ({error})"
        if beyond:
            self.kill(beyond)

    def _busy_while_idle(self) -> str:
        """A worker has nothing to do between tasks, and nobody pays for what it does there."""
        if self._using.locked():
            self._idle_cpu_s = None
            return ""
        used = self._watch.cpu_seconds()
        if self._idle_cpu_s is None:
            self._idle_cpu_s = used
        if used - self._idle_cpu_s > IDLE_CPU_S * max(1, self._limits.cpus):
            return f"{KillReason.SANDBOX}: the worker went on computing after its task"
        return ""

    def _ask(self, request: frames.Request, *, timeout_s: float) -> frames.Reply | str:
        """The worker's reply; or why there is none, and then the cell has ended."""
        if self._finished or self._signalled:
            self._finish()
            raise NoSandbox(f"this cell has ended ({self._reason or 'its process is gone'})", hint="Open another.")
        self._idle_cpu_s = None
        most = self._limits.answer_bytes + frames.FRAME_OVERHEAD_BYTES
        try:
            body = self._channel.exchange(frames.pack(request), most_bytes=most, timeout_s=timeout_s)
            return frames.decode_reply(body)
        except Late:
            return self._end(f"{KillReason.TIME}: ran longer than {timeout_s:g} s")
        except Ended:
            return self._end("")
        except (Broken, msgspec.DecodeError, msgspec.ValidationError) as error:
            return self._end(f"{KillReason.CRASHED}: the worker does not keep to its protocol ({error})")

    def _end(self, reason: str) -> str:
        if not reason:
            reason = self._watch.beyond()
        with self._state:
            reason = self._reason = self._reason or reason
        code = self._reap()
        self._finish()
        if not reason:
            self._reason = f"{KillReason.CRASHED}: {_in_words(code)}"
        return self._reason

    def _reap(self) -> int:
        """The exit status; a process that has not ended by itself is made to."""
        if not self._reason:
            self._channel.wait_for_end(0.2)
        self.kill()
        return self._process.wait()

    def _finish(self) -> None:
        """Reap, and give back what the host lent. Held by `_using`; done once."""
        if self._finished:
            return
        self._finished = True
        self._process.wait()
        self._last_output = self._channel.output()
        self._give_back()

    def _finished_run(self, reply: frames.Finished, wall_s: float) -> Run:
        if wall_s >= _LONG_RUN_S or not self._memory_bytes:
            self._memory_bytes = self._watch.peak_bytes()
        message = reply.message[: frames.MAX_MESSAGE_CHARS]
        traceback = reply.traceback[-frames.MAX_TRACEBACK_CHARS :]
        reason = ""
        if reply.status in _KILLED:
            reason = f"{_KILLED[reply.status]}: {message or 'beyond the limit of the task'}"
        elif wall_s >= _LONG_RUN_S or reply.status is not Status.ANSWERED:
            reason = self._held_by_kernel(reply.status)
        if reason:
            return self._killed_run(reason, wall_s, message, traceback)
        note = Note(message, traceback, *self._channel.output())
        if reply.used_up:
            self.kill("the task left threads or processes behind")
            self._finish()
        outcome = Outcome.ANSWERED if reply.status is Status.ANSWERED else Outcome.RAISED
        return Run(outcome, reply.answer, note, _ms(wall_s), self._memory_bytes)

    def _held_by_kernel(self, status: Status) -> str:
        group = self._watch.group
        if group is None:
            return ""
        if group.killed_for_memory():
            return f"{KillReason.MEMORY}: used more than {self._limits.memory_bytes} bytes"
        if status is Status.RAISED and group.refused_processes():
            return f"{KillReason.PROCESSES}: wanted more than {self._limits.processes} processes"
        return ""

    def _killed_run(self, reason: str, wall_s: float, message: str = "", traceback: str = "") -> Run:
        self.kill(reason)
        self._finish()
        note = Note(message, traceback, *self._last_output)
        return Run(Outcome.KILLED, b"", note, _ms(wall_s), self._memory_bytes, reason)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _in_words(code: int) -> str:
    """An exit status, as subprocess or the launcher reports it."""
    number = -code if code < 0 else code - 128
    if code < 0 or code > 128:
        with suppress(ValueError):
            return f"its process was ended by {signal.Signals(number).name}"
    return f"its process ended with exit status {code}"
