"""Talkoot: an ordinary Python call, on devices you do not trust, with an answer you can.

    import talkoot

    with talkoot.connect() as hub:
        for answer in hub.map(simulate, parameters):
            print(answer.value, answer.confidence)

Importing the package costs nothing: a name is loaded when it is first used (PEP 562).
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers know the name; importing `typing` for it would cost more than all the rest
if TYPE_CHECKING:
    from talkoot.core.errors import BadInput as BadInput
    from talkoot.core.errors import BadSignature as BadSignature
    from talkoot.core.errors import Busy as Busy
    from talkoot.core.errors import CodecError as CodecError
    from talkoot.core.errors import Conflict as Conflict
    from talkoot.core.errors import DiskFull as DiskFull
    from talkoot.core.errors import HubUnreachable as HubUnreachable
    from talkoot.core.errors import InsufficientFunds as InsufficientFunds
    from talkoot.core.errors import JobCancelled as JobCancelled
    from talkoot.core.errors import NoSandbox as NoSandbox
    from talkoot.core.errors import NotAllowed as NotAllowed
    from talkoot.core.errors import NotDeterministic as NotDeterministic
    from talkoot.core.errors import NotFound as NotFound
    from talkoot.core.errors import PortInUse as PortInUse
    from talkoot.core.errors import ProgramError as ProgramError
    from talkoot.core.errors import Refused as Refused
    from talkoot.core.errors import Replayed as Replayed
    from talkoot.core.errors import RequirementError as RequirementError
    from talkoot.core.errors import StaleEpoch as StaleEpoch
    from talkoot.core.errors import TalkootError as TalkootError
    from talkoot.core.errors import TaskFailed as TaskFailed
    from talkoot.core.errors import TaskKilled as TaskKilled
    from talkoot.core.errors import TaskRaised as TaskRaised
    from talkoot.core.errors import TicketError as TicketError
    from talkoot.core.errors import TooLarge as TooLarge
    from talkoot.core.errors import Unavailable as Unavailable
    from talkoot.sdk.answers import Answer as Answer
    from talkoot.sdk.connect import connect as connect
    from talkoot.sdk.futures import TaskFuture as TaskFuture
    from talkoot.sdk.hub import Hub as Hub
    from talkoot.sdk.mapping import Answers as Answers
    from talkoot.sdk.verify import close as close
    from talkoot.sdk.verify import exact as exact
    from talkoot.sdk.verify import quorum as quorum
    from talkoot.sdk.verify import trust as trust

_ERRORS = (
    *("BadInput", "BadSignature", "Busy", "CodecError", "Conflict", "DiskFull", "HubUnreachable", "InsufficientFunds"),
    *("JobCancelled", "NoSandbox", "NotAllowed", "NotDeterministic", "NotFound", "PortInUse", "ProgramError", "Refused"),
    *("Replayed", "RequirementError", "StaleEpoch", "TalkootError", "TaskFailed", "TaskKilled", "TaskRaised"),
    *("TicketError", "TooLarge", "Unavailable"),
)
_HOMES = {
    **dict.fromkeys(_ERRORS, "talkoot.core.errors"),
    **dict.fromkeys(("close", "exact", "quorum", "trust"), "talkoot.sdk.verify"),
    "Answer": "talkoot.sdk.answers",
    "Answers": "talkoot.sdk.mapping",
    "Hub": "talkoot.sdk.hub",
    "TaskFuture": "talkoot.sdk.futures",
    "connect": "talkoot.sdk.connect",
}

__all__ = sorted([*_HOMES, "__version__"])  # noqa: PLE0605 - the table above is the one list


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return list(__all__)
