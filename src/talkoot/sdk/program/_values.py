"""Plain values and containers, written by content: a shared list and an equal copy are the same program."""

import math
import sys
from types import EllipsisType, NotImplementedType
from typing import TYPE_CHECKING, Any, Final

from talkoot.core import carrier, codec, limits
from talkoot.core.carrier import Value
from talkoot.sdk.program._refusal import CannotSendError, TooLargeToSendError

if TYPE_CHECKING:
    from talkoot.sdk.program._walker import Walker

NOT_SIMPLE: Final = object()
_BY_ITSELF: Final = frozenset({type(None), bool})
_SEQUENCES: Final[dict[type, int]] = {tuple: carrier.TUPLE, list: carrier.LIST}
_SETS: Final[dict[type, int]] = {set: carrier.SET, frozenset: carrier.FROZENSET}


def simple(thing: Any) -> Value:
    """The form of a value that holds no other values; NOT_SIMPLE for anything else."""
    cls = type(thing)
    if cls is str:
        return thing if thing.isascii() else _text(thing)
    if cls in _BY_ITSELF:
        return thing
    if cls is int:
        return thing if -(2**63) <= thing < 2**64 else [carrier.BIG_INT, hex(thing)]
    if cls is float:
        return thing if thing == thing else [carrier.NAN]
    if cls is bytes:
        return thing if len(thing) <= limits.MAX_PROGRAM_BYTES else NOT_SIMPLE
    if cls is complex:
        return [carrier.COMPLEX, simple(thing.real), simple(thing.imag)]
    if cls is bytearray:
        return [carrier.BYTEARRAY, bytes(thing)] if len(thing) <= limits.MAX_PROGRAM_BYTES else NOT_SIMPLE
    if cls is EllipsisType:
        return [carrier.ELLIPSIS]
    if cls is NotImplementedType:
        return [carrier.NOT_IMPLEMENTED]
    return NOT_SIMPLE


def container(walker: "Walker", thing: Any) -> Value:
    """The form of a built-in container or an array; NOT_SIMPLE for anything else."""
    cls = type(thing)
    if cls in (bytes, bytearray):
        raise TooLargeToSendError(len(thing))
    if cls not in _SEQUENCES and cls is not dict and cls not in _SETS:
        return _array(walker, thing)
    if id(thing) in walker.open:
        raise CannotSendError(f"a {cls.__name__} that contains itself cannot be sent", "Break the cycle.")
    walker.open.add(id(thing))
    try:
        if cls is dict:
            return _dict(walker, thing)
        if cls in _SETS:
            return [_SETS[cls], *_sorted(walker, thing)]
        return _sequence(walker, thing, _SEQUENCES[cls])
    finally:
        walker.open.discard(id(thing))


def pairs(walker: "Walker", thing: dict[str, Any], label: str) -> list[tuple[str, Value]]:
    """Names and values, in order; `label` is a template of the path's step, as in `closure[{!r}]`."""
    return [(name, walker.value(value, label.format(name))) for name, value in thing.items()]


def _text(thing: str) -> Value:
    try:
        thing.encode()
    except UnicodeEncodeError:
        return [carrier.TEXT, thing.encode("utf-8", "surrogatepass")]
    return thing


def _sequence(walker: "Walker", thing: Any, tag: int) -> Value:
    if _are_plain(thing, set(map(type, thing))):
        return [tag, *thing]
    return [tag, *(walker.value(item, f"[{at}]") for at, item in enumerate(thing))]


def _are_plain(thing: Any, kinds: set[type]) -> bool:
    """Whether all items are scalars of one kind that stand for themselves, so that none need be looked at alone."""
    if kinds == {int}:
        return bool(min(thing) >= -(2**63) and max(thing) < 2**64)
    if kinds == {float}:
        return not any(map(math.isnan, thing))
    return kinds == {str} and all(map(str.isascii, thing))


def _dict(walker: "Walker", thing: dict[Any, Any]) -> Value:
    form: list[Value] = [carrier.DICT]
    for key, value in thing.items():
        form.append(walker.value(key, "key"))
        form.append(walker.value(value, f"[{key!r}]" if type(key) in (str, int) else "[...]"))
    return form


def _sorted(walker: "Walker", thing: Any) -> list[Value]:
    """The items of a set in an order that neither the hash seed nor an address can change.

    Objects are ordered by what a walk that begins at them sees, before they get their numbers in this one.
    """
    forms = [simple(item) for item in thing]
    if NOT_SIMPLE not in forms:
        return sorted(forms, key=carrier.encode_value)
    keyed: dict[bytes, Any] = {}
    for item in thing:
        with walker.step("{...}"):
            key = type(walker)("", outer=walker).run(item)
        if key in keyed:
            raise CannotSendError(
                f"a {type(thing).__name__} holds two objects that cannot be told apart, so it has no fixed order",
                "Use a list or a dict, or let the objects have different content.",
            )
        keyed[key] = item
    return [walker.value(keyed[key], "{...}") for key in sorted(keyed)]


def _array(walker: "Walker", thing: Any) -> Value:
    numpy = sys.modules.get("numpy")
    if numpy is None or type(thing) is not numpy.ndarray or thing.dtype.hasobject:
        return NOT_SIMPLE
    if thing.nbytes > limits.MAX_PROGRAM_BYTES:
        raise TooLargeToSendError(thing.nbytes)
    walker.need("numpy")
    return [carrier.ARRAY, codec.encode(thing)]
