"""Figures as people read them."""

from datetime import datetime

from talkoot.core import confidence, pricing
from talkoot.wire.messages import Progress


def size(count: int) -> str:
    """`1.5 GiB`."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f}".rstrip("0").rstrip(".") + f" {name}"
    return f"{count} bytes"


def when(wall_ms: int) -> str:
    """A time of the hub's clock, as local time."""
    return datetime.fromtimestamp(wall_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def count(number: int, thing: str) -> str:
    """`1 task`, `2 tasks`, `1 copy`, `2 copies`."""
    if number == 1:
        return f"1 {thing}"
    return f"{number:,} {thing[:-1]}ies" if thing.endswith("y") else f"{number:,} {thing}s"


def state(progress: Progress) -> str:
    """The state of a job in a word: whether more tasks may come matters to the machine alone."""
    return "running" if progress.state in ("open", "sealed") else progress.state


def trouble(progress: Progress) -> str:
    """`2 failed, 1 cancelled`, or nothing."""
    counts = {"failed": progress.failed, "cancelled": progress.cancelled}
    return ", ".join(f"{number:,} {what}" for what, number in counts.items() if number)


def sure(progress: Progress) -> str:
    """The least confidence among the answers so far."""
    return confidence.text(progress.confidence_ppm) if progress.final or progress.provisional else "-"


def money(microcredits: int) -> str:
    """`0.5 credits`."""
    return f"{pricing.credits_text(microcredits)} credits"
