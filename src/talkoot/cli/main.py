"""The command `talkoot`: finds the verb, runs it, and turns what it raises into words and an exit code.

Verbs are loaded when they are used; `talkoot --help` loads none of them, and nothing that is slow to import.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import talkoot
from talkoot.cli import exits
from talkoot.cli.output import print_error

if TYPE_CHECKING:
    from cyclopts import App

VERBS: Final = {
    "up": "Start a hub here.",
    "invite": "Make a ticket that invites somebody to a hub.",
    "join": "Lend this device to a hub, until Ctrl-C.",
    "leave": "Take this device off a hub.",
    "jobs": "List the jobs of your projects.",
    "job": "Show one job: where it is, what it cost, and what happened to its tasks.",
    "cancel": "Cancel a job.",
    "doctor": "Look at what this device can offer, and what it lacks.",
    "demo": "Show it all on this machine: a hub, five devices, one of them a liar.",
}
SUMMARY: Final = "Talkoot: an ordinary Python call, on devices you do not trust, with an answer you can."
_HELP: Final = frozenset({"--help", "-h", "help"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code. Never raises, never shows a traceback for an error of ours."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in _HELP:
        print(general_help())
        return exits.DONE if given else exits.USAGE
    if given == ["--version"]:
        print(talkoot.__version__)
        return exits.DONE
    if given[0] not in VERBS:
        return _unknown(given)
    return _run(given)


def general_help() -> str:
    """What `talkoot --help` prints."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {verb:<{width}}{line}" for verb, line in VERBS.items())
    codes = "\n".join(f"  {code:<{width}}{words}" for code, words in exits.MEANING.items())
    return (
        f"{SUMMARY}\n\nUsage: talkoot VERB ...\n\nVerbs (talkoot VERB --help says more):\n{verbs}\n\n"
        f"Every verb takes --json: one JSON value on stdout, and nothing else there.\n\nExit codes:\n{codes}\n\n"
        "Your key and the hubs you know are kept in TALKOOT_HOME (default: ~/.local/share/talkoot).\n"
        "TALKOOT_HUB is the hub that is meant where --hub does not say it (default: the one used last)."
    )


def build_app() -> "App":
    """The app with all verbs, each loaded when it is first needed."""
    from cyclopts import App

    app = App(
        name="talkoot",
        help=SUMMARY,
        version=talkoot.__version__,
        help_format="markdown",
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        help_on_error=False,
        suppress_keyboard_interrupt=False,
    )
    for verb in VERBS:
        app.command(f"talkoot.cli.{verb}:{verb}", name=verb)
    return app


def _unknown(given: list[str]) -> int:
    import difflib

    close = difflib.get_close_matches(given[0], VERBS, n=1)
    hint = f"Did you mean `talkoot {close[0]}`?" if close else "`talkoot --help` lists the verbs."
    print_error("usage", f"there is no verb {given[0][:60]!r}", hint, as_json="--json" in given)
    return exits.USAGE


def _run(given: list[str]) -> int:
    from cyclopts import CycloptsError

    as_json = "--json" in given
    try:
        code = build_app()(given)
    except CycloptsError as error:
        print_error("usage", str(error), f"`talkoot {given[0]} --help` shows how it is used.", as_json=as_json)
        return exits.USAGE
    except talkoot.TalkootError as error:
        print_error(error.code, error.message, error.hint, as_json=as_json)
        return exits.code_of(error)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads any more (`talkoot jobs | head`); Python must not complain of it at its end
        return exits.FAILED
    return code if isinstance(code, int) else exits.DONE


if __name__ == "__main__":
    sys.exit(main())
