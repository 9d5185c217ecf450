"""The laws of a hub, checked on its tables: call it after whatever a test did."""

import tempfile
from pathlib import Path
from typing import Any

from talkoot.hub import schema
from talkoot.hub.engine import rebuild
from talkoot.testing.network import InProcessHub


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
    with tempfile.TemporaryDirectory() as folder:
        rebuilt = rebuild(hub.engine.log, Path(folder) / "rebuilt.db")
        for table in schema.FOLDED:
            assert dump(rebuilt, table) == dump(hub.engine.db, table), f"{table} is not the fold of the log"
        rebuilt.close()


def dump(db: Any, table: str) -> list[Any]:
    """All rows of a table, in a fixed order."""
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    return list(db.execute(f"SELECT * FROM {table} ORDER BY {', '.join(columns)}"))  # noqa: S608


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
