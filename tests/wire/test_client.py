"""The client against a real, tiny HTTP server in a thread, which plays the hub's side with the real envelope."""

import http.server
import socket
import threading
from collections.abc import Callable

import msgspec
import pytest

from talkoot.core import errors, limits
from talkoot.core.errors import (
    BadInput,
    BadSignature,
    Busy,
    CodecError,
    HubUnreachable,
    NotFound,
    StaleEpoch,
    TooLarge,
    Unavailable,
)
from talkoot.crypto import SigningKey
from talkoot.wire.client import Backoff, Client, ErrorReply, Hello, call_until_there, hello
from talkoot.wire.envelope import EPOCH_HEADER, MEDIA_TYPE, Epochs, epoch_text, open_request

HUB = SigningKey.from_seed(b"h" * 32)
KEY = SigningKey.from_seed(b"k" * 32)


class Ask(msgspec.Struct, array_like=True):
    text: str


class Told(msgspec.Struct, array_like=True):
    text: str
    times: int


class TinyHub(http.server.ThreadingHTTPServer):
    """Answers every request with the text in it; a test replaces `respond` to have it otherwise."""

    daemon_threads = False
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.numbers = iter(range(1, 1000))
        self.epochs = Epochs(bytes(16), 0.0, draw=self.draw)
        self.now = 0.0
        self.requests: list[bytes] = []
        self.peers: set[tuple[str, int]] = set()
        self.open_sockets: set[socket.socket] = set()
        self.respond: Callable[[_Handler, bytes], None] = self.echo

    def draw(self) -> bytes:
        return next(self.numbers).to_bytes(16, "big")

    def echo(self, handler: "_Handler", data: bytes) -> None:
        try:
            signed, request = open_request(data, hub=HUB.public, path=handler.path)
            assert signed.key == KEY.public
            self.epochs.check(request.epoch, request.nonce, self.now)
        except errors.TalkootError as error:
            handler.reply(error.http_status, ErrorReply(error.code, error.message, error.hint))
        else:
            asked = msgspec.msgpack.decode(request.body, type=Ask)
            handler.reply(200, Told(asked.text, len(self.requests)))

    def drop_connections(self) -> None:
        for sock in list(self.open_sockets):
            sock.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: TinyHub

    def setup(self) -> None:
        super().setup()
        self.server.open_sockets.add(self.connection)
        self.server.peers.add(self.client_address)

    def finish(self) -> None:
        self.server.open_sockets.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        assert self.path == "/v1/hello"
        self.reply(200, Hello(HUB.public, "tiny", self.server.epochs.current, "0.1.0"))

    def do_POST(self) -> None:
        assert self.headers["content-type"] == MEDIA_TYPE
        data = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append(data)
        self.server.respond(self, data)

    def reply(self, status: int, body: object, **headers: str) -> None:
        self.raw(status, msgspec.msgpack.encode(body), **headers)

    def raw(self, status: int, data: bytes, *, length: int | None = None, with_epoch: bool = True) -> None:
        self.send_response(status)
        self.send_header("content-type", MEDIA_TYPE)
        self.send_header("content-length", str(len(data) if length is None else length))
        if with_epoch:
            self.send_header(EPOCH_HEADER, epoch_text(self.server.epochs.current))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub():
    server = TinyHub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.drop_connections()
    server.server_close()
    thread.join()


@pytest.fixture
def client(hub):
    with Client(hub.address, HUB.public, KEY, timeout_s=5) as client:
        yield client


def ask(client, text="hello", **options):
    return client.call("/v1/echo", Ask(text), Told, **options)


def test_a_call_is_answered(client):
    assert ask(client) == Told("hello", 1)


def test_the_greeting_of_a_hub_is_read(hub):
    assert hello(hub.address) == Hello(HUB.public, "tiny", bytes(16), "0.1.0")


def test_calls_of_one_thread_share_a_connection(hub, client):
    for _ in range(5):
        ask(client)
    assert len(hub.peers) == 1


def test_threads_share_a_client_and_each_gets_its_own_answer(hub, client):
    found = {}

    def work(number):
        found[number] = [ask(client, f"{number}/{i}").text for i in range(10)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [f"{number}/{i}" for i in range(10)] for number in range(6)}
    assert len(set(hub.requests)) == 60
    assert len(hub.peers) <= 6


def test_a_request_of_an_old_epoch_is_signed_again_with_a_fresh_nonce(hub, client):
    ask(client)
    hub.epochs = Epochs(hub.draw(), 0.0, draw=hub.draw)  # the hub was restarted
    assert ask(client) == Told("hello", 3)
    opened = [open_request(data, hub=HUB.public, path="/v1/echo")[1] for data in hub.requests]
    assert len({request.nonce for request in opened}) == 3
    assert [request.epoch[-1] for request in opened] == [0, 0, 1]
    assert ask(client) == Told("hello", 4)


def test_a_hub_whose_epoch_never_fits_is_given_up(hub, client):
    hub.respond = lambda handler, _: handler.reply(409, ErrorReply("stale_epoch", "again"))
    with pytest.raises(StaleEpoch):
        ask(client)
    assert len(hub.requests) == 1 + limits.MAX_RESIGNED_REQUESTS


def test_the_hub_is_asked_for_its_epoch_when_a_stale_reply_does_not_say_it(hub, client):
    ask(client)
    hub.epochs = Epochs(hub.draw(), 0.0, draw=hub.draw)

    def silent(handler, data):
        hub.respond = hub.echo
        handler.reply(409, ErrorReply("stale_epoch", "again"), with_epoch=False)

    hub.respond = silent
    assert ask(client) == Told("hello", 3)


def test_a_connection_that_the_hub_closed_meanwhile_is_replaced_at_once(hub, client):
    ask(client)
    hub.drop_connections()
    assert ask(client) == Told("hello", 2)
    assert len(hub.peers) == 2


def test_a_hub_that_dies_during_a_request_is_tried_once_more_on_a_kept_connection(hub, client):
    ask(client)
    hub.respond = lambda handler, _: handler.connection.shutdown(socket.SHUT_RDWR)
    with pytest.raises(HubUnreachable):
        ask(client)
    assert len(hub.requests) == 3
    assert len(set(hub.requests)) == 3, "each sending has a nonce of its own"


def test_errors_of_the_hub_come_out_as_what_they_are(hub, client):
    for cls in (errors.NotAllowed, errors.Conflict, errors.InsufficientFunds, errors.TooLarge, Busy):
        hub.respond = lambda handler, _, cls=cls: handler.reply(
            cls.http_status, ErrorReply(cls.code, "what happened", "what to do")
        )
        with pytest.raises(cls) as caught:
            ask(client)
        assert type(caught.value) is cls
        assert (caught.value.message, caught.value.hint) == ("what happened", "what to do")
    assert len(hub.peers) == 1, "an error does not cost the connection"


@pytest.mark.parametrize(
    ("status", "expected"), [(404, NotFound), (500, HubUnreachable), (502, HubUnreachable), (302, Unavailable)]
)
@pytest.mark.parametrize("data", [b"", b"<html>", b"\x91" * 100_000, b"\x83\xa4code\xa1\xff"])
def test_a_reply_of_something_that_is_no_hub_is_an_error_too(hub, client, status, expected, data):
    hub.respond = lambda handler, _: handler.raw(status, data)
    with pytest.raises(expected) as caught:
        ask(client)
    assert type(caught.value) is expected


@pytest.mark.parametrize("data", [b"", b"<html>", b"\x91" * 100_000, b"\x92\xa1\xff\x01", b"\x91\xa1x"])
def test_a_reply_that_is_not_what_was_asked_for_is_a_codec_error(hub, client, data):
    hub.respond = lambda handler, _: handler.raw(200, data)
    with pytest.raises(CodecError, match="Told"):
        ask(client)


def test_a_reply_beyond_the_limit_is_not_read(hub, client):
    hub.respond = lambda handler, _: handler.raw(200, b"", length=2 * limits.MAX_REQUEST_BYTES + 1)
    with pytest.raises(TooLarge):
        ask(client)


def test_a_truncated_reply_is_no_answer(hub, client):
    def truncate(handler, _):
        handler.raw(200, msgspec.msgpack.encode(Told("hello", 1)), length=1000)
        handler.close_connection = True

    hub.respond = truncate
    with pytest.raises(HubUnreachable, match="more expected"):
        ask(client)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\nxxxx",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nxxxx",
        b"HTTP/1.1 200 OK\r\n\r\nxxxx",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"\0" * 100_000,
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
def test_bytes_that_are_no_reply_are_no_answer(hub, client, data):
    def respond(handler, _):
        handler.wfile.write(data)
        handler.close_connection = True

    hub.respond = respond
    with pytest.raises(HubUnreachable):
        ask(client)


def test_a_silent_hub_is_given_up_after_the_timeout(hub, client):
    release = threading.Event()
    hub.respond = lambda handler, _: release.wait(5)
    with pytest.raises(HubUnreachable, match="timed out"):
        ask(client, timeout_s=0.05)
    release.set()


def test_another_hub_at_the_address_is_not_asked_anything(hub):
    with (
        Client(hub.address, SigningKey.generate().public, KEY) as client,
        pytest.raises(BadSignature, match="another hub"),
    ):
        ask(client)
    assert hub.requests == []


def test_what_the_hub_would_refuse_unread_is_not_sent(hub, client):
    with pytest.raises(TooLarge):
        ask(client, "x" * limits.MAX_REQUEST_BYTES)
    assert hub.requests == []
    assert ask(client) == Told("hello", 1)


def _free_address():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_nobody_at_the_address_is_unreachable_and_says_so():
    address = _free_address()
    with Client(address, HUB.public, KEY) as client, pytest.raises(HubUnreachable, match="refused") as caught:
        ask(client)
    assert address in str(caught.value)
    with pytest.raises(HubUnreachable):
        hello(address)


def test_a_client_of_a_hub_that_is_not_on_loopback_cannot_be_made():
    with pytest.raises(BadInput):
        Client("http://192.0.2.1:8470", HUB.public, KEY)


def test_closing_wakes_a_call_that_waits_for_its_reply(hub, client):
    waiting, release, caught = threading.Event(), threading.Event(), []

    def park(handler, _):
        waiting.set()
        release.wait(5)

    def call():
        try:
            ask(client)
        except Unavailable as error:
            caught.append(error)

    hub.respond = park
    caller = threading.Thread(target=call)
    caller.start()
    assert waiting.wait(5)
    client.close()
    caller.join(5)
    release.set()
    assert [type(error) for error in caught] == [Unavailable]
    with pytest.raises(Unavailable, match="closed"):
        ask(client)


def test_no_representation_shows_a_secret(client):
    assert repr(client) == repr(client).replace(repr(b"k" * 32), "")
    assert "did:key:" in repr(client)


def test_waits_grow_to_the_limit_and_start_over():
    for draw, factor in ((0.0, 0.5), (1.0, 1.0)):
        backoff = Backoff(lambda draw=draw: draw)
        waits = [backoff.next() for _ in range(2000)]
        assert waits[:3] == [limits.MIN_BACKOFF_S * 2**n * factor for n in range(3)]
        assert waits[-1] == limits.MAX_BACKOFF_S * factor
        backoff.reset()
        assert backoff.next() == limits.MIN_BACKOFF_S * factor


class _Impatient(threading.Event):
    """A stop signal that is never waited for; it is set after some waits."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._last = waits

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        return len(self.waits) == self._last


def test_a_call_is_tried_again_until_the_hub_is_there(hub, client):
    def busy_twice(handler, _):
        if len(hub.requests) == 2:
            hub.respond = hub.echo
        handler.reply(503, ErrorReply("busy", "full"))

    hub.respond = busy_twice
    stop = _Impatient(waits=9)
    assert call_until_there(client, "/v1/echo", Ask("x"), Told, stop=stop, random=lambda: 1.0) == Told("x", 3)
    assert stop.waits == [limits.MIN_BACKOFF_S, 2 * limits.MIN_BACKOFF_S]


def test_trying_again_ends_when_told_to_stop():
    stop = _Impatient(waits=3)
    with Client(_free_address(), HUB.public, KEY) as client, pytest.raises(HubUnreachable):
        call_until_there(client, "/v1/echo", Ask("x"), Told, stop=stop)
    assert len(stop.waits) == 3


def test_an_error_that_waiting_does_not_mend_is_raised_at_once(hub, client):
    hub.respond = lambda handler, _: handler.reply(403, ErrorReply("not_allowed", "no"))
    stop = _Impatient(waits=1)
    with pytest.raises(errors.NotAllowed):
        call_until_there(client, "/v1/echo", Ask("x"), Told, stop=stop)
    assert stop.waits == []
