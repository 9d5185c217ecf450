"""The walk itself: a queue of live objects, each turned once into a record of the carrier's table.

Objects that have an identity worth keeping (functions, classes, cells, instances) are numbered in the order in
which they are met; everything else is written where it stands, by content. The queue keeps long chains of calls
from becoming deep recursion. The rules for the kinds of object are in the modules beside this one.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, Final

from talkoot.core import carrier, limits
from talkoot.core.carrier import Object, Value
from talkoot.sdk.program import _classes, _functions, _instances, _values
from talkoot.sdk.program._functions import Located
from talkoot.sdk.program._modules import Modules
from talkoot.sdk.program._origin import Origin, origin_of
from talkoot.sdk.program._records import is_record
from talkoot.sdk.program._refusal import CannotSendError, TooLargeToSendError

PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_MAX_LABEL_CHARS: Final = 60


class Space:
    """The live globals of a module, and what of them the functions met so far read."""

    def __init__(self, live: dict[str, Any]) -> None:
        self.live = live
        self.package = ""
        self.entries: dict[str, Value] = {}


class Walker:
    """One walk, from one root."""

    def __init__(self, root_name: str, *, outer: "Walker | None" = None) -> None:
        self.root_name = root_name if outer is None else outer.path()
        self.open: set[int] = set() if outer is None else set(outer.open)
        self.live: list[object] = []
        self.codes: list[CodeType] = []
        self.needs: dict[str, str] = {}
        self._classes: dict[str, type | None] = {}
        self.modules = Modules(self)
        self.located: dict[int, Located] = {}
        self.labels: list[str] = []
        self._records: list[Object | None] = []
        self._origins: list[tuple[int, tuple[str, ...]]] = []
        self._numbers: dict[int, int] = {}
        self._spaces: dict[int, int] = {}
        self._kept: list[object] = []
        self._current = -1
        self._depth = 0

    # What the rules call.

    def ref(self, thing: object) -> int:
        """The number of an object that keeps its identity."""
        number = self._numbers.get(id(thing))
        if number is None:
            number = self._numbers[id(thing)] = len(self.live)
            self.live.append(thing)
            self._records.append(None)
            self._origins.append((self._current, tuple(self.labels)))
            if isinstance(thing, CodeType):
                self.codes.append(thing)
        return number

    def space(self, live: dict[str, Any]) -> tuple[int, Space]:
        """The number and the record in the making of a dictionary of globals."""
        number = self._spaces.get(id(live))
        if number is None:
            number = self._spaces[id(live)] = self.ref(Space(live))
        space = self.live[number]
        assert isinstance(space, Space)
        return number, space

    def value(self, thing: Any, label: str = "") -> Value:
        """A value in the carrier's form. Raises CannotSendError; `label` is the step of the path that leads to it."""
        simple = _values.simple(thing)
        if simple is not _values.NOT_SIMPLE:
            return simple
        if label:
            self.labels.append(label)
        self._depth += 1
        if self._depth > limits.MAX_VALUE_DEPTH:
            raise CannotSendError(f"values are nested more than {limits.MAX_VALUE_DEPTH} deep", "Flatten it.")
        form = self._value(thing)
        self._depth -= 1
        if label:
            self.labels.pop()
        return form

    def keep(self, thing: Any) -> Any:
        """Keep a temporary object alive, so that no later one gets its address."""
        self._kept.append(thing)
        return thing

    def name(self, module: str, qualname: str) -> Value:
        """A reference to what a module of the node's environment has under a name."""
        self.need(module)
        return [carrier.NAME, module, qualname]

    def note(self, cls: type) -> None:
        """Remember a record class; a qualified name that two of them share stands for neither."""
        if is_record(cls):
            name = cls.__qualname__
            self._classes[name] = cls if self._classes.setdefault(name, cls) is cls else None

    @property
    def classes(self) -> dict[str, type]:
        """The dataclasses, enums and named tuples met, by qualified name."""
        return {name: cls for name, cls in self._classes.items() if cls is not None}

    def need(self, module: str) -> None:
        """Note that the program refers to a module; installed ones must be in the node's environment."""
        if origin_of(module) is Origin.INSTALLED:
            self.needs.setdefault(module.partition(".")[0], self.path())

    @contextmanager
    def step(self, label: str) -> Iterator[None]:
        """One step of the path to the object at hand; where something is refused, it stays for the message."""
        self.labels.append(label)
        yield
        self.labels.pop()

    def path(self) -> str:
        """The way from the root to the object at hand."""
        steps = list(self.labels)
        number = self._current
        while number >= 0:
            above, labels = self._origins[number]
            steps[:0] = labels
            number = above
        return " → ".join([self.root_name, *(s if len(s) <= _MAX_LABEL_CHARS else s[:57] + "..." for s in steps)])

    def is_own_name(self, name: str) -> bool:
        """Whether a module of the program is called so, and may be called otherwise when it is run otherwise."""
        if name in sys.modules and origin_of(name) is Origin.LOCAL:
            return True
        spaces = (self.live[number] for number in self._spaces.values())
        return any(isinstance(space, Space) and space.live.get("__name__") == name for space in spaces)

    # The walk.

    def run(self, root: Any) -> bytes:
        """The bytes of the carrier of what the root stands on. Raises ProgramError and TooLarge."""
        try:
            value = self.value(root)
            while self._current + 1 < len(self.live):
                self._current += 1
                self._records[self._current] = self._describe(self.live[self._current])
            return self._finish(value)
        except CannotSendError as refused:
            raise refused.at(self.path()) from refused.__cause__
        except RecursionError as error:
            raise CannotSendError("what it refers to is nested too deep", "Flatten it.").at(self.path()) from error

    def _value(self, thing: Any) -> Value:
        if isinstance(thing, type):
            return _classes.value(self, thing)
        if isinstance(thing, FunctionType):
            return _functions.value(self, thing)
        if isinstance(thing, CodeType | CellType):
            return [carrier.REF, self.ref(thing)]
        if isinstance(thing, ModuleType):
            return self.modules.value(thing)
        content = _values.container(self, thing)
        if content is not _values.NOT_SIMPLE:
            return content
        return _instances.value(self, thing)

    def _describe(self, thing: object) -> Object:
        if isinstance(thing, FunctionType):
            return _functions.function(self, thing)
        if isinstance(thing, CodeType):
            return _functions.code(self, thing)
        if isinstance(thing, Located):
            return thing.record()
        if isinstance(thing, Space):
            return carrier.Namespace("", [])
        if isinstance(thing, CellType):
            return _functions.cell(self, thing)
        if isinstance(thing, type):
            return _classes.describe(self, thing)
        return _instances.describe(self, thing)

    def _finish(self, root: Value) -> bytes:
        records: list[Object] = []
        for thing, record in zip(self.live, self._records, strict=True):
            if isinstance(thing, Space):
                record = carrier.Namespace(thing.package, list(thing.entries.items()))
            elif type(thing) is logging.Logger:
                record = _instances.describe(self, thing)  # now that all modules whose name it may have are known
            assert record is not None
            records.append(record)
        self._refuse_cycles(records)
        modules, submodules = self.modules.records()
        made = carrier.Carrier(carrier.FORMAT, PYTHON, root, records, modules, submodules)
        data = carrier.encode(made)
        if len(data) > limits.MAX_PROGRAM_BYTES:
            raise self._too_large(records, len(data))
        return data

    def _refuse_cycles(self, records: list[Object]) -> None:
        """Refuse what needs itself in order to be made; other cycles are fine."""
        before = {n: set(needs) for n, r in enumerate(records) if (needs := carrier.needed_first(r))}
        while ready := [n for n, needs in before.items() if needs.isdisjoint(before)]:
            for number in ready:
                del before[number]
        for number in before:
            self._current, self.labels = number, []
            raise CannotSendError("it is needed to make itself", "Break the cycle between the objects.")

    def _too_large(self, records: list[Object], size: int) -> CannotSendError:
        """Name what is largest in the carrier, and say what to do."""
        parts: list[tuple[int, int, str]] = []
        for number, record in enumerate(records):
            if isinstance(record, carrier.Namespace):
                parts += [(len(carrier.encode_value(v)), number, f"globals[{n!r}]") for n, v in record.entries]
            else:
                parts.append((len(carrier.encode_value(record)), number, ""))
        largest, number, label = max(parts)
        self._current, self.labels = number, [label] if label else []
        return TooLargeToSendError(largest, size)
