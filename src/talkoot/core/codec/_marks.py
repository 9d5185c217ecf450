"""The marks: extension codes of MessagePack that the codec gives a meaning. They are part of the format."""

from typing import Final

BIG_INT: Final = 1
COMPLEX: Final = 2
TUPLE: Final = 3
SET: Final = 4
FROZENSET: Final = 5
MAP: Final = 6
BYTEARRAY: Final = 7
RANGE: Final = 8
SLICE: Final = 9
DATETIME: Final = 10
DATE: Final = 11
TIME: Final = 12
TIMEDELTA: Final = 13
DECIMAL: Final = 14
FRACTION: Final = 15
UUID: Final = 16
ENUM: Final = 17
DATACLASS: Final = 18
NAMEDTUPLE: Final = 19
ARRAY: Final = 20
ARRAY_SCALAR: Final = 21
HOLE: Final = 22

NAN: Final = b"\x7f\xf8\0\0\0\0\0\0"
"""The one NaN: quiet, positive, no payload. Big-endian, as MessagePack has its floats."""
FLOAT_BYTE: Final = 0xCB
MAX_EXT_BYTES: Final = 2**32 - 1
MAX_FRACTION_BYTES: Final = 4096
"""Of each part of a fraction: to see that it is in lowest terms costs the square of its length."""
MAX_HOLE: Final = 2**16 - 1
"""The highest number of a hole."""
MAX_SAME_HASH: Final = 100
"""Keys with one hash in a decoded set or map: more are an attempt to make the reader slow."""


def ext_header(mark: int, size: int) -> bytes:
    """The shortest header of an extension with a payload of `size` bytes."""
    if size in (1, 2, 4, 8, 16):
        return bytes((0xD3 + size.bit_length(), mark))
    if size < 2**8:
        return bytes((0xC7, size, mark))
    if size < 2**16:
        return b"\xc8" + size.to_bytes(2, "big") + bytes((mark,))
    return b"\xc9" + size.to_bytes(4, "big") + bytes((mark,))


def list_header(count: int) -> bytes:
    """The shortest header of a list of `count` items."""
    if count < 16:
        return bytes((0x90 + count,))
    if count < 2**16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def map_header(count: int) -> bytes:
    """The shortest header of a map of `count` pairs."""
    if count < 16:
        return bytes((0x80 + count,))
    if count < 2**16:
        return b"\xde" + count.to_bytes(2, "big")
    return b"\xdf" + count.to_bytes(4, "big")
