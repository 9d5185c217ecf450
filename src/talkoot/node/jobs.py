"""The jobs that this node has tasks of: whose they are, whether they may run here, and what is needed to run them.

A hub is not believed. The submitter signed the manifest; the program and the lock are what it names by their ids; the
action of each task is computed again. What does not fit is refused, with the reason in the receipt.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from talkoot.core import ids, limits
from talkoot.core.action import action_of
from talkoot.core.errors import BadInput, NotAllowed, NotFound, TalkootError, Unavailable
from talkoot.core.types import Isolation, KillReason, Manifest, Rung
from talkoot.crypto.signed import Kind, Signed, verify
from talkoot.node.blobs import BlobCache, Identify
from talkoot.node.caps import Caps
from talkoot.node.environments import PYTHON, EnvironmentStore
from talkoot.node.sandbox import CellSpec
from talkoot.wire.messages import Lease, LeaseItem
from talkoot.wire.parse import parse

MAX_JOBS: Final = 256
MAX_JOBS_NAMED: Final = 64
"""In one exchange, as jobs whose manifest need not be sent again."""
Fetch = Callable[[Sequence[bytes]], tuple[bytes, ...]]
"""From ids to contents, out of the hub."""


class Refusal(Exception):
    """Tasks of the job are not run here, and why."""

    def __init__(self, code: KillReason, words: str, *, of_one_task: bool = False) -> None:
        super().__init__(words)
        self.reason = f"{code}: {words}"
        self.of_one_task = of_one_task
        """Other tasks of the job may be run."""


class Later(Exception):
    """Not now: hand the tasks back."""


@dataclass(frozen=True)
class Ready:
    """All that is needed to run tasks of a job."""

    manifest: Manifest
    carrier: bytes
    spec: CellSpec
    rung: Rung

    @property
    def alone(self) -> bool:
        """Whether each task has a sandbox of its own."""
        return self.manifest.isolation is Isolation.TASK


@dataclass
class _Known:
    signed: Signed
    manifest: Manifest | None
    refusal: Refusal | None
    ready: Ready | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Terms:
    """What this node is, as far as it decides what runs on it."""

    hub: bytes
    owner: bytes
    """The owner's key: only their own jobs run where no sandbox works."""
    caps: Caps
    rung: Rung
    blas_core: str


class Jobs:
    """Safe for threads; a job is made ready once, and who wants it meanwhile waits."""

    def __init__(self, terms: Terms, blobs: BlobCache, environments: EnvironmentStore, fetch: Fetch) -> None:
        self._terms = terms
        self._blobs = blobs
        self._environments = environments
        self._fetch = fetch
        self._lock = threading.Lock()
        self._known: dict[bytes, _Known] = {}

    def note(self, lease: Lease) -> int:
        """Remember the manifest of a lease; gives the CPUs that each of its tasks takes."""
        with self._lock:
            known = self._known.pop(lease.job, None)
            if lease.manifest is not None and (known is None or known.signed != lease.manifest):
                known = self._judged(lease.job, lease.manifest, known)
            if known is None:
                return 1
            self._known[lease.job] = known
            while len(self._known) > MAX_JOBS:
                del self._known[next(iter(self._known))]
            runs = known.manifest if known.refusal is None else None
            return runs.task_limits.cpus if runs is not None else 1

    def held(self) -> tuple[bytes, ...]:
        """Jobs whose manifest the hub need not send."""
        with self._lock:
            return tuple(self._known)[-MAX_JOBS_NAMED:]

    def ready(self, job: bytes) -> Ready:
        """What is needed to run tasks of a job: fetches and builds at the first call.

        Raises Refusal, or Later where the hub does not give what is needed now.
        """
        with self._lock:
            known = self._known.get(job)
        if known is None:
            raise Later("the manifest is not known here any more")
        with known.lock:
            if known.refusal is None and known.ready is None:
                try:
                    known.ready = self._make_ready(known)
                except Refusal as found:
                    known.refusal = found
            ready, refusal = known.ready, known.refusal
        if refusal is not None:
            raise refusal.with_traceback(None)
        assert ready is not None
        return ready

    def refuse(self, job: bytes, refusal: Refusal) -> None:
        """What is refused once is refused from then on: the hub gives this node no more of the job."""
        with self._lock:
            known = self._known.get(job)
        if known is not None:
            known.refusal, known.ready = refusal, None

    def _judged(self, job: bytes, signed: Signed, before: _Known | None) -> _Known:
        try:
            manifest = self._checked(job, signed)
            if before is not None:
                raise Refusal(KillReason.SIGNATURE, "the hub gave two manifests for one job")
            self._admit(manifest, signed.key)
        except Refusal as refusal:
            return _Known(signed, None, refusal)
        return _Known(signed, manifest, None)

    def _checked(self, job: bytes, signed: Signed) -> Manifest:
        try:
            manifest = parse(verify(signed, Kind.MANIFEST), Manifest, "manifest")
        except TalkootError as error:
            raise Refusal(KillReason.SIGNATURE, error.message) from None
        if manifest.hub != self._terms.hub:
            raise Refusal(KillReason.SIGNATURE, "the manifest is for another hub")
        if manifest.job != job:
            raise Refusal(KillReason.SIGNATURE, "the manifest is of another job")
        return manifest

    def _admit(self, manifest: Manifest, submitter: bytes) -> None:
        terms, asked = self._terms, manifest.task_limits
        if min(asked.cpus, asked.memory_bytes, asked.scratch_bytes, asked.processes, asked.answer_bytes) <= 0:
            raise Refusal(KillReason.SANDBOX, "the limits of the job are not all above zero")
        if not 0 < asked.time_s <= limits.MAX_TASK_TIME_S or asked.answer_bytes > limits.MAX_ANSWER_BYTES:
            raise Refusal(KillReason.SANDBOX, f"a task asks for {asked.time_s:g} s or {asked.answer_bytes} bytes")
        if asked.processes > limits.MAX_PROCESSES or not 0 <= asked.scratch_files <= limits.MAX_SCRATCH_FILES:
            raise Refusal(
                KillReason.SANDBOX,
                f"a task asks for {asked.processes} processes or {asked.scratch_files} files; at most"
                f" {limits.MAX_PROCESSES} and {limits.MAX_SCRATCH_FILES} are given",
            )
        if obstacle := terms.caps.obstacle(asked, terms.rung):
            raise Refusal(KillReason.SANDBOX, obstacle)
        if terms.rung is Rung.NONE and submitter != terms.owner:
            raise Refusal(KillReason.SANDBOX, "no sandbox works on this device, so it takes only its owner's own jobs")
        if manifest.python != PYTHON:
            raise Refusal(KillReason.ENVIRONMENT, f"the job is for Python {manifest.python}; this device has {PYTHON}")

    def _make_ready(self, known: _Known) -> Ready:
        manifest = known.manifest
        assert manifest is not None
        carrier, lock = self._contents(manifest)
        try:
            environment = self._environments.get(lock)
        except Unavailable as error:  # a full disk, an index out of reach: it may be well again later
            raise Later(error.message) from error
        except TalkootError as error:
            raise Refusal(KillReason.ENVIRONMENT, error.message) from error
        spec = CellSpec(
            manifest.task_limits,
            environment=environment,
            hash_seed=ids.hash_seed(manifest.seed),
            blas_core=self._terms.blas_core,
        )
        return Ready(manifest, carrier, spec, self._terms.rung)

    def _contents(self, manifest: Manifest) -> tuple[bytes, bytes]:
        wanted: tuple[tuple[bytes, Identify], ...] = (
            (manifest.program, ids.program_id),
            (manifest.environment, ids.environment_id),
        )
        found = {name: self._blobs.get(name, identify) for name, identify in wanted}
        missing = [(name, identify) for name, identify in wanted if found[name] is None]
        if missing:
            for (name, identify), data in zip(missing, self._fetched([name for name, _ in missing]), strict=True):
                if identify(data) != name:
                    raise Refusal(KillReason.SIGNATURE, "the hub gave other content than the manifest names")
                self._blobs.put(name, data)
                found[name] = data
        carrier, lock = found[manifest.program], found[manifest.environment]
        assert carrier is not None
        assert lock is not None
        return carrier, lock

    def _fetched(self, names: Sequence[bytes]) -> tuple[bytes, ...]:
        try:
            contents = self._fetch(names)
        except (NotAllowed, Unavailable) as error:  # the job may have ended meanwhile, or the node leaves
            raise Later(error.message) from error
        except NotFound as error:
            raise Refusal(KillReason.ENVIRONMENT, error.message) from error
        except BadInput as error:
            raise Refusal(KillReason.SIGNATURE, error.message) from error
        if len(contents) != len(names):
            raise Refusal(KillReason.SIGNATURE, f"the hub gave {len(contents)} contents where {len(names)} were asked for")
        return contents


def check_action(manifest: Manifest, item: LeaseItem) -> None:
    """See that the task is what its action says. Raises Refusal."""
    if (item.position is None) != manifest.pure:
        raise Refusal(KillReason.SIGNATURE, "the task has a position, or none, against its manifest", of_one_task=True)
    inputs = [hashlib.sha256(data).digest() for data in item.inputs]
    action = action_of(manifest, item.arguments, inputs, item.position)
    if action != item.action:
        raise Refusal(KillReason.SIGNATURE, "the arguments of the task are not those that its action names", of_one_task=True)
