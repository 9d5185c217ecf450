"""Wheels made on the spot, honest and hostile, so that environments can be tested without an index.

A folder of them is given to uv as `UV_FIND_LINKS`, which is a setting of the device's owner.
"""

import base64
import hashlib
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    files: Mapping[str, bytes] | None = None,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
    entry_points: str = "",
    unlisted: Collection[str] = (),
) -> str:
    """Write a wheel, by default with one module of its name; return its SHA-256 in hexadecimal.

    `unlisted` are those of its files that its RECORD does not list.
    """
    info = f"{name}-{version}.dist-info"
    required = "".join(f"Requires-Dist: {one}\n" for one in requires)
    contents = dict({f"{name}.py": b"VALUE = 1\n"} if files is None else files)
    contents[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}".encode()
    contents[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    if entry_points:
        contents[f"{info}/entry_points.txt"] = entry_points.encode()
    listed = [_record_line(path, data) for path, data in contents.items() if path not in unlisted]
    contents[f"{info}/RECORD"] = "".join([*listed, f"{info}/RECORD,,\n"]).encode()
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in contents.items():
            archive.writestr(zipfile.ZipInfo(path), data)  # without a date, so that the same call gives the same hash
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def _record_line(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"
