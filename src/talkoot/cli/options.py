"""The options that several verbs have."""

from typing import Annotated

from cyclopts import Parameter

Json = Annotated[
    bool,
    Parameter(name="--json", negative="", show_default=False, help="Print one JSON value on stdout, and nothing else there."),
]
WhichHub = Annotated[
    str | None,
    Parameter(
        name="--hub",
        show_default=False,
        help="A hub known here: its address, its name, or the first letters of its key. Otherwise TALKOOT_HUB, or the last used.",
    ),
]
