"""Sandboxes for the tests of this room: one for all, cells with small caps, attacks as an installed package."""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from talkoot.core import carrier, codec
from talkoot.core.types import Rung, TaskLimits
from talkoot.node.sandbox import CellSpec, Sandbox

MIB = 2**20
SMALL = TaskLimits(memory_bytes=128 * MIB, time_s=20, scratch_bytes=16 * MIB, scratch_files=200, processes=16, answer_bytes=MIB)


def program(module="attacks", name="run"):
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    root = [carrier.NAME, module, name]
    return carrier.encode(carrier.Carrier(carrier.FORMAT, python, root, [], [], []))


class Laboratory:
    """A sandbox, and cells in it that run `attacks`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sandbox = Sandbox(folder / "store")
        self.environment = folder / "environment"
        self.environment.mkdir()
        shutil.copy(Path(__file__).parent / "sandbox_environment" / "attacks.py", self.environment)
        for path in (self.environment, self.environment / "attacks.py"):
            path.chmod(0o755)
        self.input = folder / "input.txt"
        self.input.write_text("an input")
        self.reports = {report.rung: report for report in self.sandbox.probe()}
        self.program = program()
        self._warm = {}

    def need(self, rung: Rung) -> None:
        report = self.reports.get(rung)
        if report is not None and not report.works:
            pytest.skip(f"{rung} does not work here: {report.reason}")

    def open(self, rung: Rung, limits: TaskLimits = SMALL, **more):
        self.need(rung)
        spec = CellSpec(limits, self.environment, inputs=((self.input, "input.txt"),), **more)
        cell = self.sandbox.open(spec, rung=rung)
        cell.load(self.program)
        return cell

    def run(self, rung: Rung, name: str, *args, time_s: float = 20.0, seed: int = 1):
        """In a warm cell that the tests share; a new one where the last has ended."""
        cell = self._warm.get(rung)
        if cell is None or not cell.alive:
            cell = self._warm[rung] = self.open(rung)
        return cell.run(codec.encode(((name, *args), {})), seed, time_s=time_s)

    def value(self, rung: Rung, name: str, *args, **more):
        run = self.run(rung, name, *args, **more)
        assert run.outcome == "answered", run
        return codec.decode(run.answer)


@pytest.fixture(scope="session")
def lab():
    folder = Path(tempfile.mkdtemp(prefix="talkoot-lab-", dir=os.environ.get("TALKOOT_TEST_FOLDER")))
    folder.chmod(0o755)
    laboratory = Laboratory(folder)
    try:
        yield laboratory
    finally:
        laboratory.sandbox.close()
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
