"""How the elements of an array lie in its bytes, told without NumPy.

A hub has no NumPy, and must still check and compare arrays. A *dtype* here is the text or the list of fields that
the format has for it; it is read by this module alone and never handed to NumPy unread.
"""

import math
import re
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import ne
from typing import NamedTuple

from talkoot.core.errors import CodecError

Dtype = str | list[list[object]]
"""`<f8`, or for records a list of `[field, dtype]` or `[field, dtype, [dimension, ...]]`."""

_SIZED = re.compile(r"(?:<U|\|S|\|V)([1-9][0-9]{0,8})")
_FIXED = re.compile(
    r"\|b1|\|[iu]1|<[iu][248]|<f[248]|<c(?:8|16)"
    r"|<[mM]8(?:\[(?:[1-9][0-9]{0,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)
_FLOAT_CODES = {"<f2": "e", "<f4": "f", "<f8": "d", "<c8": "f", "<c16": "d"}
_NAN_BYTES = {"e": b"\0\x7e", "f": b"\0\0\xc0\x7f", "d": b"\0\0\0\0\0\0\xf8\x7f"}


@dataclass(frozen=True, slots=True)
class RawArray:
    """An array as its bytes, for a reader without NumPy; it encodes to the same bytes as the array.

    `data` is C-ordered and little-endian. A `scalar` is one element of an array that is on its own.
    """

    dtype: Dtype
    shape: tuple[int, ...]
    data: bytes
    scalar: bool = False

    def __hash__(self) -> int:
        if not self.scalar or not isinstance(self.dtype, str) or self.dtype.startswith("|V"):
            raise TypeError("unhashable type: an array, or a record of one")
        return hash((self.dtype, self.data))


class Field(NamedTuple):
    name: str
    dtype: Dtype
    dimensions: tuple[int, ...]
    size_bytes: int


def item_bytes(dtype: object) -> int:
    """Bytes of one element. Raises CodecError for a dtype that the format does not have."""
    if isinstance(dtype, str):
        if match := _SIZED.fullmatch(dtype):
            return int(match[1]) * (4 if dtype[1] == "U" else 1)
        if _FIXED.fullmatch(dtype):
            return int(re.split(r"[^0-9]", dtype[2:], maxsplit=1)[0])
    elif isinstance(dtype, list) and dtype:
        found = fields(dtype)
        names = {field.name for field in found}
        if len(names) == len(found) and "" not in names:
            return sum(field.size_bytes for field in found)
    raise CodecError(f"{str(dtype)[:60]!r} is not a dtype of the codec")


def fields(dtype: list[list[object]]) -> list[Field]:
    """The fields of a record, checked."""
    return [_field(entry) for entry in dtype]


def _field(entry: object) -> Field:
    if not isinstance(entry, list) or len(entry) not in (2, 3) or not isinstance(entry[0], str):
        raise CodecError(f"{str(entry)[:60]!r} is not a field of a dtype")
    dimensions: tuple[int, ...] = ()
    if len(entry) == 3:
        dimensions = shape_of(entry[2])
        if not dimensions or 0 in dimensions:
            raise CodecError("a field of a dtype with empty dimensions")
    return Field(entry[0], entry[1], dimensions, item_bytes(entry[1]) * math.prod(dimensions))


def shape_of(dimensions: object) -> tuple[int, ...]:
    """A shape from its list, checked."""
    if not isinstance(dimensions, list) or len(dimensions) > 64:
        raise CodecError("the shape of an array is a list of at most 64 dimensions")
    if not all(type(n) is int and 0 <= n < 2**63 for n in dimensions):
        raise CodecError("a dimension of an array is not a size")
    return tuple(dimensions)


def check_size(dtype: object, shape: tuple[int, ...], size_bytes: int) -> None:
    """Raise CodecError unless an array of this dtype and shape has `size_bytes` bytes."""
    expected = item_bytes(dtype) * math.prod(shape)
    if expected != size_bytes:
        raise CodecError(f"an array of {expected} bytes by its header has {size_bytes}")


def has_floats(dtype: Dtype) -> bool:
    """Whether any element holds a floating-point number."""
    if isinstance(dtype, str):
        return dtype in _FLOAT_CODES
    return any(has_floats(field.dtype) for field in fields(dtype))


def columns(dtype: Dtype, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The bytes of an array, one run for each field that is not itself a record, with its plain dtype."""
    if isinstance(dtype, str):
        yield dtype, data
        return
    offset, stride = 0, item_bytes(dtype)
    for field in fields(dtype):
        stop = offset + field.size_bytes
        if field.size_bytes == stride:
            column = data
        else:
            column = b"".join(data[i + offset : i + stop] for i in range(0, len(data), stride))
        yield from columns(field.dtype, column)
        offset = stop


def floats(dtype: str, data: bytes) -> Sequence[float] | None:
    """The numbers in a run of one plain dtype (a complex one as two), or None if it has none."""
    code = _FLOAT_CODES.get(dtype)
    if code is None:
        return None
    if code == "e":
        return struct.unpack(f"<{len(data) // 2}e", data)
    numbers: array[float] = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def is_canonical(dtype: Dtype, data: bytes) -> bool:
    """Whether truth values are 0 or 1, text is Unicode without lone surrogates, and every NaN is the one NaN."""
    return all(_column_is_canonical(plain, column) for plain, column in columns(dtype, data))


def _column_is_canonical(dtype: str, data: bytes) -> bool:
    if dtype == "|b1":
        return not data.translate(None, b"\0\1")
    if dtype.startswith("<U"):
        try:
            data.decode("utf-32-le")
        except UnicodeDecodeError:
            return False
        return True
    numbers = floats(dtype, data)
    if numbers is None or not any(map(ne, numbers, numbers)):
        return True
    nan = _NAN_BYTES[_FLOAT_CODES[dtype]]
    size = len(nan)
    return all(data[i * size : (i + 1) * size] == nan for i, x in enumerate(numbers) if x != x)
