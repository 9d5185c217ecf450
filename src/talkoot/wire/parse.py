"""From bytes of strangers to a typed message, or a clear error and nothing else."""

from typing import TypeVar

import msgspec

from talkoot.core.errors import BadInput

T = TypeVar("T")


def parse(data: bytes, kind: type[T], what: str) -> T:
    """Decode MessagePack as `kind`. Raises `BadInput` that names `what` for anything else (msgspec itself also
    raises UnicodeDecodeError and RecursionError)."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"this is not a {what}: {error}") from None
