"""Sizes as people write them: `1GiB`, `512 MB`, or a number of bytes."""

import re
from typing import Final

from talkoot.core.errors import BadInput

_UNITS: Final = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000**n for n, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**n for n, letter in enumerate("kmgt", 1)},
}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)


def parse_size(size: str | int, name: str) -> int:
    """Bytes. Raises BadInput, with the `name` of the option, for anything but a positive size."""
    if isinstance(size, int) and not isinstance(size, bool):
        size_bytes: int | None = size
    else:
        size_bytes = _parse(size) if isinstance(size, str) else None
    if size_bytes is None or size_bytes <= 0:
        raise BadInput(f"{name}={size!r} is not a size", hint='Write a number of bytes, or a text such as "1GiB" or "512MB".')
    return size_bytes


def _parse(text: str) -> int | None:
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match[2].lower()) if match else None
    return int(float(match[1]) * unit) if match and unit else None
