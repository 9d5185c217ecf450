"""Classes from their records. They are made bare, so that no hook of the program runs, and filled afterwards."""

import abc
import collections
import enum
from typing import TYPE_CHECKING, Any

from talkoot.core import carrier

if TYPE_CHECKING:
    from talkoot.node.guest.rebuild_objects import Builder


def plain(builder: "Builder", record: carrier.Class) -> type:
    """A class with its bases, slots and metaclass, and nothing in it yet."""
    metaclass = builder.value(record.metaclass)
    bases = tuple(builder.value(base) for base in record.bases)
    content = {"__module__": carrier.MODULE_NAME, "__qualname__": record.qualname, **builder.names(record.early)}
    make: Any = abc.ABCMeta.__new__ if issubclass(metaclass, abc.ABCMeta) else type.__new__
    cls: type = make(metaclass, record.name, bases, content)
    return cls


def enumeration(builder: "Builder", record: carrier.EnumClass) -> type:
    """An enumeration with its members; what its own `__new__` or `__init__` gave them is put in afterwards."""
    metaclass: Any = builder.value(record.metaclass)
    bases = tuple(builder.value(base) for base in record.bases)
    content: Any = enum.EnumMeta.__prepare__(record.name, bases)
    content["__module__"], content["__qualname__"] = carrier.MODULE_NAME, record.qualname
    for name, form in record.members:
        content[name] = builder.value(form)
    options: dict[str, Any] = {"boundary": enum.FlagBoundary(record.boundary)} if record.boundary else {}
    cls: type = enum.EnumMeta.__new__(metaclass, record.name, bases, content, **options)
    return cls


def named_tuple(builder: "Builder", record: carrier.NamedTupleClass) -> type:
    """A named tuple."""
    defaults = [builder.value(form) for form in record.defaults]
    cls: Any = collections.namedtuple(record.name, record.fields, defaults=defaults)  # type: ignore[misc]
    cls.__qualname__ = record.qualname
    return cls


def fill(builder: "Builder", cls: Any, record: carrier.Class | carrier.EnumClass | carrier.NamedTupleClass, part: int) -> None:
    """Put one attribute into a class; the part behind the last attribute is what its kind has beside them."""
    if part < len(record.attributes):
        name, form = record.attributes[part]
        type.__setattr__(cls, name, builder.value(form))
        return
    if isinstance(record, carrier.Class):
        for form in record.registered:
            abc.ABCMeta.register(cls, builder.value(form))
    elif isinstance(record, carrier.EnumClass):
        for name, extra in record.extras:
            for key, form in extra:
                vars(cls[name])[key] = builder.value(form)
