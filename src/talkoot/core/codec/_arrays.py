"""NumPy arrays and scalars to their payload and back.

The payload is a two-byte length, a header (`[dtype, shape]`, itself encoded) and the elements, C-ordered and
little-endian. NumPy is an argument or `sys.modules`; only `load` imports it.
"""

import functools
import importlib
import math
import sys
from typing import Any

import msgspec

from talkoot.core.codec._layout import Dtype, RawArray, check_size, is_canonical, item_bytes, shape_of
from talkoot.core.errors import CodecError

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_MAX_HEADER_BYTES = 2**16 - 1
_TEXT_SCALARS = ("U", "S")


class Unusable(Exception):
    """An array that the codec does not take; the message says why and what to do."""


def is_numpy(value: object) -> bool:
    """Whether a value is an array or scalar of NumPy (of a subclass too); without importing it."""
    np: Any = sys.modules.get("numpy")
    return np is not None and isinstance(value, (np.ndarray, np.generic))


def size_bytes(value: Any) -> int:
    """Bytes of the elements, before anything is copied."""
    return int(value.nbytes)


def pack(value: Any) -> tuple[bytes, "memoryview | bytes", bool]:
    """Header with its length, elements without a copy where they can be had so, and whether it is a scalar."""
    np: Any = sys.modules["numpy"]
    if type(value) is np.str_:
        return _header("U", ()), _utf8(value), True
    if type(value) is np.bytes_:
        return _header("S", ()), bytes(value), True
    scalar = isinstance(value, np.generic)
    elements = np.asarray(value) if scalar else value
    if type(value) is not (elements.dtype.type if scalar else np.ndarray):
        raise Unusable(f"a {type(value).__name__} would lose its type; return numpy.asarray(it)")
    dtype = _describe(np, elements.dtype)
    elements = _canonical(np, elements, dtype)
    return _header(dtype, elements.shape), elements.reshape(-1).view(np.uint8).data, scalar


def _utf8(text: str) -> bytes:
    try:
        return str(text).encode()
    except UnicodeEncodeError:
        raise Unusable("text with a lone surrogate; return bytes") from None


def _header(dtype: Dtype, shape: tuple[int, ...]) -> bytes:
    header = _pack([dtype, shape])
    if len(header) > _MAX_HEADER_BYTES:
        raise Unusable("its dtype has too many fields; return a dict of arrays")
    return len(header).to_bytes(2, "big") + header


@functools.lru_cache(maxsize=256)
def _describe(np: Any, dtype: Any) -> Dtype:
    if dtype.names is not None:
        return [_describe_field(np, dtype, name) for name in dtype.names]
    if dtype.kind == "O":
        raise Unusable("an array of Python objects has no fixed form; return a list, or .astype() of a plain dtype")
    if dtype.kind in "fc" and dtype.char in "gG" and dtype.itemsize not in (8, 16 if dtype.kind == "c" else 8):
        raise Unusable("long doubles differ between machines; return .astype('float64') or 'complex128'")
    text: str = dtype.newbyteorder("<").str
    try:
        item_bytes(text)
    except CodecError:
        raise Unusable(f"dtype {dtype} has no encoding; return .astype() of a plain dtype") from None
    if dtype.kind == "V" and dtype.type is not np.void:
        raise Unusable(f"dtype {dtype} has no encoding; return .astype('float32')")
    return text


def _describe_field(np: Any, dtype: Any, name: str) -> list[object]:
    if len(dtype.fields[name]) > 2:
        raise Unusable(f"field {name!r} of its dtype has a title; return it with a dtype without titles")
    inner = dtype.fields[name][0]
    if inner.subdtype is None:
        return [name, _describe(np, inner)]
    base, dimensions = inner.subdtype
    return [name, _describe(np, base), list(dimensions)]


def _build(np: Any, dtype: Dtype) -> Any:
    """The packed little-endian dtype of NumPy for a dtype of ours."""
    if isinstance(dtype, str):
        return np.dtype(dtype)
    built = []
    for entry in dtype:
        inner: Any = entry[1]
        dimensions: Any = entry[2:] and entry[2]
        built.append((entry[0], _build(np, inner), *([tuple(dimensions)] if dimensions else [])))
    return np.dtype(built)


def _canonical(np: Any, elements: Any, dtype: Dtype) -> Any:
    """The same elements C-ordered, little-endian, packed, with one NaN and plain truth values."""
    if not isinstance(dtype, str):
        return _canonical_record(np, elements, dtype)
    elements = np.asarray(elements, dtype=elements.dtype.newbyteorder("<"), order="C")
    kind = dtype[1]
    if kind in "fc":
        return _one_nan(np, elements)
    if kind == "b" and elements.size and elements.view(np.uint8).max() > 1:
        return elements.view(np.uint8) != 0
    if kind == "U" and not is_canonical(dtype, elements.tobytes()):
        raise Unusable("its text has a lone surrogate, which is not Unicode text; return bytes")
    return elements


def _canonical_record(np: Any, elements: Any, dtype: list[list[object]]) -> Any:
    packed = np.zeros(elements.shape, _build(np, dtype))
    for entry in dtype:
        inner: Any = entry[1]
        packed[entry[0]] = _canonical(np, elements[entry[0]], inner)
    return packed


def _one_nan(np: Any, elements: Any) -> Any:
    part = np.dtype(f"<f{elements.itemsize // (2 if elements.dtype.kind == 'c' else 1)}")
    numbers = elements.reshape(-1).view(part)
    odd = np.isnan(numbers)
    if not odd.any():
        return elements
    numbers = numbers.copy()
    numbers.view(f"<u{part.itemsize}")[odd] = {2: 0x7E00, 4: 0x7FC00000, 8: 0x7FF8000000000000}[part.itemsize]
    return numbers.view(elements.dtype).reshape(elements.shape)


def read_header(payload: bytes | memoryview) -> tuple[Any, tuple[int, ...], int]:
    """Dtype, shape, and where the elements begin. Raises CodecError if they do not fit the payload."""
    begin = 2 + int.from_bytes(payload[:2], "big")
    header = _unpack(payload[2:begin])
    if not isinstance(header, list) or len(header) != 2 or bytes(payload[2:begin]) != _pack(header):
        raise CodecError("the header of an array is not [dtype, shape]")
    dtype, shape = header[0], shape_of(header[1])
    if dtype in _TEXT_SCALARS:
        if shape:
            raise CodecError(f"dtype {dtype!r} is for scalars only")
    else:
        check_size(dtype, shape, len(payload) - begin)
    return dtype, shape, begin


def read_raw(payload: bytes | memoryview, *, scalar: bool) -> RawArray:
    """The array as its bytes. Raises CodecError where they are not canonical."""
    dtype, shape, begin = read_header(payload)
    data = bytes(payload[begin:])
    if dtype == "U":
        data.decode()
    if (scalar and shape) or (dtype in _TEXT_SCALARS and not scalar):
        raise CodecError("a scalar has no shape, and an array has no text without a size")
    if dtype not in _TEXT_SCALARS and not is_canonical(dtype, data):
        raise CodecError("the elements of an array are not canonical")
    return RawArray(dtype, shape, data, scalar)


def pack_raw(raw: RawArray) -> tuple[bytes, bytes, bool]:
    """What `pack` gives for the array that `raw` stands for."""
    payload = _header(raw.dtype, raw.shape) + raw.data
    try:
        read_raw(payload, scalar=raw.scalar)
    except (CodecError, UnicodeDecodeError) as error:
        raise Unusable(f"it is not an array: {error}") from None
    return payload, b"", raw.scalar


def read(payload: memoryview, *, scalar: bool) -> Any:
    """The array or scalar of NumPy; a copy, which may be written to."""
    dtype, shape, begin = read_header(payload)
    np = load()
    data = payload[begin:]
    if dtype == "U":
        return np.str_(bytes(data).decode())
    if dtype == "S":
        return np.bytes_(bytes(data))
    built = _build(np, dtype)
    if math.prod(shape) == 0:
        elements = np.empty(shape, built)
    else:
        elements = np.frombuffer(data, built).reshape(shape).copy()
    return elements[()] if scalar else elements


def load() -> Any:
    """NumPy, or a CodecError that says what to do without it."""
    try:
        return importlib.import_module("numpy")
    except ImportError:
        raise CodecError(
            "the answer holds an array, and NumPy is not installed here",
            hint="pip install numpy, or decode with arrays='raw' to get the bytes of arrays",
        ) from None
