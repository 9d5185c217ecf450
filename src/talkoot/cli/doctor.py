"""`talkoot doctor`."""

import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from talkoot.cli import exits, words
from talkoot.cli.options import Json
from talkoot.cli.output import jsonable, show, status
from talkoot.core.errors import TalkootError
from talkoot.core.types import Rung
from talkoot.node.device import Device, look
from talkoot.node.folder import open_store
from talkoot.node.sandbox import RungReport, Sandbox

_PROBE = "packaging>=24"
"""A package that every index has; resolving it shows that uv works and an index answers."""
_PROBE_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found out about this device."""

    device: Device
    store: Path
    rungs: list[RungReport]
    uv: str
    """Its version, or empty."""
    index: str
    """Why no package index can be used; empty when one can."""

    @property
    def rung(self) -> Rung:
        """The sandbox that strangers' tasks would run in."""
        return next((report.rung for report in self.rungs if report.works), Rung.NONE)

    @property
    def well(self) -> bool:
        """Whether the device can take anybody's tasks, with packages."""
        return self.rung is not Rung.NONE and not self.index


def doctor(*, json: Json = False) -> int:
    """Look at what this device can offer, and what it lacks.

    Tries each sandbox by running something in it that must not succeed, and asks the package index for a small package.
    Exit code 1 when strangers' tasks could not run here.

    Example: talkoot doctor
    """
    with status("looking at this device ...", as_json=json):
        findings = _examine()
    show(_plain(findings), "\n".join(_told(findings)), as_json=json)
    return exits.DONE if findings.well else exits.FAILED


def _examine() -> Findings:
    store = open_store()
    sandbox = Sandbox(store)
    try:
        rungs = sandbox.probe()
    finally:
        sandbox.close()
    return Findings(look(store), store, rungs, _uv_version(), _index_trouble())


def _uv_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("uv")
    except PackageNotFoundError:
        return ""


def _index_trouble() -> str:
    from talkoot.sdk.resolve import resolve

    python = ".".join(platform.python_version_tuple()[:2])
    with tempfile.TemporaryDirectory(prefix="talkoot-doctor-") as folder:
        try:
            resolve([_PROBE], python=python, cache=Path(folder), timeout_s=_PROBE_TIMEOUT_S)
        except TalkootError as error:
            return error.message
        except FileNotFoundError as error:
            return f"uv is not installed: {error}"
    return ""


def _plain(found: Findings) -> dict[str, object]:
    rungs = [
        {"rung": r.rung, "works": r.works, "reason": r.reason, "remedy": r.remedy, "enforced": list(r.enforced)}
        for r in found.rungs
    ]
    device: dict[str, object] = jsonable(found.device)
    uv = {"version": found.uv, "index_reachable": not found.index, "reason": found.index}
    return {"device": device, "store": str(found.store), "sandbox": found.rung, "rungs": rungs, "uv": uv, "well": found.well}


def _told(found: Findings) -> Iterator[str]:
    device, numeric = found.device, found.device.numeric_class
    cpu = device.cpu_model or numeric.machine
    yield f"CPU      {words.count(device.cpus, 'core')}, {cpu} ({numeric.simd}), load {device.load:.2f}"
    yield f"memory   {words.size(device.memory_bytes)}, {words.size(device.memory_free_bytes)} free"
    yield f"GPU      {', '.join(device.gpus) or 'none found'}"
    yield f"system   {device.system}, {numeric.libc}, Python {numeric.python}"
    yield f"store    {found.store}, {words.size(device.disk_free_bytes)} free"
    yield f"packages uv {found.uv or 'is missing'}; " + (found.index or "the package index answers")
    yield "sandbox"
    for report in found.rungs:
        if report.works:
            yield f"  {report.rung:<11}works (caps held by {', '.join(report.enforced)})"
        else:
            yield f"  {report.rung:<11}does not work: {report.reason}"
            if report.remedy:
                yield f"  {'':<11}{report.remedy}"
    yield ""
    yield from _verdict(found)


def _verdict(found: Findings) -> Iterator[str]:
    if found.rung is Rung.NONE:
        yield "No sandbox works here, and strangers' code never runs bare: this device would take its owner's own jobs only."
    else:
        yield f"This device can take tasks of anybody, in the sandbox {found.rung}."
    if found.index:
        yield "Tasks that need packages would fail here, unless the packages are in the store already."
