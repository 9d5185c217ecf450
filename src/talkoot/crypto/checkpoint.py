"""The head of a hub's log, signed: a C2SP tlog-checkpoint, which any tool for transparency logs can check.

    talkoot/did:key:z6Mk...            origin: which log
    1207                               how many entries
    mZ0yPq...=                         root of the Merkle tree, base64
                                       (an empty line)
    — talkoot/did:key:z6Mk... 5fK2...  base64 of key id and Ed25519 signature over all before the empty line

Format: c2sp.org/tlog-checkpoint and c2sp.org/signed-note (signature type 0x01). The key's name is the origin.
Signatures of others (witnesses) may stand in the note and are passed over. Extension lines are refused, for
nobody could audit them.
"""

import base64
import binascii
import hashlib
import re
from typing import Final, NamedTuple

from talkoot.core import ids, limits
from talkoot.core.errors import BadInput, BadSignature
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.merkle import HASH_BYTES
from talkoot.crypto.signed import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, verify_raw

_ED25519: Final = b"\x01"
_KEY_ID_BYTES: Final = 4
_MAX_SIZE: Final = 2**63 - 1
_DASH: Final = "\N{EM DASH} "
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_FORBIDDEN: Final = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")
"""Control characters other than the line end, and what has no UTF-8."""
_ORIGIN: Final = re.compile(r"[^\s+\x00-\x20\x7f]{1,200}")


class Checkpoint(NamedTuple):
    """Which log, how many entries, and the root of the tree over them."""

    origin: str
    size: int
    root: bytes


def log_origin(hub: bytes) -> str:
    """The name of a hub's log in its checkpoints."""
    return "talkoot/" + ids.key_text(hub).removeprefix("did:key:")


def sign_checkpoint(key: SigningKey, checkpoint: Checkpoint) -> str:
    """The checkpoint as a signed note. Raises BadInput for one that could not be read back."""
    text = _text(checkpoint)
    blob = key_id(checkpoint.origin, key.public) + key.sign_raw(text.encode())
    return f"{text}\n{_DASH}{checkpoint.origin} {base64.b64encode(blob).decode()}\n"


def open_checkpoint(note: str, origin: str, key: bytes) -> Checkpoint:
    """The checkpoint of the log `origin`, if `key` signed it.

    Raises BadSignature for anything else: another log or key, any change, whatever is not a checkpoint.
    """
    if len(note) > limits.MAX_CHECKPOINT_CHARS:
        raise BadSignature(f"A note of {len(note)} characters; a checkpoint has {limits.MAX_CHECKPOINT_CHARS} at most.")
    if len(key) != PUBLIC_KEY_BYTES:
        raise BadSignature(f"The key of the log {origin} has {len(key)} bytes, not {PUBLIC_KEY_BYTES}.")
    text, signatures = _split(note)
    wanted = key_id(origin, key)
    blobs = [blob for name, blob in signatures if name == origin and blob[:_KEY_ID_BYTES] == wanted]
    if not blobs:
        raise BadSignature(f"The checkpoint has no signature of the log {origin} by {ids.key_text(key)}.")
    for blob in blobs:
        signature = blob[_KEY_ID_BYTES:]
        if len(signature) != SIGNATURE_BYTES or not verify_raw(key, text.encode(), signature):
            raise BadSignature(f"The signature of the checkpoint does not verify with {ids.key_text(key)}.")
    checkpoint = _parse(text)
    if checkpoint.origin != origin:
        raise BadSignature(f"The checkpoint is of the log {checkpoint.origin!r}, not of {origin!r}.")
    return checkpoint


def key_id(name: str, key: bytes) -> bytes:
    """The four bytes by which a note says whose a signature is."""
    return hashlib.sha256(name.encode(errors="replace") + b"\n" + _ED25519 + key).digest()[:_KEY_ID_BYTES]


def _text(checkpoint: Checkpoint) -> str:
    """The signed part of the note: three lines."""
    origin, size, root = checkpoint
    if not _ORIGIN.fullmatch(origin):
        raise BadInput(f"{origin[:200]!r} cannot name a log: it needs 1 to 200 characters, without spaces and `+`.")
    if not 0 <= size <= _MAX_SIZE or len(root) != HASH_BYTES:
        raise BadInput(f"A checkpoint of size {size} with a root of {len(root)} bytes cannot be written.")
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def _parse(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not _SIZE.fullmatch(lines[1]):
        raise BadSignature("The note is signed, but is not a checkpoint of three lines.")
    root = _from_base64(lines[2])
    if root is None or len(root) != HASH_BYTES or int(lines[1]) > _MAX_SIZE:
        raise BadSignature("The note is signed, but its size or root is not that of a log.")
    return Checkpoint(lines[0], int(lines[1]), root)


def _split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The signed text, and name and bytes of every signature. The text keeps its last line end."""
    text, gap, signature_lines = note.rpartition("\n\n")
    if not gap or not note.endswith("\n") or _FORBIDDEN.search(note):
        raise BadSignature("Text was given that is not a signed note.")
    return text + "\n", [_signature(line) for line in signature_lines[:-1].split("\n")]


def _signature(line: str) -> tuple[str, bytes]:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    blob = _from_base64(encoded)
    if not line.startswith(_DASH) or not name or not space or blob is None or len(blob) <= _KEY_ID_BYTES:
        raise BadSignature("The note has a signature line that is not one.")
    return name, blob


def _from_base64(text: str) -> bytes | None:
    """The bytes, if the text is their only base64 form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None
