"""The demo as a whole (slow: about half a minute), and what it is made of."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from talkoot.cli.demo_reference import find_example, same
from talkoot.core import codec
from talkoot.core.types import Outcome
from talkoot.node.sandbox import Run
from talkoot.testing.liar import Liar, twist
from talkoot.wire.messages import LeaseItem

DEMO = [sys.executable, "-m", "talkoot.cli.main", "demo"]
TRUTH = codec.encode({"accuracy": 0.5, "folds": [0.25, 0.75]})


def item(number):
    return LeaseItem(number, number, number.to_bytes(32, "big"), b"", number, (), False)


def answered():
    return Run(Outcome.ANSWERED, TRUTH)


def test_a_liar_lies_in_three_of_ten_answers_and_tells_the_same_lie_again():
    liar, again = Liar(0.3, 7), Liar(0.3, 7)
    told = [liar(item(n), answered()).answer for n in range(40)]
    assert sum(answer != TRUTH for answer in told) == liar.lies == 12
    assert told == [again(item(n), answered()).answer for n in range(40)]
    assert told == [liar(item(n), answered()).answer for n in range(40)]


def test_a_liar_leaves_alone_what_is_no_answer():
    raised = Run(Outcome.RAISED, TRUTH)
    assert Liar(1.0, 0)(item(0), raised) is raised


@pytest.mark.parametrize("value", [1, 0.0, -2.5, [1, 2], (3.0,), {"a": {"b": [0.5, True, "x"]}}])
def test_a_lie_is_an_answer_of_the_same_shape_with_one_number_changed(value):
    lie = codec.decode(twist(codec.encode(value), random.Random(1)))
    assert lie != value
    assert type(lie) is type(value)
    assert codec.encode(lie) == codec.encode(codec.decode(codec.encode(lie)))


@pytest.mark.parametrize("value", ["no number", None, [True], float("nan")])
def test_there_is_no_lie_where_there_is_no_number(value):
    assert twist(codec.encode(value), random.Random(1)) is None


def test_answers_are_compared_to_the_bit():
    right = [{"a": 0.1, "b": [1.0]}, {"a": 0.2, "b": [2.0]}]
    assert same([{"b": [1.0], "a": 0.1}, {"a": 0.2, "b": [2.0]}], right) == []
    assert same([{"a": 0.1, "b": [1.0]}, {"a": 0.2 + 1e-16, "b": [2.0000000000000004]}], right) == [1]
    assert same(right[:1], right) == [0, 1]


def test_the_example_needs_talkoot_alone_to_be_read_and_asks_for_one_version_of_scikit_learn():
    from talkoot.core.requirements import script_requirements

    (requirement,) = script_requirements(find_example().read_text())
    assert requirement.startswith("scikit-learn==")
    program = f"import sys, runpy; runpy.run_path({str(find_example())!r}); assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.slow
def test_the_demo_gives_right_answers_and_catches_the_liar():
    done = subprocess.run([*DEMO, "--json"], capture_output=True, text=True, timeout=200)
    value = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert value["answer_matches_reference"]
    assert value["liar_caught"]
    assert value["evidence"]
    assert value["framed"] == []
    assert value["tasks"] == 40
    assert value["attempts"] >= 40
    assert value["confidence"] > 0.98
    assert value["wall_s"] < 90


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing_behind(number, tmp_path):
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(DEMO, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "five devices" in process.stdout.readline()
    (folder,) = tmp_path.glob("talkoot-demo-*")
    time.sleep(1)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []
    assert [path for path in Path("/proc").glob("[0-9]*/cwd") if _link(path) == str(folder)] == []


def _link(path):
    try:
        return os.readlink(path).removesuffix(" (deleted)")
    except OSError:
        return ""
