"""What processes use, read from /proc by the node: never what they say themselves."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_USER_TICKS, _SYSTEM_TICKS, _THREADS = 11, 12, 17
"""Indexes in /proc/PID/stat, counted after the name (proc(5): fields 14, 15 and 20)."""


def tree(pid: int) -> list[int]:
    """The process and all that descend from it, parents first."""
    found = [pid]
    for parent in found:
        found += _children(parent)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(word) for word in file.read().split()]
    return found


def resident_bytes(pids: list[int]) -> int:
    """Pages in memory; those that processes share are counted for each."""
    total = 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm") as file:
            total += int(file.read().split()[1]) * _PAGE
    return total


def proportional_bytes(pids: list[int]) -> int:
    """Pages in memory, shared ones divided; where that may not be read, as `resident_bytes`."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
        except OSError:
            total += resident_bytes([pid])
    return total


def peak_bytes(pid: int) -> int:
    """The most that the process ever had in memory; 0 when it is gone."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def threads(pids: list[int]) -> int:
    """Threads of all the processes together: what a cap on processes counts."""
    return sum(int(fields[_THREADS]) for fields in _stats(pids))


def cpu_seconds(pids: list[int]) -> float:
    """Processor time of all the processes together, since each began."""
    ticks = sum(int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS]) for fields in _stats(pids))
    return ticks / _TICKS_A_SECOND


def _stats(pids: list[int]) -> Iterator[list[str]]:
    """The fields of /proc/PID/stat behind the name, for those that are still there."""
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/stat") as file:
            yield file.read().rpartition(")")[2].split()


def threads_of_uid(uid: int) -> int:
    """Threads of all processes of a user."""
    found = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                found.append(int(name))
    return threads(found)


def files(folder: str, most: int) -> tuple[int, int]:
    """Bytes on disk and number of files below a folder; stops soon after `most` files."""
    size = count = 0
    waiting = [folder]
    while waiting and count <= most:
        for entry in _entries(waiting.pop()):
            count += 1
            with suppress(OSError):
                seen = entry.stat(follow_symlinks=False)
                size += seen.st_blocks * 512
                if stat.S_ISDIR(seen.st_mode):
                    waiting.append(entry.path)
            if count > most:
                break
    return size, count


def _entries(folder: str) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def unlinked_bytes(pids: list[int], device: int) -> int:
    """Bytes on a device in files that have no name any more, but are held open."""
    seen: dict[int, int] = {}
    for pid in pids:
        with suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    found = os.stat(f"/proc/{pid}/fd/{fd}")
                    if found.st_nlink == 0 and found.st_dev == device:
                        seen[found.st_ino] = found.st_blocks * 512
    return sum(seen.values())
