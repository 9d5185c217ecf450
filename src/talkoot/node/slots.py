"""The slots of a node: threads that carry out attempts, each with a few warm cells of its own.

A slot never decides what to run. Whatever happens in it ends in one `Ended` event for each attempt it was given, so
that nothing the hub leased is forgotten; an error of our own makes a refusal, and never ends the node.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from talkoot.core import ids
from talkoot.core.errors import NoSandbox, ProgramError, TalkootError
from talkoot.core.types import KillReason, Outcome
from talkoot.node.jobs import Jobs, Later, Ready, Refusal, check_action
from talkoot.node.logs import log
from talkoot.node.receipts import Clerk
from talkoot.node.sandbox import Cell, Run, Sandbox
from talkoot.node.signals import Ended, Event, JobRefused, Work
from talkoot.wire.messages import LeaseItem

MAX_WARM_CELLS: Final = 2
Tamper = Callable[[LeaseItem, Run], Run]
Watch = Callable[[Work, Run | None], None]
"""Told of each task: None when it begins, then what came of it. Called from the slots' threads."""


def _unwatched(_work: Work, _run: Run | None) -> None:
    pass


@dataclass(frozen=True)
class Workshop:
    """What all slots share."""

    sandbox: Sandbox
    jobs: Jobs
    clerk: Clerk
    tell: Callable[[Event], None]
    memory_bytes: int
    """Of one slot."""
    tamper: Tamper
    broken: Callable[[str], None]
    """Told of an error of ours that a node cannot live with."""
    watch: Watch = _unwatched


class _Empty:
    """Keep nothing warm."""


class Slot:
    """One thread, which runs one attempt at a time."""

    def __init__(self, number: int, shop: Workshop) -> None:
        self._shop = shop
        self._orders: queue.SimpleQueue[Work | _Empty | None] = queue.SimpleQueue()
        self._warm: dict[bytes, tuple[Ready, Cell]] = {}
        """By job, the least recently used first. With what it is warm for: who runs a hub can have another submitter
        sign a manifest for the same job, once this node has forgotten the first."""
        self._lock = threading.Lock()
        self._current: tuple[int, Cell | None] = (0, None)
        self._cancelled: set[int] = set()
        self._thread = threading.Thread(target=self._serve, name=f"talkoot-slot-{number}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def give(self, work: Work) -> None:
        """Run this next."""
        self._orders.put(work)

    def empty(self) -> None:
        """Close the warm cells."""
        self._orders.put(_Empty())

    def kill(self, attempt: int) -> None:
        """End an attempt that it was given, whether it runs or not yet. Does not wait."""
        with self._lock:
            self._cancelled.add(attempt)
            current, cell = self._current
        if current == attempt and cell is not None:
            cell.kill("the hub does not want it any more, or the node leaves")

    def close(self, timeout_s: float) -> None:
        """End the thread, once it has done what it was given."""
        self._orders.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            if isinstance(order, _Empty):
                self._keep_at_most(0)
            else:
                self._carry_out_safely(order)
        self._keep_at_most(0)

    def _carry_out_safely(self, work: Work) -> None:
        try:
            self._carry_out(work)
        except Exception as error:
            log.exception("a slot failed", attempt=work.attempt)
            self._shop.broken(f"an error of the node itself in a slot: {type(error).__name__}")
            raise

    def _carry_out(self, work: Work) -> None:
        with self._lock:
            cancelled = work.attempt in self._cancelled
        ended = Ended(work.attempt, None, 0.0) if cancelled else self._attempted(work)
        with self._lock:
            self._current = (0, None)
        self._shop.tell(ended)  # no kill of it comes after this
        with self._lock:
            self._cancelled.discard(work.attempt)

    def _attempted(self, work: Work) -> Ended:
        try:
            ready = self._shop.jobs.ready(work.job)
            check_action(ready.manifest, work.item)
            return self._run(work, ready)
        except Later as later:
            log.info("tasks handed back", job=ids.job_text(work.job), reason=str(later))
            self._shop.tell(JobRefused(work.job, again=True))
            return Ended(work.attempt, None, 0.0)
        except Refusal as refusal:
            if not refusal.of_one_task:
                self._shop.jobs.refuse(work.job, refusal)
                self._shop.tell(JobRefused(work.job, refusal.reason))
            return self._refused(work, refusal.reason)
        except TalkootError as error:
            return self._refused(work, f"{KillReason.SANDBOX}: {error.message}")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here, the node lives on and the hub is told
            log.exception("an error of the node itself", attempt=work.attempt)
            return self._refused(work, f"{KillReason.SANDBOX}: an error of the node itself: {type(error).__name__}")

    def _refused(self, work: Work, reason: str) -> Ended:
        log.warning("task refused", job=ids.job_text(work.job), index=work.item.index, reason=reason)
        return Ended(work.attempt, self._shop.clerk.refusal(work, reason), 0.0)

    def _run(self, work: Work, ready: Ready, *, again: bool = True) -> Ended:
        alone = work.item.fresh or ready.alone
        cell = self._cell(work, ready, alone=alone)
        if not self._hold(work.attempt, cell):
            return Ended(work.attempt, None, 0.0)
        manifest, item = ready.manifest, work.item
        self._shop.watch(work, None)
        started = time.monotonic()
        try:
            seed = ids.item_seed(manifest.seed, item.position)
            run = cell.run(item.arguments, seed, time_s=manifest.task_limits.time_s, inputs=item.inputs)
        except NoSandbox:
            if self._is_cancelled(work.attempt):
                return Ended(work.attempt, None, 0.0)
            if not again:
                raise
            return self._run(work, ready, again=False)  # a warm cell can end between two tasks
        finally:
            took_s = time.monotonic() - started
            if alone or not cell.alive:
                self._warm.pop(work.job, None)
                cell.close()
        if run.outcome is Outcome.KILLED and self._is_cancelled(work.attempt):
            return Ended(work.attempt, None, took_s)
        self._shop.watch(work, run)
        run = self._shop.tamper(item, run)
        report = self._shop.clerk.report(work, run, rung=cell.rung, fresh=alone, enforced=cell.enforced)
        return Ended(work.attempt, report, took_s)

    def _hold(self, attempt: int, cell: Cell) -> bool:
        """From here on `kill` finds the cell; False where it came before."""
        with self._lock:
            self._current = (attempt, cell)
            return attempt not in self._cancelled

    def _is_cancelled(self, attempt: int) -> bool:
        with self._lock:
            return attempt in self._cancelled

    def _cell(self, work: Work, ready: Ready, *, alone: bool) -> Cell:
        """A cell with the program in it."""
        made_for, warm = (None, None) if alone else self._warm.pop(work.job, (None, None))
        if warm is not None:
            if warm.alive and made_for is ready:
                self._warm[work.job] = ready, warm
                return warm
            warm.close()
        # All cells of a slot together stay within its share.
        asked = ready.manifest.task_limits.memory_bytes
        share = self._shop.memory_bytes * work.cpus
        self._keep_at_most(min(MAX_WARM_CELLS - 1, max(0, share // asked - 1)))
        cell = self._shop.sandbox.open(ready.spec, rung=ready.rung)
        try:
            cell.load(ready.carrier)
        except ProgramError as error:
            cell.close()
            raise Refusal(KillReason.ENVIRONMENT, error.message) from None
        except BaseException:
            cell.close()
            raise
        if not alone:
            self._warm[work.job] = ready, cell
        return cell

    def _keep_at_most(self, most: int) -> None:
        while len(self._warm) > most:
            self._warm.pop(next(iter(self._warm)))[1].close()
