"""The local modules of one built program: found by name, made when they are first imported, and by nobody else."""

import dataclasses
import enum
import importlib.machinery
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType, ModuleType
from typing import Any, ClassVar

from talkoot.core import carrier


class LocalModules:
    """A finder and loader that knows the modules that a carrier holds, and no others."""

    _installed: ClassVar["LocalModules | None"] = None

    def __init__(self, modules: list[carrier.Module], codes: dict[int, CodeType]) -> None:
        self._modules = {module.name: module for module in modules}
        self._tops = {module.name.partition(".")[0] for module in modules}
        self._codes = codes
        self._replaced: dict[str, ModuleType] = {}
        self._added: list[str] = []

    def install(self) -> None:
        """Let imports find these modules, before any of the same name, and no longer those of another program."""
        if LocalModules._installed is not None:
            LocalModules._installed.remove()
        LocalModules._installed = self
        if self._modules:
            self._replaced = self._take()
            sys.meta_path.insert(0, self)

    def add(self, module: ModuleType) -> None:
        """Make the namespace of functions known as a module, for what looks classes up by module."""
        self._added.append(module.__name__)
        sys.modules[module.__name__] = module

    def remove(self) -> None:
        """Forget them, and what they hid comes back. Does nothing where another program has taken their place."""
        if LocalModules._installed is not self:
            return
        LocalModules._installed = None
        if self._modules:
            sys.meta_path.remove(self)
            self._take()
        for name in self._added:
            sys.modules.pop(name, None)
        sys.modules.update(self._replaced)

    def classes(self) -> Iterator[type]:
        """Dataclasses, enums and named tuples of the modules imported so far."""
        for name in self._modules:
            for thing in vars(sys.modules[name]).values() if name in sys.modules else ():
                if isinstance(thing, type) and thing.__module__ == name and is_record(thing):
                    yield thing

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module of the carrier. Part of the import system's protocol."""
        module = self._modules.get(name)
        if module is None:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=module.package)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """The ordinary kind of module will do. Part of the import system's protocol."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code. Part of the import system's protocol."""
        code = self._modules[module.__name__].code
        if code >= 0:
            exec(self._codes[code], vars(module))  # noqa: S102 - the sandbox is for this

    def _take(self) -> dict[str, ModuleType]:
        """Take everything out of the process that is called like one of these modules, or is below it."""
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in self._tops}


def unambiguous(classes: Iterable[type]) -> dict[str, type]:
    """Classes by qualified name; a name that two of them share stands for neither."""
    found: dict[str, type | None] = {}
    for cls in classes:
        found[cls.__qualname__] = cls if found.setdefault(cls.__qualname__, cls) is cls else None
    return {name: cls for name, cls in found.items() if cls is not None}


def is_record(cls: Any) -> bool:
    """Whether the codec writes instances of the class: a dataclass, an enum, or a named tuple."""
    if issubclass(cls, tuple):
        return hasattr(cls, "_fields")
    return dataclasses.is_dataclass(cls) or (issubclass(cls, enum.Enum) and cls.__module__ != "enum")
