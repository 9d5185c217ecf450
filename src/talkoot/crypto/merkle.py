"""Merkle trees of RFC 6962 (section 2.1), with SHA-256. Pure.

The tree is over a list of leaf hashes. Its root commits to all of them and to their order; an inclusion proof
shows that one leaf is under a root, a consistency proof that an older tree is the beginning of a newer one. The
`verify_` functions take what strangers send: whatever the arguments, they return a bool and do not raise.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256().digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: SHA-256 over 0x00 and the data."""
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node with two children: SHA-256 over 0x01 and their hashes."""
    return hashlib.sha256(b"\1" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root of the tree over these leaf hashes."""
    level = leaf_hashes
    while len(level) > 1:
        level = _parents(level)
    return level[0] if level else EMPTY_ROOT


def _parents(level: Sequence[bytes]) -> list[bytes]:
    # A node without a sibling rises unchanged. This is the split at the largest power of two that the RFC has.
    parents = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        parents.append(level[-1])
    return parents


class Frontier(msgspec.Struct, frozen=True, array_like=True):
    """The little that is needed of a tree to append to it and to know its root.

    `nodes` are the roots of the perfect subtrees that make it up, largest first: one per bit set in `size`, so
    at most 64 hashes for any log there will be.
    """

    size: int = 0
    nodes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.nodes) != self.size.bit_count():
            raise ValueError(f"{len(self.nodes)} nodes cannot be the frontier of a tree of {self.size} leaves")
        if any(len(node) != HASH_BYTES for node in self.nodes):
            raise ValueError(f"the nodes of a frontier have {HASH_BYTES} bytes each")

    def append(self, leaf: bytes) -> "Frontier":
        """The frontier after one more leaf hash."""
        return self.extend((leaf,))

    def extend(self, leaf_hashes: Iterable[bytes]) -> "Frontier":
        """The frontier after some more leaf hashes."""
        size, nodes = self.size, list(self.nodes)
        for leaf in leaf_hashes:
            node, complete = leaf, size
            while complete & 1:
                node = node_hash(nodes.pop(), node)
                complete >>= 1
            nodes.append(node)
            size += 1
        return Frontier(size, tuple(nodes))

    def root(self) -> bytes:
        """The root of the whole tree."""
        if not self.nodes:
            return EMPTY_ROOT
        *larger, whole = self.nodes
        for node in reversed(larger):
            whole = node_hash(node, whole)
        return whole


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes that lead from the leaf at `index` to the root (RFC 6962, 2.1.1). Raises IndexError."""
    if not 0 <= index < len(leaf_hashes):
        raise IndexError(f"a tree of {len(leaf_hashes)} leaves has no leaf {index}")
    proof, level = [], leaf_hashes
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        index, level = index // 2, _parents(level)
    return proof


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `leaf` is the leaf hash at `index` of the tree of `size` leaves (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size or not _are_hashes(leaf, root, *proof):
        return False
    node, position, last = leaf, index, size - 1
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while position and not position & 1:  # levels at which the node had no sibling and rose
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and node == root


def consistency_proof(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """The hashes that show the tree of the first `old_size` leaves to be the beginning of this one.

    RFC 6962, 2.1.2. Nothing needs to be shown for the empty tree and for the same one. Raises IndexError.
    """
    if not 0 <= old_size <= len(leaf_hashes):
        raise IndexError(f"a tree of {len(leaf_hashes)} leaves has no beginning of {old_size}")
    return _subproof(leaf_hashes, old_size, known=True) if old_size else []


def _subproof(leaves: Sequence[bytes], old_size: int, *, known: bool) -> list[bytes]:
    """SUBPROOF of the RFC; `known` says that the verifier has the root of these leaves as the old root."""
    if old_size == len(leaves):
        return [] if known else [root(leaves)]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    if old_size <= split:
        return [*_subproof(leaves[:split], old_size, known=known), root(leaves[split:])]
    return [*_subproof(leaves[split:], old_size - split, known=False), root(leaves[:split])]


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the old tree is the beginning of the new one (RFC 9162, 2.1.4.2)."""
    if not 0 <= old_size <= new_size or not _are_hashes(old_root, new_root, *proof):
        return False
    if old_size == new_size:
        return not proof and old_root == new_root and (new_size > 0 or new_root == EMPTY_ROOT)
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    path = [old_root, *proof] if old_size.bit_count() == 1 else list(proof)
    if not path:
        return False
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for node in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, node)
        position, last = position >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root


def _are_hashes(*values: bytes) -> bool:
    # With other lengths, one input of SHA-256 could be read as two different pairs of children.
    return all(len(value) == HASH_BYTES for value in values)
