import getpass
import subprocess
import sys
from pathlib import Path

import pytest

import talkoot
from talkoot.core.errors import TalkootError
from talkoot.wire.home import Home


def double(x):
    return 2 * x


def test_without_a_hub_the_way_to_one_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("TALKOOT_HUB", raising=False)
    with pytest.raises(talkoot.NotFound, match="talkoot up"):
        talkoot.connect(home=tmp_path)
    with pytest.raises(talkoot.NotFound, match="no hub 'elsewhere' is known here"):
        talkoot.connect("elsewhere", home=tmp_path)


def test_a_hub_that_does_not_run_is_said_at_once(world):
    world.server.stop()
    with pytest.raises(talkoot.HubUnreachable):
        world.connect()


def test_another_hub_at_the_address_is_not_taken_for_the_known_one(world):
    known = world.home.find()
    world.home.remember(type(known)(known.address, "00" * 32, "other"))
    with pytest.raises(talkoot.BadSignature, match="another hub than the one known as 'other'"):
        world.connect(which="other")


def test_a_ticket_is_redeemed_and_the_hub_remembered(world, tmp_path):
    world.node()
    text = world.ticket_text("researcher", lifetime_s=60)
    home = tmp_path / "guest"
    for _ in range(2):
        with world.connect(which=text, home=home) as hub:
            assert hub.options(verify=talkoot.trust()).submit(double, 4).result(10) == 8
    assert Home(home).find().key == world.server.key
    with world.connect(home=home) as hub:
        assert repr(hub) == "<Hub 'hub', project 'default'>"
        assert next(job.submitter for job in hub.jobs()) == getpass.getuser()


def test_a_contributors_ticket_is_not_for_submitting(world, tmp_path):
    with pytest.raises(talkoot.TicketError, match="contributor"):
        world.connect(which=world.ticket_text("contributor"), home=tmp_path / "guest")


def test_the_environment_variable_wins_over_the_list_and_an_argument_over_it(world, monkeypatch):
    monkeypatch.setenv("TALKOOT_HUB", "nowhere")
    with pytest.raises(talkoot.NotFound, match="nowhere"):
        world.connect()
    world.connect(which=world.server.address).close()
    monkeypatch.setenv("TALKOOT_HUB", world.server.address)
    world.connect().close()


def test_jobs_can_be_looked_at_and_cancelled_by_their_id(world):
    with world.connect() as hub:
        hub.map(double, [1, 2], name="doubling")
        (job,) = hub.jobs()
        assert (job.name, job.tasks, job.final) == ("doubling", 2, 0)
        assert hub.job(job.id).id == job.id
        hub.cancel(job.id)
        assert hub.job(job.id).state == "cancelled"
        with pytest.raises(talkoot.BadInput, match="is not the id of a job"):
            hub.job("doubling")
        with pytest.raises(talkoot.NotFound):
            hub.job("job_" + "a" * 26)


def test_a_job_cancelled_from_elsewhere_ends_the_iteration(world):
    with world.connect() as hub, world.connect() as other:
        answers = hub.map(double, [1, 2])
        other.cancel(hub.jobs()[0].id)
        with pytest.raises(talkoot.JobCancelled):
            next(answers)


def test_the_package_is_imported_in_no_time_and_loads_nothing():
    code = (
        "import sys, time; before = set(sys.modules); t = time.perf_counter(); import talkoot; "
        "print(time.perf_counter() - t, *sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *modules = done.stdout.split()
    assert modules == ["talkoot"]
    assert float(seconds) < 0.005


def test_connecting_needs_neither_numpy_nor_rich_nor_the_server():
    code = "import sys, talkoot; talkoot.connect; print([m for m in ('numpy', 'rich', 'starlette', 'uv') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_and_has_a_page():
    page = (Path(__file__).parents[2] / "docs/reference/python-api.md").read_text()
    for name in talkoot.__all__:
        assert getattr(talkoot, name)
        assert f"`{name}" in page or f"talkoot.{name}" in page, f"{name} is not in docs/reference/python-api.md"
    with pytest.raises(AttributeError, match="nothing_like_that"):
        _ = talkoot.nothing_like_that


def test_all_public_errors_are_exported():
    def tree(cls):
        return {cls.__name__}.union(*map(tree, cls.__subclasses__())) if cls.__module__ == "talkoot.core.errors" else set()

    assert tree(TalkootError) - {"InternalError"} <= set(talkoot.__all__)


def test_the_version_is_that_of_the_project():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'version = "{talkoot.__version__}"' in project


def test_a_script_that_ends_without_closing_leaves_no_noise_and_its_job_goes_on(world, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import talkoot\n"
        "hub = talkoot.connect()\n"
        "future = hub.submit(pow, 2, 5)\n"
        "answers = hub.map(abs, [-1, 2])\n"
        "while not hub.jobs(): pass\n"
    )
    environ = {"TALKOOT_HOME": str(world.home.path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, script], env=environ, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    assert "cancelled" not in world.job_states()[:1]


def test_requirements_come_from_the_script_that_is_run(world, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        '# /// script\n# dependencies = ["six @ file:///x"]\n# ///\n'
        "import talkoot\nwith talkoot.connect() as hub:\n    hub.map(abs, [1])\n"
    )
    environ = {"TALKOOT_HOME": str(world.home.path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, script], env=environ, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "RequirementError: requirement 'six @ file:///x' is refused" in done.stderr
