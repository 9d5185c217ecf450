"""All of the sandbox tests once more, where the node is an ordinary user: other kernel rules hold there."""

import os
import shutil
import site
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import talkoot
from talkoot.node.sandbox.store import unreachable

HERE = Path(__file__).parent
FILES = [HERE / "test_sandbox_holds.py", HERE / "test_sandbox_caps.py", HERE / "test_sandbox_probe.py"]
UID = 61_000 + os.getpid() % 4_000
# One of its own for each run: two runs at once would count, and could signal, each other's processes.


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests are run by an ordinary user anyway")
def test_everything_holds_for_a_node_that_is_an_ordinary_user(lab):
    source = Path(talkoot.__file__).parent.parent
    packages = next(Path(path) for path in [*site.getsitepackages(), *sys.path] if (Path(path) / "pytest").is_dir())
    for path in (HERE, source, packages):
        if problem := unreachable(path):
            pytest.skip(problem)
    interpreter = lab.sandbox._host._interpreter
    folder = Path(tempfile.mkdtemp(prefix="talkoot-plain-"))
    os.chown(folder, UID, UID)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LD_LIBRARY_PATH": str(interpreter.folder / "lib"),
        "PYTHONPATH": os.pathsep.join(map(str, (source, packages))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [interpreter.folder / interpreter.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, "--durations=8", "-rs", "-v", f"--rootdir={HERE.parent.parent}", *FILES],
            env=environment,
            cwd=folder,
            user=UID,
            group=UID,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=200,
        )
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"did not end:\n{(late.stdout or b'').decode()[-3000:]}\n{(late.stderr or b'').decode()[-6000:]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
