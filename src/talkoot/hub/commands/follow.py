"""What waits for a task: those that take its answer, and those of the same action in other jobs.

A task that takes answers is bound when all of them are final: only then is its action id known. A task whose action is
under way elsewhere waits for that answer; if none comes, the first of those who waited does the work itself.
"""

from talkoot.core import events as ev
from talkoot.core.action import action_of
from talkoot.core.lifecycle import TaskEvent, TaskState
from talkoot.core.limits import MAX_INPUT_BYTES_PER_TASK
from talkoot.core.types import Purpose
from talkoot.hub.tx import Tx


def pass_on(tx: Tx, job: int, index: int) -> None:
    """A task was settled: tell those who wait for it, and those who wait for them, one after the other.

    Not by recursion: a chain of tasks may be longer than Python's stack.
    """
    tx.settled.append((job, index))
    if len(tx.settled) > 1:
        return  # whoever began is at it
    while tx.settled:
        _tell(tx, *tx.settled[0])
        tx.settled.popleft()


def _tell(tx: Tx, job: int, index: int) -> None:
    """Tasks that needed the answer get it or fail; those that only shared the action get it or do it themselves."""
    state, action = tx.one("SELECT state, action FROM tasks WHERE job = ? AND idx = ?", job, index)
    if state == TaskState.FINAL:
        for waiting_job, waiting_index in _twins_of(tx, job, action):
            _remember(tx, waiting_job, waiting_index, job, index)
        for waiting_job, waiting_index in _takers_of(tx, job, index):
            bind_if_ready(tx, waiting_job, waiting_index)
        return
    for waiting_job, waiting_index in _takers_of(tx, job, index):
        (waiting,) = tx.one("SELECT state FROM tasks WHERE job = ? AND idx = ?", waiting_job, waiting_index)
        if waiting == TaskState.WAITING:
            _fail(tx, waiting_job, waiting_index, f"input_failed: task {index} of {tx.job_text(job)} has no answer")
    if action and tx.one("SELECT 1 FROM actions WHERE key = ?", tx.memory_key(job, action)) is None:
        for waiting_job, waiting_index in _twins_of(tx, job, action, most=1):
            _start_over(tx, waiting_job, waiting_index, action)


def _fail(tx: Tx, job: int, index: int, words: str) -> None:
    tx.emit(ev.TaskMoved(job, index, TaskEvent.INPUT_FAILED, words))
    tx.jobs_touched.add(job)
    pass_on(tx, job, index)


def _twins_of(tx: Tx, job: int, action: bytes, most: int = -1) -> list[tuple[int, int]]:
    return tx.all("SELECT job, idx FROM twins WHERE key = ? ORDER BY job, idx LIMIT ?", tx.memory_key(job, action), most)


def _takers_of(tx: Tx, job: int, index: int) -> list[tuple[int, int]]:
    return tx.all("SELECT DISTINCT job, idx FROM inputs WHERE from_job = ? AND from_idx = ?", job, index)


def _remember(tx: Tx, job: int, index: int, source_job: int, source_index: int) -> None:
    canonical, sure = tx.one("SELECT canonical, confidence FROM tasks WHERE job = ? AND idx = ?", source_job, source_index)
    tx.emit(ev.TaskRemembered(job, index, source_job, source_index))
    words = "the same action was answered before"
    tx.emit(ev.TaskMoved(job, index, TaskEvent.REMEMBERED, words, sure, canonical))
    tx.jobs_touched.add(job)
    pass_on(tx, job, index)


def may_join(tx: Tx, job: int, twin_job: int, twin_index: int) -> bool:
    """Whether a task of the job may wait for this one of the same action: not when it might never be done.

    Another job may ask for more than any device has, or be out of budget.
    """
    (state,) = tx.one("SELECT state FROM tasks WHERE job = ? AND idx = ?", twin_job, twin_index)
    if state == TaskState.FINAL or job == twin_job:
        return True
    tx.flush()
    cap, reserved, balance = tx.one(
        "SELECT cap, reserved, balance FROM jobs JOIN accounts ON accounts.id = jobs.account WHERE no = ?", twin_job
    )
    return bool(tx.manifest(job).task_limits == tx.manifest(twin_job).task_limits and balance - reserved >= cap)


def join_twin(tx: Tx, job: int, index: int, twin_job: int, twin_index: int) -> bool:
    """A waiting task whose action another task has: take its answer now (True), or when it is there."""
    (state,) = tx.one("SELECT state FROM tasks WHERE job = ? AND idx = ?", twin_job, twin_index)
    if state == TaskState.FINAL:
        _remember(tx, job, index, twin_job, twin_index)
        return True
    tx.emit(ev.TaskJoined(job, index, twin_job, twin_index))
    return False


def _start_over(tx: Tx, job: int, index: int, action: bytes) -> None:
    """The twin had no answer: the first of those who waited does the work, and the others wait for it."""
    tx.emit(ev.TaskBound(job, index, action))
    _enqueue(tx, job, index)


def _enqueue(tx: Tx, job: int, index: int) -> None:
    tx.emit(ev.TaskMoved(job, index, TaskEvent.INPUTS_KNOWN))
    tx.emit(ev.Wanted(job, index, Purpose.WORK))
    tx.queue_touched = True


def _enqueue_or_join(tx: Tx, job: int, index: int, action: bytes) -> bool:
    twin = tx.one("SELECT job, idx FROM actions WHERE key = ?", tx.memory_key(job, action))
    if twin != (job, index) and may_join(tx, job, *twin):
        return join_twin(tx, job, index, *twin)
    _enqueue(tx, job, index)
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
        _fail(tx, job, index, "input_failed: an input of it has no answer")
        return False
    if open_inputs:
        return False
    size = sum(input_sizes(tx, job, index))
    if size > MAX_INPUT_BYTES_PER_TASK:
        words = f"the answers that it takes have {size:,} bytes, and a task takes at most {MAX_INPUT_BYTES_PER_TASK:,}"
        _fail(tx, job, index, f"input_failed: {words}")
        return False
    manifest = tx.manifest(job)
    action = action_of(manifest, arguments, input_digests(tx, job, index), position)
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


def input_sizes(tx: Tx, job: int, index: int) -> list[int]:
    """Bytes of each answer that a task takes."""
    sizes = (tx.one("SELECT length(data) FROM blobs WHERE digest = ?", d)[0] for d in input_digests(tx, job, index))
    return [int(size) for size in sizes]


def input_digests(tx: Tx, job: int, index: int) -> list[bytes]:
    """Digests of the answers that a task takes, in the order of its holes."""
    rows = tx.all(
        "SELECT attempts.answer FROM inputs JOIN tasks t ON t.job = from_job AND t.idx = from_idx"
        " JOIN attempts ON attempts.id = t.canonical WHERE inputs.job = ? AND inputs.idx = ? ORDER BY n",
        job,
        index,
    )
    return [bytes(answer) for (answer,) in rows]
