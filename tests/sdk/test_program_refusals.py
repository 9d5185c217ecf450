"""What cannot be sent is refused with the path to it and what to do instead."""

import asyncio
import functools
import io
import socket
import sqlite3
import sys
import threading
import weakref

import pytest

from talkoot.core import carrier, limits
from talkoot.core.errors import ProgramError, TooLarge
from talkoot.node.guest import rebuild
from talkoot.sdk.program import walk

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Pool:
    def __init__(self, lock):
        self.lock = lock


def searching(thing):
    """A function called `search` whose global `pool` is the thing."""
    space = {"pool": thing}
    exec("def search(x):\n    return pool\n", space)
    return space["search"]


def refusal(function):
    with pytest.raises(ProgramError) as caught:
        walk(function)
    return caught.value


def test_the_path_to_what_cannot_be_sent():
    error = refusal(searching(Pool(threading.Lock())))
    assert error.message == "search → globals['pool'] → .lock: a _thread.lock cannot be sent"
    assert "Tasks run in processes of their own" in error.hint


def test_paths_through_every_kind_of_thing():
    lock = threading.Lock()

    def closed():
        return lock

    def default(x=lock, *, y=1):
        return x

    def keyword(*, y=lock):
        return y

    def through():
        return closed()

    class Held:
        attribute = lock

    nested = searching([{"a": (1, lock)}])
    name = "test_paths_through_every_kind_of_thing.<locals>."
    expected = {
        closed: f"{name}closed → closure['lock']",
        default: f"{name}default → defaults[0]",
        keyword: f"{name}keyword → defaults['y']",
        through: f"{name}through → closure['closed'] → closure['lock']",
        nested: "search → globals['pool'] → [0] → ['a'] → [1]",
        functools.partial(len, lock): "len → .args[0]",
        searching(Held): "search → globals['pool'] → .attribute",
        lock.acquire: "lock.acquire → [0]",
        searching({1: Pool([lock])}): "search → globals['pool'] → [1] → .lock → [0]",
    }
    for function, path in expected.items():
        assert refusal(function).message.startswith(path + ": a _thread.lock cannot be sent")


async def waits():
    pass


def test_kinds_that_cannot_be_sent():
    with socket.socket() as plug, open(__file__) as file, sqlite3.connect(":memory:") as database:
        coroutine = waits()
        things = {
            "_thread.RLock": threading.RLock(),
            "threading.Thread": threading.Thread(),
            "_io.TextIOWrapper": file,
            "_io.TextIOWrapper ": sys.stdout if type(sys.stdout) is io.TextIOWrapper else file,
            "generator": (i for i in ()),
            "coroutine": coroutine,
            "socket.socket": plug,
            "sqlite3.Connection": database,
            "weakref.ReferenceType": weakref.ref(Pool),
            "weakref.WeakKeyDictionary": weakref.WeakKeyDictionary(),
            "_thread._local": threading.local(),
            "memoryview": memoryview(b"x"),
            "dict_keys": {}.keys(),
            "frame": sys._getframe(),
            "_asyncio.Future": asyncio.Future(loop=asyncio.new_event_loop()),
        }
        for kind, thing in things.items():
            message = str(refusal(searching(thing)))
            assert message.startswith(f"search → globals['pool']: a {kind.strip()} cannot be sent"), message
            assert "\n  " in message, "a hint says what to do"
        coroutine.close()
        things["_asyncio.Future"].get_loop().close()
    database.close()


def test_containers_that_contain_themselves():
    ring = [1]
    ring.append({"again": ring})
    assert refusal(searching(ring)).message == (
        "search → globals['pool'] → [1] → ['again']: a list that contains itself cannot be sent"
    )


def test_values_nested_without_end():
    deep = []
    for _ in range(300):
        deep = [deep]
    assert "nested more than 100 deep" in str(refusal(searching(deep)))


def test_objects_that_are_needed_to_make_themselves():
    class Knot:
        def __reduce__(self):
            return Knot, (self.other,)

    one, two = Knot(), Knot()
    one.other, two.other = two, one
    assert "it is needed to make itself" in str(refusal(searching(one)))


def test_sets_of_things_that_cannot_be_ordered():
    assert "cannot be told apart" in str(refusal(searching({Pool(1), Pool(1)})))
    assert walk(searching({Pool(1), Pool(2)})).id == walk(searching({Pool(2), Pool(1)})).id


def test_copying_that_raises_is_told():
    class Shy:
        def __reduce__(self):
            raise RuntimeError("not me")

    assert "Shy cannot be sent (not me)" in str(refusal(searching(Shy())))


def test_a_client_of_the_hub():
    client = type("Hub", (), {"__module__": "talkoot.sdk.program"})()
    assert "tasks cannot reach the hub" in str(refusal(searching(client)))


def test_classes_that_only_their_source_can_make_again():
    import msgspec

    class Row(msgspec.Struct):
        a: int

    message = str(refusal(searching(Row)))
    assert "Row is made by msgspec" in message
    assert "module of its own" in message


def test_not_a_function():
    assert "int is not callable" in str(refusal(3))


def test_too_large_names_what_is_largest():
    small, large = "y" * 1000, "x" * (limits.MAX_PROGRAM_BYTES + 1)
    with pytest.raises(TooLarge, match=r"largest in it is search → globals\['pool'\]") as caught:
        walk(searching({"a": small, "b": large}))
    assert "as an argument" in str(caught.value)
    numpy = pytest.importorskip("numpy")
    for thing in (numpy.zeros(limits.MAX_PROGRAM_BYTES), bytes(limits.MAX_PROGRAM_BYTES + 1)):
        with pytest.raises(TooLarge, match=r"largest in it is search → globals\['pool'\]"):
            walk(searching(thing))


# What a node refuses.


def test_node_refuses_another_python():
    data = walk(searching(1)).carrier
    other = data.replace(b"\xa4" + PYTHON.encode(), b"\xa43.99", 1)
    with pytest.raises(ProgramError, match=r"made by Python 3\.99, and this is Python 3"):
        rebuild.load(other)


def test_node_refuses_what_is_no_program():
    for data in (b"", b"\xc0", b"\x93\x01\x02\x03", b"\x91" * 100_000, walk(searching(1)).carrier[:-3]):
        with pytest.raises(ProgramError, match="not a program"):
            rebuild.load(data)
    with pytest.raises(ProgramError, match="format 9"):
        rebuild.load(b"\x92\x09\xa43.11")
    with pytest.raises(TooLarge):
        rebuild.load(bytes(limits.MAX_PROGRAM_BYTES + 1))


MALFORMED = [
    [carrier.REF, 7],
    [carrier.REF, -1],
    [99],
    [],
    [carrier.NAME, "json"],
    [carrier.HELPER, "put_into"],
    [carrier.CALL, 1],
    [carrier.DICT, 1],
    [carrier.TUPLE, [carrier.BIG_INT, "zz"]],
]


@pytest.mark.parametrize("form", MALFORMED, ids=str)
def test_node_refuses_a_malformed_value(form):
    made = carrier.Carrier(carrier.FORMAT, PYTHON, form, [], [], [])
    with pytest.raises(ProgramError, match="malformed"):
        rebuild.load(carrier.encode(made)).build()


def test_loading_runs_nothing():
    made = carrier.Carrier(
        carrier.FORMAT,
        PYTHON,
        [carrier.CALL, [carrier.NAME, "builtins", "exit"], [carrier.TUPLE]],
        [],
        [],
        [],
    )
    loaded = rebuild.load(carrier.encode(made))
    assert loaded.mutable is False
    with pytest.raises(SystemExit):
        loaded.build()
