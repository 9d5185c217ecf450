"""Answers that the program here chokes on: the call ends with an error, and nobody waits for ever."""

import dataclasses
from typing import ClassVar

import pytest

from talkoot.core.errors import CodecError


@dataclasses.dataclass(frozen=True)
class Key:
    n: int
    broken: ClassVar[bool] = False

    def __hash__(self):
        if self.broken:
            raise RuntimeError("a fault in the program's own class")
        return self.n


def keys(n):
    return {Key(n)}


@pytest.fixture
def broken_here():
    """The program was walked before, so that it works on the nodes; from here on its class fails in this process."""
    yield lambda: setattr(Key, "broken", True)
    Key.broken = False


def test_a_class_that_fails_while_an_answer_is_read_fails_the_call(hub, broken_here):
    assert hub.submit(keys, 1).result(timeout=20) == {Key(1)}
    broken_here()
    with pytest.raises(CodecError, match="a fault"):
        hub.submit(keys, 2).result(timeout=5)


def test_the_calls_after_it_are_answered(hub, broken_here):
    assert hub.submit(keys, 1).result(timeout=20) == {Key(1)}
    broken_here()
    bad = hub.submit(keys, 2)
    assert bad.exception(timeout=5) is not None
    Key.broken = False
    assert hub.submit(keys, 3).result(timeout=5) == {Key(3)}


def test_in_a_map_too(hub, broken_here):
    assert [answer.value for answer in hub.map(keys, [1])] == [{Key(1)}]
    broken_here()
    answers = list(hub.map(keys, [5, 6], errors="return"))
    assert all("a fault" in str(answer.error) for answer in answers)
