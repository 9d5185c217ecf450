"""How uv is asked, and how its refusals are read: command lines and words only, nothing is started here.

Both sides use it: the submitter's, which resolves, and the node's, which installs. A command line holds nothing
from a submitter but the name of a file that we wrote, and the environment variables are the settings of
whoever runs the device, from a list of names; everything else that could steer uv is left out.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from talkoot.core import limits
from talkoot.core.errors import DiskFull, RequirementError, TalkootError, Unavailable

OWNER_SETTINGS: Final = frozenset(
    {
        "HOME",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "UV_CACHE_DIR",
        "UV_DEFAULT_INDEX",
        "UV_FIND_LINKS",
        "UV_INDEX_URL",
        "UV_OFFLINE",
        *("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
        *("all_proxy", "https_proxy", "http_proxy", "no_proxy"),
    }
)
"""The variables that are passed on to uv: where the owner of a device gets packages from, and how."""

_ALWAYS: Final = ("--no-config", "--no-progress", "--no-python-downloads", "--color", "never")
_WHEELS_ONLY: Final = ("--only-binary", ":all:")
_PLAIN: Final = ("--no-header", "--no-annotate")

_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded|\(os error (28|122)\)")
_UNREACHABLE = re.compile(
    r"Failed to fetch|error sending request|Request failed after|network was disabled|client error \(Connect\)"
    r"|operation timed out|dns error"
)
_NOISE = re.compile(r"^(warning:|hint:|Using |Resolved |Prepared |Installed |Downloading | Downloaded | [+~-] )")
_HINT_OF_USE = re.compile(r"^hint: Wheels are available")
_ADDRESS = re.compile(r"[a-z][a-z0-9+]*://[^\s`'\")]+")
_MACHINE_PATH = re.compile(r"(?<![\w/:.@~-])/(?:[\w.@+~-]+/)*[\w.@+~-]+")


def owner_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables, out of `environ`, that uv may see."""
    return {name: environ[name] for name in sorted(OWNER_SETTINGS & environ.keys())}


def resolve_command(uv: str, interpreter: str, script: str) -> list[str]:
    """Resolve the block of a script that we wrote, for the one Python it names and every platform."""
    return [
        *(uv, "export", *_ALWAYS, *_PLAIN, "--no-build", "--format", "requirements.txt"),
        *("--python", interpreter, "--script", script),
    ]


def install_command(uv: str, interpreter: str, target: str, file: str) -> list[str]:
    """Install exactly the hashed packages in `file` into the folder `target`, as copies, wheels only."""
    return [
        *(uv, "pip", "install", *_ALWAYS, *_WHEELS_ONLY, "--require-hashes", "--no-deps", "--link-mode", "copy"),
        *("--python", interpreter, "--target", target, "-r", file),
    ]


def failure(what: str, returncode: int, stderr: str, *, hide: Iterable[str] = ()) -> TalkootError:
    """The error that uv's exit stands for: the lock's fault, the network's, the disk's, or uv's own.

    `hide` are folders that are taken out of uv's words; addresses and other paths are taken out as well, since
    a node's words travel to others.
    """
    reason = readable_reason(stderr, hide=hide)
    if _DISK_FULL.search(stderr):
        return DiskFull(f"{what}: no room left on the disk", hint="Free some space, then try again.")
    if "UnknownIssuer" in stderr:
        return Unavailable(
            f"{what}: the package index cannot be reached: {reason}",
            hint="Its certificate is of an authority that uv does not know (a proxy's, perhaps): set SSL_CERT_FILE to this "
            "device's file of authorities, such as /etc/ssl/certs/ca-certificates.crt.",
        )
    if _UNREACHABLE.search(stderr) and "Hash mismatch" not in stderr:
        return Unavailable(
            f"{what}: the package index cannot be reached: {reason}",
            hint="Try again when there is a connection, or set UV_DEFAULT_INDEX or UV_FIND_LINKS on this device.",
        )
    if returncode in (1, 2):
        return RequirementError(f"{what}: {reason}")
    return Unavailable(f"{what}: uv ended with status {returncode}: {reason}")


def readable_reason(stderr: str, *, hide: Iterable[str] = ()) -> str:
    """uv's own reason, without its progress, its advice on options, addresses and paths of this machine."""
    lines = [
        line.removeprefix("error: ")
        for line in stderr.splitlines()
        if line.strip() and (_HINT_OF_USE.match(line) or not _NOISE.match(line))
    ]
    text = "\n".join(lines) or "no reason was given"
    for folder in sorted(hide, key=len, reverse=True):
        text = text.replace(folder, "...")
    text = _ADDRESS.sub("<address>", text)
    text = _MACHINE_PATH.sub("<path>", text)
    half = limits.MAX_INSTALLER_REASON_CHARS // 2
    return text if len(text) <= 2 * half else f"{text[:half]}\n  [...]\n{text[-half:]}"
