"""How verbs speak: results on stdout, everything beside them on stderr, JSON where it is asked for.

Plain text only, in lines and columns that stay readable in a file; `rich` is used for what moves on a terminal.
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from talkoot.core.ids import job_text, key_text

if TYPE_CHECKING:
    from talkoot.wire.messages import JobRow

_INDENT: Final = 2


def show(value: Any, text: str, *, as_json: bool) -> None:
    """The result of a verb: as one JSON value, or as text for people."""
    print(json.dumps(jsonable(value), indent=_INDENT, ensure_ascii=False) if as_json else text, flush=True)


def compact(value: Any) -> str:
    """JSON in one line, for verbs that run on after it."""
    return json.dumps(jsonable(value), ensure_ascii=False)


def say(text: str, *, as_json: bool) -> None:
    """A word about what goes on: on stdout for people, on stderr where stdout belongs to JSON."""
    stream = sys.stderr if as_json else sys.stdout
    print(text, file=stream, flush=True)


def print_error(code: str, message: str, hint: str, *, as_json: bool) -> None:
    """An error: in words on stderr; with --json also as the one value on stdout."""
    print(f"talkoot: {message}" + (f"\n  {hint}" if hint else ""), file=sys.stderr, flush=True)
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message, "hint": hint}}, ensure_ascii=False), flush=True)


def jsonable(value: Any, name: str = "") -> Any:
    """A wire message as JSON has it: objects with names, ids as people write them, other bytes in hexadecimal."""
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        kind = {"kind": tag} if isinstance(tag, str) else {}
        return kind | {field: jsonable(getattr(value, field), field) for field in value.__struct_fields__}
    if isinstance(value, bytes):
        return _id_text(value, name)
    if isinstance(value, dict):
        return {key: jsonable(item, key) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item, name) for item in value]
    return value


def _id_text(value: bytes, name: str) -> str:
    if name == "job":
        return job_text(value)
    if name in ("hub", "key", "member", "submitter"):
        return key_text(value)
    return value.hex()


def job_row(row: "JobRow") -> dict[str, Any]:
    """A job as JSON has it, in every verb: its own id is `id`."""
    value: dict[str, Any] = jsonable(row)
    return {"id": value.pop("job"), **value}


def columns(rows: Sequence[Sequence[str]], *, indent: int = 0) -> str:
    """Rows of text in aligned columns; what looks like a number is put to the right."""
    if not rows:
        return ""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    right = [all(_numeric(row[i]) for row in rows[1:] or rows) for i in range(len(widths))]

    def line(row: Sequence[str]) -> str:
        cells = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        return (" " * indent + "  ".join(cells)).rstrip()

    return "\n".join(map(line, rows))


def _numeric(cell: str) -> bool:
    return not cell or cell[0] in "0123456789+-" or cell == "no"


@contextlib.contextmanager
def status(text: str, *, as_json: bool) -> Iterator[None]:
    """Something that takes a moment: a spinner on a terminal, nothing elsewhere."""
    if as_json or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
