"""Exit codes: what a script that calls `talkoot` can tell from them."""

from typing import Final

from talkoot.core.errors import BadInput, HubUnreachable, NotFound, Refused, TalkootError

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
NOT_FOUND: Final = 4
UNREACHABLE: Final = 5
INTERRUPTED: Final = 130

MEANING: Final = {
    DONE: "done",
    FAILED: "failed",
    USAGE: "used wrongly, or given what cannot be used",
    REFUSED: "refused: you may not, or are not believed",
    NOT_FOUND: "there is no such hub, job or device",
    UNREACHABLE: "the hub does not answer",
    INTERRUPTED: "interrupted with Ctrl-C",
}
_CODES: Final[tuple[tuple[type[TalkootError], int], ...]] = (
    (BadInput, USAGE),
    (Refused, REFUSED),
    (NotFound, NOT_FOUND),
    (HubUnreachable, UNREACHABLE),
)


def code_of(error: TalkootError) -> int:
    """The exit code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)
