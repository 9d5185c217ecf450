"""What a node holds and what it should do next: a state machine without I/O, clocks or threads.

Events in, instructions out. An attempt is in one place at a time: queued, running, done (its receipt waits for the
hub's word), handed back (the same), or forgotten. Nothing here decides what is true of a task; it only sees that
every attempt that was leased ends in exactly one receipt or hand-back, or was cancelled by the hub.
"""

from dataclasses import dataclass
from typing import Any, Final

from talkoot.core import limits
from talkoot.core.types import KillReason
from talkoot.node.backlog import Backlog
from talkoot.node.signals import (
    Draft,
    Empty,
    Ended,
    Event,
    Instruction,
    JobRefused,
    Kill,
    Lost,
    Refuse,
    Rejected,
    Replied,
    Report,
    Start,
    Stopped,
    Talk,
    Ticked,
    WentUnanswered,
    Work,
)

REPORT: Final = "report"
"""The one channel that carries receipts and hand-backs. All others are polls."""

HELD_S: Final = 1.25
"""Work held for each slot, in seconds by the moving average: enough to bridge a slow exchange."""
MOST_HELD_S: Final = 5.0
"""Where what waits would take each slot longer than this, what is beyond HELD_S goes back to the hub."""
MAX_UNACKNOWLEDGED: Final = 4 * limits.MAX_RECEIPTS_PER_EXCHANGE
MAX_UNACKNOWLEDGED_BYTES: Final = 64 * limits.MIB
"""Beyond either, a node takes no more work until the hub has taken receipts."""
MAX_WAITING_BYTES_PER_SLOT: Final = limits.MAX_INPUT_BYTES_PER_TASK + limits.MAX_ARGUMENTS_BYTES
"""What a hub gives beyond this, or beyond MAX_ATTEMPTS_PER_NODE attempts, goes back at once: nobody asked for it."""
MAX_ANSWER_BYTES_PER_EXCHANGE: Final = 16 * limits.MIB
_SHORTEST_S: Final = 1e-4
_WEIGHT: Final = 0.2
_MAX_EARLY_CANCELS: Final = 4_096
_MAX_SEEN_LEASES: Final = 16_384
_MAX_KNOWN_JOBS: Final = 256


@dataclass(slots=True)
class _Running:
    work: Work
    slots: tuple[int, ...]
    since: float
    cancelled: bool = False


class State:
    """The node's side of the protocol, for one hub."""

    def __init__(self, slots: int) -> None:
        assert slots > 0
        self.slots = slots
        self.stopping = False
        self.queue = Backlog()
        self.running: dict[int, _Running] = {}
        self.refusing: set[int] = set()
        """Taken out of the queue; their receipts of refusal are being made."""
        self.done: dict[int, Report] = {}
        self.handed_back: set[int] = set()
        self._idle = set(range(slots))
        self._asked: dict[str, int] = {}
        """What the exchanges that are out want, by channel."""
        self._early_cancels: dict[int, None] = {}
        self._leases: dict[int, int] = {}
        """Attempt -> lease, of all that is held."""
        self._seen_leases: dict[int, None] = {}
        self._done_bytes = 0
        self._usual_s: float | None = None
        self._job_s: dict[bytes, float] = {}

    # What it holds.

    def held(self) -> tuple[int, ...]:
        """Every attempt that the node answers for."""
        queued = (work.attempt for work in self.queue)
        return (*queued, *self.running, *self.refusing, *self.done, *self.handed_back)

    def leases(self) -> tuple[int, ...]:
        """The leases of what it holds."""
        return tuple(sorted(set(self._leases.values())))

    def jobs(self) -> frozenset[bytes]:
        """The jobs of what waits or runs."""
        return frozenset(self.queue.counts()) | {running.work.job for running in self.running.values()}

    def check(self) -> None:
        """What must hold after every event; for tests."""
        held = self.held()
        assert len(held) == len(set(held)), "an attempt is in one place"
        assert self._leases.keys() == set(held)
        busy = [slot for running in self.running.values() for slot in running.slots]
        assert len(busy) == len(set(busy))
        assert self._idle.isdisjoint(busy)
        assert len(busy) + len(self._idle) == self.slots
        assert self.queue.cpus == sum(work.cpus for work in self.queue)
        assert self._done_bytes == sum(report.size_bytes for report in self.done.values())
        assert not self.queue or max(work.cpus for work in self.queue) > len(self._idle), "nothing waits beside free slots"
        assert not (self.stopping and self.queue)

    # Events.

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take in what happened at `now` (monotonic seconds); returns what to do, in this order."""
        out: list[Instruction] = []
        match event:
            case Replied():
                self._replied(event, out)
            case WentUnanswered(channel):
                self._asked.pop(channel, None)
            case Ended(attempt, report, took_s):
                self._ended(attempt, report, took_s)
            case Rejected(attempt):
                self._reject(attempt, out)
            case JobRefused():
                self._refuse(event, out)
            case Lost():
                self._forget(frozenset(work.attempt for work in self.queue))
            case Ticked():
                self._hand_back_excess(now)
            case Stopped():
                self._stop(out)
        self._dispatch(now, out)
        if self.report_due() or self.poll_due():
            out.append(Talk())
        return out

    def _replied(self, reply: Replied, out: list[Instruction]) -> None:
        self._asked.pop(reply.channel, None)
        for attempt in reply.accepted:
            if attempt in self.handed_back:
                self.handed_back.discard(attempt)
                self._leases.pop(attempt, None)
            self._drop_done(attempt)
        new = self._new(reply.leased)
        room_bytes = (self.slots + 1) * MAX_WAITING_BYTES_PER_SLOT - sum(w.size_bytes for w in self.queue) if new else 0
        for work in new:
            if len(self._leases) >= 2 * limits.MAX_ATTEMPTS_PER_NODE:
                break  # a hub that goes on like this is told nothing: the leases run out
            room_bytes -= work.size_bytes
            self._leases[work.attempt] = work.lease
            if self.stopping or room_bytes < 0 or len(self._leases) > limits.MAX_ATTEMPTS_PER_NODE:
                self.handed_back.add(work.attempt)
            else:
                self.queue.add(work)
        self._cancel(frozenset(reply.cancels), out)

    def _new(self, leased: tuple[Work, ...]) -> list[Work]:
        """What of it was not leased before: a lease comes twice when the hub could not know that it arrived."""
        fresh = {work.lease for work in leased} - self._seen_leases.keys()
        self._seen_leases |= dict.fromkeys(sorted(fresh))
        _shorten(self._seen_leases, _MAX_SEEN_LEASES)
        # An attempt is in one place here, whatever the hub says: of two with one number the first counts.
        works = {work.attempt: work for work in reversed(leased) if work.lease in fresh and work.attempt not in self._leases}
        return [work for work in reversed(works.values()) if self._early_cancels.pop(work.attempt, 0) is not None]

    def _cancel(self, attempts: frozenset[int], out: list[Instruction]) -> None:
        if not attempts:
            return
        gone = self._forget(attempts)
        for attempt in attempts - gone:
            running = self.running.get(attempt)
            if running is not None:
                self._kill(running, out)
            elif attempt not in self.done and attempt not in self.handed_back:
                # Replies of two channels can overtake each other: the lease may still be on its way.
                self._early_cancels[attempt] = None
        _shorten(self._early_cancels, _MAX_EARLY_CANCELS)

    def _kill(self, running: _Running, out: list[Instruction]) -> None:
        if not running.cancelled:
            running.cancelled = True
            out.append(Kill(running.slots[0], running.work.attempt))

    def _ended(self, attempt: int, report: Report | None, took_s: float) -> None:
        running = self.running.pop(attempt, None)
        if running is None:
            assert attempt in self.refusing, f"attempt {attempt} ended and was not running"
            self.refusing.discard(attempt)
        else:
            self._idle.update(running.slots)
            if took_s > 0 and not running.cancelled:
                self._learn(running.work.job, took_s)
        unwanted = running is not None and running.cancelled and not self.stopping
        if unwanted:
            self._leases.pop(attempt, None)
            return
        if report is None:
            self.handed_back.add(attempt)
        else:
            self.done[attempt] = report
            self._done_bytes += report.size_bytes

    def _learn(self, job: bytes, took_s: float) -> None:
        took_s = max(took_s, _SHORTEST_S)
        known = self._job_s.pop(job, took_s)
        self._job_s[job] = known + _WEIGHT * (took_s - known)
        usual = took_s if self._usual_s is None else self._usual_s
        self._usual_s = usual + _WEIGHT * (took_s - usual)
        _shorten(self._job_s, _MAX_KNOWN_JOBS)

    def _reject(self, attempt: int, out: list[Instruction]) -> None:
        report = self.done.pop(attempt, None)
        if report is None:
            return
        self._done_bytes -= report.size_bytes
        if report.work is None:
            self.handed_back.add(attempt)
        else:
            self.refusing.add(attempt)
            out.append(Refuse((report.work,), f"{KillReason.SANDBOX}: the hub does not take this node's receipt"))

    def _drop_done(self, attempt: int) -> None:
        report = self.done.pop(attempt, None)
        if report is not None:
            self._done_bytes -= report.size_bytes
            self._leases.pop(attempt, None)

    def _refuse(self, refused: JobRefused, out: list[Instruction]) -> None:
        works = self.queue.take({work.attempt for work in self.queue if work.job == refused.job})
        if refused.again:
            self.handed_back.update(work.attempt for work in works)
        elif works:
            self.refusing.update(work.attempt for work in works)
            out.append(Refuse(tuple(works), refused.reason))

    def _stop(self, out: list[Instruction]) -> None:
        self.stopping = True
        works = self.queue.take([work.attempt for work in self.queue])
        self.handed_back.update(work.attempt for work in works)
        for running in self.running.values():
            self._kill(running, out)

    def _forget(self, attempts: frozenset[int]) -> frozenset[int]:
        """Let go of those of them that wait; gives these."""
        gone = frozenset(work.attempt for work in self.queue.take(attempts))
        for attempt in gone:
            self._leases.pop(attempt, None)
        return gone

    def _dispatch(self, now: float, out: list[Instruction]) -> None:
        while self.queue and (found := self.queue.next(self._idle, now)) is not None:
            slot, work = found
            slots = (slot, *sorted(self._idle - {slot})[: work.cpus - 1])
            self._idle.difference_update(slots)
            out += [Empty(other) for other in slots[1:]]
            self.running[work.attempt] = _Running(work, slots, now)
            out.append(Start(slot, work))

    # How much is wanted.

    def _estimate_s(self, job: bytes, now: float | None = None) -> float:
        """Seconds that a task of the job takes; of a job not yet known, at least as long as it has been running."""
        known = self._job_s.get(job)
        if known is not None:
            return known
        usual = self._usual_s or 0.0
        if now is None:
            return usual
        running = (now - r.since for r in self.running.values() if r.work.job == job)
        return max(usual, *running, 0.0)

    def _hand_back_excess(self, now: float) -> None:
        waiting_s = {job: self._estimate_s(job, now) for job in self.queue.counts()}
        total_s = sum(waiting_s[work.job] * work.cpus for work in self.queue)
        if total_s <= MOST_HELD_S * self.slots:
            return
        excess = []
        for work in reversed(list(self.queue)):
            if total_s <= HELD_S * self.slots:
                break
            total_s -= waiting_s[work.job] * work.cpus
            excess.append(work.attempt)
        self.handed_back.update(work.attempt for work in self.queue.take(excess))

    def free(self) -> int:
        """How many attempts (of one CPU) it could take beyond what it holds and what it has asked for."""
        if self.stopping or len(self.done) > MAX_UNACKNOWLEDGED or self._done_bytes > MAX_UNACKNOWLEDGED_BYTES:
            return 0
        asked = sum(self._asked.values())
        held = self.queue.cpus + self.slots - len(self._idle)
        bare = max(0, self.slots - held - asked)
        if self._usual_s is None:
            return bare
        held_s = sum(count * self._estimate_s(job) for job, count in self.queue.counts().items())
        held_s += sum(min(HELD_S, self._estimate_s(r.work.job)) * len(r.slots) for r in self.running.values())
        more = int((HELD_S * self.slots - held_s) / self._usual_s) - asked
        most = min(limits.MAX_ATTEMPTS_PER_EXCHANGE, self.slots * limits.MAX_ATTEMPTS_PER_LEASE - held - asked)
        return max(bare, min(more, most), 0)

    # The channels.

    def report_due(self) -> bool:
        """Whether there are receipts or hand-backs to send, and the channel for them is free."""
        return REPORT not in self._asked and bool(self.done or self.handed_back)

    def poll_due(self) -> bool:
        """Whether a poll is to be parked: there is none, or the one there is was made when less was free."""
        polls = self._polls()
        if self.stopping or not polls:
            return not self.stopping
        # A report that is out, or due, asks for what is free itself.
        return polls == 1 and REPORT not in self._asked and self._worth_another()

    def _polls(self) -> int:
        return sum(channel != REPORT for channel in self._asked)

    def _worth_another(self) -> bool:
        return not self.done and not self.handed_back and self.free() > 0

    def draft_report(self, most: int = limits.MAX_RECEIPTS_PER_EXCHANGE) -> Draft:
        """What the report channel sends now: at most `most` receipts, oldest first."""
        assert REPORT not in self._asked
        reports: list[Report] = []
        size = 0
        for report in self.done.values():
            size += report.size_bytes
            if len(reports) >= most or (reports and size > MAX_ANSWER_BYTES_PER_EXCHANGE):
                break
            reports.append(report)
        want = self._asked[REPORT] = self.free()
        return Draft(want, tuple(reports), tuple(sorted(self.handed_back)[: limits.MAX_ATTEMPTS_PER_EXCHANGE]))

    def draft_poll(self, channel: str) -> Draft:
        """What a poll offers now. The hub answers a poll that is parked already when this one comes."""
        assert channel not in self._asked
        for older in self._asked.keys() - {REPORT}:
            self._asked[older] = 0
        want = self._asked[channel] = self.free()
        return Draft(want)


def _shorten(known: dict[Any, Any], most: int) -> None:
    """Forget what was put in first."""
    while len(known) > most:
        del known[next(iter(known))]
