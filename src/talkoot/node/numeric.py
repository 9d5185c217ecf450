"""The numeric class of a device: which machines give the same bits for the same floating-point program.

Pure: from what /proc/cpuinfo and `platform` say to a class. The kernel family of OpenBLAS is not left to the
library, which would choose by the very model of the CPU: it is pinned in every cell to what the class says.
"""

from typing import Final

from talkoot.core.types import NumericClass

_LEVELS: Final = (
    ("x86-64-v4", frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})),
    ("x86-64-v3", frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"})),
    ("x86-64-v2", frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"})),
)
"""The flags of Linux for the levels of the x86-64 psABI (abm is left out: some kernels call it lzcnt)."""
_CORES: Final = {
    "x86-64-v4": "SkylakeX",
    "x86-64-v3": "Haswell",
    "x86-64-v2": "Nehalem",
    "x86-64-v1": "Prescott",
    "asimd": "ARMV8",
}


def simd_level(machine: str, cpuinfo: str) -> str:
    """The level of vector instructions that every CPU of the device has."""
    if machine not in ("x86_64", "AMD64"):
        return "asimd" if machine in ("aarch64", "arm64") else "scalar"
    sets = [frozenset(line.partition(":")[2].split()) for line in cpuinfo.splitlines() if line.startswith("flags")]
    common = frozenset.intersection(*sets) if sets else frozenset[str]()
    for place, (level, _) in enumerate(_LEVELS):
        if all(needed <= common for _, needed in _LEVELS[place:]):  # a level has all that is below it
            return level
    return "x86-64-v1"


def blas_core(simd: str) -> str:
    """The OPENBLAS_CORETYPE for a level; empty where there is none to pin."""
    return _CORES.get(simd, "")


def numeric_class(machine: str, libc: str, python: str, simd: str, gpus: tuple[str, ...] = ()) -> NumericClass:
    """The class of a device. Threads are the task's CPUs, the same on every node."""
    core = blas_core(simd)
    return NumericClass(machine, libc, python, simd, f"{core}, a thread a CPU" if core else "", ", ".join(sorted(set(gpus))))
