"""What an instance of a class becomes where the class is not known."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

Kind = Literal["dataclass", "namedtuple", "enum"]


class Record(Mapping[str, Any]):
    """An instance of a class that the reader did not name: its fields, by attribute or by key; read-only.

    Its encoding is that of the instance it stands for. A member of an enum has one field: `name`, or `value` if
    the enum is one of flags. A field called like a method of a mapping (`keys`, `items`) is reached by key only.
    """

    __slots__ = ("_class_name", "_fields", "_kind")
    _class_name: str
    _fields: dict[str, Any]
    _kind: Kind

    def __init__(self, kind: Kind, class_name: str, fields: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_kind", kind)
        object.__setattr__(self, "_class_name", class_name)
        object.__setattr__(self, "_fields", dict(fields))

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_fields")[name]
        except KeyError:
            raise AttributeError(f"{self._class_name} has no field {name!r}; it has {list(self._fields)}") from None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Record is read-only")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Record is read-only")

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and parts(self) == parts(other)

    def __hash__(self) -> int:
        kind, class_name, fields = parts(self)
        return hash((kind, class_name, tuple(fields)))

    def __reduce__(self) -> tuple[type["Record"], tuple[Kind, str, dict[str, Any]]]:
        return Record, (self._kind, self._class_name, self._fields)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self._fields.items())
        return f"<{self._class_name}({inside})>"


def parts(record: Record) -> tuple[Kind, str, list[tuple[str, Any]]]:
    """Kind, class name, and the fields in order (the order counts: of a namedtuple it is the value)."""
    return record._kind, record._class_name, list(record._fields.items())
