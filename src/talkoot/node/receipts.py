"""From what came of a run to the receipt that the node signs, and the batch in which it goes out."""

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from talkoot.core import ids
from talkoot.core.types import Note, Outcome, Receipt, Rung
from talkoot.crypto import merkle
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.signed import Kind, Signed
from talkoot.node.sandbox import Run
from talkoot.node.signals import Report, Work
from talkoot.wire.messages import AnswerData, ReceiptBatch

SALT_BYTES: Final = 16
MAX_REASON_CHARS: Final = 2_000
_HAS_ANSWER: Final = (Outcome.ANSWERED, Outcome.RAISED)
_encode = msgspec.msgpack.Encoder().encode


class Clerk:
    """Writes receipts for one hub. Holds no key: what is signed is the batch."""

    def __init__(self, hub: bytes, numeric_class: bytes, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._hub = hub
        self._numeric_class = numeric_class
        self._random = random

    def report(self, work: Work, run: Run, *, rung: Rung, fresh: bool, enforced: str) -> Report:
        """The receipt of a run."""
        item = work.item
        salt = commitment = b""
        if run.outcome in _HAS_ANSWER:
            salt = self._random(SALT_BYTES)
            commitment = ids.answer_commitment(salt, hashlib.sha256(run.answer).digest())
        receipt = Receipt(
            hub=self._hub,
            attempt=item.attempt,
            job=work.job,
            index=item.index,
            action=item.action,
            outcome=run.outcome,
            commitment=commitment,
            core_ms=run.wall_ms * work.cpus,
            memory_bytes=run.memory_bytes,
            numeric_class=self._numeric_class,
            rung=rung,
            fresh=fresh,
            reason=printable(run.reason[:MAX_REASON_CHARS]),
            enforced=enforced,
        )
        answer = run.answer if commitment else b""
        told = AnswerData(item.attempt, salt, answer, _encode(run.note))
        return Report(_encode(receipt), told, None if run.outcome is Outcome.REFUSED else work)

    def refusal(self, work: Work, reason: str) -> Report:
        """The receipt of an attempt that was not run; `reason` is a code of `KillReason`, a colon, and words."""
        run = Run(Outcome.REFUSED, note=Note(message=reason[:MAX_REASON_CHARS]), reason=reason)
        return self.report(work, run, rung=Rung.NONE, fresh=False, enforced="")


def sign_batch(key: SigningKey, hub: bytes, reports: Sequence[Report]) -> Signed | None:
    """One signature over all of them; None where there are none."""
    if not reports:
        return None
    root = merkle.root([merkle.leaf_hash(report.receipt) for report in reports])
    return key.sign(Kind.RECEIPTS, _encode(ReceiptBatch(hub, len(reports), root)))


def printable(text: str) -> str:
    """The text without control characters: it will be shown on other people's terminals, and hubs refuse others."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
