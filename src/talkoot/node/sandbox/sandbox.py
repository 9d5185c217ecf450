"""The sandbox of a node: finds out which rungs work, and opens cells in them.

A stranger's code never runs bare: where no rung works, `open` raises, and only a caller that says `Rung.NONE`
itself (for its owner's own jobs) gets a process without a sandbox.
"""

import os
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Final

from talkoot.core.errors import BadInput, NoSandbox
from talkoot.core.limits import KIB, MIB
from talkoot.core.types import Rung, TaskLimits
from talkoot.node.sandbox import remedies, start
from talkoot.node.sandbox.cell import Cell
from talkoot.node.sandbox.model import CellSpec, RungReport

RUNGS: Final = (Rung.BWRAP, Rung.NAMESPACES, Rung.LANDLOCK)
_TRIAL: Final = CellSpec(TaskLimits(memory_bytes=256 * MIB, time_s=10, scratch_bytes=256 * KIB, scratch_files=16, processes=8))
_OWN_PROCESS_VIEW: Final = frozenset({Rung.BWRAP, Rung.NAMESPACES})


class Sandbox:
    """One for each node process. `store` is the node's store folder; other users must be able to enter it."""

    def __init__(self, store: Path) -> None:
        self._host = start.Host(store)
        self._lock = threading.Lock()
        self._cells: set[Cell] = set()
        self._closed = False
        self._rung: Rung | None = None

    @property
    def rung(self) -> Rung:
        """The strongest rung that works; `Rung.NONE` where none does. Tried once, by `probe`."""
        if self._rung is None:
            self.probe()
        assert self._rung is not None
        return self._rung

    def probe(self, *, refuse: Collection[Rung] = ()) -> list[RungReport]:
        """Try each rung, by running a worker in it that answers and that cannot do what it must not."""
        reports = [self._try(rung, refused=rung in refuse) for rung in RUNGS]
        self._rung = next((report.rung for report in reports if report.works), Rung.NONE)
        return reports

    def open(self, spec: CellSpec, *, rung: Rung | None = None) -> Cell:
        """A new cell, on the strongest rung that works or on the one named.

        Raises NoSandbox where it cannot be made, and BadInput for a specification that makes no sense.
        """
        if rung is None:
            rung = self.rung
            if rung is Rung.NONE:
                raise NoSandbox(
                    "no rung of the sandbox works on this device, and strangers' code never runs bare",
                    hint="Each rung's reason and remedy are in the reports of `probe`.",
                )
        _check_names(spec)
        cell = self._host.start(rung, spec, self._forget)
        with self._lock:
            if not self._closed:
                self._cells.add(cell)
                return cell
        cell.close()
        raise NoSandbox("the sandbox is closed")

    def close(self) -> None:
        """End all cells and remove their scratch."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            cells = list(self._cells)
        for cell in cells:
            cell.close()
        self._host.close()

    def _forget(self, cell: Cell) -> None:
        with self._lock:
            self._cells.discard(cell)

    def _try(self, rung: Rung, *, refused: bool) -> RungReport:
        if refused:
            return RungReport(rung, False, "not wanted on this device", "Take it out of the node's refusals.")
        try:
            cell = self.open(_TRIAL, rung=rung)
        except NoSandbox as error:
            return RungReport(rung, False, error.message, error.hint or remedies.of(rung, error.message))
        try:
            enforced = tuple(cell.enforced.split(","))
            possible = cell.check(self._host.witness, 0 if rung in _OWN_PROCESS_VIEW else os.getpid())
        except NoSandbox as error:
            return RungReport(rung, False, error.message, error.hint)
        finally:
            cell.close()
        if possible:
            return RungReport(rung, False, "; ".join(possible), "Please report this: the sandbox does not hold here.")
        return RungReport(rung, True, enforced=enforced)


def _check_names(spec: CellSpec) -> None:
    for path, name in spec.inputs:
        if not name or name in {".", ".."} or "/" in name or "\0" in name:
            raise BadInput(f"{name!r} cannot be the name of an input", hint="Use a plain file name.")
        if not path.exists():
            raise BadInput(f"there is no input at {path}")
    if spec.environment is not None and not spec.environment.is_dir():
        raise BadInput(f"there is no environment at {spec.environment}")
