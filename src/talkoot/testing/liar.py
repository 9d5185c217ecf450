"""A contributor that lies: it computes the right answer, changes a number in it plausibly, and signs that.

Which answers it lies in, and how, follows from a seed and from what the task is: asked again, it tells the same lie.
"""

import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from talkoot.core import codec
from talkoot.core.errors import CodecError
from talkoot.core.types import Outcome
from talkoot.node.sandbox import Run
from talkoot.wire.messages import LeaseItem

_BLOCK: Final = 10
"""Of so many answers, always the same share are lies: so a short run has its lies too."""
_SMALLEST: Final = 0.005
_LARGEST: Final = 0.03
"""How far a changed number is from the right one, as a part of it: too little to strike anybody who only looks."""


class Liar:
    """What a node does to its answers before it signs them (`node.agent.Agent`'s `tamper`). Safe for threads."""

    def __init__(self, share: float, seed: int) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"a share of {share} of the answers cannot be lies")
        self.lies = 0
        self._share = share
        self._seed = seed
        self._draw = random.Random(seed)  # noqa: S311 - a lie need not be unpredictable
        self._plan: list[bool] = []
        self._chosen: dict[bytes, bool] = {}
        self._lock = threading.Lock()

    def __call__(self, item: LeaseItem, run: Run) -> Run:
        """The run as it is reported."""
        if run.outcome is not Outcome.ANSWERED or not self._lies_in(item.action):
            return run
        lie = twist(run.answer, random.Random(f"{self._seed}/{item.action.hex()}"))  # noqa: S311
        return run if lie is None else replace(run, answer=lie)

    def _lies_in(self, action: bytes) -> bool:
        with self._lock:
            if action not in self._chosen:
                if not self._plan:
                    lies = round(self._share * _BLOCK)
                    self._plan = [True] * lies + [False] * (_BLOCK - lies)
                    self._draw.shuffle(self._plan)
                self._chosen[action] = self._plan.pop()
                self.lies += self._chosen[action]
            return self._chosen[action]


def twist(answer: bytes, draw: random.Random) -> bytes | None:
    """The same answer with one number changed; None where there is no number to change."""
    try:
        value = codec.decode(answer)
    except CodecError:
        return None
    places = list(_numbers(value, ()))
    if not places:
        return None
    return codec.encode(_changed(value, draw.choice(places), draw))


def _numbers(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The way to each number in an answer of dicts, lists and tuples."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        yield path
    elif type(value) is dict:
        for key, item in value.items():
            yield from _numbers(item, (*path, key))
    elif type(value) in (list, tuple):
        for place, item in enumerate(value):
            yield from _numbers(item, (*path, place))


def _changed(value: Any, path: tuple[Any, ...], draw: random.Random) -> Any:
    if not path:
        return _another(value, draw)
    if type(value) is dict:
        return {key: _changed(item, path[1:], draw) if key == path[0] else item for key, item in value.items()}
    items = [_changed(item, path[1:], draw) if place == path[0] else item for place, item in enumerate(value)]
    return type(value)(items)


def _another(number: float, draw: random.Random) -> float:
    if isinstance(number, int):
        return number + draw.choice((-1, 1))
    if number == 0:
        return draw.uniform(_SMALLEST, _LARGEST)
    factor = 1 + draw.choice((-1, 1)) * draw.uniform(_SMALLEST, _LARGEST)
    changed = number * factor
    return number / factor if 0 < number <= 1 < changed else changed  # what looks like a share stays one
