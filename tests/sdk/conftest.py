"""A real hub in a thread, real nodes' exchanges over HTTP, and tasks run by the guest's own rebuild in this process."""

import hashlib
import random
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from talkoot.core import codec, ids
from talkoot.core.errors import TalkootError
from talkoot.core.types import Manifest, NodeDescription, Note, NumericClass, Outcome, Receipt, Rung, class_digest
from talkoot.crypto import SigningKey, merkle
from talkoot.crypto.signed import Kind
from talkoot.hub.serve import HubServer
from talkoot.node.guest import rebuild
from talkoot.sdk.connect import connect
from talkoot.sdk.hub import Hub
from talkoot.wire import messages as m
from talkoot.wire.client import Client
from talkoot.wire.home import Home, KnownHub

CLASS = NumericClass("x86_64", "glibc 2.36", "3.11", "x86-64-v3", "Haswell 1")
_one_task_at_a_time = threading.Lock()  # `random` belongs to the process


class ThreadNode:
    """A device in a thread: it does its tasks one after the other, without a sandbox."""

    def __init__(self, world: "World", name: str, owner: SigningKey) -> None:
        self.key = SigningKey.generate()
        self.runs = 0
        self._hub = world.server.key
        self._name = name
        lending = self.key.sign(Kind.LENDING, msgspec.msgpack.encode(m.Lending(self._hub, owner.public, name)))
        with Client(world.server.address, self._hub, owner) as client:
            secret = b"" if owner is world.person else world.ticket("contributor").secret
            client.call("/v1/join", m.Join(secret, name, lending), m.Joined)
        self._client = Client(world.server.address, self._hub, self.key)
        self._stop = threading.Event()
        self._manifests: dict[bytes, Manifest] = {}
        self._programs: dict[bytes, rebuild.Loaded] = {}
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._client.close()
        self._thread.join()

    def _serve(self) -> None:
        description = NodeDescription(self._name, 64, 2**36, 2**36, CLASS, Rung.BWRAP, "3.11")
        boot, done, cancelled = random.randbytes(8), [], set()
        try:
            while not self._stop.is_set():
                reply = self._exchange(boot, description, done)
                done = [r for r in done if r[0].attempt not in reply.accepted]
                cancelled.update(reply.cancels)
                for lease in reply.leases:
                    if lease.manifest is not None:
                        self._manifests[lease.job] = msgspec.msgpack.decode(lease.manifest.payload, type=Manifest)
                    done += [self._do(lease.job, i) for i in lease.items if i.attempt not in cancelled]
        except TalkootError:
            if not self._stop.is_set():
                raise

    def _exchange(self, boot: bytes, description: NodeDescription, done: list[Any]) -> m.Exchanged:
        receipts = tuple(msgspec.msgpack.encode(receipt) for receipt, _ in done)
        batch = None
        if receipts:
            root = merkle.root([merkle.leaf_hash(r) for r in receipts])
            batch = self.key.sign(Kind.RECEIPTS, msgspec.msgpack.encode(m.ReceiptBatch(self._hub, len(receipts), root)))
        answers, jobs = tuple(answer for _, answer in done), tuple(self._manifests)
        request = m.Exchange(boot, description, batch, receipts, answers, (), 64, 0 if done else 20, jobs)
        return self._client.call("/v1/exchange", request, m.Exchanged)

    def _do(self, job: bytes, item: m.LeaseItem) -> tuple[Receipt, m.AnswerData]:
        manifest = self._manifests[job]
        if manifest.program not in self._programs:
            blobs = self._client.call("/v1/blobs/get", m.GetBlobs((manifest.program,)), m.Blobs).blobs
            self._programs[manifest.program] = rebuild.load(blobs[0])
        self.runs += 1
        with _one_task_at_a_time:
            random.seed(ids.item_seed(manifest.seed, item.position))
            outcome, answer, note = _run(self._programs[manifest.program], item)
        salt = random.randbytes(16)
        commitment = ids.answer_commitment(salt, hashlib.sha256(answer).digest())
        receipt = Receipt(
            *(self._hub, item.attempt, job, item.index, item.action, outcome, commitment, 100, 2**20),
            *(class_digest(CLASS), Rung.BWRAP, item.fresh),
        )
        return receipt, m.AnswerData(item.attempt, salt, answer, note)


def _run(program: rebuild.Loaded, item: m.LeaseItem) -> tuple[Outcome, bytes, bytes]:
    function = program.build()
    inputs = [codec.decode(data, classes=program.classes) for data in item.inputs]
    args, kwargs = codec.decode(item.arguments, classes=program.classes, holes=inputs)
    try:
        return Outcome.ANSWERED, codec.encode(function(*args, **kwargs)), msgspec.msgpack.encode(Note(stdout=b"hello\n"))
    except Exception as error:
        frames = [list(place) for place in program.frames_of(error.__traceback__)]
        said = codec.encode({"type": type(error).__qualname__, "frames": frames})
        return Outcome.RAISED, said, msgspec.msgpack.encode(Note(message=str(error)))


class World:
    """A hub, the person who runs it, and devices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.person = self.home.person()
        self.server = self.open_server()
        self.home.remember(KnownHub(self.server.address, self.server.key.hex(), "test"))
        self.nodes: list[ThreadNode] = []

    def open_server(self, port: int = 0) -> HubServer:
        return HubServer(self.folder / "data", operator=self.person.public, port=port).start()

    def node(self, name: str = "mine", *, own: bool = True) -> ThreadNode:
        self.nodes.append(ThreadNode(self, name, self.person if own else SigningKey.generate()))
        return self.nodes[-1]

    def ticket(self, role: str) -> Any:
        from talkoot.wire.tickets import read_ticket

        return read_ticket(self.ticket_text(role), now_ms=0)

    def ticket_text(self, role: str, lifetime_s: float = 60) -> str:
        with Client(self.server.address, self.server.key, self.person) as client:
            return client.call("/v1/invite", m.Invite("default", role, lifetime_s), m.Invited).ticket

    def connect(self, **options: Any) -> Hub:
        return connect(**{"home": self.home.path, "progress": False, **options})

    def ask(self, path: str, body: Any, reply: Any) -> Any:
        with Client(self.server.address, self.server.key, self.person) as client:
            return client.call(path, body, reply)

    def job_states(self) -> list[str]:
        """States of the hub's jobs, oldest first."""
        rows = self.ask("/v1/view/jobs", m.ViewJobs(100), m.JobRows).jobs
        return [row.progress.state for row in reversed(rows)]

    def close(self) -> None:
        with ExitStack() as stack:
            stack.callback(self.server.stop)
            for node in self.nodes:
                stack.callback(node.stop)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def hub(world):
    """A connection to a hub with one device of the researcher's own."""
    world.node()
    with world.connect() as hub:
        yield hub
