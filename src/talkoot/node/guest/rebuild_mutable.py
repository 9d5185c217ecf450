"""Whether a built program may be called twice, told from its record: when in doubt, it may not."""

from collections.abc import Iterable
from types import CodeType
from typing import Final

from talkoot.core import bytecode, carrier
from talkoot.core.carrier import Carrier, Object, Value

_MUTABLE_TAGS: Final = frozenset({carrier.LIST, carrier.DICT, carrier.SET, carrier.BYTEARRAY, carrier.ARRAY})
_FIXED_MAKERS: Final = (
    [carrier.NAME, "builtins", "property"],
    [carrier.NAME, "builtins", "staticmethod"],
    [carrier.NAME, "builtins", "classmethod"],
    [carrier.HELPER, "cached_property"],
    [carrier.HELPER, "type_variable"],
    [carrier.HELPER, "new_type"],
    [carrier.HELPER, "logger"],
    [carrier.HELPER, "named"],
)
_FIXED_CLASSES: Final = (
    [carrier.NAME, "dataclasses", "Field"],
    [carrier.NAME, "dataclasses", "_DataclassParams"],
    [carrier.NAME, "dataclasses", "InitVar"],
)
_FIXED_ATTRIBUTES: Final = frozenset(
    {
        "__dataclass_fields__",
        "__annotations__",
        "__slots__",
        "__match_args__",
        "__protocol_attrs__",
        "__non_callable_proto_members__",
    }
)
_FIXED_MARKS: Final = frozenset({"__wrapped__", "__isabstractmethod__"})
_RUNNING: Final = "repr_running"
"""What `reprlib.recursive_repr` remembers while it runs; a dataclass has one."""


def is_mutable(program: Carrier, codes: Iterable[CodeType]) -> bool:
    """Whether a call may change something that a later call of the same built function would see."""
    if program.modules or _holds_state(program.root):
        return True
    if any(bytecode.scan(code).rebinds for code in codes):
        return True
    passing = _passing_cells(program.objects)
    return any(_has_state(r, program.objects) for n, r in enumerate(program.objects) if n not in passing)


def _passing_cells(objects: list[Object]) -> set[int]:
    cells = set()
    for record in objects:
        if isinstance(record, carrier.Function) and 0 <= record.code < len(objects):
            code = objects[record.code]
            if isinstance(code, carrier.LibraryCode):
                cells |= {c for n, c in zip(code.freevars, record.closure, strict=False) if n == _RUNNING}
    return cells


def _has_state(record: Object, objects: list[Object]) -> bool:
    match record:
        case carrier.Code() | carrier.LibraryCode():
            return False
        case carrier.Instance():
            if record.maker in _FIXED_MAKERS or (record.arguments and record.arguments[0] in _FIXED_CLASSES):
                return False
            if record.state or not _is_named_tuple(record, objects):
                return True
            values = record.arguments
        case carrier.Cell():
            values = record.content
        case carrier.Namespace():
            values = [v for _, v in record.entries]
        case carrier.Function():
            if any(name not in _FIXED_MARKS for name, _ in record.attributes):
                return True
            values = [*record.defaults, *(v for _, v in record.keyword_defaults)]
        case carrier.EnumClass():
            values = [v for _, v in record.members + record.attributes]
        case carrier.Class() | carrier.NamedTupleClass():
            values = [v for name, v in record.attributes if name not in _FIXED_ATTRIBUTES]
    return any(_holds_state(value) for value in values)


def _is_named_tuple(record: carrier.Instance, objects: list[Object]) -> bool:
    cls = list(carrier.references(record.arguments[0])) if record.arguments else []
    return len(cls) == 1 and 0 <= cls[0] < len(objects) and isinstance(objects[cls[0]], carrier.NamedTupleClass)


def _holds_state(value: Value) -> bool:
    if type(value) is not list or not value:
        return False
    if value[0] == carrier.PARTIAL:
        return any(_holds_state(v) for v in [*value[2], *value[3][1:]])
    if value[0] == carrier.CALL:
        return value[1] == [carrier.NAME, "types", "MappingProxyType"] and any(map(_holds_state, value[2][1][1:]))
    return value[0] in _MUTABLE_TAGS or any(map(_holds_state, value[1:]))
