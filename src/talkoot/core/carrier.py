"""The carrier: the canonical form of a program, as bytes. The hash of these bytes is the program's id.

A carrier is a table of objects that refer to each other by number, in the order in which the walk met them.
A value inside an object is one of MessagePack's own scalars, or a list that begins with a tag. It is data:
decoding it checks its shape and executes nothing. This module neither looks at live objects nor makes any.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import msgspec

from talkoot.core import limits
from talkoot.core.errors import ProgramError, TooLarge

FORMAT: Final = 1
FILE_NAME: Final = "<program>"
"""What every rebuilt code object says it was read from."""
MODULE_NAME: Final = "__program__"
"""`__name__` in the first namespace; the others have a number behind it."""

OF_LIBRARY: Final = -1
"""The namespace of code that a library made: the globals of that library's module."""
NOWHERE: Final = -2
"""The namespace of functions that read no globals: it does not matter in which they are."""

Value: TypeAlias = Any
"""None, bool, int of 64 bits, float, str, bytes, or a list: a tag, then what the tag asks for.
Every list inside a value is again such a tagged list."""

# Tags. Their numbers are part of the format.
REF: Final = 0  # number of an object of the table
TUPLE: Final = 1  # items
LIST: Final = 2  # items
DICT: Final = 3  # key, value, key, value, ... in the order of insertion
SET: Final = 4  # items, sorted by encoding
FROZENSET: Final = 5  # items, sorted by encoding
BIG_INT: Final = 6  # decimal text
NAN: Final = 7
COMPLEX: Final = 8  # real, imaginary
TEXT: Final = 9  # bytes of a string that has lone surrogates
BYTEARRAY: Final = 10  # bytes
ELLIPSIS: Final = 11
NOT_IMPLEMENTED: Final = 12
NAME: Final = 13  # module, qualified name: of the standard library, of an installed package, of talkoot
MODULE: Final = 14  # name, of a module as above or of one that the carrier holds
ARRAY: Final = 15  # talkoot.core.codec's encoding of a NumPy array
CALL: Final = 16  # value to call, tuple of arguments, perhaps a state: an immutable value, made in one go
METHOD: Final = 17  # function, instance
PARTIAL: Final = 18  # function, tuple of arguments, dict of keyword arguments
MEMBER: Final = 19  # class of an enum, name of the member
HELPER: Final = 20  # a name of HELPERS

HELPERS: Final = frozenset(
    {"lru_cache", "cached_property", "dispatch_method", "type_variable", "new_type", "single_dispatch", "logger", "named"}
)
"""Makers that the guest has itself, for objects that Python cannot make in one call."""


class Code(msgspec.Struct, frozen=True, array_like=True, tag="code"):
    """A code object without file name, line table and first line."""

    argcount: int
    posonlyargcount: int
    kwonlyargcount: int
    stacksize: int
    flags: int
    code: bytes
    consts: list[Value]
    names: list[str]
    varnames: list[str]
    freevars: list[str]
    cellvars: list[str]
    name: str
    qualname: str
    exceptiontable: bytes


class LibraryCode(msgspec.Struct, frozen=True, array_like=True, tag="library"):
    """A code object of a module that the node has: the `index`-th with this qualified name below `start`."""

    module: str
    start: str
    qualname: str
    index: int
    freevars: list[str]


class Namespace(msgspec.Struct, frozen=True, array_like=True, tag="namespace"):
    """The globals that functions of one module read; `package` is empty unless one imports relative to it."""

    package: str
    entries: list[tuple[str, Value]]


class Cell(msgspec.Struct, frozen=True, array_like=True, tag="cell"):
    """What a closure shares; no content when it was never bound."""

    content: list[Value]


class Function(msgspec.Struct, frozen=True, array_like=True, tag="function"):
    """A function; `namespace` is OF_LIBRARY, or NOWHERE, or the number of one."""

    code: int
    namespace: int
    name: str
    qualname: str
    documentation: list[Value]
    """Nothing where it is the first constant of the code, as the compiler has it."""
    defaults: list[Value]
    keyword_defaults: list[tuple[str, Value]]
    closure: list[int]
    annotations: list[tuple[str, Value]]
    attributes: list[tuple[str, Value]]
    type_parameters: list[Value]


class Class(msgspec.Struct, frozen=True, array_like=True, tag="class"):
    """A class. `early` must be there when it is made (slots, original bases); `attributes` are set afterwards."""

    name: str
    qualname: str
    metaclass: Value
    bases: list[Value]
    early: list[tuple[str, Value]]
    attributes: list[tuple[str, Value]]
    registered: list[Value]
    """Virtual subclasses of an abstract base class."""


class EnumClass(msgspec.Struct, frozen=True, array_like=True, tag="enum"):
    """An enumeration: its members (aliases too) by name, and what a member holds beside its value."""

    name: str
    qualname: str
    metaclass: Value
    bases: list[Value]
    boundary: str
    members: list[tuple[str, Value]]
    extras: list[tuple[str, list[tuple[str, Value]]]]
    attributes: list[tuple[str, Value]]


class NamedTupleClass(msgspec.Struct, frozen=True, array_like=True, tag="namedtuple"):
    """A class made by `collections.namedtuple` or `typing.NamedTuple`."""

    name: str
    qualname: str
    fields: list[str]
    defaults: list[Value]
    attributes: list[tuple[str, Value]]


class Instance(msgspec.Struct, frozen=True, array_like=True, tag="instance"):
    """An instance: what makes it, then what is put into it (the parts of a `__reduce_ex__`)."""

    maker: Value
    arguments: list[Value]
    state: list[Value]
    items: list[Value]
    pairs: list[tuple[Value, Value]]
    setter: list[Value]


Object: TypeAlias = Code | LibraryCode | Namespace | Cell | Function | Class | EnumClass | NamedTupleClass | Instance


class Module(msgspec.Struct, frozen=True, array_like=True):
    """A local module that travels by its code; `code` is -1 for a package without an `__init__`."""

    name: str
    package: bool
    code: int


class Carrier(msgspec.Struct, frozen=True, array_like=True):
    """A program: the value that is called, and everything it stands on."""

    format: int
    python: str
    """Minor version whose bytecode this is, such as `3.11`."""
    root: Value
    objects: list[Object]
    modules: list[Module]
    """By name."""
    submodules: list[str]
    """Modules of packages that the program reaches as attributes, and that must be imported for that. By name."""


class _Head(msgspec.Struct, array_like=True):
    format: int
    python: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Carrier)
_head_decoder = msgspec.msgpack.Decoder(_Head)


def encode(carrier: Carrier) -> bytes:
    """The bytes of a carrier. Same carrier, same bytes."""
    return _encoder.encode(carrier)


def encode_value(value: Value | Object) -> bytes:
    """The bytes of one value or object: what sets are sorted by, and sizes are told from."""
    return _encoder.encode(value)


def decode(data: bytes, *, python: str) -> Carrier:
    """The carrier that the bytes hold, its shape checked. Executes nothing.

    Raises TooLarge, and ProgramError for another format, another Python than `python`, or bytes that are no carrier.
    """
    if len(data) > limits.MAX_PROGRAM_BYTES:
        raise TooLarge(f"a program of {len(data):,} bytes; the limit is {limits.MAX_PROGRAM_BYTES:,}")
    try:
        head = _head_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ProgramError(f"these {len(data):,} bytes are not a program: {error}") from error
    if head.format != FORMAT:
        raise ProgramError(
            f"the program is in format {head.format}, and this version of talkoot reads format {FORMAT}",
            hint="Install the same version of talkoot on both sides.",
        )
    if head.python != python:
        raise ProgramError(
            f"the program was made by Python {head.python}, and this is Python {python}: their bytecode differs",
            hint=f"Run it on a node that has Python {head.python}, or submit it from Python {python}.",
        )
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ProgramError(f"these {len(data):,} bytes are not a program: {error}") from error


def references(value: Value) -> Iterator[int]:
    """The numbers of the objects that a value refers to, at any depth."""
    if type(value) is list:
        if value and value[0] == REF:
            yield value[1]
        else:
            for item in value:
                if type(item) is list:
                    yield from references(item)


def needed_first(thing: Object) -> list[int]:
    """The numbers of the objects that must exist before this one can be made. They may form no cycle."""
    match thing:
        case Instance():
            parts = [thing.maker, *thing.arguments]
        case Class():
            parts = [thing.metaclass, *thing.bases, *(v for _, v in thing.early)]
        case EnumClass():
            parts = [thing.metaclass, *thing.bases, *(v for _, v in thing.members)]
        case NamedTupleClass():
            parts = thing.defaults
        case _:
            return []
    return [number for part in parts for number in references(part)]
