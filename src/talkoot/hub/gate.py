"""What every request passes first, and every reply last: the name it is addressed to, and what browsers must not do.

A web page that a person has open may make their browser talk to this machine, under a name of the page's own that
points here (DNS rebinding). Such requests carry that name as `Host`, and are refused.
"""

import re
from typing import Any, Final

import msgspec

from talkoot.core.errors import BadInput, NotAllowed
from talkoot.wire.address import check_loopback
from talkoot.wire.client import ErrorReply
from talkoot.wire.envelope import MEDIA_TYPE

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = tuple(
    (name.encode(), value.encode())
    for name, value in {
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }.items()
)
_HOST: Final = re.compile(r"(?:\[([0-9a-fA-F:.]{1,45})\]|([A-Za-z0-9.-]{1,253}))(?::[0-9]{1,5})?")


class Gate:
    """ASGI middleware around the whole hub."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            return

        async def send_on(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) == 1 and is_loopback_host(hosts[0].decode("latin-1")):
            await self._inner(scope, receive, send_on)
        else:
            await _refuse(send_on)


def is_loopback_host(host: str) -> bool:
    """Whether a `Host` header names this machine's loopback. Any port: a tunnel may have another one."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    try:
        check_loopback(match[1] or match[2])
    except BadInput:
        return False
    return True


async def _refuse(send: Any) -> None:
    error = NotAllowed("the request is addressed to a name that is not this machine's loopback", hint="use 127.0.0.1")
    body = msgspec.msgpack.encode(ErrorReply(error.code, error.message, error.hint))
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
