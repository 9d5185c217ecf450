"""The agent: what runs on a lent device. It takes tasks of one hub, runs them in sandboxes, and reports.

It holds the device's key and never the owner's secrets beyond it; no stranger's code ever runs in its process. What
it promises the owner is checked here: caps, the strongest fence there is, and a device given back within seconds.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from talkoot.core import ids, limits
from talkoot.core.errors import TalkootError
from talkoot.core.types import NodeDescription, Rung, class_digest
from talkoot.node import device, folder
from talkoot.node.blobs import BlobCache
from talkoot.node.caps import Caps
from talkoot.node.desk import Desk
from talkoot.node.environment_check import Caps as EnvironmentCaps
from talkoot.node.environments import EnvironmentStore
from talkoot.node.exchange import Channels
from talkoot.node.heads import Heads
from talkoot.node.jobs import Jobs, Terms
from talkoot.node.lending import default_name
from talkoot.node.logs import log
from talkoot.node.receipts import Clerk
from talkoot.node.sandbox import Run, Sandbox
from talkoot.node.sandbox.numeric import blas_core
from talkoot.node.signals import Ticked, Work
from talkoot.node.slots import Slot, Tamper, Watch, Workshop
from talkoot.node.state import State
from talkoot.wire.client import Client, call_until_there
from talkoot.wire.home import Home, KnownHub
from talkoot.wire.messages import Blobs, GetBlobs, LeaseItem, Leave, Nothing

STOPPED: Final = 0
SENT_AWAY: Final = 3
"""Exit status of an agent that the hub does not want, or that does not want the hub."""
BOOT_BYTES: Final = 8
_TICK_S: Final = 1.0
_SETTLE_S: Final = 0.55 * limits.POLITE_LEAVE_S
_LEAVE_CALL_S: Final = 0.3 * limits.POLITE_LEAVE_S


class Moment(StrEnum):
    """What `on_event` is told of, with words."""

    READY = "ready"
    """The sandbox was tried; words say which rung holds."""
    UNFENCED = "unfenced"
    """No rung works: only the owner's own jobs are taken."""
    CONNECTED = "connected"
    UNREACHABLE = "unreachable"
    LEAVING = "leaving"
    SENT_AWAY = "sent_away"


@dataclass(frozen=True)
class Ending:
    """Why `run` came back."""

    exit_code: int
    reason: str


def _untampered(_: LeaseItem, run: Run) -> Run:
    return run


def _unwatched(_work: Work, _run: Run | None) -> None:
    pass


def _ignore(_moment: Moment, _words: str) -> None:
    pass


class Agent:
    """A node of one hub. `run` blocks until `stop`, which may come from any thread or from a signal's handler."""

    def __init__(
        self,
        home: Home,
        known: KnownHub,
        caps: Caps,
        *,
        name: str = "",
        store: Path | None = None,
        refused_rungs: Collection[Rung] = (),
        on_event: Callable[[Moment, str], None] = _ignore,
        client: Client | None = None,
        tamper: Tamper = _untampered,
        on_task: Watch = _unwatched,
    ) -> None:
        """`name` tells several nodes of one person on one device apart. `tamper` is for tests of dishonest nodes."""
        self._known = known
        self._caps = caps
        self._owner = home.person().public
        self._key = home.node(known.key, name)
        self._name = name or default_name()
        self._store = store
        self._refused = refused_rungs
        self._on_event = on_event
        self._tamper = tamper
        self._on_task = on_task
        self._client = client or Client(known.address, known.key, self._key)
        self._folder = home.path / "nodes" / f"{ids.key_text(self._key.public)[-12:]}"
        self._endings: queue.SimpleQueue[Ending] = queue.SimpleQueue()  # a signal's handler may put into it, at any time
        self._ended = threading.Event()
        self._polite = True

    def run(self) -> Ending:
        """Work until stopped, or sent away. Raises BadInput where the store cannot be used, and DiskFull."""
        with ExitStack() as held:
            held.callback(self._client.close)
            store = folder.open_store(self._store)
            sandbox = Sandbox(store)
            held.callback(sandbox.close)
            description = self._describe(store, sandbox)
            environments = EnvironmentStore(
                store / "environments",
                caps=EnvironmentCaps(size_bytes=min(limits.MAX_ENVIRONMENT_BYTES, self._caps.disk_bytes)),
            )
            held.callback(environments.close)
            return self._work(store, sandbox, environments, description)

    def stop(self, *, polite: bool = True) -> None:
        """Leave: end what runs, hand back what is held within 2 s, then `run` returns. Not `polite`: only end."""
        self._polite = polite
        self._endings.put(Ending(STOPPED, ""))

    def _work(self, store: Path, sandbox: Sandbox, environments: EnvironmentStore, description: NodeDescription) -> Ending:
        numeric = description.numeric_class
        terms = Terms(self._known.key, self._owner, self._caps, sandbox.rung, blas_core(numeric.simd))
        jobs = Jobs(terms, BlobCache(store / "blobs"), environments, self._fetch)
        clerk = Clerk(self._known.key, class_digest(numeric))
        heads = Heads(self._folder, self._known.key)
        desk = Desk(State(self._caps.cpus), clerk)
        shop = Workshop(sandbox, jobs, clerk, desk.tell, self._caps.memory_for(1), self._tamper, self._send_away, self._on_task)
        slots = [Slot(number, shop) for number in range(self._caps.cpus)]
        desk.staff(slots)
        channels = Channels(
            self._client,
            self._key,
            self._known.key,
            boot=os.urandom(BOOT_BYTES),
            description=description,
            desk=desk,
            jobs=jobs,
            heads=heads,
            gone=self._send_away,
            heard=self._heard,
        )
        for slot in slots:
            slot.start()
        channels.start()
        while (ending := self._next_ending()) is None:
            desk.tell(Ticked())
            heads.save()
        self._ended.set()
        self._leave(desk, channels, slots)
        heads.save()
        return ending

    def _next_ending(self) -> Ending | None:
        try:
            return self._endings.get(timeout=_TICK_S)
        except queue.Empty:
            return None

    def _leave(self, desk: Desk, channels: Channels, slots: Sequence[Slot]) -> None:
        """End what runs and give back what is held; the owner's patience is `POLITE_LEAVE_S`."""
        started = time.monotonic()
        desk.settle(_SETTLE_S if self._polite else 0.0)
        channels.close()
        if self._polite:
            self._tell(Moment.LEAVING, "hands back what it holds, and leaves")
            with contextlib.suppress(TalkootError):  # a hub that cannot be told will notice the silence
                self._client.call("/v1/leave", Leave(self._key.public), Nothing, timeout_s=_LEAVE_CALL_S)
        self._client.close()
        left_s = max(0.1, limits.POLITE_LEAVE_S - (time.monotonic() - started))
        channels.join(left_s / 4)
        for slot in slots:
            slot.close(left_s / 4)

    def _describe(self, store: Path, sandbox: Sandbox) -> NodeDescription:
        reports = sandbox.probe(refuse=self._refused)
        for report in reports:
            log.info("sandbox tried", rung=report.rung.value, works=report.works, reason=report.reason, remedy=report.remedy)
        if sandbox.rung is Rung.NONE:
            why = "; ".join(f"{report.rung}: {report.reason}" for report in reports)
            words = f"no sandbox works on this device, so it takes only your own jobs, and runs them bare ({why})"
            log.warning(words)
            self._tell(Moment.UNFENCED, words)
        else:
            self._tell(Moment.READY, f"tasks run in the sandbox {sandbox.rung.value}")
        return device.describe(device.look(store), self._caps, sandbox.rung, self._name)

    def _fetch(self, names: Sequence[bytes]) -> tuple[bytes, ...]:
        request = GetBlobs(tuple(names))
        return call_until_there(self._client, "/v1/blobs/get", request, Blobs, stop=self._ended).blobs

    def _send_away(self, reason: str) -> None:
        if self._ended.is_set():
            return
        log.error("this node stops", reason=reason)
        self._endings.put(Ending(SENT_AWAY, reason))
        self._tell(Moment.SENT_AWAY, reason)

    def _heard(self, answers: bool) -> None:
        if answers:
            self._tell(Moment.CONNECTED, f"works for the hub at {self._known.address}")
        else:
            self._tell(Moment.UNREACHABLE, f"the hub at {self._known.address} does not answer; trying on")

    def _tell(self, moment: Moment, words: str) -> None:
        self._on_event(moment, words)
