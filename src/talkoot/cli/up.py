"""`talkoot up`."""

import threading
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from talkoot.cli import words
from talkoot.cli.options import Json
from talkoot.cli.output import compact, print_error, say
from talkoot.cli.person import user_name
from talkoot.core import limits, pricing
from talkoot.core.errors import BadInput, TalkootError
from talkoot.core.ids import key_text
from talkoot.hub.commands.people import DEFAULT_PROJECT, check_name
from talkoot.hub.serve import DEFAULT_PORT, serve
from talkoot.hub.tx import Settings
from talkoot.wire.client import Client, hello
from talkoot.wire.home import Home, KnownHub
from talkoot.wire.messages import Invite, Invited
from talkoot.wire.tickets import read_ticket

MIN_SILENCE_S = 1.0
MAX_SILENCE_S = 24 * 3600.0
MAX_PRICE_CREDITS = 1_000_000.0
DEFAULT_PRICE_CREDITS = pricing.DEFAULT_PRICE_MICROCREDITS / pricing.CREDIT


def up(
    *,
    data: Annotated[Path | None, Parameter(show_default=False)] = None,
    port: Annotated[int, Parameter(help="0 takes one that is free.")] = DEFAULT_PORT,
    host: str = "127.0.0.1",
    name: Annotated[str, Parameter(help="How the hub is called.")] = "hub",
    silence: Annotated[float, Parameter(help="Seconds after which a device that is not heard of loses its tasks.")] = (
        limits.DEFAULT_SILENCE_S
    ),
    price: Annotated[float, Parameter(help="Credits for a core-second.")] = DEFAULT_PRICE_CREDITS,
    json: Json = False,
) -> None:
    """Start a hub here.

    Prints the address of its web page, and a ticket with which somebody can lend a device (good once, for 24 hours; `talkoot
    invite` makes more). You own the hub and its project: `talkoot.connect()` on this device reaches it. Runs until Ctrl-C.
    Everything is kept in the data folder; started on it again, the hub goes on where it was.

    With --json, one line is printed as soon as the hub answers.

    Example: talkoot up --name "our lab"

    Parameters
    ----------
    data
        The folder of the hub. Otherwise `hub` in TALKOOT_HOME.
    host
        Loopback only as long as there is no TLS: any other address is refused.
    """
    settings = _settings(name, silence, price)
    home = Home()
    folder = data or home.path / "hub"

    def ready(address: str) -> None:
        # The hub cannot answer this thread, which is the one that it runs in.
        threading.Thread(target=_announce, args=(home, address, folder, json), daemon=True).start()

    serve(
        folder,
        operator=home.person().public,
        operator_name=user_name(),
        host=host,
        port=port,
        settings=settings,
        ready=ready,
    )
    say("the hub has stopped; what it knows is kept", as_json=json)


def _settings(name: str, silence_s: float, price: float) -> Settings:
    if not MIN_SILENCE_S <= silence_s <= MAX_SILENCE_S:
        raise BadInput(
            f"--silence {silence_s:g}: {MIN_SILENCE_S:g} to {MAX_SILENCE_S:,.0f} seconds are possible",
            hint=f"{limits.DEFAULT_SILENCE_S:g} is a good choice for devices that others lend.",
        )
    if not 0 <= price <= MAX_PRICE_CREDITS:
        raise BadInput(f"--price {price:g} is not a price", hint=f"0 to {MAX_PRICE_CREDITS:,.0f} credits for a core-second.")
    return Settings(check_name(name, "hub"), round(price * pricing.CREDIT), silence_s=silence_s)


def _announce(home: Home, address: str, folder: Path, as_json: bool) -> None:
    try:
        greeting = hello(address)
        home.remember(KnownHub(address, greeting.hub.hex(), greeting.name, DEFAULT_PROJECT))
        with Client(address, greeting.hub, home.person()) as client:
            request = Invite(DEFAULT_PROJECT, "contributor", limits.DEFAULT_TICKET_LIFETIME_S)
            ticket = client.call("/v1/invite", request, Invited).ticket
    except TalkootError as error:  # the hub runs on without it
        print_error(error.code, f"the hub runs, and made no ticket: {error.message}", error.hint, as_json=False)
        return
    expires_ms = read_ticket(ticket, now_ms=0).expires_ms
    if as_json:
        value: dict[str, Any] = {"name": greeting.name, "hub": key_text(greeting.hub), "data": str(folder), "ticket": ticket}
        print(compact({"address": address, "web": address + "/", **value, "ticket_expires_ms": expires_ms}), flush=True)
        return
    say(f"hub {greeting.name!r} is up; its web page is {address}/", as_json=False)
    say(f"its data is kept in {folder}; Ctrl-C stops it", as_json=False)
    say(f"to lend a device, type there (once, until {words.when(expires_ms)}):\n\n  talkoot join {ticket}\n", as_json=False)
