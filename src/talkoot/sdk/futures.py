"""Futures: the answer of one submitted call, now or later; and they may be arguments of further calls."""

import concurrent.futures
import contextlib
import threading
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from talkoot.core import ids
from talkoot.core.errors import BadInput, JobCancelled, TalkootError, TaskFailed
from talkoot.sdk.answers import Answer
from talkoot.sdk.connection import Connection
from talkoot.sdk.job import LiveJob
from talkoot.wire import messages
from talkoot.wire.messages import AttemptRow, Item, TaskRef

T = TypeVar("T")


class TaskFuture(concurrent.futures.Future[T], Generic[T]):
    """The answer of one call, now or later.

    It is a `concurrent.futures.Future`: `result`, `exception`, `done`, `cancel`, `add_done_callback`, and
    `concurrent.futures.wait` and `as_completed` work. `answer` has the value with what is known about it.
    """

    _job: LiveJob
    _sink: "FutureSink"
    _index: int
    _identity: bytes
    _inputs: "tuple[TaskFuture[Any], ...]"
    _answer: Answer[T] | None = None
    _on_hub = False
    _refusal: TalkootError | None = None

    def answer(self, timeout: float | None = None) -> Answer[T]:
        """The answer with its confidence and cost; where the task raised, it has an `error` in place of a value.

        Raises TimeoutError, CancelledError after `cancel()`, and the hub's refusal where the call never was a task.
        """
        self.exception(timeout)
        if self._answer is None:
            self.result()
            raise AssertionError("a future without an answer has an exception")
        return self._answer

    def cancel(self) -> bool:
        """Cancel the task, here and on the hub; False when it is done already."""
        if not self._sink.drop(self._index):
            return super().cancelled()
        super().cancel()
        self.set_running_or_notify_cancel()  # tells those that wait for several futures
        if self._on_hub:
            self._job.cancel_tasks([self._index])
        self._job.forgo(1)
        return True

    @property
    def confidence(self) -> float:
        """Of the answer, which is waited for."""
        return self.answer().confidence

    @property
    def cost(self) -> float:
        """Of the answer, in credits; the answer is waited for."""
        return self.answer().cost

    @property
    def receipts(self) -> tuple[AttemptRow, ...]:
        """Of the answer, which is waited for."""
        return self.answer().receipts

    def story(self) -> str:
        """What happened to the task; its answer is waited for."""
        return self.answer().story()

    @property
    def is_lost(self) -> bool:
        """Whether the task never came to be on the hub, and will not."""
        return not self._on_hub and (self.cancelled() or self._refusal is not None)

    @property
    def is_on_its_way(self) -> bool:
        """Whether the task has still to be sent to the hub."""
        return not self._on_hub and not self.is_lost

    def loss(self) -> TaskFailed:
        """The error of what takes an answer that will never be."""
        error = TaskFailed(f"it takes the answer of {self!r}, which never reached the hub")
        error.__cause__ = self._refusal or JobCancelled("the input was cancelled")
        return error

    def ref(self, connection: Connection) -> TaskRef:
        """How the hub knows the task. Raises BadInput for a future of another hub or connection."""
        if self._job.connection is not connection:
            raise BadInput(
                f"{self!r} belongs to another connection than the call that takes it",
                hint="Take its result() first, and pass that.",
            )
        return TaskRef(self._job.id, self._index)

    @property
    def identity(self) -> bytes:
        """What the task is, whichever job it is in: the same when the script is run again."""
        return self._identity

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "done" if self.done() else "pending"
        return f"<TaskFuture {self._index} of {ids.job_text(self._job.id)}, {state}>"


class FutureSink:
    """The futures of one job that wait for their answers."""

    def __init__(self) -> None:
        self.job: LiveJob | None = None
        self._lock = threading.Lock()
        self._waiting: dict[int, TaskFuture[Any]] = {}
        self._next = 0

    def new(self, job: LiveJob, identity: bytes, inputs: "tuple[TaskFuture[Any], ...]") -> TaskFuture[Any]:
        """A future for the next task of the job."""
        future: TaskFuture[Any] = TaskFuture()
        future._job, future._sink, future._identity, future._inputs = job, self, identity, inputs
        with self._lock:
            future._index = self._next
            self._next += 1
            self._waiting[future._index] = future
        return future

    def drop(self, index: int) -> bool:
        """Wait for a task no more; False when it was not waited for."""
        with self._lock:
            return self._waiting.pop(index, None) is not None

    def deliver(self, answer: messages.Answer) -> bool:
        """Resolve a future."""
        with self._lock:
            future = self._waiting.pop(answer.index, None)
        if future is None:
            return False
        found: Answer[Any] = Answer(future._job.connection, future._job.id, future._job.prepared.program, answer)
        future._answer = found
        if found.error is None:
            future.set_result(found.value)
        elif found.error.__cause__ is None and type(found.error) is TaskFailed and future._inputs:
            _end_with_cause(future, found.error)
        else:
            future.set_exception(found.error)
        future._inputs = ()
        return True

    def fail(self, error: TalkootError) -> None:
        """No answers will come."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future._refusal = error
            future.set_exception(error)


def _end_with_cause(future: TaskFuture[Any], error: TaskFailed) -> None:
    """End a call that failed because an input of it did, with the input's error as the cause.

    The input may be of another job, whose answers come by another thread: then its end is waited for.
    """
    inputs = future._inputs

    def look(_: object = None) -> None:
        failed = next((f for f in inputs if f.done() and (f.cancelled() or f.exception() is not None)), None)
        if failed is None and not all(f.done() for f in inputs):
            return
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # it ended by another input before
            error.__cause__ = failed.exception() if failed is not None and not failed.cancelled() else None
            future.set_exception(error)

    look()
    if not future.done():
        for each in inputs:
            each.add_done_callback(look)


class SubmittedTask:
    """A submitted call on its way to the hub."""

    def __init__(self, future: TaskFuture[Any], arguments: bytes, position: int | None, refs: tuple[TaskRef, ...]) -> None:
        self._future = future
        self._inputs = future._inputs
        self.item = Item(future._index, arguments, position, refs)

    def obstacle(self, companions: Sequence[Any]) -> bool:
        """Whether it must wait for an input to be known to the hub."""
        if not self._inputs:
            return False
        together = {id(task._future) for task in companions if isinstance(task, SubmittedTask)}
        return any(future.is_on_its_way and id(future) not in together for future in self._inputs)

    def unwanted(self) -> bool:
        """Whether it was cancelled before it was sent, or takes an answer of a task that never came to be."""
        if self._future.done():
            return True
        lost = next((future for future in self._inputs if future.is_lost), None)
        if lost is not None:
            self._fail(lost.loss())
        return lost is not None

    def sent(self) -> None:
        """The hub has it."""
        future = self._future
        future._on_hub = True
        if future.cancelled():  # while it was on its way
            future._job.cancel_tasks([future._index])

    def refused(self, error: TalkootError) -> None:
        """The hub does not take it."""
        self._fail(error)

    def _fail(self, error: TalkootError) -> None:
        future = self._future
        if future._sink.drop(future._index):
            future._refusal = error
            future.set_exception(error)
            future._job.forgo(1)
