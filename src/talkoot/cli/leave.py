"""`talkoot leave`."""

from typing import Annotated, Final

from cyclopts import Parameter

from talkoot.cli import seat
from talkoot.cli.options import Json, WhichHub
from talkoot.cli.output import show
from talkoot.cli.reach import reach
from talkoot.core.errors import NotFound
from talkoot.core.ids import key_text
from talkoot.crypto.keys import SigningKey
from talkoot.wire.home import Home
from talkoot.wire.messages import HubView, Leave, NodeRow, Nothing

_PATIENCE_S: Final = 10.0


def leave(
    *,
    name: Annotated[str, Parameter(help="Which of several devices lent from here (`talkoot join --name`).")] = "",
    hub: WhichHub = None,
    json: Json = False,
) -> None:
    """Take this device off a hub.

    What it was doing goes back to the hub at once. If `talkoot join` runs here, it stops. What the device earned stays yours,
    and it may join again without a ticket.

    Example: talkoot leave
    """
    with reach(hub) as hub_here:
        key = _key(hub_here.home, hub_here.known.key, name)
        stopped = seat.stop(hub_here.home, key.public, patience_s=_PATIENCE_S)
        hub_here.client.call("/v1/leave", Leave(key.public, forget=True), Nothing)
        view = hub_here.client.call("/v1/view/hub", Nothing(), HubView)
    row = next((node for node in view.nodes if node.key == key.public), None)
    told = f"{row.name if row else 'this device'} has left {view.name}"
    if stopped:
        told += "; the process that lent it has stopped"
    show({"left": True, "stopped": stopped, "key": key_text(key.public), "node": row}, told + _earned(row), as_json=json)


def _key(home: Home, hub: bytes, name: str) -> SigningKey:
    """The key of the device, which must be there: a new one would leave nothing."""
    if not home.node_path(hub, name).exists():
        raise NotFound(
            "no device was lent to that hub from here" + (f" under the name {name!r}" if name else ""),
            hint="`talkoot join` lends it; --name tells which, where several were lent.",
        )
    return home.node(hub, name)


def _earned(row: NodeRow | None) -> str:
    if row is None:
        return ""
    from talkoot.cli import words

    return f"; it answered {words.count(row.answered, 'task')} and earned {words.money(row.earned_microcredits)}"
