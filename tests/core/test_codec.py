"""The codec: same type and value, same bytes; anything else differs; only canonical bytes are read."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import math
import subprocess
import sys
import typing
import uuid
from fractions import Fraction
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from talkoot.core import limits
from talkoot.core.codec import Record, decode, digest, encode, validate
from talkoot.core.errors import CodecError, TooLarge


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = None


@dataclasses.dataclass
class Slotted:
    __slots__ = ("a",)
    a: int


class Pair(typing.NamedTuple):
    left: Any
    right: Any


class Colour(enum.Enum):
    RED = 1
    ROSE = RED
    BLUE = object()


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


CLASSES = {cls.__qualname__: cls for cls in (Point, Slotted, Pair, Colour, Level, Right)}
NAN = float("nan")

DISTINCT: list[Any] = [
    None, True, False, 0, 1, -1, 127, 128, -32, -33, 255, 256, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**60,
    0.0, -0.0, 1.0, NAN, math.inf, -math.inf, 0j, complex(0, -0.0), complex(NAN, 1), complex(1, NAN),
    "", "a", "1", "é" * 40, "x" * 300, "x" * 70_000, b"", b"a", bytearray(b"a"), bytearray(),
    [], [1], [1.0], [True], [[1]], (), (1,), ((1,),), {1}, frozenset({1}), set(), {}, {"a": 1}, {"a": 1.0}, {1: "a"},
    {True: "a"}, {(): 1}, {None: 1, "a": 2}, range(3), range(0, 3, 2), range(0, 4, 2), slice(3), slice(None, 3, 1),
    dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, fold=1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(0), "x")), dt.date(2020, 1, 1), dt.time(1), dt.time(1, fold=1),
    dt.timedelta(1), dt.timedelta(-1, 1), decimal.Decimal("1"), decimal.Decimal("1.0"), decimal.Decimal("-0"),
    decimal.Decimal("1E+2"), decimal.Decimal("-sNaN7"), decimal.Decimal("Infinity"), Fraction(1), Fraction(-3, 7),
    uuid.UUID(int=1), Colour.RED, Colour.BLUE, Level.LOW, Right.READ, Right.READ | Right.WRITE, Right(0),
    Point(1), Point(1.0), Point(1, Point(2)), Slotted(1), Pair(1, None), Pair(1, "x"), [1, 2**70], [1, NAN], ["a", (1,)],
    [{"a": 1}, {"b": 2}], [{"a": 1}, {"b": (2,)}], [{"a": NAN}], [[1, 2], []], list(range(70_000)),
]  # fmt: skip


def same(a: object, b: object) -> bool:
    """Same type and same value, by a definition that owes nothing to the codec."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return repr(a) == repr(b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)  # type: ignore[attr-defined]
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))  # type: ignore[arg-type]
    if isinstance(a, (set, frozenset)):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)  # type: ignore
    if isinstance(a, dict):
        return len(a) == len(b) and all(any(same(i, j) for j in b.items()) for i in a.items())  # type: ignore
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return repr(a) == repr(b)


@pytest.mark.parametrize("value", DISTINCT, ids=lambda v: f"{type(v).__name__}-{repr(v)[:20]}")
def test_value_comes_back_with_its_type(value: Any) -> None:
    data = encode(value)
    assert same(decode(data, classes=CLASSES), value)
    assert encode(decode(data)) == data  # through Records too
    assert encode(decode(data, arrays="raw")) == data
    assert decode(memoryview(data), classes=CLASSES, check=False) is not NotImplemented
    validate(data)


def test_different_values_have_different_bytes() -> None:
    for (a, x), (b, y) in combinations([(v, encode(v)) for v in DISTINCT], 2):
        assert x != y, f"{a!r} and {b!r}"


hashables = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
    | st.fractions(max_denominator=99) | st.decimals(allow_nan=False) | st.complex_numbers(allow_nan=False)
    | st.datetimes() | st.timedeltas() | st.uuids() | st.sampled_from([Colour.RED, Level.LOW, Right.WRITE]),
    lambda inner: st.tuples(inner) | st.frozensets(inner, max_size=3) | st.builds(Point, inner)
    | st.builds(Pair, inner, inner),
    max_leaves=4,
)  # fmt: skip
no_two_nans = hashables.filter(lambda v: "nan" not in repr(v))
values = st.recursive(
    hashables | st.lists(st.floats()) | st.lists(st.integers()) | st.dictionaries(st.text(max_size=4), st.floats()),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    | st.dictionaries(no_two_nans, inner, max_size=3) | st.sets(no_two_nans, max_size=4) | st.builds(Point, inner, inner),
    max_leaves=12,
)  # fmt: skip
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(values)
def test_round_trip(value: Any) -> None:
    data = encode(value)
    assert same(decode(data, classes=CLASSES), value)
    assert encode(decode(data)) == data
    validate(data)


@QUICK
@given(values, values)
@example([1, 1.0], [1.0, 1])
def test_equal_bytes_mean_same_type_and_value(a: Any, b: Any) -> None:
    assert (encode(a) == encode(b)) == same(a, b)


@QUICK
@given(st.dictionaries(no_two_nans, hashables, max_size=6), st.randoms())
def test_insertion_order_does_not_matter(value: dict[Any, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert encode(dict(items)) == encode(value)
    assert encode(set(dict(items))) == encode(set(value))


def test_shared_and_copied_parts_have_the_same_bytes() -> None:
    shared = ["".join(["a", "b"]), 1.5]
    assert encode([shared, shared, {"k": shared}]) == encode([["ab", 1.5], ["ab", 1.5], {"k": ["ab", 1.5]}])


def accepts(read: typing.Callable[[bytes], Any], data: bytes) -> bool:
    try:
        read(data)
    except CodecError:
        return False
    return True


@settings(QUICK, max_examples=400)
@given(st.binary(max_size=60))
def test_random_bytes_raise_only_codec_error(data: bytes) -> None:
    assert accepts(decode, data) == accepts(validate, data)


@settings(QUICK, max_examples=250)
@given(values, st.data())
def test_mutated_encodings_are_refused_or_canonical(value: Any, draw: st.DataObject) -> None:
    data = bytearray(encode(value))
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(data) - 1))
        data[at] = draw.draw(st.integers(0, 255) | st.sampled_from([0xCB, 0xC7, 0x90, 0xD4, 0xFF, 0x80, 3, 4, 6, 20]))
    cut = bytes(data[: draw.draw(st.integers(0, len(data)) | st.just(len(data)))])
    accepts(lambda d: decode(d, classes=CLASSES), cut)
    if accepts(decode, cut):
        assert encode(decode(cut)) == cut
        validate(cut)
    else:
        assert not accepts(validate, cut)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xc1", b"\x01\x02", b"\xcc\x01", b"\xd0\x01", b"\xd1\xff\xff", b"\xca\0\0\0\0", b"\xd9\x01a", b"\xdc\0\1\1",
        b"\xcb\x7f\xf8\0\0\0\0\0\1", b"\xcb\xff\xf8\0\0\0\0\0\0", b"\xcb\x7f\xf0\0\0\0\0\0\1",
        b"\x82\xa1b\1\xa1a\1", b"\x82\xa1a\1\xa1a\1", b"\x81\1\1", b"\x81\x91\1\1", b"\xa3\xed\xa0\x80", b"\xa1\xff",
        b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\3",
        b"\xd6\xff\0\0\0\0", b"\xd4\x63\x01", b"\xd4\1\1", b"\xc7\1\3\x90", b"\xd4\3\1", b"\xd5\3\x90\1",
        b"\x91" * 101 + b"\1",
        b"\x91" * 100_000, b"\xc7\5\4\x94\2\1\1\1", b"\xc7\3\4\x92\2\1", b"\xc7\3\4\x92\1\xc3", b"\xd6\6\x92\xa1a\1",
        b"\xd5\6\x91\1", b"\xd6\x11\x92\1\1\1", b"\xd4\x11\x90", b"\xc7\3\x08\x93\1\1", b"\xd6\x08\x93\1\1\0",
        b"\xd5\x0f\x92\1", b"\xc7\7\x0f\x92\xc4\1\2\xc4\1\4",
        b"\xc7\7\x0f\x92\xc4\1\2\xc4\1\0", b"\xd5\x0e01", b"\xc7\3\x0e1e2",
        b"\xd6\x0b\x93\0\1\1", b"\xc7\3\x14\0\1\x90", b"\xd4\x14\0", b"\xd8\x02" + b"\x7f\xf0" + b"\1" * 14,
    ],
    ids=bytes.hex,
)  # fmt: skip
def test_bytes_that_are_not_canonical_are_refused(data: bytes) -> None:
    for read in (decode, validate, lambda d: decode(d, arrays="raw"), lambda d: decode(d, classes=CLASSES)):
        with pytest.raises(CodecError):
            read(data)


def test_huge_declared_sizes_allocate_nothing() -> None:
    import tracemalloc

    tracemalloc.start()
    for head in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdd\x7f\xff\xff\xff" * 90):
        assert not accepts(decode, head)
        assert not accepts(validate, head)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * limits.MIB


def test_keys_chosen_to_collide_are_refused_quickly() -> None:
    period = sys.hash_info.modulus
    flood = {("x", i) for i in range(1000)}
    assert decode(encode(flood)) == flood
    keys = sorted(encode(2**70 * period + i * period) for i in range(200))
    body = b"\xdc" + len(keys).to_bytes(2, "big") + b"".join(keys)
    with pytest.raises(CodecError, match="same hash"):
        decode(b"\xc8" + len(body).to_bytes(2, "big") + b"\4" + body)


class Foo:
    pass


def cyclic() -> list[Any]:
    inside: list[Any] = []
    inside.append({"again": (inside,)})
    return inside


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [1, 2, 3, Foo()]}, r"value\['a'\]\[3\]: cannot encode a Foo; return "),
        ([Point(1, {1: Foo()})], r"value\[0\]\.y\[1\]: cannot encode a Foo"),
        (Pair(Foo(), 1), r"value\.left: cannot encode a Foo"),
        ({(1, Foo()): 1}, r"value key <tuple>\[1\]: cannot encode a Foo"),
        ((0, {Foo()}), r"value\[1\]\{\}: cannot encode a Foo"),
        (cyclic(), "contains itself"),
        ("\ud800", "lone surrogate"),
        (["a", "\ud800"], r"value\[1\]: .*lone surrogate"),
        ({"\ud800": 1}, "lone surrogate"),
        (collections.OrderedDict(a=1), r"OrderedDict, it would lose its type; return dict\(it\)"),
        (type("MyInt", (int,), {})(3), r"MyInt, it would lose its type; return int\(it\)"),
        (type("MyText", (str,), {})("a"), "lose its type"),
        ({NAN, float("nan")}, "same encoding"),
        (dt.datetime(2020, 1, 1, tzinfo=type("Zone", (dt.tzinfo,), {})()), "not a fixed offset"),
        (..., "cannot encode a ellipsis"),
        (print, "cannot encode a builtin_function"),
        (Point, "cannot encode a type"),
        (Fraction(1, 10**20_000), "fraction of this size"),
    ],
)  # fmt: skip
def test_what_has_no_encoding_is_named_with_its_path(value: Any, words: str) -> None:
    with pytest.raises(CodecError, match=words):
        encode(value)


def test_depth_up_to_the_cap_and_not_beyond() -> None:
    for wrap in (
        lambda v: [v],
        lambda v: (v,),
        lambda v: {"k": v},
        lambda v: {1: v},
        lambda v: Point(v),
        lambda v: frozenset({v}),
    ):
        value: Any = 1
        for _ in range(limits.MAX_VALUE_DEPTH):
            value = wrap(value)
        data = encode(value)
        assert encode(decode(data)) == data
        validate(data)
        with pytest.raises(CodecError, match="deeper than"):
            encode([value])
        with pytest.raises(CodecError):
            decode(b"\x91" + data)
        with pytest.raises(CodecError):
            validate(b"\x91" + data)


@pytest.mark.parametrize(
    "value",
    [
        [0] * 2000, "x" * 2000, b"x" * 2000, bytearray(2000), ["x" * 900] * 2, [["x" * 300] * 2] * 2, 1 << 20_000,
        {str(i): i for i in range(500)}, {i: i for i in range(900)}, {"a": {"b": ("x" * 2000,)}},
        set(range(2000)), ((0,) * 990, "x" * 20),
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_limit_is_kept(value: Any) -> None:
    size = len(encode(value))
    assert len(encode(value, limit_bytes=size)) == size
    with pytest.raises(TooLarge):
        encode(value, limit_bytes=size - 1)
    with pytest.raises(TooLarge):
        encode(value, limit_bytes=1000)


def test_shared_text_beyond_the_limit_is_refused_before_it_is_multiplied() -> None:
    with pytest.raises(TooLarge):
        encode([["x" * limits.MIB] * 100_000] * 100, limit_bytes=limits.MIB)


def test_unknown_class_becomes_a_record() -> None:
    record = decode(encode(Point(1, [2])))
    assert isinstance(record, Record)
    assert (record.x, record["y"], list(record), len(record)) == (1, [2], ["x", "y"], 2)
    assert record == decode(encode(Point(1, [2]))) != decode(encode(Pair(1, [2])))
    assert repr(record) == "<Point(x=1, y=[2])>"
    assert decode(encode(record), classes=CLASSES) == Point(1, [2])
    assert decode(encode({Point(1): Colour.RED})) == {decode(encode(Point(1))): decode(encode(Colour.RED))}
    with pytest.raises(AttributeError):
        record.x = 2
    with pytest.raises(AttributeError, match="no field 'z'"):
        _ = record.z


def test_class_of_another_kind_or_with_other_fields_is_refused() -> None:
    other = dataclasses.make_dataclass("Point", ["x"])
    for classes in ({"Point": other}, {"Point": Pair}, {"Point": Colour}, {"Point": int}):
        with pytest.raises(CodecError):
            decode(encode(Point(1)), classes=classes)
    for value, classes in ((Colour.RED, {"Colour": Point}), (Colour.RED, {"Colour": Level}), (Pair(1, 2), {"Pair": Point})):
        with pytest.raises(CodecError):
            decode(encode(value), classes=classes)


def test_decode_calls_no_init_and_no_post_init() -> None:
    @dataclasses.dataclass
    class Loud:
        x: int

        def __post_init__(self) -> None:
            if self.x == 1:
                self.x = 2

    loud = Loud(2)
    loud.x = 1
    assert decode(encode(loud), classes={Loud.__qualname__: Loud}).x == 1


def test_decimal_settings_of_the_process_change_nothing() -> None:
    expected = encode(decimal.Decimal("1.23E+400"))
    with decimal.localcontext() as context:
        context.capitals, context.prec = 0, 2
        assert encode(decimal.Decimal("1.23E+400")) == expected
        assert decode(expected) == decimal.Decimal("1.23E+400")


def test_codec_imports_neither_numpy_nor_other_rooms() -> None:
    code = (
        "import sys, talkoot.core.codec, talkoot.core.compare; "
        "rooms = {m.split('.')[1] for m in sys.modules if m.startswith('talkoot.')}; "
        "assert rooms == {'core'} and 'numpy' not in sys.modules, rooms"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digest_is_sha256() -> None:
    assert digest(b"").hex().startswith("e3b0c44298fc1c14")
