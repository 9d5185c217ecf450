"""What no task can use up, on every rung that works here; and after each, an honest task still runs."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from talkoot.core import codec
from talkoot.core.errors import NoSandbox, ProgramError
from talkoot.core.limits import MAX_NOTE_BYTES
from talkoot.core.types import Outcome, Rung, TaskLimits
from talkoot.node.sandbox import CellSpec

RUNGS = [Rung.BWRAP, Rung.NAMESPACES, Rung.LANDLOCK]
MIB = 2**20


@pytest.fixture(params=RUNGS)
def rung(request, lab):
    lab.need(request.param)
    return request.param


@dataclass
class Glutton:
    name: str
    args: tuple
    reasons: set[str]
    time_s: float = 20.0


GLUTTONS = [
    Glutton("fork_bomb", (), {"processes"}),
    Glutton("thread_bomb", (), {"processes"}),
    Glutton("memory_hog", (4 << 30,), {"memory"}),
    Glutton("memory_of_children", (6, 60 * MIB), {"memory"}),
    Glutton("fills_disk", (64 * MIB,), {"scratch"}),
    Glutton("fills_disk_unnamed", (64 * MIB,), {"scratch"}),
    Glutton("many_files", (2_000,), {"scratch"}),
    Glutton("endless", (), {"time"}, 0.3),
    Glutton("ignores_signals", (), {"time"}, 0.3),
    Glutton("returns", (64 * MIB,), {"answer_too_large"}),
    Glutton("returns", (1 << 30,), {"memory", "answer_too_large"}),
    Glutton("exits", (3,), {"crashed"}),
    Glutton("exits", (0,), {"crashed"}),
    Glutton("crashes", (), {"crashed"}),
    Glutton("babbles", (), {"crashed"}),
]


@pytest.mark.parametrize("glutton", GLUTTONS, ids=lambda g: f"{g.name}{g.args or ''}")
def test_a_task_beyond_its_caps_is_killed_and_named(lab, rung, glutton):
    run = lab.run(rung, glutton.name, *glutton.args, time_s=glutton.time_s)
    assert run.outcome is Outcome.KILLED, run
    assert run.reason.partition(":")[0] in glutton.reasons, run
    assert lab.value(rung, "double", 1) == 2
    assert lab.run(rung, "about").outcome is Outcome.ANSWERED


def test_output_without_end_is_counted_and_cut(lab, rung):
    run = lab.run(rung, "prints", 200 * MIB)
    assert run.outcome is Outcome.ANSWERED
    assert run.note.stdout.endswith(b"the end\n")
    assert b"bytes left out" in run.note.stdout
    assert len(msgspec.msgpack.encode(run.note)) <= MAX_NOTE_BYTES


def test_the_longest_note_is_within_its_limit(lab, rung):
    run = lab.run(rung, "raises", "\U0001f40d" * 10_000)
    assert run.outcome is Outcome.RAISED
    assert len(msgspec.msgpack.encode(run.note)) <= MAX_NOTE_BYTES


def test_a_daemon_left_behind_dies_with_its_task(lab, rung):
    name = f"tk-{secrets.token_hex(5)}"
    assert lab.run(rung, "leaves_daemon", name).outcome is Outcome.ANSWERED
    _gone(name)
    assert lab.value(rung, "double", 1) == 2


def _gone(name, patience_s=5.0):
    until = time.monotonic() + patience_s
    while name in _names() and time.monotonic() < until:
        time.sleep(0.01)
    assert name not in _names()


def _names():
    found = set()
    for pid in os.listdir("/proc"):
        try:
            with open(f"/proc/{pid}/stat") as file:
                before, _, after = file.read().rpartition(")")
        except OSError:
            continue
        if after.split()[0] != "Z":
            found.add(before.partition("(")[2])
    return found


def test_a_thread_left_behind_ends_the_cell_but_not_the_answer(lab, rung):
    cell = lab.open(rung)
    run = cell.run(codec.encode((("leaves_thread",), {})), 1, time_s=5)
    assert (run.outcome, cell.alive) == (Outcome.ANSWERED, False)
    with pytest.raises(NoSandbox):
        cell.run(codec.encode((("double", 1), {})), 1, time_s=5)


def test_a_worker_that_computes_between_tasks_is_ended(lab):
    rung = lab.sandbox.rung
    lab.need(rung)
    cell = lab.open(rung)
    assert cell.run(codec.encode((("computes_afterwards",), {})), 1, time_s=5).outcome is Outcome.ANSWERED
    until = time.monotonic() + 20
    while cell.alive and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(NoSandbox, match="went on computing"):
        cell.run(codec.encode((("double", 1), {})), 1, time_s=5)


def test_a_traceback_without_end_is_a_short_answer(lab, rung):
    run = lab.run(rung, "recurses")
    assert (run.outcome, codec.decode(run.answer)["type"]) == (Outcome.RAISED, "RecursionError")
    assert len(run.answer) < 4096


def test_a_child_that_comes_back_from_fork_answers_nothing(lab, rung):
    assert lab.value(rung, "forks_and_comes_back") == 1
    assert lab.value(rung, "double", 1) == 2


def test_a_forged_reply_is_only_the_jobs_own_answer(lab, rung):
    run = lab.run(rung, "forges", b"\x92\xa6loaded\xa0")
    assert (run.outcome, run.reason.partition(":")[0]) == (Outcome.KILLED, "crashed")
    assert lab.value(rung, "double", 1) == 2


def test_a_tree_deeper_than_any_stack_is_removed(lab, rung):
    run = lab.run(rung, "deep_tree", 150)
    assert run.outcome is Outcome.ANSWERED
    assert lab.value(rung, "about")["files"] == []


@pytest.mark.parametrize(
    ("name", "args", "kind"),
    [("raises", ("why",), "ValueError"), ("leaves", (3,), "SystemExit"), ("unknown", (), "CodecError")],
)
def test_what_a_task_raises_is_an_answer(lab, rung, name, args, kind):
    run = lab.run(rung, name, *args)
    assert run.outcome is Outcome.RAISED
    assert codec.decode(run.answer)["type"] == kind
    if name == "raises":
        assert run.note.message == "why"
        assert "raise ValueError(message)" in run.note.traceback


def test_the_same_seed_draws_the_same_whatever_ran_before(lab, rung):
    first = lab.value(rung, "draws", 3, seed=7)
    assert lab.value(rung, "draws", 5, seed=8)[:3] != first
    assert lab.value(rung, "draws", 3, seed=7) == first


@pytest.fixture(scope="module")
def numpy_environment(lab):
    numpy = pytest.importorskip("numpy")
    packages = Path(numpy.__file__).parent.parent
    environment = lab.folder / "numpy-environment"
    environment.mkdir()
    for name in ("numpy", "numpy.libs"):
        if (packages / name).exists():
            shutil.copytree(packages / name, environment / name, ignore=shutil.ignore_patterns("tests", "*.pyi"))
    shutil.copy(lab.environment / "attacks.py", environment)
    environment.chmod(0o755)
    return environment


def test_numpy_is_seeded_also_where_the_task_imports_it_first(lab, rung, numpy_environment):
    lab.need(rung)
    cell = lab.sandbox.open(CellSpec(TaskLimits(), numpy_environment, blas_core="Haswell"), rung=rung)
    cell.load(lab.program)
    arguments = codec.encode((("numpy_draws", 3), {}))
    cold, warm = (cell.run(arguments, 7, time_s=30) for _ in range(2))
    other = cell.run(arguments, 8, time_s=30)
    cell.close()
    assert cold.outcome is Outcome.ANSWERED, cold
    assert cold.answer == warm.answer != other.answer


def test_the_hash_seed_is_the_specifications(lab, rung):
    answers = []
    for seed in (1, 1, 2):
        cell = lab.open(rung, hash_seed=seed)
        answers.append(cell.run(codec.encode((("hashed", "x"), {})), 1, time_s=5).answer)
        cell.close()
    assert answers[0] == answers[1] != answers[2]


def test_a_program_that_cannot_be_built_says_why(lab, rung):
    cell = lab.open(rung)
    with pytest.raises(ProgramError):
        cell.load(b"not a program")
    cell.close()


def test_kill_from_another_thread_ends_a_run(lab, rung):
    cell = lab.open(rung)
    timer = threading.Timer(0.1, cell.kill, ["time: the owner wants the device back"])
    timer.start()
    run = cell.run(codec.encode((("endless",), {})), 1, time_s=20)
    timer.join()
    assert (run.outcome, run.reason) == (Outcome.KILLED, "time: the owner wants the device back")
    assert not cell.alive


DYING_NODE = """
import sys
from pathlib import Path
from talkoot.core import codec
from talkoot.core.types import Rung, TaskLimits
from talkoot.node.sandbox import CellSpec, Sandbox
store, environment, rung, name, carrier = sys.argv[1:]
cell = Sandbox(Path(store)).open(CellSpec(TaskLimits(), Path(environment)), rung=Rung(rung))
cell.load(bytes.fromhex(carrier))
print("up", flush=True)
cell.run(codec.encode((("named_and_endless", name), {})), 1, time_s=60)
"""


def test_cells_die_with_a_node_that_is_killed(lab, rung):
    name = f"tk-{secrets.token_hex(5)}"
    arguments = [str(lab.folder / "store"), str(lab.environment), str(rung), name, lab.program.hex()]
    node = subprocess.Popen(
        [sys.executable, "-c", DYING_NODE, *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert node.stdout.readline() == b"up\n"
    until = time.monotonic() + 5
    while name not in _names() and time.monotonic() < until:
        time.sleep(0.01)
    assert name in _names()
    node.send_signal(signal.SIGKILL)
    node.wait()
    node.stdout.close()
    _gone(name)


def test_caps_hold_by_polling_where_there_are_no_control_groups(lab, rung, monkeypatch):
    monkeypatch.setattr(lab.sandbox._host._groups, "usable", False)
    cell = lab.open(rung)
    assert cell.enforced == "rlimit,polled"
    run = cell.run(codec.encode((("memory_of_children", 6, 60 * MIB), {})), 1, time_s=20)
    assert (run.outcome, run.reason.partition(":")[0]) == (Outcome.KILLED, "memory")
    cell = lab.open(rung)
    run = cell.run(codec.encode((("fork_bomb",), {})), 1, time_s=20)
    assert (run.outcome, run.reason.partition(":")[0]) == (Outcome.KILLED, "processes")
