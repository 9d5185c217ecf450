"""The hub as a researcher has it: `map` and `submit`, the jobs that were submitted, and a clean end."""

import atexit
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from talkoot.core import ids
from talkoot.core.errors import BadInput, TalkootError
from talkoot.sdk.arguments import Arguments, freeze
from talkoot.sdk.connection import Connection
from talkoot.sdk.futures import FutureSink, SubmittedTask, TaskFuture
from talkoot.sdk.job import LiveJob
from talkoot.sdk.listing import JobSummary, summarize
from talkoot.sdk.mapping import Answers, Arrivals, Errors, Feeder, first_request
from talkoot.sdk.options import JobOptions, Options, read_options
from talkoot.sdk.prepare import Prepared, Workshop
from talkoot.sdk.pump import Pump
from talkoot.wire.messages import Cancel, JobRows, JobView, Nothing, ViewJob, ViewJobs

T = TypeVar("T")


class Hub:
    """A connection to one hub. Use it in a `with` block; threads may share it.

    At the end of the block it waits for all that was submitted, as executors do. An exception that leaves the block
    (Ctrl-C too) cancels what is not answered yet.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._workshop = Workshop(connection)
        self._pump = Pump()
        self._lock = threading.RLock()
        self._lanes: dict[tuple[bytes, bytes, Options], _Lane] = {}
        self._jobs: set[LiveJob] = set()
        self._feeders: dict[LiveJob, Feeder] = {}
        self._defaults: Options | None = None
        self._closed = False
        _open_hubs.add(self)

    # Work.

    def map(
        self,
        function: Callable[..., T],
        *iterables: Iterable[Any],
        ordered: bool = True,
        errors: Errors = "raise",
        provisional: bool = False,
        **options: Unpack[JobOptions],
    ) -> Answers[T]:
        """Call the function with each item, as the builtin `map` does, on the hub's devices; iterate over `Answer`s.

        `ordered=False` gives answers as they come (`answer.index` says which item they are of). `errors="return"`
        gives answers with an `error` where the iteration would raise it. `provisional=True` gives each task's answer
        as soon as there is one, final or not. Further options: see `JobOptions`.

        Up to 20,000 items of a known length are submitted here, all of them or none; longer and lazy iterables are
        read by a thread, up to 100,000 items ahead of the iteration. Leaving the iteration early cancels the rest.

        Raises ProgramError, RequirementError, TooLarge, CodecError, InsufficientFunds, NotAllowed before anything runs.
        """
        if not iterables:
            raise TypeError("map() takes a function and at least one iterable")
        if errors not in ("raise", "return"):
            raise BadInput(f"errors={errors!r} is neither 'raise' nor 'return'")
        self._check_open()
        read = read_options(options)
        prepared = self._workshop.prepare(function, read.requirements)
        arrivals = Arrivals(ordered=ordered)
        job = LiveJob(self._connection, prepared, read, arrivals, provisional=provisional)
        tasks, rest = first_request(job, iterables)
        if not tasks and rest is None:
            return Answers(None, arrivals, self._pump, errors)
        self._pump.start()
        self._keep(job)
        answers: Answers[T] = Answers(job, arrivals, self._pump, errors)
        if rest is not None:
            feeder = self._feeders[job] = Feeder(job, arrivals, self._pump)
            feeder.start(tasks, rest)
            return answers
        arrivals.sent(len(tasks))
        arrivals.end()
        job.expect(len(tasks))
        try:
            job.send([task.item for task in tasks], sealed=True)
        except TalkootError as error:
            job.stop(error)
            raise
        return answers

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> TaskFuture[T]:
        """Call the function once, on a device of the hub; returns a future at once.

        Arguments may be futures of earlier calls, also inside lists, tuples and dicts: the call then waits, on the hub,
        for their answers. Raises ProgramError, RequirementError, CodecError, TooLarge; what the hub says comes with
        the future. For other than the default options: `hub.options(...).submit(function, ...)`.
        """
        if self._defaults is None:
            self._defaults = read_options({})
        return self._submit(self._defaults, function, args, kwargs)

    def options(self, **options: Unpack[JobOptions]) -> "Caller":
        """The same hub with other options for `submit`. Raises for options that are wrong."""
        return Caller(self, read_options(options))

    def _submit(
        self, options: Options, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> TaskFuture[T]:
        self._check_open()
        prepared = self._workshop.prepare(function, options.requirements)
        arguments = freeze(args, kwargs, what=f"{prepared.program.name}(...)")
        refs = arguments.refs(self._connection)
        key = (bytes(prepared.program.id), bytes(prepared.environment), options)
        with self._lock:
            lane = self._lanes.setdefault(key, _Lane())
            position, identity = lane.place(prepared, options, arguments)
            job = lane.job
            if job is None or not job.is_open:
                lane.sink = FutureSink()
                job = lane.job = LiveJob(self._connection, prepared, options, lane.sink)
                self._keep(job)
            future: TaskFuture[T] = lane.sink.new(job, identity, arguments.futures)
        job.expect(1)
        self._pump.put(job, SubmittedTask(future, arguments.data, position, refs))
        return future

    # Looking.

    def jobs(self, limit: int = 100) -> list[JobSummary]:
        """The jobs of your projects, newest first."""
        rows = self._connection.ask("/v1/view/jobs", ViewJobs(limit), JobRows)
        return [summarize(row) for row in rows.jobs]

    def job(self, job: str | bytes) -> JobSummary:
        """One job by its id. Raises NotFound."""
        view = self._connection.ask("/v1/view/job", ViewJob(_job_id(job), 0), JobView)
        return summarize(view.row)

    def cancel(self, job: str | bytes) -> None:
        """Cancel a job of yours, also one of another process. What was answered is paid. Raises NotFound."""
        wanted = _job_id(job)
        with self._lock:
            here = next((live for live in self._jobs if live.id == wanted), None)
        if here is not None:
            here.cancel()
        else:
            self._connection.ask("/v1/jobs/cancel", Cancel(wanted), Nothing)

    # The end.

    def close(self, *, cancel: bool = False) -> None:
        """Wait for what was submitted (or `cancel` it), then end the connection. Doing it again does nothing."""
        try:
            if not cancel and not self._closed:
                self._wait()
        except BaseException:
            cancel = True
            raise
        finally:
            self._end(cancel=cancel)

    def _wait(self) -> None:
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            feeder = self._feeders.get(job)
            if feeder is not None and not feeder.done.is_set():
                job.cancel()  # the rest of its iterable will never be asked for
            job.wait()

    def _end(self, *, cancel: bool) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            jobs = list(self._jobs)
        try:
            if cancel:
                self._connection.stopping.set()  # a hub that is away is not waited for any more
                for job in jobs:
                    if job.owes:
                        job.cancel()
            self._pump.close(abandon=cancel)
            self._seal(jobs)
        finally:
            self._leave(jobs)

    def _seal(self, jobs: list[LiveJob]) -> None:
        for job in jobs:
            try:
                job.seal()
            except TalkootError as error:
                self._connection.display.say(f"{ids.job_text(job.id)} could not be sealed: {error.message}")

    def _leave(self, jobs: list[LiveJob]) -> None:
        self._connection.close()
        for job in jobs:
            job.finish()
        for job in jobs:
            job.join()
        self._connection.display.close()
        _open_hubs.discard(self)

    def _abandon(self) -> None:
        """End without a word to the hub: its jobs go on, and the same script finds their answers when run again."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            jobs = list(self._jobs)
        self._connection.close()
        self._pump.close(abandon=True)
        self._leave(jobs)

    def _keep(self, job: LiveJob) -> None:
        with self._lock:
            self._jobs.add(job)
            job.ended = self._forget

    def _forget(self, job: LiveJob) -> None:
        with self._lock:
            self._jobs.discard(job)
            self._feeders.pop(job, None)

    def _check_open(self) -> None:
        if self._closed:
            raise BadInput("this hub object is closed", hint="Use it inside its `with` block, or connect() again.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(cancel=kind is not None)

    def __repr__(self) -> str:
        return f"<Hub {self._connection.name!r}, project {self._connection.project!r}>"


class Caller:
    """A hub with options of its own for `submit`."""

    def __init__(self, hub: Hub, options: Options) -> None:
        self._hub = hub
        self._options = options

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> TaskFuture[T]:
        """As `Hub.submit`."""
        return self._hub._submit(self._options, function, args, kwargs)


class _Lane:
    """The submits of one program with one set of options: their open job, and how often each call was made."""

    def __init__(self) -> None:
        self.job: LiveJob | None = None
        self.sink = FutureSink()
        self._calls: Counter[bytes] = Counter()

    def place(self, prepared: Prepared, options: Options, arguments: Arguments) -> tuple[int | None, bytes]:
        """The position of a call (None for a pure one), and what identifies it in any run of the script.

        Both follow from the call alone, not from the order of calls; only the second of two equal calls is told
        from the first, so that each gets random numbers of its own.
        """
        inputs = [future.identity for future in arguments.futures]
        call = ids.derive("submit-call/1", prepared.program.id, arguments.data, *inputs)
        if options.pure:
            position = None
        else:
            occurrence = self._calls[call]
            self._calls[call] += 1
            digest = ids.derive("submit-position/1", call, occurrence.to_bytes(8, "big"))
            position = int.from_bytes(digest[:8], "big") >> 1
        seed = options.seed.to_bytes(9, "big", signed=True)
        place = b"pure" if position is None else position.to_bytes(8, "big")
        return position, ids.derive("submit-identity/1", call, prepared.environment, seed, place)


def _job_id(job: str | bytes) -> bytes:
    if isinstance(job, bytes):
        return job
    try:
        return ids.parse_job(job)
    except ValueError as error:
        raise BadInput(f"{job!r} is not the id of a job: {error}", hint="It is job_ and 26 letters.") from None


_open_hubs: "weakref.WeakSet[Hub]" = weakref.WeakSet()


@atexit.register
def _abandon_all() -> None:
    for hub in list(_open_hubs):
        hub._abandon()
