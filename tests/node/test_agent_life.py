"""A real agent through what happens to it: leave, death, a hub that restarts, replies that are lost."""

import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from talkoot.core import codec
from talkoot.core.errors import HubUnreachable
from talkoot.hub.tx import Settings
from talkoot.node.agent import SENT_AWAY, Agent
from talkoot.node.sandbox.usage import tree
from talkoot.testing.lab import CAPS, SMALL, Running, lab, shared_store
from talkoot.wire import messages as m
from talkoot.wire.client import Client
from talkoot.wire.home import Home

LONG = msgspec.structs.replace(SMALL, time_s=100)


@pytest.fixture(scope="module")
def store():
    with shared_store() as folder:
        yield folder


@pytest.fixture(name="lab")
def _lab(tmp_path, store):
    with lab(tmp_path, store) as it:
        yield it


def square(x):
    return x * x


def sleep(seconds):
    import time

    time.sleep(seconds)
    return seconds


def node_row(lab):
    (row,) = lab.client.call("/v1/view/hub", m.Nothing(), m.HubView).nodes
    return row


def test_a_polite_leave_hands_everything_back_within_two_seconds(lab):
    agent = lab.agent()
    job = lab.submit(sleep, [60.0] * 5, task_limits=LONG)
    lab.wait_running(job, 2)
    started = time.monotonic()
    ending = agent.stop()
    assert time.monotonic() - started < 2
    assert ending.exit_code == 0
    progress = lab.progress(job)
    assert (progress.running, progress.queued) == (0, 5)
    assert node_row(lab).state == "left"


def test_a_leave_while_the_hub_is_gone_does_not_take_longer(lab):
    agent = lab.agent()
    lab.wait_until(lambda: node_row(lab).state == "present")
    lab.server.stop()
    started = time.monotonic()
    agent.stop()
    assert time.monotonic() - started < 2


def test_a_node_that_comes_back_goes_on(lab):
    agent = lab.agent()
    lab.answers(lab.submit(square, [1]), 1)
    agent.stop()
    job = lab.submit(square, range(5))
    again = Running(Agent(lab.home, lab.known, CAPS, store=lab.store))
    try:
        assert codec.decode(lab.answers(job, 5)[4].answer) == 16
    finally:
        again.stop()


def test_a_restart_of_the_hub_in_the_middle_costs_no_task(lab):
    lab.agent()
    job = lab.submit(sleep, [0.05] * 40)
    lab.wait_until(lambda: lab.progress(job).final >= 4)
    lab.restart_hub()
    answers = lab.answers(job, 40)
    assert all(codec.decode(answers[i].answer) == 0.05 for i in range(40))
    assert lab.progress(job).attempts == 40


class Forgetful(Client):
    """Loses every third reply on its way back."""

    calls = 0

    def call(self, path, body, reply, *, timeout_s=None):
        answer = super().call(path, body, reply, timeout_s=timeout_s)
        self.calls += 1
        if path == "/v1/exchange" and self.calls % 3 == 0:
            raise HubUnreachable("the reply was lost")
        return answer


def test_receipts_whose_reply_was_lost_are_sent_again_and_counted_once(lab):
    lab.lend()
    client = Forgetful(lab.server.address, lab.server.key, lab.home.node(lab.server.key))
    agent = Running(Agent(lab.home, lab.known, CAPS, store=lab.store, client=client))
    try:
        job = lab.submit(sleep, [0.01] * 60)
        answers = lab.answers(job, 60)
        assert len(answers) == 60
        assert lab.progress(job).attempts == 60
        assert node_row(lab).accepted == 60
    finally:
        agent.stop()


AGENT = """
import sys
from pathlib import Path
from talkoot.node.agent import Agent
from talkoot.node.caps import Caps
from talkoot.wire.home import Home, KnownHub
home, store, address, hub = sys.argv[1:]
sys.exit(Agent(Home(home), KnownHub(address, hub), Caps(2, 2**31, 2**30), store=Path(store)).run().exit_code)
"""


def test_after_kill_9_of_an_agent_nothing_of_it_lives_on_and_its_tasks_are_done_by_others(tmp_path, store):
    with lab(tmp_path, store, Settings(name="lab", silence_s=1)) as it:
        it.lend()
        command = [sys.executable, "-c", AGENT, str(it.home.path), str(store), it.server.address, it.server.key.hex()]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            job = it.submit(sleep, [1.5] * 2, task_limits=LONG)
            it.wait_running(job, 2)
            it.wait_until(lambda: len(tree(process.pid)) >= 3)
            family = tree(process.pid)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        it.wait_until(lambda: not any(alive(pid) for pid in family), 3)
        it.wait_until(lambda: it.progress(job).running == 0, 5)
        it.agent("other")
        assert len(it.answers(job, 2)) == 2


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Sleeper(Client):
    """As on a laptop that is closed for a while: nothing goes out."""

    asleep = False

    def call(self, path, body, reply, *, timeout_s=None):
        if self.asleep:
            raise HubUnreachable("no network")
        return super().call(path, body, reply, timeout_s=timeout_s)


def test_a_node_that_was_taken_for_gone_says_again_what_it_is_and_goes_on(tmp_path, store):
    with lab(tmp_path, store, Settings(name="lab", silence_s=0.5)) as it:
        it.lend()
        client = Sleeper(it.server.address, it.server.key, it.home.node(it.server.key))
        agent = Running(Agent(it.home, it.known, CAPS, store=store, client=client))
        try:
            it.answers(it.submit(square, [1]), 1)
            client.asleep = True
            it.wait_until(lambda: node_row(it).state == "silent")
            job = it.submit(square, range(5))
            client.asleep = False
            assert len(it.answers(job, 5)) == 5
        finally:
            agent.stop()


def test_a_device_that_was_never_lent_is_told_so_and_stops(lab):
    agent = Running(Agent(Home(lab.folder / "stranger"), lab.known, CAPS, store=lab.store))
    ending = agent.wait()
    assert ending.exit_code == SENT_AWAY
    assert "does not know" in ending.reason


def test_a_node_that_the_hub_sends_away_stops_with_the_reason(lab):
    class Dismissing(Client):
        def call(self, path, body, reply, *, timeout_s=None):
            if path == "/v1/exchange":
                return m.Exchanged((), (), (), "", goodbye="an anchor found an answer wrong")
            return super().call(path, body, reply, timeout_s=timeout_s)

    lab.lend()
    client = Dismissing(lab.server.address, lab.server.key, lab.home.node(lab.server.key))
    ending = Running(Agent(lab.home, lab.known, CAPS, store=lab.store, client=client)).wait()
    assert ending.exit_code == SENT_AWAY
    assert "an anchor found an answer wrong" in ending.reason


def test_a_receipt_that_the_hub_refuses_does_not_hold_up_the_others(lab):
    def tamper(item, run):
        if item.index == 3:
            object.__setattr__(run, "memory_bytes", -1)
        return run

    lab.agent(tamper=tamper)
    job = lab.submit(square, range(8))
    answers = lab.answers(job, 8)
    assert "does not take this node's receipt" in answers[3].reason
    assert sum(answer.outcome is not None for answer in answers.values()) == 7


def test_a_disk_that_takes_no_program_does_not_stop_the_node(lab):
    blobs = lab.store / "blobs"
    kept = lab.store / "blobs-kept"
    if blobs.exists():
        os.rename(blobs, kept)
    blobs.write_text("where the folder should be")
    try:
        lab.agent()
        assert codec.decode(lab.answers(lab.submit(square, [9]), 1)[0].answer) == 81
    finally:
        blobs.unlink()
        if kept.exists():
            os.rename(kept, blobs)
