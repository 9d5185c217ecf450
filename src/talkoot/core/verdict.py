"""The rule that turns answers into a verdict: who is right, or what must be asked next.

`judge` is pure: it sees the answers of one task in log order and a little of the pool, and returns one finding.
Answers that differ do not make a liar. The ladder:

1. the same nodes run it again, in a fresh sandbox (a node that differs from itself shows either a program
   that is not deterministic or a node that is not honest; alone it proves neither);
2. another owner in the same numeric class;
3. an anchor as referee, in a fresh sandbox. Its finding decides; where it agrees with nobody it runs once more,
   and if it differs from itself, the program is at fault.

Without an anchor a group of enough distinct owners, larger than any other, decides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from talkoot.core import confidence
from talkoot.core.types import Purpose, Quorum, Trust, Verifier


@dataclass(frozen=True, slots=True)
class Given:
    """One answer that is in."""

    attempt: int
    node: int
    owner: int
    """Account of the node's owner."""
    value: bytes
    """Digest of what is compared."""
    purpose: Purpose
    own: bool
    """The node belongs to the submitter, who trusts it."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What the ladder must know of who could be asked."""

    present: frozenset[int]
    """Nodes that can be asked to run it again."""
    other_owner: bool
    """Somebody eligible has not answered this task yet."""
    anchor: bool
    """An eligible anchor is present."""


@dataclass(frozen=True, slots=True)
class Accept:
    """The task is final with the answer of `canonical`."""

    canonical: int
    accepted: tuple[int, ...]
    rejected: tuple[int, ...]
    confidence_ppm: int
    convictable: tuple[tuple[int, int], ...] = ()
    """(rejected attempt, referee's attempt): the wrong answers that a referee's finding proves."""


@dataclass(frozen=True, slots=True)
class Want:
    """One more attempt is needed."""

    purpose: Purpose
    node: int = 0
    """Only this node can give it (0: any)."""


@dataclass(frozen=True, slots=True)
class More:
    """No verdict yet: these attempts are wanted. `disputed` when answers differ."""

    wants: tuple[Want, ...]
    disputed: bool
    confidence_ppm: int
    """In the first answer, as things stand."""
    canonical: int
    words: str = ""
    """Why it cannot go on, when nobody can be asked."""


@dataclass(frozen=True, slots=True)
class Unsteady:
    """The program gives other answers from run to run on one device."""

    words: str


Finding = Accept | More | Unsteady
Same = Callable[[int, int], bool]
"""Whether the answers of two attempts are the same, by the verifier's comparator."""

UNSTEADY: Final = "run again on the same node, it gave another answer"


def judge(verifier: Verifier, answers: Sequence[Given], pool: Pool, same: Same) -> Finding:
    """The finding on the answers so far (at least one)."""
    copies = verifier.copies if isinstance(verifier, Quorum) else 1
    if isinstance(verifier, Trust) and len(answers) == 1:
        first = answers[0]
        sure = confidence.OWN_PPM if first.own else confidence.agreement_ppm(1)
        return Accept(first.attempt, (first.attempt,), (), sure)
    if all(same(answers[0].attempt, other.attempt) for other in answers[1:]):
        return _agreed(answers, copies)
    return _ladder(answers, copies, pool, same)


def _agreed(answers: Sequence[Given], copies: int) -> Finding:
    first = answers[0]
    everyone = tuple(a.attempt for a in answers)
    if any(a.own or a.purpose is Purpose.REFEREE for a in answers):
        return Accept(first.attempt, everyone, (), confidence.OWN_PPM)
    owners = len({a.owner for a in answers})
    sure = confidence.agreement_ppm(owners)
    if owners >= copies:
        return Accept(first.attempt, everyone, (), sure)
    return More((Want(Purpose.COPY),) * (copies - owners), False, sure, first.attempt)


def _ladder(answers: Sequence[Given], copies: int, pool: Pool, same: Same) -> Finding:
    referees = [a for a in answers if a.purpose is Purpose.REFEREE]
    if referees:
        return _refereed(answers, referees, same)
    originals = [a for a in answers if a.purpose is not Purpose.RERUN] or list(answers)
    reruns = {a.node: a for a in answers if a.purpose is Purpose.RERUN}
    canonical = originals[0].attempt
    askable = [a.node for a in originals if a.node not in reruns and a.node in pool.present]
    sure = _standing(originals, same)
    if askable:
        wants = tuple(Want(Purpose.RERUN, node) for node in dict.fromkeys(askable))
        return More(wants, True, sure, canonical)
    owners = {a.owner for a in originals}
    if len(owners) < 3 and pool.other_owner:
        return More((Want(Purpose.COPY),), True, sure, canonical)
    if pool.anchor:
        return More((Want(Purpose.REFEREE),), True, sure, canonical)
    unsteady = [a for a in originals if a.node in reruns and not same(a.attempt, reruns[a.node].attempt)]
    if len(unsteady) == len([a for a in originals if a.node in reruns]) > 1:
        return Unsteady(f"on each of {len(unsteady)} nodes, {UNSTEADY}")
    return _majority(answers, originals, copies, pool, same, sure)


def _refereed(answers: Sequence[Given], referees: Sequence[Given], same: Same) -> Finding:
    last = referees[-1]
    right = [a for a in answers if same(a.attempt, last.attempt)]
    supported = any(a.owner != last.owner or a.purpose is not Purpose.REFEREE for a in right)
    confirmed = len(referees) > 1 and same(referees[0].attempt, last.attempt)
    if not supported and not confirmed:
        if len(referees) > 1:
            return Unsteady(f"an anchor ran it twice and got two answers; on other nodes too, {UNSTEADY}")
        return More((Want(Purpose.REFEREE),), True, 0, answers[0].attempt)
    good = {a.attempt for a in right}
    wrong = [a for a in answers if a.attempt not in good]
    return Accept(
        canonical=right[0].attempt,
        accepted=tuple(a.attempt for a in right),
        rejected=tuple(a.attempt for a in wrong),
        confidence_ppm=confidence.OWN_PPM,
        convictable=tuple((a.attempt, last.attempt) for a in wrong if a.node in _proven(answers, wrong, same)),
    )


def _proven(answers: Sequence[Given], wrong: Sequence[Given], same: Same) -> frozenset[int]:
    """Nodes whose wrong answer is theirs and not the program's: run again, it was the same, and nobody wavered.

    A program that tosses a coin would convict the honest otherwise, and whoever submits one could frame anybody.
    """
    reruns = {a.node: a for a in answers if a.purpose is Purpose.RERUN}
    originals = [a for a in answers if a.purpose is not Purpose.RERUN]
    if any(a.node in reruns and not same(a.attempt, reruns[a.node].attempt) for a in originals):
        return frozenset()
    return frozenset(a.node for a in wrong if a.node in reruns and a.purpose is not Purpose.REFEREE)


def _groups(originals: Sequence[Given], same: Same) -> list[list[Given]]:
    """For each answer, those that are the same as it (itself included): equality need not be transitive."""
    return [[b for b in originals if same(a.attempt, b.attempt)] for a in originals]


def _standing(originals: Sequence[Given], same: Same) -> int:
    """What is left of the confidence in the first answer when others speak against it."""
    owners_for = {a.owner for a in originals if same(originals[0].attempt, a.attempt)}
    against = {a.owner for a in originals} - owners_for
    return confidence.agreement_ppm(len(owners_for) - len(against)) if len(owners_for) > len(against) else 0


def _majority(answers: Sequence[Given], originals: Sequence[Given], copies: int, pool: Pool, same: Same, sure: int) -> Finding:
    own = [a for a in originals if a.own]
    if own:
        return _accept_with(answers, own[0], same, confidence.OWN_PPM)
    sizes = [len({b.owner for b in group}) for group in _groups(originals, same)]
    best = max(range(len(originals)), key=lambda i: (sizes[i], -i))
    others = [sizes[i] for i in range(len(originals)) if not same(originals[best].attempt, originals[i].attempt)]
    against = max(others, default=0)
    if sizes[best] >= max(copies, 2) and sizes[best] > against:
        return _accept_with(answers, originals[best], same, confidence.agreement_ppm(sizes[best] - against))
    if pool.other_owner:
        return More((Want(Purpose.COPY),), True, sure, originals[0].attempt)
    words = "answers differ, and neither another owner nor an anchor is here to decide"
    return More((Want(Purpose.REFEREE),), True, sure, originals[0].attempt, words)


def _accept_with(answers: Sequence[Given], chosen: Given, same: Same, sure: int) -> Accept:
    right = tuple(a.attempt for a in answers if same(chosen.attempt, a.attempt))
    return Accept(right[0], right, tuple(a.attempt for a in answers if a.attempt not in right), sure)
