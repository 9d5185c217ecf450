"""The hub's HTTP: who may speak at all, how much of it, and what goes back. What is asked for is in `handlers`.

What a stranger can reach without a signature is small on purpose: a size is checked before anything is read, a
signature before anything is parsed, and an error that is nobody's fault but the hub's tells nothing of the hub.
"""

import asyncio
import logging
import time
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

import talkoot
from talkoot.core import limits
from talkoot.core.errors import BadInput, Busy, InternalError, NotAllowed, NotFound, TalkootError, TooLarge, Unavailable
from talkoot.crypto.signed import Signed
from talkoot.hub import metrics
from talkoot.hub.endpoints import ENDPOINTS, Endpoint
from talkoot.hub.gate import Gate
from talkoot.hub.handlers import HANDLERS, Call
from talkoot.hub.service import Service
from talkoot.wire.client import HELLO_PATH, ErrorReply, Hello
from talkoot.wire.envelope import EPOCH_HEADER, MEDIA_TYPE, epoch_text, open_request
from talkoot.wire.envelope import Request as SignedRequest
from talkoot.wire.parse import parse

S = TypeVar("S", bound=msgspec.Struct)
_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode


class Api:
    """The calls of the API over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._in_flight = 0
        self.counts: dict[tuple[str, str], int] = {}
        """(path, outcome) -> requests, for `/metrics`."""

    def routes(self) -> list[BaseRoute]:
        """All routes of the API."""
        calls = [Route(endpoint.path, self._route(endpoint), methods=["POST"]) for endpoint in ENDPOINTS]
        return [
            Route(HELLO_PATH, self._hello, methods=["GET"]),
            Route("/healthz", self._health, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
            *calls,
        ]

    def _route(self, endpoint: Endpoint) -> Any:
        async def answer(request: Request) -> Response:
            return await self._answer(endpoint, request)

        return answer

    async def _answer(self, endpoint: Endpoint, request: Request) -> Response:
        try:
            reply = self._reply(200, await self._call(endpoint, request))
            outcome = "ok"
        except TalkootError as error:
            reply, outcome = self.error(error), error.code
        except ClientDisconnect:
            reply, outcome = Response(status_code=400), "gone"
        except Exception as error:  # noqa: BLE001 - whatever it was, the asker is told that it was the hub
            _log.exception("%s failed", endpoint.path, exc_info=error)
            reply, outcome = self.error(InternalError()), InternalError.code
        self.counts[endpoint.path, outcome] = self.counts.get((endpoint.path, outcome), 0) + 1
        return reply

    async def _call(self, endpoint: Endpoint, request: Request) -> msgspec.Struct:
        size = _declared_size(request)
        if self._in_flight + size > limits.MAX_BODY_BYTES_IN_FLIGHT:
            raise Busy("the hub holds as many requests as it can", hint="try again in a moment")
        self._in_flight += size
        try:
            data = await _read_body(request, size)
            signed, opened = await self._aside(size, self._open, data, endpoint)
            del data
            await self._admit(endpoint, signed, opened)
            body = await self._aside(size, parse, opened.body, endpoint.body, endpoint.body.__name__)
            return await HANDLERS[endpoint.path](self._service, Call(signed, lambda: _gone(request)), body)
        finally:
            self._in_flight -= size

    async def _aside(self, size: int, function: Any, *arguments: Any) -> Any:
        if size <= limits.LARGE_BODY_BYTES:
            return function(*arguments)
        return await asyncio.to_thread(function, *arguments)

    def _open(self, data: bytes, endpoint: Endpoint) -> tuple[Signed, SignedRequest]:
        return open_request(data, hub=self._service.hub, path=endpoint.path)

    async def _admit(self, endpoint: Endpoint, signed: Signed, opened: SignedRequest) -> None:
        """A known key, and not the same twice.

        A stranger's request does not use up room for nonces: that it does not happen twice is for its command to see
        to (a ticket is bound to the key that redeems it, and to redeem it again changes nothing).
        """
        if await self._service.knows(signed.key):
            self._service.epochs.check(opened.epoch, opened.nonce, time.monotonic())
        elif not endpoint.strangers:
            raise NotAllowed(
                "this hub does not know your key",
                hint="join with a ticket: somebody who is in can make one (talkoot invite)",
            )

    def _reply(self, status: int, content: msgspec.Struct) -> Response:
        headers = {EPOCH_HEADER: epoch_text(self._service.epochs.current), "cache-control": "no-store"}
        return Response(_encode(content), status, headers, MEDIA_TYPE)

    def error(self, error: TalkootError) -> Response:
        """An error as it travels."""
        return self._reply(max(error.http_status, 400), ErrorReply(error.code, error.message, error.hint))

    # Without a signature.

    async def _hello(self, request: Request) -> Response:
        service = self._service
        price = service.settings.price_microcredits
        said = Hello(service.hub, service.settings.name, service.epochs.current, talkoot.__version__, price)
        return self._reply(200, said)

    async def _health(self, request: Request) -> Response:
        well = self._service.writer.alive and not self._service.stopping
        return Response("ok\n" if well else "stopping\n", 200 if well else 503, media_type="text/plain")

    async def _metrics(self, request: Request) -> Response:
        return Response(await metrics.text(self._service, self.counts), media_type=metrics.MEDIA_TYPE)


def application(api: Api, pages: list[BaseRoute]) -> Gate:
    """The whole of the hub's HTTP: API and pages, behind the gate."""

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        told = _not_here(request, error.status_code)
        if request.url.path.startswith("/v1/"):
            reply = api.error(told)
            reply.status_code = error.status_code
            return reply
        return Response(f"{told.message}\n", error.status_code, media_type="text/plain")

    async def on_bug(request: Request, error: Exception) -> Response:
        return api.error(error if isinstance(error, TalkootError) else InternalError())

    inner = Starlette(
        routes=[*api.routes(), *pages],
        exception_handlers={HTTPException: on_http, TalkootError: on_bug, Exception: on_bug},
    )
    return Gate(inner)


def _not_here(request: Request, status: int) -> TalkootError:
    path = request.url.path[:200]
    if status == HTTPStatus.NOT_FOUND:
        return NotFound(f"there is nothing at {path}")
    return BadInput(f"{request.method[:20]} is not what {path} takes")


def _declared_size(request: Request) -> int:
    """What the request says that its body has; what says nothing is refused, for nothing could bound it in time."""
    said = request.headers.get("content-length", "")
    if not said.isascii() or not said.isdigit():
        raise BadInput("a request says the length of its body (content-length)")
    size = int(said[:20])
    if size > limits.MAX_REQUEST_BYTES:
        raise TooLarge(f"a request of {size:,} bytes; at most {limits.MAX_REQUEST_BYTES:,}", hint="send it in several requests")
    return size


async def _read_body(request: Request, size: int) -> bytes:
    chunks: list[bytes] = []
    left = size
    try:
        async with asyncio.timeout(limits.MAX_BODY_READ_S):
            async for chunk in request.stream():
                left -= len(chunk)
                if left < 0:
                    raise TooLarge(f"the body is longer than the {size:,} bytes that were announced")
                chunks.append(chunk)
    except TimeoutError:
        raise Unavailable(f"the body did not arrive within {limits.MAX_BODY_READ_S:g} s", hint="try again") from None
    return b"".join(chunks)


async def _gone(request: Request) -> None:
    """Ends when the client has gone away. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
