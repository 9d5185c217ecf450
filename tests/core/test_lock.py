"""The canonical lock: one encoding, checked in every part."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkoot.core import ids, limits
from talkoot.core.errors import RequirementError, TalkootError, TooLarge
from talkoot.core.lock import (
    Lock,
    LockedPackage,
    decode_lock,
    empty_lock,
    encode_lock,
    environment_name,
    requirements_text,
)

ONE, TWO = "1" * 64, "2" * 64
LINUX = 'sys_platform == "linux"'
LOCK = Lock("3.11", (LockedPackage("numpy", "2.0", "", (ONE, TWO)), LockedPackage("six", "1.0", LINUX, (ONE,))))


def raw(*packages: object, python: object = "3.11") -> bytes:
    return msgspec.msgpack.encode([python, list(packages)])


def test_lock_survives_its_encoding():
    assert decode_lock(encode_lock(LOCK)) == LOCK
    assert environment_name(encode_lock(LOCK)) == "env_" + ids.base32(ids.environment_id(encode_lock(LOCK)))


def test_encoding_is_the_one_that_other_versions_must_read():
    data = raw(["numpy", "2.0", "", [ONE, TWO]], ["six", "1.0", LINUX, [ONE]])
    assert encode_lock(LOCK) == data
    assert ids.environment_id(encode_lock(empty_lock("3.11"))) == ids.environment_id(b"\x92\xa43.11\x90")


def test_requirements_text_is_written_from_the_parts():
    assert requirements_text(LOCK) == (
        f"numpy==2.0 --hash=sha256:{ONE} --hash=sha256:{TWO}\nsix==1.0 ; {LINUX} --hash=sha256:{ONE}\n"
    )


def test_each_python_has_its_own_empty_environment():
    assert environment_name(encode_lock(empty_lock("3.11"))) != environment_name(encode_lock(empty_lock("3.12")))


GOOD = ["numpy", "2.0", "", [ONE]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        raw(GOOD)[:-1],
        raw(GOOD) + b"\0",
        raw([*GOOD, "more"]),
        raw(GOOD[:3]),
        msgspec.msgpack.encode(["3.11", [GOOD], "more"]),
        msgspec.msgpack.encode({"python": "3.11", "packages": []}),
        raw(GOOD).replace(b"\xa5numpy", b"\xd9\x05numpy"),
    ],
)
def test_bytes_that_are_not_a_canonical_encoding_are_refused(data: bytes):
    with pytest.raises(RequirementError):
        decode_lock(data)


@pytest.mark.parametrize("python", ["", "3", "3.", "3.011", "3.11.7", "2.7", "3.11\n", "../x", 3])
def test_other_than_a_minor_version_of_python_is_refused(python: object):
    with pytest.raises(RequirementError):
        decode_lock(raw(python=python))


@pytest.mark.parametrize(
    "package",
    [
        ["NumPy", "2.0", "", [ONE]],
        ["num_py", "2.0", "", [ONE]],
        ["../numpy", "2.0", "", [ONE]],
        ["numpy\n--index-url x", "2.0", "", [ONE]],
        ["--pre", "2.0", "", [ONE]],
        ["", "2.0", "", [ONE]],
        ["x" * 200, "2.0", "", [ONE]],
        ["numpy", "2.0 ", "", [ONE]],
        ["numpy", "v2.0", "", [ONE]],
        ["numpy", "2.0.*", "", [ONE]],
        ["numpy", "", "", [ONE]],
        ["numpy", "2.0 @ https://example.org", "", [ONE]],
        ["numpy", "2." + "0." * 200 + "0", "", [ONE]],
        ["numpy", "2.0", "nonsense", [ONE]],
        ["numpy", "2.0", "os_name == 'x' --index-url", [ONE]],
        ["numpy", "2.0", "os_name == 'x'\n--pre", [ONE]],
        ["numpy", "2.0", "os_name == '${HOME}'", [ONE]],
        ["numpy", "2.0", "extra == 'x'", [ONE]],
        ["numpy", "2.0", " or ".join(["os_name == 'x'"] * 500), [ONE]],
        ["numpy", "2.0", "", []],
        ["numpy", "2.0", "", ["1" * 63]],
        ["numpy", "2.0", "", ["A" * 64]],
        ["numpy", "2.0", "", [TWO, ONE]],
        ["numpy", "2.0", "", [ONE, ONE]],
        ["numpy", "2.0", "", [ONE + "\n"]],
    ],
)
def test_package_with_a_wrong_part_is_refused(package: list[object]):
    with pytest.raises(RequirementError):
        decode_lock(raw(package))
    with pytest.raises(RequirementError):
        encode_lock(Lock("3.11", (msgspec.convert(package, LockedPackage),)))


def test_packages_out_of_order_or_twice_are_refused():
    for packages in ((LOCK.packages[1], LOCK.packages[0]), (LOCK.packages[0], LOCK.packages[0])):
        with pytest.raises(RequirementError, match="sorted and unique"):
            encode_lock(Lock("3.11", packages))


def test_lock_beyond_the_limits_is_too_large():
    many = [[f"x{n:04}", "1", "", [ONE]] for n in range(limits.MAX_LOCK_PACKAGES + 1)]
    with pytest.raises(TooLarge, match="packages"):
        decode_lock(raw(*many))
    with pytest.raises(TooLarge, match="bytes"):
        decode_lock(b"\0" * (limits.MAX_LOCK_BYTES + 1))


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(data: bytes):
    with contextlib.suppress(TalkootError):
        assert encode_lock(decode_lock(data)) == data


names = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?", fullmatch=True)
hashes = st.sets(st.binary(min_size=32, max_size=32).map(bytes.hex), min_size=1, max_size=3).map(sorted).map(tuple)


@given(st.dictionaries(names, st.tuples(st.integers(0, 99), hashes, st.sampled_from(["", LINUX])), max_size=5))
def test_every_lock_has_one_encoding_and_one_text(found: dict[str, tuple[int, tuple[str, ...], str]]):
    packages = (LockedPackage(name, f"{n}.0", marker, sums) for name, (n, sums, marker) in sorted(found.items()))
    lock = Lock("3.12", tuple(packages))
    assert decode_lock(encode_lock(lock)) == lock
    assert len(requirements_text(lock).splitlines()) == len(found)
