"""The envelope of a request: signed, bound to one hub and one path, and good for one use.

    POST path, body = MessagePack of Signed(kind request, payload = MessagePack of Request)

`open_request` shows who asks and for what; `Epochs` sees that nobody asks the same twice. A hub that opens a
request must pass it through both, and check the key against its members, before it acts on it.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from talkoot.core import ids, limits
from talkoot.core.errors import BadInput, BadSignature, Replayed, StaleEpoch, TooLarge
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.signed import Kind, Signed, decode_signed, encode_signed, verify

MEDIA_TYPE: Final = "application/vnd.talkoot+msgpack"
EPOCH_HEADER: Final = "talkoot-epoch"
"""In every reply: the hub's present epoch, as `epoch_text` writes it."""
NONCE_BYTES: Final = 16
EPOCH_BYTES: Final = 16


class Request(msgspec.Struct, frozen=True, array_like=True):
    """What the signature of a request covers."""

    hub: bytes
    epoch: bytes
    nonce: bytes
    path: str
    body: bytes

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("path", self.path), ("body_bytes", len(self.body))]  # a body may hold a ticket's secret

    def __repr__(self) -> str:
        return f"Request(path={self.path!r}, body_bytes={len(self.body)})"


_decoder = msgspec.msgpack.Decoder(Request)


def seal(key: SigningKey, hub: bytes, epoch: bytes, nonce: bytes, path: str, body: bytes) -> bytes:
    """The bytes of a signed request. Raises TooLarge for what the hub would refuse unread."""
    request = Request(hub, epoch, nonce, path, body)
    data = encode_signed(key.sign(Kind.REQUEST, msgspec.msgpack.encode(request)))
    _check_size(data)
    return data


def open_request(data: bytes, *, hub: bytes, path: str) -> tuple[Signed, Request]:
    """The request in `data`, signed by `signed.key` for this hub and path.

    Raises TooLarge, BadInput (not a request) or BadSignature. Whether the key belongs to anyone, and whether the
    request was here before, is for the caller to check.
    """
    _check_size(data)
    signed = decode_signed(data)
    payload = verify(signed, Kind.REQUEST)
    try:
        request = _decoder.decode(payload)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The signed payload is not a request: {error}.") from None
    if len(request.nonce) != NONCE_BYTES or len(request.epoch) != EPOCH_BYTES:
        raise BadInput(
            f"A request has a nonce of {NONCE_BYTES} and an epoch of {EPOCH_BYTES} bytes, "
            f"not {len(request.nonce)} and {len(request.epoch)}."
        )
    if request.hub != hub:
        raise BadSignature(
            f"The request is signed for another hub than {ids.key_text(hub)}.",
            hint="Join this hub with a ticket of its own.",
        )
    if request.path != path:
        raise BadSignature(f"The request is signed for {request.path[:100]!r}, but was sent to {path!r}.")
    return signed, request


def _check_size(data: bytes) -> None:
    if len(data) > limits.MAX_REQUEST_BYTES:
        raise TooLarge(
            f"A request of {len(data)} bytes; {limits.MAX_REQUEST_BYTES} is the most that a hub takes.",
            hint="Send less at a time, or put large data into the store and pass its id.",
        )


def epoch_text(epoch: bytes) -> str:
    """How an epoch is written in the header."""
    return epoch.hex()


def parse_epoch(text: str) -> bytes | None:
    """The epoch in the header; None if it is not one."""
    try:
        epoch = bytes.fromhex(text)
    except ValueError:
        return None
    return epoch if len(epoch) == EPOCH_BYTES else None


class Epochs:
    """The hub's memory against replays: every nonce of the present and of the previous epoch.

    Requests name the epoch that they are made in; what is older than the previous one is turned away unread, so
    nothing older needs to be remembered, and a restart (which draws a new epoch) needs no memory at all. `now`
    is a monotonic clock in seconds. Not thread-safe. Ask it only about requests of known keys, or strangers
    could use up the room for nonces.
    """

    def __init__(
        self,
        first: bytes,
        now: float,
        *,
        draw: Callable[[], bytes],
        epoch_s: float = limits.REQUEST_EPOCH_S,
        max_nonces: int = limits.MAX_NONCES_PER_EPOCH,
    ) -> None:
        assert len(first) == EPOCH_BYTES
        self._draw = draw
        self._epoch_s = epoch_s
        self._max_nonces = max_nonces
        self._since = now
        self._previous: bytes | None = None
        self._current = first
        self._seen_previous: set[bytes] = set()
        self._seen_current: set[bytes] = set()

    @property
    def current(self) -> bytes:
        """The epoch that a request made now has to name."""
        return self._current

    def check(self, request_epoch: bytes, nonce: bytes, now: float) -> None:
        """Remember the nonce. Raises StaleEpoch (sign again), or Replayed (it was here before)."""
        if now - self._since >= self._epoch_s or len(self._seen_current) >= self._max_nonces:
            self._turn(now)
        seen = self._nonces_of(request_epoch)
        if nonce in seen:
            raise Replayed("This request was answered before.", hint="To ask again, sign with a fresh nonce.")
        seen.add(nonce)

    def _nonces_of(self, epoch: bytes) -> set[bytes]:
        if epoch == self._current:
            return self._seen_current
        # A full epoch may get as many late comers again, so that turning over for fullness does not fail them.
        if epoch == self._previous and len(self._seen_previous) < 2 * self._max_nonces:
            return self._seen_previous
        raise StaleEpoch(
            "The request names an epoch that the hub has left.",
            hint=f"Sign it again with the epoch in the reply's header {EPOCH_HEADER}.",
        )

    def _turn(self, now: float) -> None:
        fresh = self._draw()
        assert fresh not in (self._current, self._previous), "epochs must differ"
        self._previous, self._current = self._current, fresh
        self._seen_previous, self._seen_current = self._seen_current, set()
        self._since = now
