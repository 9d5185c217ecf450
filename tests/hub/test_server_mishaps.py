"""A hub whose disk is full, whose process is killed, whose writer fails: all or nothing, and the log tells the tables."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from talkoot.core.errors import DiskFull, InternalError, TalkootError, Unavailable
from talkoot.hub import schema
from talkoot.hub.engine import rebuild
from talkoot.hub.log import SqliteLog
from talkoot.testing.checks import dump
from talkoot.wire import messages as m

TASKS = 10_000


def assert_tables_are_the_fold(data, tmp_path):
    db = schema.connect(data / "hub.db")
    fresh = rebuild(SqliteLog(db), tmp_path / f"rebuilt-{os.urandom(4).hex()}.db")
    try:
        for table in schema.FOLDED:
            assert dump(db, table) == dump(fresh, table), table
        assert db.execute("SELECT sum(balance) FROM accounts").fetchone() == (0,)
    finally:
        db.close()
        fresh.close()


@contextlib.contextmanager
def own_disk(folder, size):
    """A folder that is a disk of its own, of so many bytes. Skips where none can be mounted."""
    folder.mkdir()
    options = f"size={size},mode=700"
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here: that takes root and the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_refuses_whole_commands_and_loses_nothing(serve_hub, tmp_path):
    with own_disk(tmp_path / "disk", 6 * 2**20) as disk:
        hub = serve_hub(disk / "hub")
        _fill_until_refused(hub)
        hub.stop()
        assert_tables_are_the_fold(hub.data, tmp_path)


def test_a_full_database_refuses_whole_commands_and_loses_nothing(serve_hub, tmp_path):
    hub = serve_hub()
    db = hub._running.engine.db
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0] + 300}")
    _fill_until_refused(hub)
    db.execute("PRAGMA max_page_count = 1000000")
    hub.operator.submit(range(2_000))  # there is room again
    hub.stop()
    assert_tables_are_the_fold(hub.data, tmp_path)


def _fill_until_refused(hub):
    accepted = 0
    with pytest.raises(DiskFull, match="nothing was changed"):
        for _ in range(100):
            hub.operator.submit(range(2_000))
            accepted += 1
    assert hub.rows("SELECT count(*), coalesce(sum(total), 0) FROM jobs") == [(accepted, 2_000 * accepted)]
    assert hub.operator.call("/v1/view/jobs", m.ViewJobs(), m.JobRows) is not None  # it still answers


SERVE = (
    "import sys; from pathlib import Path; from talkoot.hub.serve import serve\n"
    "serve(Path(sys.argv[1]), operator=bytes.fromhex(sys.argv[2]), operator_name='operator', port=0,"
    " ready=lambda address: print(address, flush=True))"
)


class Apart:
    """A hub in a process of its own, which can be killed."""

    def __init__(self, data, operator):
        from talkoot.wire.client import hello

        arguments = [sys.executable, "-c", SERVE, str(data), operator.hex()]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()
        self.key = hello(self.address).hub
        self.clients = []

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        for client in self.clients:
            client.close()


@pytest.mark.parametrize("round_", range(4))
def test_a_hub_killed_during_a_submission_has_all_of_it_or_nothing(hub, aside, tmp_path, round_):
    person, key = type(hub.operator), hub.operator.key
    data = tmp_path / "killed"
    apart = Apart(data, key.public)
    try:
        operator = person(apart, key)
        job, request = operator.submission(range(TASKS))
        with aside(operator.call, "/v1/jobs/submit", request, m.Submitted) as submitting:
            time.sleep(random.Random(round_).uniform(0.0, 0.8))
            apart.kill()
        answered = True
        try:
            submitting.result()
        except Unavailable:
            answered = False
    finally:
        apart.kill()
    assert_tables_are_the_fold(data, tmp_path)
    again = Apart(data, key.public)
    try:
        operator = person(again, key)
        (total,) = [row.progress.total for row in operator.call("/v1/view/jobs", m.ViewJobs(), m.JobRows).jobs] or [0]
        assert total in ((TASKS,) if answered else (0, TASKS))
        reply = operator.call("/v1/jobs/submit", request, m.Submitted)  # sent again, it is there once
        assert reply.tasks == TASKS
        assert operator.answers(job).progress.total == TASKS
    finally:
        again.kill()


def test_one_command_that_fails_takes_nothing_from_the_others(hub, monkeypatch, caplog):
    from talkoot.hub.commands import people

    def broken(tx, signer, request):
        raise RuntimeError("a fault that nobody thought of")

    monkeypatch.setattr(people, "leave", broken)
    with pytest.raises(InternalError, match="nothing was changed") as caught:
        hub.operator.call("/v1/leave", m.Leave(bytes(32)))
    assert "nobody thought of" not in str(caught.value)
    assert "nobody thought of" in caplog.text
    hub.operator.submit([1])


def test_a_writer_that_dies_stops_the_hub_and_says_why(serve_hub, tmp_path, monkeypatch, caplog):
    hub = serve_hub(tmp_path / "dying")

    def die():
        raise MemoryError("no more")

    monkeypatch.setattr(hub._running.engine, "tick", die)
    hub._thread.join(10)
    assert not hub._thread.is_alive()
    assert "the hub's writer died" in caplog.text
    with pytest.raises(InternalError, match="its writer died"):
        hub.stop()
    with pytest.raises(TalkootError):
        hub.operator.call("/v1/view/hub", m.Nothing(), m.HubView)


def test_the_reference_page_of_the_api_is_the_one_in_the_code():
    from talkoot.hub.endpoints import ENDPOINTS, page
    from talkoot.hub.handlers import HANDLERS

    written = Path(__file__).parents[2] / "docs" / "reference" / "http-api.md"
    assert written.read_text(encoding="utf-8") == page(), "run: python -m talkoot.hub.endpoints > docs/reference/http-api.md"
    assert [endpoint.path for endpoint in ENDPOINTS] == list(HANDLERS)
