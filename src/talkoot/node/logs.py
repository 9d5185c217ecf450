"""The node's log: lines for people on the standard error stream. No keys, no tickets, no content of tasks."""

import logging
import sys
from typing import Any

import structlog


class _Stderr:
    """Whatever the stream is at the time."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


_quiet = False


def only_errors() -> None:
    """Leave out information and warnings: where something else tells them already."""
    global _quiet
    _quiet = True


def _leave_out(_logger: Any, method: str, event: Any) -> Any:
    if _quiet and method in ("debug", "info", "warning", "warn"):
        raise structlog.DropEvent
    return event


log: Any = structlog.wrap_logger(
    structlog.WriteLogger(_Stderr()),  # type: ignore[arg-type]  # it needs no more of a stream than these two
    processors=[
        _leave_out,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
    ],
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    cache_logger_on_first_use=True,
)
