"""Write docs/reference/lifecycles.md from the transition tables in talkoot.core.lifecycle (a test keeps it current)."""

import ast
import inspect
import sys
from itertools import pairwise
from pathlib import Path

from talkoot.core import lifecycle as lc

TABLES = (
    ("Task", lc.TASK, lc.TaskState, "`queued`, or `waiting` when it takes other tasks' answers or shares its action"),
    ("Attempt", lc.ATTEMPT, lc.AttemptState, "`leased`"),
    ("Lease", lc.LEASE, lc.LeaseState, "`granted`"),
    ("Job", lc.JOB, lc.JobState, "`open`"),
)


def meanings(states: type) -> dict[str, str]:
    """The sentence below each member of an enumeration, where there is one."""
    body = ast.parse(inspect.getsource(states)).body[0].body  # type: ignore[attr-defined]
    found = {}
    for member, text in pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.literal_eval(member.value)] = " ".join(str(text.value.value).split())
    return found


def page() -> str:
    """The whole page."""
    out = [
        "# Life cycles",
        "",
        "Made from the tables in `talkoot/core/lifecycle.py`. An edge that is not here does not exist.",
        "",
    ]
    for name, table, states, first in TABLES:
        said = meanings(states)
        out += [f"## {name}", "", f"Begins as {first}.", "", "| when it is | and was | it becomes |", "|---|---|---|"]
        out += [f"| {old} | {event.replace('_', ' ')} | {new} |" for (old, event), new in table.items()]
        out += ["", *(f"- **{state}**: {words}" for state, words in said.items()), ""]
    return "\n".join(out).rstrip() + "\n"


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference/lifecycles.md").write_text(page())
