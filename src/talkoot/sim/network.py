"""A network that goes wrong in every way it can, on virtual time, from one seed.

    python -m talkoot.sim.network SEED [STEPS]

Honest, lying, crashing and leaving nodes of distinct owners, an anchor and an own device work on jobs that are
submitted, cancelled and submitted again, while replies are lost, old exchanges are replayed, floods of numbers come, the
wall clock jumps, nodes fall silent and the hub is killed: between commands, in the middle of one, and between its commit
and its reply. In some seeds two liars tell the same lie (then three copies are asked for: two who agree cannot be told
from two who are right), one node polls and never answers, one gives back all that it takes, one states a numeric class
that it did not describe, and one is of a class of its own. At the end the faults stop, the network comes to rest, and
every answer, every balance and the rebuilt tables are checked. The same seed does the same.
"""

import contextlib
import random
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from talkoot.core.errors import TalkootError
from talkoot.core.lifecycle import SETTLED_TASKS
from talkoot.core.limits import MAX_LEASES_NAMED
from talkoot.core.types import Close, NumericClass, Quorum, Trust, Verifier
from talkoot.crypto.keys import SigningKey
from talkoot.hub.tx import Settings
from talkoot.testing.checks import assert_laws
from talkoot.testing.network import InProcessHub
from talkoot.testing.nodes import Killed, ScriptedNode
from talkoot.wire.messages import Exchange, Exchanged

SILENCE_S: Final = 30.0
MAX_ROUNDS_TO_REST: Final = 400
VERIFIERS: Final = (Quorum(2), Quorum(2), Quorum(3), Quorum(2, Close(1e-9, 0.0)), Trust())
AGAINST_PAIRS: Final = (Quorum(3), Quorum(3), Quorum(3, Close(1e-9, 0.0)), Trust())
ODD_CLASS: Final = NumericClass("aarch64", "glibc 2.36", "3.11", "asimd", "NEOVERSEN1 1")
MAX_REMEMBERED_EXCHANGES: Final = 40


@dataclass
class Report:
    """What a run came to."""

    seed: int
    steps: int = 0
    hub_crashes: int = 0
    replies_lost: int = 0
    node_restarts: int = 0
    tasks: int = 0
    attempts: int = 0
    convictions: int = 0
    states: dict[str, int] = field(default_factory=dict)


class Network:
    """The actors and their faults."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)  # noqa: S311 - it must repeat
        self.report = Report(seed)
        self.hub = InProcessHub(folder / "hub.db", seed=seed, settings=Settings(name="sim", silence_s=SILENCE_S))
        self.jobs: list[tuple[bytes, bool]] = []
        """(job, whether every final answer of it must be right)"""
        honest = [ScriptedNode(self.hub, f"honest-{i}", behaviour=_square) for i in range(3)]
        anchor = ScriptedNode(self.hub, "anchor", behaviour=_square, anchor=True)
        own = ScriptedNode(self.hub, "own", behaviour=_square, owner=self.hub.operator.key)
        liars = [ScriptedNode(self.hub, f"liar-{i}", behaviour=self._liar(i)) for i in range(2)]
        crasher = ScriptedNode(self.hub, "crasher", behaviour=self._crasher)
        self.nodes = [*honest, anchor, own, *liars, crasher, *self._rare_kinds()]
        self.verifiers: Sequence[Verifier] = VERIFIERS
        if self.random.random() < 0.3:
            self.nodes += [ScriptedNode(self.hub, f"liar-of-a-pair-{i}", behaviour=_same_lie) for i in range(2)]
            self.verifiers = AGAINST_PAIRS
        for node in self.nodes:
            node.core_ms = self.random.choice((1, 80, 100, 5_000, 10**12))
        self._past: list[tuple[SigningKey, Exchange]] = []
        self._listen()

    def _rare_kinds(self) -> list[ScriptedNode]:
        kinds = [
            ScriptedNode(self.hub, "liar-who-insists", behaviour=lambda v, _: -7 if v % 3 == 0 else v * v),
            Mute(self.hub, "mute"),
            Shy(self.hub, "shy"),
            Forger(self.hub, "forger"),
            ScriptedNode(self.hub, "odd", numeric=ODD_CLASS),
        ]
        return [node for node in kinds if self.random.random() < 0.4]

    def _listen(self) -> None:
        """Keep some of the exchanges, to be replayed."""
        exchange = self.hub.exchange

        def listening(key: SigningKey, request: Exchange) -> Exchanged:
            if request.receipts:
                self._past = [*self._past, (key, request)][-MAX_REMEMBERED_EXCHANGES:]
            return exchange(key, request)

        self.hub.exchange = listening  # type: ignore[method-assign]

    def _liar(self, number: int) -> Callable[[Any, Any], Any]:
        def lie(value: Any, item: Any) -> Any:
            return -1 - number if self.random.random() < 0.3 else _square(value, item)

        return lie

    def _crasher(self, value: Any, item: Any) -> Any:
        if self.random.random() < 0.1:
            raise Killed("crashed: exit status 1")
        return _square(value, item)

    def run(self, steps: int) -> Report:
        """Faults for `steps` steps, then peace; checks everything. Raises AssertionError with the seed."""
        self._submit()
        for _ in range(steps):
            self.report.steps += 1
            self._step()
        self._come_to_rest()
        self._check()
        return self.report

    def _step(self) -> None:
        choice = self.random.random()
        if choice < 0.04:
            self._submit()
        elif choice < 0.05 and self.jobs:
            self._guarded(lambda: self.hub.operator.cancel(self.random.choice(self.jobs)[0]))
        elif choice < 0.07:
            self._crash()
        elif choice < 0.10:
            self._restart_one()
        elif choice < 0.15:
            self.hub.clock.advance(self.random.expovariate(1 / 8))
            self._guarded(self.hub.engine.tick)
        elif choice < 0.17:
            self.hub.clock.jump(self.random.uniform(-1e6, 1e6))
        elif choice < 0.19 and self._past:
            key, request = self.random.choice(self._past)
            self._guarded(lambda: self.hub.exchange(key, request))
        elif choice < 0.20:
            self._flood(self.random.choice(self.nodes))
        elif choice < 0.21:
            assert_laws(self.hub)
        else:
            self._work(self.random.choice(self.nodes))

    def _submit(self) -> None:
        verifier = self.random.choice(self.verifiers)
        count = self.random.randrange(1, 30)
        job = self.hub.random.randbytes(16)
        offset = self.random.randrange(3)  # now and then the same actions as another job's
        self._guarded(lambda: self.hub.operator.submit(range(offset, offset + count), verifier=verifier, job=job, seed=count % 2))
        if self.hub.rows("SELECT 1 FROM jobs WHERE id = ?", job):
            self.jobs.append((job, not isinstance(verifier, Trust)))

    def _work(self, node: ScriptedNode) -> None:
        if self.random.random() < 0.08:
            node.lose_reply = True
            self.report.replies_lost += 1
        if self.random.random() < 0.6:
            node.do_all()
        self._guarded(lambda: node.talk(self.random.randrange(6)))

    def _flood(self, node: ScriptedNode) -> None:
        many = tuple(range(MAX_LEASES_NAMED + 1))
        floods = ({"handed_back": many}, {"leases": many}, {"want": -1}, {"channel": 2**60}, {"jobs": (b"",)})
        bare = Exchange(node.boot, node.description, None, (), (), (), 2**60, 0.0)
        for flood in floods:
            try:
                self.hub.exchange(node.key, msgspec.structs.replace(bare, **flood))
            except TalkootError:
                continue
            raise AssertionError(f"seed {self.report.seed}: {next(iter(flood))} was let in")

    def _restart_one(self) -> None:
        self.random.choice(self.nodes).restart()
        self.report.node_restarts += 1

    def _crash(self) -> None:
        self.hub.crash()
        self.report.hub_crashes += 1

    def _guarded(self, action: Callable[[], object]) -> None:
        """Do it, killing the hub in the middle of it now and then: after some number of steps of SQLite's machine."""
        if self.random.random() < 0.05:
            steps = int(self.random.expovariate(1 / 2000)) + 1
            self.hub.engine.db.set_progress_handler(lambda: 1, steps)
        try:
            action()
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
            self._crash()
        except TalkootError:
            pass  # refused, as it may be: a cancelled job takes no tasks, a convicted node gets none
        else:
            self.hub.engine.db.set_progress_handler(None, 0)

    def _come_to_rest(self) -> None:
        self.hub.engine.db.set_progress_handler(None, 0)
        for _ in range(MAX_ROUNDS_TO_REST):
            self.hub.clock.advance(SILENCE_S / 4)
            for node in self.nodes:
                node.do_all()
                self._guarded_by_nobody(lambda: node.talk(8))  # noqa: B023 - called at once
            self.hub.engine.tick()
            if not any(node.held for node in self.nodes if not isinstance(node, Mute)) and not self._unsettled():
                return
        stuck = self.hub.rows(
            "SELECT job, idx, state, executions, reason FROM tasks WHERE state NOT IN ('final', 'failed', 'cancelled')"
        )
        raise AssertionError(f"seed {self.report.seed}: the network does not come to rest: {stuck[:5]}")

    def _guarded_by_nobody(self, action: Callable[[], object]) -> None:
        with contextlib.suppress(TalkootError):
            action()

    def _unsettled(self) -> int:
        marks = ", ".join(f"'{state.value}'" for state in SETTLED_TASKS)
        count: int = self.hub.rows(f"SELECT count(*) FROM tasks WHERE state NOT IN ({marks})")[0][0]  # noqa: S608
        return count

    def _check(self) -> None:
        for job, checked in self.jobs:
            values = self.hub.rows(
                "SELECT idx, tasks.state FROM tasks JOIN jobs ON jobs.no = tasks.job WHERE jobs.id = ? ORDER BY idx", job
            )
            answers = self.hub.operator.answers(job)
            arguments = self.hub.operator.arguments(job)
            for index, state in values:
                if state == "final" and checked:
                    wanted = _square(arguments[index], None)
                    assert answers[index][1] == wanted, f"seed {self.report.seed}: task {index} is {answers[index]}"
        assert_laws(self.hub)
        self.report.states = dict(self.hub.rows("SELECT state, count(*) FROM tasks GROUP BY state"))
        self.report.tasks = sum(self.report.states.values())
        self.report.attempts = self.hub.rows("SELECT count(*) FROM attempts")[0][0]
        self.report.convictions = self.hub.rows("SELECT count(*) FROM convictions")[0][0]
        convicted = {name for (name,) in self.hub.rows("SELECT name FROM nodes WHERE state = 'convicted'")}
        innocent = {name for name in convicted if not name.startswith("liar")}
        assert not innocent, f"seed {self.report.seed}: honest nodes convicted: {innocent}"


def _square(value: Any, _: Any) -> Any:
    return value * value


def _same_lie(value: Any, _: Any) -> Any:
    return -100 - value if value % 2 else value * value


class Mute(ScriptedNode):
    """Polls, takes work, and never answers."""

    def do_all(self) -> None:
        """Nothing."""


class Shy(ScriptedNode):
    """Takes all it can get, and gives it back."""

    def do_all(self) -> None:
        """Give back what it holds."""
        attempts = tuple(item.attempt for _, item in self.held)
        self.held.clear()
        with contextlib.suppress(TalkootError):
            self.talk(handed_back=attempts)


class Forger(ScriptedNode):
    """States in its receipts a class that it did not describe."""

    def do_all(self) -> None:
        """All it holds, for another machine."""
        described = self.description
        self.description = msgspec.structs.replace(described, numeric_class=ODD_CLASS)
        super().do_all()
        self.description = described


def simulate(seed: int, steps: int = 300) -> Report:
    """One run in a temporary folder. Raises AssertionError, with the seed in its words, when a law is broken."""
    with tempfile.TemporaryDirectory() as folder:
        network = Network(seed, Path(folder))
        try:
            return network.run(steps)
        finally:
            network.hub.engine.close()


if __name__ == "__main__":
    print(simulate(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300))
