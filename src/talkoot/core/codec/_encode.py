"""From a value to its bytes: a list of parts, joined once at the end, so that large arrays are copied once."""

import dataclasses
import enum
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NoReturn

from talkoot.core import limits
from talkoot.core.codec import _arrays, _leaves, _marks
from talkoot.core.codec._hole import Hole
from talkoot.core.codec._layout import RawArray
from talkoot.core.codec._plain import NO_LIMIT, Large, pack, pack_list, pack_map
from talkoot.core.codec._record import Record, parts
from talkoot.core.errors import CodecError, TooLarge

Part = bytes | memoryview
Writer = Callable[[list[Part], Any, int, int], int]
"""Appends the parts of a value, at a depth and with so many bytes to go, and returns their size."""

_ADVICE = "return numbers, text, lists, dicts, dataclasses or NumPy arrays made from it"
_BUILTINS = (int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset)
_SHOWN_STEPS = 12


class Unencodable(Exception):
    """Raised at the value at fault; `path` gathers the way to it, innermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    def error(self) -> CodecError:
        steps = self.path[::-1]
        shown = "".join(steps[:_SHOWN_STEPS]) + ("..." if len(steps) > _SHOWN_STEPS else "")
        return CodecError(f"value{shown}: {self.reason}")


def encode(value: object, *, limit_bytes: int | None = None) -> bytes:
    """The canonical bytes of a value.

    Raises CodecError for a value that has no encoding, with the path to it, and TooLarge beyond `limit_bytes`,
    for large arrays, text and lists before they are copied.
    """
    try:
        found = encode_parts(value, limit_bytes=limit_bytes)
    except Unencodable as unencodable:
        raise unencodable.error() from None
    first = found[0]
    return first if len(found) == 1 and isinstance(first, bytes) else b"".join(found)


def encode_parts(value: object, *, limit_bytes: int | None = None) -> list[Part]:
    """The same as parts to be joined. Raises Unencodable, TooLarge."""
    out: list[Part] = []
    room = NO_LIMIT if limit_bytes is None else limit_bytes
    try:
        if _put(out, value, 0, room) > room:
            raise Large
    except Large:
        raise TooLarge(
            f"the encoding of the value is longer than {limit_bytes} bytes",
            hint="return less, or split the task",
        ) from None
    return out


def _put(out: list[Part], value: Any, depth: int, room: int) -> int:
    writer = _WRITERS.get(type(value))
    if writer is None:
        writer = _writer_of_other(value)
    return writer(out, value, depth, room)


def _add(out: list[Part], data: Part) -> int:
    out.append(data)
    return len(data)


def _put_none_or_bool(out: list[Part], value: bool | None, depth: int, room: int) -> int:
    return _add(out, pack(value))


def _put_int(out: list[Part], value: int, depth: int, room: int) -> int:
    if -(2**63) <= value < 2**64:
        return _add(out, pack(value))
    if value.bit_length() // 8 > room:
        raise Large
    return _put_payload(out, _marks.BIG_INT, _leaves.big_int(value))


def _put_float(out: list[Part], value: float, depth: int, room: int) -> int:
    return _add(out, pack(value) if value == value else b"\xcb" + _marks.NAN)


def _put_text(out: list[Part], value: str, depth: int, room: int) -> int:
    if len(value) > room:
        raise Large
    try:
        return _add(out, pack(value))
    except UnicodeEncodeError:
        raise Unencodable("cannot encode text with a lone surrogate; return bytes") from None


def _put_bytes(out: list[Part], value: bytes, depth: int, room: int) -> int:
    if len(value) > room:
        raise Large
    _refuse_huge(len(value))
    return _add(out, pack(value))


def _put_payload(out: list[Part], mark: int, payload: bytes) -> int:
    _refuse_huge(len(payload))
    return _add(out, _marks.ext_header(mark, len(payload)) + payload)


def _refuse_huge(size: int) -> None:
    if size > _marks.MAX_EXT_BYTES:
        raise TooLarge(f"{size} bytes in one piece; the format has at most {_marks.MAX_EXT_BYTES}")


def _put_leaf(out: list[Part], value: Any, depth: int, room: int) -> int:
    if type(value) is bytearray and len(value) > room:
        raise Large
    mark, to_payload = _leaves.PACK[type(value)]
    try:
        return _put_payload(out, mark, to_payload(value))
    except (CodecError, UnicodeEncodeError) as error:
        raise Unencodable(str(error)) from None


def _put_list(out: list[Part], items: list[Any], depth: int, room: int) -> int:
    if depth >= limits.MAX_VALUE_DEPTH:
        _too_deep()
    if len(items) > room:
        raise Large
    whole = pack_list(items, room, nested=depth + 1 < limits.MAX_VALUE_DEPTH)
    if whole is not None:
        return _add(out, whole)
    size = _add(out, _marks.list_header(len(items)))
    index = 0
    try:
        for index, item in enumerate(items):  # noqa: B007 - the handler tells where it stopped
            size += _put(out, item, depth + 1, room)
            if size > room:
                raise Large
    except Unencodable as unencodable:
        unencodable.path.append(f"[{index}]")
        raise
    return size


def _too_deep() -> NoReturn:
    raise Unencodable(f"deeper than {limits.MAX_VALUE_DEPTH} levels, or it contains itself; return a flatter value")


def _put_inside(out: list[Part], mark: int, items: list[Any], depth: int, room: int) -> int:
    """A list under a mark: the header is put in its place when the size is known."""
    place = len(out)
    out.append(b"")
    size = _put_list(out, items, depth, room)
    return size + _close(out, place, mark, size)


def _close(out: list[Part], place: int, mark: int, size: int) -> int:
    _refuse_huge(size)
    header = _marks.ext_header(mark, size)
    out[place] = header
    return len(header)


def _put_tuple(out: list[Part], value: tuple[Any, ...], depth: int, room: int) -> int:
    return _put_inside(out, _marks.TUPLE, list(value), depth, room)


def _put_range(out: list[Part], value: range, depth: int, room: int) -> int:
    return _put_inside(out, _marks.RANGE, [value.start, value.stop, value.step], depth, room)


def _put_slice(out: list[Part], value: slice, depth: int, room: int) -> int:
    return _put_inside(out, _marks.SLICE, [value.start, value.stop, value.step], depth, room)


def _put_set(out: list[Part], value: Iterable[Any], depth: int, room: int) -> int:
    mark = _marks.SET if type(value) is set else _marks.FROZENSET
    if depth >= limits.MAX_VALUE_DEPTH:
        _too_deep()
    encoded = _sorted_apart([(_alone(item, depth + 1, room, "{}"), None) for item in value])
    place = len(out)
    out.append(b"")
    size = _add(out, _marks.list_header(len(encoded)))
    size += sum(_add(out, data) for data, _ in encoded)
    return size + _close(out, place, mark, size)


def _alone(value: Any, depth: int, room: int, step: str) -> bytes:
    """One key or element as bytes, to be sorted by."""
    found: list[Part] = []
    try:
        if _put(found, value, depth, room) > room:
            raise Large
    except Unencodable as unencodable:
        unencodable.path.append(step)
        raise
    return b"".join(found)


def _sorted_apart(encoded: list[tuple[bytes, Any]]) -> list[tuple[bytes, Any]]:
    encoded.sort(key=_first)
    for (one, _), (other, _) in pairwise(encoded):
        if one == other:
            raise Unencodable("two keys or elements have the same encoding (two NaNs?); return a list of them")
    return encoded


def _first(pair: tuple[bytes, Any]) -> bytes:
    return pair[0]


def _put_dict(out: list[Part], value: dict[Any, Any], depth: int, room: int) -> int:
    if depth >= limits.MAX_VALUE_DEPTH:
        _too_deep()
    if len(value) > room:
        raise Large
    if any(type(key) is not str for key in value):
        return _put_map(out, value, depth, room)
    whole = pack_map(value, room)
    if whole is not None:
        return _add(out, whole)
    size = _add(out, _marks.map_header(len(value)))
    for key in sorted(value):
        size += _put_text(out, key, depth, room)
        size += _put_value(out, key, value[key], depth, room)
        if size > room:
            raise Large
    return size


def _put_value(out: list[Part], key: Any, value: Any, depth: int, room: int) -> int:
    try:
        return _put(out, value, depth + 1, room)
    except Unencodable as unencodable:
        unencodable.path.append(f"[{_shown(key)}]")
        raise


def _shown(key: Any) -> str:
    """A key in a message; of unknown classes only the name, since their `repr` is code that is not ours."""
    if type(key) in (str, bytes, bool, float, type(None)) or (type(key) is int and key.bit_length() < 128):
        text = repr(key)
        return text if len(text) <= 40 else text[:37] + "..."
    return f"<{type(key).__name__}>"


def _put_map(out: list[Part], value: dict[Any, Any], depth: int, room: int) -> int:
    """A dict with a key that is not text: keys and values in turn, sorted by the encoding of the key."""
    pairs = _sorted_apart([(_alone(key, depth + 1, room, f" key {_shown(key)}"), key) for key in value])
    place = len(out)
    out.append(b"")
    size = _add(out, _marks.list_header(2 * len(pairs)))
    for data, key in pairs:
        size += _add(out, data) + _put_value(out, key, value[key], depth, room)
        if size > room:
            raise Large
    return size + _close(out, place, _marks.MAP, size)


def _put_array(out: list[Part], value: Any, depth: int, room: int) -> int:
    if type(value) is not RawArray:
        size = _arrays.size_bytes(value)
        if size > room:
            raise Large
        _refuse_huge(size)
    try:
        header, elements, scalar = (_arrays.pack_raw if type(value) is RawArray else _arrays.pack)(value)
    except _arrays.Unusable as unusable:
        raise Unencodable(f"cannot encode it: {unusable}") from None
    size = len(header) + len(elements)
    _refuse_huge(size)
    mark = _marks.ARRAY_SCALAR if scalar else _marks.ARRAY
    total = _add(out, _marks.ext_header(mark, size) + header)
    return total + _add(out, elements)


def _put_hole(out: list[Part], value: Hole, depth: int, room: int) -> int:
    return _put_payload(out, _marks.HOLE, pack(value.n))


def _put_enum(out: list[Part], value: enum.Enum, depth: int, room: int) -> int:
    member = value.value if isinstance(value, enum.Flag) else value.name
    return _put_inside(out, _marks.ENUM, [type(value).__qualname__, member], depth, room)


def _put_dataclass(out: list[Part], value: Any, depth: int, room: int) -> int:
    try:
        fields = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    except AttributeError as error:
        raise Unencodable(f"a field of {type(value).__name__} is not set: {error}") from None
    return _put_fields(out, _marks.DATACLASS, type(value).__qualname__, fields, depth, room)


def _put_namedtuple(out: list[Part], value: Any, depth: int, room: int) -> int:
    fields = list(zip(value._fields, tuple.__iter__(value), strict=True))
    return _put_fields(out, _marks.NAMEDTUPLE, type(value).__qualname__, fields, depth, room)


def _put_record(out: list[Part], value: Record, depth: int, room: int) -> int:
    kind, class_name, fields = parts(value)
    if kind == "enum":
        return _put_inside(out, _marks.ENUM, [class_name, fields[0][1]], depth, room)
    mark = _marks.DATACLASS if kind == "dataclass" else _marks.NAMEDTUPLE
    return _put_fields(out, mark, class_name, fields, depth, room)


def _put_fields(out: list[Part], mark: int, class_name: str, fields: list[tuple[str, Any]], depth: int, room: int) -> int:
    flat = [class_name, *(part for field in fields for part in field)]
    try:
        return _put_inside(out, mark, flat, depth, room)
    except Unencodable as unencodable:
        if unencodable.path:  # [2], [4], ... are the fields
            unencodable.path[-1] = f".{flat[int(unencodable.path[-1][1:-1]) - 1]}"
        raise


def _writer_of_other(value: Any) -> Writer:
    """The writer for types that are known by a property rather than by name. Raises Unencodable."""
    cls = type(value)
    if _arrays.is_numpy(value):
        return _put_array
    if isinstance(value, enum.Enum):
        return _put_enum
    if isinstance(value, tuple) and isinstance(getattr(cls, "_fields", None), tuple):
        return _put_namedtuple
    for base in _BUILTINS:
        if isinstance(value, base):
            raise Unencodable(f"cannot encode a {cls.__name__}, it would lose its type; return {base.__name__}(it)")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _put_dataclass
    raise Unencodable(f"cannot encode a {cls.__name__}; {_ADVICE}")


_WRITERS: dict[type, Writer] = {
    type(None): _put_none_or_bool,
    bool: _put_none_or_bool,
    int: _put_int,
    float: _put_float,
    str: _put_text,
    bytes: _put_bytes,
    list: _put_list,
    tuple: _put_tuple,
    dict: _put_dict,
    set: _put_set,
    frozenset: _put_set,
    range: _put_range,
    slice: _put_slice,
    RawArray: _put_array,
    Hole: _put_hole,
    Record: _put_record,
    **dict.fromkeys(_leaves.PACK, _put_leaf),
}
