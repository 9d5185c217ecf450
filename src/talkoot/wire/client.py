"""The client side of a hub's HTTP: one signed call at a time, over connections that are kept.

What a call raises is an error of `core.errors`, whichever side it comes from. Calls may be repeated safely:
every message carries ids that its sender chose. This is the one client that node, sdk and cli have; it takes
nothing from the environment (no proxies) and follows no redirects.
"""

import contextlib
import http
import http.client
import os
import random as random_module
import socket
import threading
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import msgspec

from talkoot.core import ids, limits
from talkoot.core.errors import (
    BadSignature,
    Busy,
    CodecError,
    HubUnreachable,
    NotFound,
    StaleEpoch,
    TalkootError,
    TooLarge,
    Unavailable,
    from_code,
)
from talkoot.crypto.keys import SigningKey
from talkoot.wire.address import parse_address
from talkoot.wire.envelope import EPOCH_HEADER, MEDIA_TYPE, NONCE_BYTES, parse_epoch, seal

T = TypeVar("T")

HELLO_PATH: Final = "/v1/hello"
MAX_REPLY_BYTES: Final = 2 * limits.MAX_REQUEST_BYTES
_MAX_IDLE_CONNECTIONS: Final = 8
_WENT_AWAY: Final = (BrokenPipeError, ConnectionAbortedError, ConnectionResetError)  # RemoteDisconnected is one


class Hello(msgspec.Struct, frozen=True):
    """What a hub says of itself to anybody (unsigned: what counts is checked in what follows)."""

    hub: bytes
    name: str
    epoch: bytes
    version: str
    price_microcredits: int = 0
    """What a core-second costs here; 0 when it is not said."""


class ErrorReply(msgspec.Struct, frozen=True):
    """The body of every reply whose status is not 200."""

    code: str
    message: str
    hint: str = ""


class _Reply(NamedTuple):
    status: int
    epoch: bytes | None
    content: bytes


class Client:
    """Calls to one hub with one key. Threads may share it: each call has a connection to itself.

    `timeout_s` bounds every wait for the network, not the call as a whole.
    """

    def __init__(
        self,
        address: str,
        hub: bytes,
        key: SigningKey,
        *,
        random: Callable[[int], bytes] = os.urandom,
        timeout_s: float = 40,
    ) -> None:
        self.address = address
        self.hub = hub
        self._key = key
        self._random = random
        self._timeout_s = timeout_s
        self._epoch: bytes | None = None
        self._connections = _Connections(address)

    def call(self, path: str, body: msgspec.Struct, reply: type[T], *, timeout_s: float | None = None) -> T:
        """POST `body` to `path` and return the reply.

        Raises what the hub answered; HubUnreachable when there was no answer; TooLarge before sending what the
        hub would refuse; CodecError when the reply is not a `reply`.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        encoded = msgspec.msgpack.encode(body)
        for attempt in range(limits.MAX_RESIGNED_REQUESTS + 1):
            answer = self._post(path, encoded, timeout_s)
            self._epoch = answer.epoch or self._epoch
            try:
                return _read(answer, path, reply)
            except StaleEpoch:
                if attempt == limits.MAX_RESIGNED_REQUESTS:
                    raise
                if answer.epoch is None:
                    self._epoch = None  # the hub did not say which one is next: ask it
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close all connections; calls in flight, and later ones, raise Unavailable."""
        self._connections.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.address!r}, hub={ids.key_text(self.hub)}, key={ids.key_text(self._key.public)})"

    def _post(self, path: str, body: bytes, timeout_s: float) -> _Reply:
        epoch = self._epoch or self._greet(timeout_s)

        def sealed() -> bytes:  # a nonce of its own for each sending: the hub may have seen the first
            return seal(self._key, self.hub, epoch, self._random(NONCE_BYTES), path, body)

        return self._connections.exchange("POST", path, sealed, timeout_s)

    def _greet(self, timeout_s: float) -> bytes:
        """Ask the hub for its epoch, and see that it is the hub that is meant."""
        greeting = _read(self._connections.exchange("GET", HELLO_PATH, bytes, timeout_s), HELLO_PATH, Hello)
        if greeting.hub != self.hub:
            raise BadSignature(
                f"At {self.address} there is another hub than {ids.key_text(self.hub)}.",
                hint="Its address may have changed, or its key may be a new one: ask for a new ticket.",
            )
        return greeting.epoch


def hello(address: str, *, timeout_s: float = 5) -> Hello:
    """What the hub at an address says of itself. Raises HubUnreachable, or BadInput for a bad address."""
    connections = _Connections(address)
    try:
        return _read(connections.exchange("GET", HELLO_PATH, bytes, timeout_s), HELLO_PATH, Hello)
    finally:
        connections.close()


def call_until_there(
    client: Client,
    path: str,
    body: msgspec.Struct,
    reply: type[T],
    *,
    stop: threading.Event,
    timeout_s: float | None = None,
    random: Callable[[], float] = random_module.random,
) -> T:
    """`client.call`, again and again while the hub is unreachable or busy, until `stop` is set.

    Raises the last error when `stop` is set, and any other error at once.
    """
    backoff = Backoff(random)
    while True:
        try:
            return client.call(path, body, reply, timeout_s=timeout_s)
        except (HubUnreachable, Busy):
            if stop.wait(backoff.next()):
                raise


class Backoff:
    """How long to wait before trying again: rand(0.5..1) x min(MAX, MIN x 2^n)."""

    def __init__(self, random: Callable[[], float] = random_module.random) -> None:
        self._random = random
        self._ceiling_s = limits.MIN_BACKOFF_S

    def next(self) -> float:
        """The next wait, in seconds."""
        ceiling_s = min(limits.MAX_BACKOFF_S, self._ceiling_s)
        self._ceiling_s = 2 * ceiling_s
        return ceiling_s * (0.5 + self._random() / 2)

    def reset(self) -> None:
        """Start over, after a success."""
        self._ceiling_s = limits.MIN_BACKOFF_S


class _Connections:
    """Kept connections to one address, each used by one call at a time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._host, self._port = parse_address(address)
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._closed = False

    def exchange(self, method: str, path: str, body: Callable[[], bytes], timeout_s: float) -> _Reply:
        """Send one request and read all of the reply. `body` is called for every sending."""
        kept = self._take(fresh=False)
        if kept.sock is not None:
            try:
                return self._use(kept, method, path, body, timeout_s)
            except _WENT_AWAY:
                self._drop_idle()  # the hub closed it meanwhile, and the others are no younger
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from error
            kept = self._take(fresh=True)
        try:
            return self._use(kept, method, path, body, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error

    def close(self) -> None:
        with self._lock:
            self._closed = True
            busy = list(self._busy)
        for connection in busy:
            if connection.sock is not None:
                with contextlib.suppress(OSError):  # wakes the thread that waits for a reply
                    connection.sock.shutdown(socket.SHUT_RDWR)
        self._drop_idle()

    def _use(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Callable[[], bytes],
        timeout_s: float,
    ) -> _Reply:
        reusable = False
        try:
            self._connect(connection, timeout_s)
            reply = _converse(connection, method, path, body())
            reusable = connection.sock is not None
            return reply
        finally:
            self._put_back(connection, reusable=reusable)

    def _connect(self, connection: http.client.HTTPConnection, timeout_s: float) -> None:
        connection.timeout = timeout_s
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(timeout_s)
        with self._lock:  # from here on `close` finds the socket; before, it could not wake this thread
            self._check_open()

    def _take(self, *, fresh: bool) -> http.client.HTTPConnection:
        with self._lock:
            self._check_open()
            kept = self._idle.pop() if self._idle and not fresh else None
            connection = kept or http.client.HTTPConnection(self._host, self._port)
            self._busy.add(connection)
        return connection

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(f"The client of {self.address} is closed.")

    def _put_back(self, connection: http.client.HTTPConnection, *, reusable: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if reusable and not self._closed and len(self._idle) < _MAX_IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _unreachable(self, error: Exception) -> TalkootError:
        if self._closed:
            return Unavailable(f"The client of {self.address} was closed during the call.")
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return HubUnreachable(
            f"No answer from the hub at {self.address}: {reason}.",
            hint="Check that the hub is running, and that its address is right.",
        )


def _converse(connection: http.client.HTTPConnection, method: str, path: str, body: bytes) -> _Reply:
    headers = {"content-type": MEDIA_TYPE, "accept": MEDIA_TYPE}
    connection.request(method, path, body=body or None, headers=headers)
    response = connection.getresponse()
    epoch = parse_epoch(response.headers.get(EPOCH_HEADER, ""))
    return _Reply(response.status, epoch, _read_content(response))


def _read_content(response: http.client.HTTPResponse) -> bytes:
    declared = response.length
    if declared is None:  # a hub always says it; and http.client bounds the chunks of a chunked reply by nothing
        raise http.client.HTTPException("a reply that does not say its length")
    if declared > MAX_REPLY_BYTES:
        raise TooLarge(f"The hub answers with {declared} bytes; {MAX_REPLY_BYTES} is the most that is read.")
    content = response.read(declared)
    if len(content) < declared:  # read(n) does not complain of that
        raise http.client.IncompleteRead(content, declared - len(content))
    return content


def _read(answer: _Reply, path: str, reply: type[T]) -> T:
    if answer.status != http.HTTPStatus.OK:
        raise _error(answer, path)
    try:
        return msgspec.msgpack.decode(answer.content, type=reply)
    except (ValueError, RecursionError) as error:
        raise CodecError(
            f"The hub's reply to {path} is not a {reply.__name__}: {error}.",
            hint="The hub and this program may be of different versions.",
        ) from None


def _error(answer: _Reply, path: str) -> TalkootError:
    try:
        told = msgspec.msgpack.decode(answer.content, type=ErrorReply)
    except (ValueError, RecursionError):
        pass
    else:
        return from_code(told.code, told.message, told.hint)
    message = f"{path} was answered with HTTP status {answer.status} and nothing that a hub says."
    if answer.status == http.HTTPStatus.NOT_FOUND:
        return NotFound(message, hint="The hub may be older than this program.")
    if answer.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return HubUnreachable(message, hint="Look into the hub's own log.")
    return Unavailable(message, hint="Something else than a hub may listen at this address.")
