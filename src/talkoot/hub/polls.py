"""Exchanges of nodes: what the writer does at once, and the wait when it has nothing to say.

A node is parked by the very command that found nothing for it, so that work which comes later in the same group of
commands already finds it waiting, and no wake-up is lost. A node has at most one wait on each of its channels: a newer
exchange answers the older one, whose connection is likely to be dead.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from talkoot.core import limits
from talkoot.crypto.signed import encode_signed
from talkoot.hub.commands.exchange import exchange
from talkoot.hub.engine import Command, Engine
from talkoot.hub.tx import Tx
from talkoot.hub.writer import Writer
from talkoot.wire.messages import Exchange, Exchanged

NOTHING: Final = Exchanged((), (), (), "")
_WAITS_PER_SILENCE: Final = 2
"""A parked node must come again well before it would be taken for silent."""


@dataclass(slots=True)
class Turn:
    """What the writer made of one exchange."""

    reply: Exchanged
    node: int
    parked: int = 0
    """Number of the wait; 0 when the reply can go at once."""


class Poll:
    """One exchange under way. Made and awaited on the event loop; its commands run in the writer's thread."""

    def __init__(self, polls: "Polls", key: bytes, request: Exchange, wait_s: float) -> None:
        self._polls = polls
        self._key = key
        self._request = request
        self.wait_s = wait_s
        self._number = 0
        self.delivery: asyncio.Future[Exchanged] = asyncio.get_running_loop().create_future()
        """Gets what the node has waited for."""

    @property
    def waits(self) -> bool:
        """Whether the node is willing to wait."""
        return self.wait_s > 0

    def command(self) -> Command:
        """The exchange as a command."""
        batch = self._request.batch
        return Command("exchange", self._run, encode_signed(batch) if batch is not None else b"")

    def give_up(self) -> None:
        """Nobody waits any more, or not longer: the delivery gets what has come meanwhile, or nothing."""
        self._polls.writer.errand(lambda: self._unpark(self._number))

    def undelivered(self, turn: Turn, reply: Exchanged) -> None:
        """The node went away before this could be told: its cancels are told again. (Lost leases it asks for itself.)"""
        cancels = self._polls.engine.memory.cancels
        if reply.cancels:
            self._polls.writer.errand(lambda: cancels.setdefault(turn.node, set()).update(reply.cancels))

    # In the writer's thread.

    def _run(self, tx: Tx) -> Turn:
        reply, node = exchange(tx, self._key, self._request)
        turn = Turn(reply, node)
        self._polls.supersede(node, self._request.channel)
        if self.waits and _is_quiet(reply):
            turn.parked = self._park(node)
        tx.after_commit.append(lambda: self._add_checkpoint(turn))
        return turn

    def _park(self, node: int) -> int:
        request = self._request
        want = min(request.want, limits.MAX_ATTEMPTS_PER_EXCHANGE)
        number = self._polls.engine.park(node, want, frozenset(request.jobs), self._deliver, request.channel)
        self._polls.waits[node, request.channel] = (number, self._unpark)
        self._number = number
        return number

    def _add_checkpoint(self, turn: Turn) -> None:
        engine = self._polls.engine
        if engine.log.size() != self._request.checkpoint_size:
            turn.reply = msgspec.structs.replace(turn.reply, checkpoint=engine.checkpoint())

    def _deliver(self, reply: Exchanged) -> None:
        self._polls.writer.tell(lambda: self._set(reply))

    def _unpark(self, number: int) -> None:
        self._polls.engine.unpark(number)
        # Also when the engine had it no more: what it delivered is told before this, and wins; and if a full disk
        # took the delivery back, this is what ends the wait.
        self._polls.writer.tell(lambda: self._set(NOTHING))

    def _set(self, reply: Exchanged) -> None:
        if not self.delivery.done():
            self.delivery.set_result(reply)


class Polls:
    """All exchanges of a hub."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self.engine = engine
        self.writer = writer
        self.waits: dict[tuple[int, int], tuple[int, Callable[[int], None]]] = {}
        """(node, channel) -> its newest wait and what ends it. For the writer's thread."""

    def poll(self, key: bytes, request: Exchange) -> Poll:
        """A new exchange of the node with this key."""
        return Poll(self, key, request, self.bounded(request.wait_s))

    def bounded(self, wait_s: float) -> float:
        """How long a node is really kept waiting."""
        most = min(limits.MAX_LONG_POLL_S, self.engine.settings.silence_s / _WAITS_PER_SILENCE)
        return min(wait_s, most) if wait_s > 0 else 0.0  # not-a-number is not above 0

    def supersede(self, node: int, channel: int) -> None:
        """End the wait of an earlier exchange on the channel, if there is one. In the writer's thread."""
        number, unpark = self.waits.pop((node, channel), (0, None))
        if unpark is not None:
            unpark(number)


def _is_quiet(reply: Exchanged) -> bool:
    return not (reply.leases or reply.cancels or reply.accepted or reply.goodbye or reply.describe)
