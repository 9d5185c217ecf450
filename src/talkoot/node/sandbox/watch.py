"""What a cell uses, beside what the kernel caps: looked at every few hundredths of a second.

Between two looks a task can go beyond a cap that is only polled. Receipts say `polled` for that reason.
"""

import os
from contextlib import suppress
from dataclasses import dataclass

from talkoot.core.types import KillReason, Rung, TaskLimits
from talkoot.node.sandbox import usage
from talkoot.node.sandbox.cgroups import Group

_OWN_FILES = 4
"""The scratch itself and its three folders."""


@dataclass(frozen=True)
class Watch:
    """Knows where to look for one cell."""

    rung: Rung
    limits: TaskLimits
    worker: int
    """Pid of the worker, as the host sees it. All that a task starts descends from it."""
    scratch: str
    """On the host; empty where the scratch is a file system of the cell's own."""
    group: Group | None

    def beyond(self) -> str:
        """The cap that is exceeded: a code of `KillReason`, a colon, and words; empty when none is."""
        if self.group is None:
            pids = usage.tree(self.worker)
            return self._memory(pids) or self._processes(pids) or self._scratch(pids)
        return self._kernel_said() or self._scratch(None)

    def cpu_seconds(self) -> float:
        """Processor time that the cell has used so far."""
        return usage.cpu_seconds(usage.tree(self.worker))

    def peak_bytes(self) -> int:
        """The most memory that the cell has used so far, as far as it can be known."""
        return self.group.peak_bytes() if self.group else usage.peak_bytes(self.worker)

    def _kernel_said(self) -> str:
        if self.group is not None and self.group.killed_for_memory():
            return f"{KillReason.MEMORY}: used more than {self.limits.memory_bytes} bytes"
        return ""

    def _memory(self, pids: list[int]) -> str:
        cap = self.limits.memory_bytes
        if usage.resident_bytes(pids) > cap and (used := usage.proportional_bytes(pids)) > cap:
            return f"{KillReason.MEMORY}: used {used} bytes of {cap}"
        return ""

    def _processes(self, pids: list[int]) -> str:
        cap = self.limits.processes
        if (used := usage.threads(pids)) > cap:
            return f"{KillReason.PROCESSES}: {used} processes and threads, of {cap}"
        return ""

    def _scratch(self, pids: list[int] | None) -> str:
        if self.rung is Rung.NAMESPACES:
            return ""
        size, count = self._mounted() if self.rung is Rung.BWRAP else self._on_host(pids)
        if size > self.limits.scratch_bytes:
            return f"{KillReason.SCRATCH}: wrote {size} bytes, of {self.limits.scratch_bytes}"
        if count > self.limits.scratch_files + _OWN_FILES:
            return f"{KillReason.SCRATCH}: made more than {self.limits.scratch_files} files"
        return ""

    def _mounted(self) -> tuple[int, int]:
        """Its size is held by the mount; only the number of files is to be looked at."""
        with suppress(OSError):
            seen = os.statvfs(f"/proc/{self.worker}/root/scratch")
            return 0, seen.f_files - seen.f_ffree
        return 0, 0

    def _on_host(self, pids: list[int] | None) -> tuple[int, int]:
        size, count = usage.files(self.scratch, self.limits.scratch_files + _OWN_FILES)
        with suppress(OSError):
            device = os.stat(self.scratch).st_dev
            size += usage.unlinked_bytes(pids if pids is not None else usage.tree(self.worker), device)
        return size, count
