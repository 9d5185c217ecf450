"""The program as the SDK holds it: what travels, and what stays to read answers and tracebacks by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from talkoot.core import ids
from talkoot.core.errors import ProgramError
from talkoot.core.ids import ProgramId
from talkoot.sdk.program._source_map import SourceMap
from talkoot.sdk.program._walker import Walker


@dataclass(frozen=True, slots=True)
class Program:
    """A function in the form in which it travels."""

    id: ProgramId
    carrier: bytes
    name: str
    classes: Mapping[str, type]
    """Dataclasses, enums and named tuples that the walk met, by qualified name: to read answers by."""
    source_map: SourceMap
    needs: Mapping[str, str]
    """Installed packages that it refers to, by top-level module, and the path to the first reference."""

    def format_traceback(self, frames: Sequence[tuple[int, int]], exc_type: str, message: str) -> str:
        """A traceback from a node, shown with the caller's own files and lines."""
        return self.source_map.format(frames, exc_type, message)


def walk(function: Callable[..., Any]) -> Program:
    """The program of a function, as it is now: later changes of its globals are another program.

    Raises ProgramError with the path to what cannot be sent, and TooLarge with the name of what is largest.
    """
    if not callable(function):
        raise ProgramError(f"a {type(function).__qualname__} is not callable", hint="Pass the function itself, not its result.")
    name = _name(function)
    walker = Walker(name)
    data = walker.run(function)
    return Program(ids.program_id(data), data, name, walker.classes, SourceMap(walker.codes), walker.needs)


def _name(function: Any) -> str:
    while True:
        name = getattr(function, "__qualname__", None)
        if isinstance(name, str):
            return name
        if not hasattr(function, "func"):
            return type(function).__qualname__
        function = function.func
