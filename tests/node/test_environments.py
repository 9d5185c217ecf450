"""The store of environments, with uv itself and wheels made here, most of them hostile."""

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from talkoot.core.errors import DiskFull, RequirementError, TalkootError, TooLarge, Unavailable
from talkoot.core.lock import Lock, LockedPackage, empty_lock, encode_lock, environment_name
from talkoot.node import environment_build
from talkoot.node.environment_check import Caps, check
from talkoot.node.environments import PYTHON, BuildTrace, EnvironmentStore
from talkoot.sdk.resolve import resolve
from talkoot.testing.wheels import make_wheel


class Device:
    """A device whose owner has a folder of wheels and no connection."""

    def __init__(self, place: Path) -> None:
        self.root = place / "store"
        self.wheels = place / "wheels"
        self.wheels.mkdir()
        self.settings = {"UV_FIND_LINKS": str(self.wheels), "UV_OFFLINE": "1", "UV_CACHE_DIR": str(place / "uv")}
        self.stores: list[EnvironmentStore] = []

    def store(self, **options: object) -> EnvironmentStore:
        store = EnvironmentStore(self.root, **({"settings": self.settings} | options))  # type: ignore[arg-type]
        self.stores.append(store)
        return store

    def wheel(self, name: str, **options: object) -> LockedPackage:
        return LockedPackage(name, "1.0", "", (make_wheel(self.wheels, name, **options),))  # type: ignore[arg-type]

    def left(self) -> list[str]:
        return os.listdir(self.root / "building")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    yield device
    for store in device.stores:
        store.close()


def locked(*packages: LockedPackage) -> bytes:
    return encode_lock(Lock(PYTHON, tuple(sorted(packages, key=lambda package: package.name))))


def runs(folder: Path, source: str) -> str:
    """What a program prints that is started as inside the sandbox: without site, the folder on its path."""
    command = [environment_build.base_interpreter(), "-S", "-c", source]
    return subprocess.run(command, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=True).stdout


# What a whole environment is.


def test_packages_are_installed_once_and_can_be_imported(device: Device):
    lock = locked(device.wheel("one"), device.wheel("two", files={"two/__init__.py": b"VALUE = 2\n"}))
    told: list[str] = []
    folder = device.store().get(lock, report=told.append)
    assert folder == device.root / "whole" / environment_name(lock)
    assert told == ["installing 2 packages", "checking", "compiling"]
    assert runs(folder, "import one, two; print(one.VALUE + two.VALUE)") == "3\n"
    assert device.store().get(lock, report=told.append) == folder
    assert len(told) == 3
    assert device.left() == []


def test_trace_beside_the_folder_says_what_the_build_took(device: Device):
    lock = locked(device.wheel("one"))
    folder = device.store().get(lock)
    trace = msgspec.json.decode(folder.with_name(folder.name + ".json").read_bytes(), type=BuildTrace)
    assert trace.packages == 1
    assert trace.files == sum(1 for _ in folder.rglob("*"))
    assert trace.size_bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert trace.seconds > 0


def test_nothing_of_the_device_is_in_the_folder_and_two_devices_hold_the_same(tmp_path: Path):
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        device = Device(tmp_path / name)
        entry_points = "[console_scripts]\none = one:main\n"
        store = device.store()
        folder = store.get(locked(device.wheel("one", entry_points=entry_points)))
        contents.append({str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
        store.close()
    assert contents[0] == contents[1]
    assert any(path.endswith(".pyc") for path in contents[0])
    assert not any(path.startswith((".", "bin")) for path in contents[0])
    assert not any(str(tmp_path).encode() in data for data in contents[0].values())


def test_every_user_may_read_and_nobody_else_may_write(device: Device):
    old = os.umask(0o077)
    try:
        folder = device.store().get(locked(device.wheel("one")))
    finally:
        os.umask(old)
    for path in (device.root, device.root / "whole", folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path


def test_marker_that_does_not_hold_here_leaves_its_package_out(device: Device):
    elsewhere = LockedPackage("absent", "1.0", 'sys_platform == "win32"', ("0" * 64,))
    folder = device.store().get(locked(device.wheel("one"), elsewhere))
    assert (folder / "one.py").exists()


def test_empty_lock_needs_no_folder(device: Device):
    store = device.store()
    assert store.get(encode_lock(empty_lock(PYTHON))) is None
    assert store.known() == []


def test_same_file_in_two_wheels_is_no_conflict(device: Device):
    wheels = [device.wheel(name, files={"shared/__init__.py": b"", f"shared/{name}.py": b""}) for name in ("one", "two")]
    assert (device.store().get(locked(*wheels)) / "shared" / "one.py").exists()


def test_start_up_file_of_setuptools_is_left_out(device: Device):
    files = {"distutils-precedence.pth": b"import os\n", "setuptools/__init__.py": b""}
    folder = device.store().get(locked(device.wheel("setuptools", files=files)))
    assert not (folder / "distutils-precedence.pth").exists()


def test_weights_named_pth_inside_a_package_are_kept(device: Device):
    folder = device.store().get(locked(device.wheel("one", files={"one/__init__.py": b"", "one/weights.pth": b"x"})))
    assert (folder / "one" / "weights.pth").exists()


# What is refused.

PTH = b"import os; open('/tmp/talkoot-was-here', 'w')\n"
HOSTILE: dict[str, tuple[dict[str, object], str]] = {
    "path file": ({"files": {"x.pth": PTH}}, "x.pth"),
    "another's harmless path file": ({"files": {"distutils-precedence.pth": PTH}}, "distutils-precedence.pth"),
    "start file": ({"files": {"x.start": b"os:getpid\n"}}, "x.start"),
    "sitecustomize module": ({"files": {"sitecustomize.py": b""}}, "sitecustomize"),
    "sitecustomize package": ({"files": {"sitecustomize/__init__.py": b""}}, "sitecustomize"),
    "usercustomize extension": ({"files": {"usercustomize.cpython-311-x86_64-linux-gnu.so": b""}}, "usercustomize"),
    "console script named python3": ({"entry_points": "[console_scripts]\npython3 = one:main\n"}, "python3"),
    "file that is not listed": (
        {"files": {"one.py": b"", "y.py": b""}, "unlisted": ["y.py"]},
        "'y.py' without a hash",
    ),
    "another package's metadata": (
        {"files": {"numpy-9.dist-info/METADATA": b"", "numpy-9.dist-info/RECORD": b""}},
        "dist-info",
    ),
    "no wheel for this platform": ({"tag": "cp311-cp311-win_amd64"}, "platform"),
}


@pytest.mark.parametrize("scenario", HOSTILE)
def test_hostile_wheel_is_refused_and_leaves_nothing(device: Device, tmp_path: Path, scenario: str):
    options, reason = HOSTILE[scenario]
    store = device.store()
    with pytest.raises(RequirementError) as refusal:
        store.get(locked(device.wheel("one", **options)))
    assert reason in refusal.value.message
    assert str(tmp_path) not in str(refusal.value)
    assert store.known() == device.left() == []
    assert not list(tmp_path.glob("out.py")) + list(device.root.rglob("out.py"))
    assert not any(Path(trace).exists() for trace in ("/tmp/talkoot-was-here", "/tmp/talkoot-out.py"))


def test_two_wheels_that_own_one_path_are_refused(device: Device):
    wheels = [device.wheel(name, files={"shared.py": name.encode()}) for name in ("one", "two")]
    with pytest.raises(RequirementError, match=r"'shared.py'.*one and two"):
        device.store().get(locked(*wheels))


def test_wheel_that_secretly_replaces_anothers_file_is_refused(device: Device):
    victim = device.wheel("one", files={"shared.py": b"good"})
    hostile = device.wheel("two", files={"shared.py": b"evil"}, unlisted=["shared.py"])
    with pytest.raises(RequirementError, match=r"'shared.py'.*one and two"):
        device.store().get(locked(victim, hostile))


@pytest.mark.parametrize(
    "path", ["../out.py", "one/../../../out.py", "/tmp/talkoot-out.py", "one-1.0.data/data/../../../../out.py"]
)
def test_file_that_leads_out_of_its_wheel_is_never_written(device: Device, tmp_path: Path, path: str):
    folder = device.store().get(locked(device.wheel("one", files={path: b"", "one.py": b"VALUE = 1\n"})))
    assert runs(folder, "import one; print(one.VALUE)") == "1\n"
    assert not list(tmp_path.rglob("*out.py"))
    assert not Path("/tmp/talkoot-out.py").exists()


ONE = LockedPackage("one", "1.0", "", ("0" * 64,))
EMPTY_HASH = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What an installer might leave that is less careful than uv: a folder that we fill by hand."""
    info = tmp_path / "target" / "one-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "one.py").write_bytes(b"")
    (info / "RECORD").write_text(f"one.py,{EMPTY_HASH},0\none-1.0.dist-info/RECORD,,\n")
    return info.parent


def damage_record(folder: Path, line: str) -> None:
    with (folder / "one-1.0.dist-info" / "RECORD").open("a") as record:
        record.write(line + "\n")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "symlink to a file": (lambda folder: (folder / "x").symlink_to("/etc/passwd"), "link"),
    "symlink to a folder": (lambda folder: (folder / "x").symlink_to("/etc"), "link"),
    "named pipe": (lambda folder: os.mkfifo(folder / "x"), "special"),
    "file that is not listed": (lambda folder: (folder / "x").touch(), "in no wheel's list"),
    "file that changed": (lambda folder: (folder / "one.py").write_bytes(b"x"), "hash differs"),
    "list that leads out": (lambda folder: damage_record(folder, f"../x,{EMPTY_HASH},0"), "leads out"),
    "absolute path in the list": (lambda folder: damage_record(folder, f"/x,{EMPTY_HASH},0"), "leads out"),
    "weak hash": (lambda folder: damage_record(folder, "one.py,md5=x,0"), "without a hash"),
    "list that is not text": (lambda folder: (folder / "one-1.0.dist-info" / "RECORD").write_bytes(b"\xff"), "cannot"),
    "no list": (lambda folder: (folder / "one-1.0.dist-info" / "RECORD").unlink(), "cannot be read"),
    "package that is not locked": (lambda folder: (folder / "two-1.0.dist-info").mkdir(), "not a package of the lock"),
    "package twice": (lambda folder: shutil.copytree(folder / "one-1.0.dist-info", folder / "ONE-2.0.dist-info"), "twice"),
}


@pytest.mark.parametrize("scenario", DAMAGES)
def test_folder_that_is_not_what_its_lists_say_is_refused(installed: Path, scenario: str):
    damage, reason = DAMAGES[scenario]
    check(installed, Lock(PYTHON, (ONE,)), Caps())
    damage(installed)
    with pytest.raises(RequirementError, match=reason):
        check(installed, Lock(PYTHON, (ONE,)), Caps())


def test_wrong_hash_is_refused(device: Device):
    wheel = device.wheel("one")
    with pytest.raises(RequirementError, match="Hash mismatch"):
        device.store().get(locked(LockedPackage("one", "1.0", "", ("0" * 64,))))
    assert device.store().get(locked(wheel)) is not None


def test_wheel_that_changed_after_the_lock_is_refused(device: Device):
    wheel = device.wheel("one")
    device.wheel("one", files={"one.py": b"VALUE = 666\n"})
    with pytest.raises(RequirementError, match="Hash mismatch"):
        device.store().get(locked(wheel))


def test_environment_for_another_python_is_refused(device: Device):
    with pytest.raises(RequirementError, match=r"Python 3\.99"):
        device.store().get(encode_lock(empty_lock("3.99")))


def test_bytes_that_are_no_lock_are_refused(device: Device):
    with pytest.raises(RequirementError, match="cannot be read"):
        device.store().get(b"numpy @ https://example.org/numpy.whl")
    assert os.listdir(device.root / "locks") == []


@pytest.mark.parametrize("caps", [Caps(files=20), Caps(size_bytes=10_000)])
def test_environment_beyond_the_caps_is_too_large(device: Device, caps: Caps):
    lock = locked(device.wheel("one", files={f"one/{n}.py": b"#" * 1000 for n in range(30)}))
    with pytest.raises(TooLarge, match=r"more than 20|larger than 10000"):
        device.store(caps=caps).get(lock)
    assert device.left() == []


def test_source_that_does_not_compile_is_a_matter_of_whoever_imports_it(device: Device):
    files = {"one.py": b"VALUE = 1\n", "broken.py": b"print 'Python 2'\n", "deep.py": b"(" * 5000}
    folder = device.store().get(locked(device.wheel("one", files=files)))
    assert runs(folder, "import one; print(one.VALUE)") == "1\n"


# What is the device's matter.


def test_package_that_cannot_be_reached_now_is_not_refused_for_ever(device: Device):
    absent = LockedPackage("absent", "1.0", "", ("0" * 64,))
    with pytest.raises(Unavailable, match="index cannot be reached"):
        device.store().get(locked(absent))


def test_build_that_takes_too_long_is_ended(device: Device):
    with pytest.raises(Unavailable, match="too long"):
        device.store(timeout_s=-1.0).get(locked(device.wheel("one")))
    assert device.left() == []


def test_full_disk_is_said_so(device: Device, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environment_build.limits, "MIN_FREE_DISK_BYTES", 1 << 62)
    with pytest.raises(DiskFull):
        device.store().get(locked(device.wheel("one")))
    assert device.left() == []


def test_submitters_and_strays_settings_are_without_effect(device: Device, monkeypatch: pytest.MonkeyPatch):
    foreign = {"UV_NO_BINARY": ":all:", "UV_CONSTRAINT": "/nowhere", "UV_COMPILE_BYTECODE": "1", "PYTHONPATH": "/x"}
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    place = device.root.parent
    (place / "uv.toml").write_text("no-index = 3")
    (place / "pyproject.toml").write_text("[tool.uv]\nnonsense = [")
    monkeypatch.chdir(place)
    assert device.store(settings=device.settings | foreign).get(locked(device.wheel("one"))) is not None


# Several at once, and death in the middle.

ASK = """
import sys
from pathlib import Path
from talkoot.node.environments import EnvironmentStore
root, links, cache, lock, pause = sys.argv[1:]
def report(words):
    print(words, flush=True)
    if words == pause:
        sys.stdin.read()
settings = {"UV_FIND_LINKS": links, "UV_OFFLINE": "1", "UV_CACHE_DIR": cache}
print("got", EnvironmentStore(Path(root), settings=settings).get(bytes.fromhex(lock), report=report), flush=True)
"""


def another_process(device: Device, lock: bytes, *, pause: str = "") -> subprocess.Popen[str]:
    arguments = [str(device.root), device.settings["UV_FIND_LINKS"], device.settings["UV_CACHE_DIR"], lock.hex(), pause]
    return subprocess.Popen([sys.executable, "-c", ASK, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_five_processes_at_once_make_one_build(device: Device):
    lock = locked(device.wheel("one"))
    processes = [another_process(device, lock) for _ in range(5)]
    said = [process.communicate(timeout=60)[0] for process in processes]
    folder = device.root / "whole" / environment_name(lock)
    assert all(words.endswith(f"got {folder}\n") for words in said)
    assert sum("installing" in words for words in said) == 1
    assert device.left() == []


@pytest.mark.parametrize("moment", ["installing 1 packages", "checking", "compiling"])
def test_build_killed_in_the_middle_is_not_taken_for_whole(device: Device, moment: str):
    lock = locked(device.wheel("one"))
    with another_process(device, lock, pause=moment) as process:
        for line in process.stdout:
            if line.strip() == moment:
                break
        process.send_signal(signal.SIGKILL)
    store = device.store()
    assert store.known() == []
    assert len(device.left()) == 1
    folder = store.get(lock)
    assert runs(folder, "import one; print(one.VALUE)") == "1\n"
    assert device.left() == []


def test_programs_of_a_killed_build_keep_its_lock(device: Device, tmp_path: Path):
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nread line\n")
    sleeper.chmod(0o755)
    name = environment_name(locked(device.wheel("one")))
    store = device.store()
    path = device.root / "locks" / name
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with subprocess.Popen([str(sleeper)], stdin=subprocess.PIPE, pass_fds=(fd,)) as orphan:
        os.close(fd)
        (device.root / "building" / f"{name}.dead").mkdir()
        store.prune([])
        assert device.left() == [f"{name}.dead"]
        orphan.communicate()
    store.prune([])
    assert device.left() == []


# What is kept.


def test_prune_keeps_what_is_asked_and_what_another_uses(device: Device):
    mine, other = device.store(), device.store()
    locks = [locked(device.wheel(name)) for name in ("one", "two", "three")]
    names = [environment_name(lock) for lock in locks]
    for lock in locks:
        mine.get(lock)
    other.get(locks[1])
    assert mine.known() == sorted(names)
    assert mine.prune([names[0]]) == 1
    assert mine.known() == sorted(names[:2])
    other.release(names[1])
    assert mine.prune([]) == 2
    assert mine.known() == os.listdir(device.root / "whole") == device.left() == []


def test_environment_that_was_removed_is_built_anew(device: Device):
    store, lock = device.store(), locked(device.wheel("one"))
    folder = store.get(lock)
    assert store.prune([]) == 1
    assert not folder.exists()
    assert store.get(lock) == folder
    assert folder.exists()


def test_store_of_another_user_is_not_used(device: Device, monkeypatch: pytest.MonkeyPatch):
    device.root.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: device.root.stat().st_uid + 1)
    with pytest.raises(Unavailable, match="another user"):
        device.store()


def test_store_that_cannot_be_made_is_a_clear_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TalkootError, match="cannot be used"):
        EnvironmentStore(tmp_path / "file" / "store")


# With an index.


@pytest.mark.usefixtures("index")
def test_real_packages_go_from_requirements_to_an_import(tmp_path: Path):
    lock = encode_lock(resolve(["six", "setuptools"], python=PYTHON, cache=tmp_path / "locks"))
    store = EnvironmentStore(tmp_path / "store")
    folder = store.get(lock)
    assert runs(folder, "import six, setuptools; print(six.PY3)") == "True\n"
    store.close()
