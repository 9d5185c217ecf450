"""The canonical safe encoding of values: two values of one type and one value have the same bytes, others differ.

It is MessagePack with extension types (the marks, see docs/reference/codec.md). Decoding executes nothing,
imports nothing by a name that the data holds, and allocates no more than a small multiple of the data. NumPy is
never imported by this package, except by `decode` when the data holds an array and the caller wants it as one.
"""

import hashlib

from talkoot.core.codec._decode import decode
from talkoot.core.codec._encode import encode
from talkoot.core.codec._hole import Hole
from talkoot.core.codec._layout import RawArray
from talkoot.core.codec._record import Record
from talkoot.core.codec._scan import validate

__all__ = ["Hole", "RawArray", "Record", "decode", "digest", "encode", "validate"]


def digest(data: bytes) -> bytes:
    """SHA-256 of an encoding: what a commitment and a memo row say of an answer."""
    return hashlib.sha256(data).digest()
