"""What the owner of a device can do where a rung does not work."""

from typing import Final

from talkoot.core.types import Rung

_NAMESPACES: Final = (
    "Allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, on "
    "Ubuntu kernel.apparmor_restrict_unprivileged_userns=0 or a profile); an ordinary container refuses them."
)
_REMEDIES: Final[dict[Rung, str]] = {
    Rung.NAMESPACES: _NAMESPACES,
    Rung.LANDLOCK: (
        "Landlock needs Linux 6.12 (6.2 for a node that is root) with `landlock` in /sys/kernel/security/lsm, "
        "and a container profile that knows it."
    ),
}


def of(rung: Rung, reason: str) -> str:
    """One or two sentences for a rung and the reason why it failed."""
    if rung is Rung.BWRAP:
        missing = "not installed" in reason
        return "Install bubblewrap from the system's packages." if missing else _NAMESPACES
    return _REMEDIES.get(rung, "")
