"""Which rungs a device has is found out by trying, and what fails is said in words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from talkoot.core.errors import BadInput, NoSandbox
from talkoot.core.types import Rung, TaskLimits
from talkoot.node.sandbox import CellSpec, Sandbox

SPEC = CellSpec(TaskLimits())
LANDLOCK_CREATE_RULESET = "444"

IN_A_CONTAINER = """
import ctypes, json, struct, sys, os
from pathlib import Path
from talkoot.node.sandbox.syscalls import NUMBERS
from talkoot.node.sandbox.seccomp import ARCHITECTURES
column = ARCHITECTURES[os.uname().machine][0]
refused = [int(name) if name.isdigit() else NUMBERS[name][column] for name in sys.argv[2].split(",")]
code = [(0x20, 0, 0, 0)]
for number in refused:
    code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x50001)]
code += [(0x15, 0, 4, NUMBERS["clone"][column]), (0x20, 0, 0, 16), (0x45, 0, 1, 0x7E020000), (0x06, 0, 0, 0x50001)]
code += [(0x06, 0, 0, 0x7FFF0000), (0x15, 0, 1, NUMBERS["clone3"][column]), (0x06, 0, 0, 0x50026)]
code += [(0x06, 0, 0, 0x7FFF0000)]
blob = b"".join(struct.pack("=HBBI", *one) for one in code)
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))
libc = ctypes.CDLL(None, use_errno=True)
# Before no_new_privs is asked for, as root: a container's runtime does the same.
if os.geteuid() != 0:
    libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, ctypes.byref(Program(len(code), blob)), 0, 0) == 0, ctypes.get_errno()
from talkoot.core import carrier, codec
from talkoot.core.types import TaskLimits
from talkoot.node.sandbox import CellSpec, Sandbox
sandbox = Sandbox(Path(sys.argv[1]))
reports = {r.rung: [r.works, r.reason, r.remedy] for r in sandbox.probe()}
answer = None
try:
    cell = sandbox.open(CellSpec(TaskLimits()))
    python = "%d.%d" % sys.version_info[:2]
    cell.load(carrier.encode(carrier.Carrier(carrier.FORMAT, python, [carrier.NAME, "math", "sqrt"], [], [], [])))
    answer = codec.decode(cell.run(codec.encode(((9.0,), {})), 1, time_s=10).answer)
except Exception as error:
    answer = repr(error)
sandbox.close()
print(json.dumps({"reports": reports, "rung": sandbox.rung, "answer": answer}))
"""


def in_a_container(lab, *refused):
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CONTAINER, str(lab.folder / "store"), ",".join(refused)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_in_an_ordinary_container_the_landlock_rung_is_left(lab):
    lab.need(Rung.LANDLOCK)
    seen = in_a_container(lab, "unshare", "mount", "umount2", "setns", "pivot_root", "mount_setattr")
    assert not seen["reports"]["bwrap"][0]
    assert not seen["reports"]["namespaces"][0]
    assert "not permitted" in seen["reports"]["namespaces"][1]
    assert "container" in seen["reports"]["namespaces"][2]
    assert seen["reports"]["landlock"][0], seen
    assert (seen["rung"], seen["answer"]) == ("landlock", 3.0)


def test_where_nothing_works_nothing_is_run(lab):
    seen = in_a_container(lab, "unshare", "mount", "setns", LANDLOCK_CREATE_RULESET)
    assert not any(works for works, _, _ in seen["reports"].values())
    assert seen["rung"] == "none"
    assert "NoSandbox" in seen["answer"]


def test_without_bubblewrap_the_node_builds_the_view_itself(lab, monkeypatch, tmp_path):
    lab.need(Rung.NAMESPACES)
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox = Sandbox(lab.folder / "store")
    report = sandbox.probe()[0]
    assert (report.works, report.reason) == (False, "bwrap is not installed")
    assert "Install bubblewrap" in report.remedy
    assert sandbox.rung is Rung.NAMESPACES
    sandbox.close()


def test_a_rung_that_the_owner_refuses_is_not_used(lab):
    lab.need(Rung.LANDLOCK)
    sandbox = Sandbox(lab.folder / "store")
    reports = sandbox.probe(refuse={Rung.BWRAP, Rung.NAMESPACES})
    assert [report.works for report in reports] == [False, False, True]
    assert sandbox.rung is Rung.LANDLOCK
    cell = sandbox.open(SPEC)
    assert cell.rung is Rung.LANDLOCK
    sandbox.close()
    assert not cell.alive


def test_a_bare_process_is_only_for_those_who_ask_for_it(lab):
    sandbox = Sandbox(lab.folder / "store")
    sandbox.probe(refuse=set(Rung))
    assert sandbox.rung is Rung.NONE
    with pytest.raises(NoSandbox):
        sandbox.open(SPEC)
    cell = sandbox.open(SPEC, rung=Rung.NONE)
    assert cell.rung is Rung.NONE
    sandbox.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's cells have the user's own uid")
def test_a_store_that_others_cannot_enter_is_named(lab):
    closed = lab.folder / "closed"
    closed.mkdir(mode=0o700)
    sandbox = Sandbox(closed / "store")
    report = sandbox.probe()[0]
    assert not report.works
    assert str(closed) in report.reason
    assert "/var/lib" in report.remedy
    sandbox.close()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\0b"])
def test_an_input_cannot_be_mounted_elsewhere(lab, name):
    with pytest.raises(BadInput):
        lab.sandbox.open(CellSpec(TaskLimits(), inputs=((lab.input, name),)), rung=Rung.LANDLOCK)


def test_nothing_remains_of_closed_cells(lab):
    sandbox = Sandbox(lab.folder / "store")
    folder: Path = sandbox._host._cells
    open_before = len(os.listdir("/proc/self/fd"))
    for report in sandbox.probe():
        if report.works:
            cell = sandbox.open(SPEC, rung=report.rung)
            assert cell.alive
            cell.close()
    assert sorted(path.name for path in folder.iterdir()) == ["witness"]
    assert len(os.listdir("/proc/self/fd")) == open_before
    sandbox.close()
    assert not folder.exists()


def test_cells_of_a_node_that_died_are_cleared_away(lab):
    left = lab.folder / "store" / "cells-dead"
    (left / "cell-1" / "scratch" / "deep").mkdir(parents=True)
    sandbox = Sandbox(lab.folder / "store")
    assert not left.exists()
    assert lab.sandbox._host._cells.exists()
    sandbox.close()


def test_the_umask_of_the_node_does_not_shut_cells_out(lab):
    before = os.umask(0o077)
    try:
        (lab.folder / "private").mkdir(mode=0o755)
        (lab.folder / "private").chmod(0o755)
        sandbox = Sandbox(lab.folder / "private" / "store")
        works = [report.works for report in sandbox.probe()]
        sandbox.close()
    finally:
        os.umask(before)
    assert works == [report.works for report in lab.reports.values()]
