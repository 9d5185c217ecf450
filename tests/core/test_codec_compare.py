"""Close answers: two encodings of one structure whose numbers differ by no more than rounding."""

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from talkoot.core.codec import encode
from talkoot.core.compare import close
from talkoot.core.errors import BadInput, CodecError

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
NAN, INF = float("nan"), float("inf")
tolerances = st.sampled_from([0.0, 1e-12, 1e-6, 0.1, 1.0])
numbers = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-9, 1.05, -1.0, 1e308, -1e308, 5e-324, INF, NAN])


def is_close(a: Any, b: Any, rtol: float = 1e-6, atol: float = 0.0) -> bool:
    one, other = encode(a), encode(b)
    assert close(one, other, rtol, atol) == close(other, one, rtol, atol)
    assert close(one, one, 0, 0)
    return close(one, other, rtol, atol)


def by_numpy(x: Any, y: Any, rtol: float, atol: float) -> Any:
    """The formula, in NumPy."""
    with np.errstate(all="ignore"):
        near = np.abs(x - y) <= atol + rtol * np.maximum(np.abs(x), np.abs(y))
        finite = np.isfinite(x) & np.isfinite(y)
    return (x == y) | (finite & near) | (np.isnan(x) & np.isnan(y))


@QUICK
@given(numbers, numbers, tolerances, tolerances)
def test_two_floats_agree_with_the_formula(x: float, y: float, rtol: float, atol: float) -> None:
    expected = bool(by_numpy(np.float64(x), np.float64(y), rtol, atol))
    for wrap in (
        lambda v: v,
        lambda v: [v] * 20,
        lambda v: {"k": (1, v)},
        lambda v: np.float64(v),
        lambda v: np.array([[v]]),
    ):
        assert is_close(wrap(x), wrap(y), rtol, atol) == expected


@QUICK
@given(st.sampled_from(["f2", "f4", "f8", ">f8"]), st.lists(st.tuples(numbers, numbers), min_size=1), tolerances, tolerances)
def test_arrays_of_floats_agree_with_the_formula(dtype: str, pairs: list[Any], rtol: float, atol: float) -> None:
    with np.errstate(all="ignore"):
        x, y = np.array(pairs).T.astype(dtype)
    expected = by_numpy(x.astype("f8"), y.astype("f8"), rtol, atol).all()
    assert is_close(x, y, rtol, atol) == expected
    record = np.dtype([("n", "i4"), ("x", dtype, (2,))])
    one, other = np.zeros(len(x), record), np.zeros(len(x), record)
    one["x"][:, 1], other["x"][:, 1] = x, y
    assert is_close(one, other, rtol, atol) == expected
    one["n"][0] = 1
    assert not is_close(one, other, rtol, atol)


finite = st.floats(-1e100, 1e100)


@QUICK
@given(finite, finite, finite, finite, tolerances, tolerances)
def test_complex_numbers_are_compared_by_modulus(a: float, b: float, c: float, d: float, rtol: float, atol: float) -> None:
    z, w = complex(a, b), complex(c, d)
    expected = z == w or abs(z - w) <= atol + rtol * max(abs(z), abs(w))
    assert is_close(z, w, rtol, atol) == expected
    assert is_close(np.complex128(z), np.complex128(w), rtol, atol) == expected
    assert is_close(np.array([z, 1j]), np.array([w, 1j]), rtol, atol) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (1.0, 1.0 + 1e-9, True), (1.0, 1.1, False), (1, 1.0, False), (1, 2, False), (1, True, False),
        (1.0, np.float64(1), False),
        (0.0, -0.0, True), (NAN, NAN, True), (NAN, 1.0, False), (INF, INF, True), (INF, -INF, False), (INF, 1e308, False),
        (complex(NAN, 1), complex(NAN, 1 + 1e-9), True), (complex(NAN, 1), complex(NAN, 2), False),
        (complex(INF, 0), complex(INF, INF), False),
        ([1.0, "a"], [1.0 + 1e-9, "a"], True), ([1.0, "a"], [1.0, "b"], False), ([1.0], (1.0,), False),
        ([1.0], [1.0, 1.0], False),
        ({"a": 1.0}, {"a": 1.0 + 1e-9}, True), ({"a": 1.0}, {"b": 1.0}, False), ({1.0: 1}, {1.0 + 1e-9: 1}, False),
        ({1: 1.0}, {1: 1.0 + 1e-9}, True), ({1.0}, {1.0 + 1e-9}, False), ({(1.0,)}, {(1.0,)}, True),
        (slice(1.0), slice(1.0 + 1e-9), True),
        (np.zeros(2), np.zeros(2) + 1e-9, False), (np.ones(2), np.ones(2) + 1e-9, True), (np.ones(2), np.ones((2, 1)), False),
        (np.ones(2, "f4"), np.ones(2), False), (np.array(1.0), np.float64(1), False),
        (np.zeros((0, 2)), np.zeros((2, 0)), False),
        (np.array([1]), np.array([2]), False), (np.array(["a"]), np.array(["b"]), False),
        (np.float32(1), np.float32(1 + 2e-7), True),
        (range(3), range(4), False), ([0.0] * 20 + [1], [0.0] * 20 + [1], True), ([1.0] * 20, [1.0 + 1e-9] * 20, True),
        ([1.0] * 20, [1.0] * 19 + [1.1], False), ([b"\xcb" * 9] * 9, [b"\xcb" * 8 + b"a"] * 9, False),
    ],
    ids=repr,
)  # fmt: skip
def test_pairs(a: Any, b: Any, expected: bool) -> None:
    assert is_close(a, b) is expected


values = st.recursive(
    numbers | st.integers() | st.complex_numbers() | st.text(max_size=3) | hnp.arrays("f4", (2,)),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner)
    | st.dictionaries(st.integers() | st.text(max_size=2), inner),
    max_leaves=8,
)  # fmt: skip


@QUICK
@given(values, values, tolerances, tolerances)
def test_symmetric_and_reflexive(a: Any, b: Any, rtol: float, atol: float) -> None:
    is_close(a, b, rtol, atol)
    assert is_close([a, b], [a, b], rtol, atol)


def test_works_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = encode([np.ones(3), np.float16(1)]), encode([np.ones(3) + 1e-9, np.float16(1)])
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert close(one, other, 1e-6, 0)
    assert not close(one, other, 1e-12, 0)


def test_malformed_bytes_raise_codec_error() -> None:
    good = encode([1.0, 2.0])
    for bad in (b"", good[:-1], good + b"\0", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xcb" + b"\xff" * 8, b"\x91" * 200):
        for a, b in ((good, bad), (bad, good), (bad, bad)):
            with pytest.raises(CodecError):
                close(a, b, 0, 0)


def test_tolerances_must_be_sizes() -> None:
    for rtol, atol in ((-1, 0), (0, -1), (math.nan, 0), (0, math.nan)):
        with pytest.raises(BadInput, match="must not be negative"):
            close(b"\1", b"\1", rtol, atol)
