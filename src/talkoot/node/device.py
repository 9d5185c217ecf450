"""What this device offers: found out by looking, never by asking the network. `talkoot doctor` shows the same.

The parsing of what the system says is pure and apart from the looking. What cannot be found out is 0 or empty, and
never an error: a device that says little of itself can still lend what its owner names.
"""

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

import talkoot
from talkoot.core.types import NodeDescription, NumericClass, Rung
from talkoot.node.caps import Caps
from talkoot.node.sandbox.numeric import numeric_class

NVIDIA_TIMEOUT_S: Final = 5.0
_UNLIMITED_BYTES: Final = 2**60
"""Control groups of version 1 write "no limit" as a number near 2**63."""
_MAX_GPUS: Final = 64


class Device(msgspec.Struct, frozen=True):
    """A device as it is, before its owner's caps."""

    numeric_class: NumericClass
    system: str
    cpu_model: str
    cpus: int
    """That this process may use: its affinity, and the quota of its control group."""
    memory_bytes: int
    """Of the machine, or of the control group where that is less."""
    memory_free_bytes: int
    disk_free_bytes: int
    """Where the node's store is."""
    gpus: tuple[str, ...]
    load: float
    """Running processes, averaged over the last minute."""


def look(store: Path) -> Device:
    """Look at this device. Takes a few milliseconds, and up to 5 s where a GPU's driver hangs."""
    gpus = _gpus()
    cpuinfo = _read("/proc/cpuinfo")
    memory = parse_meminfo(_read("/proc/meminfo"))
    group = _groups_of(_read("/proc/self/cgroup"))
    return Device(
        numeric_class=msgspec.structs.replace(numeric_class(), gpu=", ".join(sorted(set(gpus)))),
        system=f"{platform.system()} {platform.release()}",
        cpu_model=parse_cpu_model(cpuinfo),
        cpus=_cpus(group),
        memory_bytes=min([memory.get("MemTotal", 0), *_limits_of(group)]),
        memory_free_bytes=memory.get("MemAvailable", 0),
        disk_free_bytes=_disk_free(store),
        gpus=gpus,
        load=os.getloadavg()[0],
    )


def describe(device: Device, caps: Caps, rung: Rung, name: str) -> NodeDescription:
    """What the node says of itself to a hub."""
    return NodeDescription(
        name=name,
        slots=caps.cpus,
        memory_bytes=caps.memory_bytes,
        disk_bytes=caps.disk_bytes,
        numeric_class=device.numeric_class,
        rung=rung,
        python=device.numeric_class.python,
        gpus=device.gpus,
        version=talkoot.__version__,
    )


# What the system says, read.


def parse_meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo in bytes, by name."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[0].isdigit() and words[1] == "kB":
            found[name] = int(words[0]) * 1024
    return found


def parse_cpu_model(cpuinfo: str) -> str:
    """The name of the CPU; empty where /proc/cpuinfo does not have one."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return ""


def parse_cpu_max(text: str) -> float | None:
    """CPUs by `cpu.max` of a control group (version 2); None for no limit."""
    return parse_cpu_quota(*text.split()[:2]) if len(text.split()) >= 2 else None


def parse_cpu_quota(quota: str, period: str) -> float | None:
    """CPUs by a quota and a period in microseconds; None for no limit."""
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None


def parse_memory_limit(text: str) -> int | None:
    """Bytes by a control group's limit of memory; None for no limit."""
    text = text.strip()
    if not text.isdigit() or int(text) >= _UNLIMITED_BYTES:
        return None
    return int(text)


def parse_nvidia(text: str) -> tuple[str, ...]:
    """The names that `nvidia-smi --query-gpu=name` gives, one a line."""
    return tuple(line.strip()[:100] for line in text.splitlines() if line.strip())[:_MAX_GPUS]


def usable_cpus(affinity: int, quotas: list[float]) -> int:
    """Whole CPUs: a quota of one and a half is one, and one is the least."""
    return max(1, min([affinity, *(int(quota) for quota in quotas)]))


# The looking.


def _read(path: str | Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 22)
    except OSError:
        return ""


def _groups_of(text: str) -> list[Path]:
    """The folders of this process's control groups, innermost first, up to the roots."""
    found = []
    for line in text.splitlines():
        _, controllers, path = [*line.split(":", 2), "", "", ""][:3]
        root = Path("/sys/fs/cgroup")
        if controllers:
            root /= controllers
        inner = root / path.lstrip("/")
        found += [folder for folder in (inner, *inner.parents) if folder == root or root in folder.parents]
    return found


def _cpus(groups: list[Path]) -> int:
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [parse_cpu_max(_read(folder / "cpu.max")) for folder in groups]
    quotas += [parse_cpu_quota(_read(f / "cpu.cfs_quota_us"), _read(f / "cpu.cfs_period_us")) for f in groups]
    return usable_cpus(affinity, [quota for quota in quotas if quota is not None])


def _limits_of(groups: list[Path]) -> list[int]:
    names = ("memory.max", "memory.limit_in_bytes")
    limits = [parse_memory_limit(_read(folder / name)) for folder in groups for name in names]
    return [limit for limit in limits if limit is not None]


def _disk_free(store: Path) -> int:
    for folder in (store, *store.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return 0


def _gpus() -> tuple[str, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        command = [tool, "--query-gpu=name", "--format=csv,noheader"]
        try:
            shown = subprocess.run(command, capture_output=True, text=True, timeout=NVIDIA_TIMEOUT_S, check=True)
            return parse_nvidia(shown.stdout)
        except (OSError, subprocess.SubprocessError):
            pass
    try:
        return tuple(sorted(name for name in os.listdir("/dev/dri") if name.startswith("render")))[:_MAX_GPUS]
    except OSError:
        return ()
