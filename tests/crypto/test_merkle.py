import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkoot.crypto import merkle
from talkoot.crypto.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

SIZES = range(71)
LEAVES = [leaf_hash(i.to_bytes(2, "big")) for i in range(max(SIZES))]

# The test data of the certificate-transparency reference implementation: leaves, and roots of sizes 1 to 8.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def rfc_root(leaves):
    """MTH of RFC 6962, section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + rfc_root(leaves[:split]) + rfc_root(leaves[split:])).digest()


def test_roots_are_those_of_the_published_test_data():
    leaves = [leaf_hash(data) for data in CT_LEAVES]
    assert [root(leaves[:size]).hex() for size in range(1, 9)] == CT_ROOTS
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_proofs_are_those_of_the_published_test_data():
    leaves = [leaf_hash(data) for data in CT_LEAVES]
    assert [node.hex() for node in inclusion_proof(leaves, 5)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [node.hex() for node in consistency_proof(leaves, 6)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@pytest.mark.parametrize("size", SIZES)
def test_root_and_frontier_agree_with_the_definition(size):
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier = frontier.append(leaf)
    assert frontier == Frontier().extend(LEAVES[:size])
    assert frontier.root() == root(LEAVES[:size]) == rfc_root(LEAVES[:size])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(frontier), type=Frontier) == frontier


@pytest.mark.parametrize("size", SIZES[1:])
def test_every_leaf_is_proved_and_no_other(size):
    leaves, whole = LEAVES[:size], root(LEAVES[:size])
    for index in range(size):
        proof = inclusion_proof(leaves, index)
        assert verify_inclusion(leaves[index], index, size, proof, whole)
        assert not verify_inclusion(leaves[index], index + 1, size, proof, whole)
        assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, whole)
        assert not verify_inclusion(leaves[index], index, size, [*proof, whole], whole)
        if proof:
            assert not verify_inclusion(leaves[index], index, size, proof[:-1], whole)


@pytest.mark.parametrize("size", SIZES)
def test_every_older_tree_is_shown_to_be_the_beginning(size):
    new = root(LEAVES[:size])
    for old_size in range(size + 1):
        old, proof = root(LEAVES[:old_size]), consistency_proof(LEAVES[:size], old_size)
        assert verify_consistency(old_size, old, size, new, proof)
        assert not verify_consistency(old_size, leaf_hash(b"other"), size, new, proof)
        assert not verify_consistency(old_size, old, size, leaf_hash(b"other"), proof) or old_size == 0
        assert not verify_consistency(old_size, old, size, new, [*proof, new])
        if proof:
            assert not verify_consistency(old_size, old, size, new, proof[:-1])


def test_a_log_that_was_rewritten_has_no_proof():
    rewritten = [*LEAVES[:10], leaf_hash(b"other"), *LEAVES[11:40]]
    old = root(LEAVES[:20])
    for old_size in range(41):
        if old_size <= len(rewritten):
            proof = consistency_proof(rewritten, old_size)
            assert not verify_consistency(20, old, len(rewritten), root(rewritten), proof)


HASHES = st.binary(min_size=30, max_size=34) | st.sampled_from([*LEAVES[:4], root(LEAVES[:2]), EMPTY_ROOT])
NUMBERS = st.integers(-2, 2**70) | st.integers(-1, 9)


@given(NUMBERS, NUMBERS, HASHES, HASHES, st.lists(HASHES, max_size=5))
def test_proofs_that_were_made_up_are_answered_and_not_raised(first, second, old, new, proof):
    assert verify_inclusion(old, first, second, proof, new) in (
        False,
        0 <= first < second and (bool(proof) or (second == 1 and old == new)),
    )
    assert verify_consistency(first, old, second, new, proof) in (False, 0 <= first <= second)


@given(st.integers(1, 70), st.data())
def test_one_flipped_bit_of_a_proof_is_found(size, data):
    index = data.draw(st.integers(0, size - 1))
    leaves, whole = LEAVES[:size], root(LEAVES[:size])
    proof = inclusion_proof(leaves, index)
    if proof:
        place, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
        proof[place] = (int.from_bytes(proof[place], "big") ^ (1 << bit)).to_bytes(32, "big")
        assert not verify_inclusion(leaves[index], index, size, proof, whole)


def test_a_node_is_not_a_leaf():
    left, right = LEAVES[:2]
    assert node_hash(left, right) != leaf_hash(left + right)


def test_a_hash_of_another_length_is_refused():
    left, right = LEAVES[:2]
    whole = node_hash(left, right)
    assert not verify_inclusion(left[:31], 0, 2, [left[31:] + right], whole)
    assert merkle.node_hash(left[:31], left[31:] + right) == whole  # what the check is for


@pytest.mark.parametrize(("size", "nodes"), [(1, ()), (3, (bytes(32),)), (0, (bytes(32),)), (1, (b"short",)), (-1, (bytes(32),))])
def test_a_frontier_that_cannot_be_is_not_decoded(size, nodes):
    with pytest.raises(ValueError):
        Frontier(size, nodes)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode((size, nodes)), type=Frontier)


def test_a_leaf_that_is_not_there_has_no_proof():
    with pytest.raises(IndexError):
        inclusion_proof(LEAVES[:3], 3)
    with pytest.raises(IndexError):
        consistency_proof(LEAVES[:3], 4)
