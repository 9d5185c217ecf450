"""A traceback from a node is shown with the caller's own files and lines."""

import sys
import textwrap
import traceback

import pytest

from talkoot.node.guest import rebuild
from talkoot.sdk.program import walk


def inner(x):
    values = [1, 2]
    # a remark that is not sent
    return values[x]


def outer(x):
    helper = lambda y: inner(y)  # noqa: E731

    return max(map(helper, [0, x]))


def frames(program, *args):
    loaded = rebuild.load(program.carrier)
    function = loaded.build()
    try:
        function(*args)
    except Exception as error:
        return loaded.frames_of(error.__traceback__), type(error).__name__, str(error)
    raise AssertionError("it did not raise")


def local_traceback(function, *args):
    try:
        function(*args)
    except Exception as error:
        error.__traceback__ = error.__traceback__.tb_next
        return traceback.format_exc()


def test_it_reads_as_if_it_had_happened_here():
    program = walk(outer)
    assert program.format_traceback(*frames(program, 5)) == local_traceback(outer, 5)


def test_place_of_a_frame():
    program = walk(outer)
    places = [program.source_map.at(*frame) for frame in frames(program, 5)[0]]
    assert [place.function for place in places] == ["outer", "<lambda>", "inner"]
    assert {place.file for place in places} == {__file__}
    assert places[2].text == "return values[x]"
    with pytest.raises(LookupError, match="none has the number 99"):
        program.source_map.at(99, 0)


def test_frames_of_local_modules_and_library_code(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failing_tool.py").write_text("\n\ndef fail(x):\n\n    return 1 / x\n")
    (tmp_path / "failing_main.py").write_text(
        textwrap.dedent("""
        import functools
        import failing_tool
        @functools.lru_cache
        def f(x):
            return functools.reduce(lambda a, b: failing_tool.fail(a), [x, 1])
        """)
    )
    import failing_main

    try:
        program = walk(failing_main.f)
        assert program.format_traceback(*frames(program, 0)) == local_traceback(failing_main.f, 0)
        assert "failing_tool.py" in program.format_traceback(*frames(program, 0))
    finally:
        sys.modules.pop("failing_main")
        sys.modules.pop("failing_tool", None)


def test_exception_without_message_and_numbers_that_do_not_exist():
    program = walk(inner)
    assert program.format_traceback([], "KeyError", "") == "Traceback (most recent call last):\nKeyError\n"
    assert program.format_traceback([(99, 0), (0, 9999)], "E", "m").startswith("Traceback")


def test_a_traceback_can_be_printed_inside_the_guest():
    loaded = rebuild.load(walk(outer).carrier)
    try:
        loaded.build()(5)
    except IndexError:
        text = traceback.format_exc()
    assert 'File "<program>", line 1, in inner' in text
