"""Programs that are easy to get wrong: cycles through classes, hooks, hashes, wrappers, and any plain value."""

import abc
import collections
import dataclasses
import enum
import functools
import sys
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talkoot.node.guest import rebuild
from talkoot.sdk.program import walk


@pytest.fixture
def rebuilt():
    """The rebuilt form of a function, in this process; its modules are gone after the test."""
    loads: list[rebuild.Loaded] = []

    def make(function) -> Any:
        loads.append(rebuild.load(walk(function).carrier))
        return loads[-1].build()

    yield make
    for loaded in loads:
        loaded.close()


def test_class_that_holds_instances_of_itself(rebuilt):
    @dataclasses.dataclass(frozen=True)
    class Point:
        x: int

    Point.ORIGIN = Point(0)
    Point.ALL = {Point(1): "one", Point(2): "two"}
    made = rebuilt(lambda: (Point.ORIGIN, Point.ALL[Point(2)], type(Point.ORIGIN) is Point))
    assert repr(made()[0]).endswith("Point(x=0)")
    assert made()[1:] == ("two", True)


def test_function_that_refers_to_itself_in_its_attributes_and_defaults(rebuilt):
    def f(again=None):
        return f.me is f, again, f.count

    f.me, f.count = f, 3
    assert rebuilt(f)(1) == (True, 1, 3)


def test_hash_that_needs_a_global(rebuilt):
    space = {}
    exec(
        "SALT = [3]\n"
        "class Key:\n"
        "    def __init__(self, n): self.n = n\n"
        "    def __hash__(self): return hash((self.n, SALT[0]))\n"
        "    def __eq__(self, other): return self.n == other.n\n"
        "TABLE = {Key(1): 'a', Key(2): 'b'}\n"
        "def f(n): return TABLE[Key(n)]\n",
        space,
    )
    assert rebuilt(space["f"])(2) == "b"


def test_reduce_that_calls_a_function_with_globals(rebuilt):
    space = {}
    exec(
        "CACHE = {}\n"
        "class One:\n"
        "    def __init__(self, n): self.n = n\n"
        "    def __reduce__(self): return make, (self.n,)\n"
        "def make(n): return CACHE.setdefault(n, One(n))\n"
        "A, B = One(1), One(2)\n"
        "def f(): return A.n, B.n, sorted(CACHE), make(1) is A\n",
        space,
    )
    assert rebuilt(space["f"])() == (1, 2, [1, 2], True)


def test_constructor_that_needs_what_holds_its_own_instance_fails_loudly(rebuilt):
    space = {}
    exec(
        "class One:\n"
        "    def __reduce__(self): return make, ()\n"
        "def make(): return CACHE.setdefault(1, One())\n"
        "CACHE = {1: One()}\n"
        "def f(): return CACHE\n",
        space,
    )
    with pytest.raises(NameError, match="CACHE") as caught:
        rebuilt(space["f"])
    assert "when the program's objects were made" in caught.value.__notes__[0]


def test_hooks_of_the_program_do_not_run_again(rebuilt):
    ran = []

    class Hooked:
        def __init_subclass__(cls, **kw):
            ran.append(cls)

    class Descriptor:
        def __set_name__(self, owner, name):
            ran.append(name)
            self.name = name

        def __get__(self, instance, owner):
            return self.name

    class Under(Hooked):
        field = Descriptor()

    class Meta(type):
        def __init__(cls, *args):
            super().__init__(*args)
            ran.append("meta")

        def __setattr__(cls, name, value):
            raise TypeError("closed")

    class Closed(metaclass=Meta):
        value = 1

    before = len(ran)

    def f():
        return Under.field, Closed.value, len(ran)

    assert rebuilt(f)() == ("field", 1, before)


def test_callable_object_that_wraps_a_function_is_the_same_program_wherever_it_was_defined():
    source = """
import functools, logging
class Wrapped:
    def __init__(self, f):
        functools.update_wrapper(self, f)
        self.log = logging.getLogger(__name__)
    def __call__(self, *a):
        return self.__wrapped__(*a)
@Wrapped
def f(x):
    return x + 1
"""
    found = []
    for name in ("__main__", "elsewhere"):
        space = {"__name__": name}
        exec(source, space)
        found.append(walk(space["f"].__call__).id)
    assert found[0] == found[1]


def test_total_ordering_slots_and_super_in_a_dataclass(rebuilt):
    @functools.total_ordering
    @dataclasses.dataclass(slots=True, eq=True)
    class Size:
        n: int

        def __lt__(self, other):
            return self.n < other.n

        def __str__(self):
            return "size " + str(self.n)

    def f():
        return Size(1) >= Size(0), str(Size(2)), hasattr(Size(1), "__dict__")

    assert rebuilt(f)() == (True, "size 2", False)


def test_int_flag_and_enum_with_an_attribute_of_its_own_kind(rebuilt):
    class Mode(enum.IntFlag):
        A = 1
        B = 2

    class Weekday(enum.Enum):
        MONDAY = 1
        SUNDAY = 7

        @property
        def next(self):
            return Weekday.MONDAY if self is Weekday.SUNDAY else Weekday.SUNDAY

    unnamed = Mode(5)

    def f():
        return Mode.A | 2, Mode.B in Mode(3), unnamed.value, Weekday.SUNDAY.next.name, Weekday(7).name

    assert str(rebuilt(f)()) == str(f()).replace("test_program_awkward.", "")


def test_slots_with_a_state_of_its_own(rebuilt):
    class Kept:
        __slots__ = ("a", "b")

        def __init__(self):
            self.a, self.b = 1, lambda: 2

        def __getstate__(self):
            return self.a * 10

        def __setstate__(self, state):
            self.a, self.b = state, None

    kept = Kept()
    assert rebuilt(lambda: (kept.a, kept.b))() == (10, None)


def test_abstract_class_with_registered_classes(rebuilt):
    class Base(abc.ABC):
        @property
        @abc.abstractmethod
        def x(self): ...

    class One:
        pass

    class Two:
        pass

    Base.register(One)
    Base.register(Two)

    def f():
        return issubclass(One, Base), issubclass(Two, Base), issubclass(int, Base), Base.__abstractmethods__

    assert rebuilt(f)() == (True, True, False, frozenset({"x"}))


def test_many_shapes_of_control_flow(rebuilt):
    def f(items):
        out = []
        try:
            for i, (a, *b) in enumerate(items):
                if (n := len(b)) > 1:
                    out.append(f"{i}{a!r:>3}{n:02}")
                else:
                    continue
            else:
                out.append([x for y in items for x in y if x])
            with memoryview(b"abc") as view:
                out.append(bytes(view[1:]))
            try:
                raise ExceptionGroup("g", [ValueError(1), KeyError(2)])
            except* ValueError as group:
                out.append(len(group.exceptions))
            except* KeyError:
                out.append("key")
            while True:
                if len(out) > 3:
                    break
                out.append(0)
            del items[0]
            out.append({**dict.fromkeys("a"), "b": {*items[0]}})
            out.append((lambda *p, q=1, **k: (p, q, k))(1, 2, z=3))
            return out, sum(x * 2 for x in range(2))
        finally:
            out.append("end")

    def items():
        return [(1, 2, 3), ("a", "b"), (0, 0, 0, 0)]

    assert rebuilt(f)(items()) == f(items())


def test_same_name_of_two_classes_stands_for_neither():
    def make():
        @dataclasses.dataclass
        class Same:
            x: int

        return Same

    one, two = make(), make()

    @dataclasses.dataclass
    class Alone:
        x: int

    program = walk(lambda: (one, two, Alone))
    assert list(program.classes.values()) == [Alone]
    loaded = rebuild.load(program.carrier)
    loaded.build()
    assert [cls.__name__ for cls in loaded.classes.values()] == ["Alone"]
    loaded.close()


def test_what_a_call_may_leave_behind_decides_whether_it_is_built_anew():
    state = []
    words = ("a", "b")

    def reads():
        return words

    def appends():
        state.append(1)

    def stores():
        reads.count = 1

    def stores_by_name():
        setattr(reads, "count", 1)  # noqa: B010

    def keeps(x, seen=[]):  # noqa: B006
        return seen

    class Own:
        def __init__(self):
            self.x = 1

    class Counting:
        count = 0

        def __init__(self):
            Counting.count += 1

    expected = {reads: False, appends: True, stores: True, stores_by_name: True, keeps: True, Own: False, Counting: True}
    assert {f: rebuild.load(walk(f).carrier).mutable for f in expected} == expected


def test_two_builds_share_nothing(rebuilt):
    counts = collections.Counter()

    def f():
        counts["x"] += 1
        return dict(counts)

    loaded = rebuild.load(walk(f).carrier)
    one, two = loaded.build(), loaded.build()
    assert (one(), one(), two()) == ({"x": 1}, {"x": 2}, {"x": 1})
    loaded.close()


def test_what_was_built_and_dropped_does_not_stay():
    def f():
        return 1

    loaded = rebuild.load(walk(f).carrier)
    gone = weakref.ref(loaded.build())
    loaded.build()
    import gc

    gc.collect()
    assert gone() is None
    loaded.close()
    assert not [name for name in sys.modules if name.startswith("__program__")]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner), max_leaves=6)
VALUES = st.recursive(
    HASHABLE | st.sets(HASHABLE) | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(HASHABLE, inner, max_size=4),
    max_leaves=12,
)


def same(one, two):
    if type(one) is not type(two):
        return False
    if isinstance(one, float):
        return repr(one) == repr(two)
    if isinstance(one, complex):
        return same(one.real, two.real) and same(one.imag, two.imag)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict):
        return same(list(one), list(two)) and same(list(one.values()), list(two.values()))
    if isinstance(one, set | frozenset):
        return len(one) == len(two)
    return one == two


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_any_plain_value_arrives_as_it_is_and_has_one_id(value):
    program = walk(lambda: value)
    loaded = rebuild.load(program.carrier)
    arrived = loaded.build()()
    loaded.close()
    assert same(arrived, value)
    space = {"arrived": arrived}
    assert walk(eval("lambda: arrived", space)).id == walk(eval("lambda: arrived", {"arrived": value})).id
