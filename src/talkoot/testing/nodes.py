"""Scripted nodes: they do what a test says, at once or when told, and sign it as real nodes do."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from talkoot.core import codec, ids
from talkoot.core.types import NodeDescription, NumericClass, Outcome, Receipt, Rung, class_digest
from talkoot.crypto import merkle
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.signed import Kind
from talkoot.testing.network import InProcessHub
from talkoot.wire import messages as m

Behaviour = Callable[[Any, m.LeaseItem], Any]
"""From the task's one argument and its lease to the answer. `Killed`, `Refused` and exceptions are told as such."""
CLASS = NumericClass("x86_64", "glibc 2.36", "3.11", "x86-64-v3", "Haswell 1")


class Killed(Exception):
    """The task exceeded a limit."""


class Refused(Exception):
    """The node would not run it."""


def square(value: Any, _: m.LeaseItem) -> Any:
    """What honest nodes compute."""
    return value * value


class ScriptedNode:
    """A node with its own owner. `work()` is one exchange that reports what was done and takes more."""

    def __init__(
        self,
        hub: InProcessHub,
        name: str,
        *,
        behaviour: Behaviour = square,
        owner: SigningKey | None = None,
        anchor: bool = False,
        slots: int = 4,
        numeric: NumericClass = CLASS,
        rung: Rung = Rung.BWRAP,
        core_ms: int = 100,
    ) -> None:
        self.hub, self.name, self.behaviour = hub, name, behaviour
        self.key = SigningKey.generate(hub.random.randbytes(32))
        self.owner = owner or SigningKey.generate(hub.random.randbytes(32))
        self.core_ms = core_ms
        self.description = NodeDescription(name, slots, slots * 2**31, 2**34, numeric, rung, "3.11")
        self.held: list[tuple[bytes, m.LeaseItem]] = []
        self.accepted: list[int] = []
        self.goodbye = ""
        self.lose_reply = False
        """The next reply of the hub is lost on its way."""
        self._outbox: list[tuple[Receipt, m.AnswerData]] = []
        lending = m.Lending(hub.engine.hub, self.owner.public, name)
        signed = self.key.sign(Kind.LENDING, msgspec.msgpack.encode(lending))
        self.number = hub.admit(self.owner, name, role="anchor" if anchor else "contributor", lending=signed).node
        self.boot = b""
        self.restart()

    def restart(self) -> None:
        """Crash and come back: what it held and had not sent is gone."""
        self.boot = self.hub.random.randbytes(8)
        self.held.clear()
        self._outbox.clear()
        self._leases: set[int] = set()
        self._described = False

    def do_all(self) -> None:
        """Carry out everything it holds; the receipts go with the next exchange."""
        for job, item in self.held:
            self._outbox.append(self._carry_out(job, item))
        self.held.clear()

    def talk(self, want: int = 0, *, handed_back: tuple[int, ...] = ()) -> m.Exchanged:
        """One exchange. What the hub accepted is dropped from the outbox."""
        receipts = tuple(msgspec.msgpack.encode(receipt) for receipt, _ in self._outbox)
        batch = None
        if receipts:
            root = merkle.root([merkle.leaf_hash(r) for r in receipts])
            statement = m.ReceiptBatch(self.hub.engine.hub, len(receipts), root)
            batch = self.key.sign(Kind.RECEIPTS, msgspec.msgpack.encode(statement))
        description = None if self._described else self.description
        answers = tuple(answer for _, answer in self._outbox)
        known = tuple(self._leases)
        request = m.Exchange(self.boot, description, batch, receipts, answers, handed_back, want, 0, leases=known)
        reply = self.hub.exchange(self.key, request)
        if reply.describe:
            self._described = False
            return self.talk(want, handed_back=handed_back)
        if self.lose_reply:
            self.lose_reply = False
            return reply
        self._described = True
        self._outbox = [(r, a) for r, a in self._outbox if r.attempt not in reply.accepted]
        self.accepted += reply.accepted
        self.held = [(j, i) for j, i in self.held if i.attempt not in reply.cancels]
        self.held += [(lease.job, item) for lease in reply.leases for item in lease.items]
        self._leases.update(lease.lease for lease in reply.leases)
        self.goodbye = reply.goodbye
        return reply

    def work(self, want: int = 4) -> int:
        """Take up to `want`, do it, report it; returns how many were taken."""
        reply = self.talk(want)
        taken = sum(len(lease.items) for lease in reply.leases)
        self.do_all()
        self.talk()
        return taken

    def _carry_out(self, job: bytes, item: m.LeaseItem) -> tuple[Receipt, m.AnswerData]:
        outcome, answer, reason = Outcome.ANSWERED, b"", ""
        try:
            (args, _) = codec.decode(item.arguments)
            answer = codec.encode(self.behaviour(args[0], item))
        except Killed as error:
            outcome, reason = Outcome.KILLED, str(error)
        except Refused as error:
            outcome, reason = Outcome.REFUSED, str(error)
        except Exception as error:  # noqa: BLE001 - whatever the task raises is its answer
            outcome, answer = Outcome.RAISED, codec.encode({"type": type(error).__name__, "frames": []})
        salt = self.hub.random.randbytes(16)
        commitment = ids.answer_commitment(salt, hashlib.sha256(answer).digest()) if answer else b""
        receipt = Receipt(
            hub=self.hub.engine.hub,
            attempt=item.attempt,
            job=job,
            index=item.index,
            action=item.action,
            outcome=outcome,
            commitment=commitment,
            core_ms=self.core_ms,
            memory_bytes=2**20,
            numeric_class=class_digest(self.description.numeric_class),
            rung=self.description.rung,
            fresh=item.fresh,
            reason=reason,
        )
        return receipt, m.AnswerData(item.attempt, salt, answer, b"")


def drain(nodes: Sequence[ScriptedNode], rounds: int = 60) -> None:
    """Let the nodes work in turn until there is nothing left for them. Raises AssertionError when there always is."""
    for _ in range(rounds):
        if not sum([node.work() for node in nodes]):
            return
    raise AssertionError("the network does not come to rest")
