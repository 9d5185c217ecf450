import copy
import multiprocessing
import os
import pickle
import stat
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkoot.core import ids
from talkoot.core.errors import BadInput, DiskFull, NotFound, TalkootError
from talkoot.crypto import Kind, SigningKey, keys, verify


def test_a_key_comes_back_from_its_file(tmp_path):
    path = tmp_path / "home" / "node.key"
    made = SigningKey.load_or_create(path)
    assert SigningKey.load_or_create(path).public == SigningKey.load(path).public == made.public
    assert verify(SigningKey.load(path).sign(Kind.REQUEST, b"x"), Kind.REQUEST, key=made.public) == b"x"


def test_the_file_and_its_folder_are_the_owners_alone_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        SigningKey.load_or_create(tmp_path / "home" / "node.key")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "home" / "node.key").stat().st_mode) == 0o600
    assert os.listdir(tmp_path / "home") == ["node.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_that_others_can_use_is_refused(tmp_path, mode):
    path = tmp_path / "node.key"
    SigningKey.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(BadInput, match="chmod 600"):
        SigningKey.load(path)


def _create_and_tell(path, start, queue):
    start.wait()
    queue.put(bytes(SigningKey.load_or_create(path).public))


def test_processes_that_race_for_the_first_key_all_get_the_same(tmp_path):
    context = multiprocessing.get_context("fork")
    start, queue = context.Event(), context.Queue()
    racers = [context.Process(target=_create_and_tell, args=(tmp_path / "keys" / "k", start, queue)) for _ in range(8)]
    for racer in racers:
        racer.start()
    start.set()
    found = {queue.get(timeout=20) for _ in racers}
    for racer in racers:
        racer.join(20)
    assert len(found) == 1
    assert os.listdir(tmp_path / "keys") == ["k"]


def test_losing_the_race_gives_the_winners_key(tmp_path, monkeypatch):
    path = tmp_path / "k"
    real, winner = keys._create, SigningKey.generate()

    def slow(path, seed):
        real(path, winner._seed)
        real(path, seed)

    monkeypatch.setattr(keys, "_create", slow)
    assert SigningKey.load_or_create(path).public == winner.public


def _damage(data):
    letters = bytearray(data)
    letters[-5] = ord("a") if letters[-5] != ord("a") else ord("b")
    return bytes(letters)


@pytest.mark.parametrize("damage", [lambda _: b"", lambda d: d[:-9], _damage, lambda d: d * 40, lambda _: b"\xff\0" * 9])
def test_a_damaged_key_file_is_reported_and_left_as_it_is(tmp_path, damage):
    path = tmp_path / "node.key"
    SigningKey.load_or_create(path)
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(BadInput, match="damaged"):
        SigningKey.load_or_create(path)
    assert path.read_bytes() == before


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(BadInput):
            SigningKey.load_or_create(tmp_path / name)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(NotFound):
        SigningKey.load_or_create(tmp_path / "dangling")
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="not a folder"):
        SigningKey.load_or_create(tmp_path / "file" / "node.key")


def test_a_missing_key_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        SigningKey.load(tmp_path / "node.key")


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        SigningKey.load_or_create(tmp_path / "node.key")
    assert os.listdir(tmp_path) == []


def test_the_secret_is_in_no_representation_pickle_copy_or_traceback(tmp_path):
    key = SigningKey.generate()
    assert repr(key) == f"SigningKey({ids.key_text(key.public)})"
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="path"):
            copier(key)
    path = tmp_path / "k"
    SigningKey.load_or_create(path)
    secret = path.read_text().split()[1]
    path.write_text(f"talkoot-secret-key-1 {secret[:-3]}\n")
    with pytest.raises(TalkootError) as caught:
        SigningKey.load(path)
    assert secret[:20] not in "".join(traceback.format_exception(caught.value))


def test_keys_are_drawn_from_the_entropy_that_is_given():
    assert SigningKey.generate(b"e" * 32).public == SigningKey.generate(b"e" * 32).public
    assert SigningKey.generate(b"e" * 32).public != SigningKey.generate(b"f" * 32).public
    assert SigningKey.generate().public != SigningKey.generate().public
    with pytest.raises(BadInput):
        SigningKey.generate(b"too little")


@given(st.binary(max_size=64))
def test_a_seed_has_32_bytes(seed):
    if len(seed) == 32:
        assert SigningKey.from_seed(seed).public == SigningKey.from_seed(seed).public
    else:
        with pytest.raises(BadInput):
            SigningKey.from_seed(seed)
