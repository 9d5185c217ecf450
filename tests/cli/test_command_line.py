"""How verbs are found, helped with, and end: help texts, --json, exit codes, and the reference that says all this."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import talkoot as package
from talkoot.cli import exits
from talkoot.cli.main import VERBS, build_app
from talkoot.cli.reference import page

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
UNKNOWN_JOB = "job_aeaqcaibaeaqcaibaeaqcaibae"


def test_the_reference_is_what_the_program_says():
    assert REFERENCE.read_text() == page(), "run: python -m talkoot.cli.reference > docs/reference/cli.md"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb, talkoot):
    helped = talkoot(verb, "--help")
    assert helped.code == exits.DONE
    assert f"Example: talkoot {verb}" in helped.out
    assert "--json" in helped.out


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_verbs_says_what_each_verb_says_of_itself(verb):
    command = build_app()[verb]
    assert command.default_command.__doc__.splitlines()[0] == VERBS[verb]


def test_general_help_and_version(talkoot):
    for arguments in (("--help",), ("-h",), ("help",)):
        helped = talkoot(*arguments)
        assert helped.code == exits.DONE
        assert all(line in helped.out for line in VERBS.values())
    assert talkoot("--version").out.strip() == package.__version__
    assert talkoot().code == exits.USAGE


def test_general_help_loads_nothing_that_is_slow():
    program = (
        "import sys; from talkoot.cli.main import main; main(['--help']);"
        "print(*[m for m in ('cyclopts', 'rich', 'uvicorn', 'nacl') if m in sys.modules], file=sys.stderr)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert time.monotonic() - began < 3  # 0.05 s on an idle machine


def test_an_unknown_verb_is_answered_with_the_one_that_was_meant(talkoot):
    typed = talkoot("jbos", "--json")
    assert typed.code == exits.USAGE
    assert typed.json["error"]["code"] == "usage"
    assert "talkoot jobs" in typed.err


@pytest.mark.parametrize("arguments", [("job",), ("jobs", "--limit", "many"), ("jobs", "--colour"), ("invite", "--role", "king")])
def test_wrong_use_is_told_in_words_and_as_json(arguments, talkoot):
    typed = talkoot(*arguments, "--json")
    assert typed.code == exits.USAGE
    assert typed.json["error"]["message"]
    assert f"talkoot {arguments[0]} --help" in typed.err
    assert "Traceback" not in typed.err


def test_without_a_hub_it_says_how_to_get_one(home, talkoot):
    typed = talkoot("jobs", "--json")
    assert typed.code == exits.NOT_FOUND
    assert typed.json["error"]["code"] == "not_found"
    assert "talkoot join" in typed.json["error"]["hint"]


def test_the_environment_chooses_the_hub_and_the_option_wins(hub, talkoot, monkeypatch):
    monkeypatch.setenv("TALKOOT_HUB", "http://127.0.0.1:9")
    assert talkoot("jobs").code == exits.NOT_FOUND
    assert talkoot("jobs", "--hub", hub.address).code == exits.DONE
    monkeypatch.setenv("TALKOOT_HUB", "test hub")
    assert talkoot("jobs").code == exits.DONE


def test_a_hub_that_does_not_answer_has_its_own_exit_code(hub, talkoot):
    hub.stop()
    typed = talkoot("jobs", "--json")
    assert typed.code == exits.UNREACHABLE
    assert typed.json["error"]["code"] == "hub_unreachable"


@pytest.mark.parametrize("verb", ["job", "cancel"])
def test_an_unknown_job_is_not_found_and_a_misspelt_one_is_bad_input(verb, hub, talkoot):
    assert talkoot(verb, UNKNOWN_JOB).code == exits.NOT_FOUND
    misspelt = talkoot(verb, "job_1", "--json")
    assert misspelt.code == exits.USAGE
    assert misspelt.json["error"]["code"] == "bad_input"


def test_who_is_not_a_member_is_refused(hub, talkoot, tmp_path, monkeypatch):
    from talkoot.wire.home import Home, KnownHub

    monkeypatch.setenv("TALKOOT_HOME", str(tmp_path / "stranger"))
    Home().remember(KnownHub(hub.address, hub.key.hex(), "test hub"))
    typed = talkoot("invite", "--json")
    assert typed.code == exits.REFUSED
    assert typed.json["error"]["code"] == "not_allowed"


@pytest.mark.parametrize(("option", "value"), [("--silence", "0"), ("--price", "-1"), ("--host", "0.0.0.0"), ("--port", "70000")])
def test_a_hub_is_not_started_with_what_makes_no_sense(option, value, home, talkoot):
    typed = talkoot("up", "--port", "0", option, value) if option != "--port" else talkoot("up", option, value)
    assert typed.code == exits.USAGE
    assert value.lstrip("-") in typed.err


def test_a_port_in_use_is_said(hub, home, talkoot, tmp_path):
    typed = talkoot("up", "--port", hub.address.rpartition(":")[2], "--data", str(tmp_path / "other"), "--json")
    assert typed.code == exits.FAILED
    assert typed.json["error"]["code"] == "port_in_use"
