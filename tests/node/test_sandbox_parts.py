"""The parts of the sandbox that can be told apart from a running cell."""

import errno
import os
import platform
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkoot.core.types import NumericClass
from talkoot.node.guest import scratch
from talkoot.node.sandbox import numeric, seccomp
from talkoot.node.sandbox.channel import Broken, Capture, _missing
from talkoot.node.sandbox.syscalls import ALLOWED, DENIED, NUMBERS, OWNERSHIP, SESSIONS

ALLOW, KILL = 0x7FFF0000, 0x80000000


def verdict(code, number, *arguments, machine="x86_64"):
    """Run a filter as the kernel would."""
    architecture = seccomp.ARCHITECTURES[machine][1]
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(*arguments, *[0] * 6)[:6])
    at = accumulator = 0
    while True:
        operation, yes, no, k = struct.unpack_from("=HBBI", code, at * 8)
        at += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif operation == 0x06:
            return k
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[operation]
            at += yes if holds else no


def refusal(number):
    return 0x50000 | number


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("flat", [False, True])
def test_the_filter_says_of_every_call_what_the_lists_say(machine, flat):
    code = seccomp.build(machine, flat=flat)
    column = seccomp.ARCHITECTURES[machine][0]
    for name, numbers in NUMBERS.items():
        number = numbers[column]
        if number < 0:
            continue
        said = verdict(code, number, machine=machine)
        if name in ALLOWED:
            assert said == ALLOW, name
        elif name in DENIED:
            assert said == refusal(errno.EPERM), name
        elif name in OWNERSHIP:
            assert said == (refusal(0) if flat else ALLOW), name
        elif name in SESSIONS:
            assert said == (refusal(errno.EPERM) if flat else ALLOW), name
    known = {numbers[column] for numbers in NUMBERS.values()}
    for number in set(range(600)) - known:
        assert verdict(code, number, machine=machine) == refusal(errno.ENOSYS)


def test_arguments_decide_where_they_must():
    code = seccomp.build("x86_64", flat=False)
    number = {name: numbers[0] for name, numbers in NUMBERS.items()}
    assert verdict(code, number["socket"], 1) == ALLOW
    assert verdict(code, number["socket"], 2) == refusal(errno.EAFNOSUPPORT)
    assert verdict(code, number["clone"], 0x11) == ALLOW
    for bit in range(25, 31):
        assert verdict(code, number["clone"], 1 << bit | 0x11) == refusal(errno.EPERM)
    assert verdict(code, number["clone"], 0x20000) == refusal(errno.EPERM)
    assert verdict(code, number["clone3"]) == refusal(errno.ENOSYS)
    assert verdict(code, number["prlimit64"], 0) == ALLOW
    assert verdict(code, number["prlimit64"], 1) == refusal(errno.EPERM)
    assert verdict(code, number["prctl"], 4) == refusal(errno.EPERM)
    assert verdict(code, number["ioctl"], 0, 0x5412) == refusal(errno.ENOTTY)
    assert verdict(seccomp.build("x86_64", flat=True), number["socket"], 1) == refusal(errno.EAFNOSUPPORT)


def test_another_architecture_ends_the_process():
    code = seccomp.build("x86_64", flat=False)
    assert verdict(code, 0, machine="aarch64") == KILL
    assert verdict(code, 0x40000000 | 39) == KILL


@given(st.lists(st.binary(max_size=200)), st.integers(2, 300))
def test_a_capture_keeps_all_or_head_and_tail(parts, most):
    capture = Capture(most)
    for part in parts:
        capture.add(part)
    whole, kept = b"".join(parts), capture.take()
    half = most // 2
    if len(whole) <= 2 * half:
        assert kept == whole
    else:
        left_out = len(whole) - 2 * half
        assert kept == whole[:half] + b"\n[%d bytes left out]\n" % left_out + whole[-half:]
    assert capture.take() == b""


@given(st.binary(min_size=4, max_size=4))
def test_no_length_beyond_the_limit_is_believed(prefix):
    size = int.from_bytes(prefix, "little")
    if size > 1000:
        with pytest.raises(Broken):
            _missing(bytearray(prefix), 1000)
    else:
        assert _missing(bytearray(prefix), 1000) == size


def test_any_tree_is_emptied(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    (inside / ".lifted-1").write_text("in the way")
    (inside / ".lifted-2" / "full").mkdir(parents=True)
    os.mkfifo(inside / "pipe")
    shut = inside / "shut"
    (shut / "more").mkdir(parents=True)
    shut.chmod(0)
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(inside)
        for _ in range(sys.getrecursionlimit() + 500):
            os.mkdir("deep-enough-to-be-longer-than-a-path-may-be")
            os.chdir("deep-enough-to-be-longer-than-a-path-may-be")
    finally:
        os.fchdir(here)
        os.close(here)
    scratch.empty(inside)
    assert list(inside.iterdir()) == []
    assert (outside / "kept").exists()


def test_levels_of_x86_64_need_all_their_flags():
    v2 = ["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"]
    v3 = [*v2, *["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"]]
    v4 = [*v3, *["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]]
    levels = [numeric.simd_level("x86_64", frozenset(flags)) for flags in ([], v2, v3, v4, v4[1:], ["avx2"])]
    assert levels == ["x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v1", "x86-64-v1"]
    assert [numeric.blas_core(level) for level in levels[:4]] == ["Nehalem", "Nehalem", "Haswell", "SkylakeX"]
    assert numeric.blas_core(numeric.simd_level("aarch64", frozenset())) == "ARMV8"


def test_this_machine_has_a_class():
    found = numeric.numeric_class(2)
    assert isinstance(found, NumericClass)
    assert found.machine == platform.machine()
    assert found.blas.endswith("/2")
