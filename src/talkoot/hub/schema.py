"""The hub's database: its numbered migrations and how a connection to it is set up.

Three kinds of tables live in one file so that one transaction covers them: the log (the truth), the tables that
are a fold of it (FOLDED, rebuilt and compared by a test), and content addressed by its own digest (blobs).
"""

import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from talkoot.core.errors import Conflict

MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

    CREATE TABLE log (
        position INTEGER PRIMARY KEY,
        public BLOB NOT NULL,
        salt BLOB NOT NULL,
        payload BLOB NOT NULL,
        leaf BLOB NOT NULL
    );

    CREATE TABLE blobs (digest BLOB PRIMARY KEY, data BLOB NOT NULL);

    CREATE TABLE accounts (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        subject BLOB NOT NULL,
        balance INTEGER NOT NULL DEFAULT 0,
        CHECK (balance >= 0 OR kind = 'treasury')
    );
    CREATE TABLE transfers (
        id INTEGER PRIMARY KEY,
        entry INTEGER NOT NULL,
        debit INTEGER NOT NULL REFERENCES accounts,
        credit INTEGER NOT NULL REFERENCES accounts,
        amount INTEGER NOT NULL CHECK (amount > 0),
        reason TEXT NOT NULL,
        job INTEGER NOT NULL,
        idx INTEGER NOT NULL,
        attempt INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX one_payment_an_attempt ON transfers (attempt) WHERE reason = 'pay';
    CREATE INDEX transfers_of_a_job ON transfers (job);

    CREATE TABLE projects (name TEXT PRIMARY KEY, account INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE tickets (
        id BLOB PRIMARY KEY,
        project TEXT NOT NULL,
        role TEXT NOT NULL,
        expires_ms INTEGER NOT NULL,
        inviter BLOB NOT NULL,
        member BLOB
    ) WITHOUT ROWID;
    CREATE TABLE members (
        key BLOB PRIMARY KEY,
        name TEXT NOT NULL,
        account INTEGER NOT NULL UNIQUE,
        inviter BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE roles (
        member BLOB NOT NULL, project TEXT NOT NULL, role TEXT NOT NULL,
        PRIMARY KEY (member, project, role)
    ) WITHOUT ROWID;

    CREATE TABLE nodes (
        no INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        owner INTEGER NOT NULL,
        name TEXT NOT NULL,
        anchor INTEGER NOT NULL,
        state TEXT NOT NULL,
        boot BLOB NOT NULL DEFAULT x'',
        class BLOB NOT NULL DEFAULT x'',
        description BLOB NOT NULL DEFAULT x''
    );
    CREATE TABLE convictions (
        attempt INTEGER PRIMARY KEY,
        node INTEGER NOT NULL,
        job INTEGER NOT NULL,
        idx INTEGER NOT NULL,
        referee INTEGER NOT NULL,
        words TEXT NOT NULL,
        entry INTEGER NOT NULL
    );

    CREATE TABLE jobs (
        no INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        project TEXT NOT NULL,
        submitter BLOB NOT NULL,
        submitter_account INTEGER NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        account INTEGER NOT NULL,
        price INTEGER NOT NULL,
        cap INTEGER NOT NULL,
        reserved INTEGER NOT NULL DEFAULT 0,
        program BLOB NOT NULL,
        environment BLOB NOT NULL,
        manifest BLOB NOT NULL,
        entry INTEGER NOT NULL,
        ended_entry INTEGER NOT NULL DEFAULT 0,
        total INTEGER NOT NULL DEFAULT 0,
        waiting INTEGER NOT NULL DEFAULT 0,
        queued INTEGER NOT NULL DEFAULT 0,
        running INTEGER NOT NULL DEFAULT 0,
        provisional INTEGER NOT NULL DEFAULT 0,
        disputed INTEGER NOT NULL DEFAULT 0,
        final INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        cancelled INTEGER NOT NULL DEFAULT 0,
        remembered INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        copies INTEGER NOT NULL DEFAULT 0,
        reruns INTEGER NOT NULL DEFAULT 0,
        confidence INTEGER NOT NULL DEFAULT 1000000
    );
    CREATE INDEX live_jobs ON jobs (state) WHERE state IN ('open', 'sealed');
    CREATE TABLE tasks (
        job INTEGER NOT NULL,
        idx INTEGER NOT NULL,
        state TEXT NOT NULL,
        action BLOB NOT NULL,
        position INTEGER,
        arguments BLOB NOT NULL,
        open_inputs INTEGER NOT NULL,
        executions INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        live INTEGER NOT NULL DEFAULT 0,
        first_owner INTEGER NOT NULL DEFAULT 0,
        class BLOB NOT NULL DEFAULT x'',
        canonical INTEGER NOT NULL DEFAULT 0,
        confidence INTEGER NOT NULL DEFAULT 0,
        cost INTEGER NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT '',
        source_job INTEGER NOT NULL DEFAULT 0,
        source_idx INTEGER NOT NULL DEFAULT 0,
        settled INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (job, idx)
    ) WITHOUT ROWID;
    CREATE INDEX settled_tasks ON tasks (job, settled) WHERE settled > 0;
    CREATE INDEX disputed_tasks ON tasks (job) WHERE state = 'disputed';
    CREATE TABLE inputs (
        job INTEGER NOT NULL, idx INTEGER NOT NULL, n INTEGER NOT NULL,
        from_job INTEGER NOT NULL, from_idx INTEGER NOT NULL,
        PRIMARY KEY (job, idx, n)
    ) WITHOUT ROWID;
    CREATE INDEX inputs_from ON inputs (from_job, from_idx);
    CREATE TABLE twins (
        key BLOB NOT NULL, job INTEGER NOT NULL, idx INTEGER NOT NULL,
        PRIMARY KEY (job, idx)
    ) WITHOUT ROWID;
    CREATE INDEX twins_of_an_action ON twins (key, job, idx);
    CREATE TABLE actions (key BLOB PRIMARY KEY, job INTEGER NOT NULL, idx INTEGER NOT NULL) WITHOUT ROWID;

    CREATE TABLE queue (
        job INTEGER NOT NULL,
        idx INTEGER NOT NULL,
        no INTEGER NOT NULL,
        holder INTEGER NOT NULL,
        urgency INTEGER NOT NULL,
        purpose TEXT NOT NULL,
        node INTEGER NOT NULL,
        PRIMARY KEY (job, idx, no)
    ) WITHOUT ROWID;
    CREATE INDEX queue_in_order ON queue (job, holder, urgency, idx, no);
    CREATE INDEX queue_for_one_node ON queue (node) WHERE node > 0;
    CREATE TABLE attempts (
        id INTEGER PRIMARY KEY,
        job INTEGER NOT NULL,
        idx INTEGER NOT NULL,
        node INTEGER NOT NULL,
        owner INTEGER NOT NULL,
        lease INTEGER NOT NULL,
        purpose TEXT NOT NULL,
        state TEXT NOT NULL,
        reserved INTEGER NOT NULL DEFAULT 0,
        granted INTEGER NOT NULL,
        ended INTEGER NOT NULL DEFAULT 0,
        receipt BLOB NOT NULL DEFAULT x'',
        value BLOB NOT NULL DEFAULT x'',
        answer BLOB NOT NULL DEFAULT x'',
        salt BLOB NOT NULL DEFAULT x'',
        note BLOB NOT NULL DEFAULT x'',
        outcome TEXT NOT NULL DEFAULT '',
        core_ms INTEGER NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX attempts_of_a_task ON attempts (job, idx);
    CREATE INDEX live_attempts ON attempts (node) WHERE state = 'leased';
    CREATE INDEX answered_attempts ON attempts (node) WHERE state = 'answered';
    CREATE INDEX refused_attempts ON attempts (job, node) WHERE state = 'refused';
    CREATE INDEX attempts_again ON attempts (job) WHERE purpose IN ('rerun', 'referee');
    CREATE TABLE leases (
        id INTEGER PRIMARY KEY,
        node INTEGER NOT NULL,
        job INTEGER NOT NULL,
        state TEXT NOT NULL,
        live INTEGER NOT NULL
    );
    CREATE INDEX granted_leases ON leases (node) WHERE state = 'granted';
    CREATE TABLE tallies (
        node INTEGER PRIMARY KEY,
        answered INTEGER NOT NULL DEFAULT 0,
        accepted INTEGER NOT NULL DEFAULT 0,
        rejected INTEGER NOT NULL DEFAULT 0,
        earned INTEGER NOT NULL DEFAULT 0
    );
    """,
)

FOLDED: Final = (
    "accounts",
    "transfers",
    "projects",
    "tickets",
    "members",
    "roles",
    "nodes",
    "convictions",
    "jobs",
    "tasks",
    "inputs",
    "twins",
    "actions",
    "queue",
    "attempts",
    "leases",
    "tallies",
)
"""The tables that are a fold of the log."""


def connect(path: Path | str, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection with the settings that durability rests on: WAL, synchronous=FULL, foreign keys."""
    target = f"file:{quote(str(path))}?mode=ro" if read_only else str(path)
    connection = sqlite3.connect(
        target, uri=read_only, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=30
    )
    connection.execute("PRAGMA foreign_keys = ON")
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -65536")
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the newest version, one numbered migration after the other, each in a transaction.

    Raises `Conflict` for a database that a newer Talkoot wrote.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise Conflict(
            f"the hub's database has version {version}, and this Talkoot knows versions up to {len(MIGRATIONS)}",
            hint="use the newer Talkoot that wrote it",
        )
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
