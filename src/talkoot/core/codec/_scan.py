"""Reads an encoding without making the value: is it one, and where do its floating-point numbers lie?

Two encodings of one structure are the same bytes everywhere but in their numbers; comparing and checking answers
need no more than that. Nothing is imported and nothing grows beyond a small multiple of the data,
so that a hub can do it to answers of strangers.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from talkoot.core import limits
from talkoot.core.codec import _arrays, _marks
from talkoot.core.codec._decode import MALFORMED, decode
from talkoot.core.codec._layout import Dtype, has_floats, is_canonical
from talkoot.core.errors import CodecError

_MIN_RUN = 8
_SETS = frozenset({_marks.SET, _marks.FROZENSET})
_CONTAINERS = _SETS | {_marks.TUPLE, _marks.MAP, _marks.SLICE, _marks.DATACLASS, _marks.NAMEDTUPLE}
_LISTS = _CONTAINERS | {_marks.RANGE, _marks.ENUM}


class Span(NamedTuple):
    """Numbers at `start:stop`. `dtype` is that of an array; `F` are floats with their marks, `C` one complex."""

    start: int
    stop: int
    dtype: Dtype


def validate(data: bytes) -> None:
    """Raise CodecError unless the data is the canonical encoding of some value."""
    spans(data)


def spans(data: bytes) -> list[Span]:
    """Where the numbers are that a comparison may let differ, in order. Raises CodecError as `validate`."""
    scan = _Scan(bytes(data))
    try:
        end = scan.value(0, 0)
    except CodecError:
        raise
    except MALFORMED as error:
        raise CodecError(f"these bytes are not an encoding: {str(error)[:200]}") from None
    if end != len(data):
        raise CodecError(f"{len(data) - end} bytes follow the encoding")
    return scan.found


class _Scan:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.found: list[Span] = []
        self.exact = False
        """Inside a key, which is read as a whole with the other keys beside it."""

    def value(self, at: int, depth: int) -> int:
        """Read the value at a place; return where it ends."""
        family, size, body = self.head(at)
        if family == "one":
            return body
        if family == "number":
            return self.number(at)
        if family == "text":
            return self.text(body, size)
        if family == "bytes":
            return self.taken(body, size)
        if family == "list":
            return self.list(body, size, depth)
        if family == "map":
            return self.map(body, size, depth)
        if family == "mark":
            return self.mark(at, body, size, depth)
        raise CodecError(f"byte {self.data[at]:#x} begins no value of the codec")

    def head(self, at: int) -> tuple[str, int, int]:
        """The family of the value at a place, its size or count, and where that of it begins."""
        family, width, size, least = _HEADS[self.data[at]]
        if width:
            size = self.length(at, width, least)
        return family, size, at + 1 + width

    def taken(self, at: int, size: int) -> int:
        if at + size > len(self.data):
            raise CodecError("the data ends inside a value")
        return at + size

    def length(self, at: int, width: int, least: int) -> int:
        """The length after the byte at a place, which a shorter form could not have said."""
        size = int.from_bytes(self.data[at + 1 : self.taken(at + 1, width)], "big")
        if size < least:
            raise CodecError("a length that is longer than it must be")
        return size

    def number(self, at: int) -> int:
        """An integer in the shortest of its forms, or a float."""
        first = self.data[at]
        if first == _marks.FLOAT_BYTE:
            end = self.taken(at, 9)
            self.nan(self.data[at + 1 : end])
            self.found.append(Span(at, end, "F"))
            return end
        width = 1 << (first & 3)
        signed = first >= 0xD0
        end = self.taken(at, 1 + width)
        number = int.from_bytes(self.data[at + 1 : end], "big", signed=signed)
        half = width * 4
        if signed and number >= (-32 if width == 1 else -(1 << (half - 1))):
            raise CodecError("an integer that is longer than it must be")
        if not signed and number < (128 if width == 1 else 1 << half):
            raise CodecError("an integer that is longer than it must be")
        return end

    def nan(self, double: bytes) -> None:
        exponent = double[0] & 0x7F == 0x7F and double[1] & 0xF0 == 0xF0
        if exponent and double != _marks.NAN and (double[1] & 0x0F or any(double[2:])):
            raise CodecError("a NaN that is not the one NaN")

    def text(self, at: int, size: int) -> int:
        end = self.taken(at, size)
        str(self.data[at:end], "utf-8")
        return end

    def list(self, at: int, count: int, depth: int) -> int:
        if depth >= limits.MAX_VALUE_DEPTH:
            raise CodecError(f"deeper than {limits.MAX_VALUE_DEPTH} levels")
        if count >= _MIN_RUN and (end := self.run(at, count)):
            return end
        for _ in range(count):
            at = self.value(at, depth + 1)
        return at

    def run(self, at: int, count: int) -> int:
        """The end of a list of nothing but floats, or 0."""
        end = at + 9 * count
        if end > len(self.data) or self.data[at:end:9] != bytes((_marks.FLOAT_BYTE,)) * count:
            return 0
        if not is_canonical([["mark", "|S1"], ["number", "<f8"]], _swapped(self.data[at:end])):
            raise CodecError("a NaN that is not the one NaN")
        self.found.append(Span(at, end, "F"))
        return end

    def map(self, at: int, count: int, depth: int) -> int:
        if depth >= limits.MAX_VALUE_DEPTH:
            raise CodecError(f"deeper than {limits.MAX_VALUE_DEPTH} levels")
        last: bytes | None = None
        for _ in range(count):
            family, size, body = self.head(at)
            if family != "text":
                raise CodecError("a key of a map that is not text")
            end = self.text(body, size)
            key = self.data[body:end]
            if last is not None and key <= last:
                raise CodecError("the keys of a map are not in order")
            last = key
            at = self.value(end, depth + 1)
        return at

    def mark(self, start: int, at: int, size: int, depth: int) -> int:
        """A mark and its payload; the header begins at `start`, the mark is at `at`."""
        mark, at = self.data[at], at + 1
        end = self.taken(at, size)
        if self.data[start] == 0xC7 and size in (1, 2, 4, 8, 16):
            raise CodecError("a header of a mark that is longer than it must be")
        if mark in (_marks.ARRAY, _marks.ARRAY_SCALAR):
            self.array(at, end, scalar=mark == _marks.ARRAY_SCALAR)
            return end
        if mark in _LISTS and depth >= limits.MAX_VALUE_DEPTH:
            raise CodecError(f"deeper than {limits.MAX_VALUE_DEPTH} levels")
        if mark in _CONTAINERS:
            self.inside(at, end, mark, depth)
            return end
        decode(self.data[start:end])
        if mark == _marks.COMPLEX:
            self.found.append(Span(at, end, "C"))
        return end

    def inside(self, at: int, end: int, mark: int, depth: int) -> None:
        """A payload that is a list."""
        family, count, place = self.head(at)
        if family != "list":
            raise CodecError("the payload of a mark is not a list")
        if mark in _SETS:
            stop = self.keys(place, count, depth)
        elif mark == _marks.MAP:
            stop = self.pairs(place, count, depth)
        elif mark == _marks.TUPLE or mark == _marks.SLICE:
            if mark == _marks.SLICE and count != 3:
                raise CodecError("a slice has three parts")
            stop = self.list(place, count, depth)
        else:
            stop = self.instance(place, count, depth)
        if stop != end:
            raise CodecError("a payload that is longer than the list in it")

    def keys(self, at: int, count: int, depth: int) -> int:
        """The elements of a set."""
        keys = []
        for _ in range(count):
            end = self.key(at, depth)
            keys.append(self.data[at:end])
            at = end
        self.distinct(keys)
        return at

    def pairs(self, at: int, count: int, depth: int) -> int:
        """Keys and values of a map with a key that is not text."""
        if count % 2:
            raise CodecError("a map with a key without a value")
        keys, only_text = [], True
        for _ in range(count // 2):
            only_text = only_text and self.head(at)[0] == "text"
            end = self.key(at, depth)
            keys.append(self.data[at:end])
            at = self.value(end, depth + 1)
        if only_text:
            raise CodecError("a map whose keys are all text, under the mark of another")
        self.distinct(keys)
        return at

    def key(self, at: int, depth: int) -> int:
        """A key or element: numbers in it are not compared but taken exactly."""
        known, exact = len(self.found), self.exact
        self.exact = True
        end = self.value(at, depth + 1)
        self.exact = exact
        del self.found[known:]
        return end

    def distinct(self, keys: Sequence[bytes]) -> None:
        """Refuse keys out of order, and those that Python has no set of: lists, or 1 beside True."""
        if any(one >= other for one, other in pairwise(keys)):
            raise CodecError("keys or elements are not in order")
        if not self.exact:
            body = _marks.list_header(len(keys)) + b"".join(keys)
            decode(_marks.ext_header(_marks.SET, len(body)) + body, arrays="raw")

    def instance(self, at: int, count: int, depth: int) -> int:
        """Class name, then names and values in turn."""
        if count % 2 == 0:
            raise CodecError("an instance is a class name, then names and values in turn")
        at = self.name(at)
        names = set()
        for _ in range(count // 2):
            end = self.name(at)
            names.add(self.data[at:end])
            at = self.value(end, depth + 1)
        if len(names) != count // 2:
            raise CodecError("an instance has two fields of one name")
        return at

    def name(self, at: int) -> int:
        family, size, body = self.head(at)
        if family != "text":
            raise CodecError("a class or field of an instance has no name")
        return self.text(body, size)

    def array(self, at: int, end: int, *, scalar: bool) -> None:
        dtype = _arrays.read_raw(memoryview(self.data)[at:end], scalar=scalar).dtype
        if has_floats(dtype):
            begin = _arrays.read_header(memoryview(self.data)[at:end])[2]
            self.found.append(Span(at + begin, end, dtype))


def _swapped(run: bytes) -> bytes:
    """Floats with their marks, each turned to little-endian behind its mark."""
    turned = bytearray(run)
    for k in range(1, 9):
        turned[k::9] = run[9 - k :: 9]
    return bytes(turned)


def _heads() -> list[tuple[str, int, int, int]]:
    """For each first byte: family, bytes of the length that follow, size without them, least that needs them."""
    table = [("one", 0, 0, 0)] * 0x80 + [("", 0, 0, 0)] * 0x60 + [("one", 0, 0, 0)] * 0x20
    for n in range(16):
        table[0x80 + n] = ("map", 0, n, 0)
        table[0x90 + n] = ("list", 0, n, 0)
    for n in range(32):
        table[0xA0 + n] = ("text", 0, n, 0)
    for byte in (0xC0, 0xC2, 0xC3):
        table[byte] = ("one", 0, 0, 0)
    for byte in (_marks.FLOAT_BYTE, *range(0xCC, 0xD4)):
        table[byte] = ("number", 0, 0, 0)
    for n in range(5):
        table[0xD4 + n] = ("mark", 0, 1 << n, 0)
    for n, least in enumerate((0, 2**8, 2**16)):
        table[0xC4 + n] = ("bytes", 1 << n, 0, least)
        table[0xC7 + n] = ("mark", 1 << n, 0, least)
        table[0xD9 + n] = ("text", 1 << n, 0, least or 32)
    for n, least in enumerate((16, 2**16)):
        table[0xDC + n] = ("list", 2 << n, 0, least)
        table[0xDE + n] = ("map", 2 << n, 0, least)
    return table


_HEADS = _heads()
