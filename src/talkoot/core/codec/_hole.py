"""What stands in arguments for an answer that is not there yet."""

from dataclasses import dataclass

from talkoot.core.codec import _marks


@dataclass(frozen=True, slots=True)
class Hole:
    """The answer of the n-th input of a task. It may stand in arguments, and never in an answer."""

    n: int

    def __post_init__(self) -> None:
        if type(self.n) is not int or not 0 <= self.n <= _marks.MAX_HOLE:
            raise ValueError(f"{self.n!r} is not the number of an input")
