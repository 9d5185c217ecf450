"""The actors of the demo: real processes of this machine, each with a home of its own, and stopped whatever happens.

They are known by their process numbers and by nothing else. What they say goes into files of the demo's folder.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from talkoot.core.errors import TalkootError

_LOOK_EVERY_S: Final = 0.02
_FAREWELL_S: Final = 5.0
_MAX_LOG_CHARS: Final = 2_000


class ActorFailed(TalkootError):
    """One of the processes of the demo did not do its part."""

    code = "demo_actor"


@dataclass
class Actor:
    """One process."""

    name: str
    process: subprocess.Popen[bytes]
    said: Path
    """What it wrote to its standard output."""
    complained: Path
    """What it wrote to its standard error."""

    def first_word(self, patience_s: float) -> Any:
        """The JSON value in the first line that it says. Raises ActorFailed when there is none in time."""
        until = time.monotonic() + patience_s
        while not (text := self.said.read_bytes()).endswith(b"\n"):
            if self.process.poll() is not None:
                raise self.failed("ended at once")
            if time.monotonic() > until:
                raise self.failed(f"said nothing for {patience_s:g} seconds")
            time.sleep(_LOOK_EVERY_S)
        return json.loads(text.splitlines()[0])

    def result(self) -> Any:
        """The JSON value that it said, once it has ended well. Raises ActorFailed."""
        if self.process.wait() != 0:
            raise self.failed(f"ended with exit code {self.process.returncode}")
        return json.loads(self.said.read_bytes())

    def failed(self, how: str) -> ActorFailed:
        """An error with what the process said last."""
        words = self.complained.read_text(errors="replace")[-_MAX_LOG_CHARS:].strip()
        return ActorFailed(f"the demo's {self.name} {how}", hint=words)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


@dataclass
class Cast:
    """All actors, and the folder they live in."""

    folder: Path
    store: Path
    actors: list[Actor] = field(default_factory=list)
    keep: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: bool = False

    def home(self, name: str) -> Path:
        """The `TALKOOT_HOME` of one person."""
        return self.folder / name

    def verb(self, name: str, home: str, *arguments: str) -> Actor:
        """Start `talkoot ...` as somebody."""
        return self.start(name, [sys.executable, "-m", "talkoot.cli.main", *arguments], {"TALKOOT_HOME": str(self.home(home))})

    def start(self, name: str, command: Sequence[str], variables: Mapping[str, str], *, bare: bool = False) -> Actor:
        """Start a process. A `bare` one gets these variables and no others."""
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        said, complained = logs / f"{name}.out", logs / f"{name}.err"
        inherited = {} if bare else {**os.environ, "TALKOOT_STORE": str(self.store), "TALKOOT_PROGRESS": "0"}
        with self._lock, said.open("wb") as out, complained.open("wb") as err:
            if self._over:
                raise ActorFailed(f"the demo ended before its {name} began")
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**inherited, **variables},
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for the demo, which ends its actors in order
            )
            actor = Actor(name, process, said, complained)
            self.actors.append(actor)
        return actor

    def stop(self, *, but: Sequence[Actor] = ()) -> None:
        """End all actors, politely at first: what came last goes first, so that the hub is there to the end."""
        with self._lock:
            self._over = True
        leaving = [actor for actor in reversed(self.actors) if actor not in but and actor.process.poll() is None]
        hubs = [actor for actor in leaving if actor.name == "hub"]
        for group in ([actor for actor in leaving if actor not in hubs], hubs):
            for actor in group:
                actor.process.send_signal(signal.SIGTERM)
            until = time.monotonic() + _FAREWELL_S
            for actor in group:
                try:
                    actor.process.wait(max(0.0, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    actor.kill()


@contextmanager
def cast(store: Path) -> Iterator[Cast]:
    """A folder and its actors; both are gone afterwards, unless `keep` was set."""
    actors = Cast(Path(tempfile.mkdtemp(prefix="talkoot-demo-")), store)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield actors
    finally:
        try:
            if not actors.keep:
                actors.stop()
        finally:
            with suppress(TypeError):
                signal.signal(signal.SIGTERM, previous)
            if not actors.keep:
                shutil.rmtree(actors.folder, ignore_errors=True)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
