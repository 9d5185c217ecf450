"""Money: integers of micro-units, and what an attempt may cost and does cost.

A credit is 1,000,000 microcredits. A core-second is a second of wall time, as the node's agent saw it, times
the CPUs the task had. What is accepted is paid at the least usage among the answers that the verdict accepted,
so that nobody gains by claiming more than the others.
"""

import math
from collections.abc import Iterable
from typing import Final

from talkoot.core.types import TaskLimits

CREDIT: Final = 1_000_000
DEFAULT_PRICE_MICROCREDITS: Final = 1_000
"""Per core-second."""
DEFAULT_GRANT_MICROCREDITS: Final = 1_000_000 * CREDIT
"""What a new project gets from the treasury."""


def attempt_cap(price_microcredits: int, task_limits: TaskLimits) -> int:
    """Most that one attempt can cost: reserved in the job's escrow while it is unsettled."""
    core_ms = math.ceil(task_limits.time_s * 1000) * task_limits.cpus
    return -(-core_ms * price_microcredits // 1000)


def payment(price_microcredits: int, core_ms: Iterable[int], cap: int) -> int:
    """What each accepted attempt is paid, from the usages that the accepted receipts state."""
    least = max(0, min(core_ms, default=0))
    return min(cap, least * price_microcredits // 1000)


def credits_text(microcredits: int) -> str:
    """`1,234.5678` credits, without trailing zeros."""
    sign = "-" if microcredits < 0 else ""
    whole, part = divmod(abs(microcredits), CREDIT)
    decimals = f".{part:06d}".rstrip("0").rstrip(".")
    return f"{sign}{whole:,}{decimals}"
