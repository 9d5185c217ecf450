"""A hub's anchor found an answer wrong: what happens to its contributor, and to all that hung on its word."""

from functools import partial
from typing import Final

import msgspec

from talkoot.core import events as ev
from talkoot.core import pricing
from talkoot.core.lifecycle import AttemptEvent, LeaseEvent, TaskEvent, TaskState
from talkoot.core.types import Receipt, Rung
from talkoot.hub.commands import presence, settle
from talkoot.hub.tx import TREASURY, Tx

_COMPARED: Final = 50
"""Runs of one node on one task, of other bits, that are compared before a conviction."""


def carry_out(tx: Tx) -> None:
    """Convict those whom the verdicts of this command proved wrong; a conviction may lead to further verdicts."""
    while tx.suspects:
        convict(tx, *tx.suspects.pop(0))


def convict(tx: Tx, job: int, index: int, attempt: int, referee: int) -> None:
    """A hub's anchor found an answer wrong: the contributor gets no more work, and nothing of it stands unchecked."""
    node, value, receipt = tx.one("SELECT node, value, receipt FROM attempts WHERE id = ?", attempt)
    judge_node, right, receipt_right, name, anchor = tx.one(
        "SELECT attempts.node, value, receipt, nodes.name, anchor FROM attempts JOIN nodes ON nodes.no = node WHERE id = ?",
        referee,
    )
    # As they were then, not as they are now. The rung counts: a task may see that a sandbox gives or refuses something.
    class_wrong, class_right = _surroundings(receipt), _surroundings(receipt_right)
    (state,) = tx.one("SELECT state FROM nodes WHERE no = ?", node)
    if not anchor or class_wrong != class_right or node == judge_node or state == "convicted":
        return
    if not _is_steady(tx, job, node):
        return
    agree = tx.one("SELECT count(DISTINCT owner) FROM attempts WHERE job = ? AND idx = ? AND value = ?", job, index, right)
    words = (
        f"task {index} of {tx.job_text(job)}: it answered {value.hex()[:12]}, and anchor {name}, run afresh in the same"
        f" numeric class and sandbox, {right.hex()[:12]}, as did {agree[0]} owner{'s' if agree[0] != 1 else ''} in all"
    )
    tx.emit(ev.Convicted(node, job, index, attempt, referee, words))
    provisional = tx.all("SELECT id, job, idx FROM attempts WHERE node = ? AND state = 'answered'", node)
    for wrong, its_job, its_index in provisional:
        _forfeit(tx, wrong, its_job, its_index)
        tx.emit(ev.AttemptMoved(wrong, AttemptEvent.REJECTED, "its node was convicted"))
    presence.depart(tx, node, "convicted", LeaseEvent.CANCELLED)
    for its_job, its_index in dict.fromkeys((j, i) for _, j, i in provisional):
        _reopen(tx, its_job, its_index, f"its contributor was convicted in task {index}")


def _surroundings(receipt: bytes) -> tuple[bytes, Rung]:
    stated = msgspec.msgpack.decode(receipt, type=Receipt)
    return stated.numeric_class, stated.rung


def _is_steady(tx: Tx, job: int, accused: int) -> bool:
    """Whether no other owner's node has differed from itself in the job: the program would be at fault, not a node.

    The accused's own runs do not count here, or it could make itself safe by wavering once.
    """
    same = partial(settle.same_answer, tx, tx.manifest(job))
    pairs = tx.all(
        "SELECT first.id, later.id FROM attempts later JOIN attempts first ON first.job = later.job"
        " AND first.idx = later.idx AND first.node = later.node AND first.id < later.id AND first.value <> later.value"
        " WHERE later.job = ? AND later.purpose IN ('rerun', 'referee') AND first.value <> x'' AND later.value <> x''"
        " AND later.owner <> (SELECT owner FROM nodes WHERE no = ?) LIMIT ?",
        job,
        accused,
        _COMPARED,
    )
    return all(same(first, later) for first, later in pairs)


def _forfeit(tx: Tx, attempt: int, job: int, index: int) -> None:
    # What it was owed goes to the treasury, never to the submitter, who could otherwise gain by framing it.
    price, cap, escrow = tx.one("SELECT price, cap, account FROM jobs WHERE no = ?", job)
    core_ms, reserved = tx.one("SELECT core_ms, reserved FROM attempts WHERE id = ?", attempt)
    amount = min(pricing.payment(price, [core_ms], cap), reserved)
    if amount:
        tx.emit(ev.Transferred(escrow, TREASURY, amount, "forfeit", job, index))


def _reopen(tx: Tx, job: int, index: int, reason: str) -> None:
    (state,) = tx.one("SELECT state FROM tasks WHERE job = ? AND idx = ?", job, index)
    if state in (TaskState.PROVISIONAL, TaskState.DISPUTED):
        tx.emit(ev.Unwanted(job, index))
        tx.emit(ev.TaskMoved(job, index, TaskEvent.REOPENED, reason))
    settle.consider(tx, job, index)
