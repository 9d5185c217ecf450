"""What an installed folder must be before it is taken for an environment.

The wheels come from strangers. Every file must be listed, with its hash, in the RECORD of exactly one wheel
(two may own a path only with the same content); nothing may start by itself, lead elsewhere, or go beyond the
caps. Files are read here and never executed, and nothing is written but the removal of what nobody needs.
"""

import base64
import csv
import hashlib
import os
import posixpath
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from packaging.utils import canonicalize_name

from talkoot.core import limits
from talkoot.core.errors import RequirementError, TooLarge
from talkoot.core.lock import Lock

FOLDER_MODE: Final = 0o755
FILE_MODE: Final = 0o644
"""Every user of the device may read, since sandboxes run as others; writing is stopped by the mount."""

STARTS_BY_ITSELF: Final = frozenset({"sitecustomize", "usercustomize"})
"""Modules that an interpreter imports when it starts, if they are on its path."""

START_FILES: Final = (".pth", ".start")
"""Files at the top of a site folder that an interpreter executes when it starts (`.start`: PEP 829)."""

HARMLESS_PTH: Final = {"distutils-precedence.pth": "setuptools"}
"""Left out rather than refused: a .pth file without which its package, which many others need, is whole."""

_INSTALLER_FILES: Final = frozenset({"uv_cache.json", "direct_url.json", "REQUESTED", "INSTALLER"})
"""What an installer notes in `*.dist-info`: times and addresses of the device."""

_ALGORITHMS: Final = frozenset({"sha256", "sha384", "sha512"})
_DIST_INFO = re.compile(r"(?P<name>[^/]+)-[^-/]+\.dist-info")


class Caps(NamedTuple):
    """The most that one environment may hold."""

    files: int = limits.MAX_ENVIRONMENT_FILES
    size_bytes: int = limits.MAX_ENVIRONMENT_BYTES


class Contents(NamedTuple):
    """What a folder holds."""

    files: int
    size_bytes: int


class _Claim(NamedTuple):
    """One line of a RECORD: which wheel says that it owns a path, and with which content."""

    wheel: str
    algorithm: str
    digest: str


def check(target: Path, lock: Lock, caps: Caps) -> None:
    """Remove what nobody needs, then accept or refuse the folder that the installer filled.

    Raises RequirementError, naming the file and the reason, or TooLarge.
    """
    (target / ".lock").unlink(missing_ok=True)
    measure(target, caps)
    claims = _read_records(target, lock)
    _drop(target, claims)
    for path in _files(target):
        _check_name(path)
        _check_owner(target, path, claims.get(path, []))


def measure(target: Path, caps: Caps) -> Contents:
    """Count files and bytes, and give every file and folder the same mode on every device.

    Raises TooLarge beyond the caps, and RequirementError for anything that is not a plain file or a folder.
    """
    files = size_bytes = 0
    for entry in _walk(target):
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.chmod(entry.path, FOLDER_MODE)
        elif stat.S_ISREG(status.st_mode):
            os.chmod(entry.path, FOLDER_MODE if status.st_mode & 0o111 else FILE_MODE)
            size_bytes += status.st_size
        else:
            raise RequirementError(f"{entry.name!r} in the environment is a link or a special file")
        files += 1
        if files > caps.files:
            raise TooLarge(f"the environment has more than {caps.files} files and folders")
        if size_bytes > caps.size_bytes:
            raise TooLarge(f"the environment is larger than {caps.size_bytes} bytes")
    return Contents(files, size_bytes)


def _walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    waiting = [os.fspath(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                yield entry


def _files(target: Path) -> Iterator[str]:
    """The paths of all files, below the target, with slashes."""
    prefix = len(os.fspath(target)) + 1
    for entry in _walk(target):
        if not entry.is_dir(follow_symlinks=False):
            yield entry.path[prefix:]


def _read_records(target: Path, lock: Lock) -> dict[str, list[_Claim]]:
    """Who claims which path. Every package that is installed must be one of the lock's, once."""
    locked = {package.name for package in lock.packages}
    claims: dict[str, list[_Claim]] = {}
    for info in sorted(target.glob("*.dist-info")):
        match = _DIST_INFO.fullmatch(info.name)
        name = canonicalize_name(match["name"]) if match else info.name
        if name not in locked:
            raise RequirementError(f"{info.name!r} in the environment is not a package of the lock, or there twice")
        locked.discard(name)
        for path, claim in _read_record(info, name):
            claims.setdefault(path, []).append(claim)
    return claims


def _read_record(info: Path, wheel: str) -> Iterator[tuple[str, _Claim]]:
    record = info / "RECORD"
    try:
        if record.stat().st_size > limits.MAX_RECORD_BYTES:
            raise TooLarge(f"the RECORD of {wheel} is larger than {limits.MAX_RECORD_BYTES} bytes")
        with record.open(encoding="utf-8", newline="") as file:
            rows = {row[0]: row for row in csv.reader(file) if row}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequirementError(f"the RECORD of {wheel} cannot be read: {type(error).__name__}") from None
    for path, row in rows.items():
        normal = posixpath.normpath(path)
        if "\\" in path or posixpath.isabs(path) or ".." in path.split("/"):
            raise RequirementError(f"{wheel} has a file that leads out of the environment: {path!r}")
        algorithm, _, digest = (row[1] if len(row) > 1 else "").partition("=")
        yield normal, _Claim(wheel, algorithm, digest)


def _drop(target: Path, claims: dict[str, list[_Claim]]) -> None:
    """Take out programs (they hold paths of this device), the installer's notes, and harmless .pth files."""
    if (target / "bin").is_dir():
        shutil.rmtree(target / "bin")
    for info in target.glob("*.dist-info"):
        for name in _INSTALLER_FILES:
            (info / name).unlink(missing_ok=True)
        _rewrite_record(info)
    for name, owner in HARMLESS_PTH.items():
        if [claim.wheel for claim in claims.get(name, [])] == [owner]:
            (target / name).unlink(missing_ok=True)


def _rewrite_record(info: Path) -> None:
    """RECORD without the files that were taken out, so that two devices hold the same bytes."""
    record = info / "RECORD"
    ours = {f"{info.name}/{name}" for name in _INSTALLER_FILES}
    with record.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row and not row[0].startswith("bin/") and row[0] not in ours]
    with record.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(sorted(rows))


def _check_name(path: str) -> None:
    top = path.partition("/")[0]
    if path == top and path.endswith(START_FILES):
        raise RequirementError(f"the environment has {path!r}, which would run code when an interpreter starts")
    if top.partition(".")[0].lower() in STARTS_BY_ITSELF:
        raise RequirementError(f"the environment has {top!r}, which an interpreter imports when it starts")


def _check_owner(target: Path, path: str, claims: list[_Claim]) -> None:
    if not claims:
        raise RequirementError(f"{path!r} in the environment is in no wheel's list of files (RECORD)")
    wheels = " and ".join(sorted(claim.wheel for claim in claims))
    if len({(claim.algorithm, claim.digest) for claim in claims}) > 1:
        raise RequirementError(f"{path!r} is owned by two wheels with different contents: {wheels}")
    if path == f"{posixpath.dirname(path)}/RECORD" and path.count("/") == 1 and not claims[0].algorithm:
        return  # a list cannot hold its own hash
    if claims[0].algorithm not in _ALGORITHMS:
        raise RequirementError(f"{wheels} lists {path!r} without a hash that can be checked")
    with open(target / path, "rb") as file:
        digest = hashlib.file_digest(file, claims[0].algorithm).digest()
    if base64.urlsafe_b64encode(digest).rstrip(b"=") != claims[0].digest.rstrip("=").encode():
        raise RequirementError(f"{path!r} is not the file that {wheels} lists: its hash differs")
