"""Makers for what Python cannot make in one call, and how parts get into an instance (as `pickle` does it)."""

import functools
import logging
import typing
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from talkoot.core.carrier import LibraryCode
from talkoot.core.errors import ProgramError


def lru_cache(function: Any, parameters: tuple[Any, bool], attributes: dict[str, Any]) -> Any:
    """A function with a cache, empty."""
    cached: Any = functools.lru_cache(maxsize=parameters[0], typed=parameters[1])(function)
    cached.__dict__.update(attributes)
    return cached


def cached_property(function: Any, name: str | None, documentation: str | None) -> Any:
    """A cached property that knows its name."""
    made: Any = functools.cached_property(function)
    made.attrname, made.__doc__ = name, documentation
    return made


def dispatch_method(function: Any, dispatcher: Any) -> Any:
    """A generic method, with its generic function."""
    made: Any = functools.singledispatchmethod(function)
    made.dispatcher = dispatcher
    return made


def type_variable(kind: type, name: str, how: dict[str, Any]) -> Any:
    """A TypeVar, ParamSpec or TypeVarTuple."""
    options = {n.strip("_"): v for n, v in how.items() if n != "__constraints__"}
    return kind(name, *how.get("__constraints__", ()), **options)


def new_type(name: str, supertype: Any) -> Any:
    """A `typing.NewType`."""
    made: Any = getattr(typing, "NewType")(name, supertype)  # noqa: B009 - mypy takes the call for a declaration
    made.__qualname__, made.__name__ = name, name.rpartition(".")[2]
    return made


def single_dispatch(names: tuple[str, str, str | None], attributes: dict[str, Any]) -> Any:
    """A generic function without its implementations; `register` puts them in."""

    def missing(*args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{names[0]} has no implementation for object")

    made: Any = functools.singledispatch(missing)
    made.__name__, made.__qualname__, made.__doc__ = names
    made.__dict__.update(attributes)
    return made


def register(generic: Any, pairs: list[tuple[Any, Any]]) -> None:
    """Give a generic function its implementations, in the order in which they were given to the original."""
    for cls, function in pairs:
        generic.register(cls, function)
        if cls is object:
            generic.__wrapped__ = function


def logger(name: str) -> logging.Logger:
    """The logger of a name."""
    return logging.getLogger(name)


def named(module: ModuleType | str, name: str) -> Any:
    """What a module has under a dotted name."""
    thing: Any = __import__(module, fromlist=["_"]) if isinstance(module, str) else module
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


def put_into(
    made: Any, state: list[Any], items: list[Any], pairs: list[tuple[Any, Any]], setter: list[Callable[..., Any]]
) -> None:
    """Items, pairs and state of a `__reduce_ex__`, in the order in which unpickling applies them."""
    if items:
        if hasattr(made, "extend"):
            made.extend(items)
        else:
            for item in items:
                made.append(item)
    for key, value in pairs:
        made[key] = value
    for one in state:
        if setter:
            setter[0](made, one)
        elif hasattr(made, "__setstate__"):
            made.__setstate__(one)
        else:
            _default_state(made, one)


def _default_state(made: Any, state: Any) -> None:
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        made.__dict__.update(state)
    for name, value in (slots or {}).items():
        object.__setattr__(made, name, value)


def library_code(module: ModuleType, record: LibraryCode) -> CodeType:
    """The code of a function that a function of a library makes, as decorators do."""
    thing: Any = module
    for part in record.start.split("."):
        thing = getattr(thing, part, None)
    thing = getattr(thing, "__func__", thing)
    if isinstance(thing, FunctionType):
        same = [code for code in _within(thing.__code__) if code.co_qualname == record.qualname]
        if record.index < len(same):
            return same[record.index]
    raise ProgramError(
        f"the program needs {record.qualname} of {record.module}, and this environment's {record.module} has it not",
        hint="Pin the version in requirements= to the one that the program was written with.",
    )


def closure_in_order(record: LibraryCode, code: CodeType, cells: list[CellType]) -> list[CellType]:
    """The cells in the order in which this environment's version of the library has them."""
    by_name = dict(zip(record.freevars, cells, strict=True))
    if set(code.co_freevars) != set(by_name):
        raise ProgramError(
            f"{record.qualname} of {record.module} differs between this environment and the program's",
            hint="Pin the version in requirements= to the one that the program was written with.",
        )
    return [by_name[name] for name in code.co_freevars]


def _within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _within(const)
