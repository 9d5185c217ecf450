"""Code objects from their records: the only place where bytes become something that can run."""

from types import CodeType
from typing import Any, Final

from talkoot.core import carrier
from talkoot.core.carrier import Carrier, Code, Value
from talkoot.core.errors import ProgramError

_NO_COLUMNS: Final = 0x80 | (13 << 3)
"""An entry of the line table: same line, no columns (Objects/locations.md of CPython)."""
_UNITS_PER_ENTRY: Final = 8


def make(program: Carrier) -> dict[int, CodeType]:
    """The code objects of a program by number in its table, in the order of the table."""
    records = {n: r for n, r in enumerate(program.objects) if isinstance(r, Code)}
    made: dict[int, CodeType] = {}
    for number in sorted(records, reverse=True):
        _make(number, records, made, set())
    return {number: made[number] for number in records}


def scalar(value: Value) -> Any:
    """What a form without references stands for; NotImplementedError for a form that may have some."""
    if type(value) is not list:
        return value
    match value:
        case [carrier.BIG_INT, str(text)]:
            return int(text, 16)
        case [carrier.NAN]:
            return float("nan")
        case [carrier.COMPLEX, real, imaginary]:
            return complex(scalar(real), scalar(imaginary))
        case [carrier.TEXT, bytes(data)]:
            return data.decode("utf-8", "surrogatepass")
        case [carrier.BYTEARRAY, bytes(data)]:
            return bytearray(data)
        case [carrier.ELLIPSIS]:
            return ...
        case [carrier.NOT_IMPLEMENTED]:
            return NotImplemented
    raise NotImplementedError


def _make(number: int, records: dict[int, Code], made: dict[int, CodeType], open_: set[int]) -> CodeType:
    if number in made:
        return made[number]
    if number not in records or number in open_:
        raise ProgramError(f"the program is malformed: object {number} is not a code object, or contains itself")
    open_.add(number)
    record = records[number]

    def constant(value: Value) -> Any:
        match value:
            case [carrier.REF, int(inner)]:
                return _make(inner, records, made, open_)
            case [carrier.TUPLE, *items]:
                return tuple(constant(item) for item in items)
            case [carrier.FROZENSET, *items]:
                return frozenset(constant(item) for item in items)
            case [carrier.CALL, [carrier.NAME, "builtins", "slice"], [carrier.TUPLE, *items]]:
                return slice(*(constant(item) for item in items))
        return scalar(value)

    try:
        made[number] = CodeType(
            record.argcount,
            record.posonlyargcount,
            record.kwonlyargcount,
            len(record.varnames),
            record.stacksize,
            record.flags,
            record.code,
            tuple(constant(value) for value in record.consts),
            tuple(record.names),
            tuple(record.varnames),
            carrier.FILE_NAME,
            record.name,
            record.qualname,
            1,
            _line_table(len(record.code)),
            record.exceptiontable,
            tuple(record.freevars),
            tuple(record.cellvars),
        )
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ProgramError(f"the program is malformed: code object {number}: {error}") from error
    open_.discard(number)
    return made[number]


def _line_table(size: int) -> bytes:
    """Every instruction on line 1: with an empty table Python cannot print a traceback."""
    whole, rest = divmod(size // 2, _UNITS_PER_ENTRY)
    table = bytes((_NO_COLUMNS | (_UNITS_PER_ENTRY - 1), 0)) * whole
    return table + (bytes((_NO_COLUMNS | (rest - 1), 0)) if rest else b"")
