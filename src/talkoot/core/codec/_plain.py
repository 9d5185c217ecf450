"""The fast path of `encode`: what can be handed to the packer in C as a whole.

That is a list or a map of text that holds only plain scalars, or lists or maps of these. The answer is None
where anything else might be inside; the slow path then tells the same bytes, or what is wrong.
"""

import sys
from collections.abc import Collection, Iterable
from itertools import chain
from operator import ne
from typing import Any, Final

import msgspec

pack = msgspec.msgpack.Encoder().encode
_pack_sorted = msgspec.msgpack.Encoder(order="deterministic").encode

NO_LIMIT: Final = sys.maxsize
_SCALARS: Final = frozenset({int, float, str, bytes, bool, type(None)})
_TEXT: Final = frozenset({str})
_LISTS: Final = frozenset({list})
_DICTS: Final = frozenset({dict})


class Large(Exception):
    """The value is beyond the limit, seen before it was packed."""


def pack_list(items: list[Any], room: int, *, nested: bool) -> bytes | None:
    """The bytes of a list, or None. `nested` says whether another level fits under the depth cap."""
    types = set(map(type, items))
    if types <= _SCALARS:
        return _pack_checked(items, items, types, room)
    if not nested or (types != _LISTS and types != _DICTS):
        return None
    if room != NO_LIMIT and sum(map(len, items)) > room:
        raise Large
    if types == _LISTS:
        return _pack_nested(items, list(chain.from_iterable(items)), room)
    if set(map(type, chain.from_iterable(items))) <= _TEXT:
        return _pack_nested(items, list(chain.from_iterable(map(dict.values, items))), room)
    return None


def pack_map(pairs: dict[str, Any], room: int) -> bytes | None:
    """The bytes of a map whose keys are known to be text, or None."""
    values = pairs.values()
    types = set(map(type, values))
    if not types <= _SCALARS:
        return None
    if room != NO_LIMIT and sum(map(len, pairs)) > room:
        raise Large
    return _pack_checked(pairs, values, types, room)


def _pack_nested(items: list[Any], leaves: list[Any], room: int) -> bytes | None:
    types = set(map(type, leaves))
    return _pack_checked(items, leaves, types, room) if types <= _SCALARS else None


def _pack_checked(whole: object, leaves: Collection[Any], types: set[type], room: int) -> bytes | None:
    if room != NO_LIMIT and _at_least(leaves, types) > room:
        raise Large
    if float in types and _has_nan(leaves, types):
        return None
    try:
        return _pack_sorted(whole)
    except (OverflowError, UnicodeEncodeError):
        return None


def _at_least(leaves: Collection[Any], types: set[type]) -> int:
    """A size in bytes that the encoding of the leaves surely has."""
    if str not in types and bytes not in types:
        return len(leaves)
    return len(leaves) + sum(len(leaf) for leaf in leaves if type(leaf) is str or type(leaf) is bytes)


def _has_nan(leaves: Iterable[Any], types: set[type]) -> bool:
    if len(types) == 1:
        total = sum(leaves)  # a NaN stays one, and so does inf - inf: the next line tells
        if total == total:
            return False
    return any(map(ne, leaves, leaves))
