"""What waits for a task: those that take its answer, and those of the same action in other jobs.

A task that takes answers is bound when all of them are final: only then is its action id known. A task whose action is
under way elsewhere waits for that answer; if none comes, the first of those who waited does the work itself.
"""

from talkoot.core import events as ev
from talkoot.core import ids
from talkoot.core.lifecycle import TaskEvent, TaskState
from talkoot.core.types import Purpose
from talkoot.hub.fold import memory_key
from talkoot.hub.tx import Tx

RAW_CID_PREFIX = b"\x01\x55\x12\x20"
"""CIDv1, raw, sha2-256: inputs are named so in action ids."""


def pass_on_answer(tx: Tx, job: int, index: int) -> None:
    for waiting_job, waiting_index in _twins_of(tx, job, index):
        _remember(tx, waiting_job, waiting_index, job, index)
    for waiting_job, waiting_index in _takers_of(tx, job, index):
        bind_if_ready(tx, waiting_job, waiting_index)


def pass_on_failure(tx: Tx, job: int, index: int) -> None:
    """Tasks that needed the answer fail; those that only shared the action do it themselves."""
    twins = _twins_of(tx, job, index)
    for waiting_job, waiting_index in _takers_of(tx, job, index):
        (state,) = tx.one("SELECT state FROM tasks WHERE job = ? AND idx = ?", waiting_job, waiting_index)
        if state == TaskState.WAITING:
            words = f"input_failed: task {index} of {tx.job_text(job)} has no answer"
            tx.emit(ev.TaskMoved(waiting_job, waiting_index, TaskEvent.INPUT_FAILED, words))
            tx.jobs_touched.add(waiting_job)
            pass_on_failure(tx, waiting_job, waiting_index)
    for waiting_job, waiting_index in twins:
        _start_over(tx, waiting_job, waiting_index)


def _twins_of(tx: Tx, job: int, index: int) -> list[tuple[int, int]]:
    return tx.all(
        "SELECT t.job, t.idx FROM twins t JOIN tasks USING (job, idx)"
        " WHERE twin_job = ? AND twin_idx = ? AND tasks.state = 'waiting'",
        job,
        index,
    )


def _takers_of(tx: Tx, job: int, index: int) -> list[tuple[int, int]]:
    return tx.all("SELECT DISTINCT job, idx FROM inputs WHERE from_job = ? AND from_idx = ?", job, index)


def _remember(tx: Tx, job: int, index: int, source_job: int, source_index: int) -> None:
    canonical, sure = tx.one("SELECT canonical, confidence FROM tasks WHERE job = ? AND idx = ?", source_job, source_index)
    tx.emit(ev.TaskRemembered(job, index, source_job, source_index))
    words = "the same action was answered before"
    tx.emit(ev.TaskMoved(job, index, TaskEvent.REMEMBERED, words, sure, canonical))
    tx.jobs_touched.add(job)
    pass_on_answer(tx, job, index)


def join_twin(tx: Tx, job: int, index: int, twin_job: int, twin_index: int) -> bool:
    """A waiting task whose action another task has: take its answer now (True), or when it is there."""
    (state,) = tx.one("SELECT state FROM tasks WHERE job = ? AND idx = ?", twin_job, twin_index)
    if state == TaskState.FINAL:
        _remember(tx, job, index, twin_job, twin_index)
        return True
    tx.emit(ev.TaskJoined(job, index, twin_job, twin_index))
    return False


def _start_over(tx: Tx, job: int, index: int) -> None:
    """The twin had no answer: the first of those who waited does the work, the others wait for it."""
    (action,) = tx.one("SELECT action FROM tasks WHERE job = ? AND idx = ?", job, index)
    tx.emit(ev.TaskBound(job, index, action))
    _enqueue_or_join(tx, job, index, action)


def _enqueue_or_join(tx: Tx, job: int, index: int, action: bytes) -> bool:
    manifest = tx.manifest(job)
    twin = tx.one("SELECT job, idx FROM actions WHERE key = ?", memory_key(manifest.project, action, manifest))
    if twin != (job, index):
        return join_twin(tx, job, index, *twin)
    tx.emit(ev.TaskMoved(job, index, TaskEvent.INPUTS_KNOWN))
    tx.emit(ev.Wanted(job, index, Purpose.WORK))
    tx.queue_touched = True
    return False


def bind_if_ready(tx: Tx, job: int, index: int) -> bool:
    """Bind a waiting task once all its inputs are final; True when its answer was remembered."""
    state, open_inputs, arguments, position = tx.one(
        "SELECT state, open_inputs, arguments, position FROM tasks WHERE job = ? AND idx = ?", job, index
    )
    if state != TaskState.WAITING:
        return False
    dead = tx.one(
        "SELECT 1 FROM inputs JOIN tasks t ON t.job = from_job AND t.idx = from_idx"
        " WHERE inputs.job = ? AND inputs.idx = ? AND t.state IN ('failed', 'cancelled')",
        job,
        index,
    )
    if dead is not None or _input_raised(tx, job, index):
        tx.emit(ev.TaskMoved(job, index, TaskEvent.INPUT_FAILED, "input_failed: an input of it has no answer"))
        tx.jobs_touched.add(job)
        pass_on_failure(tx, job, index)
        return False
    if open_inputs:
        return False
    manifest = tx.manifest(job)
    action = ids.action_id(
        ids.ProgramId(manifest.program),
        arguments,
        [RAW_CID_PREFIX + digest for digest in input_digests(tx, job, index)],
        ids.EnvironmentId(manifest.environment),
        manifest.seed,
        position,
    )
    tx.emit(ev.TaskBound(job, index, action))
    return _enqueue_or_join(tx, job, index, action)


def _input_raised(tx: Tx, job: int, index: int) -> bool:
    row = tx.one(
        "SELECT 1 FROM inputs JOIN tasks t ON t.job = from_job AND t.idx = from_idx"
        " JOIN attempts a ON a.id = t.canonical"
        " WHERE inputs.job = ? AND inputs.idx = ? AND t.state = 'final' AND a.outcome = 'raised'",
        job,
        index,
    )
    return row is not None


def input_digests(tx: Tx, job: int, index: int) -> list[bytes]:
    """Digests of the answers that a task takes, in the order of its holes."""
    rows = tx.all(
        "SELECT attempts.answer FROM inputs JOIN tasks t ON t.job = from_job AND t.idx = from_idx"
        " JOIN attempts ON attempts.id = t.canonical WHERE inputs.job = ? AND inputs.idx = ? ORDER BY n",
        job,
        index,
    )
    return [bytes(answer) for (answer,) in rows]
