"""Where a module comes from: with the node's environment (by name), or from the researcher (by content).

Nothing here imports a module: a question about one that is not loaded is answered by the import system's finders.
"""

import functools
import importlib.machinery
import os
import sys
from enum import Enum
from types import CodeType, ModuleType
from typing import Final, NamedTuple

from talkoot.sdk.program._refusal import CannotSendError

_STDLIB: Final = os.path.realpath(os.path.dirname(os.__file__))
_INSTALLED_FOLDERS: Final = frozenset({"site-packages", "dist-packages"})


class Origin(Enum):
    """Where a module comes from."""

    STDLIB = "stdlib"
    INSTALLED = "installed"
    RUNTIME = "runtime"
    """`talkoot` and below: every node has it."""
    LOCAL = "local"
    DYNAMIC = "dynamic"
    """Made by a running program: there is no source to send."""
    MISSING = "missing"


class Source(NamedTuple):
    """A local module: its file (None for a package without `__init__`) and whether it is a package."""

    file: str | None
    package: bool


def by_name(origin: Origin) -> bool:
    """Whether the node has such modules, so that a name is enough."""
    return origin in (Origin.STDLIB, Origin.INSTALLED, Origin.RUNTIME)


def origin_of(name: str) -> Origin:
    """Where the module of this name comes from. Raises CannotSendError for one that hides a standard module."""
    top = name.partition(".")[0]
    if top == "talkoot":
        return Origin.RUNTIME
    if top == "__main__":
        return Origin.LOCAL
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None) if module is not None else None
    return _origin(name, file, module is not None and getattr(module, "__spec__", None) is None)


@functools.lru_cache(maxsize=4096)
def _origin(name: str, file: str | None, unspecified: bool) -> Origin:
    standard = name.partition(".")[0] in sys.stdlib_module_names
    if file is None:
        spec = None if unspecified else find(name)
        if spec is None:
            return Origin.STDLIB if standard else Origin.DYNAMIC if name in sys.modules else Origin.MISSING
        file = spec.origin if spec.has_location else next(iter(spec.submodule_search_locations or ()), None)
        if file is None:
            return Origin.STDLIB if standard else Origin.DYNAMIC
    if not _INSTALLED_FOLDERS.isdisjoint(file.split(os.sep)):
        return Origin.INSTALLED
    if standard:
        if file.startswith("<") or os.path.realpath(file).startswith(_STDLIB + os.sep):
            return Origin.STDLIB
        raise CannotSendError(
            f"the local module {name!r} ({os.path.basename(file)}) hides a module of the standard library",
            "Give the file another name.",
        )
    return Origin.LOCAL


def find(name: str) -> importlib.machinery.ModuleSpec | None:
    """The spec of a module, loaded or not, without importing anything (parents neither)."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if spec is not None:
        return spec if isinstance(spec, importlib.machinery.ModuleSpec) else None
    parent, _, _ = name.rpartition(".")
    path = None
    if parent:
        above = find(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        path = list(above.submodule_search_locations)
    for finder in sys.meta_path:
        found = finder.find_spec(name, path, None)
        if found is not None:
            return found
    return None


def is_submodule(package: str, name: str) -> bool:
    """Whether `package.name` is a module, be it loaded or not (or the id would depend on what was used before)."""
    full = f"{package}.{name}"
    return find(full) is not None if origin_of(package) is Origin.LOCAL else _is_installed_module(full)


@functools.lru_cache(maxsize=4096)
def _is_installed_module(name: str) -> bool:
    return find(name) is not None


def source_of(name: str) -> Source:
    """Where the source of a local module is. Raises CannotSendError when there is none."""
    spec = find(name)
    if spec is None:
        raise CannotSendError(
            f"the module {name!r} is neither in the standard library nor installed, and has no source",
            "Put it into a file that can be imported, or install it and name it in requirements=.",
        )
    package = spec.submodule_search_locations is not None
    if not spec.has_location and package:
        return Source(None, True)
    file = spec.origin
    if file is None or not file.endswith(tuple(importlib.machinery.SOURCE_SUFFIXES)) or not os.path.exists(file):
        raise CannotSendError(
            f"the module {name!r} has no Python source ({os.path.basename(file or 'no file')})",
            "Compiled modules must be installed packages, named in requirements=.",
        )
    return Source(file, package)


def compile_source(name: str, file: str) -> CodeType:
    """The code of a local module, compiled from its file as it is now."""
    try:
        with open(file, "rb") as stream:
            text = stream.read()
        return compile(text, file, "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"{file}, line {error.lineno}" if error.lineno else file
        raise CannotSendError(
            f"the source of module {name!r} does not compile: {error.msg} ({where})", "Correct the file."
        ) from error
    except (OSError, ValueError) as error:
        raise CannotSendError(f"the source of module {name!r} cannot be read: {error}", "Make the file readable.") from error


def loaded(name: str) -> ModuleType | None:
    """The live module of this name, if it is imported."""
    return sys.modules.get(name)
