"""Reaching a hub in the name of who types, as every verb but `up`, `doctor` and `demo` does."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from talkoot.core.errors import BadInput
from talkoot.core.ids import JobId, parse_job
from talkoot.sdk.connect import choose
from talkoot.wire.client import Client
from talkoot.wire.home import Home, KnownHub


@dataclass(frozen=True, slots=True)
class Reached:
    """A hub, and a client that signs with the person's key."""

    home: Home
    known: KnownHub
    client: Client


@contextlib.contextmanager
def reach(which: str | None) -> Iterator[Reached]:
    """The hub that is meant (otherwise that of TALKOOT_HUB, or the one used last). Raises NotFound when there is none."""
    home = Home()
    known = choose(home, which)
    with Client(known.address, known.key, home.person()) as client:
        yield Reached(home, known, client)


def read_job(text: str) -> JobId:
    """The job that somebody typed. Raises BadInput."""
    try:
        return parse_job(text.strip().lower())
    except ValueError:
        raise BadInput(
            f"{text[:60]!r} is not the id of a job", hint="It looks like job_ and 26 letters; `talkoot jobs` lists them."
        ) from None
