"""What the parts of a node tell each other: what happened (events), what to do (instructions), what to send."""

from dataclasses import dataclass
from typing import Final

from talkoot.wire.messages import AnswerData, LeaseItem

_WORK_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt."""

    job: bytes
    item: LeaseItem
    cpus: int = 1
    lease: int = 0

    @property
    def attempt(self) -> int:
        """Its number at the hub."""
        return self.item.attempt

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        return len(self.item.arguments) + sum(map(len, self.item.inputs)) + _WORK_BYTES


@dataclass(frozen=True, slots=True)
class Report:
    """An encoded receipt, and the answer that belongs to it."""

    receipt: bytes
    answer: AnswerData
    work: Work | None = None
    """What was run; None where it was refused."""

    @property
    def size_bytes(self) -> int:
        """About what it takes in a request."""
        return len(self.receipt) + len(self.answer.answer) + len(self.answer.note)


# Events.


@dataclass(frozen=True, slots=True)
class Replied:
    """The hub answered the exchange of a channel."""

    channel: str
    leased: tuple[Work, ...] = ()
    cancels: tuple[int, ...] = ()
    accepted: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WentUnanswered:
    """No answer came to the exchange of a channel: what it carried has to be sent again."""

    channel: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A slot is done with an attempt; there is no report of one that was cancelled."""

    attempt: int
    report: Report | None
    took_s: float
    """Run time of the task; 0 where it did not run."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The hub will never take this receipt: the attempt is refused instead, or else handed back."""

    attempt: int


@dataclass(frozen=True, slots=True)
class JobRefused:
    """Nothing of the job can be run here (a code of `KillReason`, a colon, and words), or not now: `again`."""

    job: bytes
    reason: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """The hub took this node for gone: what waits here was given to others."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The node leaves: nothing more is taken, and all that runs ends."""


Event = Replied | WentUnanswered | Ended | Rejected | JobRefused | Lost | Ticked | Stopped


# Instructions.


@dataclass(frozen=True, slots=True)
class Start:
    """A slot runs an attempt."""

    slot: int
    work: Work


@dataclass(frozen=True, slots=True)
class Empty:
    """A slot lends its share of the device to another: it keeps nothing warm."""

    slot: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End an attempt that runs; `Ended` without a report follows."""

    slot: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Make receipts of refusal for these; `Ended` follows for each."""

    works: tuple[Work, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Talk:
    """There is something for the channels to send."""


Instruction = Start | Empty | Kill | Refuse | Talk


@dataclass(frozen=True, slots=True)
class Draft:
    """What a channel should send now."""

    want: int
    reports: tuple[Report, ...] = ()
    handed_back: tuple[int, ...] = ()
