"""Whether two encoded answers are the same but for rounding; without decoding them and without NumPy."""

import math
import struct
from collections.abc import Sequence

from talkoot.core.codec._layout import columns, floats
from talkoot.core.codec._scan import Span, spans
from talkoot.core.errors import BadInput

_COMPLEX = ("<c8", "<c16")


def close(a: bytes, b: bytes, rtol: float, atol: float) -> bool:
    """Whether two encodings have one structure and all their floating-point numbers are close.

    Close is `|x - y| <= atol + rtol * max(|x|, |y|)`; for complex numbers `|x|` is the modulus where both are
    finite, and else both parts are compared. NaN is close to NaN, an infinity to itself alone. Types, dtypes,
    shapes, integers, text, keys and whole sets must be the same. It is symmetric, and true of equal bytes.
    Raises CodecError for bytes that are not an encoding, BadInput for a tolerance that is negative or NaN.
    """
    if not (rtol >= 0 and atol >= 0):
        raise BadInput(f"rtol={rtol} and atol={atol} must not be negative")
    ours, theirs = spans(a), spans(b)
    if len(a) != len(b) or ours != theirs or not _same_between(a, b, ours):
        return False
    return all(_span_is_close(a, b, span, rtol, atol) for span in ours)


def _same_between(a: bytes, b: bytes, numbers: list[Span]) -> bool:
    """Whether everything but the numbers is the same bytes."""
    begin = 0
    for start, stop, _ in numbers:
        if a[begin:start] != b[begin:start]:
            return False
        begin = stop
    return a[begin:] == b[begin:]


def _span_is_close(a: bytes, b: bytes, span: Span, rtol: float, atol: float) -> bool:
    one, other = a[span.start : span.stop], b[span.start : span.stop]
    if one == other:
        return True
    if span.dtype == "F":
        return _all_close(_marked(one), _marked(other), rtol, atol)
    if span.dtype == "C":
        return _complex_close(struct.unpack(">dd", one), struct.unpack(">dd", other), rtol, atol)
    pairs = zip(columns(span.dtype, one), columns(span.dtype, other), strict=True)
    return all(_column_close(dtype, x, y, rtol, atol) for (dtype, x), (_, y) in pairs)


def _marked(run: bytes) -> tuple[float, ...]:
    """The floats of a run in which each has its mark."""
    return struct.unpack(">" + "xd" * (len(run) // 9), run)


def _column_close(dtype: str, one: bytes, other: bytes, rtol: float, atol: float) -> bool:
    if one == other:
        return True
    xs, ys = floats(dtype, one), floats(dtype, other)
    if xs is None or ys is None:
        return False
    if dtype in _COMPLEX:
        ours, theirs = zip(xs[::2], xs[1::2], strict=True), zip(ys[::2], ys[1::2], strict=True)
        return all(_complex_close(z, w, rtol, atol) for z, w in zip(ours, theirs, strict=True))
    return _all_close(xs, ys, rtol, atol)


def _all_close(xs: Sequence[float], ys: Sequence[float], rtol: float, atol: float) -> bool:
    return all(x == y or _close(x, y, rtol, atol) for x, y in zip(xs, ys, strict=True))


def _close(x: float, y: float, rtol: float, atol: float) -> bool:
    if x == y:
        return True
    if math.isfinite(x) and math.isfinite(y):
        return abs(x - y) <= atol + rtol * max(abs(x), abs(y))
    return x != x and y != y


def _complex_close(z: tuple[float, ...], w: tuple[float, ...], rtol: float, atol: float) -> bool:
    if z == w:
        return True
    if all(map(math.isfinite, z + w)):
        distance = math.hypot(z[0] - w[0], z[1] - w[1])
        return distance <= atol + rtol * max(math.hypot(*z), math.hypot(*w))
    return all(_close(x, y, rtol, atol) for x, y in zip(z, w, strict=True))
