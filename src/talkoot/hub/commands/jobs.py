"""Commands of submitters: submit a job, add tasks to it, cancel."""

import math
from collections import Counter
from collections.abc import Callable

from talkoot.core import events as ev
from talkoot.core import ids, limits, pricing
from talkoot.core.action import action_of
from talkoot.core.errors import BadInput, BadSignature, Conflict, InsufficientFunds, NotAllowed, NotFound, TooLarge
from talkoot.core.lifecycle import LIVE_JOBS, JobEvent, JobState, TaskEvent
from talkoot.core.types import Close, Manifest, Purpose, Quorum
from talkoot.crypto.signed import Kind, encode_signed, verify
from talkoot.hub.commands import follow, settle
from talkoot.hub.commands.people import check_name, has_role
from talkoot.hub.tx import Tx
from talkoot.wire.messages import Add, Cancel, Item, Nothing, Submit, Submitted
from talkoot.wire.parse import parse

MAX_COPIES = 9
MAX_CPUS = 1024


def submit(tx: Tx, signer: bytes, request: Submit) -> Submitted:
    """A new job with its first tasks. The same job again (same id, same manifest) adds nothing that is there."""
    if len(request.manifest.payload) > limits.MAX_MANIFEST_BYTES:
        raise TooLarge(f"a manifest of {len(request.manifest.payload):,} bytes; at most {limits.MAX_MANIFEST_BYTES:,}")
    payload = verify(request.manifest, Kind.MANIFEST, key=signer)
    manifest = parse(payload, Manifest, "manifest")
    signed = encode_signed(request.manifest)
    known = tx.one("SELECT no, manifest FROM jobs WHERE id = ?", manifest.job)
    if known is not None:
        if known[1] != signed:
            raise Conflict(f"{ids.job_text(manifest.job)} exists with another manifest", hint="choose another id")
        job = known[0]
    else:
        job = _create(tx, signer, manifest, signed, len(request.items))
    return _add(tx, job, manifest, request.items, sealed=request.sealed)


def _create(tx: Tx, signer: bytes, manifest: Manifest, signed: bytes, tasks: int) -> int:
    _check(tx, signer, manifest)
    price = tx.settings.price_microcredits
    cap = pricing.attempt_cap(price, manifest.task_limits)
    (project, balance) = tx.one(
        "SELECT accounts.id, balance FROM projects JOIN accounts ON accounts.id = projects.account WHERE name = ?",
        manifest.project,
    )
    budget = manifest.budget_microcredits
    if budget > balance:
        raise InsufficientFunds(
            f"the job may cost {pricing.credits_text(budget)} credits, and project {manifest.project!r} has"
            f" {pricing.credits_text(balance)}",
            hint="lower budget=, or ask an owner of the project for more",
        )
    job, account = tx.next_number("jobs", "no"), tx.next_number("accounts")
    tx.emit(ev.AccountOpened(account, "escrow", manifest.job))
    tx.emit(ev.JobSubmitted(job, manifest.job, signer, account, price, cap, signed))
    if budget:
        tx.emit(ev.Transferred(project, account, budget, "escrow", job))
    return job


def _check(tx: Tx, signer: bytes, manifest: Manifest) -> None:
    if manifest.hub != tx.hub:
        raise BadSignature("the manifest is for another hub")
    if len(manifest.job) != 16:
        raise BadInput("the id of a job has 16 bytes")
    check_name(manifest.name, "job")
    (live,) = tx.one("SELECT count(*) FROM jobs WHERE state IN ('open', 'sealed') AND submitter = ?", signer)
    if live >= limits.MAX_LIVE_JOBS_PER_MEMBER:
        raise TooLarge(f"you have {live} jobs that are not done", hint="wait for some, or cancel them (talkoot cancel)")
    if not has_role(tx, signer, manifest.project, "owner", "researcher"):
        raise NotAllowed(f"your key may not submit jobs to project {manifest.project!r}", hint="ask for a ticket")
    for what, digest in (("program", manifest.program), ("environment", manifest.environment)):
        if tx.one("SELECT 1 FROM blobs WHERE digest = ?", digest) is None:
            raise NotFound(f"the hub does not have the {what} {digest.hex()[:16]}; put it first")
    asked = manifest.task_limits
    positive = (asked.memory_bytes, asked.time_s, asked.cpus, asked.scratch_bytes, asked.processes, asked.answer_bytes)
    numbers = math.isfinite(asked.time_s) and min(positive) > 0 and asked.scratch_files >= 0
    if not numbers or asked.time_s > limits.MAX_TASK_TIME_S or asked.cpus > MAX_CPUS:
        raise BadInput(f"limits of a task must be positive, time_s at most {limits.MAX_TASK_TIME_S:g}: {asked}")
    if asked.processes > limits.MAX_PROCESSES or asked.scratch_files > limits.MAX_SCRATCH_FILES:
        raise TooLarge(
            f"a task may have {limits.MAX_PROCESSES} processes and {limits.MAX_SCRATCH_FILES} files at most, and"
            f" {asked.processes} and {asked.scratch_files} were asked for"
        )
    if asked.answer_bytes > limits.MAX_ANSWER_BYTES:
        raise TooLarge(f"answers may have at most {limits.MAX_ANSWER_BYTES} bytes, and {asked.answer_bytes} were asked for")
    if isinstance(manifest.verifier, Quorum):
        if not 1 <= manifest.verifier.copies <= MAX_COPIES:
            raise BadInput(f"quorum takes 1 to {MAX_COPIES} copies, not {manifest.verifier.copies}")
        compare = manifest.verifier.comparator
        if isinstance(compare, Close) and not (0 <= compare.rtol < 1 and 0 <= compare.atol < float("inf")):
            raise BadInput(f"close(rtol, atol) needs 0 <= rtol < 1 and atol >= 0, not {compare}")
    if manifest.price_cap_microcredits < tx.settings.price_microcredits:
        raise BadInput(
            f"the job pays at most {pricing.credits_text(manifest.price_cap_microcredits)} credits a core-second, and this"
            f" hub's price is {pricing.credits_text(tx.settings.price_microcredits)}",
            hint="raise price_cap=",
        )
    if manifest.budget_microcredits < 0:
        raise BadInput("a budget cannot be negative")


def add(tx: Tx, signer: bytes, request: Add) -> Submitted:
    """More tasks for an open job."""
    job, _ = own_job(tx, signer, request.job)
    return _add(tx, job, tx.manifest(job), request.items, sealed=request.sealed)


def own_job(tx: Tx, signer: bytes, job_id: bytes) -> tuple[int, str]:
    """(number, state) of the signer's job, or `NotFound` (also for somebody else's: ids are not for guessing)."""
    row = tx.one("SELECT no, state FROM jobs WHERE id = ? AND submitter = ?", job_id, signer)
    if row is None:
        raise NotFound(f"no job {ids.job_text(job_id)} of yours on this hub")
    return int(row[0]), str(row[1])


def _add(tx: Tx, job: int, manifest: Manifest, items: tuple[Item, ...], *, sealed: bool) -> Submitted:
    if len(items) > limits.MAX_TASKS_PER_SUBMISSION:
        raise TooLarge(
            f"{len(items)} tasks in one request; at most {limits.MAX_TASKS_PER_SUBMISSION}", hint="send them in several"
        )
    indices = Counter(item.index for item in items)
    if len(indices) < len(items):
        raise BadInput(f"task {indices.most_common(1)[0][0]} stands twice in one request", hint="each index once")
    tx.flush()
    state, total = tx.one("SELECT state, total FROM jobs WHERE no = ?", job)
    fresh = [(n, item) for n, item in enumerate(items) if not _there(tx, job, item)]
    if fresh and state != JobState.OPEN:
        raise Conflict(f"the job is {state}; no tasks can be added", hint="submit another job")
    if total + len(fresh) > limits.MAX_TASKS_PER_JOB:
        raise TooLarge(f"a job has at most {limits.MAX_TASKS_PER_JOB} tasks; this would make {total + len(fresh)}")
    remembered = sum(_add_task(tx, job, manifest, n, item) for n, item in fresh)
    if sealed and state == JobState.OPEN:
        tx.emit(ev.JobMoved(job, JobEvent.SEALED))
    tx.jobs_touched.add(job)
    tx.queue_touched = True
    return Submitted(manifest.job, len(items), remembered)


def _there(tx: Tx, job: int, item: Item) -> bool:
    """Whether the task exists already, with the same content; another content is a conflict."""
    row = tx.one("SELECT arguments, position FROM tasks WHERE job = ? AND idx = ?", job, item.index)
    if row is None:
        return False
    inputs = tx.all(
        "SELECT jobs.id, from_idx FROM inputs JOIN jobs ON jobs.no = from_job WHERE job = ? AND idx = ? ORDER BY n",
        job,
        item.index,
    )
    if row != (item.arguments, item.position) or inputs != [(ref.job, ref.index) for ref in item.inputs]:
        raise Conflict(f"task {item.index} exists with other content", hint="choose another index")
    return True


def _add_task(tx: Tx, job: int, manifest: Manifest, place: int, item: Item) -> bool:
    """Add one task; True when its answer was remembered."""
    if len(item.arguments) > limits.MAX_ARGUMENTS_BYTES:
        raise TooLarge(f"the arguments of task {item.index} have {len(item.arguments):,} bytes; at most 1 MiB")
    if not 0 <= item.index < 2**32 or (item.position is None) != manifest.pure:
        raise BadInput(f"task {item.index}: an index is a number from 0, and a position stands unless the job is pure")
    if len(item.inputs) > limits.MAX_INPUTS_PER_TASK:
        raise TooLarge(f"task {item.index} takes {len(item.inputs)} answers; at most {limits.MAX_INPUTS_PER_TASK}")
    inputs = tuple(_input(tx, manifest, ref.job, ref.index) for ref in item.inputs)
    if inputs:
        tx.emit(ev.TaskAdded(job, item.index, place, b"", inputs, waits=True))
        return follow.bind_if_ready(tx, job, item.index)
    action = action_of(manifest, item.arguments, (), item.position)

    def put(waits: bool) -> None:
        tx.emit(ev.TaskAdded(job, item.index, place, action, (), waits))

    return start(tx, job, item.index, action, put)


def start(tx: Tx, job: int, index: int, action: bytes, put: Callable[[bool], None]) -> bool:
    """Put a task whose action is known where it belongs: remembered, beside its twin, or into the queue."""
    row = tx.one("SELECT job, idx FROM actions WHERE key = ?", tx.memory_key(job, action))
    if row is None or row == (job, index) or not follow.may_join(tx, job, *row):
        put(False)
        tx.emit(ev.Wanted(job, index, Purpose.WORK))
        return False
    put(True)
    return follow.join_twin(tx, job, index, *row)


def _input(tx: Tx, manifest: Manifest, job_id: bytes, index: int) -> tuple[int, int]:
    row = tx.one(
        "SELECT tasks.job, tasks.idx FROM tasks JOIN jobs ON jobs.no = tasks.job"
        " WHERE jobs.id = ? AND jobs.project = ? AND tasks.idx = ?",
        job_id,
        manifest.project,
        index,
    )
    if row is None:
        raise NotFound(f"a task waits for task {index} of {ids.job_text(job_id)}, which does not exist in its project")
    return int(row[0]), int(row[1])


def cancel(tx: Tx, signer: bytes, request: Cancel) -> Nothing:
    """Cancel a job, or some of its tasks. What was answered is paid; what runs is stopped."""
    if len(request.indices) > limits.MAX_TASKS_PER_SUBMISSION:
        raise TooLarge(f"{len(request.indices):,} tasks in one cancel; at most {limits.MAX_TASKS_PER_SUBMISSION:,}")
    job, state = own_job(tx, signer, request.job)
    if request.indices:
        # Those that wait for others come first, the last of them first: else each would be set going to be stopped next.
        for _, index in sorted(((_is_waiting(tx, job, i), i) for i in set(request.indices)), reverse=True):
            _cancel_task(tx, job, index)
    elif JobState(state) in LIVE_JOBS:
        for (index,) in tx.all(
            "SELECT idx FROM tasks WHERE job = ? AND state NOT IN ('final', 'failed', 'cancelled')"
            " ORDER BY state = 'waiting' DESC, idx DESC",
            job,
        ):
            _cancel_task(tx, job, index)
        tx.emit(ev.JobMoved(job, JobEvent.CANCELLED))
    tx.jobs_touched.add(job)
    return Nothing()


def _is_waiting(tx: Tx, job: int, index: int) -> bool:
    return tx.one("SELECT 1 FROM tasks WHERE job = ? AND idx = ? AND state = 'waiting'", job, index) is not None


def _cancel_task(tx: Tx, job: int, index: int) -> None:
    row = tx.one("SELECT state FROM tasks WHERE job = ? AND idx = ?", job, index)
    if row is None:
        raise NotFound(f"the job has no task {index}")
    if row[0] in ("final", "failed", "cancelled"):
        return
    settle.stop(tx, job, index)
    # Also what is disputed is paid: else a submitter could read provisional answers, dispute them with a device of
    # their own, and cancel.
    answered = [attempt for (attempt,) in settle.answered(tx, job, index)]
    if answered:
        settle.pay(tx, job, index, answered)
    tx.emit(ev.TaskMoved(job, index, TaskEvent.CANCELLED, "the job was cancelled"))
    follow.pass_on(tx, job, index)
