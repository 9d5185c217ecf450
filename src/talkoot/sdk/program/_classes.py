"""Classes: by name where a module of the node's environment has them, else what is in them."""

import abc
import enum
import sys
import types
from types import GetSetDescriptorType, MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final

from talkoot.core import carrier
from talkoot.core.carrier import Value
from talkoot.sdk.program import _values
from talkoot.sdk.program._functions import attribute
from talkoot.sdk.program._origin import by_name, origin_of
from talkoot.sdk.program._records import is_namedtuple
from talkoot.sdk.program._refusal import CannotSendError
from talkoot.sdk.program._words import words

if TYPE_CHECKING:
    from talkoot.sdk.program._walker import Walker

_HEAP_TYPE: Final = 1 << 9
"""Flag of classes that are made while Python runs (Py_TPFLAGS_HEAPTYPE)."""
_EARLY: Final = ("__slots__", "__orig_bases__")
_SKIPPED: Final = words(
    "__module__ __qualname__ __dict__ __weakref__ _abc_impl __slotnames__ __firstlineno__ __static_attributes__"
    " __slots__ __orig_bases__ __annotations_cache__"
)
"""Told elsewhere in the record, decided by the layout of the source, or put there by use (copyreg, abc)."""
_ENUM_OWN: Final = words(
    "_member_names_ _member_map_ _value2member_map_ _unhashable_values_ _unhashable_values_map_ _hashable_values_"
    " _member_type_ _value_repr_ _use_args_ _new_member_ __new_member__ __new__ _flag_mask_ _all_bits_ _inverted_"
    " _singles_mask_ _boundary_ _generate_next_value_ __members__ __set_name__"
)
_MEMBER_OWN: Final = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_", "name", "value"})
_NAMEDTUPLE_OWN: Final = words(
    "__slots__ _fields _field_defaults __new__ _make _replace __replace__ __repr__ _asdict __getnewargs__"
    " __match_args__ _field_types"
)
_PLAIN_METACLASSES: Final = frozenset({"type", "ABCMeta", "_ProtocolMeta", "_TypedDictMeta", "EnumType"})


def value(walker: "Walker", cls: type) -> Value:
    """A class by name, or the number of its record."""
    walker.note(cls)
    named = _named(cls)
    if named is not None:
        return walker.name(*named)
    if isinstance(cls, type(dict[str, int])):
        raise CannotSendError("a generic alias is not a class")
    return [carrier.REF, walker.ref(cls)]


def describe(walker: "Walker", cls: type) -> carrier.Class | carrier.EnumClass | carrier.NamedTupleClass:
    """The record of a class that the program itself defines."""
    if isinstance(cls, enum.EnumMeta):
        return _enum(walker, cls)
    if is_namedtuple(cls):
        return _namedtuple(walker, cls)
    metaclass = walker.value(_checked_metaclass(cls), ".__class__")
    own = vars(cls)
    return carrier.Class(
        cls.__name__,
        cls.__qualname__,
        metaclass,
        [walker.value(base, f"bases[{n}]") for n, base in enumerate(cls.__bases__)],
        [(name, walker.value(_slots(own[name]), f".{name}")) for name in _EARLY if name in own],
        _attributes(walker, cls, _SKIPPED),
        _registered(walker, cls),
    )


def _named(cls: type) -> tuple[str, str] | None:
    module, qualname = cls.__module__, cls.__qualname__
    if not isinstance(module, str) or not by_name(origin_of(module)):
        return None
    if attribute(module, qualname) is cls:
        return module, qualname
    for name, thing in vars(types).items():
        if thing is cls:
            return "types", name
    for name, thing in vars(sys.modules[module]).items() if module in sys.modules else ():
        if thing is cls:
            return module, name
    if not cls.__flags__ & _HEAP_TYPE:
        raise CannotSendError(f"the class {qualname} has no name by which it can be found", "Do not keep it.")
    return None


def _checked_metaclass(cls: type) -> type:
    """The metaclass, refused where a library's own would have to run again to make the class."""
    metaclass = type(cls)
    for kind in type.mro(metaclass):
        if kind in (type, object):
            break
        if by_name(origin_of(kind.__module__)) and kind.__name__ not in _PLAIN_METACLASSES:
            raise CannotSendError(
                f"the class {cls.__qualname__} is made by {kind.__module__}.{kind.__qualname__}, which only its source"
                " can be given to again",
                "Define it in a module of its own, and use it as `module.Name` or import it inside the function.",
            )
    return metaclass


def _slots(value: Any) -> Any:
    return value if isinstance(value, str | tuple | list) else tuple(value) if not isinstance(value, dict) else value


def _attributes(walker: "Walker", cls: type, skipped: frozenset[str]) -> list[tuple[str, Value]]:
    form: list[tuple[str, Value]] = []
    for name, thing in list(vars(cls).items()):
        if name in skipped or (name == "__annotations__" and not thing):
            continue
        if isinstance(thing, MemberDescriptorType | GetSetDescriptorType) and thing.__objclass__ is cls:
            continue
        if name == "__doc__":
            if thing is not None:
                form.append((name, walker.value(_documentation(cls, thing), ".__doc__")))
            continue
        form.append((name, walker.value(thing, f".{name}")))
    return form


def _documentation(cls: type, text: Any) -> Any:
    """The text, without the module's name that `dataclass` writes into the signature it makes of it."""
    if isinstance(text, str) and "__dataclass_fields__" in vars(cls) and text.startswith(f"{cls.__name__}("):
        return text.replace("__main__.", "").replace(f"{cls.__module__}.", "")
    return text


def _registered(walker: "Walker", cls: type) -> list[Value]:
    if not isinstance(cls, abc.ABCMeta):
        return []
    from _abc import _get_dump  # type: ignore[import-not-found] # what abc itself prints from; there is no other way to read the registry

    registry = {one for reference in _get_dump(cls)[0] if (one := reference()) is not None}
    if not registry:
        return []
    form = walker.value(walker.keep(registry), ".register")
    return list(form[1:])


def _namedtuple(walker: "Walker", cls: Any) -> carrier.NamedTupleClass:
    skipped = _NAMEDTUPLE_OWN | _SKIPPED | set(cls._fields)
    if vars(cls).get("__doc__") == f"{cls.__name__}({', '.join(cls._fields)})":
        skipped |= {"__doc__"}
    attributes = _attributes(walker, cls, skipped - {"__orig_bases__"})
    defaults = [walker.value(v, f".{n}") for n, v in cls._field_defaults.items()]
    return carrier.NamedTupleClass(cls.__name__, cls.__qualname__, list(cls._fields), defaults, attributes)


def _enum(walker: "Walker", cls: Any) -> carrier.EnumClass:
    members = dict(cls.__members__)
    own = {n for n in vars(cls) if n in members or _is_inherited(cls, n)}
    boundary = getattr(cls, "_boundary_", None)
    extras = [
        (name, _values.pairs(walker, extra, f".{name}.{{}}"))
        for name, member in members.items()
        if name == member.name and (extra := {n: v for n, v in vars(member).items() if n not in _MEMBER_OWN})
    ]
    return carrier.EnumClass(
        cls.__name__,
        cls.__qualname__,
        walker.value(_checked_metaclass(cls), ".__class__"),
        [walker.value(base, f"bases[{n}]") for n, base in enumerate(cls.__bases__)],
        boundary.value if boundary is not None and issubclass(cls, enum.Flag) else "",
        [(name, walker.value(member._value_, f".{name}")) for name, member in members.items()],
        extras,
        _attributes(walker, cls, _SKIPPED | _ENUM_OWN | own),
    )


def _is_inherited(cls: type, name: str) -> bool:
    """Whether making the enum puts this into it again."""
    thing = vars(cls)[name]
    return any(vars(base).get(name, cls) is thing for base in cls.__mro__[1:])
