"""What a code object reads, imports and rebinds, told from its bytecode alone.

Used by the walk (which names must be sent) and by the guest (may a rebuilt function be used twice). It looks at
`co_code`, which is always the unspecialised form, never at the adaptive one. It must not run or import anything.
"""

import opcode
import sys
from types import CodeType
from typing import Final, NamedTuple

_OP: Final = opcode.opmap
_NONE: Final = -1


def _op(name: str) -> int:
    return _OP.get(name, _NONE)


_CACHE: Final = _op("CACHE")
_EXTENDED_ARG: Final = _op("EXTENDED_ARG")
_LOAD_GLOBAL: Final = _op("LOAD_GLOBAL")
_LOAD_ATTR: Final = _op("LOAD_ATTR")
_LOAD_METHOD: Final = _op("LOAD_METHOD")
_LOAD_CONST: Final = _op("LOAD_CONST")
_LOAD_FAST: Final = _op("LOAD_FAST")
_IMPORT_NAME: Final = _op("IMPORT_NAME")
_STORE_NAME: Final = _op("STORE_NAME")
_LOADS_SECOND_FAST: Final = {_op("LOAD_FAST_LOAD_FAST"), _op("STORE_FAST_LOAD_FAST")} - {_NONE}
_READS_BY_NAME: Final = {_op(n) for n in ("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_GLOBAL")} - {_NONE}
_STORES_GLOBAL: Final = {_op("STORE_GLOBAL"), _op("DELETE_GLOBAL")}
_STORES_DEREF: Final = {_op("STORE_DEREF"), _op("DELETE_DEREF")}
_STORES_ATTR: Final = {_op("STORE_ATTR"), _op("DELETE_ATTR")}
_ATTR_SHIFT: Final = 1 if sys.version_info >= (3, 12) else 0
_OF_INTEREST: Final = (
    {_LOAD_GLOBAL, _LOAD_CONST, _LOAD_FAST, _IMPORT_NAME} | _LOADS_SECOND_FAST | _READS_BY_NAME | _STORES_GLOBAL
) | (_STORES_DEREF | _STORES_ATTR)
_USES_CONSTANT: Final = {_op(n) for n in ("LOAD_CONST", "RETURN_CONST", "KW_NAMES")} - {_NONE}
_OPTIMIZED: Final = 1  # flag of the code of functions; bodies of classes and modules lack it
_REBINDING_NAMES: Final = frozenset({"setattr", "delattr", "globals", "vars", "__dict__", "exec", "eval", "register"})


class Import(NamedTuple):
    """One import statement: `from ..name import a, b` has level 2 and names ('a', 'b')."""

    name: str
    level: int
    names: tuple[str, ...]


class Scan(NamedTuple):
    """What one code object does to the world outside it; code nested in it is not looked at."""

    reads: tuple[tuple[str, ...], ...]
    """Global names read, each with the attributes taken from it at once: `a.b.c` is ('a', 'b', 'c')."""
    imports: tuple[Import, ...]
    rebinds: bool
    """Whether it may change something that outlives the call other than by mutating a container."""


def scan(code: CodeType) -> Scan:
    """What the code reads, imports and rebinds, in the order of its instructions."""
    names, varnames, consts = code.co_names, code.co_varnames, code.co_consts
    first_free = len(set(varnames) | set(code.co_cellvars))
    reads: dict[tuple[str, ...], None] = {}
    imports: list[Import] = []
    rebinds = not _REBINDING_NAMES.isdisjoint(names)
    chain: tuple[str, ...] = ()
    loaded: list[int] = []
    on_top, extended = -1, 0
    raw = code.co_code
    for op, low in zip(raw[::2], raw[1::2], strict=True):
        if op == _CACHE:
            continue
        arg = low | extended
        if op == _EXTENDED_ARG:
            extended = arg << 8
            continue
        extended = 0
        if chain:
            if op in (_LOAD_ATTR, _LOAD_METHOD):
                chain += (names[arg >> _ATTR_SHIFT if op == _LOAD_ATTR else arg],)
                continue
            reads[chain] = None
            chain = ()
        if op not in _OF_INTEREST:
            on_top = -1
        elif op == _LOAD_GLOBAL:
            chain = (names[arg >> 1],)
        elif op in _READS_BY_NAME:
            chain = (names[arg],)
            rebinds = rebinds or op in _STORES_GLOBAL
        elif op == _LOAD_CONST:
            loaded.append(arg)
        elif op == _IMPORT_NAME:
            imports.append(_import(names[arg], consts[loaded[-2]], consts[loaded[-1]]))
        elif op == _LOAD_FAST:
            on_top = arg
        elif op in _LOADS_SECOND_FAST:
            on_top = arg & 15
        elif op in _STORES_ATTR:
            rebinds = rebinds or not (on_top == 0 and varnames[0] == "self" and code.co_argcount > 0)
        elif op in _STORES_DEREF:
            rebinds = rebinds or arg >= first_free
        else:
            rebinds = True
    return Scan(tuple(reads), tuple(imports), rebinds)


def _import(name: str, level: object, names: object) -> Import:
    return Import(name, level if isinstance(level, int) else 0, names if isinstance(names, tuple) else ())


def without_layout(code: CodeType) -> tuple[bytes, tuple[object, ...]]:
    """The bytecode and constants, less what the layout of the source put into them.

    From Python 3.13 on the body of a class stores the number of its first line, and the names of attributes that
    its methods set in an order that depends on the hash seed. Both are made constant, in constants of their own.
    """
    if "__firstlineno__" not in code.co_names or code.co_flags & _OPTIMIZED:
        return code.co_code, code.co_consts
    raw = bytearray(code.co_code)
    order: dict[tuple[int, str], int] = {}
    consts: list[object] = []
    for at in range(0, len(raw), 2):
        if raw[at] == _EXTENDED_ARG:
            return code.co_code, code.co_consts
        if raw[at] not in _USES_CONSTANT:
            continue
        role = _role(code, raw, at)
        key = (raw[at + 1], role)
        if key not in order:
            order[key] = len(consts)
            consts.append(_neutral(code.co_consts[raw[at + 1]], role))
        raw[at + 1] = order[key]
    return bytes(raw), tuple(consts)


def _role(code: CodeType, raw: bytearray, at: int) -> str:
    """The dunder that the constant loaded at `at` is stored under, if it is one that the layout decides."""
    if at + 3 < len(raw) and raw[at + 2] == _STORE_NAME:
        name = code.co_names[raw[at + 3]]
        if name in ("__firstlineno__", "__static_attributes__"):
            return name
    return ""


def _neutral(constant: object, role: str) -> object:
    if role == "__firstlineno__":
        return 1
    if role == "__static_attributes__" and isinstance(constant, tuple):
        return tuple(sorted(constant))
    return constant
