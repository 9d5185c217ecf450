"""`talkoot demo`."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Final

from cyclopts import Parameter

from talkoot.cli import exits
from talkoot.cli.demo_cast import Actor, ActorFailed, Cast, cast
from talkoot.cli.demo_reference import Reference, find_example, same
from talkoot.cli.demo_report import Outcome, plain, told
from talkoot.cli.options import Json
from talkoot.cli.output import say, show
from talkoot.core.errors import HubUnreachable
from talkoot.core.limits import MAX_PAGE_ROWS
from talkoot.node.folder import open_store
from talkoot.sdk.progress import Display, Track, make_display
from talkoot.wire.client import Client
from talkoot.wire.home import Home
from talkoot.wire.messages import HubView, Invite, Invited, JobRows, JobView, Nothing, ViewJob, ViewJobs

ANCHOR: Final = "your-anchor"
LIAR: Final = "mallory"
VANISHING: Final = "victor"
HONEST: Final = ("ada", "ben")
SILENCE_S: Final = 4.0
LIE_SHARE: Final = 0.3
_SEED: Final = 7
"""Of the liar: with it the second answer is a lie, so that even a short run has one."""
_START_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.25
_PATIENCE_S: Final = 300.0
_LENT: Final = ("--cpus", "1", "--memory", "1GiB", "--disk", "512MiB")
_YOU: Final = "you"


def demo(
    *,
    keep: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Leave hub and honest devices running, and say how to stop them."),
    ] = False,
    json: Json = False,
) -> int:
    """Show it all on this machine: a hub, five devices, one of them a liar.

    Starts a hub and five devices as processes here, each with an owner of its own: yours, which is the project's
    anchor, two honest strangers, one who lies in about 30 % of its answers, and one that is killed half-way. They do a
    search for the best model on handwritten digits (examples/digits_search.py); every answer is then compared with
    plain scikit-learn's.

    Takes about half a minute. Exit code 0 only if every answer is the same to the bit, and the liar was caught. Where
    no sandbox works, strangers are given nothing: your own device does everything alone, no liar can be caught, and the
    exit code is 1.

    Example: talkoot demo --keep
    """
    began = time.monotonic()
    with cast(open_store()) as actors:
        outcome = Demo(actors, quiet=json).run()
        outcome.wall_s = round(time.monotonic() - began, 1)
        if keep:
            actors.stop(but=[a for a in actors.actors if a.name in ("hub", ANCHOR, *HONEST)])
            actors.keep = True
            outcome.kept = [actor.process.pid for actor in actors.actors if actor.process.poll() is None]
            outcome.folder = str(actors.folder)
        show(plain(outcome), told(outcome), as_json=json)
    return exits.DONE if outcome.good else exits.FAILED


@dataclass
class _Hub:
    address: str
    client: Client
    """Signs with the submitter's key."""
    actor: Actor


class Demo:
    """One run of it."""

    def __init__(self, actors: Cast, *, quiet: bool) -> None:
        self._cast = actors
        self._quiet = quiet
        self._example = find_example()
        self._killed: Actor | None = None

    def run(self) -> Outcome:
        """From the first process to what is reported. The actors are still there afterwards."""
        reference = Reference(self._cast, self._example, self._cast.home(_YOU) / "locks")
        hub = self._start_hub()
        with hub.client, self._blaming_the_hub(hub.actor):
            vanishing, rungs = self._start_nodes(hub)
            self._say(f"hub at {hub.address}; five devices have joined, sandbox {', '.join(sorted(rungs))}")
            driver = self._start_driver()
            job = self._watch(hub.client, driver, vanishing)
            result = driver.result()
            self._say("comparing with plain scikit-learn in one process ...")
            right = reference.answers()
            view = hub.client.call("/v1/view/hub", Nothing(), HubView)
        return Outcome(
            page=hub.address + "/",
            best=result["best"],
            best_score=max(score["accuracy"] for score in result["scores"]),
            wrong=same(result["scores"], right),
            job=job,
            hub=view,
            liar=LIAR,
            killed=VANISHING if self._killed else "",
        )

    @contextmanager
    def _blaming_the_hub(self, hub: Actor) -> Iterator[None]:
        """Where the hub does not answer because it ended, say what it said at its end."""
        try:
            yield
        except HubUnreachable:
            if hub.process.poll() is None:
                raise
            raise hub.failed("ended too early") from None

    def _say(self, text: str) -> None:
        say(f"demo: {text}", as_json=self._quiet)

    # Who takes part.

    def _start_hub(self) -> _Hub:
        options = ("--port", str(_free_port()), "--name", "demo", "--silence", str(SILENCE_S))
        actor = self._cast.verb("hub", _YOU, "up", "--json", *options)
        first = actor.first_word(_START_S)
        home = Home(self._cast.home(_YOU))
        known = home.find()
        return _Hub(first["address"], Client(known.address, known.key, home.person()), actor)

    def _start_nodes(self, hub: _Hub) -> tuple[Actor, set[str]]:
        """All five, at once; gives the one that will vanish, and the sandboxes in force."""
        started = {ANCHOR: self._join(ANCHOR, _YOU, self._ticket(hub, "anchor"))}
        for name in (*HONEST, VANISHING):
            started[name] = self._join(name, name, self._ticket(hub, "contributor"))
        started[LIAR] = self._join_liar(self._ticket(hub, "contributor"))
        joined = [actor.first_word(_START_S) for actor in started.values()]
        return started[VANISHING], {word["rung"] for word in joined}

    def _ticket(self, hub: _Hub, role: str) -> str:
        return hub.client.call("/v1/invite", Invite("default", role, 600), Invited).ticket

    def _join(self, name: str, home: str, ticket: str) -> Actor:
        return self._cast.verb(name, home, "join", ticket, "--json", "--name", name, "--person", home, *_LENT)

    def _join_liar(self, ticket: str) -> Actor:
        command = [sys.executable, "-m", "talkoot.testing.rogue", "--lie", str(LIE_SHARE), "--seed", str(_SEED)]
        home = {"TALKOOT_HOME": str(self._cast.home(LIAR))}
        return self._cast.start(LIAR, [*command, "join", ticket, "--name", LIAR, *_LENT], home)

    def _start_driver(self) -> Actor:
        return self._cast.start(
            "driver", [sys.executable, str(self._example), "--json"], {"TALKOOT_HOME": str(self._cast.home(_YOU))}
        )

    # What happens.

    def _watch(self, client: Client, driver: Actor, vanishing: Actor) -> JobView:
        """Show the job until its driver has ended; kill one device when half of the tasks are done."""
        display = make_display(not self._quiet)
        track = display.begin(self._example.stem)
        until = time.monotonic() + _PATIENCE_S
        try:
            while driver.process.poll() is None:
                if time.monotonic() > until:
                    raise ActorFailed(
                        f"the demo's job was not done in {_PATIENCE_S:g} seconds", hint="Is this machine very busy?"
                    )
                view = _newest_job(client)
                if view is not None:
                    self._look(view, vanishing, display, track)
                time.sleep(_LOOK_EVERY_S)
            view = _newest_job(client)
            if view is None:
                raise driver.failed("ended without a job")
            display.show(track, view.row.progress)
            display.end(track)
            return view
        finally:
            display.close()

    def _look(self, view: JobView, vanishing: Actor, display: Display, track: Track) -> None:
        progress = view.row.progress
        display.show(track, progress)
        if self._killed is None and progress.total and 2 * progress.final >= progress.total:
            vanishing.kill()
            self._killed = vanishing
            display.say(f"half of the tasks are done: {VANISHING} was killed and will not come back")


def _newest_job(client: Client) -> JobView | None:
    rows = client.call("/v1/view/jobs", ViewJobs(1), JobRows).jobs
    return client.call("/v1/view/job", ViewJob(rows[0].job, MAX_PAGE_ROWS), JobView) if rows else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
