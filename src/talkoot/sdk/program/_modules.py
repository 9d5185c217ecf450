"""Modules that a program uses: those of the environment by name, local ones by their compiled source."""

from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from talkoot.core import bytecode, carrier
from talkoot.core.bytecode import Import
from talkoot.core.carrier import Value
from talkoot.sdk.program import _origin
from talkoot.sdk.program._origin import Origin, by_name, origin_of
from talkoot.sdk.program._refusal import CannotSendError

if TYPE_CHECKING:
    from talkoot.sdk.program._walker import Walker


class Modules:
    """The modules of one walk."""

    def __init__(self, walker: "Walker") -> None:
        self._walker = walker
        self._shipped: dict[str, carrier.Module] = {}
        self._submodules: set[str] = set()

    def records(self) -> tuple[list[carrier.Module], list[str]]:
        """The local modules, and the submodules to import, both by name."""
        return [self._shipped[name] for name in sorted(self._shipped)], sorted(self._submodules)

    def value(self, module: ModuleType) -> Value:
        """A module used as an object."""
        name = module.__name__
        if _origin.loaded(name) is not module:
            raise CannotSendError(
                f"the module {name!r} was made by a program: it is not what `import {name}` gives",
                "Put it into a file that can be imported.",
            )
        self.use(name)
        self._walker.need(name)
        return [carrier.MODULE, name]

    def use(self, name: str) -> bool:
        """Ship a module if it is local, and its packages; whether there is such a module at all."""
        origin = origin_of(name)
        if by_name(origin):
            return True
        if origin is Origin.MISSING:
            return False
        if name == "__main__":
            raise CannotSendError(
                "the module __main__ cannot be sent: it is the program that submits",
                "Move what the function needs from it into a module of its own, and import that.",
            )
        parent = name.rpartition(".")[0]
        if parent:
            self.use(parent)
        self._ship(name)
        return True

    def attributes(self, module: ModuleType, chain: tuple[str, ...]) -> None:
        """Note the submodules that are reached as attributes, as in `scipy.optimize.minimize`."""
        name = module.__name__
        for attribute in chain:
            if not hasattr(_origin.loaded(name), "__path__") or not _origin.is_submodule(name, attribute):
                return
            name = f"{name}.{attribute}"
            if self.use(name):
                self._submodules.add(name)

    def imported(self, statement: Import, package: str) -> None:
        """What an import statement in a body refers to, seen from a module of `package`."""
        name = statement.name
        if statement.level:
            parts = package.split(".") if package else []
            if len(parts) < statement.level:
                return  # it fails here too, and in the same way
            name = ".".join([*parts[: len(parts) - statement.level + 1], *([name] if name else [])])
        with self._walker.step(f"import {name}"):
            if not self.use(name) or origin_of(name) is not Origin.LOCAL:
                return
            for part in self._names(name, statement.names):
                if _origin.is_submodule(name, part):
                    self.use(f"{name}.{part}")

    def _names(self, name: str, names: tuple[str, ...]) -> tuple[str, ...]:
        source = self._shipped[name]
        if not source.package:
            return ()
        if names == ("*",):
            every = getattr(_origin.loaded(name), "__all__", ())
            return tuple(n for n in every if isinstance(n, str))
        return names

    def _ship(self, name: str) -> None:
        if name in self._shipped:
            return
        walker = self._walker
        source = _origin.source_of(name)
        self._shipped[name] = carrier.Module(name, source.package, -1)
        self._note_classes(name)
        if source.file is None:
            return
        code = walker.keep(_origin.compile_source(name, source.file))
        self._shipped[name] = carrier.Module(name, source.package, walker.ref(code))
        package = name if source.package else name.rpartition(".")[0]
        for statement in self._statements(name, code):
            self.imported(statement, package)

    def _statements(self, name: str, code: CodeType) -> list[Import]:
        found: list[Import] = []
        todo = [code]
        while todo:
            one = todo.pop(0)
            imports = bytecode.scan(one).imports
            if one is code:
                self._note_needs(name, imports)
            found += imports
            todo += [c for c in one.co_consts if isinstance(c, CodeType)]
        return found

    def _note_needs(self, name: str, imports: tuple[Import, ...]) -> None:
        """Installed packages that the loaded module has something of (not those it only tried, or names for types)."""
        live = vars(_origin.loaded(name)) if _origin.loaded(name) is not None else {}
        tops = {_top(value) for value in live.values()}
        for statement in imports:
            top = statement.name.partition(".")[0]
            if not statement.level and top in tops:
                with self._walker.step(f"import {top}"):
                    self._walker.need(top)

    def _note_classes(self, name: str) -> None:
        for value in vars(_origin.loaded(name)).values() if _origin.loaded(name) is not None else ():
            if isinstance(value, type) and value.__module__ == name:
                self._walker.note(value)


def _top(value: Any) -> str:
    if isinstance(value, ModuleType):
        name: Any = value.__name__
    else:
        name = getattr(value if callable(value) else type(value), "__module__", None)
    return name.partition(".")[0] if isinstance(name, str) else ""
