"""What waits on a node, by job, and whose turn it is in a slot. Pure.

A cell is warm for one job, and a new one takes a tenth of a second: so a slot keeps to a job for a while before it
turns to the next, and no job that waits is passed over for longer than the others' turns.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from talkoot.node.signals import Work

TURN_S: Final = 1.0
"""How long a slot keeps to one job while others wait."""


class Backlog:
    """Attempts that wait. Jobs are in the order in which they come to their turn, attempts in that of their arrival."""

    def __init__(self) -> None:
        self._jobs: dict[bytes, deque[Work]] = {}
        self._turns: dict[int, tuple[bytes, float]] = {}
        """Slot -> its job, and since when."""
        self.cpus = 0
        """Of all that waits."""

    def __iter__(self) -> Iterator[Work]:
        for works in self._jobs.values():
            yield from works

    def __len__(self) -> int:
        return sum(len(works) for works in self._jobs.values())

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def counts(self) -> Mapping[bytes, int]:
        """How many attempts of each job wait."""
        return {job: len(works) for job, works in self._jobs.items()}

    def add(self, work: Work) -> None:
        """One more, behind the others of its job."""
        self._jobs.setdefault(work.job, deque()).append(work)
        self.cpus += work.cpus

    def take(self, attempts: Iterable[int]) -> list[Work]:
        """Remove these attempts, as far as they wait."""
        wanted = frozenset(attempts)
        taken = [work for work in self if work.attempt in wanted]
        for job in dict.fromkeys(work.job for work in taken):
            self._put(job, deque(work for work in self._jobs[job] if work.attempt not in wanted))
        self.cpus -= sum(work.cpus for work in taken)
        return taken

    def next(self, idle: Collection[int], now: float) -> tuple[int, Work] | None:
        """The idle slot and the attempt that starts in it; None where nothing waits, or what is due needs more slots."""
        if not idle or not self._jobs:
            return None
        slot = min(idle, key=lambda slot: (self._job_of(slot) not in self._jobs, slot))
        job = self._due(slot, now)
        if self._jobs[job][0].cpus > len(idle):
            return None  # what needs several slots must see them become free
        works = self._jobs[job]
        work = works.popleft()
        self.cpus -= work.cpus
        if self._job_of(slot) != job:
            self._turns[slot] = (job, now)
            self._jobs[job] = self._jobs.pop(job)
        self._put(job, works)
        return slot, work

    def _job_of(self, slot: int) -> bytes:
        return self._turns.get(slot, (b"", 0.0))[0]

    def _due(self, slot: int, now: float) -> bytes:
        job, since = self._turns.get(slot, (b"", 0.0))
        if job in self._jobs and (len(self._jobs) == 1 or now - since < TURN_S):
            return job
        return next(other for other in self._jobs if other != job)

    def _put(self, job: bytes, works: deque[Work]) -> None:
        if works:
            self._jobs[job] = works
        else:
            self._jobs.pop(job, None)
