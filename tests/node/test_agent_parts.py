"""The parts of the agent by themselves: what a device says of itself, what is refused, what is kept."""

import os
from pathlib import Path

import msgspec
import pytest

from talkoot.core import codec, ids
from talkoot.core.action import action_of
from talkoot.core.errors import BadInput, Conflict, NotAllowed
from talkoot.core.lock import empty_lock, encode_lock
from talkoot.core.types import Manifest, NumericClass, Rung, TaskLimits, Trust
from talkoot.crypto.checkpoint import Checkpoint, log_origin, sign_checkpoint
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.signed import Kind
from talkoot.node import device
from talkoot.node.blobs import BlobCache
from talkoot.node.caps import Caps
from talkoot.node.environments import PYTHON, EnvironmentStore
from talkoot.node.folder import open_store
from talkoot.node.heads import Heads
from talkoot.node.jobs import Jobs, Later, Refusal, Terms, check_action
from talkoot.wire.messages import Lease, LeaseItem

MIB = 2**20
HUB, SUBMITTER, OWNER = (SigningKey.generate(bytes([n]) * 32) for n in (1, 2, 3))


# The device.


def test_memory_is_read_in_bytes():
    text = "MemTotal:       16314180 kB\nMemAvailable:    9999 kB\nHugePages_Total:       0\n"
    assert device.parse_meminfo(text) == {"MemTotal": 16314180 * 1024, "MemAvailable": 9999 * 1024}


@pytest.mark.parametrize(
    ("text", "cpus"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("", None), ("0 100000", None), ("x y", None)]
)
def test_the_cpu_quota_of_a_control_group_is_read(text, cpus):
    assert device.parse_cpu_max(text) == cpus


@pytest.mark.parametrize(("quotas", "cpus"), [([], 8), ([1.5], 1), ([0.2], 1), ([16.0, 3.9], 3)])
def test_a_quota_gives_whole_cpus_and_at_least_one(quotas, cpus):
    assert device.usable_cpus(8, quotas) == cpus


@pytest.mark.parametrize(
    ("text", "limit"), [("1073741824\n", 2**30), ("max\n", None), ("9223372036854771712\n", None), ("", None)]
)
def test_the_memory_limit_of_a_control_group_is_read(text, limit):
    assert device.parse_memory_limit(text) == limit


def test_the_names_of_gpus_and_of_the_cpu_are_read():
    assert device.parse_nvidia("NVIDIA A100-SXM4-80GB\nNVIDIA A100-SXM4-80GB\n\n") == ("NVIDIA A100-SXM4-80GB",) * 2
    assert device.parse_cpu_model("processor\t: 0\nmodel name\t: Intel(R) Xeon(R)\n") == "Intel(R) Xeon(R)"
    assert device.parse_cpu_model("processor : 0\n") == ""


def test_a_driver_that_fails_or_says_nothing_is_no_gpu(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'could not communicate with the driver'\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert not any("driver" in name for name in device.look(tmp_path).gpus)


def test_this_device_can_be_looked_at_and_described(tmp_path):
    seen = device.look(tmp_path)
    assert seen.cpus >= 1
    assert 0 < seen.memory_free_bytes <= seen.memory_bytes * 2
    said = device.describe(seen, Caps(1, 2**30, 2**30), Rung.BWRAP, "here")
    assert (said.name, said.slots, said.python) == ("here", 1, PYTHON)
    assert isinstance(said.numeric_class, NumericClass)


# The caps.


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"lend_cpus": 0}, "0 CPUs cannot be lent"),
        ({"lend_memory_bytes": 2**40}, "this device has"),
        ({"lend_memory_bytes": 1}, "too little"),
        ({"lend_disk_bytes": 2**50}, "are free"),
        ({"lend_disk_bytes": 5}, "is the least"),
    ],
)
def test_caps_that_make_no_sense_are_refused_with_the_value(asked, words):
    with pytest.raises(BadInput, match=words):
        Caps.of(cpus=4, memory_bytes=8 * 2**30, disk_free_bytes=2**40, **asked)


def test_by_default_all_cpus_three_quarters_of_the_memory_and_some_disk_are_lent():
    assert Caps.of(cpus=4, memory_bytes=8 * 2**30, disk_free_bytes=2**34) == Caps(4, 6 * 2**30, 2**33)


# The store.


def test_a_store_is_made_where_others_may_enter(tmp_path):
    if os.geteuid() == 0:  # cells have other uids then, and pytest's folders are closed to them
        with pytest.raises(BadInput, match="other users cannot enter"):
            open_store(tmp_path / "store")
    else:
        assert open_store(tmp_path / "store").stat().st_mode & 0o777 == 0o755


def test_a_store_of_somebody_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.lstat(tmp_path).st_uid + 1)
    with pytest.raises(BadInput, match="belongs to another user"):
        open_store(tmp_path)


def test_a_link_is_no_store(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(BadInput, match="is a link"):
        open_store(tmp_path / "link")


# The cache of programs.


def test_content_that_was_damaged_on_disk_is_as_if_it_were_not_there(tmp_path):
    cache = BlobCache(tmp_path / "blobs")
    name = ids.program_id(b"content")
    cache.put(name, b"content")
    assert cache.get(name, ids.program_id) == b"content"
    (tmp_path / "blobs" / name.hex()).write_bytes(b"another")
    assert cache.get(name, ids.program_id) is None
    assert not (tmp_path / "blobs" / name.hex()).exists()


def test_the_least_recently_used_content_goes_first(tmp_path):
    cache = BlobCache(tmp_path / "blobs", max_bytes=25)
    contents = [bytes([n]) * 10 for n in range(3)]
    for n, data in enumerate(contents):
        cache.put(ids.program_id(data), data)
        os.utime(tmp_path / "blobs" / ids.program_id(data).hex(), (n, n))
    assert [cache.get(ids.program_id(data), ids.program_id) for data in contents] == [None, *contents[1:]]


# The jobs.


class World:
    """A job, and a node that looks at it. `hub_has` is what the hub gives, whatever is asked for."""

    def __init__(self, folder: Path, rung: Rung = Rung.BWRAP) -> None:
        self.carrier, self.lock = b"a carrier", encode_lock(empty_lock(PYTHON))
        self.hub_has = {ids.program_id(self.carrier): self.carrier, ids.environment_id(self.lock): self.lock}
        self.fetched = 0
        terms = Terms(HUB.public, OWNER.public, Caps(2, 2**31, 2**30), rung, "")
        self.jobs = Jobs(terms, BlobCache(folder / "blobs"), EnvironmentStore(folder / "environments"), self.fetch)

    def fetch(self, names):
        self.fetched += 1
        return tuple(self.hub_has[name] for name in names)

    def manifest(self, **changes) -> Manifest:
        manifest = Manifest(
            hub=HUB.public,
            project="default",
            job=b"j" * 16,
            name="a job",
            program=ids.program_id(self.carrier),
            environment=ids.environment_id(self.lock),
            python=PYTHON,
            seed=1,
            pure=False,
            verifier=Trust(),
            task_limits=TaskLimits(memory_bytes=256 * MIB),
            price_cap_microcredits=1,
            budget_microcredits=1,
        )
        return msgspec.structs.replace(manifest, **changes)

    def lease(self, key=SUBMITTER, kind=Kind.MANIFEST, **changes) -> Lease:
        return Lease(1, b"j" * 16, key.sign(kind, msgspec.msgpack.encode(self.manifest(**changes))), ())

    def refusal(self, lease: Lease) -> str:
        self.jobs.note(lease)
        with pytest.raises(Refusal) as caught:
            self.jobs.ready(lease.job)
        return caught.value.reason


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_job_is_made_ready_once_and_its_contents_are_fetched_once(world, tmp_path):
    assert world.jobs.note(world.lease(task_limits=TaskLimits(cpus=2))) == 2
    ready = world.jobs.ready(b"j" * 16)
    assert world.jobs.ready(b"j" * 16) is ready
    assert (ready.carrier, world.fetched) == (b"a carrier", 1)
    assert ready.spec.hash_seed == ids.hash_seed(1)
    other = World(tmp_path)
    other.jobs.note(other.lease())
    other.jobs.ready(b"j" * 16)
    assert other.fetched == 0


def test_a_manifest_that_the_hub_changed_is_refused(world):
    lease = world.lease()
    payload = msgspec.msgpack.encode(world.manifest(price_cap_microcredits=0))
    changed = msgspec.structs.replace(lease, manifest=msgspec.structs.replace(lease.manifest, payload=payload))
    assert world.refusal(changed).startswith("signature: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hub": OWNER.public}, "signature: the manifest is for another hub"),
        ({"job": b"k" * 16}, "signature: the manifest is of another job"),
        ({"kind": Kind.LENDING}, "signature: A statement of kind 'lending'"),
        ({"python": "3.7"}, "environment: the job is for Python 3.7"),
        ({"task_limits": TaskLimits(cpus=3)}, "sandbox: a task asks for 3 CPUs, and 2 are lent"),
        ({"task_limits": TaskLimits(memory_bytes=2**31)}, "sandbox: a task takes 2,304 MiB of memory (scratch included)"),
        ({"task_limits": TaskLimits(scratch_bytes=2**31)}, "sandbox: a task takes 2,816 MiB of memory (scratch included)"),
        ({"task_limits": TaskLimits(processes=0)}, "sandbox: the limits of the job are not all above zero"),
        ({"task_limits": TaskLimits(time_s=float("nan"))}, "sandbox: a task asks for nan s"),
    ],
)
def test_what_the_node_does_not_run_it_refuses_with_the_reason(world, changes, words):
    assert world.refusal(world.lease(**changes)).startswith(words)


def test_two_manifests_for_one_job_are_refused(world):
    world.jobs.note(world.lease())
    assert "two manifests" in world.refusal(world.lease(key=OWNER))


def test_without_a_sandbox_only_the_owner_s_own_jobs_are_ready(tmp_path):
    bare = World(tmp_path, Rung.NONE)
    assert "only its owner's own jobs" in bare.refusal(bare.lease())
    own = World(tmp_path, Rung.NONE)
    own.jobs.note(own.lease(key=OWNER))
    assert own.jobs.ready(b"j" * 16).rung is Rung.NONE


def test_another_program_than_the_manifest_names_is_refused(world):
    world.hub_has[ids.program_id(world.carrier)] = b"injected"
    assert "other content than the manifest names" in world.refusal(world.lease())


def test_an_environment_that_cannot_be_built_is_refused(world):
    world.lock = b"not a lock"
    world.hub_has[ids.environment_id(world.lock)] = world.lock
    assert world.refusal(world.lease()).startswith("environment: ")


def test_what_the_hub_does_not_give_now_is_tried_later(world):
    def fetch(names):
        raise NotAllowed("no live attempt")

    world.jobs._fetch = fetch
    world.jobs.note(world.lease())
    with pytest.raises(Later):
        world.jobs.ready(b"j" * 16)
    with pytest.raises(Later):
        world.jobs.ready(b"k" * 16)


def item(manifest, *, arguments=b"", position: int | None = 0, inputs=(), claimed=None) -> LeaseItem:
    action = action_of(manifest, claimed or arguments, [codec.digest(data) for data in inputs], position)
    return LeaseItem(1, 0, action, arguments, position, tuple(inputs), False)


def test_the_action_is_computed_again_from_what_came(world):
    manifest = world.manifest()
    check_action(manifest, item(manifest, arguments=b"a", inputs=(b"an answer",)))
    with pytest.raises(Refusal, match="not those that its action names"):
        check_action(manifest, item(manifest, arguments=b"a", claimed=b"b"))
    with pytest.raises(Refusal, match="position"):
        check_action(manifest, item(manifest, position=None))


# The heads of the log.


def note(size, root=b"r" * 32, key=HUB):
    return sign_checkpoint(key, Checkpoint(log_origin(HUB.public), size, root))


def test_the_newest_head_is_kept_over_a_restart(tmp_path):
    heads = Heads(tmp_path, HUB.public)
    heads.take(note(5), 0)
    heads.take(note(4), 3)  # overtaken by the reply of the other channel
    heads.save()
    assert Heads(tmp_path, HUB.public).size == 5


@pytest.mark.parametrize(("second", "known"), [(note(5, b"x" * 32), 4), (note(4), 5)])
def test_a_fork_stops_the_node_and_leaves_both_notes_as_evidence(tmp_path, second, known):
    heads = Heads(tmp_path, HUB.public)
    heads.take(note(5), 0)
    with pytest.raises(Conflict, match="not the same log"):
        heads.take(second, known)
    assert [(tmp_path / f"fork-{n}").read_text() for n in (1, 2)] == [note(5), second]


def test_a_head_of_another_key_is_not_believed(tmp_path):
    with pytest.raises(Exception, match="no signature of the log"):
        Heads(tmp_path, HUB.public).take(note(5, key=OWNER), 0)
