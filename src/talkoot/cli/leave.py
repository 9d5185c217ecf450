"""`talkoot leave`."""

from collections.abc import Sequence
from typing import Annotated, Final

from cyclopts import Parameter

from talkoot.cli import seat
from talkoot.cli.options import Json, WhichHub
from talkoot.cli.output import show
from talkoot.cli.reach import Reached, reach
from talkoot.core.errors import BadInput, NotFound
from talkoot.core.ids import key_text
from talkoot.crypto.keys import SigningKey
from talkoot.wire.messages import HubView, Leave, NodeRow, Nothing

_PATIENCE_S: Final = 10.0


def leave(
    *,
    name: Annotated[
        str | None, Parameter(show_default=False, help="Which of several devices lent from here (`talkoot join --name`).")
    ] = None,
    hub: WhichHub = None,
    json: Json = False,
) -> None:
    """Take this device off a hub.

    What it was doing goes back to the hub at once. If `talkoot join` runs here, it stops. What the device earned stays yours,
    and it may join again without a ticket.

    Example: talkoot leave
    """
    with reach(hub) as hub_here:
        key = _key(hub_here, name)
        stopped = seat.stop(hub_here.home, key.public, patience_s=_PATIENCE_S)
        hub_here.client.call("/v1/leave", Leave(key.public), Nothing)
        view = hub_here.client.call("/v1/view/hub", Nothing(), HubView)
    row = next((node for node in view.nodes if node.key == key.public), None)
    told = f"{row.name if row else 'this device'} has left {view.name}"
    if stopped:
        told += "; the process that lent it has stopped"
    show({"left": True, "stopped": stopped, "key": key_text(key.public), "node": row}, told + _earned(row), as_json=json)


def _key(here: Reached, name: str | None) -> SigningKey:
    """The key of the device, which must be there: a new one would leave nothing. Without a name: of the only one lent."""
    home, hub = here.home, here.known.key
    known = home.node_names(hub)
    names = known if name is None else [name] if name in known else []
    if not names:
        raise NotFound(
            "no device was lent to that hub from here" + (f" under the name {name!r}" if name else ""),
            hint=f"There are: {_listed(known)}." if known else "`talkoot join` lends it.",
        )
    if len(names) > 1:
        nodes = here.client.call("/v1/view/hub", Nothing(), HubView).nodes
        lent = {node.key for node in nodes if node.state != "left"}
        names = [each for each in names if home.node(hub, each).public in lent] or names
    if len(names) > 1:
        raise BadInput(f"several devices are lent to that hub from here: {_listed(names)}", hint="Say which with --name.")
    return home.node(hub, names[0])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name or 'one without a name (--name "")' for name in names)


def _earned(row: NodeRow | None) -> str:
    if row is None:
        return ""
    from talkoot.cli import words

    return f"; it answered {words.count(row.answered, 'task')} and earned {words.money(row.earned_microcredits)}"
