"""The id of a program: the same wherever and however the same program is run, another where it can answer otherwise."""

import itertools
import os
import pathlib
import subprocess
import sys
import textwrap

import msgspec
import pytest

import talkoot
from talkoot.core import ids
from talkoot.sdk.program import walk

SRC = str(pathlib.Path(talkoot.__file__).parents[1])
SITE = str(pathlib.Path(msgspec.__file__).parents[1])

PROGRAM = '''
{imports}
{comment}
log = logging.getLogger(__name__)
{blank}LIMIT = 10
WORDS = {{"pear", "apple", "fig", "plum"}}
THINGS = {{Fruit("a"), Fruit("b"), Fruit("c")}}

class Color(enum.Enum):
    RED = 1  {comment}
    BLUE = 2

@dataclasses.dataclass
class Inner:
    x: int

@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    inner: Inner = None
    color: Color = Color.RED
    def far(self):
        {comment}
        return self.x > LIMIT

class Base:
    def __init__(self, n):
        self.n = n
    def times(self, k):
        return self.n * k

class Derived(Base):
    def times(self, k):
        return super().times(k) + 1

def adder(n):
    def add(x):
        return x + n
    return add

add_two = adder(2)
tripled = functools.partial(Derived(3).times)
square = lambda x: x * x

@functools.lru_cache
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def even(n):
    return n == 0 or odd(n - 1)

def odd(n):
    return n != 0 and even(n - 1)

def logged(f):
    @functools.wraps(f)
    def wrapper(*args):
        log.debug("called")
        return f(*args)
    return wrapper

@logged
def shout(word):
    """Shouts."""
    return helper.loud(word) + tone("x")

@functools.singledispatch
def kind(x):
    return "thing"

@kind.register
def _(x: int):
    return "int"

def everything(x):
    {comment}
    class Local(Base):
        where = LIMIT
        def get(self): return self.where
    {blank}
    match x:
        case [a, b] if a in {{"one", "two", "three", "four"}}:
            total = 1
        case int():
            total = Local(2).get()
    try:
        from pack.deep import value
        done = add_two(x), fib(5), even(4), shout("a"), kind(x), tripled(2), square(3), WORDS, THINGS
        return f"{{total}} {{value}}", Point(x).far(), done
    finally:
        pass

PARTS = [everything, add_two, Point, Color, Derived, fib, even, shout, kind, tripled, square, Point(1).far]
PARTS += [Derived(2).times, logged]
'''
HELPER = """
import tones
{comment}
PITCH = {pitch}
def loud(word):
    return word.upper() * PITCH
"""
TONES = "FACTOR = {factor}\ndef tone(w):\n    {comment}\n    return w * FACTOR\n"
IMPORTS = [
    "import dataclasses",
    "import enum",
    "import functools",
    "import logging",
    "import helper",
    "from tones import tone",
]
PRINT = """
from talkoot.sdk.program import walk
if {warm}:
    for _ in range(300):
        even(8), square(3), add_two(1), everything(3)
    import typing, inspect, pickle, copy
    typing.get_type_hints(Derived), Derived.__annotations__, inspect.signature(Point), copy.copy(Derived(1)), kind("")
print(" ".join(walk(p).id.hex() for p in PARTS))
"""


def write(folder, *, comment="", blank="", order=0, warm=False, pitch=2, factor=3, swap=("", "")):
    folder.mkdir(parents=True)
    imports = "\n".join([*IMPORTS[order:], *IMPORTS[:order], "from fruit import Fruit"])
    text = PROGRAM.format(imports=imports, comment=comment, blank=blank) + PRINT.format(warm=warm)
    assert swap[0] in text
    (folder / "program.py").write_text(text.replace(*swap))
    (folder / "helper.py").write_text(HELPER.format(comment=comment, pitch=pitch))
    (folder / "tones.py").write_text(TONES.format(comment=comment or "pass", factor=factor).replace("    pass\n", ""))
    (folder / "fruit.py").write_text("class Fruit:\n    def __init__(self, n):\n        self.n = n\n")
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").write_text(blank)
    (folder / "pack" / "deep.py").write_text("from . import near\nfrom .near import value\n")
    (folder / "pack" / "near.py").write_text(f"{comment}\nvalue = 5\n")
    (folder / "test_it.py").write_text("import program\n\ndef test_it():\n    pass\n")
    (folder / "execute.py").write_text("exec(open('program.py').read(), {'__name__': 'elsewhere'})")
    return folder


def printed(folder, *command, seed="0"):
    env = {**os.environ, "PYTHONPATH": f"{SRC}:{SITE}", "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return next(line for line in run.stdout.splitlines() if len(line) > 600).split()


PYTEST = ("-m", "pytest", "-s", "-q", "-p", "no:cacheprovider", "test_it.py")


def test_same_ids_in_every_path_process_and_way_of_running(tmp_path):
    first = write(tmp_path / "one")
    second = write(tmp_path / "two" / "deeper", comment="# a remark", order=3, warm=True)
    third = write(tmp_path / "three", blank="\n\n\n", order=5)
    expected = printed(first, "program.py", seed="1")
    assert len(set(expected)) == len(expected)
    assert printed(first, "-c", "import program", seed="2") == expected
    assert printed(second, "program.py", seed="3") == expected
    assert printed(second, "execute.py", seed="4") == expected
    assert printed(third, "-c", "import program") == expected
    assert printed(third, *PYTEST, seed="5") == expected


CHANGES = {
    "a constant": ({"swap": ("total = 1", "total = 7")}, {0}),
    "a global": ({"swap": ("LIMIT = 10", "LIMIT = 11")}, {0, 2, 11}),
    "the value in a closure": ({"swap": ("adder(2)", "adder(3)")}, {0, 1}),
    "a local function": ({"swap": ("n != 0", "n > 0")}, {0, 6}),
    "a method": ({"swap": ("times(k) + 1", "times(k) + 2")}, {0, 4, 9, 12}),
    "a member": ({"swap": ("BLUE = 2", "BLUE = 4")}, {0, 2, 3, 11}),
    "a docstring": ({"swap": ("Shouts.", "Cries.")}, {0, 7}),
    "a local module used as an object": ({"pitch": 5}, {0, 7}),
    "what a local module imports, and an imported function reads": ({"factor": 4}, {0, 7}),
    "the order of a dictionary does not": ({"swap": ("square(3), WORDS", "square(3), WORDS  ")}, set()),
}


def test_a_change_changes_the_ids_that_depend_on_it_and_no_others(tmp_path):
    base = printed(write(tmp_path / "base"), "program.py")
    for number, (name, (change, differ)) in enumerate(CHANGES.items()):
        changed = printed(write(tmp_path / str(number), **change), "program.py")
        assert {n for n, (a, b) in enumerate(zip(base, changed, strict=True)) if a != b} == differ, name


def test_a_module_of_a_package_imported_in_the_body_counts(tmp_path):
    base = printed(write(tmp_path / "base"), "program.py")
    other = write(tmp_path / "other")
    (other / "pack" / "near.py").write_text("value = 6\n")
    assert {n for n, (a, b) in enumerate(zip(base, printed(other, "program.py"), strict=True)) if a != b} == {0}


# Values.


def program_of(value):
    return walk(lambda: value).id


def compiled(source, name="f", **names):
    space = {"__name__": "made", **names}
    exec(textwrap.dedent(source), space)
    return space[name]


def id_of(source, **names):
    return walk(compiled(source, **names)).id


def test_the_id_is_the_hash_of_the_carrier():
    program = walk(compiled("def f(): return 1"))
    assert program.id == ids.program_id(program.carrier)
    assert program.name == "f"


DISTINCT = [
    1, True, 1.0, 0.0, -0.0, float("nan"), 2**64, str(2**64), b"1", "1", None, (1,), [1], {1}, frozenset({1}),
    {1: 1}, {1: True}, {True: 1}, 1j, complex(-0.0, 1), ..., "\ud800", bytearray(b"1"), range(1), len,
    {"a": 1, "b": 2}, {"b": 2, "a": 1}, [[1], 1], [[1, 1]],
]  # fmt: skip


def test_values_of_another_type_or_order_are_other_programs():
    for one, two in itertools.combinations(DISTINCT, 2):
        assert program_of(one) != program_of(two), (one, two)


def test_constants_that_are_equal_but_not_the_same_differ():
    bodies = ["1", "1.0", "True", "0.0", "-0.0", "(1, 0.0)", "(1, -0.0)", "x in {1, 2}", "x in {1.0, 2}"]
    found = {id_of(f"def f(x=0): return {body}") for body in bodies}
    assert len(found) == len(bodies)


def test_shared_and_copied_lists_are_one_program():
    shared = [1, "x"]
    assert program_of((shared, shared)) == program_of(([1, "x"], [1, "x"]))


def test_shared_and_equal_instances_are_two_programs():
    class Thing:
        pass

    one = Thing()
    assert program_of((one, one)) != program_of((Thing(), Thing()))


def test_nan_is_one_value_whatever_its_bits():
    import struct

    odd = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000123))[0]
    assert program_of(odd) == program_of(float("nan")) == program_of(-float("nan"))


def test_layout_of_an_array_does_not_count_and_its_type_does():
    numpy = pytest.importorskip("numpy")
    table = numpy.arange(6).reshape(2, 3)
    assert program_of(table) == program_of(numpy.asfortranarray(table)) == program_of(table.astype(">i8").astype("i8"))
    assert program_of(table) != program_of(table.astype("i4"))


def test_names_that_are_not_read_do_not_count():
    assert id_of("def f(): return a", a=1, b=2) == id_of("def f(): return a", a=1, b=3, __doc__="x")


def test_attributes_of_an_equal_name_do_not_count():
    assert id_of("def f(x): return x.a", a=1) == id_of("def f(x): return x.a", a=2)


def test_functions_found_by_a_global_of_nested_code_count():
    source = "def f():\n    class A:\n        b = a\n        def g(self): return [c for _ in (1,)]\n    return A"
    base = id_of(source, a=1, c=1)
    assert base != id_of(source, a=2, c=1)
    assert base != id_of(source, a=1, c=2)


def test_a_name_that_is_deleted_or_set_first_is_seen_all_the_same():
    assert id_of("def f():\n    global a\n    del a", a=1) != id_of("def f():\n    global a\n    del a", a=2)


def test_many_names_need_extended_arguments():
    body = "\n".join(f"    y{n} = x{n}" for n in range(300))
    names = {f"x{n}": n for n in range(300)}
    assert id_of(f"def f():\n{body}", **names) != id_of(f"def f():\n{body}", **{**names, "x299": 0})


def test_where_a_class_of_a_body_is_defined_does_not_count():
    method = "        def m(self):\n            self.b = self.c = self.a = 1\n"
    source = "{}def f():\n{}    class A:\n        x = {}\n" + method + "    return A"
    assert id_of(source.format("", "", 3)) == id_of(source.format("\n\n\n\n", "\n", 3))
    assert id_of(source.format("", "", 3)) == id_of(source.format("", "\n", 3)) != id_of(source.format("", "", 4))


def test_the_qualified_name_in_the_body_of_a_local_class_does_not_depend_on_how_it_is_run():
    source = "def f():\n    class A: pass\n    return A.__qualname__"
    assert id_of(source, __name__="__main__") == id_of(source, __name__="a.b")


def test_a_program_is_walked_the_same_after_it_was_used():
    import typing

    class Slotted:
        __slots__ = ("a",)

    class Plain:
        def get(self):
            return Slotted

    before = walk(Plain.get).id, walk(Plain).id
    import copy

    copy.copy(Slotted())
    typing.get_type_hints(Plain)
    _ = Plain.__annotations__
    assert (walk(Plain.get).id, walk(Plain).id) == before
