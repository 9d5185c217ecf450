"""From answers to verdicts, and what follows from a verdict: pay, memory, waiting tasks, convictions, the job's end."""

from functools import partial

from talkoot.core import compare, ids, pricing
from talkoot.core import events as ev
from talkoot.core.lifecycle import (
    SETTLED_TASKS,
    AttemptEvent,
    JobEvent,
    JobState,
    LeaseEvent,
    TaskEvent,
    TaskState,
)
from talkoot.core.limits import MAX_EXECUTIONS_PER_TASK, MAX_FAILED_EXECUTIONS_PER_TASK
from talkoot.core.matching import pins_class
from talkoot.core.types import Close, Manifest, Outcome, Purpose, Quorum, Receipt, Trust
from talkoot.core.verdict import Accept, Given, More, Pool, Unsteady, Want, judge
from talkoot.hub.commands import presence
from talkoot.hub.fold import memory_key
from talkoot.hub.offers import eligible, owners_of
from talkoot.hub.tx import TREASURY, Tx

RAW_CID_PREFIX = b"\x01\x55\x12\x20"
"""CIDv1, raw, sha2-256: inputs are named so in action ids."""


def answered(tx: Tx, job: int, index: int) -> list[tuple[int]]:
    """The attempts of a task whose answers await a verdict, in log order."""
    return tx.all("SELECT id FROM attempts WHERE job = ? AND idx = ? AND state = 'answered' ORDER BY ended, id", job, index)


def consider(tx: Tx, job: int, index: int) -> None:
    """Look at a task again after something happened to it: settle it, or want what is missing."""
    state = TaskState(tx.one("SELECT state FROM tasks WHERE job = ? AND idx = ?", job, index)[0])
    if state in SETTLED_TASKS or state is TaskState.WAITING:
        return
    manifest = tx.manifest(job)
    given = _given(tx, job, index)
    if not given:
        copies = manifest.verifier.copies if isinstance(manifest.verifier, Quorum) else 1
        _want(tx, job, index, (Want(Purpose.COPY),) * copies)
        return
    finding = judge(manifest.verifier, given, _pool(tx, job, index, manifest, given), partial(_same, tx, manifest))
    match finding:
        case Accept():
            _accept(tx, job, index, finding)
        case More():
            _ask_on(tx, job, index, state, finding)
        case Unsteady(words):
            pay(tx, job, index, [g.attempt for g in given])
            give_up(tx, job, index, f"not_deterministic: {words}")


def _given(tx: Tx, job: int, index: int) -> list[Given]:
    rows = tx.all(
        "SELECT attempts.id, node, owner, value, purpose, owner = submitter_account FROM attempts"
        " JOIN jobs ON jobs.no = attempts.job"
        " WHERE job = ? AND idx = ? AND attempts.state = 'answered' ORDER BY ended, attempts.id",
        job,
        index,
    )
    return [Given(a, node, owner, value, Purpose(purpose), bool(own)) for a, node, owner, value, purpose, own in rows]


def _pool(tx: Tx, job: int, index: int, manifest: Manifest, given: list[Given]) -> Pool:
    if len(given) < 2 or all(g.value == given[0].value for g in given):
        return Pool(frozenset(), other_owner=False, anchor=False)  # nothing to climb the ladder for
    (wanted_class,) = tx.one("SELECT class FROM tasks WHERE job = ? AND idx = ?", job, index)
    offers = eligible(tx, job)
    if pins_class(manifest.verifier):
        offers = [o for o in offers if o.class_digest == wanted_class]
    owners = set(owners_of(tx, job, index))
    return Pool(
        present=frozenset(o.node for o in offers),
        other_owner=any(o.owner not in owners for o in offers),
        anchor=any(o.anchor for o in offers),
    )


def _same(tx: Tx, manifest: Manifest, a: int, b: int) -> bool:
    rows = {
        attempt: (value, answer, outcome)
        for attempt, value, answer, outcome in tx.all(
            "SELECT id, value, answer, outcome FROM attempts WHERE id IN (?, ?)", a, b
        )
    }
    (value_a, answer_a, outcome_a), (value_b, answer_b, outcome_b) = rows[a], rows[b]
    if value_a == value_b:
        return True
    verifier = manifest.verifier
    if not isinstance(verifier, Quorum) or not isinstance(verifier.comparator, Close):
        return False
    if outcome_a != Outcome.ANSWERED or outcome_b != Outcome.ANSWERED:
        return False
    close = verifier.comparator
    try:
        return compare.close(_blob(tx, answer_a), _blob(tx, answer_b), close.rtol, close.atol)
    except ValueError:  # not a canonical encoding: equal to nothing but itself
        return False


def _blob(tx: Tx, digest: bytes) -> bytes:
    return bytes(tx.one("SELECT data FROM blobs WHERE digest = ?", digest)[0])


def _ask_on(tx: Tx, job: int, index: int, state: TaskState, finding: More) -> None:
    if finding.disputed:
        if state is not TaskState.DISPUTED:
            if state is not TaskState.PROVISIONAL:
                tx.emit(ev.TaskMoved(job, index, TaskEvent.ANSWERED, "", finding.confidence_ppm, finding.canonical))
            tx.emit(ev.Unwanted(job, index))
            words = finding.words or "answers differ"
            tx.emit(ev.TaskMoved(job, index, TaskEvent.DIFFERED, words, finding.confidence_ppm, finding.canonical))
    elif state is not TaskState.DISPUTED:
        known = tx.one("SELECT confidence FROM tasks WHERE job = ? AND idx = ?", job, index)[0]
        if state is not TaskState.PROVISIONAL or known != finding.confidence_ppm:
            tx.emit(ev.TaskMoved(job, index, TaskEvent.ANSWERED, "", finding.confidence_ppm, finding.canonical))
    _want(tx, job, index, finding.wants)


def _want(tx: Tx, job: int, index: int, wants: tuple[Want, ...]) -> None:
    """Put into the queue what is wanted and neither there nor under way."""
    (executions,) = tx.one("SELECT executions FROM tasks WHERE job = ? AND idx = ?", job, index)
    holder = next(iter(owners_of(tx, job, index)), 0) if executions else 0
    have: list[tuple[str, int]] = [
        (purpose, node) for purpose, node in tx.all("SELECT purpose, node FROM queue WHERE job = ? AND idx = ?", job, index)
    ]
    have += [
        (purpose, node if purpose == Purpose.RERUN else 0)
        for purpose, node in tx.all(
            "SELECT purpose, node FROM attempts WHERE job = ? AND idx = ? AND state = 'leased'", job, index
        )
    ]
    for want in wants:
        alike = [(want.purpose.value, want.node)]
        if want.purpose is Purpose.COPY:
            alike.append((Purpose.WORK.value, 0))
        found = next((a for a in alike if a in have), None)
        if found is not None:
            have.remove(found)
        elif executions >= MAX_EXECUTIONS_PER_TASK:
            give_up(tx, job, index, f"it was handed out {executions} times without a verdict")
            return
        else:
            pinned = want.purpose in (Purpose.RERUN, Purpose.REFEREE)
            tx.emit(ev.Wanted(job, index, want.purpose, want.node, 0 if pinned else holder))
            tx.queue_touched = True


def failed_attempt(tx: Tx, job: int, index: int, attempt: int, receipt: Receipt) -> None:
    """An attempt was killed or refused: try elsewhere, or give up when it is the task's own doing."""
    rows = tx.all(
        "SELECT DISTINCT owner, owner = submitter_account, attempts.reason FROM attempts"
        " JOIN jobs ON jobs.no = attempts.job WHERE job = ? AND idx = ? AND attempts.state IN ('killed', 'refused')",
        job,
        index,
    )
    code = receipt.reason.split(":", 1)[0]
    alike = {owner for owner, _, reason in rows if reason.split(":", 1)[0] == code}
    own = any(own and reason.split(":", 1)[0] == code for _, own, reason in rows)
    trust = isinstance(tx.manifest(job).verifier, Trust)
    (failures,) = tx.one("SELECT failures FROM tasks WHERE job = ? AND idx = ?", job, index)
    killed = receipt.outcome is Outcome.KILLED
    if own or len(alike) > 1 or (killed and trust) or failures >= MAX_FAILED_EXECUTIONS_PER_TASK:
        give_up(tx, job, index, receipt.reason)
    else:
        presence.release(tx, job, index)


def give_up(tx: Tx, job: int, index: int, reason: str) -> None:
    """The task failed; what waited for it fails with it."""
    stop(tx, job, index)
    for (attempt,) in answered(tx, job, index):
        tx.emit(ev.AttemptMoved(attempt, AttemptEvent.NOT_NEEDED))
    tx.emit(ev.TaskMoved(job, index, TaskEvent.GIVEN_UP, reason))
    tx.jobs_touched.add(job)
    pass_on_failure(tx, job, index)


def stop(tx: Tx, job: int, index: int) -> None:
    """Nothing more is wanted for the task: empty its queue, cancel its live attempts, tell their nodes."""
    if tx.one("SELECT 1 FROM queue WHERE job = ? AND idx = ? LIMIT 1", job, index):
        tx.emit(ev.Unwanted(job, index))
    for attempt, node in tx.all("SELECT id, node FROM attempts WHERE job = ? AND idx = ? AND state = 'leased'", job, index):
        tx.emit(ev.AttemptMoved(attempt, AttemptEvent.CANCELLED))
        tx.memory.cancels.setdefault(node, set()).add(attempt)


def _accept(tx: Tx, job: int, index: int, verdict: Accept) -> None:
    stop(tx, job, index)
    pay(tx, job, index, list(verdict.accepted))
    for attempt in verdict.rejected:
        tx.emit(ev.AttemptMoved(attempt, AttemptEvent.REJECTED))
    tx.emit(ev.TaskMoved(job, index, TaskEvent.ACCEPTED, "", verdict.confidence_ppm, verdict.canonical))
    tx.jobs_touched.add(job)
    _pass_on_answer(tx, job, index)
    for attempt, referee in verdict.convictable:
        _convict(tx, job, index, attempt, referee)


def pay(tx: Tx, job: int, index: int, attempts: list[int]) -> None:
    """Accept these attempts and pay each of a stranger's at the least usage among them (own devices: nothing)."""
    price, cap, escrow = tx.one("SELECT price, cap, account FROM jobs WHERE no = ?", job)
    rows = [
        tx.one(
            "SELECT attempts.id, core_ms, owner, owner = submitter_account, attempts.reserved FROM attempts"
            " JOIN jobs ON jobs.no = attempts.job WHERE attempts.id = ?",
            attempt,
        )
        for attempt in attempts
    ]
    amount = pricing.payment(price, (core_ms for _, core_ms, _, _, _ in rows), cap)
    for attempt, _, owner, own, reserved in rows:
        tx.emit(ev.AttemptMoved(attempt, AttemptEvent.ACCEPTED))
        due = min(amount, reserved)  # a lost attempt's late answer has no reserve any more, and is not paid
        if due and not own:
            tx.emit(ev.Transferred(escrow, owner, due, "pay", job, index, attempt))


def _convict(tx: Tx, job: int, index: int, attempt: int, referee: int) -> None:
    """A hub's anchor found an answer wrong: the contributor gets no more work, and nothing of it stands unchecked."""
    node, class_wrong, value = tx.one(
        "SELECT attempts.node, nodes.class, value FROM attempts JOIN nodes ON nodes.no = node WHERE id = ?", attempt
    )
    judge_node, class_right, right, name, anchor = tx.one(
        "SELECT attempts.node, nodes.class, value, nodes.name, anchor FROM attempts"
        " JOIN nodes ON nodes.no = node WHERE id = ?",
        referee,
    )
    (state,) = tx.one("SELECT state FROM nodes WHERE no = ?", node)
    if not anchor or class_wrong != class_right or node == judge_node or state == "convicted":
        return
    agree = tx.one("SELECT count(DISTINCT owner) FROM attempts WHERE job = ? AND idx = ? AND value = ?", job, index, right)
    words = (
        f"task {index} of {_job_text(tx, job)}: it answered {value.hex()[:12]}, and anchor {name}, run afresh in the same"
        f" numeric class, {right.hex()[:12]}, as did {agree[0]} owner{'s' if agree[0] != 1 else ''} in all"
    )
    tx.emit(ev.Convicted(node, job, index, attempt, referee, words))
    provisional = tx.all("SELECT id, job, idx FROM attempts WHERE node = ? AND state = 'answered'", node)
    for wrong, its_job, its_index in provisional:
        _forfeit(tx, wrong, its_job, its_index)
        tx.emit(ev.AttemptMoved(wrong, AttemptEvent.REJECTED, "its node was convicted"))
    presence.depart(tx, node, "convicted", LeaseEvent.CANCELLED)
    for its_job, its_index in dict.fromkeys((j, i) for _, j, i in provisional):
        _reopen(tx, its_job, its_index, f"its contributor was convicted in task {index}")


def _job_text(tx: Tx, job: int) -> str:
    return ids.job_text(tx.one("SELECT id FROM jobs WHERE no = ?", job)[0])


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
    consider(tx, job, index)


# What waits for a task.


def _pass_on_answer(tx: Tx, job: int, index: int) -> None:
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
            words = f"input_failed: task {index} of {_job_text(tx, job)} has no answer"
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
    _pass_on_answer(tx, job, index)


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


def end_job_if_over(tx: Tx, job: int) -> None:
    """A sealed job whose last task is settled is done; what is left in its escrow goes back to the project."""
    state, total, over, escrow, project = tx.one(
        "SELECT state, total, final + failed + cancelled, account, project FROM jobs WHERE no = ?", job
    )
    if state == JobState.SEALED and total == over:
        tx.emit(ev.JobMoved(job, JobEvent.SETTLED))
    elif state != JobState.CANCELLED:
        return
    (left,) = tx.one("SELECT balance FROM accounts WHERE id = ?", escrow)
    if left:
        (account,) = tx.one("SELECT account FROM projects WHERE name = ?", project)
        tx.emit(ev.Transferred(escrow, account, left, "release", job))
