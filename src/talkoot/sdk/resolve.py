"""From requirements to a lock, on the submitter's side: uv resolves, and what it found is remembered.

uv is given a file of ours, written from parsed requirements, in an empty folder; no configuration file of the
place where the script lies can change the outcome. The same requirements give the same lock, and so the same
environment id, until they change or `refresh=True` asks anew: a script that is run again finds its answers.
"""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version
from uv import find_uv_bin

from talkoot.core import ids, installer, limits
from talkoot.core.errors import BadInput, RequirementError, TalkootError, Unavailable
from talkoot.core.lock import Lock, LockedPackage, check_python, decode_lock, empty_lock, encode_lock
from talkoot.core.requirements import parse_marker, parse_requirements

_WHAT: Final = "the requirements cannot be resolved"
_PACKAGE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?: ; (?P<marker>.+?))?")
_HASH = re.compile(r" --hash=sha256:([0-9a-f]{64})(?= |$)")


def resolve(
    requirements: Sequence[str],
    *,
    python: str,
    cache: Path,
    timeout_s: float = limits.ENVIRONMENT_RESOLVE_TIMEOUT_S,
    refresh: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Lock:
    """The lock of the newest wheels that satisfy the requirements, for one Python and every platform.

    `cache` is a folder where locks are remembered by requirements and Python; a remembered lock needs no
    connection. `environ` has the submitter's own settings (index, proxy, certificates), by default `os.environ`.
    Raises RequirementError, with uv's reason, if the requirements are refused or unsatisfiable, and Unavailable
    if no index can be reached in `timeout_s` seconds.
    """
    wanted = parse_requirements(requirements)
    check_python(python)
    if not wanted:
        return empty_lock(python)
    memory = cache / f"{ids.base32(ids.derive('resolution/1', python.encode(), *(w.encode() for w in wanted)))}.lock"
    if not refresh and (known := _recall(memory)) is not None:
        return known
    settings = installer.owner_settings(os.environ if environ is None else environ)
    lock = _ask_uv(wanted, python, settings, timeout_s)
    _remember(memory, encode_lock(lock))
    return lock


def _recall(memory: Path) -> Lock | None:
    try:
        return decode_lock(memory.read_bytes())
    except (FileNotFoundError, BadInput):
        return None  # one that is damaged is resolved anew, and written over


def _remember(memory: Path, data: bytes) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=memory.parent, prefix=".lock-", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.replace(file.name, memory)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _ask_uv(wanted: Sequence[str], python: str, settings: Mapping[str, str], timeout_s: float) -> Lock:
    with tempfile.TemporaryDirectory(prefix="talkoot-resolve-") as name:
        folder = Path(name)
        (folder / "environment.py").write_text(_script(wanted, python))
        command = installer.resolve_command(find_uv_bin(), sys.executable, "environment.py")
        output = _run(command, folder, settings, timeout_s)
    packages = sorted(
        (_parse_package(line, settings.get("UV_FIND_LINKS", "")) for line in _logical_lines(output)),
        key=lambda package: (package.name, package.version, package.marker),
    )
    return Lock(python, tuple(packages))


def _script(wanted: Sequence[str], python: str) -> str:
    """A script of our own with a block (PEP 723): the only form in which uv takes an upper bound for Python.

    Without one, what only a later Python would need could fail, and would be locked.
    """
    dependencies = ", ".join(json.dumps(requirement) for requirement in wanted)
    return f'# /// script\n# requires-python = "=={python}.*"\n# dependencies = [{dependencies}]\n# ///\n'


def _run(command: Sequence[str], folder: Path, settings: Mapping[str, str], timeout_s: float) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=dict(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{_WHAT}: uv did not finish in time", hint="Try again, or with fewer requirements.") from None
    if done.returncode != 0:
        raise _unsatisfied(done.returncode, done.stderr, folder)
    return done.stdout


def _unsatisfied(returncode: int, stderr: str, folder: Path) -> TalkootError:
    error = installer.failure(_WHAT, returncode, stderr, hide=(str(folder),))
    if isinstance(error, RequirementError):
        error.hint = "Only wheels are used, from the package index that is set on this device."
    return error


def _logical_lines(text: str) -> Iterator[str]:
    """uv's lines, with those that end in a backslash joined, and runs of spaces made one."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            yield " ".join(line.split())


def _parse_package(line: str, find_links: str) -> LockedPackage:
    head, _, _ = line.partition(" --hash=")
    found = _PACKAGE.fullmatch(head)
    if found is None:
        raise RequirementError(f"{_WHAT}: {head!r} is not a package of an index at one version")
    marker = parse_marker(found["marker"]) if found["marker"] else ""
    try:
        name, version = canonicalize_name(found["name"]), Version(found["version"])
    except InvalidVersion:
        raise RequirementError(f"{_WHAT}: {head!r} has no version that is understood") from None
    hashes = set(_HASH.findall(line)) or _hashes_in_folders(name, version, find_links)
    if not hashes:
        raise RequirementError(f"{_WHAT}: the index gives no SHA-256 for {head!r}")
    return LockedPackage(name, str(version), marker, tuple(sorted(hashes)))


def _hashes_in_folders(name: str, version: Version, find_links: str) -> set[str]:
    """The hashes of a version's wheels in the owner's folders: uv gives none for what does not come by an index."""
    hashes = set()
    for folder in filter(None, find_links.split(",")):
        for path in Path(folder.removeprefix("file://")).glob("*.whl"):
            with contextlib.suppress(InvalidWheelFilename):
                if parse_wheel_filename(path.name)[:2] == (name, version):
                    with path.open("rb") as file:
                        hashes.add(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes
