"""The tables as a fold of the log: what each event does to them, and nothing else does anything to them.

`Fold.apply(position, event)` is called while a command is being carried out and again, event for event, when the
tables are rebuilt from the log; both must give the same rows. So it may look at the tables and at the event, and
at nothing else: no clock, no randomness, no configuration.

Counters of jobs and balances of accounts are gathered and written once an entry (`flush`): invariant 1, no account
but the treasury below zero, is a CHECK of the database at every log position.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

import msgspec

from talkoot.core import events as ev
from talkoot.core.lifecycle import (
    ATTEMPT,
    JOB,
    LEASE,
    SETTLED_TASKS,
    TASK,
    AttemptEvent,
    AttemptState,
    JobState,
    LeaseEvent,
    LeaseState,
    TaskEvent,
    TaskState,
    after,
)
from talkoot.core.types import Manifest, Purpose, Receipt
from talkoot.crypto.signed import Signed
from talkoot.wire.envelope import Request
from talkoot.wire.messages import Add, Item, Submit

BODIES: Final[dict[str, type[Submit] | type[Add]]] = {"/v1/jobs/submit": Submit, "/v1/jobs/add": Add}
URGENT: Final = frozenset({Purpose.RERUN, Purpose.REFEREE})
_SETTLED_LEASE: Final = after(LEASE, LeaseState.GRANTED, LeaseEvent.SETTLED)
_HOLDING: Final = frozenset({AttemptState.LEASED, AttemptState.ANSWERED})
_LEASE_ENDS: Final = {
    LeaseEvent.EXPIRED: AttemptEvent.LOST,
    LeaseEvent.HANDED_BACK: AttemptEvent.HANDED_BACK,
    LeaseEvent.CANCELLED: AttemptEvent.CANCELLED,
}


def decode_manifest(signed: bytes) -> Manifest:
    """The manifest inside an encoded `Signed`, whose signature was checked when it came in."""
    outer = msgspec.msgpack.decode(signed, type=Signed)
    return msgspec.msgpack.decode(outer.payload, type=Manifest)


def memory_key(project: str, submitter: bytes, action: bytes, manifest: Manifest) -> bytes:
    """The key under which a final answer is remembered: project, submitter, action and verifier.

    The submitter is in it because what makes an answer good enough differs between submitters: each trusts their own
    devices, and nobody else's job should depend on what these say, or wait for what another may never finish.
    """
    return msgspec.msgpack.encode((project, submitter, action, manifest.verifier))


class Fold:
    """Applies events to the tables of one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.db = connection
        self._counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._balances: dict[int, int] = defaultdict(int)
        self._manifests: dict[int, tuple[bytes, Manifest]] = {}
        self._will = b""
        self._items_read: tuple[Item, ...] | None = None

    def begin(self, will: bytes) -> None:
        """Start an entry: tasks that it adds take their arguments from the submitter's signed request."""
        self._will, self._items_read = will, None

    @property
    def _items(self) -> tuple[Item, ...]:
        if self._items_read is None:
            signed = msgspec.msgpack.decode(self._will, type=Signed)
            request = msgspec.msgpack.decode(signed.payload, type=Request)
            body: Submit | Add = msgspec.msgpack.decode(request.body, type=BODIES[request.path])
            self._items_read = body.items
        return self._items_read

    def apply(self, position: int, event: ev.Event) -> None:
        """Do to the tables what the event says."""
        _HANDLERS[type(event)](self, position, event)

    def flush(self) -> None:
        """Write the gathered counters and balances. Raises sqlite3.IntegrityError when a balance would fall below 0."""
        for job, changes in self._counts.items():
            columns = ", ".join(f"{column} = {column} + {change}" for column, change in changes.items() if change)
            if columns:
                self.db.execute(f"UPDATE jobs SET {columns} WHERE no = ?", (job,))  # noqa: S608 - names are our own
        self._counts.clear()
        for account, change in self._balances.items():
            if change:
                self.db.execute("UPDATE accounts SET balance = balance + ? WHERE id = ?", (change, account))
        self._balances.clear()

    def forget(self) -> None:
        """Drop what was gathered: the transaction is being rolled back."""
        self._counts.clear()
        self._balances.clear()
        self._manifests.clear()

    def manifest(self, job: int) -> Manifest:
        """The manifest of a job."""
        return self._facts(job)[1]

    def memory_key(self, job: int, action: bytes) -> bytes:
        """The key under which an answer to this action is remembered, for tasks of this job."""
        submitter, manifest = self._facts(job)
        return memory_key(manifest.project, submitter, action, manifest)

    def _facts(self, job: int) -> tuple[bytes, Manifest]:
        found = self._manifests.get(job)
        if found is None:
            submitter, signed = self.db.execute("SELECT submitter, manifest FROM jobs WHERE no = ?", (job,)).fetchone()
            if len(self._manifests) > 1000:
                self._manifests.clear()
            found = self._manifests[job] = (submitter, decode_manifest(signed))
        return found

    # Ledger and people.

    def _account_opened(self, position: int, e: ev.AccountOpened) -> None:
        self.db.execute("INSERT INTO accounts (id, kind, subject) VALUES (?, ?, ?)", (e.account, e.kind, e.subject))

    def _transferred(self, position: int, e: ev.Transferred) -> None:
        self._balances[e.debit] -= e.amount_microcredits
        self._balances[e.credit] += e.amount_microcredits
        self.db.execute(
            "INSERT INTO transfers (entry, debit, credit, amount, reason, job, idx, attempt) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (position, e.debit, e.credit, e.amount_microcredits, e.reason, e.job, e.index, e.attempt),
        )
        if e.reason == "pay":
            self.db.execute("UPDATE tasks SET cost = cost + ? WHERE job = ? AND idx = ?", (e.amount_microcredits, e.job, e.index))
            self.db.execute(
                "UPDATE tallies SET earned = earned + ? WHERE node = (SELECT node FROM attempts WHERE id = ?)",
                (e.amount_microcredits, e.attempt),
            )

    def _project_created(self, position: int, e: ev.ProjectCreated) -> None:
        self.db.execute("INSERT INTO projects VALUES (?, ?)", (e.name, e.account))

    def _ticket_issued(self, position: int, e: ev.TicketIssued) -> None:
        self.db.execute(
            "INSERT INTO tickets VALUES (?, ?, ?, ?, ?, NULL)", (e.ticket, e.project, e.role, e.expires_ms, e.inviter)
        )

    def _ticket_redeemed(self, position: int, e: ev.TicketRedeemed) -> None:
        self.db.execute("UPDATE tickets SET member = ? WHERE id = ?", (e.member, e.ticket))

    def _member_joined(self, position: int, e: ev.MemberJoined) -> None:
        self.db.execute("INSERT INTO members VALUES (?, ?, ?, ?)", (e.member, e.name, e.account, e.inviter))

    def _role_given(self, position: int, e: ev.RoleGiven) -> None:
        self.db.execute("INSERT OR IGNORE INTO roles VALUES (?, ?, ?)", (e.member, e.project, e.role))

    # Nodes.

    def _node_joined(self, position: int, e: ev.NodeJoined) -> None:
        (owner,) = self.db.execute("SELECT account FROM members WHERE key = ?", (e.member,)).fetchone()
        self.db.execute(
            "INSERT INTO nodes (no, key, owner, name, anchor, state) VALUES (?, ?, ?, ?, ?, 'left')",
            (e.node, e.key, owner, e.name, e.anchor),
        )
        self.db.execute("INSERT INTO tallies (node) VALUES (?)", (e.node,))

    def _node_booted(self, position: int, e: ev.NodeBooted) -> None:
        self.db.execute(
            "UPDATE nodes SET state = 'present', boot = ?, description = ?, class = ? WHERE no = ?",
            (e.boot, msgspec.msgpack.encode(e.description), e.class_digest, e.node),
        )

    def _node_left(self, position: int, e: ev.NodeLeft) -> None:
        self.db.execute("UPDATE nodes SET state = ? WHERE no = ?", (e.why, e.node))

    def _convicted(self, position: int, e: ev.Convicted) -> None:
        self.db.execute(
            "INSERT INTO convictions VALUES (?, ?, ?, ?, ?, ?, ?)",
            (e.attempt, e.node, e.job, e.index, e.referee, e.words, position),
        )

    # Jobs and tasks.

    def _job_submitted(self, position: int, e: ev.JobSubmitted) -> None:
        manifest = decode_manifest(e.manifest)
        (submitter,) = self.db.execute("SELECT account FROM members WHERE key = ?", (e.submitter,)).fetchone()
        self.db.execute(
            "INSERT INTO jobs (no, id, project, submitter, submitter_account, name, state, account, price, cap,"
            " program, environment, manifest, entry) VALUES (?, ?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?, ?)",
            (
                e.job,
                e.id,
                manifest.project,
                e.submitter,
                submitter,
                manifest.name,
                e.account,
                e.price_microcredits,
                e.attempt_cap_microcredits,
                manifest.program,
                manifest.environment,
                e.manifest,
                position,
            ),
        )

    def _job_moved(self, position: int, e: ev.JobMoved) -> None:
        (state,) = self.db.execute("SELECT state FROM jobs WHERE no = ?", (e.job,)).fetchone()
        new = after(JOB, JobState(state), e.event)
        ended = position if new in (JobState.DONE, JobState.CANCELLED) else 0
        self.db.execute("UPDATE jobs SET state = ?, ended_entry = ? WHERE no = ?", (new, ended, e.job))

    def _task_added(self, position: int, e: ev.TaskAdded) -> None:
        open_inputs = 0
        for n, (job, index) in enumerate(e.inputs):
            self.db.execute("INSERT INTO inputs VALUES (?, ?, ?, ?, ?)", (e.job, e.index, n, job, index))
            (state,) = self.db.execute("SELECT state FROM tasks WHERE job = ? AND idx = ?", (job, index)).fetchone()
            open_inputs += state != TaskState.FINAL
        state = TaskState.WAITING if e.waits else TaskState.QUEUED
        item = self._items[e.item]
        self.db.execute(
            "INSERT INTO tasks (job, idx, state, action, position, arguments, open_inputs) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (e.job, e.index, state, e.action, item.position, item.arguments, open_inputs),
        )
        counts = self._counts[e.job]
        counts["total"] += 1
        counts[state.value] += 1
        if e.action:
            self._note_action(e.job, e.index, e.action)

    def _task_bound(self, position: int, e: ev.TaskBound) -> None:
        self.db.execute("UPDATE tasks SET action = ? WHERE job = ? AND idx = ?", (e.action, e.job, e.index))
        self._note_action(e.job, e.index, e.action)

    def _note_action(self, job: int, index: int, action: bytes) -> None:
        # The first task of an action is the one that others wait for, or remember; a failed one makes way.
        self.db.execute("INSERT OR IGNORE INTO actions VALUES (?, ?, ?)", (self.memory_key(job, action), job, index))

    def _task_remembered(self, position: int, e: ev.TaskRemembered) -> None:
        self.db.execute(
            "UPDATE tasks SET source_job = ?, source_idx = ? WHERE job = ? AND idx = ?",
            (e.source_job, e.source_index, e.job, e.index),
        )
        self._counts[e.job]["remembered"] += 1

    def _task_joined(self, position: int, e: ev.TaskJoined) -> None:
        (action,) = self.db.execute("SELECT action FROM tasks WHERE job = ? AND idx = ?", (e.job, e.index)).fetchone()
        self.db.execute("INSERT OR IGNORE INTO twins VALUES (?, ?, ?)", (self.memory_key(e.job, action), e.job, e.index))

    def _task_moved(self, position: int, e: ev.TaskMoved) -> None:
        row = self.db.execute("SELECT state, action FROM tasks WHERE job = ? AND idx = ?", (e.job, e.index)).fetchone()
        old, new = TaskState(row[0]), after(TASK, TaskState(row[0]), e.event)
        settled = position if new in SETTLED_TASKS or new is TaskState.PROVISIONAL else 0
        if e.event is TaskEvent.REOPENED:
            self.db.execute(
                "UPDATE tasks SET state = ?, canonical = 0, confidence = 0, reason = ?, settled = 0, class = x'',"
                " first_owner = 0 WHERE job = ? AND idx = ?",
                (new, e.reason, e.job, e.index),
            )
        else:
            self.db.execute(
                "UPDATE tasks SET state = ?, reason = ?, confidence = ?, settled = ?,"
                " canonical = CASE WHEN ?5 > 0 THEN ?5 ELSE canonical END WHERE job = ?6 AND idx = ?7",
                (new, e.reason, e.confidence_ppm, settled, e.canonical, e.job, e.index),
            )
        counts = self._counts[e.job]
        counts[old.value] -= 1
        counts[new.value] += 1
        if new is TaskState.FINAL:
            self.db.execute("UPDATE jobs SET confidence = min(confidence, ?) WHERE no = ?", (e.confidence_ppm, e.job))
        if old is TaskState.WAITING:
            self.db.execute("DELETE FROM twins WHERE job = ? AND idx = ?", (e.job, e.index))
        if new in SETTLED_TASKS:
            self._settle(e.job, e.index, new, row[1])

    def _settle(self, job: int, index: int, state: TaskState, action: bytes) -> None:
        if state is TaskState.FINAL:
            self.db.execute(
                "UPDATE tasks SET open_inputs = open_inputs - (SELECT count(*) FROM inputs i WHERE i.job = tasks.job"
                " AND i.idx = tasks.idx AND i.from_job = ?1 AND i.from_idx = ?2)"  # the same answer may be taken twice
                " WHERE (job, idx) IN (SELECT job, idx FROM inputs WHERE from_job = ?1 AND from_idx = ?2)",
                (job, index),
            )
            self.db.execute(
                "INSERT INTO actions VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET job = ?2, idx = ?3"
                " WHERE 'final' <> (SELECT state FROM tasks t WHERE t.job = actions.job AND t.idx = actions.idx)",
                (self.memory_key(job, action), job, index),
            )
        elif action:
            self.db.execute(
                "DELETE FROM actions WHERE key = ? AND job = ? AND idx = ?", (self.memory_key(job, action), job, index)
            )

    # Queue, leases, attempts.

    def _wanted(self, position: int, e: ev.Wanted) -> None:
        self._want(e.job, e.index, e.purpose, e.node, e.holder)

    def _want(self, job: int, index: int, purpose: Purpose, node: int, holder: int) -> None:
        (number,) = self.db.execute(
            "SELECT coalesce(max(no), 0) + 1 FROM queue WHERE job = ? AND idx = ?", (job, index)
        ).fetchone()
        urgency = 0 if purpose in URGENT else 1
        self.db.execute("INSERT INTO queue VALUES (?, ?, ?, ?, ?, ?, ?)", (job, index, number, holder, urgency, purpose, node))

    def _unwanted(self, position: int, e: ev.Unwanted) -> None:
        self.db.execute("DELETE FROM queue WHERE job = ? AND idx = ?", (e.job, e.index))

    def _leased(self, position: int, e: ev.Leased) -> None:
        (owner,) = self.db.execute("SELECT owner FROM nodes WHERE no = ?", (e.node,)).fetchone()
        self.db.execute("INSERT INTO leases VALUES (?, ?, ?, ?, ?)", (e.lease, e.node, e.job, LeaseState.GRANTED, len(e.items)))
        counts = self._counts[e.job]
        for attempt, index, purpose in e.items:
            state, first_owner = self.db.execute(
                "SELECT state, first_owner FROM tasks WHERE job = ? AND idx = ?", (e.job, index)
            ).fetchone()
            new = after(TASK, TaskState(state), TaskEvent.LEASED)
            (number,) = self.db.execute(
                "SELECT no FROM queue WHERE job = ? AND idx = ? AND purpose = ? AND node IN (0, ?)"
                " ORDER BY node DESC, no LIMIT 1",
                (e.job, index, purpose, e.node),
            ).fetchone()
            self.db.execute("DELETE FROM queue WHERE job = ? AND idx = ? AND no = ?", (e.job, index, number))
            self.db.execute(
                "INSERT INTO attempts (id, job, idx, node, owner, lease, purpose, state, reserved, granted)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 'leased', ?, ?)",
                (attempt, e.job, index, e.node, owner, e.lease, purpose, e.reserve_microcredits, position),
            )
            self.db.execute(
                "UPDATE tasks SET state = ?, executions = executions + 1, live = live + 1, first_owner = ?"
                " WHERE job = ? AND idx = ?",
                (new, first_owner or owner, e.job, index),
            )
            counts[state] -= 1
            counts[new.value] += 1
            counts["attempts"] += 1
            counts["copies"] += purpose is not Purpose.WORK
            counts["reruns"] += purpose is Purpose.RERUN
            counts["reserved"] += e.reserve_microcredits
            if purpose is Purpose.WORK:
                for _ in range(e.copies):
                    self._want(e.job, index, Purpose.COPY, 0, first_owner or owner)

    def _lease_moved(self, position: int, e: ev.LeaseMoved) -> None:
        (state,) = self.db.execute("SELECT state FROM leases WHERE id = ?", (e.lease,)).fetchone()
        new = after(LEASE, LeaseState(state), e.event)
        live = self.db.execute("SELECT id FROM attempts WHERE lease = ? AND state = 'leased'", (e.lease,)).fetchall()
        for (attempt,) in live:
            self._move_attempt(position, attempt, _LEASE_ENDS[e.event], "")
        self.db.execute("UPDATE leases SET state = ? WHERE id = ?", (new, e.lease))

    def _attempt_answered(self, position: int, e: ev.AttemptAnswered) -> None:
        receipt = msgspec.msgpack.decode(e.receipt, type=Receipt)
        self.db.execute(
            "UPDATE attempts SET receipt = ?, value = ?, answer = ?, salt = ?, note = ?, outcome = ?, core_ms = ?, ended = ?"
            " WHERE id = ?",  # `ended` also of an attempt that was lost before: answers are ordered by it
            (e.receipt, e.value, e.answer, e.salt, e.note, receipt.outcome, receipt.core_ms, position, e.attempt),
        )
        node, job, index = self._move_attempt(position, e.attempt, e.event, receipt.reason)
        self.db.execute("UPDATE tallies SET answered = answered + 1 WHERE node = ?", (node,))
        if e.event is AttemptEvent.ANSWERED:
            self.db.execute(
                "UPDATE tasks SET class = ? WHERE job = ? AND idx = ? AND class = x''",
                (receipt.numeric_class, job, index),
            )
        elif e.event is AttemptEvent.KILLED:
            self.db.execute("UPDATE tasks SET failures = failures + 1 WHERE job = ? AND idx = ?", (job, index))

    def _attempt_moved(self, position: int, e: ev.AttemptMoved) -> None:
        node, _, _ = self._move_attempt(position, e.attempt, e.event, e.reason)
        if e.event in (AttemptEvent.ACCEPTED, AttemptEvent.REJECTED):
            column = e.event.value
            self.db.execute(f"UPDATE tallies SET {column} = {column} + 1 WHERE node = ?", (node,))  # noqa: S608

    def _move_attempt(self, position: int, attempt: int, event: AttemptEvent, reason: str) -> tuple[int, int, int]:
        """Move an attempt along its life cycle, and what hangs on it: reserve, lease, the task's live attempts."""
        state, node, job, index, lease, reserved = self.db.execute(
            "SELECT state, node, job, idx, lease, reserved FROM attempts WHERE id = ?", (attempt,)
        ).fetchone()
        old, new = AttemptState(state), after(ATTEMPT, AttemptState(state), event)
        keep = reserved if new in _HOLDING else 0
        self.db.execute(
            "UPDATE attempts SET state = ?1, reserved = ?2, reason = CASE WHEN ?3 = '' THEN reason ELSE ?3 END,"
            " ended = CASE WHEN ended = 0 THEN ?4 ELSE ended END WHERE id = ?5",
            (new, keep, reason, position, attempt),
        )
        self._counts[job]["reserved"] -= reserved - keep
        if old is AttemptState.LEASED:
            self.db.execute("UPDATE tasks SET live = live - 1 WHERE job = ? AND idx = ?", (job, index))
            self.db.execute(
                "UPDATE leases SET live = live - 1, state = CASE WHEN live = 1 AND state = ? THEN ? ELSE state END WHERE id = ?",
                (LeaseState.GRANTED, _SETTLED_LEASE, lease),
            )
        return node, job, index

    def _told_only(self, position: int, e: ev.HubOpened | ev.ReceiptSetAside) -> None:
        """What is for readers of the log, and is in no table."""


_HANDLERS: Final[dict[type, Callable[[Fold, int, Any], None]]] = {
    ev.HubOpened: Fold._told_only,
    ev.ReceiptSetAside: Fold._told_only,
    ev.AccountOpened: Fold._account_opened,
    ev.Transferred: Fold._transferred,
    ev.ProjectCreated: Fold._project_created,
    ev.TicketIssued: Fold._ticket_issued,
    ev.TicketRedeemed: Fold._ticket_redeemed,
    ev.MemberJoined: Fold._member_joined,
    ev.RoleGiven: Fold._role_given,
    ev.NodeJoined: Fold._node_joined,
    ev.NodeBooted: Fold._node_booted,
    ev.NodeLeft: Fold._node_left,
    ev.JobSubmitted: Fold._job_submitted,
    ev.TaskAdded: Fold._task_added,
    ev.JobMoved: Fold._job_moved,
    ev.TaskMoved: Fold._task_moved,
    ev.TaskBound: Fold._task_bound,
    ev.TaskRemembered: Fold._task_remembered,
    ev.TaskJoined: Fold._task_joined,
    ev.Wanted: Fold._wanted,
    ev.Unwanted: Fold._unwanted,
    ev.Leased: Fold._leased,
    ev.LeaseMoved: Fold._lease_moved,
    ev.AttemptAnswered: Fold._attempt_answered,
    ev.AttemptMoved: Fold._attempt_moved,
    ev.Convicted: Fold._convicted,
}
