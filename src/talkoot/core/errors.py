"""All errors of Talkoot, in one tree.

    TalkootError
      BadInput                what was given cannot be used; nothing was changed
        CodecError            a value that the codec does not know, or bytes that are not its encoding
        ProgramError          a function that cannot be shipped; says the path to the object that cannot
        RequirementError      a requirement that is refused, or that cannot be satisfied
        TooLarge              beyond a named limit
        TicketError           a ticket that is malformed, expired, used, tampered with, or of another hub
      Refused                 who asks may not, or cannot be believed
        BadSignature
        Replayed
        NotAllowed
        StaleEpoch            the request names an old epoch of the hub; sign again with the new one
      NotFound
      Conflict                the same id with other content; a transition that the life cycle does not have
      InsufficientFunds
      Unavailable             try again later, or elsewhere
        HubUnreachable
        Busy
        DiskFull
        PortInUse
        NoSandbox
      InternalError           the hub's own fault; nothing was changed
      TaskFailed              a task ended without a usable answer; raised where the answer is asked for
        TaskRaised            the task's own exception; has its remote traceback
        TaskKilled            a limit ended it, or it ended its process
        NotDeterministic      the same node got different answers; the program is at fault
        JobCancelled

Every class has a stable `code`, which is what travels over the API. Messages say what happened and the value
that caused it; `hint` says what to do next.
"""

from typing import ClassVar


class TalkootError(Exception):
    """Base of all errors that Talkoot raises on purpose."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class BadInput(TalkootError, ValueError):
    """What was given cannot be used; nothing was changed."""

    code = "bad_input"
    http_status = 400


class CodecError(BadInput):
    """A value that the codec does not know, or bytes that are not a canonical encoding."""

    code = "codec"


class ProgramError(BadInput):
    """A function that cannot be shipped. The message has the path to the object that cannot."""

    code = "program"


class RequirementError(BadInput):
    """A requirement that is refused, or a set of requirements that cannot be satisfied."""

    code = "requirement"


class TooLarge(BadInput):
    """Beyond a named limit."""

    code = "too_large"
    http_status = 413


class TicketError(BadInput):
    """A ticket that is malformed, expired, used, tampered with, or of another hub."""

    code = "ticket"


class Refused(TalkootError):
    """Who asks may not, or cannot be believed."""

    code = "refused"
    http_status = 403


class BadSignature(Refused):
    """A signature that does not verify, or is for another hub, purpose or subject."""

    code = "bad_signature"
    http_status = 401


class Replayed(Refused):
    """A request that was already answered once."""

    code = "replayed"
    http_status = 409


class NotAllowed(Refused):
    """The key is known, but has not the right."""

    code = "not_allowed"


class StaleEpoch(Refused):
    """The request names an epoch that the hub has left; sign again with the epoch in the reply."""

    code = "stale_epoch"
    http_status = 409


class NotFound(TalkootError, LookupError):
    """No such job, task, node, blob."""

    code = "not_found"
    http_status = 404


class Conflict(TalkootError):
    """The same id with other content, or a transition that the life cycle does not have."""

    code = "conflict"
    http_status = 409


class InsufficientFunds(TalkootError):
    """The project has not the credits that the job may cost."""

    code = "insufficient_funds"
    http_status = 402


class Unavailable(TalkootError):
    """Not now; try again later, or elsewhere."""

    code = "unavailable"
    http_status = 503


class HubUnreachable(Unavailable):
    """No answer from the hub's address."""

    code = "hub_unreachable"


class Busy(Unavailable):
    """A queue of the hub is full."""

    code = "busy"


class DiskFull(Unavailable):
    """No room left for what must be kept; nothing was changed."""

    code = "disk_full"
    http_status = 507


class PortInUse(Unavailable):
    """Something else listens on the address."""

    code = "port_in_use"


class NoSandbox(Unavailable):
    """No rung of the sandbox works on this device, and strangers' code never runs bare."""

    code = "no_sandbox"


class InternalError(TalkootError):
    """The hub failed at a request. What it was stands in its own log, and is nobody else's business."""

    code = "internal"

    def __init__(
        self,
        message: str = "the hub failed at this request; nothing was changed",
        *,
        hint: str = "its own log says why: tell its operator",
    ) -> None:
        super().__init__(message, hint=hint)


class TaskFailed(TalkootError):
    """A task ended without a usable answer."""

    code = "task_failed"
    http_status = 200


class TaskRaised(TaskFailed):
    """The task raised. `remote_type`, `remote_message` and `remote_traceback` tell what happened there."""

    code = "task_raised"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        remote_type: str = "",
        remote_message: str = "",
        remote_traceback: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.remote_type = remote_type
        self.remote_message = remote_message
        self.remote_traceback = remote_traceback


class TaskKilled(TaskFailed):
    """A limit ended the task, or it ended its own process."""

    code = "task_killed"


class NotDeterministic(TaskFailed):
    """The same node got different answers from the same inputs: the program is at fault, not the nodes."""

    code = "not_deterministic"


class JobCancelled(TaskFailed):
    """The job was cancelled before this task had an answer."""

    code = "job_cancelled"


def _tree(cls: type[TalkootError]) -> dict[str, type[TalkootError]]:
    found = {cls.code: cls} if "code" in vars(cls) else {}  # a class without a code of its own never travels
    for sub in cls.__subclasses__():
        found |= _tree(sub)
    return found


def from_code(code: str, message: str, hint: str = "") -> TalkootError:
    """The error that a code stands for; an unknown code gives the base class."""
    cls = _tree(TalkootError).get(code, TalkootError)
    return cls(message, hint=hint)
