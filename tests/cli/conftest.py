"""A real hub in a thread, and verbs run as a user would, in this process or as one of their own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

from talkoot.cli.main import main
from talkoot.hub.serve import HubServer
from talkoot.hub.tx import Settings
from talkoot.wire.home import Home, KnownHub


class Typed:
    """What came of one command line."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of nobody yet."""
    monkeypatch.setenv("TALKOOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TALKOOT_PROGRESS", "0")
    monkeypatch.delenv("TALKOOT_HUB", raising=False)
    return Home(tmp_path / "home")


@pytest.fixture
def hub(tmp_path, home):
    """A hub whose operator types."""
    with HubServer(tmp_path / "hub", operator=home.person().public, settings=Settings(name="test hub")) as server:
        home.remember(KnownHub(server.address, server.key.hex(), "test hub"))
        yield server


@pytest.fixture
def talkoot(capsys):
    """Type a command line: `talkoot("jobs", "--json").json`."""

    def type_it(*arguments):
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        return Typed(code, out, err)

    return type_it


@pytest.fixture(scope="session")
def store():
    """A store that every user may enter; made once."""
    folder = tempfile.mkdtemp(prefix="talkoot-tests-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Running:
    """A verb that runs on, as a process."""

    def __init__(self, arguments, variables):
        command = [sys.executable, "-m", "talkoot.cli.main", *arguments]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env={**os.environ, **variables}, **pipes)

    def first_line(self):
        line = self.process.stdout.readline()
        assert line, self.process.communicate(timeout=10)
        return line

    def end(self, number):
        """Send a signal; what it came to, and how long it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return Typed(self.process.returncode, out, err), time.monotonic() - began


@pytest.fixture
def start():
    """Start verbs that run on; none outlives the test."""
    started = []

    def begin(*arguments, **variables):
        running = Running(arguments, variables)
        started.append(running)
        return running

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()
