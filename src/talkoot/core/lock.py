"""The canonical lock: exactly which packages an environment has, by name, version and hash.

It holds no address, no option and no path. One environment has one encoding, whose hash is the environment's
id (`ids.environment_id`) and thereby part of every action id; a lock that came over the network is checked here
in every part before anything is done with it, and what a tool is given is written anew from the parsed parts.
"""

import re
from typing import Final

import msgspec
from packaging.version import InvalidVersion, Version

from talkoot.core import ids, limits
from talkoot.core.errors import RequirementError, TooLarge
from talkoot.core.requirements import is_normal_name, parse_marker

MAX_VERSION_CHARS: Final = 120

_PYTHON = re.compile(r"3\.(0|[1-9][0-9]?)")
_HASH = re.compile(r"[0-9a-f]{64}")


class LockedPackage(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One package at one version, for the platforms on which its marker holds."""

    name: str
    version: str
    marker: str
    """Where it is installed (PEP 508); empty for everywhere."""
    hashes: tuple[str, ...]
    """SHA-256 of every file of this version that may be installed, in hexadecimal, sorted."""


class Lock(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The packages of one environment, sorted, for one minor version of Python such as `3.11`."""

    python: str
    packages: tuple[LockedPackage, ...]


_decoder = msgspec.msgpack.Decoder(Lock)
_encoder = msgspec.msgpack.Encoder()


def empty_lock(python: str) -> Lock:
    """The lock of a program that needs the standard library only."""
    return Lock(check_python(python), ())


def check_python(python: str) -> str:
    """The version, if it is a minor version such as `3.11`. Raises RequirementError."""
    if not _PYTHON.fullmatch(python):
        raise RequirementError(f"{python!r} is not a minor version of Python", hint='Write it as "3.11".')
    return python


def encode_lock(lock: Lock) -> bytes:
    """The one encoding of a lock. Raises RequirementError or TooLarge, as `decode_lock` does."""
    _check(lock)
    data = _encoder.encode(lock)
    _check_size(data)
    return data


def decode_lock(data: bytes) -> Lock:
    """The lock of which `data` is the encoding, checked in every part.

    Raises TooLarge beyond `MAX_LOCK_BYTES` or `MAX_LOCK_PACKAGES`, and RequirementError for anything that
    `encode_lock` does not give.
    """
    _check_size(data)
    try:
        lock = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequirementError(f"the lock cannot be read: {error}") from None
    _check(lock)
    if _encoder.encode(lock) != data:
        raise RequirementError("the lock is not in its canonical encoding")
    return lock


def environment_name(lock: bytes) -> str:
    """How the environment of an encoded lock is written: `env_` and 52 letters."""
    return "env_" + ids.base32(ids.environment_id(lock))


def requirements_text(lock: Lock) -> str:
    """A requirements file of pinned, hashed packages, written from the checked parts of the lock alone."""
    _check(lock)
    return "".join(_requirement_line(package) for package in lock.packages)


def _requirement_line(package: LockedPackage) -> str:
    marker = f" ; {parse_marker(package.marker)}" if package.marker else ""
    hashes = "".join(f" --hash=sha256:{one}" for one in package.hashes)
    return f"{package.name}=={package.version}{marker}{hashes}\n"


def _check_size(data: bytes) -> None:
    if len(data) > limits.MAX_LOCK_BYTES:
        raise TooLarge(f"a lock of {len(data)} bytes; at most {limits.MAX_LOCK_BYTES} are accepted")


def _check(lock: Lock) -> None:
    check_python(lock.python)
    if len(lock.packages) > limits.MAX_LOCK_PACKAGES:
        raise TooLarge(f"a lock of {len(lock.packages)} packages; at most {limits.MAX_LOCK_PACKAGES} are accepted")
    for package in lock.packages:
        _check_package(package)
    keys = [(package.name, package.version, package.marker) for package in lock.packages]
    if keys != sorted(set(keys)):
        raise RequirementError("the packages of the lock are not sorted and unique")


def _check_package(package: LockedPackage) -> None:
    name, version = package.name, package.version
    if not is_normal_name(name):
        raise RequirementError(f"{name[:80]!r} is not the normal form of a package's name (PEP 503)")
    if len(version) > MAX_VERSION_CHARS or _normal_version(version) != version:
        raise RequirementError(f"{version[:80]!r} of {name} is not the normal form of a version (PEP 440)")
    if package.marker:
        parse_marker(package.marker)
    if not package.hashes:
        raise RequirementError(f"{name}=={version} has no hash")
    for one in package.hashes:
        if not _HASH.fullmatch(one):
            raise RequirementError(f"{one[:80]!r} of {name} is not a SHA-256 in lower-case hexadecimal")
    if list(package.hashes) != sorted(set(package.hashes)):
        raise RequirementError(f"the hashes of {name} are not sorted and unique")


def _normal_version(text: str) -> str | None:
    try:
        return str(Version(text))
    except InvalidVersion:
        return None
