import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkoot.core import codec
from talkoot.core.codec import Hole
from talkoot.core.errors import CodecError


@dataclasses.dataclass
class Point:
    x: object


def test_answers_take_the_places_of_holes():
    data = codec.encode(((Hole(1), [Hole(0), {"a": (Hole(1),)}]), {"point": Point(Hole(0))}))
    args, kwargs = codec.decode(data, holes=[1.5, "b"], classes={"Point": Point})
    assert args == ("b", [1.5, {"a": ("b",)}])
    assert kwargs == {"point": Point(1.5)}


def test_an_answer_with_a_hole_is_refused():
    data = codec.encode([Hole(0)])
    for read in (codec.decode, codec.validate):
        with pytest.raises(CodecError, match="a hole where only values may be"):
            read(data)


def test_a_hole_without_its_answer_is_refused():
    with pytest.raises(CodecError, match="1 were given"):
        codec.decode(codec.encode([Hole(1)]), holes=[0])
    with pytest.raises(CodecError):
        codec.decode(b"\xd4\x16\xff", holes=[0])  # number -1


def test_arguments_with_holes_must_be_canonical_too():
    with pytest.raises(CodecError, match="canonical"):
        codec.decode(b"\xc7\x02\x16\xcc\x00", holes=[5])  # 0 in two bytes


@pytest.mark.parametrize("n", [-1, 2**16, True, 1.0, "0"])
def test_only_the_number_of_an_input_makes_a_hole(n):
    with pytest.raises(ValueError, match="not the number of an input"):
        Hole(n)


@given(st.recursive(st.integers(0, 2).map(Hole) | st.integers(), lambda inner: st.lists(inner) | st.tuples(inner, inner)))
def test_filling_holes_is_the_same_as_never_having_had_them(value):
    def fill(part):
        if isinstance(part, Hole):
            return ["zero", {"one": 1}, (2,)][part.n]
        return type(part)(map(fill, part)) if isinstance(part, list | tuple) else part

    assert codec.decode(codec.encode(value), holes=["zero", {"one": 1}, (2,)]) == fill(value)
