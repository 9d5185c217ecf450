"""Keys, the one format of signed statements, Merkle trees and checkpoints.

Nothing in this room opens a socket or looks at a clock. It touches the disk in one place: `keys` reads and
creates the file of a secret key, because no other room may ever see the bytes in it. What is signed, by whom,
and what it is bound to: `docs/reference/signatures.md`.
"""

from talkoot.crypto.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.signed import KINDS, Kind, Signed, decode_signed, encode_signed, verify

__all__ = [
    "KINDS",
    "Checkpoint",
    "Kind",
    "Signed",
    "SigningKey",
    "decode_signed",
    "encode_signed",
    "open_checkpoint",
    "sign_checkpoint",
    "verify",
]
