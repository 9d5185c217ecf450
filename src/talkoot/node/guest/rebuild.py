"""From a carrier to a function, inside the sandbox: only the standard library, msgspec and talkoot.core are there.

`load` checks and decodes, and runs nothing of the program. `Loaded.build` makes everything anew at each call:
what the carrier does not hold does not exist for the rebuilt function, so what the walk did not see raises
NameError here instead of giving another answer. One built program lives in a process at a time.
"""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from talkoot.core import carrier
from talkoot.core.carrier import Carrier
from talkoot.node.guest import rebuild_codes, rebuild_mutable
from talkoot.node.guest.rebuild_modules import LocalModules, unambiguous
from talkoot.node.guest.rebuild_objects import Builder

_RECURSION_LIMIT = 20_000
"""Objects are made depth-first, and a long chain of them is no error."""


def load(data: bytes) -> "Loaded":
    """The program that the bytes hold. Raises ProgramError (another Python, not a program) and TooLarge."""
    return Loaded(carrier.decode(data, python=f"{sys.version_info.major}.{sys.version_info.minor}"))


class Loaded:
    """A program that can be built, any number of times."""

    mutable: bool
    """Whether one call may leave behind what the next would see; then build anew for each task."""

    def __init__(self, program: Carrier) -> None:
        self._program = program
        self._codes = rebuild_codes.make(program)
        self._numbers = {id(code): number for number, code in enumerate(self._codes.values())}
        self._modules: LocalModules | None = None
        self._classes: list[type] = []
        self.mutable = rebuild_mutable.is_mutable(program, self._codes.values())

    def build(self) -> Callable[..., Any]:
        """The function, of objects that no earlier call to `build` gave out.

        Raises ProgramError, and whatever the program's own modules and constructors raise.
        """
        self.close()
        self._modules = modules = LocalModules(self._program.modules, self._codes)
        modules.install()
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, _RECURSION_LIMIT))
        try:
            builder = Builder(self._program, self._codes, modules)
            function = builder.run()
        finally:
            sys.setrecursionlimit(limit)
        self._classes = list(builder.classes)
        return function

    def close(self) -> None:
        """Take the program's modules out of the process again. What was built keeps working, but imports no more."""
        if self._modules is not None:
            self._modules.remove()
            self._modules = None

    @property
    def classes(self) -> dict[str, type]:
        """Dataclasses, enums and named tuples of the latest build, by qualified name: to read arguments by.

        A name that two classes share stands for neither.
        """
        local = () if self._modules is None else self._modules.classes()
        return unambiguous([*self._classes, *local])

    def frames_of(self, trace: TracebackType | None) -> list[tuple[int, int]]:
        """The frames of a traceback that are the program's own: number of the code, offset of the instruction."""
        frames = []
        while trace is not None:
            number = self._numbers.get(id(trace.tb_frame.f_code))
            if number is not None:
                frames.append((number, trace.tb_lasti))
            trace = trace.tb_next
        return frames
