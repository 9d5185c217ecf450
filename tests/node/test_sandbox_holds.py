"""What no task can reach, on every rung that works here."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from talkoot.core import codec
from talkoot.core.types import Rung, TaskLimits
from talkoot.node.sandbox import CellSpec

RUNGS = [Rung.BWRAP, Rung.NAMESPACES, Rung.LANDLOCK]
OWN_ROOT = {Rung.BWRAP, Rung.NAMESPACES}


@pytest.fixture(params=RUNGS)
def rung(request, lab):
    lab.need(request.param)
    return request.param


@pytest.fixture
def secret(lab):
    """A file such as the node's key: below the store, in a folder nobody else may enter."""
    folder = lab.folder / "store" / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "node.key"
    path.write_text("secret")
    return str(path)


def test_an_answer_comes_back(lab, rung):
    assert lab.value(rung, "double", 21) == 42


def test_arguments_and_answers_larger_than_a_pipe_pass(lab, rung):
    data = os.urandom(300_000)
    assert lab.value(rung, "double", data) == 2 * data


def test_a_task_sees_a_small_fixed_environment(lab, rung):
    seen = lab.value(rung, "about")
    assert seen["files"] == []
    assert os.path.basename(seen["cwd"]) == "work"
    assert seen["environ"]["HOME"] == seen["cwd"]
    assert seen["environ"]["OPENBLAS_NUM_THREADS"] == "1"
    assert not {name for name in seen["environ"] if name.startswith(("TALKOOT", "PYTEST"))} - {"TALKOOT_INPUTS"}
    assert not seen["msgspec"]
    assert not any("runtime" in path for path in seen["path"])
    assert seen["uid"] != 0
    assert len(seen["fds"]) == (6 if rung is Rung.LANDLOCK else 5)  # there it holds its own /proc/self/maps as well


def test_an_input_can_be_read(lab, rung):
    assert lab.value(rung, "reads", "input.txt") == "an input"


def test_a_task_can_see_which_libraries_it_has_loaded(lab, rung):
    assert "python" in lab.value(rung, "mapped")  # threadpoolctl looks there, and so scikit-learn


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_task_may_have_worker_processes_where_there_are_namespaces(lab, rung, method):
    if rung not in OWN_ROOT:
        pytest.skip("single-process tasks: stated in docs/explanation/sandbox.md")
    assert lab.value(rung, "pooled", method) == [0, 2, 4, 6]


def test_a_job_has_its_own_msgspec_or_none(lab, rung):
    assert lab.run(rung, "foreign_msgspec").outcome == "raised"
    environment = lab.folder / f"with-msgspec-{rung}"
    shutil.copytree(Path(msgspec.__file__).parent, environment / "msgspec")
    shutil.copy(lab.environment / "attacks.py", environment)
    environment.chmod(0o755)
    cell = lab.sandbox.open(CellSpec(TaskLimits(), environment), rung=rung)
    cell.load(lab.program)
    for _ in range(2):
        run = cell.run(codec.encode((("foreign_msgspec",), {})), 1, time_s=20)
        path, encoded = codec.decode(run.answer)
        assert "environment" in path or "with-msgspec" in path
        assert encoded == b'{"x":1}'
    cell.close()


def test_a_task_may_use_the_shell(lab, rung):
    assert lab.value(rung, "shell", "echo $((6 * 7)) | cat") == "42\n"


def test_own_unix_sockets_work_where_there_are_namespaces(lab, rung):
    if rung in OWN_ROOT:
        assert lab.value(rung, "by_unix_socket") == b"through"
    else:
        assert lab.run(rung, "by_unix_socket").outcome == "raised"


def test_cells_are_opened_and_used_from_many_threads(lab, rung):
    def work(number):
        cell = lab.open(rung)
        try:
            return [codec.decode(cell.run(codec.encode((("double", number), {})), 1, time_s=20).answer) for _ in range(5)]
        finally:
            cell.close()

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6))) == [[2 * n] * 5 for n in range(6)]


def test_no_way_out_by_network(lab, rung):
    abstract = f"talkoot-{secrets.token_hex(6)}"
    path = str(lab.folder / f"{rung}.socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as hidden,
    ):
        named.bind(path)
        os.chmod(path, 0o777)
        named.listen()
        hidden.bind("\0" + abstract)
        hidden.listen()
        assert lab.value(rung, "network", tcp.getsockname()[1], abstract, path) == []


def test_host_files_cannot_be_read(lab, rung, secret):
    other = lab.open(rung)
    paths = ["/etc/passwd", "/etc/shadow", "/root/.profile", secret, str(lab.folder / "input.txt.not"), __file__]
    paths += [f"/proc/{os.getpid()}/environ", lab.sandbox._host.witness]
    found = lab.value(rung, "files", paths)
    other.close()
    assert found == []


def test_host_paths_are_not_even_there(lab, rung, secret):
    if rung not in OWN_ROOT:
        pytest.skip("without namespaces the existence of a guessed path shows: stated in docs/explanation/sandbox.md")
    assert lab.value(rung, "seen", ["/etc/passwd", "/root", "/home", str(lab.folder), secret, __file__]) == []


def test_what_is_there_to_be_read_cannot_be_written(lab, rung):
    seen = lab.value(rung, "about")
    host = lab.environment / "attacks.py"
    before = (host.read_bytes(), lab.input.read_bytes(), sorted(os.listdir(lab.environment)))
    inside = next(path for path in seen["path"] if path.endswith("environment"))
    paths = [f"{inside}/attacks.py", os.path.join(seen["environ"]["TALKOOT_INPUTS"], "input.txt"), seen["executable"]]
    found = lab.value(rung, "writes", paths)
    allowed = {name for name in found if name.startswith("symlink")}
    assert set(found) - allowed == set()
    assert (host.read_bytes(), lab.input.read_bytes(), sorted(os.listdir(lab.environment))) == before


def test_mode_and_times_of_files_outside_stay(lab, rung):
    seen = lab.value(rung, "about")
    inside = next(path for path in seen["path"] if path.endswith("environment"))
    host = lab.environment / "attacks.py"
    before = (host.stat().st_mode, host.stat().st_mtime_ns)
    lab.run(rung, "changes_mode", [f"{inside}/attacks.py", str(host)])
    assert (host.stat().st_mode, host.stat().st_mtime_ns) == before


def test_the_node_and_other_processes_are_out_of_reach(lab, rung):
    assert lab.value(rung, "processes", os.getpid()) == []
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as other:
        found = lab.value(rung, "processes", other.pid)
        other.communicate(b"\n")
    assert found == []


def test_other_processes_are_not_visible(lab, rung):
    assert len(lab.value(rung, "visible_processes")) <= 3


def test_dangerous_system_calls_are_refused(lab, rung):
    assert lab.value(rung, "kernel") == []


def test_a_call_by_the_numbers_of_another_architecture_ends_the_task(lab, rung):
    if os.uname().machine != "x86_64":
        pytest.skip("x32 is of x86-64")
    run = lab.run(rung, "foreign_numbers")
    assert (run.outcome, run.reason.partition(":")[0]) == ("killed", "crashed")
    assert "SIGSYS" in run.reason
    assert lab.value(rung, "double", 1) == 2


def test_one_task_does_not_see_what_another_left(lab, rung):
    assert lab.run(rung, "litters").note.stdout == b"left on stdout\n"
    run = lab.run(rung, "about")
    assert run.note.stdout == b""
    seen = lab.value(rung, "about")
    assert seen["files"] == []
    assert "LEFT" not in seen["environ"]


def test_the_scratch_of_another_cell_is_out_of_reach(lab, rung):
    other = lab.open(rung)
    try:
        scratch = [str(path) for path in lab.sandbox._host._cells.glob("*/scratch/work")]
        assert rung in OWN_ROOT or len(scratch) >= 2
        own = lab.value(rung, "about")["cwd"]
        assert lab.value(rung, "files", [f"{path}/x" for path in scratch if path != own]) == []
    finally:
        other.close()


def test_the_same_attacks_succeed_where_there_is_no_sandbox(lab, secret):
    """Otherwise the tests above would show nothing."""
    path = str(lab.folder / "bare.socket")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as named:
        named.bind(path)
        named.listen()
        found = lab.value(Rung.NONE, "network", tcp.getsockname()[1], "nobody", path)
    assert {"tcp", "udp", "unix path", "netlink"} <= set(found)
    assert secret in lab.value(Rung.NONE, "files", [secret])
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert {"environ", "signal", "affinity", "nice"} <= set(lab.value(Rung.NONE, "processes", other.pid))
        other.communicate(b"\n")
    copy = lab.folder / "to be written"
    copy.write_text("x")
    assert len(lab.value(Rung.NONE, "writes", [str(copy)])) > 3
