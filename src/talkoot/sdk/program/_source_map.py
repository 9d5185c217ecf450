"""Where a place in a carried program is in the caller's own files. Never travels."""

import linecache
import traceback
from collections.abc import Sequence
from types import CodeType
from typing import NamedTuple


class Place(NamedTuple):
    """A place in the caller's files."""

    file: str
    function: str
    line: int | None
    text: str


class SourceMap:
    """From (number of a code object, instruction offset) to file, function, line and text."""

    def __init__(self, codes: Sequence[CodeType]) -> None:
        self._codes = tuple(codes)

    def __len__(self) -> int:
        return len(self._codes)

    def at(self, code: int, offset: int) -> Place:
        """The place of an instruction. Raises LookupError where the program has no such code object."""
        frame = self._frame(code, offset)
        text = linecache.getline(frame.filename, frame.lineno or 0).strip()
        return Place(frame.filename, frame.name, frame.lineno, text)

    def format(self, frames: Sequence[tuple[int, int]], exc_type: str, message: str) -> str:
        """The frames, outermost first, and the exception, as Python itself would have printed them here."""
        summary = traceback.StackSummary.from_list(
            [self._frame(code, offset) for code, offset in frames if 0 <= code < len(self._codes)]
        )
        last = f"{exc_type}: {message}" if message else exc_type
        return "Traceback (most recent call last):\n" + "".join(summary.format()) + last + "\n"

    def _frame(self, number: int, offset: int) -> traceback.FrameSummary:
        if not 0 <= number < len(self._codes):
            raise LookupError(f"the program has {len(self._codes)} code objects, and none has the number {number}")
        code = self._codes[number]
        line, end_line, column, end_column = _position(code, offset)
        return traceback.FrameSummary(
            code.co_filename,
            line or code.co_firstlineno,
            code.co_name,
            lookup_line=False,
            end_lineno=end_line,
            colno=column,
            end_colno=end_column,
        )


def _position(code: CodeType, offset: int) -> tuple[int | None, int | None, int | None, int | None]:
    for index, position in enumerate(code.co_positions()):
        if index == offset // 2:
            return position
    return None, None, None, None
