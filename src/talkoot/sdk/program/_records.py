"""Which classes are records: those whose instances the codec can write, and that an answer may hold."""

import dataclasses
import enum
from typing import Any


def is_namedtuple(cls: Any) -> bool:
    """Whether `collections.namedtuple` (or `typing.NamedTuple`) made the class itself, not a base of it."""
    own = vars(cls)
    return cls.__bases__ == (tuple,) and "_fields" in own and "_field_defaults" in own and "_make" in own


def is_record(cls: type) -> bool:
    """Whether the class is a dataclass, an enum, or a named tuple."""
    if issubclass(cls, tuple):
        return hasattr(cls, "_fields")
    return dataclasses.is_dataclass(cls) or (issubclass(cls, enum.Enum) and cls.__module__ != "enum")
