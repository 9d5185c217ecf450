"""Content by its own id: programs, locks and answers. Not part of the fold: an id says what the content must be."""

from collections.abc import Sequence

from talkoot.hub.tx import Tx


def put(tx: Tx, blobs: Sequence[tuple[bytes, bytes]]) -> None:
    """Keep (id, content) pairs; what is there already stays as it is."""
    tx.db.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", blobs)
