"""RFC 6962 trees: published roots, a reference twin, and every way a proof can be wrong."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.proof import merkle
from tests.reference import merkle_reference

# The inputs and roots that Certificate Transparency implementations have shared since 2012.
CT_INPUTS = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
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

SIZE_MAX = 130
DATA = [i.to_bytes(4, "big") for i in range(SIZE_MAX)]
LEAVES = [merkle.leaf_hash(data) for data in DATA]


def proof_of(index: int, size: int) -> bytes:
    return merkle.path(merkle.levels(LEAVES[:size]), index)


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots_of_certificate_transparency_are_met(size):
    """The trees over the first 1 to 8 published inputs have the published roots, here and in the reference twin."""
    root = merkle.root([merkle.leaf_hash(data) for data in CT_INPUTS[:size]])

    assert root.hex() == CT_ROOTS[size - 1]
    assert merkle_reference.tree_hash(CT_INPUTS[:size]).hex() == CT_ROOTS[size - 1]


def test_the_empty_tree_has_the_digest_of_nothing():
    """A tree without leaves has the root SHA-256("")."""
    assert merkle.root([]) == merkle.EMPTY_ROOT == merkle.frontier_root(()) == sha256(b"").digest()


def test_a_leaf_never_passes_for_a_node():
    """Leaves and nodes are hashed in domains of their own, so a node's children are no leaf's data."""
    left, right = LEAVES[:2]

    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)


@pytest.mark.parametrize("size", range(1, SIZE_MAX + 1))
def test_every_leaf_is_included_by_the_path_of_the_reference(size):
    """For each leaf of each size up to 130 root and path are the reference's, and the path leads to the root."""
    rows = merkle.levels(LEAVES[:size])
    root = rows[-1][0]
    assert root == merkle.root(LEAVES[:size]) == merkle_reference.tree_hash(DATA[:size])
    assert merkle.paths(rows) == [merkle.path(rows, index) for index in range(size)]

    for index in range(size):
        proof = merkle.path(rows, index)
        assert proof == b"".join(merkle_reference.path(index, DATA[:size]))
        assert merkle.root_from_path(LEAVES[index], index, size, proof) == root


def test_the_frontier_keeps_the_root_of_every_size():
    """Appending leaf by leaf keeps as many hashes as the size has one bits, and always the tree's root."""
    frontier: tuple[bytes, ...] = ()
    for size in range(SIZE_MAX):
        assert len(frontier) == size.bit_count()
        assert merkle.frontier_root(frontier) == merkle.root(LEAVES[:size])
        frontier = merkle.append(frontier, size, LEAVES[size])
    assert merkle.frontier_root(frontier) == merkle.root(LEAVES)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 64, 65, 130])
def test_no_path_includes_another_leaf_or_stands_at_another_index(size):
    """With a good path, another leaf or another index never leads to the root."""
    root = merkle.root(LEAVES[:size])
    for index in range(size):
        proof = proof_of(index, size)
        assert merkle.root_from_path(merkle.leaf_hash(b"another"), index, size, proof) != root
        for other in range(size):
            if other != index:
                assert reached(LEAVES[index], other, size, proof) != root


def reached(leaf: bytes, index: int, size: int, proof: bytes) -> bytes | None:
    """Return the root that a proof leads to, None where it is refused."""
    try:
        return merkle.root_from_path(leaf, index, size, proof)
    except merkle.ProofError:
        return None


@pytest.mark.parametrize("size", [2, 3, 5, 8, 13, 64, 65, 130])
def test_a_path_is_refused_or_fails_for_every_size_that_demands_another_shape(size):
    """A path that passes under another size than its own does so only where both sizes demand the very same hashes."""
    root = merkle.root(LEAVES[:size])
    for index in range(size):
        proof = proof_of(index, size)
        for other in range(2 * size):
            if reached(LEAVES[index], index, other, proof) == root:
                assert sides(index, other) == sides(index, size)


def sides(index: int, size: int) -> list[str]:
    """Return on which side each sibling stands on the way from a leaf to the root, by the recursion of the RFC."""
    if size == 1:
        return []
    k = merkle_reference.split(size)
    return [*sides(index, k), "right"] if index < k else [*sides(index - k, size - k), "left"]


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (5, 5), (6, 5), (-1, 5), (0, -1), (2**32, 5)], ids=str)
def test_an_index_outside_the_tree_is_refused(index, size):
    """Only 0 <= index < size has a proof."""
    with pytest.raises(merkle.ProofError):
        merkle.root_from_path(LEAVES[0], index, size, b"")


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda p: p[:-32], lambda p: p[32:], lambda p: p + bytes(32), lambda p: p + p[-32:], lambda p: p[:-1],
        lambda p: p + b"\x00", lambda _: b"", lambda p: p + p,
    ],
    ids=["last-hash-missing", "first-hash-missing", "zero-hash-appended", "last-hash-twice", "one-byte-short",
         "one-byte-long", "empty", "doubled"],
)  # fmt: skip
def test_a_path_of_another_length_is_refused(corrupt):
    """A path is exactly as long as index and size demand, to the byte."""
    for index in range(6):
        with pytest.raises(merkle.ProofError, match="got a path of"):
            merkle.root_from_path(LEAVES[index], index, 6, corrupt(proof_of(index, 6)))


@settings(deadline=None)
@given(st.integers(1, SIZE_MAX), st.data())
def test_every_one_bit_flip_of_a_path_leads_elsewhere(size, data):
    """A path with one bit changed never leads to the root."""
    index = data.draw(st.integers(0, size - 1))
    proof = proof_of(index, size)
    if not proof:
        return
    bit = data.draw(st.integers(0, len(proof) * 8 - 1))
    flipped = bytearray(proof)
    flipped[bit // 8] ^= 1 << bit % 8

    assert merkle.root_from_path(LEAVES[index], index, size, bytes(flipped)) != merkle.root(LEAVES[:size])


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=40))
def test_any_data_has_the_root_of_the_reference(data):
    """Root, fold and reference agree on any leaves, equal ones included."""
    leaves = [merkle.leaf_hash(item) for item in data]
    frontier: tuple[bytes, ...] = ()
    for size, leaf in enumerate(leaves):
        frontier = merkle.append(frontier, size, leaf)

    assert merkle.root(leaves) == merkle.frontier_root(frontier) == merkle_reference.tree_hash(data)
