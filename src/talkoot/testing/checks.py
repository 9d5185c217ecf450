"""The laws of a hub, checked on its tables: call it after whatever a test did."""

import tempfile
from pathlib import Path
from typing import Any

import msgspec

from talkoot.core import events as ev
from talkoot.core import ids
from talkoot.core.types import Quorum
from talkoot.crypto.signed import Kind, decode_signed, verify
from talkoot.hub import schema
from talkoot.hub.engine import rebuild
from talkoot.hub.fold import decode_manifest
from talkoot.testing.network import InProcessHub
from talkoot.wire.messages import ReceiptBatch


def assert_laws(hub: InProcessHub) -> None:
    """Invariants 1, 2 and 4 of the design. Raises AssertionError that says which does not hold."""
    (total,) = hub.rows("SELECT sum(balance) FROM accounts")[0]
    assert total == 0, f"the accounts sum to {total}"
    below = hub.rows("SELECT id, kind, balance FROM accounts WHERE balance < 0 AND kind <> 'treasury'")
    assert not below, f"accounts below zero: {below}"
    twice = hub.rows("SELECT attempt FROM transfers WHERE reason = 'pay' GROUP BY attempt HAVING count(*) > 1")
    assert not twice, f"attempts paid twice: {twice}"
    wrong = hub.rows(
        "SELECT attempt, amount FROM transfers JOIN attempts ON attempts.id = attempt JOIN jobs ON jobs.no = attempts.job"
        " WHERE transfers.reason = 'pay' AND (attempts.state <> 'accepted' OR amount > min(core_ms * price / 1000, cap))"
    )
    assert not wrong, f"paid without being accepted, or too much: {wrong}"
    _assert_counters(hub)
    _assert_money_of_jobs(hub)
    _assert_verdicts(hub)
    _assert_nothing_dangles(hub)
    _assert_signed(hub)
    with tempfile.TemporaryDirectory() as folder:
        rebuilt = rebuild(hub.engine.log, Path(folder) / "rebuilt.db")
        for table in schema.FOLDED:
            assert dump(rebuilt, table) == dump(hub.engine.db, table), f"{table} is not the fold of the log"
        rebuilt.close()


def dump(db: Any, table: str) -> list[Any]:
    """All rows of a table, in a fixed order."""
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    return list(db.execute(f"SELECT * FROM {table} ORDER BY {', '.join(columns)}"))  # noqa: S608


def _none(hub: InProcessHub, what: str, sql: str) -> None:
    found = hub.rows(sql)
    assert not found, f"{what}: {found[:5]}"


def _assert_money_of_jobs(hub: InProcessHub) -> None:
    _none(
        hub,
        "escrows of jobs that are over, not empty",
        "SELECT jobs.no, balance FROM jobs JOIN accounts ON accounts.id = jobs.account"
        " WHERE state IN ('done', 'cancelled') AND balance <> 0",
    )
    _none(
        hub,
        "more is set aside than there is",
        "SELECT jobs.no, reserved, balance FROM jobs JOIN accounts ON accounts.id = jobs.account WHERE reserved > balance",
    )
    _none(
        hub,
        "accepted of a stranger, and not paid the least that strangers stated",
        "SELECT a.id, a.job, a.idx FROM attempts a JOIN jobs ON jobs.no = a.job JOIN leases ON leases.id = a.lease"
        " WHERE a.state = 'accepted' AND a.owner <> submitter_account AND leases.state <> 'expired'"
        " AND coalesce((SELECT amount FROM transfers t WHERE t.attempt = a.id AND t.reason = 'pay'), 0) <>"
        " (SELECT min(cap, min(b.core_ms) * price / 1000) FROM attempts b WHERE b.job = a.job AND b.idx = a.idx"
        " AND b.state = 'accepted' AND b.owner <> submitter_account)",
    )
    _none(
        hub,
        "own devices that were paid",
        "SELECT t.attempt FROM transfers t JOIN jobs ON jobs.no = t.job WHERE reason = 'pay' AND credit = submitter_account",
    )
    _none(
        hub,
        "paid to somebody else than who did it",
        "SELECT t.attempt FROM transfers t JOIN attempts a ON a.id = t.attempt WHERE t.reason = 'pay' AND credit <> a.owner",
    )


def _assert_verdicts(hub: InProcessHub) -> None:
    _none(
        hub,
        "two attempts of one task with one owner (invariant 6)",
        "SELECT job, idx, owner FROM attempts WHERE purpose IN ('work', 'copy')"
        " AND state IN ('leased', 'answered', 'accepted', 'rejected') GROUP BY job, idx, owner HAVING count(*) > 1",
    )
    _none(
        hub,
        "a referee that is no anchor",
        "SELECT a.id FROM attempts a JOIN nodes ON nodes.no = a.node WHERE purpose = 'referee' AND NOT anchor",
    )
    _none(
        hub,
        "final, and its answer is not an accepted one",
        "SELECT t.job, t.idx FROM tasks t LEFT JOIN attempts a ON a.id = t.canonical"
        " WHERE t.state = 'final' AND coalesce(a.state, '') <> 'accepted'",
    )
    rows = hub.rows(
        "SELECT t.job, t.idx, count(DISTINCT a.owner), max(a.owner = submitter_account OR a.purpose = 'referee')"
        " FROM tasks t JOIN jobs ON jobs.no = t.job JOIN attempts a ON a.job = t.job AND a.idx = t.idx"
        " WHERE t.state = 'final' AND t.source_job = 0 AND a.state = 'accepted' GROUP BY t.job, t.idx"
    )
    manifests = {job: decode_manifest(data) for job, data in hub.rows("SELECT no, manifest FROM jobs")}
    for job, index, owners, trusted in rows:
        verifier = manifests[job].verifier
        assert trusted or not isinstance(verifier, Quorum) or owners >= verifier.copies, f"task {index} of {job}: too few"
    _none(
        hub,
        "convicted without evidence: another answer by an anchor, and the wrong one twice",
        "SELECT c.attempt FROM convictions c JOIN attempts a ON a.id = c.attempt JOIN attempts r ON r.id = c.referee"
        " JOIN nodes n ON n.no = r.node WHERE NOT n.anchor OR r.purpose <> 'referee' OR a.value = r.value"
        " OR a.node = r.node OR a.job <> r.job OR a.idx <> r.idx OR 2 > (SELECT count(*) FROM attempts b"
        " WHERE b.job = a.job AND b.idx = a.idx AND b.node = a.node AND b.outcome <> '' AND b.state = 'rejected')",
    )


def _assert_nothing_dangles(hub: InProcessHub) -> None:
    over = "('final', 'failed', 'cancelled')"
    _none(hub, "wanted for a settled task", f"SELECT * FROM queue JOIN tasks USING (job, idx) WHERE state IN {over}")  # noqa: S608
    _none(
        hub,
        "out, or not judged, for a settled task",
        "SELECT a.id FROM attempts a JOIN tasks t USING (job, idx)"  # noqa: S608
        f" WHERE a.state IN ('leased', 'answered') AND t.state IN {over}",
    )
    _none(
        hub,
        "with a convicted node",
        "SELECT a.id FROM attempts a JOIN nodes ON nodes.no = a.node"
        " WHERE a.state IN ('leased', 'answered') AND nodes.state = 'convicted'",
    )
    _none(hub, "twins that do not wait", "SELECT job, idx FROM twins JOIN tasks USING (job, idx) WHERE state <> 'waiting'")
    _none(
        hub,
        "open, with nothing wanted and nobody at it",
        "SELECT t.job, t.idx, t.state FROM tasks t WHERE t.state IN ('queued', 'running', 'provisional', 'disputed')"
        " AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.job = t.job AND q.idx = t.idx)"
        " AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.job = t.job AND a.idx = t.idx AND a.state = 'leased')",
    )
    _none(
        hub,
        "waits for nothing",
        "SELECT t.job, t.idx FROM tasks t WHERE t.state = 'waiting' AND t.open_inputs = 0"
        " AND NOT EXISTS (SELECT 1 FROM twins w WHERE w.job = t.job AND w.idx = t.idx)",
    )
    _none(
        hub,
        "provisional or disputed, and its answer does not await a verdict",
        "SELECT t.job, t.idx, a.state FROM tasks t LEFT JOIN attempts a ON a.id = t.canonical"
        " WHERE t.state IN ('provisional', 'disputed') AND coalesce(a.state, '') <> 'answered'",
    )
    _none(
        hub,
        "leases whose state does not follow from their attempts",
        "SELECT l.id, l.state FROM leases l WHERE (l.state = 'granted') <>"
        " EXISTS (SELECT 1 FROM attempts a WHERE a.lease = l.id AND a.state = 'leased')",
    )


def _assert_signed(hub: InProcessHub) -> None:
    """Who answered signed it, and who submitted too (invariant 4)."""
    keys = dict(hub.rows("SELECT a.id, key FROM attempts a JOIN nodes ON nodes.no = a.node"))
    for position, entry in hub.engine.log.read(1):
        payload = msgspec.msgpack.decode(entry.payload, type=ev.Payload)
        assert ids.payload_commitment(entry.salt, entry.payload) in entry.public, f"commitment of entry {position}"
        signers = {keys[e.attempt] for e in payload.events if isinstance(e, ev.AttemptAnswered)}
        assert len(signers) <= 1, f"entry {position} has answers of several nodes"
        if signers:
            statement = verify(decode_signed(payload.will), Kind.RECEIPTS, key=signers.pop())
            batch = msgspec.msgpack.decode(statement, type=ReceiptBatch)
            assert batch.hub == hub.engine.hub, f"entry {position} has a batch for another hub"
        for submitted in (e for e in payload.events if isinstance(e, ev.JobSubmitted)):
            verify(decode_signed(submitted.manifest), Kind.MANIFEST, key=submitted.submitter)
            verify(decode_signed(payload.will), Kind.REQUEST, key=submitted.submitter)


def _assert_counters(hub: InProcessHub) -> None:
    for job, total in hub.rows("SELECT no, total FROM jobs"):
        counted = dict(hub.rows("SELECT state, count(*) FROM tasks WHERE job = ? GROUP BY state", job))
        columns = ("waiting", "queued", "running", "provisional", "disputed", "final", "failed", "cancelled")
        stated = hub.rows(f"SELECT {', '.join(columns)} FROM jobs WHERE no = ?", job)[0]  # noqa: S608
        assert dict(zip(columns, stated, strict=True)) == {c: counted.get(c, 0) for c in columns}, f"counters of job {job}"
        assert total == sum(counted.values()), f"total of job {job}"
        (held,) = hub.rows("SELECT coalesce(sum(reserved), 0) FROM attempts WHERE job = ?", job)[0]
        assert hub.rows("SELECT reserved FROM jobs WHERE no = ?", job) == [(held,)], f"reserve of job {job}"
        live = hub.rows(
            "SELECT t.idx FROM tasks t WHERE t.job = ? AND t.live <> (SELECT count(*) FROM attempts a"
            " WHERE a.job = t.job AND a.idx = t.idx AND a.state = 'leased')",
            job,
        )
        assert not live, f"live attempts of job {job}: {live}"
