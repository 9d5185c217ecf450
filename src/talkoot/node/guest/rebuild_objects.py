"""The objects of one build: made on demand, filled afterwards, so that cycles close.

Making a function, a class or a cell runs none of the program's code, and they are filled first. Then come
instances that Python's own machinery makes, and last those whose making runs the program's own constructors, which
may use all the rest.
"""

import builtins
import importlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from talkoot.core import carrier, codec
from talkoot.core.carrier import Carrier, Value
from talkoot.core.errors import ProgramError
from talkoot.node.guest import rebuild_classes, rebuild_makers, rebuild_order
from talkoot.node.guest.rebuild_codes import scalar
from talkoot.node.guest.rebuild_modules import LocalModules, is_record


class Builder:
    """One build of one program."""

    def __init__(self, program: Carrier, codes: dict[int, CodeType], modules: LocalModules) -> None:
        self._program = program
        self._codes = codes
        self._modules = modules
        self._made: dict[int, Any] = dict(codes)
        self._open: set[int] = set()
        self._met: dict[type, None] = {}

    def run(self) -> Callable[..., Any]:
        """The callable, with everything it stands on in place."""
        for name in self._program.submodules:
            self._module(name)
        for number, record in enumerate(self._program.objects):
            if isinstance(record, carrier.Namespace):
                self.make(number)
        for step in rebuild_order.steps(self._program.objects):
            self._fill(step)
        function = self.value(self._program.root)
        if not callable(function):
            raise ProgramError("the program is malformed: what it holds cannot be called")
        return function  # type: ignore[no-any-return]

    @property
    def classes(self) -> Iterator[type]:
        """Dataclasses, enums and named tuples that were met."""
        return (cls for cls in self._met if is_record(cls))

    def make(self, number: int) -> Any:
        """The object of a number; it may still be empty."""
        if number in self._made:
            return self._made[number]
        if number in self._open or not 0 <= number < len(self._program.objects):
            raise ProgramError(f"the program is malformed: object {number} is missing, or needed to make itself")
        self._open.add(number)
        made = self._make(number)
        self._open.discard(number)
        return made

    def value(self, form: Value) -> Any:
        """What a form stands for."""
        if type(form) is not list:
            return form
        match form:
            case [carrier.REF, int(number)]:
                return self.make(number)
            case [carrier.TUPLE, *items]:
                return tuple([self.value(item) for item in items])
            case [carrier.LIST, *items]:
                return [self.value(item) for item in items]
            case [carrier.DICT, *items] if len(items) % 2 == 0:
                return {self.value(k): self.value(v) for k, v in zip(items[::2], items[1::2], strict=True)}
            case [carrier.SET, *items]:
                return {self.value(item) for item in items}
            case [carrier.FROZENSET, *items]:
                return frozenset([self.value(item) for item in items])
            case [carrier.NAME, str(module), str(name)]:
                return self._named(module, name)
            case [carrier.MODULE, str(name)]:
                return self._module(name)
            case [carrier.ARRAY, bytes(data)]:
                array: Any = codec.decode(data)
                return array if array.flags.writeable else array.copy()
            case [carrier.CALL, maker, arguments, *state]:
                made = self.value(maker)(*self.value(arguments))
                if state:
                    made.__setstate__(self.value(state[0]))
                return made
            case [carrier.METHOD, function, owner]:
                return MethodType(self.value(function), self.value(owner))
            case [carrier.PARTIAL, function, arguments, keywords]:
                return partial(self.value(function), *self.value(arguments), **self.value(keywords))
            case [carrier.MEMBER, cls, str(name)]:
                return self.value(cls)[name]
            case [carrier.HELPER, str(name)] if name in carrier.HELPERS:
                return getattr(rebuild_makers, name)
        try:
            return scalar(form)
        except (NotImplementedError, ValueError):
            raise ProgramError(f"the program is malformed: {str(form)[:80]} is not a value") from None

    def note(self, cls: type) -> None:
        """Remember a class that an answer may have instances of."""
        self._met.setdefault(cls)

    def names(self, pairs: list[tuple[str, Value]]) -> dict[str, Any]:
        """Names with what their forms stand for."""
        return {name: self.value(form) for name, form in pairs}

    def _make(self, number: int) -> Any:
        record = self._program.objects[number]
        match record:
            case carrier.Namespace():
                made: Any = self._namespace(record)
            case carrier.Cell():
                made = CellType()
            case carrier.Function():
                made = self._function(record)
            case carrier.LibraryCode():
                made = rebuild_makers.library_code(self._module(record.module), record)
            case carrier.Class():
                made = rebuild_classes.plain(self, record)
            case carrier.EnumClass():
                made = rebuild_classes.enumeration(self, record)
            case carrier.NamedTupleClass():
                made = rebuild_classes.named_tuple(self, record)
            case carrier.Instance():
                return self._instance(number, record)
            case carrier.Code():
                made = self._codes[number]
        self._made[number] = made
        if isinstance(made, type):
            type.__setattr__(made, "__module__", carrier.MODULE_NAME)
            self.note(made)
        return made

    def _namespace(self, record: carrier.Namespace) -> dict[str, Any]:
        count = sum(isinstance(thing, dict) for thing in self._made.values())
        module = ModuleType(carrier.MODULE_NAME if count == 0 else f"{carrier.MODULE_NAME}{count}")
        self._modules.add(module)
        space = vars(module)
        for dunder in ("__doc__", "__package__", "__loader__", "__spec__"):
            del space[dunder]
        space["__builtins__"] = builtins
        if record.package:
            space["__package__"] = record.package
        return space

    def _function(self, record: carrier.Function) -> FunctionType:
        code = self.make(record.code)
        cells = [self.make(number) for number in record.closure]
        if record.namespace >= 0:
            space = self.make(record.namespace)
        elif record.namespace == carrier.NOWHERE:
            space = {"__builtins__": builtins, "__name__": carrier.MODULE_NAME}
        else:
            library = self._program.objects[record.code]
            assert isinstance(library, carrier.LibraryCode)
            space = vars(self._module(library.module))
            cells = rebuild_makers.closure_in_order(library, code, cells)
        return FunctionType(code, space, record.name, None, tuple(cells))

    def _instance(self, number: int, record: carrier.Instance) -> Any:
        maker = self.value(record.maker)
        arguments = [self.value(argument) for argument in record.arguments]
        try:
            made = self._made[number] = maker(*arguments)
        except Exception as error:
            error.add_note("Raised when the program's objects were made, before its globals were all in place.")
            raise
        pairs = [(self.value(key), self.value(value)) for key, value in record.pairs]
        if record.maker == [carrier.HELPER, "single_dispatch"]:
            rebuild_makers.register(made, pairs)
            return made
        rebuild_makers.put_into(
            made,
            [self.value(state) for state in record.state],
            [self.value(item) for item in record.items],
            pairs,
            [self.value(setter) for setter in record.setter],
        )
        return made

    def _fill(self, step: "rebuild_order.Step") -> None:
        record = self._program.objects[step.number]
        made = self.make(step.number)
        match record:
            case carrier.Namespace():
                name, form = record.entries[step.part]
                made[name] = self.value(form)
            case carrier.Cell():
                made.cell_contents = self.value(record.content[0])
            case carrier.Function():
                self._fill_function(made, record)
            case carrier.Class() | carrier.EnumClass() | carrier.NamedTupleClass():
                rebuild_classes.fill(self, made, record, step.part)

    def _fill_function(self, made: FunctionType, record: carrier.Function) -> None:
        made.__qualname__ = record.qualname
        if record.documentation:
            made.__doc__ = self.value(record.documentation[0])
        if record.defaults:
            made.__defaults__ = tuple(self.value(form) for form in record.defaults)
        if record.keyword_defaults:
            made.__kwdefaults__ = self.names(record.keyword_defaults)
        if record.annotations:
            made.__annotations__ = self.names(record.annotations)
        if record.type_parameters:
            made.__type_params__ = tuple(self.value(form) for form in record.type_parameters)  # type: ignore[attr-defined]
        made.__dict__.update(self.names(record.attributes))

    def _named(self, module: str, name: str) -> Any:
        thing: Any = self._module(module)
        for part in name.split("."):
            try:
                thing = getattr(thing, part)
            except AttributeError:
                raise ProgramError(
                    f"the program needs {module}.{name}, and the {module} of this environment has no such name",
                    hint="Pin the version in requirements= to the one that the program was written with.",
                ) from None
        if isinstance(thing, type):
            self.note(thing)
        return thing

    def _module(self, name: str) -> ModuleType:
        found = sys.modules.get(name)
        if found is not None:
            return found
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            raise ProgramError(
                f"the program needs the module {name!r}, which this environment does not have",
                hint=f"Name the package that holds {name.partition('.')[0]!r} in requirements=.",
            ) from error
