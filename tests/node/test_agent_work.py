"""A real agent with a real sandbox, at a real hub: what becomes of tasks of every kind."""

import os
import time

import msgspec
import pytest

from talkoot.core import codec
from talkoot.core.types import Isolation, Note, Outcome, Quorum, Receipt, Rung
from talkoot.node.caps import Caps
from talkoot.testing.lab import CAPS, SMALL, lab, shared_store
from talkoot.wire import messages as m
from talkoot.wire.home import Home


@pytest.fixture(scope="module")
def store():
    with shared_store() as folder:
        yield folder


@pytest.fixture(name="lab")
def _lab(tmp_path, store):
    with lab(tmp_path, store) as it:
        yield it


@pytest.fixture(scope="module")
def shared(tmp_path_factory, store):
    """A hub with one agent, for tests that leave nothing behind."""
    with lab(tmp_path_factory.mktemp("lab"), store) as it:
        it.agent()
        yield it


def receipt_of(lab, job, index):
    view = lab.client.call("/v1/view/task", m.ViewTask(job, index), m.TaskView)
    return msgspec.msgpack.decode(view.attempts[-1].receipt, type=Receipt)


def square(x):
    return x * x


def test_tasks_are_answered_in_a_sandbox(shared):
    job = shared.submit(square, range(50))
    answers = shared.answers(job, 50)
    assert [codec.decode(answers[i].answer) for i in range(50)] == [i * i for i in range(50)]
    assert {answer.outcome for answer in answers.values()} == {Outcome.ANSWERED}
    receipt = receipt_of(shared, job, 0)
    assert receipt.rung in (Rung.BWRAP, Rung.NAMESPACES, Rung.LANDLOCK)
    assert not receipt.fresh
    assert receipt.enforced


def test_what_a_task_raises_and_prints_comes_back(shared):
    def work(x):
        print("so far")
        raise KeyError(x)

    answer = shared.answers(shared.submit(work, [3]), 1)[0]
    note = msgspec.msgpack.decode(answer.note, type=Note)
    assert answer.outcome is Outcome.RAISED
    assert codec.decode(answer.answer)["type"] == "KeyError"
    assert (note.message, note.stdout) == ("3", b"so far\n")


def test_a_task_that_ends_its_process_takes_no_other_with_it(shared):
    def work(x):
        import os

        if x == 3:
            os._exit(17)
        return x

    answers = shared.answers(shared.submit(work, range(8)), 8)
    assert "crashed" in answers[3].reason
    assert [codec.decode(answers[i].answer) for i in range(8) if i != 3] == [i for i in range(8) if i != 3]


def test_a_task_beyond_its_time_is_killed(shared):
    def work(x):
        while True:
            pass

    answers = shared.answers(shared.submit(work, [1], task_limits=msgspec.structs.replace(SMALL, time_s=0.3)), 1)
    assert answers[0].reason.startswith("time: ")


def test_isolation_of_tasks_gives_each_a_sandbox_of_its_own(shared):
    def work(x):
        return x

    job = shared.submit(work, range(3), isolation=Isolation.TASK)
    shared.answers(job, 3)
    assert all(receipt_of(shared, job, index).fresh for index in range(3))


def test_a_running_task_is_stopped_within_a_second_when_its_job_is_cancelled(shared):
    def work(x):
        import time

        time.sleep(60)

    job = shared.submit(work, range(2), task_limits=msgspec.structs.replace(SMALL, time_s=100))
    shared.wait_running(job, 2)
    time.sleep(0.2)
    started = time.monotonic()
    shared.client.call("/v1/jobs/cancel", m.Cancel(job), m.Nothing)
    other = shared.submit(square, [5])
    assert codec.decode(shared.answers(other, 1)[0].answer) == 25
    assert time.monotonic() - started < 1


def test_a_job_for_another_python_is_not_given_to_the_node(shared):
    job = shared.submit(square, [1], change=lambda it: msgspec.structs.replace(it, python="3.7"))
    time.sleep(0.1)
    assert shared.progress(job).attempts == 0


def test_a_program_that_cannot_be_built_is_refused_once_for_all_tasks(shared):
    def work(x):
        return x

    job = shared.submit(work, range(20), carrier=missing_module_carrier())
    answers = shared.answers(job, 20)
    assert all(answer.reason.startswith("environment: ") for answer in answers.values())


def missing_module_carrier():
    from talkoot.core import carrier

    python = f"{os.sys.version_info.major}.{os.sys.version_info.minor}"
    return carrier.encode(carrier.Carrier(carrier.FORMAT, python, [carrier.NAME, "no_such_module", "run"], [], [], []))


def test_tasks_of_several_cpus_share_the_device(lab):
    def work(x):
        import time

        time.sleep(0.05)
        return x

    lab.agent()
    wide = lab.submit(work, range(4), task_limits=msgspec.structs.replace(SMALL, cpus=2))
    narrow = lab.submit(work, range(6))
    lab.answers(wide, 4)
    lab.answers(narrow, 6)
    assert receipt_of(lab, wide, 0).core_ms >= 2 * 50


def test_where_no_sandbox_works_only_the_owner_s_own_jobs_run(lab):
    told = []
    lab.agent(refused_rungs=(Rung.BWRAP, Rung.NAMESPACES, Rung.LANDLOCK), on_event=lambda *event: told.append(event))
    job = lab.submit(square, [4])
    lab.answers(job, 1)
    assert receipt_of(lab, job, 0).rung is Rung.NONE
    assert any("only your own jobs" in words for _, words in told)


def test_a_dishonest_node_of_a_test_signs_what_the_test_says(lab):
    def tamper(item, run):
        import dataclasses

        return dataclasses.replace(run, answer=codec.encode(-1))

    lab.agent(tamper=tamper)
    assert codec.decode(lab.answers(lab.submit(square, [4]), 1)[0].answer) == -1


def test_ten_thousand_bytes_or_a_megabyte_come_back_whole(shared):
    def work(x):
        return b"a" * x

    sizes = [10_000, 900_000, 900_000, 0]
    answers = shared.answers(shared.submit(work, sizes), 4)
    assert [len(codec.decode(answers[i].answer)) for i in range(4)] == sizes


def test_short_tasks_are_held_in_numbers_so_that_no_slot_waits_for_the_hub(shared):
    job = shared.submit(square, range(2_000))
    started = time.monotonic()
    shared.answers(job, 2_000)
    assert 2_000 / (time.monotonic() - started) > 200  # a lower bound for a busy machine, not a measurement


def test_the_answer_of_one_task_is_the_argument_of_another(shared):
    first = shared.submit(square, [3])
    second = shared.submit(square, [codec.Hole(0)], inputs=[(m.TaskRef(first, 0),)])
    assert codec.decode(shared.answers(second, 1)[0].answer) == 81


def test_devices_of_two_strangers_agree_on_a_job(lab):
    for name in ("ann", "bob"):
        lab.agent(name, home=Home(lab.folder / name))
    job = lab.submit(square, range(6), verifier=Quorum(2))
    answers = lab.answers(job, 6)
    assert [codec.decode(answers[i].answer) for i in range(6)] == [i * i for i in range(6)]
    assert lab.progress(job).copies == 6


def test_caps_are_checked_where_the_owner_gives_them():
    assert CAPS.memory_for(1) == CAPS.memory_bytes // 2
    with pytest.raises(ValueError, match="9 CPUs cannot be lent: this device has 2"):
        Caps.of(cpus=2, memory_bytes=2**33, disk_free_bytes=2**40, lend_cpus=9)
    assert Caps.of(cpus=2, memory_bytes=2**33, disk_free_bytes=2**40).cpus == 2
