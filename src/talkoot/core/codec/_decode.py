"""From bytes to the value. What is read is encoded again and compared: only canonical bytes are taken."""

import dataclasses
import enum
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from talkoot.core.codec import _arrays, _leaves, _marks
from talkoot.core.codec._encode import Part, Unencodable, encode_parts
from talkoot.core.codec._hole import Hole
from talkoot.core.codec._record import Kind, Record
from talkoot.core.errors import CodecError

Arrays = Literal["numpy", "raw"]
_BLOCK_BYTES = 1 << 20
MALFORMED = (
    msgspec.DecodeError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,  # UnicodeDecodeError too
)
"""What reading hostile bytes may raise before it is made a CodecError."""


def decode(
    data: bytes | memoryview,
    *,
    classes: Mapping[str, type] | None = None,
    arrays: Arrays = "numpy",
    check: bool = True,
    holes: Sequence[object] | None = None,
) -> Any:
    """The value that `encode` made the bytes of.

    Instances of dataclasses, namedtuples and enums become instances of `classes[qualified name]`, made without
    calling their `__init__`, or else a Record. `arrays="raw"` gives a RawArray for each array and scalar of
    NumPy, which is then not needed. `check=False` leaves out the comparison with the value's own encoding: only
    for bytes that this process made, or has checked before. `holes` are the values that take the places of
    `Hole(0)`, `Hole(1)`, ...; without them, bytes that hold a hole are refused. Raises CodecError for anything but
    an encoding.
    """
    if holes is not None:
        return _fill(data, {} if classes is None else classes, arrays, holes, check=check)
    return _decode(data, _DECODERS[arrays] if classes is None else _Reader(classes, arrays).decoder, check=check)


def _fill(data: bytes | memoryview, classes: Mapping[str, type], arrays: Arrays, holes: Sequence[object], *, check: bool) -> Any:
    """Decode arguments. What is canonical is the encoding with its holes, so it is checked before they are filled."""
    if check:
        _decode(data, _Reader(classes, arrays, [Hole(n) for n in range(len(holes))]).decoder, check=True)
    return _decode(data, _Reader(classes, arrays, holes).decoder, check=False)


def _decode(data: bytes | memoryview, decoder: msgspec.msgpack.Decoder[Any], *, check: bool) -> Any:
    try:
        value = decoder.decode(data)
        canonical = not check or _is_same(encode_parts(value), data)
    except CodecError:
        raise
    except Unencodable as unencodable:
        raise CodecError(f"these bytes are not an encoding: they hold a {unencodable.error().message}") from None
    except MALFORMED as error:
        raise CodecError(f"these bytes are not an encoding: {str(error)[:200] or type(error).__name__}") from None
    if not canonical:
        raise CodecError("these bytes are not the canonical encoding of the value in them")
    return value


def _is_same(found: list[Part], data: bytes | memoryview) -> bool:
    """Whether the parts, joined, are the data; in blocks, as a second copy of a large array would be slow."""
    if len(found) == 1:
        return found[0] == data
    if sum(map(len, found)) != len(data):
        return False
    if len(data) <= _BLOCK_BYTES:
        return b"".join(found) == data
    place, view = 0, memoryview(data).cast("B")
    for part in found:
        for start in range(0, len(part), _BLOCK_BYTES):
            block = bytes(part[start : start + _BLOCK_BYTES])
            if block != bytes(view[place : place + len(block)]):
                return False
            place += len(block)
    return True


class _Reader:
    """Reads the payloads of marks. Has no state of its own, so that threads may share it."""

    def __init__(self, classes: Mapping[str, type], arrays: Arrays, holes: Sequence[object] | None = None) -> None:
        self.classes = classes
        self.holes = holes
        self.raw = arrays == "raw"
        self.decoder = msgspec.msgpack.Decoder(ext_hook=self.read)

    def read(self, mark: int, payload: memoryview) -> object:
        leaf = _leaves.READ.get(mark)
        if leaf is not None:
            return leaf(payload)
        whole = _WHOLE.get(mark)
        if whole is not None:
            return whole(self._list(payload))
        if mark == _marks.ARRAY or mark == _marks.ARRAY_SCALAR:
            scalar = mark == _marks.ARRAY_SCALAR
            return _arrays.read_raw(payload, scalar=scalar) if self.raw else _arrays.read(payload, scalar=scalar)
        if mark == _marks.HOLE:
            return self._hole(payload)
        if mark == _marks.ENUM:
            return self._enum(*self._list(payload))
        if mark == _marks.DATACLASS or mark == _marks.NAMEDTUPLE:
            class_name, *flat = self._list(payload)
            return self._instance(mark, class_name, flat[::2], flat[1::2])
        raise CodecError(f"{mark} is not a mark of the codec")

    def _list(self, payload: memoryview) -> list[Any]:
        items = self.decoder.decode(payload)
        if type(items) is not list:
            raise CodecError("the payload of a mark is not a list")
        return items

    def _hole(self, payload: memoryview) -> object:
        if self.holes is None:
            raise CodecError("a hole where only values may be")
        n = self.decoder.decode(payload)
        if type(n) is not int or not 0 <= n < len(self.holes):
            raise CodecError(f"a hole for an input that is not there: {len(self.holes)} were given")
        return self.holes[n]

    def _enum(self, class_name: str, member: str | int) -> object:
        if type(class_name) is not str or type(member) not in (str, int):
            raise CodecError("a member of an enum is not the name of its class and its own name or value")
        cls = self.classes.get(class_name)
        if cls is None:
            return Record("enum", class_name, {"name" if type(member) is str else "value": member})
        if not issubclass(cls, enum.Enum):
            raise CodecError(f"the data has a member of an enum {class_name}, which is another kind of class here")
        if type(member) is int and issubclass(cls, enum.Flag):
            return cls(member)
        if type(member) is str and member in cls.__members__:
            return cls.__members__[member]
        raise CodecError(f"enum {class_name} has no member {str(member)[:60]!r} here")

    def _instance(self, mark: int, class_name: str, names: list[str], values: list[Any]) -> object:
        kind: Kind = "dataclass" if mark == _marks.DATACLASS else "namedtuple"
        if len(names) != len(values) or not all(type(name) is str for name in (class_name, *names)):
            raise CodecError(f"the fields of a {kind} are not names and values")
        cls = self.classes.get(class_name)
        if cls is None:
            return Record(kind, class_name, dict(zip(names, values, strict=True)))
        expected = _field_names(cls, kind)
        if names != expected:
            raise CodecError(f"{kind} {class_name} has the fields {expected} here and {names} in the data")
        if issubclass(cls, tuple):
            return tuple.__new__(cls, values)
        made = object.__new__(cls)
        for name, value in zip(names, values, strict=True):
            object.__setattr__(made, name, value)
        return made


def _field_names(cls: type, kind: Kind) -> list[str] | None:
    if kind == "dataclass":
        return [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else None
    return list(getattr(cls, "_fields", ())) if issubclass(cls, tuple) else None


def _set(items: list[Any]) -> set[Any]:
    _refuse_flood(items)
    return set(items)


def _frozenset(items: list[Any]) -> frozenset[Any]:
    _refuse_flood(items)
    return frozenset(items)


def _map(items: list[Any]) -> dict[Any, Any]:
    keys = items[::2]
    _refuse_flood(keys)
    return dict(zip(keys, items[1::2], strict=True))


def _refuse_flood(keys: Iterable[Any]) -> None:
    """Refuse keys chosen to have one hash: a table of them costs the square of their number."""
    hashes = Counter(map(hash, keys))
    if hashes and hashes.total() > _marks.MAX_SAME_HASH < max(hashes.values()):
        raise CodecError(f"more than {_marks.MAX_SAME_HASH} keys or elements have the same hash")


def _three(make: Callable[[Any, Any, Any], object]) -> Callable[[list[Any]], object]:
    return lambda items: make(*items) if len(items) == 3 else _wrong_count()


def _wrong_count() -> object:
    raise CodecError("a range or slice has three parts")


_WHOLE: dict[int, Callable[[list[Any]], object]] = {
    _marks.TUPLE: tuple,
    _marks.SET: _set,
    _marks.FROZENSET: _frozenset,
    _marks.MAP: _map,
    _marks.RANGE: _three(range),
    _marks.SLICE: _three(slice),
}
_DECODERS = {mode: _Reader({}, mode).decoder for mode in ("numpy", "raw")}
