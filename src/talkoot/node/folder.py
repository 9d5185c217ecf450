"""The node's store folder: interpreters, environments and programs, shared by the nodes of one user of the device.

Cells run under other users' ids, so everybody must be able to enter it; keys are never in it. A folder that belongs
to somebody else is refused, for whoever owns it could change what runs.
"""

import os
import stat
from pathlib import Path

from talkoot.core.errors import BadInput, DiskFull
from talkoot.node.sandbox.store import unreachable

_MODE = 0o755


def default_store() -> Path:
    """`TALKOOT_STORE`, or a folder of this user below /var/tmp."""
    chosen = os.environ.get("TALKOOT_STORE")
    return Path(chosen) if chosen else Path(f"/var/tmp/talkoot-{os.geteuid()}")  # noqa: S108 - its owner is checked


def open_store(folder: Path | None = None) -> Path:
    """The folder, made if it is not there. Raises BadInput for one that cannot be used, and DiskFull."""
    folder = (folder or default_store()).absolute()
    try:
        folder.mkdir(mode=_MODE, parents=True, exist_ok=True)
        status = os.lstat(folder)
    except FileExistsError:
        raise BadInput(f"the node's store {folder} is not a folder", hint=_HINT) from None
    except OSError as error:
        raise DiskFull(f"the node's store {folder} cannot be made: {error.strerror}", hint=_HINT) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise BadInput(f"the node's store {folder} is a link, or belongs to another user", hint=_HINT)
    if stat.S_IMODE(status.st_mode) != _MODE:
        os.chmod(folder, _MODE)
    if os.geteuid() == 0 and (problem := unreachable(folder)):
        raise BadInput(problem, hint=_HINT)
    return folder


_HINT = "Choose another: set TALKOOT_STORE to a folder of your own in a place that every user of the device may enter."
