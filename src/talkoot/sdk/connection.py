"""A connection to one hub in the name of one person: signed calls that wait for a hub that is being restarted."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from talkoot.core import limits, pricing
from talkoot.core.errors import BadSignature, Busy, HubUnreachable
from talkoot.core.ids import EnvironmentId, ProgramId
from talkoot.crypto.keys import SigningKey
from talkoot.sdk.progress import Display
from talkoot.wire.client import Backoff, Client, hello
from talkoot.wire.home import KnownHub
from talkoot.wire.messages import HubView, Nothing, PutBlobs

T = TypeVar("T")

PATIENCE_S: Final = 5.0
"""How long a hub may be away before that is said."""
_REST_OF_REQUEST_BYTES: Final = 64 * limits.KIB


class Connection:
    """One hub, one person, one project. Threads may share it."""

    def __init__(self, known: KnownHub, key: SigningKey, project: str, locks: Path, display: Display) -> None:
        self.hub = known.key
        self.key = key
        self.project = project
        self.locks = locks
        """The folder in which resolved environments are remembered."""
        self.display = display
        self.stopping = threading.Event()
        greeting = hello(known.address)
        if greeting.hub != self.hub:
            raise BadSignature(
                f"At {known.address} there is another hub than the one known as {known.name or known.address!r}.",
                hint="Ask for a new ticket to it, and join again: `talkoot join TICKET`.",
            )
        self.name = greeting.name
        self.price_microcredits = greeting.price_microcredits or pricing.DEFAULT_PRICE_MICROCREDITS
        self._client = Client(known.address, self.hub, key)
        self._put_lock = threading.Lock()
        self._there: set[bytes] = set()

    def call(self, path: str, body: msgspec.Struct, reply: type[T], *, timeout_s: float | None = None) -> T:
        """One call, once."""
        return self._client.call(path, body, reply, timeout_s=timeout_s)

    def ask(self, path: str, body: msgspec.Struct, reply: type[T]) -> T:
        """A call that is repeated while the hub is away or busy: its messages carry ids that make that harmless.

        Raises what the hub answers, and the last error once the connection is being closed.
        """
        backoff, since = Backoff(), time.monotonic()
        told = False
        while True:
            try:
                answer = self._client.call(path, body, reply)
            except (HubUnreachable, Busy):
                if not told and time.monotonic() - since >= PATIENCE_S:
                    told = True
                    self.display.say("hub not reachable, waiting")
                if self.stopping.wait(backoff.next()):
                    raise
            else:
                if told:
                    self.display.say("hub reachable again")
                return answer

    def put(self, program: ProgramId, carrier: bytes, environment: EnvironmentId, lock: bytes) -> None:
        """See that the hub has a program and an environment; each is sent once."""
        with self._put_lock:
            wanted = (("program", bytes(program), carrier), ("environment", bytes(environment), lock))
            missing = [blob for blob in wanted if blob[1] not in self._there]
            for group in _groups(missing):
                body = PutBlobs(tuple(kind for kind, _, _ in group), tuple(data for _, _, data in group))
                self.ask("/v1/blobs/put", body, Nothing)
                self._there.update(name for _, name, _ in group)

    def balance_microcredits(self) -> int:
        """What the project has."""
        view = self.ask("/v1/view/hub", Nothing(), HubView)
        accounts = (row for row in view.accounts if row.kind == "project" and row.name == self.project)
        return sum(row.balance_microcredits for row in accounts)

    def close(self) -> None:
        """Wake everything that waits for the hub, and end."""
        self.stopping.set()
        self._client.close()


def _groups(blobs: Sequence[tuple[str, bytes, bytes]]) -> list[list[tuple[str, bytes, bytes]]]:
    """The blobs in as few requests as the hub takes."""
    if sum(len(data) for _, _, data in blobs) <= limits.MAX_REQUEST_BYTES - _REST_OF_REQUEST_BYTES:
        return [list(blobs)] if blobs else []
    return [[blob] for blob in blobs]
