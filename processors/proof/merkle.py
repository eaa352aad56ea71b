"""RFC 6962 Merkle trees: roots, inclusion proofs, and the fold that keeps a log's root in O(log n) state.

Leaves are hashed as SHA-256(00 ‖ data), nodes as SHA-256(01 ‖ left ‖ right) (RFC 6962, section 2.1), so a leaf can
never pass for a node. This module does not know the meaning of a leaf.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

from schemas.errors import EvidenceError

EMPTY_ROOT = sha256(b"").digest()


class ProofError(EvidenceError):
    """A proof does not have the shape that its index and size demand."""


def leaf_hash(data: bytes) -> bytes:
    """Return SHA-256(00 ‖ data)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return the tree over leaf hashes, level by level from the leaves; an odd last node moves up unchanged."""
    rows = [list(leaves)]
    while len(rows[-1]) > 1:
        row = rows[-1]
        even = len(row) & ~1
        above = [sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, even, 2)]
        if len(row) & 1:
            above.append(row[-1])
        rows.append(above)
    return rows


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes; for no leaves, SHA-256 of the empty string."""
    if len(leaves) == 1:
        return leaves[0]
    return levels(leaves)[-1][0] if leaves else EMPTY_ROOT


def path(rows: Sequence[Sequence[bytes]], index: int) -> bytes:
    """Return the inclusion path of leaf `index` in a tree made by `levels`. Requires 0 <= index < size."""
    hashes = []
    for row in rows[:-1]:
        sibling = index ^ 1
        if sibling < len(row):
            hashes.append(row[sibling])
        index >>= 1
    return b"".join(hashes)


def paths(rows: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Return the inclusion paths of all leaves at once: each is its node's sibling and the path of its parent."""
    above = [b""] * len(rows[-1])
    for row in reversed(rows[:-1]):
        last = len(row) - 1
        above = [row[i ^ 1] + above[i >> 1] if i ^ 1 <= last else above[i >> 1] for i in range(len(row))]
    return above


def root_from_path(leaf: bytes, index: int, size: int, proof: bytes) -> bytes:
    """Return the root that the path `proof` leads to from `leaf` (RFC 9162, section 2.1.3.2).

    Raises:
        ProofError: index is not below size, or the path is not exactly as long as they demand.
    """
    if not 0 <= index < size:
        raise ProofError(f"got index {index} in a tree of size {size}, want an index below the size")
    return _climb(leaf, index, size - 1, proof) if size > 1 or proof else leaf


def _climb(node: bytes, index: int, last: int, proof: bytes) -> bytes:
    """Return the root above a node, which is the `index`th of its level; `last` is the index of that level's last."""
    while last > 0 and not (index & 1 or index < last):  # an odd last node moves up unchanged
        index >>= 1
        last >>= 1
    if last == 0:
        if proof:
            raise ProofError(f"got a path of {len(proof)} bytes more than index and size demand")
        return node
    sibling = proof[:32]
    if len(sibling) != 32:
        raise ProofError("got a path of fewer hashes than index and size demand")
    parent = sha256(b"\x01" + sibling + node if index & 1 else b"\x01" + node + sibling).digest()
    return _climb_on(parent, index >> 1, last >> 1, proof[32:])


# Leaf and sibling share the way from their parent up, so the records of a burst need two hashes each, not six.
_climb_on = lru_cache(maxsize=4096)(_climb)


def append(frontier: tuple[bytes, ...], size: int, leaf: bytes) -> tuple[bytes, ...]:
    """Return the frontier (roots of the complete subtrees, largest first) after one more leaf."""
    stack = list(frontier)
    while size & 1:
        leaf = node_hash(stack.pop(), leaf)
        size >>= 1
    return (*stack, leaf)


def frontier_root(frontier: tuple[bytes, ...]) -> bytes:
    """Return the root of the tree with this frontier."""
    if not frontier:
        return EMPTY_ROOT
    *rest, node = frontier
    for left in reversed(rest):
        node = node_hash(left, node)
    return node
