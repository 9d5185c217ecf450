import io
import pty
import subprocess
import sys

import msgspec
import pytest

from talkoot.sdk.progress import Plain, Silent, details, duration, make_display, summary
from talkoot.wire.messages import Progress

HALF_WAY = Progress(
    state="sealed",
    total=100,
    waiting=0,
    queued=20,
    running=30,
    provisional=0,
    disputed=1,
    final=50,
    failed=0,
    cancelled=0,
    remembered=0,
    attempts=120,
    copies=20,
    reruns=2,
    nodes=3,
    confidence_ppm=987_804,
    spent_microcredits=1_500_000,
    why_waiting="",
)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def shown(*steps, known=0):
    clock, stream = Clock(), io.StringIO()
    display = Plain(stream, clock=clock)
    track = display.begin("simulate")
    track.known = known
    for seconds, progress in steps:
        clock.now += seconds
        display.show(track, progress)
    display.end(track)
    return stream.getvalue().splitlines()


def test_a_line_every_five_seconds_and_one_at_the_end():
    done = msgspec.structs.replace(HALF_WAY, final=100, running=0, queued=0, disputed=0)
    assert shown((1, HALF_WAY), (4, HALF_WAY), (4, HALF_WAY), (1, done)) == [
        "talkoot: simulate: 50 of 100 tasks, 10/s, 5.0 s left, 3 nodes, 2 re-run, 1 disputed, confidence at least 98.7804 %",
        "talkoot: simulate: 100 of 100 tasks, 10/s, 3 nodes, 2 re-run, confidence at least 98.7804 %",
        "talkoot: simulate: 100 of 100 tasks answered in 10 s, confidence at least 98.7804 %, cost 1.5 credits",
    ]


def test_a_job_answered_from_memory_says_so():
    remembered = msgspec.structs.replace(HALF_WAY, total=48, final=48, remembered=48)
    (line,) = shown((0.2, remembered), known=48)
    assert "48 of 48 answers were known to the hub: the same action was answered before" in line


def test_what_an_earlier_job_is_still_doing_is_waited_for_and_told_apart_from_what_was_known():
    nothing = msgspec.structs.replace(HALF_WAY, queued=0, running=0, disputed=0, reruns=0, total=40)
    meanwhile = msgspec.structs.replace(nothing, waiting=9, final=31, remembered=31, why_waiting="elsewhere")
    at_last = msgspec.structs.replace(nothing, final=40, remembered=40)
    line, end = shown((6, meanwhile), (4, at_last), known=31)
    assert "31 of 40 answers were known to the hub, 9 are under way in an earlier job of yours and are waited for" in line
    assert "nothing runs" not in line
    assert "40 of 40 tasks answered in 10 s, 31 of them known to the hub before, 9 taken over from the same action" in end


def test_twins_within_a_job_and_tasks_with_inputs_are_not_said_to_be_in_an_earlier_job():
    track = Silent().begin("simulate")
    some = msgspec.structs.replace(HALF_WAY, waiting=9, running=0, why_waiting="no device is here")
    assert "9 wait for the same action in another task" in details(track, some, 3.0)
    assert "no device is here" in details(track, some, 3.0)
    track.has_inputs = True
    assert "same action" not in details(track, some, 3.0)


def test_why_nothing_runs_is_said():
    stuck = msgspec.structs.replace(HALF_WAY, final=0, disputed=0, reruns=0, nodes=0, why_waiting="no device is here")
    track = Silent().begin("simulate")
    assert details(track, stuck, 3.0) == "0 nodes, nothing runs: no device is here"


def test_a_single_quick_call_is_not_worth_a_line():
    assert shown((0.1, msgspec.structs.replace(HALF_WAY, total=1, final=1))) == []


def test_failures_are_counted_in_the_summary():
    track = Silent().begin("simulate")
    track.known = 5
    text = summary(track, msgspec.structs.replace(HALF_WAY, failed=3, cancelled=1, remembered=5), 2.0)
    assert ", 5 of them known to the hub before, 3 failed, 1 cancelled, " in text


@pytest.mark.parametrize(("seconds", "text"), [(0.44, "0.4 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_progress_can_be_turned_off(monkeypatch):
    assert isinstance(make_display(progress=False), Silent)
    assert isinstance(make_display(progress=None), Plain)
    monkeypatch.setenv("TALKOOT_PROGRESS", "0")
    assert isinstance(make_display(progress=None), Silent)
    assert isinstance(make_display(progress=True), Plain)


def test_a_closed_stream_is_no_error():
    stream = io.StringIO()
    display = Plain(stream)
    stream.close()
    display.say("hub not reachable, waiting")


def test_on_a_terminal_a_bar_moves_and_what_is_piped_stays_apart(world, tmp_path):
    world.node()
    script = tmp_path / "script.py"
    script.write_text(
        "import talkoot\nwith talkoot.connect() as hub:\n    print([answer.value for answer in hub.map(abs, range(-20, 0))])\n"
    )
    leader, follower = pty.openpty()
    environ = {"TALKOOT_HOME": str(world.home.path), "PATH": "/usr/bin:/bin", "TERM": "xterm", "COLUMNS": "200"}
    done = subprocess.run([sys.executable, script], env=environ, stdout=subprocess.PIPE, stderr=follower, timeout=20)
    terminal = io.FileIO(leader).read(1 << 16).decode()
    io.FileIO(follower).close()
    assert done.stdout.decode().strip() == str(list(range(20, 0, -1)))
    assert "abs: 20 of 20 tasks answered in" in terminal
