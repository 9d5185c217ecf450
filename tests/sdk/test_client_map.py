import os
import random
import signal
import threading
import time

import msgspec
import numpy as np
import pytest

import talkoot
from talkoot.core import limits
from talkoot.core.errors import HubUnreachable
from talkoot.sdk.mapping import Arrivals
from talkoot.wire.messages import Answer


def square(x):
    return x * x


def half(x):
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x // 2


def draw():
    return random.random()


def draw_for(x):
    return random.random()


def norm(values):
    return float(np.linalg.norm(values))


def test_answers_come_in_order_with_what_is_known_about_them(hub):
    answers = list(hub.map(square, range(50)))
    assert [a.value for a in answers] == [n * n for n in range(50)]
    assert [a.index for a in answers] == list(range(50))
    assert all(a.final and a.confidence > 0.99 and a.cost == 0 and a.error is None for a in answers)
    assert repr(answers[3]) == "<Answer 3: value=9, confidence 99.9999 %>"
    assert answers[3].stdout == "hello\n"
    assert "final" in answers[3].story() or "accepted" in answers[3].story()
    assert len(answers[3].receipts) == 1


def test_several_iterables_are_zipped(hub):
    assert [a.value for a in hub.map(pow, [2, 3, 4], (5, 2, 1, 9))] == [32, 9, 4]
    assert list(hub.map(square, [])) == []


def test_as_completed_gives_every_answer_with_its_index(hub):
    found = {a.index: a.value for a in hub.map(square, range(30), ordered=False)}
    assert found == {n: n * n for n in range(30)}


def arrived(index, state="final"):
    return Answer(index, state, None, b"", b"", 0, 0, 1, False, "")


def test_answers_out_of_order_are_held_back_only_when_order_is_wanted():
    for ordered, expected in ((True, [0, 1, 2]), (False, [2, 0, 1])):
        arrivals = Arrivals(ordered=ordered)
        arrivals.sent(3)
        assert all(arrivals.deliver(arrived(n)) for n in (2, 0, 1))
        assert not arrivals.deliver(arrived(1)), "twice"
        assert not arrivals.deliver(arrived(3)), "never sent"
        arrivals.end()
        assert [arrivals.take().index for _ in range(3)] == expected
        assert arrivals.take() is None
        assert arrivals.exhausted


def test_a_final_answer_replaces_a_provisional_one_that_was_not_taken():
    arrivals = Arrivals(ordered=True)
    arrivals.sent(1)
    assert arrivals.deliver(arrived(0, "provisional"))
    assert not arrivals.deliver(arrived(0))
    assert arrivals.take().state == "final"


def test_a_task_that_raises_raises_here_with_its_own_traceback(hub):
    answers = hub.map(half, [2, 3, 4])
    assert next(answers).value == 1
    with pytest.raises(ValueError, match="3 is odd") as caught:
        next(answers)
    error = caught.value
    assert isinstance(error, talkoot.TaskRaised)
    assert (error.remote_type, error.remote_message) == ("ValueError", "3 is odd")
    assert __file__ in error.remote_traceback
    assert 'raise ValueError(f"{x} is odd")' in error.remote_traceback
    assert error.remote_traceback in str(error.__cause__)
    assert next(answers).value == 2, "nothing else is lost"
    with pytest.raises(StopIteration):
        next(answers)


def test_errors_can_be_returned(hub):
    answers = list(hub.map(half, [2, 3], errors="return"))
    assert answers[0].error is None
    assert isinstance(answers[1].error, ValueError)
    with pytest.raises(ValueError, match="3 is odd"):
        _ = answers[1].value


def interrupt_soon():
    timer = threading.Timer(0.2, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
    timer.start()


def test_ctrl_c_cancels_the_job(world):
    with world.connect() as hub:
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            list(hub.map(square, range(10)))
        assert world.job_states() == ["cancelled"]


def test_an_early_end_of_the_loop_cancels_the_rest(world):
    world.node()
    with world.connect() as hub:
        for answer in hub.map(square, range(5_000)):
            assert answer.value == 0
            break
        until(lambda: world.job_states() == ["cancelled"])


def test_an_exception_in_the_block_cancels_what_is_under_way(world):
    with pytest.raises(ZeroDivisionError), world.connect() as hub:
        hub.submit(square, 1)
        answers = hub.map(square, range(10))
        _ = 1 / 0
    assert world.job_states() == ["cancelled", "cancelled"] or world.job_states() == ["cancelled"]
    with pytest.raises(talkoot.JobCancelled):
        next(answers)


def until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_endless_generator_is_read_only_so_far_ahead(hub, monkeypatch):
    monkeypatch.setattr("talkoot.sdk.mapping.LOOK_AHEAD_TASKS", 50)
    read = []

    def numbers():
        n = 0
        while True:
            read.append(n)
            yield n
            n += 1

    answers = hub.map(square, numbers())
    assert [next(answers).value for _ in range(200)] == [n * n for n in range(200)]
    answers.close()
    assert len(read) <= 200 + 50 + 1


def test_the_look_ahead_follows_what_is_taken():
    arrivals = Arrivals(ordered=True, look_ahead=2)
    arrivals.sent(2)
    assert not arrivals._has_room()
    arrivals.deliver(arrived(0))
    arrivals.take()
    assert arrivals.wait_for_room()


def test_what_the_iterable_raises_comes_after_the_answers_before_it(hub):
    def numbers():
        yield 1
        yield 2
        raise OSError("the instrument is gone")

    answers = hub.map(square, numbers())
    assert [next(answers).value, next(answers).value] == [1, 4]
    with pytest.raises(OSError, match="the instrument is gone"):
        next(answers)


def test_more_items_than_one_request_takes_are_sent_in_several(hub, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TASKS_PER_SUBMISSION", 64)
    assert [a.value for a in hub.map(square, range(300))] == [n * n for n in range(300)]


def test_a_too_large_argument_is_named_before_anything_is_sent(world):
    with world.connect() as hub:
        with pytest.raises(talkoot.TooLarge, match=r"item 1 of map\(len\) have more than 1,048,576 bytes"):
            hub.map(len, [b"", bytes(2**20)])
        with pytest.raises(talkoot.CodecError, match=r"item 2 of map\(square\): value\[0\]\[0\]: cannot encode"):
            hub.map(square, [1, 2, object()])
        assert hub.jobs() == []


def test_a_function_that_cannot_be_sent_is_refused_with_the_path_to_what_cannot(hub):
    lock = threading.Lock()

    def guarded(x):
        with lock:
            return x

    with pytest.raises(talkoot.ProgramError, match=r"guarded.*lock"):
        hub.map(guarded, [1])


def test_a_missing_requirement_is_named_with_the_words_to_add(hub):
    with pytest.raises(talkoot.RequirementError, match=r'requirements=\["numpy==') as caught:
        hub.map(norm, [[1.0]])
    assert "norm" in caught.value.message


def test_random_tasks_draw_differently_and_the_same_again(hub):
    first = [a.value for a in hub.map(draw_for, range(1000))]
    assert len(set(first)) == 1000
    again = list(hub.map(draw_for, range(1000)))
    assert [a.value for a in again] == first
    assert all(a.remembered for a in again)
    assert [a.value for a in hub.map(draw_for, range(3), seed=1)] != first[:3]


def test_pure_tasks_with_equal_arguments_share_one_answer(world):
    node = world.node()
    with world.connect() as hub:
        values = {a.value for a in hub.map(draw_for, [7] * 20, pure=True)}
    assert len(values) == 1
    assert node.runs == 1


def test_a_driver_that_died_finds_its_answers_when_run_again(world):
    node = world.node()
    first = world.connect()
    values = [a.value for a in first.map(draw_for, range(48))]
    first._abandon()  # as at the end of a process that was killed
    with world.connect() as hub:
        answers = list(hub.map(draw_for, range(48)))
    assert [a.value for a in answers] == values
    assert all(a.remembered for a in answers)
    assert node.runs == 48


def test_a_lost_reply_is_asked_for_again_and_nothing_is_done_twice(world):
    node = world.node()
    with world.connect() as hub:
        lose_every_first_reply(hub)
        assert [a.value for a in hub.map(square, range(10))] == [n * n for n in range(10)]
        assert hub.submit(square, 11).result(10) == 121
        assert len(hub.jobs()) == 2
    assert node.runs == 11
    assert world.job_states() == ["done", "done"]


def lose_every_first_reply(hub):
    call, lost = hub._connection._client.call, set()

    def losing(path, body, reply, **options):
        answer = call(path, body, reply, **options)
        if path not in lost:
            lost.add(path)
            raise HubUnreachable("the connection broke")
        return answer

    hub._connection._client.call = losing


def test_a_hub_that_is_restarted_in_the_middle_is_waited_for(world):
    with world.connect() as hub:
        answers = hub.map(square, range(5))
        port = int(world.server.address.rpartition(":")[2])
        world.server.stop()
        world.server = world.open_server(port)
        world.node()
        assert [a.value for a in answers] == [0, 1, 4, 9, 16]


def test_a_malformed_answer_is_an_error_at_its_place_and_nowhere_else(hub):
    spoil(hub, b"\x04")
    answers = list(hub.map(square, range(4), errors="return"))
    assert [a.error for a in answers if a.index != 2] == [None] * 3
    assert isinstance(answers[2].error, talkoot.CodecError)
    assert "task 2 of job_" in str(answers[2].error)
    with pytest.raises(talkoot.CodecError, match="task 2 of job_"):
        list(hub.map(square, range(4)))


def spoil(hub, encoded):
    """A hub that hands on bytes that no value has."""
    call = hub._connection._client.call

    def spoiling(path, body, reply, **options):
        answer = call(path, body, reply, **options)
        if path != "/v1/jobs/answers":
            return answer
        spoilt = (msgspec.structs.replace(a, answer=b"\xc1") if a.answer == encoded else a for a in answer.answers)
        return msgspec.structs.replace(answer, answers=tuple(spoilt))

    hub._connection._client.call = spoiling


def test_strangers_answers_are_compared_and_paid(world):
    world.node("one", own=False)
    world.node("two", own=False)
    with world.connect() as hub:
        answers = list(hub.map(square, range(10), verify=talkoot.quorum(2)))
        assert [a.value for a in answers] == [n * n for n in range(10)]
        assert all(0.98 < a.confidence < 0.99 and a.cost == 0.0002 for a in answers)
        (job,) = hub.jobs()
    assert (job.state, job.final, job.name) == ("done", 10, "square")
    assert job.cost == pytest.approx(0.002)


def test_provisional_answers_are_given_before_they_are_final(world):
    world.node("one", own=False)
    with world.connect() as hub:
        (answer,) = hub.map(square, [3], provisional=True)
        assert answer.value == 9
        assert not answer.final
        assert answer.confidence == pytest.approx(0.9)
        hub.cancel(answer.job)


def test_a_default_budget_is_no_more_than_the_project_has(world):
    world.node()
    with world.connect() as hub:
        assert hub.options(budget=999_999.5).submit(square, 2).result(10) == 4
        assert next(hub.map(square, [3])).value == 9, "the project has half a credit left beside what is held"
        with pytest.raises(talkoot.InsufficientFunds):
            hub.map(square, [4], budget=1000)


def test_wrong_options_say_what_is_right(hub):
    with pytest.raises(TypeError, match="no option 'verfy'"):
        hub.map(square, [1], verfy=None)
    with pytest.raises(talkoot.BadInput, match=r"memory='1 elephant' is not a size"):
        hub.map(square, [1], memory="1 elephant")
    with pytest.raises(talkoot.BadInput, match="verify=2 is not a verifier"):
        hub.map(square, [1], verify=2)
    with pytest.raises(TypeError, match="at least one iterable"):
        hub.map(square)


def test_nothing_is_left_behind(world):
    before = set(threading.enumerate())
    world.node()
    with world.connect() as hub:
        list(hub.map(square, range(10)))
        hub.submit(square, 3).result()
        list(hub.map(square, iter(range(10))))
    ours = {"talkoot-pump", "talkoot-square", "talkoot-feed-square"}
    until(lambda: not ours & {t.name for t in set(threading.enumerate()) - before})
    assert os.environ.get("TALKOOT_HUB") is None
