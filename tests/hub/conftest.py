"""A real hub over real HTTP, and hands to work it with: members and nodes that sign by themselves."""

import hashlib
import os
import threading
import time

import msgspec
import pytest

from talkoot.core import codec, ids
from talkoot.core.lock import empty_lock, encode_lock
from talkoot.core.types import Manifest, NodeDescription, Outcome, Quorum, Receipt, Rung, TaskLimits, class_digest
from talkoot.crypto import merkle
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.signed import Kind
from talkoot.hub.serve import HubServer
from talkoot.hub.tx import Settings
from talkoot.testing.nodes import CLASS
from talkoot.wire import messages as m
from talkoot.wire.client import Client
from talkoot.wire.tickets import read_ticket

PROGRAM = b"square"
LOCK = encode_lock(empty_lock("3.11"))
OPERATOR = SigningKey.from_seed(b"o" * 32)


class Person:
    """A member, or somebody who would like to be one."""

    def __init__(self, server, key=None):
        self.server = server
        self.key = key or SigningKey.generate()
        self.client = Client(server.address, server.key, self.key, timeout_s=30)
        server.clients.append(self.client)

    def call(self, path, body, reply=m.Nothing):
        return self.client.call(path, body, reply)

    def invite(self, role="contributor", lifetime_s=3600.0):
        return self.call("/v1/invite", m.Invite("default", role, lifetime_s), m.Invited).ticket

    def join(self, ticket, name="somebody", lending=None):
        secret = read_ticket(ticket, now_ms=0).secret if ticket else b""
        return self.call("/v1/join", m.Join(secret, name, lending), m.Joined)

    def manifest(self, **changes):
        self.call("/v1/blobs/put", m.PutBlobs(("program", "environment"), (PROGRAM, LOCK)))
        manifest = Manifest(
            hub=self.server.key,
            project="default",
            job=os.urandom(16),
            name="squares",
            program=ids.program_id(PROGRAM),
            environment=ids.environment_id(LOCK),
            python="3.11",
            seed=0,
            pure=False,
            verifier=Quorum(2),
            task_limits=TaskLimits(time_s=10),
            price_cap_microcredits=1_000_000,
            budget_microcredits=10**9,
        )
        return msgspec.structs.replace(manifest, **changes)

    def submission(self, values, *, sealed=True, **changes):
        manifest = self.manifest(**changes)
        items = tuple(m.Item(i, codec.encode(((value,), {})), i) for i, value in enumerate(values))
        return manifest.job, m.Submit(self.key.sign(Kind.MANIFEST, msgspec.msgpack.encode(manifest)), items, sealed)

    def submit(self, values, **how):
        job, request = self.submission(values, **how)
        self.call("/v1/jobs/submit", request, m.Submitted)
        return job

    def answers(self, job, after=0, wait_s=0.0, *, provisional=False):
        return self.call("/v1/jobs/answers", m.ReadAnswers(job, after, wait_s, provisional), m.Answers)


class Device:
    """A node by hand: it leases, squares, and signs receipts as a real one does."""

    def __init__(self, server, owner, name="device", *, slots=4):
        self.server, self.owner = server, owner
        self.key = SigningKey.generate()
        self.client = Client(server.address, server.key, self.key, timeout_s=30)
        server.clients.append(self.client)
        lending = m.Lending(server.key, owner.key.public, name)
        self.lending = self.key.sign(Kind.LENDING, msgspec.msgpack.encode(lending))
        self.description = NodeDescription(name, slots, slots * 2**31, 2**34, CLASS, Rung.BWRAP, "3.11")
        self.boot = os.urandom(8)
        self.known = set()

    def exchange(self, done=(), want=0, wait_s=0.0, **changes):
        """One exchange; `done` are (job, item, answer)."""
        made = [self.receipt(job, item, value) for job, item, value in done]
        receipts = tuple(msgspec.msgpack.encode(receipt) for receipt, _ in made)
        answers = tuple(answer for _, answer in made)
        request = m.Exchange(self.boot, self.description, self.batch(receipts), receipts, answers, (), want, wait_s)
        request = msgspec.structs.replace(request, **{"leases": tuple(self.known)} | changes)
        reply = self.client.call("/v1/exchange", request, m.Exchanged)
        self.known.update(lease.lease for lease in reply.leases)
        return reply

    def batch(self, receipts):
        if not receipts:
            return None
        root = merkle.root([merkle.leaf_hash(receipt) for receipt in receipts])
        return self.key.sign(Kind.RECEIPTS, msgspec.msgpack.encode(m.ReceiptBatch(self.server.key, len(receipts), root)))

    def receipt(self, job, item, value):
        answer, salt = codec.encode(value), os.urandom(16)
        receipt = Receipt(
            hub=self.server.key,
            attempt=item.attempt,
            job=job,
            index=item.index,
            action=item.action,
            outcome=Outcome.ANSWERED,
            commitment=ids.answer_commitment(salt, hashlib.sha256(answer).digest()),
            core_ms=100,
            memory_bytes=2**20,
            numeric_class=class_digest(CLASS),
            rung=Rung.BWRAP,
            fresh=item.fresh,
        )
        return receipt, m.AnswerData(item.attempt, salt, answer, b"")

    def take(self, want=4, wait_s=0.0):
        """(job, item, square) of what it was leased."""
        reply = self.exchange(want=want, wait_s=wait_s)
        return [(lease.job, item, square(item)) for lease in reply.leases for item in lease.items]

    def work(self, want=4):
        """Take, do, report; returns how many."""
        done = self.take(want)
        if done:
            self.exchange(done)
        return len(done)


def square(item):
    ((value,), _) = codec.decode(item.arguments)
    return value * value


class Served(HubServer):
    """A hub in a thread, whose operator is a person of the test."""

    def __init__(self, data, **how):
        super().__init__(data, operator=OPERATOR.public, **how)
        self.data, self.how = data, how
        self.clients = []

    def start(self):
        super().start()
        self.operator = Person(self, OPERATOR)
        return self

    def stop(self):
        for client in self.clients:
            client.close()
        self.clients.clear()
        super().stop()

    def member(self, role="contributor", name="somebody"):
        person = Person(self)
        person.join(self.operator.invite(role), name)
        return person

    def device(self, name="device", owner=None, **how):
        owner = owner or self.member(name=f"owner of {name}")
        device = Device(self, owner, name, **how)
        owner.join("", lending=device.lending)
        return device

    def rows(self, sql, *values):
        from talkoot.hub import schema

        db = schema.connect(self.data / "hub.db", read_only=True)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()


@pytest.fixture
def serve_hub(tmp_path):
    """Start hubs; all are stopped when the test ends."""
    running = []

    def start(data=None, **how):
        how.setdefault("settings", Settings(name="test hub"))
        server = Served(data or tmp_path / "hub", **how).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def hub(serve_hub):
    return serve_hub()


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """One hub for all tests of a file that leave nothing behind."""
    with Served(tmp_path_factory.mktemp("steady") / "hub", settings=Settings(name="test hub")) as server:
        yield server


class Aside:
    """A call in a thread: `with Aside(function, ...) as aside: ...; aside.result()`."""

    def __init__(self, function, *arguments, **how):
        self._function, self._arguments, self._how = function, arguments, how
        self._value = self._error = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            self._value = self._function(*self._arguments, **self._how)
        except BaseException as error:
            self._error = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(30)
        assert not self._thread.is_alive()

    def result(self):
        self._thread.join(30)
        if self._error is not None:
            raise self._error
        return self._value


@pytest.fixture
def aside():
    return Aside


@pytest.fixture
def parked(hub):
    """Wait until so many long polls are kept (the hub itself says how many)."""

    def until(count, server=None):
        import http.client

        server = server or hub
        host, port = server.address.removeprefix("http://").split(":")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            connection = http.client.HTTPConnection(host, int(port), timeout=5)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            connection.close()
            if f"talkoot_parked_requests {float(count)}" in text:
                return
        raise AssertionError(f"never {count} parked:\n{text}")

    return until
