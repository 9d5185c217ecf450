"""Where a hub listens. As long as there is no TLS, that is this machine and nothing else.

Requests are signed but not encrypted: on a network, anybody in between could read programs, data and answers.
So both sides refuse any other address, and there is no switch to turn that off.
"""

import ipaddress
import re
from typing import Final

from talkoot.core.errors import BadInput

_REASON: Final = (
    "Talkoot listens on loopback only as long as it has no TLS: requests are signed, but whoever is in between could read them."
)
_HINT: Final = "Use 127.0.0.1, and reach a hub on another machine through a tunnel (ssh -L)."
_URL: Final = re.compile(r"http://(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+)):([0-9]{1,5})/?", re.ASCII | re.IGNORECASE)
_MAX_ADDRESS_CHARS: Final = 200


def check_loopback(host: str) -> None:
    """Raise BadInput for any host but 127.0.0.0/8, ::1 and localhost."""
    if not _is_loopback(host):
        raise BadInput(f"{host[:_MAX_ADDRESS_CHARS]!r} is not an address of this machine's loopback. {_REASON}", hint=_HINT)


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_loopback
    return address == ipaddress.IPv6Address("::1") and not address.scope_id


def loopback_address(host: str, port: int) -> str:
    """The address under which a hub is reached that listens there. Raises BadInput."""
    check_loopback(host)
    _check_port(port)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of an address such as `http://127.0.0.1:8470`.

    Raises BadInput for any other form, and for what is not loopback. The text is not repeated in the error if
    it holds a user name, for then it is likely to hold a password.
    """
    if "@" in text:
        raise BadInput("The address of a hub has no user name and no password in it.", hint=_example())
    shown = text[:_MAX_ADDRESS_CHARS]
    if text[:8].lower() == "https://":
        raise BadInput(f"{shown!r} asks for TLS, which Talkoot does not have yet.", hint=_example())
    match = _URL.fullmatch(text) if len(text) <= _MAX_ADDRESS_CHARS else None
    if match is None:
        raise BadInput(f"{shown!r} is not the address of a hub: scheme, host and port, and nothing after them.", hint=_example())
    host, port = (match[1] or match[2]).lower(), int(match[3])
    check_loopback(host)
    _check_port(port)
    return host, port


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise BadInput(f"{port} is not a port (1 to 65535).", hint=_example())


def _example() -> str:
    return "An address looks like this: http://127.0.0.1:8470"
