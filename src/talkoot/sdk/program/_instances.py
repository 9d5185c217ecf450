"""Instances: by their parts, as `__reduce_ex__` tells them, with a rule of its own where that would be wrong."""

import copyreg
import enum
import functools
import logging
import sys
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from talkoot.core import carrier
from talkoot.core.carrier import Instance, Value
from talkoot.sdk.program import _refusal
from talkoot.sdk.program._functions import attribute
from talkoot.sdk.program._origin import by_name, origin_of
from talkoot.sdk.program._refusal import CannotSendError
from talkoot.sdk.program._words import words

if TYPE_CHECKING:
    from talkoot.sdk.program._walker import Walker

_LRU: Final = type(functools.lru_cache(len))
_TYPE_VARIABLES: Final = (typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple)
_IMMUTABLE: Final = words(
    "builtins.range builtins.slice re.Pattern datetime.date datetime.time datetime.datetime datetime.timedelta"
    " datetime.timezone decimal.Decimal fractions.Fraction uuid.UUID pathlib.PosixPath pathlib.PurePosixPath"
    " pathlib.WindowsPath pathlib.PureWindowsPath pathlib._local.PosixPath pathlib._local.PurePosixPath"
    " types.GenericAlias types.UnionType zoneinfo.ZoneInfo operator.itemgetter operator.attrgetter"
    " operator.methodcaller builtins.method_descriptor builtins.wrapper_descriptor builtins.method-wrapper"
    " builtins.classmethod_descriptor builtins.getset_descriptor builtins.member_descriptor"
    " builtins.builtin_function_or_method typing._GenericAlias typing._UnionGenericAlias typing._LiteralGenericAlias"
    " typing._CallableGenericAlias typing._AnnotatedAlias typing._UnpackGenericAlias typing._ConcatenateGenericAlias"
    " collections.abc._CallableGenericAlias builtins.mappingproxy"
)
"""Types whose instances are written where they stand: caches decide which of them are one object, not the program."""


def value(walker: "Walker", thing: Any) -> Value:
    """The form of an object that is neither plain value, container, class, function nor module."""
    named = _named(walker, thing)
    if named is not None:
        return named
    if isinstance(thing, enum.Enum):
        return _member(walker, thing)
    if isinstance(thing, types.MethodType):
        return [carrier.METHOD, walker.value(thing.__func__, ".__func__"), walker.value(thing.__self__, ".__self__")]
    if type(thing) is functools.partial and not thing.__dict__:
        arguments = [carrier.TUPLE, *(walker.value(v, f".args[{n}]") for n, v in enumerate(thing.args))]
        return [carrier.PARTIAL, walker.value(thing.func, ".func"), arguments, walker.value(thing.keywords, ".keywords")]
    if isinstance(thing, typing.ForwardRef):
        return _call(walker, typing.ForwardRef, (thing.__forward_arg__,))
    if isinstance(thing, types.MappingProxyType):
        return _call(walker, types.MappingProxyType, (dict(thing),))
    if _is_immutable(thing):
        parts = _reduced(walker, thing)
        if isinstance(parts, list):
            return parts
        return _call(walker, parts[0], parts[1], *parts[2:3])
    _refusal.check(thing)
    return [carrier.REF, walker.ref(thing)]


def describe(walker: "Walker", thing: Any) -> Instance:
    """The record of an instance that has a number."""
    rule = _rule(thing)
    if rule is not None:
        maker, arguments = rule(thing)
        form = [carrier.HELPER, maker] if isinstance(maker, str) else walker.value(maker)
        return Instance(form, [walker.value(a, label) for label, a in arguments], [], [], [], [])
    if type(thing) is logging.Logger:
        return Instance([carrier.HELPER, "logger"], [_logger_name(walker, thing)], [], [], [], [])
    parts = _reduced(walker, thing)
    if isinstance(parts, list):
        return Instance([carrier.HELPER, "named"], parts[1:], [], [], [], [])
    made, arguments, state, items, pairs, setter = parts + (None,) * (6 - len(parts))
    return Instance(
        walker.value(made, "maker"),
        [walker.value(a, _argument_label(made, n)) for n, a in enumerate(arguments)],
        [] if state is None else [_state(walker, state)],
        [walker.value(walker.keep(v), f"[{n}]") for n, v in enumerate(items or ())],
        [
            (
                walker.value(walker.keep(k), "key"),
                walker.value(walker.keep(v), f"[{k!r}]" if type(k) in (str, int) else "[...]"),
            )
            for k, v in pairs or ()
        ],
        [] if setter is None else [walker.value(setter, "state setter")],
    )


_Rule = Callable[[Any], tuple[Any, list[tuple[str, Any]]]]


def _rule(thing: Any) -> _Rule | None:
    kind = type(thing)
    if kind is functools.cached_property:
        return lambda p: ("cached_property", [(".func", p.func), ("", p.attrname), ("", p.__doc__)])
    if kind is functools.singledispatchmethod:
        return lambda m: ("dispatch_method", [(".func", m.func), (".dispatcher", m.dispatcher)])
    if kind is property:
        return lambda p: (
            property,
            [(".fget", p.fget), (".fset", p.fset), (".fdel", p.fdel), ("", p.__doc__)],
        )
    if kind in (staticmethod, classmethod):
        return lambda m: (kind, [(".__func__", m.__func__)])
    if kind is _LRU:
        return lambda c: (
            "lru_cache",
            [(".__wrapped__", c.__wrapped__), ("", _lru_parameters(c)), ("attributes", _lru_extra(c))],
        )
    if isinstance(thing, _TYPE_VARIABLES):
        return lambda v: ("type_variable", [("", kind), ("", v.__name__), (".__bound__", _type_variable(v))])
    if kind is typing.NewType:
        return lambda n: ("new_type", [("", n.__qualname__), (".__supertype__", n.__supertype__)])
    return None


def _lru_parameters(cached: Any) -> tuple[Any, Any]:
    parameters = cached.cache_parameters()
    return parameters["maxsize"], parameters["typed"]


def _lru_extra(cached: Any) -> dict[str, Any]:
    """Attributes beside those that wrapping copies again."""
    own, wrapped = {"__wrapped__", "cache_parameters", "__module__"}, cached.__wrapped__
    copied = {n for n in functools.WRAPPER_ASSIGNMENTS if cached.__dict__.get(n) == getattr(wrapped, n, None)}
    return {n: v for n, v in cached.__dict__.items() if n not in own | copied}


def _type_variable(variable: Any) -> dict[str, Any]:
    names = ("__bound__", "__constraints__", "__covariant__", "__contravariant__")
    return {n: found for n in names if (found := getattr(variable, n, None))}


def _argument_label(maker: Any, index: int) -> str:
    return "" if maker in (copyreg.__newobj__, copyreg._reconstructor) else f"arguments[{index}]"  # type: ignore[attr-defined]


def _state(walker: "Walker", state: Any) -> Value:
    if type(state) is dict:
        form: list[Value] = [carrier.DICT]
        for name, thing in state.items():
            if name == "__module__":
                continue  # put there by functools.update_wrapper: it differs between run and imported
            form += [walker.value(name), walker.value(thing, f".{name}")]
        return form
    if type(state) is tuple and len(state) == 2 and all(part is None or type(part) is dict for part in state):
        return [carrier.TUPLE, *(part if part is None else _state(walker, part) for part in state)]
    return walker.value(state, "state")


def _call(walker: "Walker", maker: Any, arguments: tuple[Any, ...], *state: Any) -> Value:
    form = [carrier.CALL, walker.value(maker), walker.value(walker.keep(arguments))]
    return form if not state or state[0] is None else [*form, walker.value(state[0], "state")]


def _reduced(walker: "Walker", thing: Any) -> tuple[Any, ...] | list[Value]:
    """The parts of an object, or the form of the name under which it is found."""
    reducer = copyreg.dispatch_table.get(type(thing))
    try:
        parts = reducer(thing) if reducer is not None else thing.__reduce_ex__(4)
    except CannotSendError:
        raise
    except Exception as error:  # the object's own code: anything may come out of it
        raise _refusal.unknown(thing, error) from error
    walker.keep(parts)
    if isinstance(parts, str):
        return _global(walker, thing, parts)
    if not isinstance(parts, tuple) or not 2 <= len(parts) <= 6 or not callable(parts[0]):
        raise _refusal.unknown(thing)
    return parts


def _global(walker: "Walker", thing: Any, name: str) -> list[Value]:
    """What calls itself a global: searched for in its own module, then in the package of its type."""
    cls = type(thing).__module__
    for module in (getattr(thing, "__module__", None), cls, cls.partition(".")[0]):
        if isinstance(module, str) and _is_found(module, name, thing):
            return list(walker.name(module, name))
    for module in sorted(sys.modules, key=lambda m: (m.count("."), m)):
        if _is_found(module, name, thing):
            return list(walker.name(module, name))
    raise _refusal.unknown(thing)


def _named(walker: "Walker", thing: Any) -> Value | None:
    """The form by name of what a module of the node's environment made and keeps."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str) and _is_found(module, name, thing):
        return walker.name(module, name)
    home = type(thing).__module__
    if home == "builtins" or not isinstance(home, str) or not by_name(origin_of(home)):
        return None
    for name, found in vars(sys.modules[home]).items() if home in sys.modules else ():
        if found is thing:
            return walker.name(home, name)
    return None


def _is_found(module: str, name: str, thing: Any) -> bool:
    return by_name(origin_of(module)) and attribute(module, name) is thing


def _member(walker: "Walker", member: enum.Enum) -> Value:
    cls = type(member)
    form = walker.value(cls, ".__class__")
    if cls.__members__.get(member._name_ or "") is member:
        return [carrier.MEMBER, form, member._name_]
    return [carrier.CALL, form, [carrier.TUPLE, walker.value(member._value_)]]


def _logger_name(walker: "Walker", logger: logging.Logger) -> str:
    """The name of a logger; one that is called after the module it is used in keeps following the module's name."""
    return carrier.MODULE_NAME if walker.is_own_name(logger.name) else logger.name


def _is_immutable(thing: Any) -> bool:
    cls = type(thing)
    if f"{cls.__module__}.{cls.__qualname__}" in _IMMUTABLE:
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(thing, numpy.generic | numpy.dtype)
