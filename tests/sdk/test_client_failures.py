import pickle
import traceback

import pytest

import talkoot
from talkoot.core.errors import from_code
from talkoot.sdk.failures import failed, make_raised
from talkoot.wire.messages import Answer


def raised(name):
    return make_raised(f"{name}: it went wrong", name, "it went wrong", f"Traceback ...\n{name}: it went wrong\n")


@pytest.mark.parametrize("kind", [ValueError, KeyError, OSError, FileNotFoundError, ZeroDivisionError, ImportError, SyntaxError])
def test_the_builtin_exception_of_the_task_can_be_caught(kind):
    error = raised(kind.__name__)
    assert isinstance(error, kind)
    assert isinstance(error, talkoot.TaskRaised)
    assert str(error) == f"{kind.__name__}: it went wrong"


def test_an_exception_that_takes_more_than_a_message_is_its_nearest_base():
    assert isinstance(raised("UnicodeDecodeError"), UnicodeError)
    assert type(raised("ExceptionGroup")) is talkoot.TaskRaised


@pytest.mark.parametrize("name", ["StopIteration", "KeyboardInterrupt", "SystemExit", "print", "MyError", "BaseException"])
def test_nothing_that_ends_a_loop_or_the_program_is_raised_for_a_task(name):
    assert type(raised(name)) is talkoot.TaskRaised


def test_python_shows_the_remote_traceback_above():
    shown = "".join(traceback.format_exception(raised("ValueError")))
    assert shown.index("Traceback ...") < shown.index("direct cause") < shown.index("TaskRaised[ValueError]: ValueError: it went")


def test_it_can_be_pickled_and_is_never_made_from_a_code():
    copy = pickle.loads(pickle.dumps(raised("ValueError")))
    assert isinstance(copy, ValueError)
    assert copy.remote_message == "it went wrong"
    assert type(from_code("task_raised", "x")) is talkoot.TaskRaised


@pytest.mark.parametrize(
    ("state", "reason", "kind", "words"),
    [
        ("cancelled", "the job was cancelled", talkoot.JobCancelled, "cancelled before"),
        ("failed", "memory: more than 1 GiB", talkoot.TaskKilled, "(memory): more than 1 GiB"),
        ("failed", "answer_too_large: 2 MiB", talkoot.TaskKilled, "answer too large"),
        ("failed", "not_deterministic: on each of 2 nodes", talkoot.NotDeterministic, "on each of 2 nodes"),
        ("failed", "input_failed: task 3 has no answer", talkoot.TaskFailed, "task 3 has no answer"),
        ("failed", "it was handed out 12 times without a verdict", talkoot.TaskFailed, "12 times"),
        ("failed", "environment: numpy 9 does not exist", talkoot.TaskFailed, "numpy 9"),
    ],
)
def test_why_a_task_has_no_answer_is_told(state, reason, kind, words):
    error = failed(Answer(0, state, None, b"", b"", 0, 0, 1, False, reason), "task 0")
    assert type(error) is kind
    assert words in error.message
