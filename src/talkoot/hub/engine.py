"""The hub without its network: commands in, replies out, one transaction for each group of commands.

`Engine.execute` carries out a group: each command under its own savepoint, each entry appended to the log, each
event applied to the tables, then one commit with FULL sync for all. A command that fails leaves nothing. After the
commands, and in the same transaction, nodes that are parked in a long poll get what has become available.

The engine is used by one thread at a time: the writer's in a real hub, the simulation's in a simulated one. Time and
randomness are given to it.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from talkoot.core import events as ev
from talkoot.core import ids
from talkoot.core.errors import BadInput, Conflict, DiskFull, TalkootError
from talkoot.core.ids import PublicKey
from talkoot.crypto.checkpoint import Checkpoint, log_origin, sign_checkpoint
from talkoot.crypto.keys import SigningKey
from talkoot.hub import schema
from talkoot.hub.commands import conviction, grant, people, presence, settle
from talkoot.hub.fold import Fold
from talkoot.hub.log import Log, SqliteLog
from talkoot.hub.tx import Memory, Settings, Tx
from talkoot.wire.messages import Exchanged

_SALT_BYTES: Final = 16
_log = logging.getLogger(__name__)
_payload_encoder = msgspec.msgpack.Encoder()


@dataclass(slots=True)
class Command:
    """Something to be done: a name for the log, a function of a `Tx`, and the signed wish behind it."""

    kind: str
    run: Callable[[Tx], Any]
    will: bytes = b""


@dataclass(slots=True)
class Done:
    """What became of a command: its reply, or its error."""

    reply: Any = None
    error: TalkootError | None = None


@dataclass(slots=True)
class Parked:
    """A node that waits in a long poll."""

    node: int
    want: int
    manifests: frozenset[bytes]
    deliver: Callable[[Exchanged], None]
    """Called after the commit that has something for it; from the engine's thread."""
    channel: int = 0


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time and randomness, as the engine gets them."""

    monotonic: Callable[[], float]
    wall_ms: Callable[[], int]
    draw: Callable[[int], bytes]


class Engine:
    """A hub's log, tables and rules."""

    def __init__(self, path: Path | str, key: SigningKey, settings: Settings, clocks: Clocks) -> None:
        self.key = key
        self.hub = PublicKey(key.public)
        self.settings = settings
        self.memory = Memory()
        self.parked: dict[int, Parked] = {}
        self.on_commit: list[Callable[[frozenset[bytes]], None]] = []
        """Called after each commit with the ids of the jobs that were touched."""
        self._clocks = clocks
        self.db = schema.connect(path)
        schema.migrate(self.db)
        self.log = SqliteLog(self.db)
        self._fold = Fold(self.db)
        self._note: tuple[int, str] = (-1, "")
        self._next_park = 1

    def close(self) -> None:
        """Close the database. What was committed is safe without it."""
        self.db.close()

    def open_for(self, operator: bytes, operator_name: str) -> None:
        """Open a new hub for its operator; an existing one must be of the same key."""
        if self.log.size():
            first = next(iter(self.log.read(1)))[1]
            opened = msgspec.msgpack.decode(first.payload, type=ev.Payload).events[0]
            if not isinstance(opened, ev.HubOpened) or opened.hub != self.hub:
                raise Conflict("this data folder belongs to a hub with another key", hint="give its own key, or a new folder")
            return
        (done,) = self.execute([Command("hub.open", lambda tx: people.open_hub(tx, operator, operator_name))])
        if done.error is not None:
            raise done.error

    def execute(self, commands: Sequence[Command]) -> list[Done]:
        """Carry out a group of commands in one transaction; a failed command takes nothing else with it."""
        try:
            return self._execute(commands)
        except sqlite3.OperationalError as error:
            self._roll_back()
            if "full" not in str(error) and "disk I/O" not in str(error):
                raise
            full = DiskFull(f"the hub's disk takes no more ({error}); nothing was changed", hint="make room, then retry")
            return [Done(error=full) for _ in commands]
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        self._fold.forget()
        self.log.reload()

    def _execute(self, commands: Sequence[Command]) -> list[Done]:
        self.db.execute("BEGIN IMMEDIATE")
        transactions: list[Tx] = []
        done = [self._one(command, transactions) for command in commands]
        deliveries = self._serve_parked(transactions)
        self.db.execute("COMMIT")
        for tx in transactions:
            for action in tx.after_commit:
                action()
        for parked, reply in deliveries:
            parked.deliver(msgspec.structs.replace(reply, checkpoint=self.checkpoint()))
        touched = {job for tx in transactions for job in tx.jobs_touched}
        if touched and self.on_commit:
            names = frozenset(bytes(self.db.execute("SELECT id FROM jobs WHERE no = ?", (j,)).fetchone()[0]) for j in touched)
            for listener in self.on_commit:
                listener(names)
        return done

    def _one(self, command: Command, transactions: list[Tx]) -> Done:
        self.db.execute("SAVEPOINT command")
        tx = self._tx(command.will)
        try:
            reply = command.run(tx)
            self._finish(command.kind, tx)
        except (TalkootError, sqlite3.IntegrityError, OverflowError) as error:
            self.db.execute("ROLLBACK TO command")
            self.db.execute("RELEASE command")
            self._fold.forget()
            self.log.reload()
            if isinstance(error, TalkootError):
                return Done(error=error)
            if isinstance(error, OverflowError):
                return Done(error=BadInput(f"a number in the {command.kind} is larger than any that the hub keeps"))
            return Done(error=Conflict(f"the {command.kind} would break a law of the ledger: {error}"))
        self.db.execute("RELEASE command")
        transactions.append(tx)
        return Done(reply)

    def _tx(self, will: bytes = b"") -> Tx:
        return Tx(
            self.db,
            self._fold,
            self.log.size() + 1,
            hub=self.hub,
            settings=self.settings,
            memory=self.memory,
            now_ms=self._clocks.wall_ms(),
            now=self._clocks.monotonic(),
            will=will,
        )

    def _finish(self, kind: str, tx: Tx) -> None:
        """Settle what the command left open, and write its entry."""
        conviction.carry_out(tx)
        if not tx.events:
            return
        tx.flush()
        for job in sorted(tx.jobs_touched):
            settle.end_job_if_over(tx, job)
        tx.flush()
        payload = _payload_encoder.encode(ev.Payload(tuple(tx.events), tx.will))
        salt = self._clocks.draw(_SALT_BYTES)
        transfers = tuple((e.debit, e.credit, e.amount_microcredits) for e in tx.events if isinstance(e, ev.Transferred))
        public = ev.PublicPart(kind, tx.now_ms, transfers, ids.payload_commitment(salt, payload))
        entry = ev.Entry(_payload_encoder.encode(public), salt, payload)
        self.log.append([entry], after=tx.position - 1)

    # Long polls.

    def park(
        self, node: int, want: int, manifests: frozenset[bytes], deliver: Callable[[Exchanged], None], channel: int = 0
    ) -> int:
        """Let a node wait for work or cancels; returns a number for `unpark`."""
        number = self._next_park
        self._next_park += 1
        self.parked[number] = Parked(node, want, manifests, deliver, channel)
        return number

    def unpark(self, number: int) -> bool:
        """Stop waiting; False when something is already on its way."""
        return self.parked.pop(number, None) is not None

    def _serve_parked(self, transactions: list[Tx]) -> list[tuple[Parked, Exchanged]]:
        """Give waiting nodes what the group of commands made available, in the group's own transaction."""
        served: list[tuple[Parked, Exchanged]] = []
        work = any(tx.queue_touched for tx in transactions)
        for number, parked in list(self.parked.items()):
            cancels = self.memory.cancels.get(parked.node)
            if not cancels and not (work and parked.want):
                continue
            reply = self._serve_safely(parked, transactions) if work and parked.want else Exchanged((), (), (), "")
            if reply is None:
                del self.parked[number]
                continue
            if cancels:
                reply = msgspec.structs.replace(reply, cancels=tuple(sorted(cancels)))
            if reply.leases or reply.cancels:
                self.memory.cancels.pop(parked.node, None)
                del self.parked[number]
                served.append((parked, reply))
        return served

    def _serve_safely(self, parked: Parked, transactions: list[Tx]) -> Exchanged | None:
        """As `_serve_one`; None when that fails as it never may. Whose commands these are has no part in it."""
        self.db.execute("SAVEPOINT parked")
        try:
            reply = self._serve_one(parked, transactions)
        except (sqlite3.OperationalError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - or one node that waits would fail everybody's commands
            _log.exception("node %d could not be served", parked.node, exc_info=error)
            self.db.execute("ROLLBACK TO parked")
            self.db.execute("RELEASE parked")
            self._fold.forget()
            self.log.reload()
            return None
        self.db.execute("RELEASE parked")
        return reply

    def _serve_one(self, parked: Parked, transactions: list[Tx]) -> Exchanged:
        (state,) = self.db.execute("SELECT state FROM nodes WHERE no = ?", (parked.node,)).fetchone()
        if state != "present":
            return Exchanged((), (), (), "")
        tx = self._tx()
        leases = grant.grant(tx, parked.node, parked.want, parked.manifests, parked.channel)
        if tx.events:
            self._finish("grant", tx)
            transactions.append(tx)
        return Exchanged(leases, (), (), "")

    # Time.

    def tick(self) -> None:
        """What time alone brings: silent nodes lose their leases."""
        (done,) = self.execute([Command("expire", presence.expire)])
        if done.error is not None:
            raise done.error

    def checkpoint(self) -> str:
        """The signed head of the log as it stands."""
        size = self.log.size()
        if self._note[0] != size:
            head = Checkpoint(self.origin, size, self.log.frontier.root())
            self._note = (size, sign_checkpoint(self.key, head))
        return self._note[1]

    @property
    def origin(self) -> str:
        """The name of the log in its checkpoints."""
        return log_origin(self.hub)


def rebuild(log: Log, path: Path | str) -> sqlite3.Connection:
    """Fold a log into fresh tables; returns the connection. What a standby, an audit and the rebuild test do."""
    db = schema.connect(path)
    schema.migrate(db)
    fold = Fold(db)
    db.execute("BEGIN IMMEDIATE")
    for position, entry in log.read(1):
        payload = msgspec.msgpack.decode(entry.payload, type=ev.Payload)
        fold.begin(payload.will)
        for event in payload.events:
            fold.apply(position, event)
        fold.flush()
    db.execute("COMMIT")
    return db
