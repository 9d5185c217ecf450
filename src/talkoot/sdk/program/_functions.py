"""Functions, their code, their closures, and the globals that they read."""

import functools
import sys
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from talkoot.core import bytecode, carrier
from talkoot.core.carrier import Value
from talkoot.sdk.program import _values
from talkoot.sdk.program._origin import by_name, origin_of
from talkoot.sdk.program._words import words

if TYPE_CHECKING:
    from talkoot.sdk.program._walker import Walker

_MODULE_DUNDERS: Final = words(
    "__name__ __qualname__ __module__ __file__ __spec__ __loader__ __package__ __path__ __cached__ __builtins__"
)
"""They differ between a program that is run, imported or executed, so no program may depend on them."""
_SINGLE_DISPATCH: Final = functools.singledispatch(len).__code__  # type: ignore[attr-defined]
_SINGLE_DISPATCH_OWN: Final = frozenset({"register", "dispatch", "registry", "_clear_cache", "__wrapped__"})


class Located(NamedTuple):
    """Where code of a library is found: `place` counts codes of one qualified name below `start` of a module."""

    module: str
    start: str
    qualname: str
    place: int
    freevars: tuple[str, ...]

    def record(self) -> carrier.LibraryCode:
        return carrier.LibraryCode(self.module, self.start, self.qualname, self.place, list(self.freevars))


def value(walker: "Walker", function: FunctionType) -> Value:
    """A function by name if a module of the node's environment has it, else by its content."""
    module, qualname = function.__module__, function.__qualname__
    if isinstance(module, str) and by_name(origin_of(module)) and attribute(module, qualname) is function:
        return walker.name(module, qualname)
    return [carrier.REF, walker.ref(function)]


def attribute(module: str, qualname: str) -> Any:
    """What a loaded module has under a dotted name; None when there is nothing."""
    thing: Any = sys.modules.get(module)
    for part in qualname.split("."):
        thing = getattr(thing, part, None)
    return thing


def function(walker: "Walker", function: FunctionType) -> carrier.Function | carrier.Instance:
    """The record of a function."""
    if function.__code__ is _SINGLE_DISPATCH:
        return _single_dispatch(walker, function)
    live = function.__code__
    located = _locate(walker, function)
    if located is None:
        code_number, space_number = walker.ref(live), carrier.NOWHERE
        if _read_globals(walker, live, function.__globals__):
            space_number, _ = walker.space(function.__globals__)
    else:
        code_number, space_number = walker.ref(located), carrier.OF_LIBRARY
    return carrier.Function(
        code_number,
        space_number,
        function.__name__,
        function.__qualname__,
        _documentation(walker, function, located is not None),
        [walker.value(v, f"defaults[{n}]") for n, v in enumerate(function.__defaults__ or ())],
        _values.pairs(walker, function.__kwdefaults__ or {}, "defaults[{!r}]"),
        _closure(walker, function),
        _values.pairs(walker, function.__annotations__, "annotations[{!r}]"),
        _values.pairs(walker, function.__dict__, ".{}"),
        [walker.value(v, "type parameters") for v in getattr(function, "__type_params__", ())],
    )


def code(walker: "Walker", live: CodeType) -> carrier.Code:
    """The record of a code object."""
    raw, consts = bytecode.without_layout(live)
    return carrier.Code(
        live.co_argcount,
        live.co_posonlyargcount,
        live.co_kwonlyargcount,
        live.co_stacksize,
        live.co_flags,
        raw,
        [walker.value(walker.keep(const), "constants") for const in consts],
        list(live.co_names),
        list(live.co_varnames),
        list(live.co_freevars),
        list(live.co_cellvars),
        live.co_name,
        live.co_qualname,
        live.co_exceptiontable,
    )


def cell(walker: "Walker", live: CellType) -> carrier.Cell:
    """The record of a cell of a closure."""
    try:
        content = live.cell_contents
    except ValueError:
        return carrier.Cell([])
    return carrier.Cell([walker.value(content)])


def _read_globals(walker: "Walker", code: CodeType, live: dict[str, Any]) -> bool:
    """Add to the namespace what the code and all code nested in it read and import; whether that is anything."""
    scan = bytecode.scan(code)
    used = scan.rebinds or bool(scan.imports)
    for name, *chain in scan.reads:
        if name in _MODULE_DUNDERS or name not in live:
            continue
        thing = live[name]
        if name == "__doc__" and type(thing) is not str:
            continue
        used = True
        _, space = walker.space(live)
        label = f"globals[{name!r}]"
        if name not in space.entries:
            space.entries[name] = walker.value(thing, label)
        if chain and isinstance(thing, ModuleType):
            with walker.step(label):
                walker.modules.attributes(thing, tuple(chain))
    if scan.imports:
        _read_imports(walker, scan.imports, live)
    for const in code.co_consts:
        if isinstance(const, CodeType):
            used |= _read_globals(walker, const, live)
    return used


def _read_imports(walker: "Walker", imports: tuple[bytecode.Import, ...], live: dict[str, Any]) -> None:
    package = _package(live)
    if any(statement.level for statement in imports):
        walker.space(live)[1].package = package
    for statement in imports:
        walker.modules.imported(statement, package)


def _package(live: dict[str, Any]) -> str:
    package = live.get("__package__")
    if isinstance(package, str):
        return package
    name = live.get("__name__")
    if not isinstance(name, str):
        return ""
    return name if "__path__" in live else name.rpartition(".")[0]


def _documentation(walker: "Walker", function: FunctionType, library: bool) -> list[Value]:
    consts = function.__code__.co_consts
    compiled = consts[0] if consts and isinstance(consts[0], str) else None
    if not library and function.__doc__ == compiled:
        return []
    return [walker.value(function.__doc__, ".__doc__")]


def _closure(walker: "Walker", function: FunctionType) -> list[int]:
    numbers = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with walker.step(f"closure[{name!r}]"):
            numbers.append(walker.ref(cell))
    return numbers


def _single_dispatch(walker: "Walker", function: FunctionType) -> carrier.Instance:
    """A generic function: its registry, not the weak dictionary in which it remembers what it dispatched to."""
    registry: dict[type, Any] = function.registry  # type: ignore[attr-defined]
    entries = [(walker.value(cls, "registry"), walker.value(f, f"registry[{cls.__qualname__}]")) for cls, f in registry.items()]
    extra = {n: v for n, v in function.__dict__.items() if n not in _SINGLE_DISPATCH_OWN}
    names = [function.__name__, function.__qualname__, function.__doc__]
    return carrier.Instance(
        [carrier.HELPER, "single_dispatch"],
        [[carrier.TUPLE, *names], walker.value(extra, "attributes")],
        [],
        [],
        entries,
        [],
    )


def _locate(walker: "Walker", function: FunctionType) -> Located | None:
    """Where a module of the node's environment has the code of a function that it made, as decorators do."""
    module = function.__globals__.get("__name__")
    loaded = sys.modules.get(module) if isinstance(module, str) else None
    if loaded is None or vars(loaded) is not function.__globals__ or not by_name(origin_of(loaded.__name__)):
        return None
    start = function.__code__.co_qualname.partition(".<locals>")[0]
    top = _code_of(attribute(loaded.__name__, start))
    if top is None:
        return None
    qualname = function.__code__.co_qualname
    same = [c for c in _within(top) if c.co_qualname == qualname]
    for index, found in enumerate(same):
        if found is function.__code__ or found == function.__code__:
            walker.need(loaded.__name__)
            key = Located(loaded.__name__, start, qualname, index, found.co_freevars)
            return walker.located.setdefault(id(function.__code__), key)
    return None


def _code_of(thing: Any) -> CodeType | None:
    thing = getattr(thing, "__func__", thing)
    return thing.__code__ if isinstance(thing, FunctionType) else None


def _within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _within(const)
