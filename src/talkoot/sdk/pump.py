"""The thread that sends: all tasks that gather while a request is out travel together in the next one.

The first task goes at once. A job's tasks keep their order, and none is sent before the tasks whose answers it
takes are known to the hub.
"""

import queue
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

from talkoot.core import limits
from talkoot.core.errors import TalkootError, Unavailable
from talkoot.sdk.job import LiveJob
from talkoot.wire.messages import Item

MAX_BATCH_BYTES: Final = 16 * limits.MIB
MAX_UNSENT_TASKS: Final = 4 * limits.MAX_TASKS_PER_SUBMISSION
MAX_UNSENT_BYTES: Final = 64 * limits.MIB
_ITEM_BYTES: Final = 64
"""What an item has beside its arguments, about; and each of its inputs."""


class Outgoing(Protocol):
    """A task on its way to the hub."""

    @property
    def item(self) -> Item:
        """What is sent."""
        ...

    def obstacle(self, companions: Sequence[Any]) -> bool:
        """Whether a task that it takes an answer of is not on the hub, nor among those sent with it."""
        ...

    def unwanted(self) -> bool:
        """Whether it need not be sent any more; then it has seen to it that nobody waits for it."""
        ...

    def sent(self) -> None:
        """The hub has it."""
        ...

    def refused(self, error: TalkootError) -> None:
        """The hub does not take it."""
        ...


class _Outbox:
    def __init__(self) -> None:
        self.tasks: deque[tuple[int, Outgoing]] = deque()
        self.seal = False


class Pump:
    """Sends the tasks of all jobs of one connection."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._outboxes: dict[LiveJob, _Outbox] = {}
        self._number = self._unsent = self._unsent_bytes = 0
        self._dropped: deque[LiveJob] = deque()
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self) -> None:
        """Be there for `cancel_soon`, which cannot start a thread."""
        with self._changed:
            self._start()

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="talkoot-pump", daemon=True)
            self._thread.start()

    def put(self, job: LiveJob, task: Outgoing) -> None:
        """Send a task when its turn comes; waits while too many are on their way. Raises Unavailable once closed."""
        with self._changed:
            self._changed.wait_for(self._has_room)
            self._check_open()
            outbox = self._outbox(job)
            self._number += 1
            outbox.tasks.append((self._number, task))
            self._unsent += 1
            self._unsent_bytes += size_bytes(task.item)

    def seal(self, job: LiveJob) -> None:
        """No more tasks come for the job after those that were put."""
        with self._changed:
            self._check_open()
            self._outbox(job).seal = True

    def cancel_soon(self, job: LiveJob) -> None:
        """Cancel a job from the thread of the pump. Takes no lock: a finalizer may call it anywhere."""
        self._dropped.append(job)
        self._wake.put(True)

    def close(self, *, abandon: bool) -> None:
        """Send what was put (or `abandon` it), and end."""
        with self._changed:
            self._closed = True
            if abandon:
                self._outboxes.clear()
                self._unsent = self._unsent_bytes = 0
            self._changed.notify_all()
            thread = self._thread
        self._wake.put(False)
        if thread is not None:
            thread.join()
        self._cancel_dropped()

    def _has_room(self) -> bool:
        return self._closed or (self._unsent < MAX_UNSENT_TASKS and self._unsent_bytes < MAX_UNSENT_BYTES)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the connection to the hub is closed", hint="Use the hub inside its `with` block.")

    def _outbox(self, job: LiveJob) -> _Outbox:
        if not self._outboxes:
            self._wake.put(True)
        self._start()
        return self._outboxes.setdefault(job, _Outbox())

    def _run(self) -> None:
        while self._wake.get():
            self._empty()
        self._empty()

    def _empty(self) -> None:
        self._cancel_dropped()
        while (batch := self._next()) is not None:
            job, tasks, sealed = batch
            _send(job, [task for task in tasks if not task.unwanted()], sealed)
            self._cancel_dropped()

    def _cancel_dropped(self) -> None:
        while self._dropped:
            self._dropped.popleft().cancel()

    def _next(self) -> tuple[LiveJob, list[Outgoing], bool] | None:
        """What to send next: from the job whose first task waits longest, as much as fits."""
        with self._changed:
            if not self._outboxes:
                return None
            job = min(self._outboxes, key=lambda j: self._age(self._outboxes[j]))
            outbox = self._outboxes[job]
            tasks = self._cut(outbox)
            sealed = outbox.seal and not outbox.tasks
            if not outbox.tasks:
                del self._outboxes[job]
            self._changed.notify_all()
            return job, tasks, sealed

    def _age(self, outbox: _Outbox) -> int:
        return outbox.tasks[0][0] if outbox.tasks else self._number + 1

    def _cut(self, outbox: _Outbox) -> list[Outgoing]:
        tasks: list[Outgoing] = []
        total_bytes = 0
        while outbox.tasks and len(tasks) < limits.MAX_TASKS_PER_SUBMISSION:
            task = outbox.tasks[0][1]
            size = size_bytes(task.item)
            if tasks and (total_bytes + size > MAX_BATCH_BYTES or task.obstacle(tasks)):
                break
            outbox.tasks.popleft()
            self._unsent -= 1
            self._unsent_bytes -= size
            tasks.append(task)
            total_bytes += size
        return tasks


def _send(job: LiveJob, tasks: Sequence[Outgoing], sealed: bool) -> None:
    if not tasks and not sealed:
        return
    try:
        job.send([task.item for task in tasks], sealed=sealed)
    except TalkootError as error:
        for task in tasks:
            task.refused(error)
        job.no_more(error)
    else:
        for task in tasks:
            task.sent()


def size_bytes(item: Item) -> int:
    """About what an item takes in a request."""
    return len(item.arguments) + _ITEM_BYTES * (1 + len(item.inputs))
