"""A job that is under way: it is made on the hub with its first tasks, gets more, and its answers are read.

Ids are chosen here, so that every request may be repeated: the hub does nothing twice. One thread sends to a job
at a time (the pump, or the caller of `map`); one thread of the job's own reads its answers while some are owed.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from talkoot.core import ids, limits
from talkoot.core.errors import InsufficientFunds, JobCancelled, NotFound, TalkootError
from talkoot.core.ids import JobId
from talkoot.core.types import Manifest
from talkoot.crypto.signed import Kind
from talkoot.sdk.connection import Connection
from talkoot.sdk.options import Options
from talkoot.sdk.prepare import PYTHON, Prepared
from talkoot.wire.messages import Add, Answer, Answers, Cancel, Item, Nothing, ReadAnswers, Submit, Submitted

IDLE_READER_S: Final = 5.0
"""How long a thread waits for more to be owed before it ends; the next submit starts another."""
CANCEL_TIMEOUT_S: Final = 5.0


class Sink(Protocol):
    """Where the answers of a job go. Called by its reader."""

    def deliver(self, answer: Answer) -> bool:
        """An answer came; False when it was not waited for (any more)."""
        ...

    def fail(self, error: TalkootError) -> None:
        """No more answers will come: everything still waited for ends with this error."""
        ...


class LiveJob:
    """One job of this process."""

    def __init__(
        self, connection: Connection, prepared: Prepared, options: Options, sink: Sink, *, provisional: bool = False
    ) -> None:
        self.id = JobId(os.urandom(16))
        self.connection = connection
        self.prepared = prepared
        self.options = options
        self.name = options.name or _printable(prepared.program.name)
        self.failure: TalkootError | None = None
        """Why nothing more will come of it here."""
        self.ended: Callable[[LiveJob], None] = _nothing
        """Called once, when nothing more will come of it here."""
        self._refusing: TalkootError | None = None
        self._sink = sink
        self._provisional = provisional
        self._changed = threading.Condition()
        self._owed = 0
        self._cursor = 0
        self._created = self._sealed = self._over = False
        self._reader: threading.Thread | None = None
        self._track = connection.display.begin(self.name)

    # Sending.

    def expect(self, tasks: int) -> None:
        """So many more answers are owed; said before the tasks are sent, for answers may come before the reply."""
        with self._changed:
            self._owed += tasks
            self._changed.notify_all()
            if self._created:
                self._start_reader()

    def forgo(self, tasks: int) -> None:
        """So many answers are no longer waited for."""
        with self._changed:
            self._owed -= tasks
            self._changed.notify_all()
        self._end_if_over()

    def send(self, items: Sequence[Item], *, sealed: bool) -> None:
        """Send tasks; the first make the job. Raises what the hub answers, and JobCancelled."""
        if (error := self.failure or self._refusing) is not None:
            raise error
        try:
            if self._created:
                self._ask_to_take("/v1/jobs/add", Add(self.id, tuple(items), sealed))
            elif items:
                self._create(tuple(items), sealed)
        except BaseException as error:
            if not isinstance(error, TalkootError):  # Ctrl-C: the request may have arrived
                self.cancel()
            raise
        with self._changed:
            self._created = self._created or bool(items)
            self._sealed = self._sealed or sealed
            cancelled = self.failure is not None
            if self._created and self._owed:
                self._start_reader()
        if cancelled and items:
            self._tell_cancelled()  # it was cancelled while the request was out
        self._end_if_over()

    def _create(self, items: tuple[Item, ...], sealed: bool) -> None:
        budget = self.options.budget(self.connection.price_microcredits)
        try:
            self._submit(items, sealed, budget)
        except InsufficientFunds:
            if self.options.budget_microcredits is not None:
                raise
            # The default budget is a convenience: where the project has less, it is all that the project has.
            balance = self.connection.balance_microcredits()
            if balance >= budget:
                raise
            self._submit(items, sealed, balance)

    def _submit(self, items: tuple[Item, ...], sealed: bool, budget_microcredits: int) -> None:
        options, price_cap = self.options, self.options.price_cap_microcredits
        manifest = Manifest(
            hub=self.connection.hub,
            project=self.connection.project,
            job=self.id,
            name=self.name,
            program=self.prepared.program.id,
            environment=self.prepared.environment,
            python=PYTHON,
            seed=options.seed,
            pure=options.pure,
            verifier=options.verifier,
            task_limits=options.task_limits,
            price_cap_microcredits=self.connection.price_microcredits if price_cap is None else price_cap,
            budget_microcredits=budget_microcredits,
            isolation=options.isolation,
        )
        signed = self.connection.key.sign(Kind.MANIFEST, msgspec.msgpack.encode(manifest))
        self._ask_to_take("/v1/jobs/submit", Submit(signed, items, sealed))

    def _ask_to_take(self, path: str, request: Submit | Add) -> None:
        self._track.has_inputs = self._track.has_inputs or any(item.inputs for item in request.items)
        self._track.known += self.connection.ask(path, request, Submitted).remembered

    @property
    def is_open(self) -> bool:
        """Whether it takes more tasks."""
        return self.failure is None and self._refusing is None and not self._sealed

    def seal(self) -> None:
        """Say that no more tasks come."""
        if self._created and self.is_open:
            self.send((), sealed=True)

    def no_more(self, error: TalkootError) -> None:
        """Take no more tasks, because the hub refused some; what it took before is still waited for."""
        with contextlib.suppress(TalkootError):
            self.seal()
        with self._changed:
            self._refusing = error
        self._end_if_over()

    # Ending.

    def cancel(self) -> None:
        """Cancel what is left of the job, here at once and on the hub. Does not raise."""
        if self.stop(JobCancelled(f"{ids.job_text(self.id)} ({self.name}) was cancelled")):
            self._tell_cancelled()

    def stop(self, error: TalkootError) -> bool:
        """Take no more tasks and wait for no more answers; False when that was so before."""
        with self._changed:
            if self.failure is not None or self._over:
                return False
            self.failure = error
            self._owed = 0
            self._changed.notify_all()
        self._sink.fail(error)
        self._end_if_over()
        return True

    def cancel_tasks(self, indices: Sequence[int]) -> None:
        """Cancel some tasks on the hub. Does not raise."""
        self._tell_cancelled(tuple(indices))

    def _tell_cancelled(self, indices: tuple[int, ...] = ()) -> None:
        try:
            self.connection.call("/v1/jobs/cancel", Cancel(self.id, indices), Nothing, timeout_s=CANCEL_TIMEOUT_S)
        except NotFound:
            pass  # it never came to be; and if it is on its way, `send` tells the hub afterwards
        except TalkootError as error:
            self.connection.display.say(f"{ids.job_text(self.id)} could not be cancelled on the hub: {error.message}")

    def wait(self) -> None:
        """Until no answer is owed any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._owed <= 0)

    @property
    def owes(self) -> bool:
        """Whether answers are still waited for."""
        return self._owed > 0

    def join(self) -> None:
        """Wait for the reader to end, after the connection was closed."""
        reader = self._reader
        if reader is not None and reader is not threading.current_thread():
            reader.join(IDLE_READER_S)

    def finish(self) -> None:
        """Nothing more is wanted from it here (the hub may go on)."""
        with self._changed:
            if self._over:
                return
            self._over = True
            self._changed.notify_all()
        self.connection.display.end(self._track)
        self.ended(self)

    def _end_if_over(self) -> None:
        with self._changed:
            over = self._owed <= 0 and (self._sealed or self._refusing is not None or self.failure is not None)
        if over:
            self.finish()

    # Reading.

    def _start_reader(self) -> None:
        if self._reader is None and not self._over:
            self._reader = threading.Thread(target=self._read, name=f"talkoot-{self.name}", daemon=True)
            self._reader.start()

    def _read(self) -> None:
        while self._something_owed():
            try:
                self._take(self._ask())
            except TalkootError as error:
                self.stop(error)
            except Exception as error:  # a fault of ours must end the wait, not the thread alone
                self.stop(TalkootError(f"reading the answers of {ids.job_text(self.id)} failed: {error!r}"))
                raise

    def _something_owed(self) -> bool:
        """Wait a while for something to read; False when this thread is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._owed > 0 or self._over or self.failure is not None, IDLE_READER_S)
            if self._owed > 0 and self.failure is None and not self._over:
                return True
            self._reader = None
            return False

    def _ask(self) -> Answers:
        wait_s = min(self.connection.display.poll_s, limits.MAX_LONG_POLL_S)
        return self.connection.ask("/v1/jobs/answers", ReadAnswers(self.id, self._cursor, wait_s, self._provisional), Answers)

    def _take(self, reply: Answers) -> None:
        self._cursor = reply.cursor
        taken = sum(self._sink.deliver(answer) for answer in reply.answers)
        self.connection.display.show(self._track, reply.progress)
        if taken:
            self.forgo(taken)


def _nothing(job: LiveJob) -> None:
    pass


def _printable(name: str) -> str:
    """The name of a function as the name of a job."""
    return "".join(c for c in name if c.isprintable())[: limits.MAX_NAME_CHARS] or "function"
