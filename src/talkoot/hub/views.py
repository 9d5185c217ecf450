"""What members and pages look at: jobs, a job, the hub as a whole. Reading only, and never an answer's content."""

import datetime
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from talkoot.core import limits
from talkoot.core.errors import NotAllowed, NotFound
from talkoot.core.events import PublicPart
from talkoot.core.ids import job_text
from talkoot.core.types import NodeDescription, NumericClass
from talkoot.crypto.checkpoint import Checkpoint, sign_checkpoint
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.merkle import Frontier
from talkoot.hub import progress
from talkoot.hub.offers import Query
from talkoot.wire import messages as m

ANYBODY: Final = b""
"""In place of a key: the pages, which have no key and show no content."""


def times_of(query: Query, positions: Iterable[int]) -> dict[int, int]:
    """Milliseconds of wall time at which these entries of the log were written."""
    return {position: _at_ms(query, position) for position in set(positions) if position}


def _at_ms(query: Query, position: int) -> int:
    rows = query("SELECT public FROM log WHERE position = ?", position)
    return msgspec.msgpack.decode(rows[0][0], type=PublicPart).at_ms if rows else 0


def clock_text(at_ms: int) -> str:
    """A moment as people read it, in UTC."""
    return f"{datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC):%Y-%m-%d %H:%M:%S}"


def name_of(query: Query, key: bytes) -> str:
    """What a member is called."""
    rows = query("SELECT name FROM members WHERE key = ?", key)
    return str(rows[0][0]) if rows else ""


def jobs(query: Query, viewer: bytes, limit: int) -> tuple[m.JobRow, ...]:
    """The newest jobs of the viewer's projects."""
    where = "" if viewer == ANYBODY else "WHERE project IN (SELECT project FROM roles WHERE member = ?2)"
    rows = query(
        f"SELECT {progress.COLUMNS} FROM jobs {where} ORDER BY no DESC LIMIT ?1",  # noqa: S608 - our own words
        max(0, min(limit, limits.MAX_PAGE_ROWS)),
        *([] if viewer == ANYBODY else [viewer]),
    )
    nodes = progress.present_nodes(query)
    return tuple(job_row(query, progress.JobFacts(row), nodes) for row in rows)


def job_row(query: Query, job: progress.JobFacts, nodes: int) -> m.JobRow:
    """One job in a list."""
    return m.JobRow(
        job["id"],
        job["name"],
        job["project"],
        name_of(query, job["submitter"]),
        _at_ms(query, job["entry"]),
        _at_ms(query, job["ended_entry"]) if job["ended_entry"] else 0,
        progress.progress_of(query, job, nodes),
    )


def find_job(query: Query, viewer: bytes, job_id: bytes) -> progress.JobFacts:
    """The job, if it is one of the viewer's projects; `NotFound` otherwise, whichever it was."""
    rows = query(f"SELECT {progress.COLUMNS} FROM jobs WHERE id = ?", job_id)  # noqa: S608
    if rows:
        job = progress.JobFacts(rows[0])
        mine = "SELECT 1 FROM roles WHERE member = ? AND project = ? LIMIT 1"
        if viewer == ANYBODY or query(mine, viewer, job["project"]):
            return job
    raise NotFound(f"no job {job_text(job_id)} in your projects on this hub")


def job(query: Query, viewer: bytes, request: m.ViewJob) -> m.JobView:
    """One job with some of its tasks, and why the next of them waits."""
    found = find_job(query, viewer, request.job)
    rows = query(
        "SELECT idx, state, executions, confidence, cost, reason FROM tasks WHERE job = ? AND idx >= ? ORDER BY idx LIMIT ?",
        found.no,
        max(0, min(request.first, 2**63 - 1)),
        max(0, min(request.tasks, limits.MAX_PAGE_ROWS)),
    )
    (escrow,) = query("SELECT balance FROM accounts WHERE id = ?", found["account"])[0]
    index = progress.wanted_task(query, found.no) if found.live else None
    return m.JobView(
        job_row(query, found, progress.present_nodes(query)),
        found.manifest,
        escrow,
        found["price"],
        tuple(m.TaskRow(*row) for row in rows),
        () if index is None else tuple(progress.waiting_for(query, found, index)),
    )


# The hub as a whole.


def check_may_see_hub(query: Query, viewer: bytes) -> None:
    """Raise NotAllowed for whoever is neither a member nor a node."""
    sql = "SELECT 1 FROM members WHERE key = ?1 UNION ALL SELECT 1 FROM nodes WHERE key = ?1 LIMIT 1"
    if viewer != ANYBODY and not query(sql, viewer):
        raise NotAllowed("this hub does not know your key", hint="join with a ticket")


def hub(query: Query, name: str, version: str, key: SigningKey, origin: str) -> m.HubView:
    """Nodes, accounts, convictions and the head of the log."""
    size, note = checkpoint(query, key, origin)
    return m.HubView(name, key.public, version, nodes(query), accounts(query), convictions(query), size, note)


def checkpoint(query: Query, key: SigningKey, origin: str) -> tuple[int, str]:
    """(size, signed note) of the log, as of this snapshot."""
    rows = query("SELECT value FROM meta WHERE key = 'frontier'")
    frontier = msgspec.msgpack.decode(rows[0][0], type=Frontier) if rows else Frontier()
    return frontier.size, sign_checkpoint(key, Checkpoint(origin, frontier.size, frontier.root()))


def nodes(query: Query) -> tuple[m.NodeRow, ...]:
    """Every node, those that are there first."""
    rows = query(
        "SELECT no, nodes.key, nodes.name, members.name, state, anchor, description,"
        " (SELECT count(*) FROM attempts WHERE node = no AND state = 'leased'), answered, accepted, rejected, earned,"
        " coalesce((SELECT words FROM convictions WHERE node = no LIMIT 1), '')"
        " FROM nodes JOIN members ON members.account = owner JOIN tallies ON tallies.node = no"
        " ORDER BY state <> 'present', no LIMIT ?",
        limits.MAX_PAGE_ROWS,
    )
    return tuple(_node_row(*row) for row in rows)


def _node_row(number: int, key: bytes, name: str, owner: str, state: str, anchor: int, said: bytes, *rest: Any) -> m.NodeRow:
    running, answered, accepted, rejected, earned, why = rest
    about = msgspec.msgpack.decode(said, type=NodeDescription) if said else None
    return m.NodeRow(
        number,
        key,
        name,
        owner,
        state,
        bool(anchor),
        about.slots if about else 0,
        about.rung.value if about else "",
        class_text(about.numeric_class) if about else "",
        running,
        answered,
        accepted,
        rejected,
        earned,
        why,
    )


def class_text(numeric: NumericClass) -> str:
    """A numeric class in one line."""
    return ", ".join(part for part in msgspec.structs.astuple(numeric) if part)


def accounts(query: Query) -> tuple[m.AccountRow, ...]:
    """The treasury, projects and members, and the escrow of jobs that still hold something."""
    rows = query(
        "SELECT accounts.id, kind, subject, balance, coalesce(members.name, jobs.name, '') FROM accounts"
        " LEFT JOIN members ON kind = 'member' AND members.key = subject"
        " LEFT JOIN jobs ON kind = 'escrow' AND jobs.id = subject"
        " WHERE kind <> 'escrow' OR balance > 0 ORDER BY accounts.id LIMIT ?",
        limits.MAX_PAGE_ROWS,
    )
    return tuple(
        m.AccountRow(number, kind, subject.decode() if kind == "project" else name or kind, balance)
        for number, kind, subject, balance, name in rows
    )


def convictions(query: Query) -> tuple[m.ConvictionRow, ...]:
    """Who was found to give wrong answers, and the evidence."""
    rows = query(
        "SELECT nodes.name, members.name, jobs.id, c.idx, c.attempt, c.words, c.entry FROM convictions c"
        " JOIN nodes ON nodes.no = c.node JOIN members ON members.account = nodes.owner JOIN jobs ON jobs.no = c.job"
        " ORDER BY c.entry DESC LIMIT ?",
        limits.MAX_PAGE_ROWS,
    )
    return tuple(
        m.ConvictionRow(node, owner, job_id, index, attempt, words, _at_ms(query, entry))
        for node, owner, job_id, index, attempt, words, entry in rows
    )
