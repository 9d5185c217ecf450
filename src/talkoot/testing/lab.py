"""A real hub over HTTP, and real agents in real sandboxes, in the threads of a test's process."""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from talkoot.core import codec, ids
from talkoot.core.lock import Lock, empty_lock, encode_lock
from talkoot.core.types import Isolation, Manifest, TaskLimits, Trust, Verifier
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.signed import Kind
from talkoot.hub.serve import HubServer
from talkoot.hub.tx import Settings
from talkoot.node.agent import Agent, Ending
from talkoot.node.caps import Caps
from talkoot.node.environments import PYTHON
from talkoot.sdk.program import walk
from talkoot.wire import messages as m
from talkoot.wire.client import Client
from talkoot.wire.home import Home, KnownHub
from talkoot.wire.tickets import read_ticket

SMALL = TaskLimits(memory_bytes=256 * 2**20, time_s=20, scratch_bytes=2**20, scratch_files=100, processes=16)
SETTINGS = Settings(name="lab")
CAPS = Caps(2, 2 * 2**30, 2**30)


class Running:
    """An agent in a thread."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.ending: Ending | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.ending = self.agent.run()

    def stop(self, *, polite: bool = True, timeout_s: float = 10) -> Ending:
        """Stop it, and wait."""
        self.agent.stop(polite=polite)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 10) -> Ending:
        """Wait until it has ended."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the agent does not end"
        assert self.ending is not None
        return self.ending


class Lab:
    """A hub, its operator who submits, and the devices that they or others lend."""

    def __init__(self, folder: Path, store: Path, undo: ExitStack, settings: Settings) -> None:
        self.folder, self.store, self.undo = folder, store, undo
        self.home = Home(folder / "home")
        self.operator = self.home.person()
        self.settings = settings
        self.server = self.start_hub(0)
        self.client = Client(self.server.address, self.server.key, self.operator)
        undo.callback(self.client.close)
        self._agents: list[Running] = []
        undo.callback(self.stop_agents)

    def start_hub(self, port: int) -> HubServer:
        """Start it on the lab's data; port 0 takes a free one."""
        server = HubServer(self.folder / "hub", operator=self.operator.public, port=port, settings=self.settings)
        server.start()
        self.undo.callback(server.stop)
        return server

    def restart_hub(self) -> None:
        """Stop it, and start it again at the same address."""
        port = int(self.server.address.rpartition(":")[2])
        self.server.stop()
        self.server = self.start_hub(port)

    @property
    def known(self) -> KnownHub:
        """As a home remembers it."""
        return KnownHub(self.server.address, self.server.key.hex())

    def lend(self, name: str = "", home: Home | None = None, role: str = "contributor") -> Home:
        """Join with a device. Without a home of their own it is the operator's."""
        owner = home or self.home
        person = owner.person()
        secret = b""
        if home is not None:
            ticket = self.client.call("/v1/invite", m.Invite("default", role, 600.0), m.Invited).ticket
            secret = read_ticket(ticket, now_ms=int(time.time() * 1000)).secret
        key = owner.node(self.server.key, name)
        lending = key.sign(Kind.LENDING, msgspec.msgpack.encode(m.Lending(self.server.key, person.public, name or "device")))
        with Client(self.server.address, self.server.key, person) as client:
            client.call("/v1/join", m.Join(secret, "somebody", lending), m.Joined)
        return owner

    def agent(self, name: str = "", *, home: Home | None = None, caps: Caps = CAPS, **options: Any) -> Running:
        """A device that is lent and works."""
        owner = self.lend(name, home)
        running = Running(Agent(owner, self.known, caps, name=name, store=self.store, **options))
        self._agents.append(running)
        return running

    def stop_agents(self) -> None:
        """End all that run, without leave."""
        for running in self._agents:
            running.agent.stop(polite=False)
        for running in self._agents:
            running.wait()

    def submit(
        self,
        function: Callable[..., Any],
        values: Sequence[Any],
        *,
        key: SigningKey | None = None,
        task_limits: TaskLimits = SMALL,
        verifier: Verifier | None = None,
        isolation: Isolation = Isolation.JOB,
        lock: Lock | None = None,
        carrier: bytes = b"",
        inputs: Sequence[tuple[m.TaskRef, ...]] = (),
        change: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    ) -> bytes:
        """A job with one task for each value; returns its id."""
        carrier, encoded = carrier or walk(function).carrier, encode_lock(lock or empty_lock(PYTHON))
        self.client.call("/v1/blobs/put", m.PutBlobs(("program", "environment"), (carrier, encoded)), m.Nothing)
        manifest = change(
            Manifest(
                hub=self.server.key,
                project="default",
                job=os.urandom(16),
                name="a job",
                program=ids.program_id(carrier),
                environment=ids.environment_id(encoded),
                python=PYTHON,
                seed=7,
                pure=False,
                verifier=verifier or Trust(),
                task_limits=task_limits,
                price_cap_microcredits=1_000_000,
                budget_microcredits=10**9,
                isolation=isolation,
            )
        )
        signed = (key or self.operator).sign(Kind.MANIFEST, msgspec.msgpack.encode(manifest))
        items = tuple(m.Item(i, codec.encode(((value,), {})), i, inputs[i] if inputs else ()) for i, value in enumerate(values))
        self.client.call("/v1/jobs/submit", m.Submit(signed, items, True), m.Submitted)
        return manifest.job

    def answers(self, job: bytes, count: int, timeout_s: float = 20) -> dict[int, m.Answer]:
        """The answers of a job, once there are so many."""
        found: dict[int, m.Answer] = {}
        cursor, deadline = 0, time.monotonic() + timeout_s
        while len(found) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} answers: {self.progress(job)}"
            reply = self.client.call("/v1/jobs/answers", m.ReadAnswers(job, cursor, 1.0), m.Answers)
            cursor = reply.cursor
            found |= {answer.index: answer for answer in reply.answers}
        return found

    def progress(self, job: bytes) -> m.Progress:
        """Where a job is."""
        return self.client.call("/v1/jobs/answers", m.ReadAnswers(job, 0, 0.0), m.Answers).progress

    def wait_until(self, true: Callable[[], bool], timeout_s: float = 10) -> float:
        """Seconds until it was true."""
        started = time.monotonic()
        while not true():
            assert time.monotonic() - started < timeout_s, "it did not become true"
            time.sleep(0.01)
        return time.monotonic() - started

    def wait_running(self, job: bytes, count: int) -> None:
        """Until so many of its tasks are out."""
        self.wait_until(lambda: self.progress(job).running >= count)


@contextmanager
def shared_store() -> Iterator[Path]:
    """A store where other users may enter, which a test's own folder is not; one for many tests, for it takes a second."""
    folder = Path(tempfile.mkdtemp(prefix="talkoot-tests-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def lab(folder: Path, store: Path, settings: Settings = SETTINGS) -> Iterator[Lab]:
    """A hub that runs, with all that is started on it ended afterwards."""
    with ExitStack() as undo:
        yield Lab(folder, store, undo, settings)
