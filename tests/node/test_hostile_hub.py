"""A hub that wants to wear a node out, or to have it state what is not so."""

import os
import time

import msgspec
import pytest

from talkoot.core import codec, ids, limits
from talkoot.core.action import action_of
from talkoot.core.lock import empty_lock, encode_lock
from talkoot.core.types import Manifest, TaskLimits, Trust
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.signed import Kind
from talkoot.node.blobs import BlobCache
from talkoot.node.caps import Caps
from talkoot.node.environments import PYTHON, EnvironmentStore
from talkoot.node.jobs import MAX_JOBS, Jobs, Refusal, Terms
from talkoot.node.receipts import Clerk
from talkoot.node.sandbox import Sandbox
from talkoot.node.signals import Ended, Replied, Work
from talkoot.node.slots import Slot, Workshop
from talkoot.node.state import MAX_WAITING_BYTES_PER_SLOT, State
from talkoot.sdk.program import walk
from talkoot.testing.lab import SMALL, shared_store
from talkoot.wire.messages import AnswerData, Lease, LeaseItem

HUB, SUBMITTER, ACCOMPLICE = (SigningKey.generate(bytes([n]) * 32) for n in (1, 2, 3))
JOB = b"j" * 16


def work(attempt, lease=1, size=0):
    return Work(JOB, LeaseItem(attempt, attempt, b"action", b"a" * size, 0, (), False), 1, lease)


def test_an_attempt_that_is_leased_twice_is_in_one_place():
    state = State(2)
    state.handle(Replied("poll-1", (work(1, 1), work(1, 2))), 0.0)
    state.check()
    state.handle(Replied("poll-1", (work(1, 3),)), 0.0)
    state.check()
    state.handle(Ended(1, None, 0.1), 1.0)
    state.check()


def test_more_attempts_than_a_node_may_hold_go_back():
    state = State(1)
    most = limits.MAX_ATTEMPTS_PER_NODE
    for lease in range(3):
        state.handle(Replied("poll-1", tuple(work(1 + lease * most + n, lease) for n in range(most))), 0.0)
    state.check()
    assert len(state.queue) < most
    assert len(state.held()) == 2 * most


def test_more_bytes_than_a_node_may_hold_go_back():
    state = State(1)
    size = MAX_WAITING_BYTES_PER_SLOT // 2
    state.handle(Replied("poll-1", tuple(work(n, size=size) for n in range(8))), 0.0)
    state.check()
    assert len(state.queue) <= 3
    assert len(state.handed_back) >= 4


class Device:
    """A slot with a real sandbox, and jobs as a hub tells of them."""

    def __init__(self, store, tmp_path) -> None:
        self.contents = {}
        self.sandbox = Sandbox(store)
        terms = Terms(HUB.public, HUB.public, Caps(2, 2**30, 2**30), self.sandbox.rung, "")
        self.jobs = Jobs(terms, BlobCache(tmp_path / "blobs"), EnvironmentStore(tmp_path / "environments"), self.fetch)
        self.ended = []
        shop = Workshop(
            self.sandbox,
            self.jobs,
            Clerk(HUB.public, b"class"),
            self.ended.append,
            2**30,
            lambda _, run: run,
            lambda _: None,
        )
        self.slot = Slot(0, shop)
        self.slot.start()

    def fetch(self, names):
        return tuple(self.contents[name] for name in names)

    def lease(self, function, key, job=JOB, **changes):
        carrier, lock = walk(function).carrier, encode_lock(empty_lock(PYTHON))
        program, environment = ids.program_id(carrier), ids.environment_id(lock)
        self.contents |= {program: carrier, environment: lock}
        limits_ = changes.pop("task_limits", SMALL)
        manifest = Manifest(HUB.public, "p", job, "n", program, environment, PYTHON, 7, False, Trust(), limits_, 1, 1)
        self.jobs.note(Lease(1, job, key.sign(Kind.MANIFEST, msgspec.msgpack.encode(manifest)), ()))
        return manifest

    def run(self, manifest, attempt, value):
        arguments = codec.encode(((value,), {}))
        action = action_of(manifest, arguments, (), 0)
        self.slot.give(Work(manifest.job, LeaseItem(attempt, 0, action, arguments, 0, (), False), 1, attempt))
        deadline = time.monotonic() + 20
        while not any(isinstance(e, Ended) and e.attempt == attempt for e in self.ended):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        answer: AnswerData = next(e for e in self.ended if isinstance(e, Ended) and e.attempt == attempt).report.answer
        return codec.decode(answer.answer)


@pytest.fixture
def device(tmp_path):
    with shared_store() as store:
        made = Device(store, tmp_path)
        yield made
        made.slot.close(5)
        made.sandbox.close()


def lie(x):
    return "a lie"


def truth(x):
    return x


def test_a_worker_that_is_warm_for_one_manifest_never_serves_another_of_the_same_job(device):
    """Else a hub and an accomplice have a node sign answers of their program as those of another submitter's."""
    assert device.run(device.lease(lie, ACCOMPLICE), 1, 1) == "a lie"
    for _ in range(MAX_JOBS):  # the node forgets the first manifest
        device.lease(lie, ACCOMPLICE, job=os.urandom(16))
    assert device.run(device.lease(truth, SUBMITTER), 2, "true") == "true"


@pytest.mark.parametrize(
    "asked",
    [
        TaskLimits(processes=2**31),
        TaskLimits(scratch_files=2**40),
        TaskLimits(scratch_files=-4),  # a tmpfs of 0 inodes has no limit
    ],
)
def test_no_task_chooses_its_own_caps_on_processes_and_files(device, asked):
    device.lease(truth, SUBMITTER, task_limits=msgspec.structs.replace(asked, memory_bytes=2**28))
    with pytest.raises(Refusal, match="asks for"):
        device.jobs.ready(JOB)
