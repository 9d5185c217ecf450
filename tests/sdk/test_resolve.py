"""From requirements to a lock, with uv itself, mostly without an index."""

import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from talkoot.core.errors import RequirementError, Unavailable
from talkoot.core.lock import Lock, encode_lock, environment_name
from talkoot.core.requirements import script_requirements
from talkoot.sdk.resolve import resolve
from talkoot.testing.wheels import make_wheel

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
LATER = f"{sys.version_info.major}.{sys.version_info.minor + 1}"

Resolve = Callable[..., Lock]


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


@pytest.fixture
def offline(wheels: Path, tmp_path: Path) -> dict[str, str]:
    """The settings of an owner who has a folder of wheels and no connection."""
    return {"UV_FIND_LINKS": str(wheels), "UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "uv")}


@pytest.fixture
def ask(offline: dict[str, str], tmp_path: Path) -> Resolve:
    def ask(requirements: Sequence[str], **options: object) -> Lock:
        options = {"python": PYTHON, "cache": tmp_path / "locks", "environ": offline} | options
        return resolve(requirements, **options)  # type: ignore[arg-type]

    return ask


def test_lock_has_the_hashes_of_what_is_needed_and_of_what_that_needs(ask: Resolve, wheels: Path):
    one = make_wheel(wheels, "one", "1.0", requires=["two>=1"])
    two = make_wheel(wheels, "two", "2.0")
    lock = ask(["One"])
    assert [(p.name, p.version, p.marker, p.hashes) for p in lock.packages] == [
        ("one", "1.0", "", (one,)),
        ("two", "2.0", "", (two,)),
    ]


def test_lock_is_for_every_platform_and_one_python(ask: Resolve, wheels: Path):
    make_wheel(wheels, "one", requires=["two; sys_platform == 'win32'", f"absent; python_version >= '{LATER}'"])
    make_wheel(wheels, "two", tag="cp311-cp311-win_amd64" if PYTHON == "3.11" else "py3-none-win_amd64")
    markers = {package.name: package.marker for package in ask(["one"]).packages}
    assert markers == {"one": "", "two": 'sys_platform == "win32"'}


def test_nothing_is_asked_for_an_environment_without_requirements(ask: Resolve):
    assert ask([]) == Lock(PYTHON, ())


def test_same_requirements_keep_their_environment_until_a_refresh(ask: Resolve, wheels: Path):
    make_wheel(wheels, "one", "1.0")
    first = ask(["one>=1"])
    make_wheel(wheels, "one", "2.0")
    assert ask(["ONE >= 1.0".replace("1.0", "1"), "one>=1"]) == first
    assert ask(["one>=1"], refresh=True).packages[0].version == "2.0"
    assert ask(["one>=1"]).packages[0].version == "2.0"


def test_damaged_memory_is_resolved_anew(ask: Resolve, wheels: Path, tmp_path: Path):
    make_wheel(wheels, "one", "1.0")
    first = ask(["one"])
    (memory,) = (tmp_path / "locks").iterdir()
    memory.write_bytes(memory.read_bytes()[:-7])
    assert ask(["one"]) == first
    assert memory.read_bytes() == encode_lock(first)
    assert list((tmp_path / "locks").iterdir()) == [memory]


def test_unsatisfiable_requirements_give_a_readable_reason(ask: Resolve, wheels: Path, tmp_path: Path):
    make_wheel(wheels, "one", "1.0", requires=["two<2"])
    make_wheel(wheels, "two", "1.0")
    make_wheel(wheels, "two", "2.0")
    with pytest.raises(RequirementError) as refusal:
        ask(["one", "two>=2"])
    assert "unsatisfiable" in refusal.value.message
    assert "two>=2" in refusal.value.message
    assert str(tmp_path) not in str(refusal.value)
    assert not (tmp_path / "locks").exists()


def test_package_without_a_wheel_is_not_built_from_source(ask: Resolve, wheels: Path, tmp_path: Path):
    witness = tmp_path / "ran"
    package = tmp_path / "one-1.0"
    package.mkdir()
    (package / "setup.py").write_text(f"open({str(witness)!r}, 'w')\n")
    with tarfile.open(wheels / "one-1.0.tar.gz", "w:gz") as archive:
        archive.add(package, "one-1.0")
    with pytest.raises(RequirementError):
        ask(["one"], environ={"UV_FIND_LINKS": str(wheels), "UV_CACHE_DIR": str(tmp_path / "uv"), "UV_OFFLINE": "1"})
    assert not witness.exists()


def test_network_that_is_down_is_not_the_requirements_fault(ask: Resolve):
    with pytest.raises(Unavailable, match="index cannot be reached"):
        ask(["one"])


@pytest.mark.slow
def test_index_that_does_not_answer_is_not_the_requirements_fault(ask: Resolve, tmp_path: Path):
    nobody = {"UV_DEFAULT_INDEX": "http://name:secret@127.0.0.1:9/simple", "UV_CACHE_DIR": str(tmp_path / "uv")}
    with pytest.raises(Unavailable, match="index cannot be reached") as failure:
        ask(["one"], environ=nobody)
    assert "secret" not in str(failure.value)


def test_uv_that_takes_too_long_is_ended(ask: Resolve, wheels: Path):
    make_wheel(wheels, "one")
    with pytest.raises(Unavailable, match="did not finish"):
        ask(["one"], timeout_s=0.0)


def test_refused_requirement_never_reaches_uv(ask: Resolve, wheels: Path):
    make_wheel(wheels, "one")
    for text in (f"one @ file://{wheels}/one-1.0-py3-none-any.whl", "--index-url https://example.org", "-r /etc/passwd"):
        with pytest.raises(RequirementError, match="is refused"):
            ask([text], timeout_s=0.0)


def test_configuration_around_the_script_is_without_effect(
    ask: Resolve, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_wheel(wheels, "one", "1.0")
    make_wheel(wheels, "one", "2.0")
    place = tmp_path / "project"
    place.mkdir()
    (place / "pyproject.toml").write_text('[tool.uv]\nconstraint-dependencies = ["one<2"]\nno-index = true\n')
    (place / "uv.toml").write_text('constraint-dependencies = ["one<2"]\n')
    monkeypatch.chdir(place)
    monkeypatch.setenv("UV_CONSTRAINT", str(place / "constraints.txt"))
    assert ask(["one"]).packages[0].version == "2.0"


def test_tool_settings_in_a_script_are_without_effect(ask: Resolve, wheels: Path):
    make_wheel(wheels, "one", "1.0")
    source = (
        '# /// script\n# dependencies = ["one", "talkoot"]\n# [tool.uv]\n# index-url = "https://example.org/simple"\n'
        '# [tool.uv.sources]\n# one = { url = "https://example.org/one-9.0-py3-none-any.whl" }\n# ///\n'
    )
    assert [(p.name, p.version) for p in ask(script_requirements(source)).packages] == [("one", "1.0")]


def test_only_the_owners_named_settings_reach_uv(ask: Resolve, wheels: Path, offline: dict[str, str]):
    make_wheel(wheels, "one", "1.0")
    make_wheel(wheels, "one", "2.0rc1")
    foreign = {"UV_PRERELEASE": "allow", "UV_NO_BINARY": "1", "UV_CONFIG_FILE": "/nowhere", "PIP_INDEX_URL": "x"}
    assert ask(["one"], environ=offline | foreign).packages[0].version == "1.0"


@pytest.mark.usefixtures("index")
def test_real_package_of_the_index_resolves_the_same_twice(tmp_path: Path):
    found = [resolve(["six<1.17"], python=PYTHON, cache=tmp_path / str(n)) for n in range(2)]
    assert found[0] == found[1]
    assert found[0].packages[0].version == "1.16.0"
    without_index = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "uv")}
    again = resolve(["six<1.17"], python=PYTHON, cache=tmp_path / "0", environ=without_index)
    assert environment_name(encode_lock(again)) == environment_name(encode_lock(found[0]))
