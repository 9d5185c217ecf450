"""What a person keeps on a device: their key, and the hubs they know. One folder, `TALKOOT_HOME`.

    keys/person.key          the person's key; who has it is them
    keys/node-<hub>.key      the key of this device, as lent to a hub (12 letters of the hub's key)
    hubs.json                the hubs known here, the one to use first at the top

Nothing in it but the keys is secret.
"""

import os
import tempfile
from pathlib import Path

import msgspec

from talkoot.core.errors import BadInput, NotFound
from talkoot.core.ids import key_text
from talkoot.crypto.keys import SigningKey
from talkoot.wire.address import parse_address

MAX_KNOWN_HUBS = 1_000


class KnownHub(msgspec.Struct, frozen=True):
    """A hub as remembered."""

    address: str
    hub: str
    """Its public key, in hexadecimal."""
    name: str = ""
    project: str = "default"

    @property
    def key(self) -> bytes:
        """The hub's public key."""
        return bytes.fromhex(self.hub)


def default_home() -> Path:
    """`TALKOOT_HOME`, or `talkoot` in the user's data folder (XDG base directory specification)."""
    chosen = os.environ.get("TALKOOT_HOME")
    if chosen:
        return Path(chosen)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "talkoot"


class Home:
    """The folder of one person on one device. Created with mode 0700 when something is first written."""

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path) if path is not None else default_home()

    def person(self) -> SigningKey:
        """The person's key; made at the first use."""
        return SigningKey.load_or_create(self.path / "keys" / "person.key")

    def node(self, hub: bytes, name: str = "") -> SigningKey:
        """The key of this device for a hub; `name` tells several nodes on one device apart."""
        return SigningKey.load_or_create(self.node_path(hub, name))

    def node_path(self, hub: bytes, name: str = "") -> Path:
        """Where that key is kept, once there is one."""
        suffix = f"-{name}" if name else ""
        return self.path / "keys" / f"node-{key_text(hub)[-12:]}{suffix}.key"

    def node_names(self, hub: bytes) -> list[str]:
        """Under which names this device has a key for a hub; the empty name is that of one without."""
        start = f"node-{key_text(hub)[-12:]}"
        stems = sorted(path.stem.removeprefix(start) for path in (self.path / "keys").glob(f"{start}*.key"))
        return [stem.removeprefix("-") for stem in stems]

    def hubs(self) -> list[KnownHub]:
        """The hubs known here, the one to use first at the top. Raises `BadInput` when the file is damaged."""
        file = self.path / "hubs.json"
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            return []
        try:
            return msgspec.json.decode(data, type=list[KnownHub])
        except msgspec.MsgspecError as error:
            raise BadInput(f"{file} cannot be read: {error}", hint="mend it, or remove it and join again") from None

    def remember(self, hub: KnownHub) -> None:
        """Put a hub at the top of the list. The file is replaced in one step."""
        others = [known for known in self.hubs() if known.hub != hub.hub]
        self._write([hub, *others][:MAX_KNOWN_HUBS])

    def forget(self, hub: bytes) -> None:
        """Take a hub off the list."""
        self._write([known for known in self.hubs() if known.key != hub])

    def find(self, which: str | None = None) -> KnownHub:
        """The hub with this address, name or key (its first letters); without a choice, the first one known.

        Raises `NotFound` with what to do.
        """
        hubs = self.hubs()
        if which is None:
            if hubs:
                return hubs[0]
            raise NotFound(
                "no hub is known here",
                hint="start one with `talkoot up`, or join one with the ticket somebody gave you: `talkoot join TICKET`",
            )
        wanted = which.rstrip("/")
        if wanted.startswith("http"):
            parse_address(wanted)
        for hub in hubs:
            if wanted in (hub.address, hub.name) or (len(wanted) >= 8 and hub.hub.startswith(wanted)):
                return hub
        names = ", ".join(hub.name or hub.address for hub in hubs) or "none"
        raise NotFound(f"no hub {which!r} is known here", hint=f"known: {names}; join it with a ticket first")

    def _write(self, hubs: list[KnownHub]) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = msgspec.json.format(msgspec.json.encode(hubs), indent=2)
        handle, name = tempfile.mkstemp(dir=self.path, prefix=".hubs-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path / "hubs.json")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
