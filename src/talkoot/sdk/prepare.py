"""From a function to what a job runs: its program and the environment it needs, both known to the hub.

A function is walked when it is first used, and what it stood on then is what its job runs: globals that change later
do not change the job. (A new connection walks it anew.)
"""

import importlib.metadata
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from packaging.utils import canonicalize_name

from talkoot.core import ids
from talkoot.core.errors import RequirementError
from talkoot.core.ids import EnvironmentId
from talkoot.core.lock import Lock, empty_lock, encode_lock
from talkoot.sdk.connection import Connection
from talkoot.sdk.program import Program, walk

PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_KEPT_FUNCTIONS: Final = 256


class Prepared(msgspec.Struct, frozen=True):
    """A program in its environment."""

    program: Program
    environment: EnvironmentId


class Workshop:
    """Walks functions and resolves requirements, each once for a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._programs: OrderedDict[int, tuple[object, Program]] = OrderedDict()
        self._environments: dict[tuple[str, ...], tuple[Lock, bytes]] = {}

    def prepare(self, function: Callable[..., Any], requirements: Sequence[str]) -> Prepared:
        """Walk the function, resolve its environment, and see that the hub has both.

        Raises ProgramError, RequirementError, TooLarge; and what the hub or the package index may answer.
        """
        with self._lock:
            program = self._walk(function)
            lock, encoded = self._resolve(tuple(requirements))
        if program.needs:
            _check_needs(program, lock)
        environment = ids.environment_id(encoded)
        self._connection.put(program.id, program.carrier, environment, encoded)
        return Prepared(program, environment)

    def _walk(self, function: Callable[..., Any]) -> Program:
        known = self._programs.get(id(function))
        if known is not None and known[0] is function:
            self._programs.move_to_end(id(function))
            return known[1]
        program = walk(function)
        self._programs[id(function)] = (function, program)  # the reference keeps the id from being used again
        if len(self._programs) > _KEPT_FUNCTIONS:
            self._programs.popitem(last=False)
        return program

    def _resolve(self, requirements: tuple[str, ...]) -> tuple[Lock, bytes]:
        known = self._environments.get(requirements)
        if known is None:
            lock = empty_lock(PYTHON)
            if requirements:
                from talkoot.sdk.resolve import resolve  # loads uv, which most jobs do without

                lock = resolve(requirements, python=PYTHON, cache=self._connection.locks)
            known = self._environments[requirements] = (lock, encode_lock(lock))
        return known


def _check_needs(program: Program, lock: Lock) -> None:
    """Raise RequirementError for an installed package that the program refers to and the environment lacks."""
    locked = {package.name for package in lock.packages}
    for module, path in program.needs.items():
        providers = _providers().get(module, ())
        if providers and locked.isdisjoint(canonicalize_name(name) for name in providers):
            name = canonicalize_name(providers[0])
            raise RequirementError(
                f"{path}: module {module!r} comes from the package {name!r}, which is not in the job's environment",
                hint=f'Add it: requirements=["{name}=={importlib.metadata.version(providers[0])}"].',
            )


@lru_cache(maxsize=1)
def _providers() -> Mapping[str, list[str]]:
    """By top-level module, the packages installed here that bring it."""
    return importlib.metadata.packages_distributions()
