"""Where the threads of a node meet: the state machine under one lock, and its instructions carried out.

Nothing that takes time is done here. Channels wait here for something to send; everybody else tells what happened.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from talkoot.core import limits
from talkoot.node.receipts import Clerk
from talkoot.node.signals import Draft, Empty, Ended, Event, Instruction, Kill, Refuse, Start, Stopped, Talk
from talkoot.node.slots import Slot
from talkoot.node.state import State


@dataclass(frozen=True)
class Outgoing:
    """What a channel sends, and what the node knows of at that moment."""

    draft: Draft
    leases: tuple[int, ...]


class Desk:
    """Safe for threads."""

    def __init__(self, state: State, clerk: Clerk, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._clerk = clerk
        self._clock = clock
        self._slots: Sequence[Slot] = ()
        self._changed = threading.Condition(threading.RLock())
        self._closed = False

    def staff(self, slots: Sequence[Slot]) -> None:
        """Called once, before anything is told."""
        self._slots = slots

    def tell(self, event: Event) -> None:
        """Something happened."""
        with self._changed:
            # Carried out under the lock, so that a kill never comes before the start it is for.
            for instruction in self._state.handle(event, self._clock()):
                self._carry_out(instruction)
            if self._state.stopping:
                self._changed.notify_all()

    def next_poll(self, channel: str) -> Outgoing | None:
        """Wait until a poll is due; None when the node is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._state.poll_due())
            return None if self._closed else Outgoing(self._state.draft_poll(channel), self._state.leases())

    def next_report(self, most: int = limits.MAX_RECEIPTS_PER_EXCHANGE) -> Outgoing | None:
        """Wait until there are receipts or hand-backs to send; None when the node is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._state.report_due())
            return None if self._closed else Outgoing(self._state.draft_report(most), self._state.leases())

    def settle(self, timeout_s: float) -> bool:
        """Stop; wait until all that runs has ended and the hub has taken all there is. False when time was up."""
        self.tell(Stopped())
        with self._changed:
            return self._changed.wait_for(lambda: not self._state.held(), timeout_s)

    def close(self) -> None:
        """No channel sends any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case Start(slot, work):
                self._slots[slot].give(work)
            case Empty(slot):
                self._slots[slot].empty()
            case Kill(slot, attempt):
                self._slots[slot].kill(attempt)
            case Refuse(works, reason):
                for work in works:
                    self.tell(Ended(work.attempt, self._clerk.refusal(work, reason), 0.0))
            case Talk():
                self._changed.notify_all()
