"""A rebuilt function gives what the original gives, in a process that shares nothing with this one."""

import abc
import asyncio
import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import itertools
import json
import logging
import math
import operator
import os.path
import pathlib
import random
import re
import string
import subprocess
import sys
import types
import typing
import xml.etree.ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import random as draw
from typing import Any, Generic, NamedTuple, NewType, Protocol, TypeVar

import msgspec
import numpy as np
import pytest

import talkoot
from talkoot.sdk.program import walk

GUEST = """
import sys
sys.path[:0] = {paths!r}
import msgspec
from talkoot.node.guest import rebuild
assert not any(name.startswith(("talkoot.sdk", "numpy")) for name in sys.modules)
answers = []
for carrier in msgspec.msgpack.decode(sys.stdin.buffer.read()):
    try:
        loaded = rebuild.load(carrier)
        first, second = loaded.build()(), loaded.build()()
        answers.append([repr(first), repr(second), loaded.mutable, sorted(loaded.classes)])
    except BaseException as error:
        import traceback
        traceback.print_exc()
        answers.append([type(error).__name__ + ": " + str(error)] * 2 + [False, []])
sys.stdout.buffer.write(msgspec.msgpack.encode(answers))
"""


def in_guest(carriers: list[bytes], *more: str) -> list[list[Any]]:
    paths = [*(str(pathlib.Path(m.__file__).parents[1]) for m in (talkoot, msgspec)), *more]
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", GUEST.format(paths=paths)],
        input=msgspec.msgpack.encode(carriers),
        capture_output=True,
        env={"PYTHONHASHSEED": "1"},
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
    sys.stderr.write(run.stderr.decode())
    return msgspec.msgpack.decode(run.stdout)


SAMPLES: list[Callable[[], Any]] = []
STATEFUL: set[str] = set()


def sample(function: Callable[[], Any]) -> Callable[[], Any]:
    SAMPLES.append(function)
    return function


def stateful(function: Callable[[], Any]) -> Callable[[], Any]:
    STATEFUL.add(getattr(function, "__name__", ""))
    return sample(function)


# Values.

VALUES = (
    1, 1.0, True, -0.0, 2**70, -(2**63), 2**64, 1j, -0.0j, b"x", "é", "\ud800", None, ..., NotImplemented,
    (1, (2,)), frozenset({3, 1, 2}), float("inf"), range(3), slice(1, 2),
)  # fmt: skip
NAN = float("nan")
LISTS = [1, [2, {"b": 1, "a": (1,)}], {3, "x"}, bytearray(b"y")]
WHEN = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


@sample
def plain_values():
    return VALUES, NAN, WHEN, decimal.Decimal("1.10"), fractions.Fraction(1, 3)


@stateful
def containers():
    LISTS.append(4)
    return len(LISTS), sorted(map(str, LISTS[2])), list(LISTS[1][1]), bytes(LISTS[3])


CONSTANT_TIME = datetime.timedelta(seconds=5), fractions.Fraction(0, 7), decimal.Decimal(3), pathlib.PurePosixPath("a/b")
PATTERN = re.compile(r"(\d+)", re.I)


@sample
def immutable_instances():
    return CONSTANT_TIME, PATTERN.findall("a1b22"), operator.itemgetter(1)((3, 4))


# Functions.


def add(a, b=2, /, *rest, c: int = 3, **more):
    """Adds."""
    return a + b + sum(rest) + c + sum(more.values())


add.unit = "m"


@stateful
def defaults_and_attributes():
    return add(1), add(1, 1, 1, c=1, d=1), add.__doc__, add.unit, add.__annotations__, add.__kwdefaults__


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n != 0 and even(n - 1)


@sample
def mutual_recursion():
    return even(10), odd(7), even.__qualname__


def make_counter():
    count = 0

    def up():
        nonlocal count
        count += 1
        return count

    def read():
        return count

    return up, read


up, read = make_counter()


@stateful
def shared_closure_cell():
    return up(), up(), read()


def timed(function):
    @functools.wraps(function)
    def wrapper(*args):
        return "timed", function(*args)

    return wrapper


@timed
def decorated(x):
    return x * 2


@sample
def decorators():
    return decorated(4), decorated.__name__, decorated.__wrapped__(5)


square = lambda x: x * x  # noqa: E731
half = functools.partial(operator.mul, 0.5)
doubled = functools.partial(square)


@sample
def lambdas_and_partials():
    return square(3), half(3), doubled(5), half.func is operator.mul


def numbers() -> Iterator[int]:
    yield from range(3)


async def answer():
    await asyncio.sleep(0)
    return 42


async def stream():
    for i in range(2):
        yield i


async def collect():
    return [await answer(), [i async for i in stream()]]


@sample
def generators_and_coroutines():
    return list(numbers()), asyncio.run(collect())


@contextlib.contextmanager
def tagged(name):
    yield f"<{name}>"


@sample
def context_managers():
    with tagged("b") as tag:
        return tag, tagged.__name__


@sample
def nested_functions_and_comprehensions():
    def inner(n):
        return [square(i) + k for i in range(n) for k in (1, 2) if (lambda: i)()]

    try:
        match inner(2):
            case [first, *rest]:
                return first, rest, f"{first!r:>4}"
    finally:
        pass


def fails(x):
    try:
        return 1 / x
    except ZeroDivisionError as error:
        return f"{type(error).__name__}: {error}"


@sample
def exception_tables():
    import traceback

    try:
        raise KeyError("k")
    except KeyError:
        text = traceback.format_exc()
    return fails(0), "KeyError: 'k'" in text


total = 0


def bump():
    global total
    total += 1
    return total


@stateful
def global_statement():
    return bump(), bump()


@functools.lru_cache(maxsize=None)  # noqa: UP033
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


@stateful
def cached():
    return fib(30), fib.cache_parameters(), fib.__name__, fib.cache_info().misses


@functools.singledispatch
def describe(x):
    "Describes."
    return "thing"


@describe.register
def _(x: int):
    return "int"


@describe.register(list)
def _(x):
    return "list of " + describe(x[0])


@stateful
def single_dispatch():
    return describe(1), describe([2]), describe("s"), describe.__doc__, list(describe.registry)


# Classes.


class Shape(abc.ABC):
    sides = 0

    @abc.abstractmethod
    def area(self): ...

    @property
    def name(self):
        "The name."
        return type(self).__name__

    @classmethod
    def make(cls, *args):
        return cls(*args)

    @staticmethod
    def unit():
        return "cm"


class Square(Shape):
    __slots__ = ("__hidden", "side")
    sides = 4

    def __init__(self, side):
        super().__init__()
        self.side = side
        self.__hidden = 1

    def area(self):
        return self.side**2 * self.__hidden

    def __repr__(self):
        return f"Square({self.side})"


class Grown(Square):
    def area(self):
        return super().area() * (__class__ is Grown)


Shape.register(dict)


@sample
def classes():
    try:
        Shape()
        refused = False
    except TypeError:
        refused = True
    s = Grown.make(3)
    return refused, s.area(), s.name, s.unit(), s, Shape.name.__doc__, isinstance(s, Shape), isinstance({}, Shape)


class Meta(type):
    made: typing.ClassVar[list] = []

    def __new__(mcs, name, bases, content, **kw):
        cls = super().__new__(mcs, name, bases, content)
        cls.tag = name.lower()
        mcs.made.append(name)
        return cls

    def __call__(cls, *args):
        return ("called", super().__call__(*args).value)


class Registry:
    known: typing.ClassVar[dict] = {}

    def __init_subclass__(cls, key, **kw):
        super().__init_subclass__(**kw)
        Registry.known[key] = cls


class Plugin(Registry, key="p"):
    pass


class WithMeta(metaclass=Meta):
    def __init__(self, value):
        self.value = value


@stateful
def metaclasses_and_hooks():
    return WithMeta(3), WithMeta.tag, Meta.made, list(Registry.known), Registry.known["p"] is Plugin


@dataclass(frozen=True, slots=True, order=True)
class Point:
    x: int
    y: int = 0
    tags: tuple[str, ...] = field(default=(), compare=False)

    def moved(self, dx: int) -> "Point":
        return dataclasses.replace(self, x=self.x + dx)


@dataclass
class Line:
    start: Point
    points: list[Point] = field(default_factory=list)
    kind: dataclasses.InitVar[str] = "a"

    def __post_init__(self, kind):
        self.label = kind


@sample
def frozen_dataclass():
    p = Point(1)
    try:
        p.__setattr__("x", 2)
        frozen = False
    except dataclasses.FrozenInstanceError:
        frozen = True
    return frozen, p.moved(2), p < Point(2), hash(p) == hash(Point(1)), dataclasses.asdict(p), {p: 1}[Point(1)]


@sample
def dataclasses_of_dataclasses():
    line = Line(Point(1), kind="b")
    line.points.append(Point(3))
    return line, line.label, [f.name for f in dataclasses.fields(Line)], dataclasses.asdict(line)


POINTS = {Point(2), Point(1), Point(3)}
HOME = Point(5, 6)


@stateful
def instances_in_sets():
    return sorted(POINTS), Point(2) in POINTS, HOME


class Color(enum.Enum):
    RED = 1
    GREEN = "g"
    ROUGE = 1  # noqa: PIE796

    def shout(self):
        return self.name + "!"


class Permission(enum.Flag):
    R = enum.auto()
    W = enum.auto()
    RW = R | W


class Planet(enum.Enum):
    EARTH = (5.97, 6.37)
    MARS = (0.64, 3.39)

    def __init__(self, mass, radius):
        self.mass = mass
        self.radius = radius


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 5


class Word(enum.StrEnum):
    A = enum.auto()

    @classmethod
    def _missing_(cls, value):
        return cls.A


class Coded(str, enum.Enum):  # noqa: UP042
    def __new__(cls, value, label):
        one = str.__new__(cls, value)
        one._value_ = value
        one.label = label
        return one

    X = "x", "ex"


FAVOURITE = Color.GREEN
BOTH = Permission.R | Permission.W


@sample
def enums():
    return (
        list(Color), Color(1).shout(), Color.ROUGE is Color.RED, Permission.RW, BOTH is Permission.RW, ~Permission.R,
        Planet.EARTH.mass, Planet((0.64, 3.39)), Level.HIGH > Level.LOW, f"{Word.A}", Word("?"), Coded.X.label,
        Coded("x"), FAVOURITE is Color.GREEN, Color["GREEN"].value, list(Color.__members__),
    )  # fmt: skip


class Pair(NamedTuple):
    """A pair."""

    left: int
    right: int = 9

    def flip(self):
        return Pair(self.right, self.left)


Old = collections.namedtuple("Old", "a b")


class Sub(Old):
    def total(self):
        return self.a + self.b


ORIGIN = Pair(0)


@sample
def named_tuples():
    return Pair(1).flip(), Old(1, 2)._replace(a=5), Sub(1, 2).total(), ORIGIN.right, Pair.__doc__, Pair._field_defaults


T = TypeVar("T", bound=int)
UserId = NewType("UserId", int)


class Box(Generic[T]):
    def __init__(self, item: T) -> None:
        self.item = item


class Named(Protocol):
    name: str

    def call(self) -> int: ...


@typing.runtime_checkable
class Sized(Protocol):
    def size(self) -> int: ...


class Sack(Box[int]):
    def size(self) -> int:
        return self.item


class Options(typing.TypedDict, total=False):
    depth: int


def typed(x: "int | list[Box[T]]", y: typing.Optional[list[str]] = None, *, z: Callable[[int], UserId] | None = None) -> T:  # noqa: UP045
    return x


@sample
def typing_objects():
    return (
        Sack(3).size(), isinstance(Sack(1), Sized), isinstance(3, Sized), Box.__parameters__, Box[int].__args__, UserId(4),
        str(typed.__annotations__["y"]), T.__bound__, UserId.__supertype__, Options(depth=1), sorted(Options.__annotations__),
    )  # fmt: skip


class Lazy:
    def __init__(self, n):
        self.n = n

    @functools.cached_property
    def twice(self):
        return self.n * 2

    def scaled(self, by, n):
        return self.n * by * n

    tripled = functools.partialmethod(scaled, 3)

    @functools.singledispatchmethod
    def show(self, x):
        return "any"

    @show.register
    def _(self, x: int):
        return "int"

    @functools.cache  # noqa: B019
    def slow(self, n):
        return n

    def __getattr__(self, name):
        if name.startswith("auto_"):
            return name[5:]
        raise AttributeError(name)


LAZY = Lazy(2)
bound = LAZY.tripled
method = LAZY.scaled


@stateful
def descriptors_and_methods():
    x = Lazy(2)
    return x.twice, x.tripled(5), x.show(1), x.show(""), x.slow(3), x.auto_a, bound(7), method(1, 2), method.__self__ is LAZY


class Node:
    def __init__(self, name):
        self.name, self.next, self.all = name, None, []

    def __reduce__(self):
        return make_node, (self.name,), self.__dict__


def make_node(name):
    PREFIX.startswith("n")
    return Node(name)


PREFIX = "n"
RING = Node("a")
RING.next = Node("b")
RING.next.next = RING
RING.all.append(RING)


@stateful
def cyclic_instances():
    return RING.next.next is RING, RING.all[0] is RING, RING.next.name


CHAIN = None
for _n in range(400):
    _new = Lazy(_n)
    _new.tail = CHAIN
    CHAIN = _new


@stateful
def long_chain_of_instances():
    n, one = 0, CHAIN
    while one is not None:
        n, one = n + 1, one.tail
    return n


class Both(dict):
    pass


COUNTS = collections.Counter("abca")
ORDERED = collections.OrderedDict(b=1, a=2)
GROUPS = collections.defaultdict(list, {"x": [1]})
QUEUE = collections.deque([1, 2], maxlen=3)
CUSTOM = Both(a=1)
CUSTOM.extra = 5
SPACE = types.SimpleNamespace(a=1)
SENTINEL = object()
OTHER_SENTINEL = SENTINEL
CYCLE = itertools.cycle([1, 2])
FROZEN_MAP = types.MappingProxyType({"a": 1})


@stateful
def collections_of_the_library():
    GROUPS["y"].append(2)
    QUEUE.append(3)
    return COUNTS, ORDERED, GROUPS, QUEUE, CUSTOM, CUSTOM.extra, SPACE, SENTINEL is OTHER_SENTINEL, FROZEN_MAP["a"]


RNG = random.Random(5)


@stateful
def random_numbers():
    random.seed(3)
    return RNG.random(), draw(), random.choice([1, 2, 3])


class Broken(ValueError):
    def __init__(self, a):
        super().__init__(f"broken {a}")
        self.a = a


@sample
def exceptions_of_the_program():
    try:
        raise Broken(3)
    except ValueError as error:
        return str(error), error.a, type(error).__mro__[1:]


@sample
def class_bodies_in_functions():
    class Local:
        base = PREFIX
        upper = PREFIX.upper()

        def get(self):
            return self.base + Local.upper

    return Local().get(), Local.__qualname__, [PREFIX for _ in range(1)]


# Modules and names.

log = logging.getLogger(__name__)
join = "-".join
maximum = max
OS_JOIN = os.path.join


@sample
def library_names():
    log.debug("x")
    import collections.abc as c
    from json import dumps

    return (
        math.sqrt(4), json.loads("[1]"), join(["a", "b"]), maximum(1, 2), OS_JOIN("a", "b"), dumps({}), string.digits,
        c.Sized.__name__, str.upper("a"), xml.etree.ElementTree.fromstring("<a/>").tag, int.__add__(1, 2), dict.fromkeys("a"),
    )  # fmt: skip


upper, fromkeys, floor = str.upper, dict.fromkeys, math.floor
function_type = types.FunctionType
none_type = type(None)


@sample
def builtins_as_globals():
    return upper("a"), fromkeys("ab"), floor(2.5), isinstance(square, function_type), none_type


# NumPy.

TABLE = np.arange(6.0).reshape(2, 3)
FORTRAN = np.asfortranarray(TABLE)
GENERATOR = np.random.default_rng(4)
SCALAR = np.float32(1.5)
DTYPE = np.dtype([("a", "<i4"), ("b", "f8")])
OBJECTS = np.array([1, "a", None], dtype=object)
sine = np.sin


@stateful
def numpy_objects():
    TABLE[0, 0] = 7
    return (
        TABLE.sum(), FORTRAN.tolist(), GENERATOR.integers(100, size=3).tolist(), SCALAR, SCALAR.dtype, DTYPE,
         OBJECTS.tolist(),
        sine(0.0), np.linalg.norm(TABLE), np.zeros(2, DTYPE).tolist(), np.random.RandomState(1).rand(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def answers() -> dict[str, list[Any]]:
    site = str(pathlib.Path(np.__file__).parents[1])
    programs = [walk(f) for f in SAMPLES]
    found = in_guest([p.carrier for p in programs], site)
    return {p.name: [*a, sorted(p.classes)] for p, a in zip(programs, found, strict=True)}


@pytest.mark.parametrize("function", SAMPLES, ids=lambda f: f.__name__)
def test_rebuilt_gives_what_the_original_gives_every_time(function, answers):
    first, second, mutable, classes, here = answers[function.__name__]
    expected = repr(function()).replace(f"{__name__}.", "__program__.")
    assert first == expected
    assert second == expected, "a second build sees what the first left behind"
    assert mutable == (function.__name__ in STATEFUL)
    assert set(here) <= set(classes)
