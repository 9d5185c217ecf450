"""What things are called, and how the names are derived.

Every derived id is SHA-256 over a constant that names the kind and its version, a zero byte, and the parts,
each preceded by its length as eight bytes, so that no two lists of parts have the same image.
"""

import hashlib
from typing import NewType

JobId = NewType("JobId", bytes)
"""16 random bytes chosen by the client; with the index of a task in the job, the task's id."""
PublicKey = NewType("PublicKey", bytes)
"""32 bytes of Ed25519. A hub, a member and a node are known by theirs."""
Digest = NewType("Digest", bytes)
"""32 bytes of SHA-256."""
ProgramId = NewType("ProgramId", bytes)
EnvironmentId = NewType("EnvironmentId", bytes)
ActionId = NewType("ActionId", bytes)
AttemptId = NewType("AttemptId", int)
LeaseId = NewType("LeaseId", int)
AccountId = NewType("AccountId", int)

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def derive(kind: str, *parts: bytes) -> bytes:
    """SHA-256 over the kind and the length-prefixed parts."""
    h = hashlib.sha256(b"talkoot/" + kind.encode() + b"\0")
    for part in parts:
        h.update(len(part).to_bytes(8, "big"))
        h.update(part)
    return h.digest()


def program_id(carrier: bytes) -> ProgramId:
    """The id of a program: the hash of its carrier, which holds exactly what the walk saw."""
    return ProgramId(derive("program/1", carrier))


def environment_id(lock: bytes) -> EnvironmentId:
    """The id of an environment: the hash of its canonical lock (Python minor version included)."""
    return EnvironmentId(derive("environment/1", lock))


def raw_cid(digest: bytes) -> bytes:
    """The CIDv1 of raw bytes with this SHA-256: how an action names an input."""
    return b"\x01\x55\x12\x20" + digest


def _int(value: int) -> bytes:
    return value.to_bytes(9, "big", signed=True)


def action_id(
    program: ProgramId,
    arguments: bytes,
    inputs: list[bytes],
    environment: EnvironmentId,
    seed: int,
    position: int | None,
    cpus: int,
) -> ActionId:
    """The id of a pure computation: anything that can change the answer changes it, and nothing else.

    `arguments` is the canonical encoding of (args, kwargs); `inputs` are CIDs; `position` is None for `pure=True`;
    `cpus` is how many threads linear algebra may use, which shows in the last bits.
    """
    place = b"pure" if position is None else _int(position)
    return ActionId(
        derive(
            "action/1",
            program,
            arguments,
            b"".join(derive("cid/1", c) for c in inputs),
            environment,
            _int(seed),
            place,
            _int(cpus),
        )
    )


def item_seed(job_seed: int, position: int | None) -> int:
    """The 64-bit seed from which `random` and NumPy's legacy generator start for one item."""
    place = b"pure" if position is None else _int(position)
    return int.from_bytes(derive("seed/1", _int(job_seed), place)[:8], "big")


def hash_seed(job_seed: int) -> int:
    """PYTHONHASHSEED of a job's workers (1 to 2**32 - 1; it is a property of the process, hence of the job)."""
    return 1 + int.from_bytes(derive("hashseed/1", _int(job_seed))[:4], "big") % (2**32 - 1)


def answer_commitment(salt: bytes, answer_digest: bytes) -> bytes:
    """What a receipt says of an answer before the task is final: nobody can tell the answer from it."""
    return derive("answer-commitment/1", salt, answer_digest)


def payload_commitment(salt: bytes, payload: bytes) -> bytes:
    """What the public part of a log entry says of its payload."""
    return derive("payload-commitment/1", salt, payload)


def base32(data: bytes) -> str:
    """Lower-case base32 without padding (RFC 4648), as in CIDv1 text."""
    bits, value, out = 0, 0, []
    for byte in data:
        value = ((value << 8) | byte) & 0xFFF  # what is written already goes: the work grows with the length alone
        bits += 8
        while bits >= 5:
            bits -= 5
            out.append(_ALPHABET[(value >> bits) & 31])
    if bits:
        out.append(_ALPHABET[(value << (5 - bits)) & 31])
    return "".join(out)


def from_base32(text: str) -> bytes:
    """The inverse of `base32`. Raises ValueError for anything that `base32` does not give."""
    bits, value, out = 0, 0, bytearray()
    for letter in text:
        digit = _ALPHABET.find(letter)
        if digit < 0:
            raise ValueError(f"{letter!r} is not a letter of lower-case base32")
        value = ((value << 5) | digit) & 0xFFF
        bits += 5
        if bits >= 8:
            bits -= 8
            out.append((value >> bits) & 255)
    if bits >= 5 or value & ((1 << bits) - 1):
        raise ValueError("not the base32 of whole bytes")
    return bytes(out)


def job_text(job: bytes) -> str:
    """How a job is written: `job_` and 26 letters. What is too long to be one is cut."""
    return "job_" + base32(job[:16])


def parse_job(text: str) -> JobId:
    """The job that `job_text` wrote. Raises ValueError."""
    data = from_base32(text.removeprefix("job_"))
    if len(data) != 16:
        raise ValueError(f"{text!r} is not the id of a job")
    return JobId(data)


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def key_text(key: bytes) -> str:
    """How a public key is written: did:key with the Ed25519 prefix 0xed01 (W3C CCG did:key)."""
    data = b"\xed\x01" + key
    number = int.from_bytes(data, "big")
    out = ""
    while number:
        number, digit = divmod(number, 58)
        out = _BASE58[digit] + out
    return "did:key:z" + out
