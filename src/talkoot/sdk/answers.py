"""An answer as the researcher holds it: the value, how sure it is, what it cost, and where it comes from."""

import reprlib
from typing import Any, Final, Generic, TypeVar

from talkoot.core import codec, ids, limits
from talkoot.core import confidence as confidences
from talkoot.core.errors import CodecError, TaskFailed
from talkoot.core.pricing import CREDIT
from talkoot.core.types import Outcome
from talkoot.sdk.connection import Connection
from talkoot.sdk.failures import failed, raised, read_note, task_text
from talkoot.sdk.program import Program
from talkoot.wire import messages
from talkoot.wire.messages import AttemptRow, TaskView, ViewTask

T = TypeVar("T")

MAX_REPR_CHARS: Final = 60


class Answer(Generic[T]):
    """The answer of one task.

    `value` is what the function returned. Where it raised, or has no answer, `error` says why, and `value` raises it.
    """

    __slots__ = ("_connection", "_raw", "_value", "error", "job_id")

    def __init__(self, connection: Connection, job: bytes, program: Program, raw: messages.Answer) -> None:
        self._connection = connection
        self._raw = raw
        self._value: Any = None
        self.job_id = job
        self.error: TaskFailed | CodecError | None = None
        """Why there is no value: what the task raised, or what ended it; None when there is one."""
        try:
            if raw.outcome is Outcome.ANSWERED:
                self._value = _decode(raw.answer, program)
            elif raw.outcome is Outcome.RAISED:
                self.error = raised(program, raw, self.task)
            else:
                self.error = failed(raw, self.task)
        except CodecError as error:
            self.error = CodecError(f"the answer of {self.task} cannot be read: {error.message}", hint=error.hint)
        except Exception as error:  # noqa: BLE001 - hashes, setters and flags of the program's own classes run here
            self.error = CodecError(f"the answer of {self.task} cannot be read: {type(error).__name__}: {error}")
            self.error.__cause__ = error

    @property
    def value(self) -> T:
        """What the function returned. Raises `error` where there is one."""
        if self.error is not None:
            raise self.error
        value: T = self._value
        return value

    @property
    def index(self) -> int:
        """The place of the task in its job: in a map, that of its item."""
        return self._raw.index

    @property
    def job(self) -> str:
        """The id of the job."""
        return ids.job_text(self.job_id)

    @property
    def task(self) -> str:
        """How the task is called in messages."""
        return task_text(self.job_id, self._raw.index)

    @property
    def confidence(self) -> float:
        """How sure it is that the answer is right, from 0 to 1, under the assumption stated in the documentation."""
        return self._raw.confidence_ppm / confidences.PPM

    @property
    def cost(self) -> float:
        """What was paid for it, in credits."""
        return self._raw.cost_microcredits / CREDIT

    @property
    def cost_microcredits(self) -> int:
        """What was paid for it, exactly."""
        return self._raw.cost_microcredits

    @property
    def final(self) -> bool:
        """Whether it is paid and never re-opened; a provisional answer may still change."""
        return self._raw.state == "final"

    @property
    def attempts(self) -> int:
        """How often the task was handed out."""
        return self._raw.attempts

    @property
    def remembered(self) -> bool:
        """Whether the hub knew it already, because the same action was answered before."""
        return self._raw.remembered

    @property
    def stdout(self) -> str:
        """What the task printed (the end of it, where it was much)."""
        return read_note(self._raw.note).stdout.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """What the task wrote to its standard error."""
        return read_note(self._raw.note).stderr.decode(errors="replace")

    @property
    def receipts(self) -> tuple[AttemptRow, ...]:
        """Every attempt that has a receipt: who signed what, and the proof. Asks the hub."""
        return tuple(row for row in self._view().attempts if row.receipt)

    def story(self) -> str:
        """What happened to the task, one line each, oldest first. Asks the hub."""
        return "\n".join(self._view().story)

    def _view(self) -> TaskView:
        return self._connection.ask("/v1/view/task", ViewTask(self.job_id, self._raw.index), TaskView)

    def __repr__(self) -> str:
        what = f"error={self.error!r}" if self.error is not None else f"value={_short.repr(self._value)}"
        shown = what if len(what) <= MAX_REPR_CHARS else what[: MAX_REPR_CHARS - 3] + "..."
        return f"<Answer {self.index}: {shown}, confidence {confidences.text(self._raw.confidence_ppm)}>"


def _decode(data: bytes, program: Program) -> Any:
    if len(data) > limits.MAX_ANSWER_BYTES:
        raise CodecError(f"it has {len(data):,} bytes")
    return codec.decode(data, classes=program.classes)


_short = reprlib.Repr()
_short.maxstring = _short.maxother = MAX_REPR_CHARS
