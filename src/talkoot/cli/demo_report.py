"""What the demo says at its end, in words and as JSON, from what the hub and the driver told."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from talkoot.cli import words
from talkoot.cli.output import columns
from talkoot.core import confidence
from talkoot.core.confidence import PPM
from talkoot.core.ids import job_text
from talkoot.core.types import Rung
from talkoot.wire.messages import HubView, JobView


@dataclass
class Outcome:
    """All that is known when the demo is over."""

    page: str
    best: dict[str, Any]
    best_score: float
    wrong: list[int]
    """Tasks whose answer is not plain scikit-learn's."""
    job: JobView
    hub: HubView
    liar: str
    killed: str
    wall_s: float = 0.0
    kept: list[int] = field(default_factory=list)
    folder: str = ""

    @property
    def evidence(self) -> list[str]:
        """What the liar was convicted of."""
        return [conviction.words for conviction in self.hub.convictions if conviction.node == self.liar]

    @property
    def framed(self) -> list[str]:
        """Honest devices that were convicted: there must be none."""
        return [conviction.node for conviction in self.hub.convictions if conviction.node != self.liar]

    @property
    def good(self) -> bool:
        """Every answer right, the liar caught, and nobody else."""
        return not self.wrong and bool(self.evidence) and not self.framed

    @property
    def rung(self) -> str:
        """The weakest sandbox that was in force."""
        order = list(Rung)
        return max((Rung(node.rung) for node in self.hub.nodes), key=order.index, default=Rung.NONE).value


def plain(outcome: Outcome) -> dict[str, Any]:
    """For --json."""
    progress = outcome.job.row.progress
    return {
        "answer_matches_reference": not outcome.wrong,
        "liar_caught": bool(outcome.evidence),
        "tasks": progress.total,
        "attempts": progress.attempts,
        "copies": progress.copies,
        "reruns": progress.reruns,
        "confidence": progress.confidence_ppm / PPM,
        "wall_s": outcome.wall_s,
        "best": outcome.best,
        "accuracy": outcome.best_score,
        "wrong": outcome.wrong,
        "liar": outcome.liar,
        "evidence": outcome.evidence,
        "framed": outcome.framed,
        "killed": outcome.killed,
        "earned": {node.name: node.earned_microcredits for node in outcome.hub.nodes},
        "rung": outcome.rung,
        "job": job_text(outcome.job.row.job),
        "page": outcome.page,
        "kept": outcome.kept,
        "folder": outcome.folder,
    }


def told(outcome: Outcome) -> str:
    """For people."""
    return "\n".join(_lines(outcome))


def _lines(outcome: Outcome) -> Iterator[str]:
    progress = outcome.job.row.progress
    settings = ", ".join(f"{name}={value}" for name, value in outcome.best["settings"].items())
    reruns = f"{words.count(progress.copies, 'copy')}, of them {words.count(progress.reruns, 're-run')}"
    yield ""
    if outcome.rung == Rung.NONE.value:
        yield from _bare()
    yield f"best model   {outcome.best['model'].rpartition('.')[2]}({settings}): accuracy {outcome.best_score:.2%}"
    yield f"answers      {_compared(outcome)}"
    yield f"work         {words.count(progress.total, 'task')}, {words.count(progress.attempts, 'attempt')} ({reruns})"
    yield f"confidence   at least {confidence.text(progress.confidence_ppm)} in every answer"
    yield f"the liar     {_caught(outcome)}"
    yield from (f"{'':13}{line}" for line in outcome.evidence)
    yield from (f"WRONG        {name} is honest, and was convicted" for name in outcome.framed)
    if outcome.killed:
        yield f"killed       {outcome.killed}, half-way; what it was doing went to others"
    yield f"sandbox      {outcome.rung}"
    yield f"time         {outcome.wall_s:.0f} s"
    yield ""
    yield columns([("device", "answers", "accepted", "rejected", "credits", ""), *_earners(outcome)])
    yield ""
    yield from _afterwards(outcome)


def _bare() -> Iterator[str]:
    yield "!! NO SANDBOX WORKS ON THIS DEVICE. Strangers' code never runs bare, so strangers' devices were given nothing:"
    yield "!! your own device did everything, alone and trusted, and no liar could be caught; see `talkoot doctor`."
    yield ""


def _compared(outcome: Outcome) -> str:
    total = outcome.job.row.progress.total
    if not outcome.wrong:
        return f"all {total} are plain scikit-learn's, to the bit"
    places = ", ".join(map(str, outcome.wrong[:10]))
    return f"{len(outcome.wrong)} OF {total} ARE NOT plain scikit-learn's (tasks {places})"


def _caught(outcome: Outcome) -> str:
    return f"{outcome.liar} was caught:" if outcome.evidence else f"{outcome.liar} WAS NOT CAUGHT"


def _earners(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    for node in outcome.hub.nodes:
        earned = words.money(node.earned_microcredits).removesuffix(" credits")
        what = "anchor, of the submitter: not paid" if node.anchor else node.state
        yield (node.name, f"{node.answered:,}", f"{node.accepted:,}", f"{node.rejected:,}", earned, what)


def _afterwards(outcome: Outcome) -> Iterator[str]:
    if not outcome.kept:
        yield f"web page     {outcome.page} (gone with the demo; `talkoot demo --keep` leaves it)"
        return
    yield f"web page     {outcome.page}"
    yield f"use it       TALKOOT_HOME={outcome.folder}/you talkoot jobs"
    yield f"stop it      kill {' '.join(map(str, outcome.kept))}; sleep 3; rm -r {outcome.folder}"
