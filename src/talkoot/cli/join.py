"""`talkoot join`."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from talkoot.cli import seat, words
from talkoot.cli.live import Ticker
from talkoot.cli.options import Json, WhichHub
from talkoot.cli.output import compact
from talkoot.cli.person import user_name
from talkoot.core.errors import BadInput
from talkoot.core.ids import job_text, key_text
from talkoot.core.types import Rung
from talkoot.node.agent import Agent, Moment
from talkoot.node.caps import Caps
from talkoot.node.device import look
from talkoot.node.folder import open_store
from talkoot.node.lending import Lent, invited_to, lend
from talkoot.node.logs import only_errors
from talkoot.node.sandbox import Run
from talkoot.node.signals import Work
from talkoot.sdk.connect import choose
from talkoot.sdk.sizes import parse_size
from talkoot.wire.home import Home
from talkoot.wire.tickets import Ticket, read_ticket


def join(
    ticket: Annotated[
        str | None,
        Parameter(show_default=False, allow_leading_hyphen=True, help="From who invited you; - reads it from stdin."),
    ] = None,
    /,
    *,
    cpus: Annotated[int | None, Parameter(show_default=False, help="Most CPUs to lend. Otherwise all.")] = None,
    memory: Annotated[str | None, Parameter(show_default=False, help="Most memory (4GiB). Otherwise three quarters.")] = None,
    disk: Annotated[str | None, Parameter(show_default=False, help="Most disk (10GB). Otherwise up to 20 GiB.")] = None,
    name: Annotated[str, Parameter(show_default=False, help="How to call the device; tells several from here apart.")] = "",
    person: Annotated[str | None, Parameter(show_default=False, help="How you want to be called on the hub.")] = None,
    store: Annotated[Path | None, Parameter(show_default=False, help="Folder for packages and programs.")] = None,
    hub: WhichHub = None,
    json: Json = False,
) -> int:
    """Lend this device to a hub, until Ctrl-C.

    Tasks run in a sandbox: no network, none of your files, and never more CPU, memory and disk than you lend. Ctrl-C (or
    SIGTERM, or `talkoot leave`) gives the device back within seconds; what it was doing goes to others. Without a ticket,
    it joins a hub where you are a member already.

    With --json, one line is printed when the device is lent.

    Example: talkoot join TICKET --cpus 2 --memory 4GiB
    """
    only_errors()
    home = Home()
    read = _ticket(ticket)
    if read is not None and hub is not None:
        raise BadInput("a ticket names its hub; --hub is for joining without one", hint="Give one of the two.")
    known = invited_to(read) if read else choose(home, hub)
    folder = open_store(store)
    caps = _caps(folder, cpus, memory, disk)
    with seat.take(home, home.node(known.key, name).public):
        lent = lend(home, known, person=person or user_name(), name=name, ticket=read)
        ticker = Ticker(quiet=json)
        reporter = _Reporter(ticker, lent, caps, as_json=json)
        agent = Agent(home, lent.known, caps, name=name, store=folder, on_event=reporter, on_task=reporter.task)
        with ticker, _leaving_on_signals(agent):
            ending = agent.run()
    if ending.reason:
        print(f"talkoot: {ending.reason}", file=sys.stderr)
    return ending.exit_code


def _ticket(text: str | None) -> Ticket | None:
    if text is None:
        return None
    if text == "-":
        text = sys.stdin.read(10_000)
    return read_ticket(text, now_ms=time.time_ns() // 1_000_000)


def _caps(folder: Path, cpus: int | None, memory: str | None, disk: str | None) -> Caps:
    device = look(folder)
    return Caps.of(
        cpus=device.cpus,
        memory_bytes=device.memory_bytes,
        disk_free_bytes=device.disk_free_bytes,
        lend_cpus=cpus,
        lend_memory_bytes=parse_size(memory, "--memory") if memory is not None else None,
        lend_disk_bytes=parse_size(disk, "--disk") if disk is not None else None,
    )


@contextmanager
def _leaving_on_signals(agent: Agent) -> Iterator[None]:
    """The first signal leaves politely, a second one at once."""
    seen: list[int] = []

    def leave(number: int, _frame: object) -> None:
        agent.stop(polite=not seen)
        seen.append(number)

    previous = [(number, signal.signal(number, leave)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)


class _Reporter:
    """Tells the owner what the device does. Called from the agent's threads."""

    def __init__(self, ticker: Ticker, lent: Lent, caps: Caps, *, as_json: bool) -> None:
        self._ticker = ticker
        self._lent = lent
        self._caps = caps
        self._as_json = as_json
        self._rung = ""
        self._running = self._done = 0

    def __call__(self, moment: Moment, text: str) -> None:
        if moment is Moment.UNFENCED:
            self._rung = Rung.NONE.value
            self._ticker.warn(f"NO SANDBOX: {text}")
            self._ticker.warn("`talkoot doctor` says what to install or to allow.")
            self._joined()
        elif moment is Moment.READY:
            self._rung = text.rpartition(" ")[2]
            self._ticker.line(text)
            self._joined()
        elif moment in (Moment.UNREACHABLE, Moment.SENT_AWAY):
            self._ticker.warn(text)
        elif moment is Moment.LEAVING:
            self._ticker.line(f"{words.count(self._done, 'task')} done; {text}")
        else:
            self._ticker.line(text)

    def task(self, work: Work, run: Run | None) -> None:
        """A task begins (no run yet), or is done."""
        self._running += 1 if run is None else -1
        self._done += run is not None
        self._ticker.now(lambda: self._said(work, run))

    def _said(self, work: Work, run: Run | None) -> str:
        counts = f"{self._done:,} done, {self._running} running"
        called = f"task {work.item.index} of {job_text(work.job)[:12]}"
        if run is None:
            return f"{counts}: {called} begins"
        return f"{counts}: {called} {run.reason or run.outcome.value}, after {run.wall_ms / 1000:.2f} s"

    def _joined(self) -> None:
        lent, caps = self._lent, self._caps
        memory, disk = words.size(caps.memory_bytes), words.size(caps.disk_bytes)
        self._ticker.line(f"{lent.name} is lent to {lent.known.name} as {lent.role} of project {lent.project}")
        lends = f"{words.count(caps.cpus, 'CPU')}, {memory} of memory, {disk} of disk"
        self._ticker.line(f"it lends {lends}; Ctrl-C takes it back")
        if self._as_json:
            value = {"hub": key_text(lent.known.key), "address": lent.known.address, "node": lent.node, "name": lent.name}
            value |= {"key": key_text(lent.key), "role": lent.role, "project": lent.project, "rung": self._rung}
            value |= {"cpus": caps.cpus, "memory_bytes": caps.memory_bytes, "disk_bytes": caps.disk_bytes}
            print(compact(value), flush=True)
