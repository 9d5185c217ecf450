"""`map`: the answers of a job as an iteration, in order or as they come."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, Generic, Literal, TypeVar

from talkoot.core import limits
from talkoot.core.errors import TalkootError, Unavailable
from talkoot.sdk.answers import Answer
from talkoot.sdk.arguments import freeze
from talkoot.sdk.futures import TaskFuture
from talkoot.sdk.job import LiveJob
from talkoot.sdk.pump import MAX_BATCH_BYTES, Pump, size_bytes
from talkoot.wire import messages
from talkoot.wire.messages import Item

T = TypeVar("T")
Errors = Literal["raise", "return"]

LOOK_AHEAD_TASKS: Final = 100_000
"""How many tasks of a long iterable may be under way beyond what was taken out of the iteration."""


class Arrivals:
    """The answers of a map that have come and were not taken yet."""

    def __init__(self, *, ordered: bool, look_ahead: int | None = None) -> None:
        self._ordered = ordered
        self._look_ahead = LOOK_AHEAD_TASKS if look_ahead is None else look_ahead
        self._changed = threading.Condition()
        self._answers: dict[int, messages.Answer] = {}
        self._seen = bytearray()
        self._taken = 0
        self._total: int | None = None
        self._end_error: BaseException | None = None
        self._failure: TalkootError | None = None

    def deliver(self, answer: messages.Answer) -> bool:
        """Keep an answer; True if it is the first of its task. A final one replaces a provisional one."""
        with self._changed:
            if not 0 <= answer.index < len(self._seen):
                return False
            first = not self._seen[answer.index]
            if first or answer.index in self._answers:
                self._seen[answer.index] = 1
                self._answers[answer.index] = answer
                self._changed.notify_all()
            return first

    def fail(self, error: TalkootError) -> None:
        """No more answers will come."""
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def sent(self, tasks: int) -> None:
        """So many more tasks are under way."""
        self._seen.extend(bytes(tasks))

    def end(self, error: BaseException | None = None) -> None:
        """There are no more tasks than were sent; `error` is what the iterable raised after them."""
        with self._changed:
            self._total = len(self._seen)
            self._end_error = error
            self._changed.notify_all()

    def wait_for_room(self) -> bool:
        """Until few enough tasks are under way; False when nobody wants more."""
        if self._has_room():
            return self._failure is None
        with self._changed:
            self._changed.wait_for(self._has_room)
            return self._failure is None

    def _has_room(self) -> bool:
        return self._failure is not None or len(self._seen) - self._taken < self._look_ahead

    def take(self) -> messages.Answer | None:
        """The next answer, or None at the end. Raises what ended the job, or the iterable."""
        with self._changed:
            while True:
                found = self._next()
                if found is not None:
                    self._taken += 1
                    if self._total is None:
                        self._changed.notify_all()  # the feeder may go on
                    return found
                if self._total is not None and self._taken >= self._total:
                    if self._end_error is not None:
                        error, self._end_error = self._end_error, None
                        raise error
                    return None
                if self._failure is not None:
                    raise self._failure
                self._changed.wait()

    def _next(self) -> messages.Answer | None:
        if self._ordered:
            return self._answers.pop(self._taken, None)
        if not self._answers:
            return None
        return self._answers.pop(next(iter(self._answers)))

    @property
    def exhausted(self) -> bool:
        """Whether every answer was taken."""
        return self._total is not None and self._taken >= self._total


class Answers(Iterator[Answer[T]], Generic[T]):
    """The answers of a map. Iterate over it; `close()` (or an early end of the loop) cancels what is left."""

    def __init__(self, job: LiveJob | None, arrivals: Arrivals, pump: Pump, errors: Errors) -> None:
        self._job = job
        self._arrivals = arrivals
        self._pump = pump
        self._errors = errors

    def __iter__(self) -> "Answers[T]":
        return self

    def __next__(self) -> Answer[T]:
        if self._job is None:
            raise StopIteration
        try:
            raw = self._arrivals.take()
        except BaseException:  # Ctrl-C while it waits, too
            self.close()
            raise
        if raw is None:
            raise StopIteration
        answer: Answer[T] = Answer(self._job.connection, self._job.id, self._job.prepared.program, raw)
        if answer.error is not None and self._errors == "raise":
            raise answer.error
        return answer

    def close(self) -> None:
        """Cancel what is left of the job; nothing when all answers were taken."""
        if self._job is not None and not self._arrivals.exhausted:
            self._job.cancel()

    def __del__(self) -> None:
        job: LiveJob | None = getattr(self, "_job", None)
        if job is not None and not self._arrivals.exhausted:
            self._pump.cancel_soon(job)

    def __repr__(self) -> str:
        return f"<Answers of {self._job.name if self._job else 'no tasks'}>"


class MapTask:
    """One item of a map on its way to the hub."""

    __slots__ = ("_futures", "_job", "item")

    def __init__(self, job: LiveJob, item: Item, futures: tuple[TaskFuture[Any], ...] = ()) -> None:
        self._job = job
        self._futures = futures
        self.item = item

    def obstacle(self, companions: Sequence[Any]) -> bool:
        """Whether it must wait for an input to be known to the hub."""
        return any(future.is_on_its_way for future in self._futures)

    def unwanted(self) -> bool:
        """Whether the map was cancelled meanwhile, or takes an answer of a task that never came to be."""
        lost = next((future for future in self._futures if future.is_lost), None)
        if lost is not None:
            self.refused(lost.loss())
        return self._job.failure is not None

    def sent(self) -> None:
        """The hub has it."""

    def refused(self, error: TalkootError) -> None:
        """A map without one of its tasks is of no use: cancel it."""
        if self._job.stop(error):
            self._job.cancel_tasks(())


def make_task(job: LiveJob, index: int, args: tuple[Any, ...]) -> MapTask:
    """One item of a map. Raises CodecError and TooLarge, naming the item."""
    arguments = freeze(args, {}, what=f"item {index} of map({job.name})")
    item = Item(index, arguments.data, None if job.options.pure else index, arguments.refs(job.connection))
    return MapTask(job, item, arguments.futures)


def first_request(job: LiveJob, iterables: Sequence[Iterable[Any]]) -> tuple[list[MapTask], Iterator[tuple[Any, ...]] | None]:
    """The items that fit one request, encoded, and the rest: None when they are all."""
    rest = zip(*iterables, strict=False)
    lengths = [_length(iterable) for iterable in iterables]
    known = [n for n in lengths if n is not None]
    if len(known) < len(lengths) or min(known) > limits.MAX_TASKS_PER_SUBMISSION:
        return [], rest
    tasks: list[MapTask] = []
    total_bytes = 0
    for index, args in enumerate(rest):
        task = make_task(job, index, args)
        tasks.append(task)
        total_bytes += size_bytes(task.item)
        if total_bytes > MAX_BATCH_BYTES or task.item.inputs:
            return tasks, rest
    return tasks, None


def _length(iterable: Iterable[Any]) -> int | None:
    try:
        return len(iterable)  # type: ignore[arg-type]
    except TypeError:
        return None


class Feeder:
    """A thread that takes the items of a long or lazy iterable, a bounded number of them ahead of the iteration."""

    def __init__(self, job: LiveJob, arrivals: Arrivals, pump: Pump) -> None:
        self.done = threading.Event()
        """The whole iterable was taken."""
        self._job = job
        self._arrivals = arrivals
        self._pump = pump

    def start(self, ready: Sequence[MapTask], rest: Iterator[tuple[Any, ...]]) -> None:
        """Send the items that are ready, then the rest."""
        threading.Thread(target=self._run, args=(ready, rest), name=f"talkoot-feed-{self._job.name}", daemon=True).start()

    def _run(self, ready: Sequence[MapTask], rest: Iterator[tuple[Any, ...]]) -> None:
        error: BaseException | None = None
        try:
            for task in ready:
                self._put(task)
            for index, args in enumerate(rest, len(ready)):
                if not self._arrivals.wait_for_room():
                    return
                self._put(make_task(self._job, index, args))
        except BaseException as raised:  # noqa: BLE001 - the caller's iterable may raise anything; it is raised there
            error = raised
        self._arrivals.end(error)
        with suppress(Unavailable):
            self._pump.seal(self._job)
        self.done.set()

    def _put(self, task: MapTask) -> None:
        self._arrivals.sent(1)
        self._job.expect(1)
        self._pump.put(self._job, task)
