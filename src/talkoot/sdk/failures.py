"""From a task that has no value to the exception that is raised where its answer is taken."""

import builtins
import functools
from typing import Any, Final

import msgspec

from talkoot.core import codec, ids
from talkoot.core.errors import CodecError, JobCancelled, NotDeterministic, TaskFailed, TaskKilled, TaskRaised
from talkoot.core.types import KillReason, Note
from talkoot.sdk.program import Program
from talkoot.wire import messages

_KILLED: Final = {
    KillReason.MEMORY: "Give it more (memory=), or let each task do less.",
    KillReason.TIME: "Give it longer (time_s=), or let each task do less.",
    KillReason.SCRATCH: "Give it more room for files (scratch=), or write less.",
    KillReason.PROCESSES: "Start fewer processes and threads in a task.",
    KillReason.CRASHED: "Run the function here with the same arguments: it ends its own process, or native code in it fails.",
    KillReason.ANSWER_TOO_LARGE: "Return less: a summary, or a part, and split the task.",
}
_NO_LOOP_ENDS: Final = (StopIteration, StopAsyncIteration)
"""Raised inside an iteration they would end it in silence."""
_MAX_FRAMES: Final = 10_000


class RemoteTraceback(Exception):
    """The traceback of a task as text: the cause of what is raised here, so that Python shows it above that."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def read_note(data: bytes) -> Note:
    """What the task said beside its answer; an empty note for one that cannot be read."""
    try:
        return msgspec.msgpack.decode(data, type=Note) if data else Note()
    except (ValueError, RecursionError):
        return Note()


def raised(program: Program, answer: messages.Answer, task: str) -> TaskRaised:
    """The task's own exception: an instance of `TaskRaised`, and of the builtin exception that the task raised.

    Raises CodecError when the answer does not say what was raised.
    """
    said: Any = codec.decode(answer.answer)
    match said:
        case {"type": str(remote_type), "frames": list(frames)} if len(frames) <= _MAX_FRAMES:
            places = [(frame[0], frame[1]) for frame in frames if _is_place(frame)]
        case _:
            raise CodecError(f"{task} raised, but its answer does not say what")
    message = read_note(answer.note).message
    text = program.format_traceback(places, remote_type, message)
    return make_raised(f"{remote_type}: {message}" if message else remote_type, remote_type, message, text)


def make_raised(text: str, remote_type: str, remote_message: str, remote_traceback: str) -> TaskRaised:
    """The exception for a remote one, with the remote traceback as its cause."""
    error = _raised_class(remote_type)(
        text, remote_type=remote_type, remote_message=remote_message, remote_traceback=remote_traceback
    )
    error.__cause__ = RemoteTraceback(remote_traceback)
    return error


def failed(answer: messages.Answer, task: str) -> TaskFailed:
    """Why a task has no answer."""
    if answer.state == "cancelled":
        return JobCancelled(f"{task} was cancelled before it had an answer")
    code, _, words = answer.reason.partition(":")
    words = words.strip()
    if code == "not_deterministic":
        return NotDeterministic(
            f"{task} gives other answers from run to run: {words}",
            hint="Take away what differs: the clock, the order of sets or threads, unseeded generators; or use close(...).",
        )
    if code in _KILLED:
        reason = KillReason(code)
        said = f": {words}" if words else ""
        return TaskKilled(f"{task} was ended ({reason.value.replace('_', ' ')}){said}", hint=_KILLED[reason])
    return TaskFailed(f"{task} has no answer: {words if code == 'input_failed' else answer.reason}")


def task_text(job: bytes, index: int) -> str:
    """How a task is called in messages."""
    return f"task {index} of {ids.job_text(job)}"


def _is_place(frame: object) -> bool:
    return isinstance(frame, list) and len(frame) == 2 and all(type(part) is int and part >= 0 for part in frame)


@functools.lru_cache(maxsize=512)
def _raised_class(remote_type: str) -> type[TaskRaised]:
    """`TaskRaised`, together with the builtin exception of that name, or the nearest base of it that can be made so."""
    builtin = getattr(builtins, remote_type, None)
    if not (isinstance(builtin, type) and issubclass(builtin, Exception) and not issubclass(builtin, _NO_LOOP_ENDS)):
        return TaskRaised
    for base in builtin.__mro__:
        if base is Exception:
            break
        made = type(f"TaskRaised[{base.__name__}]", (TaskRaised, base), {"__module__": "talkoot", "__reduce__": _reduce})
        try:
            made("")
        except TypeError:  # an exception that cannot be made from a message alone
            continue
        return made
    return TaskRaised


def _reduce(error: TaskRaised) -> tuple[Any, ...]:
    text = (error.message, error.remote_type, error.remote_message, error.remote_traceback)
    return make_raised, text
