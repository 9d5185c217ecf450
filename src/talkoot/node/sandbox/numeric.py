"""The numeric class of this machine: machines of one class give the same bits for the same floating-point work.

What decides the bits, beside the program: the machine, the C library's mathematics, Python, and the kernels that
the linear algebra library chooses by what the processor can do. The latter are pinned in every cell
(OPENBLAS_CORETYPE), to the best that all processors of one level have.
"""

import platform
import sys
from pathlib import Path
from typing import Final

from talkoot.core.types import NumericClass

_X86_LEVELS: Final = (
    ("x86-64-v4", frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})),
    ("x86-64-v3", frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"})),
    ("x86-64-v2", frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"})),
)
"""Level of the x86-64 psABI, and the flags of /proc/cpuinfo that it asks for beyond the level below."""
_BLAS_CORES: Final = {"x86-64-v4": "SkylakeX", "x86-64-v3": "Haswell", "armv8": "ARMV8"}
_OLDEST_BLAS_CORE: Final = "Nehalem"


def simd_level(machine: str, flags: frozenset[str]) -> str:
    """The level of vector instructions: `x86-64-v1` to `v4`, `armv8`, or the machine's own name."""
    if machine in {"aarch64", "arm64"}:
        return "armv8"
    if machine != "x86_64":
        return machine
    level = "x86-64-v1"
    for name, wanted in reversed(_X86_LEVELS):
        if not wanted <= flags:
            break
        level = name
    return level


def blas_core(simd: str) -> str:
    """The OPENBLAS_CORETYPE that every processor of this level has; empty for machines without a choice."""
    if simd.startswith("x86-64"):
        return _BLAS_CORES.get(simd, _OLDEST_BLAS_CORE)
    return _BLAS_CORES.get(simd, "")


def numeric_class(cpus: int = 1) -> NumericClass:
    """The class of this machine, for tasks of so many CPUs."""
    machine = platform.machine()
    simd = simd_level(machine, _processor_flags())
    return NumericClass(
        machine=machine,
        libc="-".join(platform.libc_ver()).strip("-"),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        simd=simd,
        blas=f"{blas_core(simd)}/{cpus}",
    )


def _processor_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()
