"""A hub in the test's own process: the real engine on a real database, without HTTP, on virtual time."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from talkoot.core import codec, ids
from talkoot.core.types import Manifest, Quorum, TaskLimits, Verifier
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.signed import Kind, Signed, encode_signed
from talkoot.hub.blobs import put
from talkoot.hub.commands import exchange, jobs, people
from talkoot.hub.engine import Clocks, Command, Engine
from talkoot.hub.tx import Settings, Tx
from talkoot.testing.clock import VirtualClock
from talkoot.wire import messages as m
from talkoot.wire.envelope import Request

T = TypeVar("T")
DEFAULT_SETTINGS = Settings(name="test hub", silence_s=30)


class InProcessHub:
    """The engine, its clock and its randomness. The operator's key may submit and invite."""

    def __init__(
        self, path: Path | str, *, seed: int = 0, settings: Settings = DEFAULT_SETTINGS, clock: VirtualClock | None = None
    ) -> None:
        self.path = path
        self.random = random.Random(seed)  # noqa: S311 - tests must repeat
        self.clock = clock or VirtualClock()
        self.settings = settings
        self.key = SigningKey.generate(self.random.randbytes(32))
        self.operator = Submitter(self, SigningKey.generate(self.random.randbytes(32)))
        self.engine = self._open()
        self.engine.open_for(self.operator.key.public, "operator")

    def _open(self) -> Engine:
        clocks = Clocks(self.clock.monotonic, self.clock.wall_ms, self.random.randbytes)
        return Engine(self.path, self.key, self.settings, clocks)

    def crash(self) -> None:
        """Lose everything that is not on disk, and start again on the same database."""
        self.engine.close()
        self.engine = self._open()

    def do(self, kind: str, run: Callable[[Tx], T], will: bytes = b"") -> T:
        """One command by itself; raises its error."""
        (done,) = self.engine.execute([Command(kind, run, will)])
        if done.error is not None:
            raise done.error
        reply: T = done.reply
        return reply

    def ask(self, key: SigningKey, path: str, body: msgspec.Struct, run: Callable[[Tx], T]) -> T:
        """A command on a signed request, as it would come over HTTP."""
        request = Request(self.engine.hub, b"\0" * 16, self.random.randbytes(16), path, msgspec.msgpack.encode(body))
        return self.do(path, run, encode_signed(key.sign(Kind.REQUEST, msgspec.msgpack.encode(request))))

    def admit(self, key: SigningKey, name: str, *, role: str = "contributor", lending: Signed | None = None) -> m.Joined:
        """Invite and join in one step."""
        secret = self.random.randbytes(16)
        invitation = m.Invite(people.DEFAULT_PROJECT, role, 3600)
        expires_ms = self.clock.wall_ms() + 3_600_000
        self.do("invite", lambda tx: people.invite(tx, self.operator.key.public, invitation, secret, expires_ms))
        return self.do("join", lambda tx: people.join(tx, key.public, m.Join(secret, name, lending)))

    def exchange(self, key: SigningKey, request: m.Exchange) -> m.Exchanged:
        """One exchange of a node."""
        exchange.check(request, key.public, self.engine.hub)
        will = encode_signed(request.batch) if request.batch is not None else b""
        reply, _ = self.do("exchange", lambda tx: exchange.exchange(tx, key.public, request), will)
        return reply

    def rows(self, sql: str, *values: object) -> list[Any]:
        """Look at the tables."""
        return self.engine.db.execute(sql, values).fetchall()


class Submitter:
    """A researcher without the SDK: submits programs that scripted nodes understand."""

    def __init__(self, hub: InProcessHub, key: SigningKey) -> None:
        self.hub = hub
        self.key = key

    def submit(
        self,
        values: Sequence[object],
        *,
        verifier: Verifier | None = None,
        program: bytes = b"square",
        pure: bool = False,
        sealed: bool = True,
        job: bytes | None = None,
        budget_microcredits: int = 10**9,
        task_limits: TaskLimits | None = None,
        inputs: Sequence[tuple[m.TaskRef, ...]] | None = None,
        seed: int = 0,
        python: str = "3.11",
    ) -> bytes:
        """A job with one task for each value; returns its id."""
        hub = self.hub
        job_id = job if job is not None else hub.random.randbytes(16)
        environment = b"no environment"
        hub.do("put", lambda tx: put(tx, [(ids.program_id(program), program)]))
        hub.do("put", lambda tx: put(tx, [(ids.environment_id(environment), environment)]))
        manifest = Manifest(
            hub=hub.engine.hub,
            project=people.DEFAULT_PROJECT,
            job=job_id,
            name="test job",
            program=ids.program_id(program),
            environment=ids.environment_id(environment),
            python=python,
            seed=seed,
            pure=pure,
            verifier=verifier if verifier is not None else Quorum(2),
            task_limits=task_limits or TaskLimits(time_s=10),
            price_cap_microcredits=1_000_000,
            budget_microcredits=budget_microcredits,
        )
        signed = self.key.sign(Kind.MANIFEST, msgspec.msgpack.encode(manifest))
        items = tuple(
            m.Item(i, codec.encode(((value,), {})), None if pure else i, inputs[i] if inputs else ())
            for i, value in enumerate(values)
        )
        request = m.Submit(signed, items, sealed)
        hub.ask(self.key, "/v1/jobs/submit", request, lambda tx: jobs.submit(tx, self.key.public, request))
        return job_id

    def cancel(self, job: bytes) -> None:
        """Cancel a job."""
        request = m.Cancel(job)
        self.hub.ask(self.key, "/v1/jobs/cancel", request, lambda tx: jobs.cancel(tx, self.key.public, request))

    def answers(self, job: bytes) -> dict[int, tuple[str, object]]:
        """(state, value) of each task of a job."""
        found = self.hub.rows(
            "SELECT tasks.idx, tasks.state, blobs.data FROM tasks JOIN jobs ON jobs.no = tasks.job"
            " LEFT JOIN attempts ON attempts.id = tasks.canonical LEFT JOIN blobs ON blobs.digest = attempts.answer"
            " WHERE jobs.id = ?",
            job,
        )
        return {i: (state, codec.decode(data) if data else None) for i, state, data in found}

    def arguments(self, job: bytes) -> dict[int, object]:
        """The one argument of each task of a job."""
        found = self.hub.rows("SELECT idx, arguments FROM tasks JOIN jobs ON jobs.no = tasks.job WHERE jobs.id = ?", job)
        return {i: codec.decode(data)[0][0] for i, data in found}
