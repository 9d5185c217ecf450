"""What a researcher writes for `verify=`: how sure an answer has to be before it counts."""

from talkoot.core.errors import BadInput
from talkoot.core.types import Close, Comparator, Exact, Quorum, Trust, Verifier

MAX_COPIES = 9


def trust() -> Verifier:
    """One answer is enough, whoever gives it."""
    return Trust()


def quorum(copies: int = 2, *, compare: Comparator | None = None) -> Verifier:
    """`copies` devices of different owners must give the same answer; your own devices count as enough alone.

    Same means the same bytes (`exact()`), unless `compare=close(...)` allows for rounding.
    """
    if not isinstance(copies, int) or isinstance(copies, bool) or not 1 <= copies <= MAX_COPIES:
        raise BadInput(f"quorum({copies!r}): 1 to {MAX_COPIES} copies can be asked for")
    compare = Exact() if compare is None else compare
    if not isinstance(compare, Comparator):
        raise BadInput(f"compare={compare!r} is not a comparator", hint="Use talkoot.exact() or talkoot.close(rtol=, atol=).")
    return Quorum(copies, compare)


def exact() -> Comparator:
    """Two answers are the same when their canonical encodings are the same bytes."""
    return Exact()


def close(rtol: float = 1e-9, atol: float = 0.0) -> Comparator:
    """Same when of one shape, and `|a - b| <= atol + rtol * max(|a|, |b|)` in every floating-point number."""
    if not (0 <= rtol < 1 and 0 <= atol < float("inf")):
        raise BadInput(f"close(rtol={rtol!r}, atol={atol!r}): 0 <= rtol < 1 and 0 <= atol are needed")
    return Close(float(rtol), float(atol))
