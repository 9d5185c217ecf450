"""How much of a device its owner lends. Pure."""

import math
from typing import Final, NamedTuple, Self

from talkoot.core.errors import BadInput
from talkoot.core.limits import GIB, MIB
from talkoot.core.matching import memory_taken
from talkoot.core.types import Rung, TaskLimits

LEAST_MEMORY_BYTES: Final = 64 * MIB
"""For each CPU lent; below it no interpreter starts."""
LEAST_DISK_BYTES: Final = 256 * MIB
MAX_CPUS: Final = 1_024
DEFAULT_DISK_BYTES: Final = 20 * GIB
_MEMORY_SHARE: Final = 0.75
_DISK_SHARE: Final = 0.5


class Caps(NamedTuple):
    """The most that all tasks on a device may use together."""

    cpus: int
    """Also how many tasks of one CPU run at a time: its slots."""
    memory_bytes: int
    disk_bytes: int

    @classmethod
    def of(
        cls,
        *,
        cpus: int,
        memory_bytes: int,
        disk_free_bytes: int,
        lend_cpus: int | None = None,
        lend_memory_bytes: int | None = None,
        lend_disk_bytes: int | None = None,
    ) -> Self:
        """The caps on a device that has so much: what the owner chose, or all CPUs, 3/4 of the memory, half the disk.

        Raises BadInput for a choice that the device has not, or that nothing could run in.
        """
        lent = lend_cpus if lend_cpus is not None else min(cpus, MAX_CPUS)
        if not 1 <= lent <= min(cpus, MAX_CPUS):
            raise BadInput(f"{lent} CPUs cannot be lent: this device has {cpus}", hint=f"lend 1 to {min(cpus, MAX_CPUS)}")
        default_memory = math.floor(memory_bytes * _MEMORY_SHARE)
        memory = lend_memory_bytes if lend_memory_bytes is not None else default_memory
        if memory_bytes and memory > memory_bytes:
            raise BadInput(f"{_mib(memory)} of memory cannot be lent: this device has {_mib(memory_bytes)}", hint="lend less")
        if memory < lent * LEAST_MEMORY_BYTES:
            raise BadInput(
                f"{_mib(memory)} of memory are too little for {lent} CPUs: each needs {_mib(LEAST_MEMORY_BYTES)}",
                hint="lend more memory, or fewer CPUs",
            )
        default_disk = min(DEFAULT_DISK_BYTES, math.floor(disk_free_bytes * _DISK_SHARE))
        disk = lend_disk_bytes if lend_disk_bytes is not None else default_disk
        if disk > disk_free_bytes:
            raise BadInput(f"{_mib(disk)} of disk cannot be lent: {_mib(disk_free_bytes)} are free", hint="lend less")
        if disk < LEAST_DISK_BYTES:
            raise BadInput(f"{_mib(disk)} of disk are too little: {_mib(LEAST_DISK_BYTES)} is the least", hint="make room")
        return cls(lent, memory, disk)

    def memory_for(self, cpus: int) -> int:
        """What a task of so many CPUs may use."""
        return self.memory_bytes * cpus // self.cpus

    def obstacle(self, asked: TaskLimits, rung: Rung) -> str:
        """Why a task that asks for so much is not run here, on this rung; empty when it is."""
        if asked.cpus > self.cpus:
            return f"a task asks for {asked.cpus} CPUs, and {self.cpus} are lent"
        taken, lent = memory_taken(asked, rung), self.memory_for(asked.cpus)
        if taken > lent:
            return f"a task takes {_mib(taken)} of memory (scratch included), and {_mib(lent)} are lent"
        if asked.scratch_bytes > self.disk_bytes * asked.cpus // self.cpus:
            return f"a task asks for {_mib(asked.scratch_bytes)} of scratch, and {_mib(self.disk_bytes)} are lent in all"
        return ""


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"
