"""From answers to verdicts, and what follows at once: pay, another attempt wanted, failure, the job's end."""

from collections.abc import Set
from functools import partial

from talkoot.core import compare, pricing
from talkoot.core import events as ev
from talkoot.core.lifecycle import (
    SETTLED_TASKS,
    AttemptEvent,
    JobEvent,
    JobState,
    TaskEvent,
    TaskState,
)
from talkoot.core.limits import MAX_EXECUTIONS_PER_TASK, MAX_FAILED_EXECUTIONS_PER_TASK
from talkoot.core.matching import pins_class
from talkoot.core.types import Close, Manifest, Outcome, Purpose, Quorum, Receipt, Trust
from talkoot.core.verdict import Accept, Given, More, Pool, Same, Unsteady, Want, judge
from talkoot.hub.commands import follow
from talkoot.hub.offers import class_is_free, eligible, owners_of
from talkoot.hub.tx import Tx


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
    same = remembering(partial(same_answer, tx, manifest))
    finding = judge(manifest.verifier, given, _pool(tx, job, index, manifest, given), same)
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
    of_class = [o for o in offers if o.class_digest == wanted_class] if pins_class(manifest.verifier) else offers
    owners = owners_of(tx, job, index)
    askable = offers if class_is_free(offers, owners, wanted_class) else of_class
    unheard: Set[int] = tx.memory.unheard.get((job, index), set())
    return Pool(
        present=frozenset(o.node for o in offers) - unheard,
        other_owner=0 not in unheard and any(o.owner not in owners for o in askable),
        anchor=any(o.anchor for o in of_class),
    )


def remembering(same: Same) -> Same:
    """The same comparison, made once for each pair: with `close` it may take a tenth of a second."""
    known: dict[tuple[int, int], bool] = {}

    def look_up(a: int, b: int) -> bool:
        pair = (min(a, b), max(a, b))
        if pair not in known:
            known[pair] = a == b or same(a, b)
        return known[pair]

    return look_up


def same_answer(tx: Tx, manifest: Manifest, a: int, b: int) -> bool:
    """Whether the answers of two attempts are the same, by the job's verifier."""
    rows = {
        attempt: (value, answer, outcome)
        for attempt, value, answer, outcome in tx.all("SELECT id, value, answer, outcome FROM attempts WHERE id IN (?, ?)", a, b)
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
        elif executions and _tries(tx, job, index) >= _most_tries(tx.manifest(job)):
            give_up(tx, job, index, f"it was handed out {executions} times without a verdict")
            return
        else:
            pinned = want.purpose in (Purpose.RERUN, Purpose.REFEREE)
            tx.emit(ev.Wanted(job, index, want.purpose, want.node, 0 if pinned else holder))
            tx.queue_touched = True


def _tries(tx: Tx, job: int, index: int) -> int:
    """Attempts that tell something of the task. Who takes it and gives it back, again and again, does not end it."""
    (tries,) = tx.one(
        "SELECT count(CASE WHEN state NOT IN ('handed_back', 'cancelled', 'lost', 'late') THEN 1 END)"
        " + count(DISTINCT CASE WHEN state IN ('lost', 'late') THEN owner END) FROM attempts WHERE job = ? AND idx = ?",
        job,
        index,
    )
    return int(tries)


def _most_tries(manifest: Manifest) -> int:
    copies = manifest.verifier.copies if isinstance(manifest.verifier, Quorum) else 1
    return MAX_EXECUTIONS_PER_TASK + 2 * (copies - 1)  # every copy may be asked to run again


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
    alike_twice = len(alike) > 1 and (killed or _nobody_else(tx, job, index))
    if own or alike_twice or (killed and trust) or failures >= MAX_FAILED_EXECUTIONS_PER_TASK:
        give_up(tx, job, index, receipt.reason)
    else:
        release(tx, job, index)


def _nobody_else(tx: Tx, job: int, index: int) -> bool:
    """Whether all who are there and could have done the task have had it."""
    owners = owners_of(tx, job, index)
    return all(offer.owner in owners for offer in eligible(tx, job))


def release(tx: Tx, job: int, index: int) -> None:
    """An attempt ended without an answer: back into the queue if nobody else is at it."""
    state, live = tx.one("SELECT state, live FROM tasks WHERE job = ? AND idx = ?", job, index)
    if state == TaskState.RUNNING and not live:
        tx.emit(ev.TaskMoved(job, index, TaskEvent.RELEASED))
    consider(tx, job, index)


def give_up(tx: Tx, job: int, index: int, reason: str) -> None:
    """The task failed; what waited for it fails with it."""
    stop(tx, job, index)
    for (attempt,) in answered(tx, job, index):
        tx.emit(ev.AttemptMoved(attempt, AttemptEvent.NOT_NEEDED))
    tx.emit(ev.TaskMoved(job, index, TaskEvent.GIVEN_UP, reason))
    tx.jobs_touched.add(job)
    follow.pass_on(tx, job, index)


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
    follow.pass_on(tx, job, index)
    for attempt, referee in verdict.convictable:
        tx.suspects.append((job, index, attempt, referee))


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
    # What the submitter's own devices state does not count: it could bring the pay of all others down to nothing.
    amount = pricing.payment(price, (core_ms for _, core_ms, _, own, _ in rows if not own), cap)
    free = _free(tx, job) if not all(own or reserved for *_, own, reserved in rows) else 0
    for attempt, _, owner, own, reserved in rows:
        tx.emit(ev.AttemptMoved(attempt, AttemptEvent.ACCEPTED))
        due = min(amount, reserved or free)
        if due and not own:
            free -= 0 if reserved else due
            tx.emit(ev.Transferred(escrow, owner, due, "pay", job, index, attempt))


def _free(tx: Tx, job: int) -> int:
    """What of the escrow is not set aside. A lost attempt's late answer is paid from it, for its reserve is gone."""
    tx.flush()
    balance, reserved = tx.one("SELECT balance, reserved FROM accounts JOIN jobs ON jobs.account = accounts.id WHERE no = ?", job)
    return max(0, int(balance) - int(reserved))


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
