"""The reference of all verbs, written from the app itself: `docs/reference/cli.md` is its output, and a test compares them.

python -m talkoot.cli.reference > docs/reference/cli.md
"""

import io
from typing import Final

from talkoot.cli import exits
from talkoot.cli.main import VERBS, build_app, general_help

_WIDTH: Final = 100
_INTRODUCTION: Final = """# The command line

`talkoot VERB --help` says the same. This page is written from the program (`python -m talkoot.cli.reference`).

- Every verb takes `--json`: one JSON value on stdout, and nothing else there. `up` and `join`, which run on, print it in one
  line as soon as the hub answers, or the device is lent.
- Errors go to stderr, with what to do next; with `--json` also to stdout, as `{"error": {"code", "message", "hint"}}`.
  The codes are those of the API.
- On a terminal, what takes long has a line that moves; elsewhere there are plain lines.
- What you are is kept in `TALKOOT_HOME` (otherwise `~/.local/share/talkoot`): your key, the keys of your devices, the
  hubs you know. `TALKOOT_HUB` (an address, a name or a ticket) is the hub that is meant where `--hub` does not say it; the
  Python API obeys it too. What a device needs for its work is kept in `TALKOOT_STORE` (otherwise a folder of yours in
  `/var/tmp`).
"""
_DEMO: Final = """### What the demo does where no sandbox works

Strangers' code never runs bare. On a device without a working sandbox each node takes its own owner's jobs only, and the
demo's job is yours: so your own node, the anchor, does all of it, by the rule for own devices, and the three strangers
and the liar get nothing. The answers are still compared with scikit-learn's. But nobody was there to be checked: the
report says so first and loudly, `liar_caught` is false, and the exit code is 1.
"""


def page() -> str:
    """The whole page, in Markdown."""
    codes = "\n".join(f"| {code} | {words} |" for code, words in exits.MEANING.items())
    parts = [
        _INTRODUCTION,
        f"```text\n{general_help()}\n```\n",
        f"## Exit codes\n\n| code | meaning |\n|---|---|\n{codes}\n",
        *(f"## talkoot {verb}\n\n```text\n{_help(verb)}\n```\n" + (f"\n{_DEMO}" if verb == "demo" else "") for verb in VERBS),
    ]
    return "\n".join(parts)


def _help(verb: str) -> str:
    from rich.console import Console

    written = io.StringIO()
    console = Console(file=written, width=_WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
    build_app()([verb, "--help"], console=console)
    return "\n".join(line.rstrip() for line in written.getvalue().strip().splitlines())


if __name__ == "__main__":
    print(page(), end="")
