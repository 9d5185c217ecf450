"""Arrays and scalars of NumPy in the codec."""

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from talkoot.core.codec import RawArray, decode, encode, validate
from talkoot.core.errors import CodecError, TooLarge

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
RECORD = np.dtype([("a", "<i4"), ("b", "<f8", (2,)), ("c", [("d", "S3"), ("e", "<c8")])])
plain = (
    hnp.boolean_dtypes() | hnp.integer_dtypes(endianness="?") | hnp.floating_dtypes(sizes=(16, 32, 64), endianness="?")
    | hnp.complex_number_dtypes(sizes=(64, 128)) | hnp.byte_string_dtypes(min_len=1, max_len=4)
    | hnp.unicode_string_dtypes(min_len=1, max_len=4) | hnp.datetime64_dtypes() | hnp.timedelta64_dtypes()
)  # fmt: skip
arrays = hnp.arrays(plain | hnp.nested_dtypes(plain, max_leaves=4, max_itemsize=60), hnp.array_shapes(min_dims=0, min_side=0))


def assert_round_trip(value: Any) -> bytes:
    data = encode(value)
    back = decode(data)
    assert type(back) is type(value)
    assert back.shape == value.shape
    assert back.tobytes() is not None
    assert encode(back) == data
    raw = decode(data, arrays="raw")
    assert isinstance(raw, RawArray)
    assert encode(raw) == data
    validate(data)
    return data


@QUICK
@given(arrays.filter(lambda a: a.dtype.itemsize > 0))
def test_round_trip(value: Any) -> None:
    try:
        data = assert_round_trip(value)
    except CodecError as error:
        assert "lone surrogate" in str(error) or "has a title" in str(error)  # noqa: PT017
        return
    if value.dtype.names is None:
        np.testing.assert_array_equal(decode(data), value)
        assert decode(data).dtype == value.dtype.newbyteorder("<")


@pytest.mark.parametrize("dtype", ["i1", "u2", ">i4", "<i8", "f2", ">f4", "f8", "c8", ">c16", "?", "M8[25s]", "m8", RECORD])
def test_order_of_memory_and_bytes_does_not_matter(dtype: Any) -> None:
    value = np.arange(24).astype("i1").astype(dtype) if dtype is not RECORD else np.zeros(24, RECORD)
    value = value.reshape(2, 3, 4)
    expected = assert_round_trip(value)
    assert encode(np.asfortranarray(value)) == expected
    assert encode(np.repeat(value, 2, axis=1)[:, ::2]) == expected
    assert encode(value[::-1][::-1]) == expected
    assert encode(value.astype(value.dtype.newbyteorder(">"))) == expected
    value.flags.writeable = False
    assert encode(value) == expected


def test_type_shape_and_being_an_array_count() -> None:
    different = [
        1, 1.0, True, np.int64(1), np.int32(1), np.float64(1), np.bool_(True), np.array(1), np.array(1.0), np.array([1]),
        np.array([[1]]), [1], np.array([1], "i4"), np.array([1], "M8[s]"), np.array([1], "M8[ms]"), np.array([1], "m8[s]"),
        np.array(["1"]), np.array([b"1"]), np.array(["1"], "U2"), np.str_("1"), "1", np.bytes_(b"1"), b"1", np.void(b"1"),
        np.zeros((0, 3)), np.zeros((3, 0)), np.array(0.0), np.array(-0.0),
        np.array((1,), [("a", "i8")]), np.array((1,), [("b", "i8")]),
    ]  # fmt: skip
    assert len({encode(value) for value in different}) == len(different)


@pytest.mark.parametrize(
    "scalar",
    [np.float16(1), np.float32("nan"), np.float64(-0.0), np.complex64(1j), np.int8(-1), np.uint64(2**64 - 1), np.bool_(False),
     np.str_("hé"), np.str_(""), np.str_("a\0"), np.bytes_(b"a\0"), np.datetime64("2020-01-01"), np.datetime64("NaT"),
     np.timedelta64(3, "ns"), np.void(b"abc"), np.zeros(1, RECORD)[0]],
    ids=lambda s: type(s).__name__,
)  # fmt: skip
def test_scalars_come_back_with_their_type(scalar: Any) -> None:
    data = assert_round_trip(scalar)
    assert encode([scalar, {"k": scalar}]) == encode([decode(data), {"k": decode(data)}])


@pytest.mark.parametrize(("size", "quiet"), [(2, 0x7E00), (4, 0x7FC00000), (8, 0x7FF8000000000000)])
def test_there_is_one_nan_in_every_float(size: int, quiet: int) -> None:
    canonical = np.array([quiet, 0], f"u{size}").view(f"f{size}")
    for odd in (quiet | 1, quiet | 1 << (8 * size - 1), quiet ^ 3 << 8 * size - 10 if size == 2 else quiet + 5):
        other = np.array([odd, 0], f"u{size}").view(f"f{size}")
        assert np.isnan(other[0])
        assert encode(other) == encode(canonical)
        assert encode(other[0]) == encode(canonical[0])
        record = [("x", f"f{size}"), ("y", "i1")]
        one, two = np.zeros(2, record), np.zeros(2, np.dtype(record, align=True))
        one["x"], two["x"] = canonical, other
        assert encode(one) == encode(two)
        if size > 2:
            assert encode(other.view(f"c{2 * size}")) == encode(canonical.view(f"c{2 * size}"))
        forged = encode(canonical).replace(canonical.tobytes(), other.tobytes())
        for mode in ("numpy", "raw"):
            with pytest.raises(CodecError):
                decode(forged, arrays=mode)  # type: ignore[arg-type]
        with pytest.raises(CodecError):
            validate(forged)


def test_truth_values_of_other_bytes_are_made_plain() -> None:
    assert encode(np.array([0, 7], "u1").view("?")) == encode(np.array([False, True]))


def test_padding_of_records_is_not_part_of_the_value() -> None:
    dtype = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    dirty = np.frombuffer(b"\1" + b"junk..." + b"\0" * 8, dtype)
    assert encode(dirty) == encode(np.array([(1, 0.0)], dtype)) == encode(np.array([(1, 0.0)], [("a", "i1"), ("b", "f8")]))


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.array([("a", None)], [("x", "U1"), ("y", "O")]), np.ma.array([1]),
     np.recarray(1, [("a", "i1")]),
     np.array(["\ud800"]), np.array([("\udfff",)], [("x", "U1")]), np.array([0x110000], "<u4").view("U1"), np.str_("\ud800")],
)  # fmt: skip
def test_arrays_without_a_fixed_form_are_refused(value: Any) -> None:
    with pytest.raises(CodecError, match=r"value\[0\]: "):
        encode([value])


@pytest.mark.skipif(np.dtype("g").itemsize == 8, reason="long double is a double here")
def test_long_doubles_are_refused_with_advice() -> None:
    for value in (np.longdouble(1), np.zeros(2, "G"), np.zeros(1, [("x", "g")])):
        with pytest.raises(CodecError, match="astype"):
            encode(value)


def test_array_beyond_the_limit_is_refused_before_it_is_touched() -> None:
    huge = np.broadcast_to(np.float64(1), (2**40,))
    with pytest.raises(TooLarge):
        encode({"a": [huge]}, limit_bytes=1000)


def test_decoded_array_is_the_readers_own() -> None:
    data = encode(np.arange(3))
    value = decode(data)
    value[0] = 9
    assert value.flags.aligned
    assert decode(data)[0] == 0


def test_reader_without_numpy_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    data, scalar = encode([np.arange(3)]), encode(np.float64(2))
    monkeypatch.setitem(sys.modules, "numpy", None)
    for encoded in (data, scalar):
        with pytest.raises(CodecError, match="NumPy is not installed here"):
            decode(encoded)
    assert decode(data, arrays="raw") == [RawArray("<i8", (3,), np_bytes(0, 1, 2))]
    assert decode(scalar, arrays="raw").scalar
    assert encode(decode(data, arrays="raw")) == data
    validate(data)


def np_bytes(*numbers: int) -> bytes:
    return b"".join(n.to_bytes(8, "little") for n in numbers)


@settings(QUICK, max_examples=150)
@given(arrays.filter(lambda a: a.dtype.itemsize > 0), st.data())
def test_mutated_arrays_raise_only_codec_error(value: Any, draw: st.DataObject) -> None:
    try:
        data = bytearray(encode(value))
    except CodecError:
        return
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    outcomes = [accepts(read, bytes(data)) for read in (decode, lambda d: decode(d, arrays="raw"), validate)]
    assert len(set(outcomes)) == 1, outcomes


def accepts(read: Any, data: bytes) -> bool:
    try:
        read(data)
    except CodecError:
        return False
    return True


def test_dtype_of_a_stranger_is_not_read_by_numpy() -> None:
    for dtype in ("O", "|O8", "<f16", "f8", ">f8", "<U0", "<i8,<i8", "<M8[fortnight]", "<U999999999", "T",
                  [], [["a"]], [["", "<f8"]],
                  [["a", "<f8"], ["a", "<f8"]], [["a", "<f8", []]], [["a", "<f8", [0]]], [["a", "O"]],
                  {"a": 1}, None):  # fmt: skip
        for shape in ((), (1,), (0,)):
            body = encode([dtype, list(shape)])
            payload = len(body).to_bytes(2, "big") + body + b"\0" * 8
            data = b"\xc7" + bytes([len(payload), 20]) + payload
            for mode in ("numpy", "raw"):
                with pytest.raises(CodecError):
                    decode(data, arrays=mode)  # type: ignore[arg-type]
