"""A device that lies, as a program: `python -m talkoot.testing.rogue --lie 0.3 --seed 7 join TICKET --name mallory`.

Everything about it is a real agent's: it runs the tasks in the sandbox, and signs what it reports. Only what it reports is
changed (`testing.liar`). The demo has one; it is of no use to anybody else.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from talkoot.core.errors import TalkootError
from talkoot.core.types import Rung
from talkoot.node.agent import Agent, Moment
from talkoot.node.caps import Caps
from talkoot.node.device import look
from talkoot.node.folder import open_store
from talkoot.node.lending import invited_to, lend
from talkoot.sdk.sizes import parse_size
from talkoot.testing.liar import Liar
from talkoot.wire.home import Home
from talkoot.wire.tickets import read_ticket


def main(arguments: Sequence[str] | None = None) -> int:
    """Join, and lie until stopped or sent away; gives the agent's exit code."""
    given = _parser().parse_args(arguments)
    liar = Liar(given.lie, given.seed)
    try:
        ending = _agent(given, liar)
    except TalkootError as error:
        print(f"rogue: {error}", file=sys.stderr)
        return 1
    print(f"rogue: told {liar.lies} lies; {ending or 'stopped'}", file=sys.stderr)
    return 0


def _agent(given: argparse.Namespace, liar: Liar) -> str:
    home, ticket = Home(), read_ticket(given.ticket, now_ms=time.time_ns() // 1_000_000)
    store = open_store(given.store)
    device = look(store)
    caps = Caps.of(
        cpus=device.cpus,
        memory_bytes=device.memory_bytes,
        disk_free_bytes=device.disk_free_bytes,
        lend_cpus=given.cpus,
        lend_memory_bytes=parse_size(given.memory, "--memory"),
        lend_disk_bytes=parse_size(given.disk, "--disk"),
    )
    lent = lend(home, invited_to(ticket), person=given.name, name=given.name, ticket=ticket)
    agent = Agent(home, lent.known, caps, name=given.name, store=store, on_event=_say_ready, tamper=liar)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: agent.stop())
    return agent.run().reason


def _say_ready(moment: Moment, text: str) -> None:
    """One line on stdout, as `talkoot join --json` has it, when the sandbox was tried."""
    if moment in (Moment.READY, Moment.UNFENCED):
        rung = Rung.NONE.value if moment is Moment.UNFENCED else text.rpartition(" ")[2]
        print(f'{{"rung": "{rung}"}}', flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m talkoot.testing.rogue", description="A device that lies, for the demo.")
    parser.add_argument("--lie", type=float, default=0.3, help="the share of its answers that are lies")
    parser.add_argument("--seed", type=int, default=0, help="decides which, and how")
    join = parser.add_subparsers(required=True).add_parser("join")
    join.add_argument("ticket")
    join.add_argument("--name", default="rogue")
    join.add_argument("--cpus", type=int, default=1)
    join.add_argument("--memory", default="1GiB")
    join.add_argument("--disk", default="1GiB")
    join.add_argument("--store", type=Path, default=None)
    return parser


if __name__ == "__main__":
    sys.exit(main())
