"""Content by its own id: programs, locks and answers. Not part of the fold: an id says what the content must be.

Who sends content does not name it: the hub derives the id itself. Who asks for content must have a reason to: a node
works on a job that names it, a member belongs to the project of such a job.
"""

from collections.abc import Sequence
from typing import Final

from talkoot.core import ids, limits
from talkoot.core.errors import BadInput, NotAllowed, NotFound, TooLarge
from talkoot.core.lock import decode_lock
from talkoot.hub.offers import Query
from talkoot.hub.tx import Tx
from talkoot.wire.messages import GetBlobs, PutBlobs

SUBMITTING_ROLES: Final = ("owner", "researcher")


def put(tx: Tx, blobs: Sequence[tuple[bytes, bytes]]) -> None:
    """Keep (id, content) pairs; what is there already stays as it is."""
    tx.db.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", blobs)


def name(request: PutBlobs) -> list[tuple[bytes, bytes]]:
    """(id, content) of what was sent, each checked. Raises BadInput, TooLarge, RequirementError."""
    if len(request.kinds) != len(request.blobs):
        raise BadInput(f"{len(request.blobs)} blobs and {len(request.kinds)} kinds were sent; each blob has one kind")
    if len(request.blobs) > limits.MAX_BLOBS_PER_REQUEST:
        raise TooLarge(f"{len(request.blobs)} blobs in one request; at most {limits.MAX_BLOBS_PER_REQUEST}")
    return [(_id(kind, blob), blob) for kind, blob in zip(request.kinds, request.blobs, strict=True)]


def _id(kind: str, blob: bytes) -> bytes:
    if kind == "program":
        if len(blob) > limits.MAX_PROGRAM_BYTES:
            raise TooLarge(f"a program of {len(blob):,} bytes; at most {limits.MAX_PROGRAM_BYTES:,}")
        return ids.program_id(blob)
    if kind == "environment":
        decode_lock(blob)
        return ids.environment_id(blob)
    raise BadInput(f"{kind[:40]!r} is not a kind of content", hint="`program` or `environment`")


def check_may_put(query: Query, member: bytes) -> None:
    """Raise NotAllowed for whoever may not submit jobs to any project."""
    if not query("SELECT 1 FROM roles WHERE member = ? AND role IN (?, ?) LIMIT 1", member, *SUBMITTING_ROLES):
        raise NotAllowed("your key may not submit jobs here, so it may not put programs either", hint="ask for a ticket")


def get(query: Query, key: bytes, request: GetBlobs) -> tuple[bytes, ...]:
    """The content asked for, all of it.

    Raises NotFound for what is not there, or not for this key: the two are not told apart.
    """
    if len(request.digests) > limits.MAX_BLOBS_PER_REQUEST:
        raise TooLarge(f"{len(request.digests)} blobs in one request; at most {limits.MAX_BLOBS_PER_REQUEST}")
    size = 0
    for digest in request.digests:
        row = query("SELECT length(data) FROM blobs WHERE digest = ?", digest)
        if not row or not _may_get(query, key, digest):
            raise NotFound(
                f"there is no content {digest.hex()[:16]}, or it is not for your key",
                hint="a node gets what the jobs name of which it holds leases, a member what the jobs of a project name",
            )
        size += row[0][0]
    if size > limits.MAX_REQUEST_BYTES:
        raise TooLarge(f"{size:,} bytes of content in one reply; at most {limits.MAX_REQUEST_BYTES:,}", hint="ask for less")
    return tuple(query("SELECT data FROM blobs WHERE digest = ?", digest)[0][0] for digest in request.digests)


def _may_get(query: Query, key: bytes, digest: bytes) -> bool:
    by_lease = query(
        "SELECT 1 FROM nodes JOIN attempts ON attempts.node = nodes.no AND attempts.state = 'leased'"
        " JOIN jobs ON jobs.no = attempts.job"
        " WHERE nodes.key = ?1 AND ?2 IN (jobs.program, jobs.environment) LIMIT 1",
        key,
        digest,
    )
    by_project = "SELECT 1 FROM jobs JOIN roles ON roles.project = jobs.project AND roles.member = ? WHERE {} = ? LIMIT 1"
    return bool(
        by_lease
        or query(by_project.format("jobs.program"), key, digest)
        or query(by_project.format("jobs.environment"), key, digest)
    )
