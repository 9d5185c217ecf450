"""The one format in which a key states anything, and the check of it.

    signature = Ed25519 over b"talkoot/v1/" + kind + b"\\0" + payload

The kind is part of what is signed, so that a statement of one kind is worth nothing as another. No other code
verifies a signature (checkpoints alone have a format that others prescribe), and no caller may read a payload
that did not come out of `verify`.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec
from nacl.bindings import crypto_sign_BYTES, crypto_sign_open, crypto_sign_PUBLICKEYBYTES
from nacl.exceptions import BadSignatureError

from talkoot.core import ids
from talkoot.core.errors import BadInput, BadSignature

PUBLIC_KEY_BYTES: Final = crypto_sign_PUBLICKEYBYTES
SIGNATURE_BYTES: Final = crypto_sign_BYTES
DOMAIN: Final = b"talkoot/v1/"


class Kind(StrEnum):
    """What a statement is for. See `docs/reference/signatures.md` for the payload of each."""

    REQUEST = "request"
    MANIFEST = "manifest"
    RECEIPTS = "receipts"
    LENDING = "lending"
    TICKET = "ticket"
    CHECKPOINT = "checkpoint"
    """Named here to have one list. It is signed as a C2SP note (`checkpoint`), never as `Signed`."""


KINDS: Final = frozenset(Kind)


class Signed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A payload, what it is for, and whose it is. Nothing in it holds before `verify` has returned."""

    kind: str
    key: bytes
    payload: bytes
    signature: bytes

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # Not the payload: it may hold a secret (who redeems a ticket sends one), and be megabytes.
        return [("kind", self.kind), ("key", ids.key_text(self.key)), ("payload_bytes", len(self.payload))]

    def __repr__(self) -> str:
        return f"Signed({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


_decoder = msgspec.msgpack.Decoder(Signed)


def signing_input(kind: Kind, payload: bytes) -> bytes:
    """The bytes that are signed."""
    assert kind is not Kind.CHECKPOINT, "a checkpoint is signed as a note: call sign_checkpoint"
    return DOMAIN + kind.encode() + b"\0" + payload


def verify(signed: Signed, kind: Kind, *, key: bytes | None = None) -> bytes:
    """The payload, if `signed` is a statement of this kind by its key (and by `key`, where one is given).

    Raises BadSignature otherwise; lengths that no key and no signature has count as that too.
    """
    if signed.kind != kind:
        raise BadSignature(f"A statement of kind {signed.kind[:40]!r} was given where {kind.value!r} is needed.")
    if len(signed.key) != PUBLIC_KEY_BYTES or len(signed.signature) != SIGNATURE_BYTES:
        raise BadSignature(
            f"A key of {len(signed.key)} and a signature of {len(signed.signature)} bytes were given; "
            f"they have {PUBLIC_KEY_BYTES} and {SIGNATURE_BYTES}."
        )
    if key is not None and signed.key != key:
        signer, expected = ids.key_text(signed.key), ids.key_text(key)
        raise BadSignature(f"The {kind.value} is signed by {signer}; {expected} has to sign it.")
    if not verify_raw(signed.key, signing_input(kind, signed.payload), signed.signature):
        raise BadSignature(
            f"The signature of the {kind.value} does not verify with {ids.key_text(signed.key)}.",
            hint="It was changed on the way, or another key made it.",
        )
    return signed.payload


def verify_raw(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is Ed25519 over the bare message. For `verify` and `open_checkpoint` only."""
    try:
        crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return False
    return True


def encode_signed(signed: Signed) -> bytes:
    """The MessagePack form, in which a statement travels and is kept."""
    return msgspec.msgpack.encode(signed)


def decode_signed(data: bytes) -> Signed:
    """The statement in `data`, not yet verified. Raises BadInput. The caller checks the size first."""
    try:
        return _decoder.decode(data)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors, and so is bad UTF-8
        raise BadInput(f"{len(data)} bytes were given that are not a signed statement: {error}.") from None
