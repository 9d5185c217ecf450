"""The one call of a node: receipts in, leases out, in one command and one entry of the log."""

import hashlib

from talkoot.core import codec, ids, limits
from talkoot.core import events as ev
from talkoot.core.errors import BadInput, BadSignature, TooLarge
from talkoot.core.lifecycle import SETTLED_TASKS, AttemptEvent, AttemptState, TaskState
from talkoot.core.types import NodeDescription, Outcome, Receipt
from talkoot.crypto import merkle
from talkoot.crypto.signed import Kind, verify
from talkoot.hub.commands import grant, presence, settle
from talkoot.hub.commands.people import node_of
from talkoot.hub.tx import Tx
from talkoot.wire.messages import AnswerData, Exchange, Exchanged, ReceiptBatch
from talkoot.wire.parse import parse

BLOCKED = "convicted"
GOODBYE = "an anchor found an answer of this node wrong; the hub gives it no more work (see its page for the evidence)"
_SALT_BYTES = 16
_LATE = {AttemptState.LOST, AttemptState.HANDED_BACK, AttemptState.CANCELLED}
_MOVING_AVERAGE = 0.2


def check(request: Exchange, key: bytes, hub: bytes) -> None:
    """What can be checked without the tables: sizes, the batch's signature and root, salts and commitments.

    Runs outside the writer's thread. Raises BadInput, BadSignature, TooLarge.
    """
    if len(request.receipts) > limits.MAX_RECEIPTS_PER_EXCHANGE:
        raise TooLarge(f"{len(request.receipts)} receipts in one exchange; at most {limits.MAX_RECEIPTS_PER_EXCHANGE}")
    if len(request.answers) != len(request.receipts) or len(request.boot) != 8 or request.want < 0:
        raise BadInput("an exchange has one answer for each receipt, 8 bytes of boot, and wants 0 or more attempts")
    if not 0 <= request.channel < limits.MAX_CHANNELS:
        raise BadInput(f"an exchange is on a channel from 0 to {limits.MAX_CHANNELS - 1}, not {request.channel}")
    _check_lengths(request)
    if request.description is not None:
        check_description(request.description)
    if not request.receipts:
        return
    if request.batch is None:
        raise BadSignature("receipts without the signature over their batch")
    batch = parse(verify(request.batch, Kind.RECEIPTS, key=key), ReceiptBatch, "batch of receipts")
    root = merkle.root([merkle.leaf_hash(receipt) for receipt in request.receipts])
    if batch.hub != hub or batch.count != len(request.receipts) or batch.root != root:
        raise BadSignature("the signature is over another batch, or for another hub")
    for data, answer in zip(request.receipts, request.answers, strict=True):
        _check_receipt(parse(data, Receipt, "receipt"), answer, hub)


def _check_lengths(request: Exchange) -> None:
    for what, named, most in (
        ("attempts handed back", len(request.handed_back), limits.MAX_ATTEMPTS_PER_EXCHANGE),
        ("leases", len(request.leases), limits.MAX_LEASES_NAMED),
        ("jobs", len(request.jobs), limits.MAX_JOBS_NAMED),
    ):
        if named > most:
            raise TooLarge(f"{named:,} {what} in one exchange; at most {most:,}")
    if any(len(job) != 16 for job in request.jobs):
        raise BadInput("the id of a job has 16 bytes")
    for receipt in request.receipts:
        if len(receipt) > limits.MAX_RECEIPT_BYTES:
            raise TooLarge(f"a receipt of {len(receipt):,} bytes; at most {limits.MAX_RECEIPT_BYTES:,}")


def check_description(said: NodeDescription) -> None:
    """What a node says of itself must be what a device can be. Raises BadInput."""
    numeric = said.numeric_class
    words = (said.name, said.python, said.version, *said.gpus)
    words += (numeric.machine, numeric.libc, numeric.python, numeric.simd, numeric.blas, numeric.gpu)
    if not said.name or any(len(word) > limits.MAX_NAME_CHARS or not word.isprintable() for word in words):
        raise BadInput(f"a device is described in words of at most {limits.MAX_NAME_CHARS} printable characters")
    if not 1 <= said.slots <= limits.MAX_DEVICE_SLOTS or len(said.gpus) > limits.MAX_DEVICE_GPUS:
        raise BadInput(f"a device lends 1 to {limits.MAX_DEVICE_SLOTS} CPU, not {said.slots}, and 64 GPUs at most")
    if not (0 <= said.memory_bytes < 2**63 and 0 <= said.disk_bytes < 2**63):
        raise BadInput(f"no device has {said.memory_bytes} bytes of memory and {said.disk_bytes} of disk")


def _check_receipt(receipt: Receipt, answer: AnswerData, hub: bytes) -> None:
    if receipt.hub != hub or receipt.attempt != answer.attempt:
        raise BadSignature(f"the receipt of attempt {receipt.attempt} is for another hub or another answer")
    if len(answer.answer) > limits.MAX_ANSWER_BYTES or len(answer.note) > 2 * limits.MAX_NOTE_BYTES:
        raise TooLarge(f"the answer of attempt {receipt.attempt} has {len(answer.answer):,} bytes")
    if any(not c.isprintable() and c not in "\n\t" for c in receipt.reason):
        raise BadInput(f"the reason in the receipt of attempt {receipt.attempt} has control characters")
    if len(receipt.reason) > limits.MAX_NOTE_BYTES or receipt.core_ms < 0 or receipt.memory_bytes < 0:
        raise BadInput(f"the receipt of attempt {receipt.attempt} states what cannot be")
    if receipt.outcome in (Outcome.ANSWERED, Outcome.RAISED):
        codec.validate(answer.answer)
        digest = hashlib.sha256(answer.answer).digest()
        if len(answer.salt) != _SALT_BYTES or receipt.commitment != ids.answer_commitment(answer.salt, digest):
            raise BadSignature(f"the answer of attempt {receipt.attempt} is not the one its receipt commits to")


def exchange(tx: Tx, key: bytes, request: Exchange) -> tuple[Exchanged, int]:
    """Carry out an exchange; returns the reply and the node's number."""
    node, state = node_of(tx, key)
    if not presence.arrive(tx, node, request.boot, request.description):
        return Exchanged((), (), (), "", describe=True), node
    accepted = [_receive(tx, node, r, a) for r, a in zip(request.receipts, request.answers, strict=True)]
    _set_aside(tx, request.receipts)
    presence.hand_back(tx, node, request.handed_back)
    if state == BLOCKED:
        return Exchanged((), (), (*accepted, *request.handed_back), "", GOODBYE), node
    manifests = frozenset(request.jobs)
    leases = grant.again(tx, node, request.channel, frozenset(request.leases), manifests)
    want = min(request.want, limits.MAX_ATTEMPTS_PER_EXCHANGE) - sum(len(lease.items) for lease in leases)
    if want > 0:
        leases += grant.grant(tx, node, want, manifests, request.channel, leases)
    cancels = tuple(sorted(tx.memory.cancels.pop(node, ())))
    return Exchanged(leases, cancels, (*accepted, *request.handed_back), ""), node


def _set_aside(tx: Tx, receipts: tuple[bytes, ...]) -> None:
    """Where only some receipts of a batch were recorded, keep the leaves of the others: its signature is over all."""
    recorded = {event.receipt for event in tx.events if isinstance(event, ev.AttemptAnswered)}
    if recorded and len(recorded) < len(receipts):
        for place, receipt in enumerate(receipts):
            if receipt not in recorded:
                tx.emit(ev.ReceiptSetAside(place, merkle.leaf_hash(receipt)))


def _receive(tx: Tx, node: int, data: bytes, answer: AnswerData) -> int:
    """Take in one receipt. What is not (or no longer) the node's, or not needed, is acknowledged and left at that."""
    receipt = parse(data, Receipt, "receipt")
    row = tx.one(
        "SELECT attempts.job, attempts.idx, attempts.state, tasks.state, tasks.action, jobs.id, attempts.owner, nodes.class"
        " FROM attempts JOIN tasks ON tasks.job = attempts.job AND tasks.idx = attempts.idx"
        " JOIN jobs ON jobs.no = attempts.job JOIN nodes ON nodes.no = attempts.node"
        " WHERE attempts.id = ? AND attempts.node = ?",
        receipt.attempt,
        node,
    )
    if row is None:
        raise BadSignature(f"attempt {receipt.attempt} was never leased to this node")
    job, index, attempt_state, task_state, action, job_id, owner, node_class = row
    if (receipt.job, receipt.index, receipt.action) != (job_id, index, action):
        raise BadSignature(f"the receipt of attempt {receipt.attempt} is for another task")
    state = AttemptState(attempt_state)
    if state in (AttemptState.LEASED, AttemptState.LOST) and receipt.numeric_class != node_class:
        raise BadInput(f"the receipt of attempt {receipt.attempt} is of another numeric class than this node described")
    if state in _LATE:
        _receive_late(tx, receipt, data, answer, job, index, TaskState(task_state), state, owner)
    elif state is AttemptState.LEASED:
        if receipt.outcome in (Outcome.ANSWERED, Outcome.RAISED):
            _learn_duration(tx, job, receipt.attempt)
        _record(tx, receipt, data, answer, job, index)
    return receipt.attempt


def _receive_late(
    tx: Tx,
    receipt: Receipt,
    data: bytes,
    answer: AnswerData,
    job: int,
    index: int,
    task: TaskState,
    state: AttemptState,
    owner: int,
) -> None:
    engaged = tx.one(
        "SELECT 1 FROM attempts WHERE job = ? AND idx = ? AND owner = ? AND state IN ('leased', 'answered')",
        job,
        index,
        owner,
    )
    useful = receipt.outcome in (Outcome.ANSWERED, Outcome.RAISED)
    if state is AttemptState.LOST and task not in SETTLED_TASKS and engaged is None and useful:
        _record(tx, receipt, data, answer, job, index)
    else:
        tx.emit(ev.AttemptMoved(receipt.attempt, AttemptEvent.NOT_NEEDED))


def _record(tx: Tx, receipt: Receipt, data: bytes, answer: AnswerData, job: int, index: int) -> None:
    if receipt.outcome is Outcome.KILLED or receipt.outcome is Outcome.REFUSED:
        event = AttemptEvent.KILLED if receipt.outcome is Outcome.KILLED else AttemptEvent.REFUSED
        tx.emit(ev.AttemptAnswered(receipt.attempt, event, data, b"", b"", b"", answer.note))
        settle.failed_attempt(tx, job, index, receipt.attempt, receipt)
        return
    digest = hashlib.sha256(answer.answer).digest()
    tx.db.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (digest, answer.answer))
    value = ids.derive("value/1", receipt.outcome.encode(), answer.answer)
    tx.emit(ev.AttemptAnswered(receipt.attempt, AttemptEvent.ANSWERED, data, value, digest, answer.salt, answer.note))
    settle.consider(tx, job, index)
    tx.jobs_touched.add(job)


def _learn_duration(tx: Tx, job: int, attempt: int) -> None:
    granted = tx.memory.granted.pop(attempt, None)
    if granted is not None:
        took = tx.now - granted
        known = tx.memory.durations.get(job, took)
        tx.memory.durations[job] = known + _MOVING_AVERAGE * (took - known)
