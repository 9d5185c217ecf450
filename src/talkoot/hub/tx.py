"""One command at work: what it may see and how it makes things happen.

A command is a function of a `Tx`. It looks at the tables, decides, and says what happened with `emit`; each event
is applied at once, so that the next decision of the same command sees it. When the command returns, its events
become one entry of the log, in the same transaction; when it raises, nothing of it remains.
"""

import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from talkoot.core import ids, limits, pricing
from talkoot.core.events import Event
from talkoot.core.ids import PublicKey
from talkoot.hub.fold import Fold

TREASURY: Final = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator of a hub may set."""

    name: str = "hub"
    price_microcredits: int = pricing.DEFAULT_PRICE_MICROCREDITS
    grant_microcredits: int = pricing.DEFAULT_GRANT_MICROCREDITS
    silence_s: float = limits.DEFAULT_SILENCE_S


@dataclass(slots=True)
class Memory:
    """What the hub knows only while it runs. Losing it costs patience, never correctness."""

    seen: dict[int, float] = field(default_factory=dict)
    """Node -> monotonic time of its last exchange."""
    granted: dict[int, float] = field(default_factory=dict)
    """Attempt -> monotonic time of its lease."""
    channels: dict[int, int] = field(default_factory=dict)
    """Lease -> channel of the exchange it was granted on."""
    durations: dict[int, float] = field(default_factory=dict)
    """Job -> moving average of seconds from lease to answer."""
    cancels: dict[int, set[int]] = field(default_factory=dict)
    """Node -> attempts it should stop."""
    served: dict[int, int] = field(default_factory=dict)
    """Job -> when a lease of it was last granted, as a count."""
    turns: int = 0
    """The newest of these counts."""
    overdue: set[tuple[int, int]] = field(default_factory=set)
    """(node, job): the node let attempts of the job lie; it gets no more of it in this boot."""
    unheard: dict[tuple[int, int], set[int]] = field(default_factory=dict)
    """Disputed task -> nodes that were to run it again and did not (0: other owners, who did not take it)."""
    waited: dict[tuple[int, int, int], float] = field(default_factory=dict)
    """(job, index, node): since when a disputed task waits in the queue for this node (0: for anybody)."""
    next_overdue_check: float = 0.0
    returned: dict[tuple[int, int, int], tuple[int, float]] = field(default_factory=dict)
    """(job, index, owner): how often it let the task go without an answer, and until when others come first."""
    newcomers: bool = False
    """A node has come since the disputed tasks began to be looked at again."""
    reconsidered: tuple[int, int] | None = None
    """The last disputed task that was looked at again after a newcomer; None when all were."""

    def note_return(self, job: int, index: int, owner: int, now: float) -> None:
        """An attempt ended without an answer. Who does that again and again would keep the task from everybody else."""
        times, _ = self.returned.get((job, index, owner), (0, now))
        repeated = times - limits.FREE_RETURNS
        pause_s = min(2.0 ** min(repeated, 20), limits.MAX_PAUSE_AFTER_RETURN_S) if repeated >= 0 else 0.0
        self.returned[job, index, owner] = (times + 1, now + pause_s)

    def forget_returns(self, now: float) -> None:
        """Drop those whose pause was over long ago."""
        self.returned = {
            key: (times, until) for key, (times, until) in self.returned.items() if now - until < limits.MAX_PAUSE_AFTER_RETURN_S
        }

    def forget_settled(self, attempts: set[int], leases: set[int], jobs: set[int], disputed: set[tuple[int, int]]) -> None:
        """Drop what is about none of these, which are all that are live."""
        self.granted = {a: t for a, t in self.granted.items() if a in attempts}
        self.channels = {lease: c for lease, c in self.channels.items() if lease in leases}
        self.durations = {j: d for j, d in self.durations.items() if j in jobs}
        self.served = {j: n for j, n in self.served.items() if j in jobs}
        self.overdue = {(n, j) for n, j in self.overdue if j in jobs}
        self.unheard = {task: nodes for task, nodes in self.unheard.items() if task in disputed}
        self.waited = {(j, i, n): t for (j, i, n), t in self.waited.items() if (j, i) in disputed}


class Tx:
    """The context of one command, inside the writer's transaction."""

    def __init__(
        self,
        db: sqlite3.Connection,
        fold: Fold,
        position: int,
        *,
        hub: PublicKey,
        settings: Settings,
        memory: Memory,
        now_ms: int,
        now: float,
        will: bytes = b"",
    ) -> None:
        self.db = db
        self.position = position
        self.hub = hub
        self.settings = settings
        self.memory = memory
        self.now_ms = now_ms
        """Wall clock, for people and for expiry of tickets only."""
        self.now = now
        """Monotonic clock, for deadlines."""
        self.will = will
        self.events: list[Event] = []
        self.jobs_touched: set[int] = set()
        self.suspects: list[tuple[int, int, int, int]] = []
        """(job, index, attempt, referee's attempt) of answers that a referee's finding proves wrong."""
        self.settled: deque[tuple[int, int]] = deque()
        """Tasks whose settling is still to be passed on to those who wait for them."""
        self.queue_touched = False
        self.after_commit: list[Callable[[], None]] = []
        self._fold = fold
        fold.begin(will)

    def emit(self, event: Event) -> None:
        """It happened: apply it to the tables, and remember it for the log."""
        self._fold.apply(self.position, event)
        self.events.append(event)

    def flush(self) -> None:
        """Make counters and balances visible to the next look at the tables."""
        self._fold.flush()

    def manifest(self, job: int) -> Any:
        """The manifest of a job."""
        return self._fold.manifest(job)

    def memory_key(self, job: int, action: bytes) -> bytes:
        """The key under which an answer to this action is remembered, for tasks of this job."""
        return self._fold.memory_key(job, action)

    def job_text(self, job: int) -> str:
        """How a job is written."""
        return ids.job_text(self.one("SELECT id FROM jobs WHERE no = ?", job)[0])

    def one(self, sql: str, *values: object) -> Any:
        """The first row, or None."""
        return self.db.execute(sql, values).fetchone()

    def all(self, sql: str, *values: object) -> list[Any]:
        """All rows."""
        return self.db.execute(sql, values).fetchall()

    def next_number(self, table: str, column: str = "id") -> int:
        """The next free number of a table. Numbers are never re-used, because rows are never deleted."""
        (last,) = self.db.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchone()  # noqa: S608
        return int(last) + 1
