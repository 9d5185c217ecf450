"""How sure an answer is, in parts per million, from who gave it.

The assumption is stated, not hidden: a share `LIAR_SHARE_PPM` of strangers' answers is taken to be wrong, and
wrong answers to be equal (the worst case: liars who cover each other). A group of k equal answers of distinct
owners is then right with (1-f)^k / ((1-f)^k + f^k) (Sarmenta, CCGrid 2001, with the prior in place of spot
checks). Everything is integer arithmetic, so that every machine agrees.
"""

from typing import Final

PPM: Final = 1_000_000
LIAR_SHARE_PPM: Final = 100_000
"""Assumed share of wrong answers among strangers not yet known."""
OWN_PPM: Final = 999_999
"""Confidence in an answer of the submitter's own device, or of an anchor as referee."""


def agreement_ppm(owners: int, *, liar_share_ppm: int = LIAR_SHARE_PPM) -> int:
    """Confidence in an answer that `owners` distinct strangers gave alike (0 owners: 0)."""
    if owners <= 0:
        return 0
    right: int = (PPM - liar_share_ppm) ** owners
    wrong: int = liar_share_ppm**owners
    return min(OWN_PPM, right * PPM // (right + wrong))


def text(ppm: int) -> str:
    """A confidence as people read it: `99.8781 %` without trailing zeros."""
    return f"{ppm / 10_000:.4f}".rstrip("0").rstrip(".") + " %"
