"""How a job gets on, for the person who waits for it: a line that moves on a terminal, a line now and then elsewhere.

Goes to stderr only, and never fails a job: what cannot be shown is left out.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from talkoot.core import confidence, pricing
from talkoot.wire.messages import Progress

if TYPE_CHECKING:
    import rich.progress

PLAIN_EVERY_S: Final = 5.0
_TERMINAL_POLL_S: Final = 1.0
_LONG_POLL_S: Final = 20.0


class Track:
    """One job as displayed."""

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.began = self.shown = now
        self.was_shown = False
        self.latest: Progress | None = None
        self.known = 0
        """Answers that the hub knew when the tasks were sent."""
        self.has_inputs = False
        """Whether some of its tasks take answers of others. In a job without, a task waits only for its action elsewhere."""

    def elapsed_s(self, now: float) -> float:
        """Seconds since the job began."""
        return max(now - self.began, 1e-9)


class Display(Protocol):
    """Where progress goes. Methods may be called from any thread, and do not raise."""

    poll_s: float
    """How long a request for answers may wait, so that what is shown is fresh enough."""

    def begin(self, name: str) -> Track:
        """A job begins."""
        ...

    def show(self, track: Track, progress: Progress) -> None:
        """Where the job is now."""
        ...

    def end(self, track: Track) -> None:
        """The job has no more answers to wait for."""
        ...

    def say(self, text: str) -> None:
        """One line about the connection."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def make_display(progress: bool | None) -> Display:
    """The display for this process: `TALKOOT_PROGRESS=0` turns it off where the caller does not say."""
    wanted = os.environ.get("TALKOOT_PROGRESS", "") != "0" if progress is None else progress
    stream = sys.stderr
    if not wanted or stream is None:
        return Silent()
    return Terminal() if stream.isatty() else Plain(stream)


def line(track: Track, progress: Progress, now: float) -> str:
    """Where a job is, in one line of text."""
    done = progress.final + progress.failed + progress.cancelled
    return f"{track.name}: {done:,} of {progress.total:,} tasks, {details(track, progress, now)}"


def details(track: Track, progress: Progress, now: float) -> str:
    """The same without the name and the counts that a bar shows."""
    done = progress.final + progress.failed + progress.cancelled
    worked, elapsed_s = done - progress.remembered, track.elapsed_s(now)
    parts = []
    if worked > 0:
        rate = worked / elapsed_s
        parts.append(f"{rate:,.3g}/s" if rate < 1000 else f"{rate:,.0f}/s")
        if progress.state == "sealed" and progress.total > done:
            parts.append(f"{duration((progress.total - done) / rate)} left")
    if track.known:
        parts.append(f"{track.known:,} of {progress.total:,} answers were known to the hub")
    joined = 0 if track.has_inputs else progress.waiting
    elsewhere = joined > 0 and not progress.queued + progress.running + progress.provisional + progress.disputed
    if elsewhere:
        parts.append(f"{joined:,} are under way in an earlier job of yours and are waited for")
    elif joined:
        parts.append(f"{joined:,} wait for the same action in another task")
    parts.append(f"{progress.nodes} node{'' if progress.nodes == 1 else 's'}")
    if progress.reruns:
        parts.append(f"{progress.reruns:,} re-run")
    if progress.disputed:
        parts.append(f"{progress.disputed:,} disputed")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.final:
        parts.append(f"confidence at least {confidence.text(progress.confidence_ppm)}")
    if progress.why_waiting and not elsewhere:
        parts.append(f"nothing runs: {progress.why_waiting}")
    return ", ".join(parts)


def summary(track: Track, progress: Progress, now: float) -> str:
    """What is said at the end of a job."""
    took = duration(track.elapsed_s(now))
    if track.known and track.known == progress.final == progress.total:
        known = f"{track.known:,} of {progress.total:,} answers were known to the hub"
        return f"{track.name}: {known}: the same action was answered before ({took})"
    text = f"{track.name}: {progress.final:,} of {progress.total:,} tasks answered in {took}"
    if track.known:
        text += f", {track.known:,} of them known to the hub before"
    if progress.remembered > track.known:
        text += f", {progress.remembered - track.known:,} taken over from the same action in another task or job"
    if progress.failed:
        text += f", {progress.failed:,} failed"
    if progress.cancelled:
        text += f", {progress.cancelled:,} cancelled"
    if progress.final:
        text += f", confidence at least {confidence.text(progress.confidence_ppm)}"
    return f"{text}, cost {pricing.credits_text(progress.spent_microcredits)} credits"


def duration(seconds: float) -> str:
    """A time as people say it: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Silent:
    """Shows nothing."""

    poll_s = _LONG_POLL_S

    def begin(self, name: str) -> Track:
        """A job begins."""
        return Track(name, 0.0)

    def show(self, track: Track, progress: Progress) -> None:
        """Nothing."""

    def end(self, track: Track) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Plain:
    """One line every five seconds for each job, and one at the end of those that were worth a line or took a while."""

    poll_s = PLAIN_EVERY_S

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()

    def begin(self, name: str) -> Track:
        """A job begins; nothing is said yet."""
        return Track(name, self._clock())

    def show(self, track: Track, progress: Progress) -> None:
        """A line, unless the last one is fresh."""
        with self._lock:
            now, track.latest = self._clock(), progress
            if now - track.shown < PLAIN_EVERY_S:
                return
            track.shown, track.was_shown = now, True
            self._write(line(track, progress, now))

    def end(self, track: Track) -> None:
        """The summary."""
        with self._lock:
            if track.latest is not None and (track.was_shown or track.latest.total > 1):
                self._write(summary(track, track.latest, self._clock()))

    def say(self, text: str) -> None:
        """A line of its own."""
        with self._lock:
            self._write(text)

    def close(self) -> None:
        """Nothing is kept open."""

    def _write(self, text: str) -> None:
        try:
            self._stream.write(f"talkoot: {text}\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # a closed stream is no reason to lose a job


class Terminal:
    """A bar for each job that is under way, at the bottom of the terminal."""

    poll_s = _TERMINAL_POLL_S

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: rich.progress.Progress | None = None
        self._shown: dict[int, rich.progress.TaskID] = {}

    def begin(self, name: str) -> Track:
        """A job begins; its bar comes with the first word of the hub."""
        return Track(name, time.monotonic())

    def show(self, track: Track, progress: Progress) -> None:
        """Move the bar."""
        with self._lock:
            track.latest = progress
            bars = self._open()
            number = self._shown.get(id(track))
            if number is None:
                number = self._shown[id(track)] = bars.add_task(track.name, total=None, details="")
            done = progress.final + progress.failed + progress.cancelled
            text = details(track, progress, time.monotonic())
            bars.update(number, completed=done, total=progress.total, details=text)

    def end(self, track: Track) -> None:
        """Replace the bar by the summary."""
        with self._lock:
            number = self._shown.pop(id(track), None)
            if number is None or self._bars is None or track.latest is None:
                return
            self._bars.remove_task(number)
            if track.latest.total > 1:
                text = summary(track, track.latest, time.monotonic())
                self._bars.console.print(text, style="dim", highlight=False, markup=False)
            if not self._shown:
                self._stop()

    def say(self, text: str) -> None:
        """A line above the bars."""
        with self._lock:
            self._open().console.print(text, style="yellow", highlight=False, markup=False)
            if not self._shown:
                self._stop()

    def close(self) -> None:
        """Take away the bars."""
        with self._lock:
            self._stop()

    def _open(self) -> "rich.progress.Progress":
        if self._bars is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[details]}", markup=False),
            )
            # What the script prints goes above the bars, but only where it would have gone to the terminal anyway.
            to_terminal = sys.stdout is not None and sys.stdout.isatty()
            console = Console(stderr=True)
            self._bars = Progress(*columns, console=console, transient=True, redirect_stdout=to_terminal)
            self._bars.start()
        return self._bars

    def _stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._shown.clear()
