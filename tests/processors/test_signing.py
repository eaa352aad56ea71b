"""Signatures and proofs: third-party vectors, a second verifier, and every way a proof header can be wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.proof import merkle, signing
from processors.proof.signing import MalformedProofError, Place, Proof, SignatureError, SigningKey, VerifiedHeads
from schemas import limits
from tests.builders import noise
from tests.reference import ed25519_reference, merkle_reference
from tests.rows import every

VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "vectors" / "ed25519_vectors.jsonl").read_text("utf-8").splitlines()
]
# The one edge case that is sound: nothing about it is unusual but the text that was searched for.
SOUND_EDGE_CASE = "ed25519_vectors-417079988"

KEY = SigningKey.from_seed(noise("signing"))
LEAVES = [merkle.leaf_hash(i.to_bytes(4, "big")) for i in range(limits.HEAD_LEAVES_MAX)]
PLACE = Place.of(signing.EVENT_TAG, noise("genesis"), "macaw.acme.intake", 0, noise("schema"))


def ours(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the project's own checks accept: the key at registration, then the signature."""
    try:
        signing.check_public_key(public)
        signing.verify_signature(public, message, signature)
    except SignatureError:
        return False
    return True


def theirs(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether OpenSSL accepts, after the checks that it leaves out, by plain arithmetic."""
    if not ed25519_reference.is_good_key(public) or not ed25519_reference.is_large_order(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def vector_parts(vector: dict[str, str]) -> tuple[bytes, bytes, bytes]:
    return bytes.fromhex(vector["pk"]), bytes.fromhex(vector["msg"]), bytes.fromhex(vector["sig"])


def flips(data: bytes):
    """Yield `data` with each of its bits changed, one at a time."""
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def check(header: bytes, leaf: bytes, key: bytes = KEY.public) -> None:
    """Verify a proof header as intake does, without a memory."""
    proof = Proof.parse(header)
    signing.verify_signature(key, proof.head(leaf), proof.signature)


# ---- Ed25519


@pytest.mark.parametrize(("result", "total"), [("valid", 88), ("invalid", 63), ("edge", 197)])
def test_third_party_vectors_are_judged_strictly(result, total):
    """Every valid vector is accepted, every invalid one refused, and of the edge cases only the sound one accepted."""
    vectors = [vector for vector in VECTORS if vector["result"] == result]
    accepted = {vector["id"] for vector in vectors if ours(*vector_parts(vector))}

    assert len(vectors) == total
    assert (
        accepted
        == {
            "valid": {vector["id"] for vector in vectors},
            "invalid": set(),
            "edge": {SOUND_EDGE_CASE},
        }[result]
    )


def test_a_second_verifier_agrees_on_every_vector() -> None:
    """OpenSSL, after the checks it leaves out, says of each vector what the project says."""

    def holds(vector: dict[str, Any]) -> None:
        assert ours(*vector_parts(vector)) is theirs(*vector_parts(vector))

    every(VECTORS, lambda vector: vector["id"], holds)


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_both_libraries_sign_alike_and_accept_each_other(seed, message):
    """From one seed both make the same public key and the same signature, and each accepts it."""
    key, other = SigningKey.from_seed(seed), Ed25519PrivateKey.from_private_bytes(seed)
    signature = key.sign(message)

    assert key.public == other.public_key().public_bytes_raw()
    assert signature == other.sign(message)
    assert ours(key.public, message, signature)
    assert theirs(key.public, message, signature)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 1), st.integers(0, 511), st.integers(0, 255))
def test_both_libraries_refuse_a_signature_with_one_bit_changed(message, which, in_signature, in_key):
    """A bit changed in a signature or in a key makes both refuse."""
    key, signature = bytearray(KEY.public), bytearray(KEY.sign(message))
    if which:
        signature[in_signature // 8] ^= 1 << in_signature % 8
    else:
        key[in_key // 8] ^= 1 << in_key % 8

    assert not ours(bytes(key), message, bytes(signature))
    assert not theirs(bytes(key), message, bytes(signature))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length):
    """A public key is 32 bytes, when it is registered and when it is used."""
    with pytest.raises(SignatureError):
        signing.check_public_key(bytes(length))
    with pytest.raises(SignatureError):
        signing.verify_signature(bytes(length), b"", bytes(64))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(length):
    """A signature is 64 bytes."""
    with pytest.raises(SignatureError):
        signing.verify_signature(KEY.public, b"", (KEY.sign(b"") + b"\x00")[:length])


def test_an_all_zero_or_random_point_is_no_key():
    """Of 32 bytes that happen to be a point, only those of prime order are a key: one in sixteen."""
    encodings = [noise("point", i) for i in range(300)]

    assert not ed25519_reference.is_good_key(bytes(32))
    with pytest.raises(SignatureError):
        signing.check_public_key(bytes(32))
    for encoding in encodings:
        assert is_accepted(encoding) is ed25519_reference.is_good_key(encoding)


def is_accepted(encoding: bytes) -> bool:
    try:
        signing.check_public_key(encoding)
    except SignatureError:
        return False
    return True


def test_a_private_key_shows_only_its_public_half():
    """Neither the seed nor the secret stands in the text form of a key."""
    assert KEY.seed.hex() not in repr(KEY)
    assert KEY.seed.hex()[:8] not in f"{KEY}"
    assert KEY.kid.hex()[:16] in repr(KEY)


# ---- leaves


def test_a_leaf_covers_every_part_of_its_place_and_its_body():
    """Another tag, genesis, topic, partition, schema or body gives another leaf."""
    parts = {
        "tag": signing.EVENT_TAG,
        "genesis": noise("genesis"),
        "topic": "macaw.acme.intake",
        "partition": 0,
        "schema_sha256": noise("schema"),
    }
    others = {
        "tag": signing.DECISION_TAG,
        "genesis": noise("other"),
        "topic": "macaw.acmf.intake",
        "partition": 1,
        "schema_sha256": noise("other schema"),
    }
    leaves = {Place.of(**{**parts, name: other}).leaf(b"body") for name, other in others.items()}

    assert Place.of(**parts) == PLACE
    assert len(leaves | {PLACE.leaf(b"body"), PLACE.leaf(b"bodz"), PLACE.leaf(b"")}) == len(others) + 3


@settings(deadline=None)
@given(st.binary(max_size=20), st.binary(max_size=20), st.text(max_size=8), st.text(max_size=8))
def test_bytes_never_move_between_topic_and_body(body, more, topic, tail):
    """Length prefixes keep topic and body apart: two records share a leaf only if both are equal."""

    def leaf(name: str, datum: bytes) -> bytes:
        return Place.of(signing.EVENT_TAG, bytes(32), name, 0, bytes(32)).leaf(datum)

    assert (leaf(topic + tail, body) == leaf(topic, more + body)) is (not tail and not more)


# ---- proofs


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1023, 1024])
def test_one_signature_covers_every_record_of_a_burst(size):
    """Each record of a burst of up to 1024 verifies under the one signature, with the reference's path."""
    proofs = KEY.sign_leaves(LEAVES[:size])
    data = [i.to_bytes(4, "big") for i in range(size)]

    assert len({proof[:64] for proof in proofs}) == 1
    for index in {0, size // 2, size - 1}:
        check(proofs[index], LEAVES[index])
        assert proofs[index][72:] == b"".join(merkle_reference.path(index, data))


@pytest.mark.parametrize("size", [1, 5])
def test_every_one_bit_flip_of_a_proof_is_refused(size):
    """No bit of a proof header can change: not in the signature, the index, the size or the path."""
    proofs = KEY.sign_leaves(LEAVES[:size])
    for leaf, proof in zip(LEAVES, proofs, strict=False):
        for changed in flips(proof):
            with pytest.raises((SignatureError, MalformedProofError)):
                check(changed, leaf)


def test_every_one_bit_flip_of_a_leaf_is_refused():
    """A signature over a lone record says nothing of any other leaf."""
    (proof,) = KEY.sign_leaves(LEAVES[:1])
    for changed in flips(LEAVES[0]):
        with pytest.raises(SignatureError):
            check(proof, changed)


@pytest.mark.parametrize(("index", "size"), [(1025, 2**31), (0, 1025), (1024, 1025), (0, 2**32 - 1)])
def test_a_head_of_more_than_1024_leaves_is_refused(index, size):
    """Whoever signs may cover 1024 records at most, whatever the path says."""
    header = bytes(64) + index.to_bytes(4, "big") + size.to_bytes(4, "big") + bytes(320)

    with pytest.raises(MalformedProofError):
        Proof.parse(header)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (5, 5), (1024, 1024), (2**32 - 1, 1)])
def test_an_index_at_or_beyond_the_size_is_refused(index, size):
    """A record stands inside its burst."""
    with pytest.raises(MalformedProofError):
        Proof.parse(bytes(64) + index.to_bytes(4, "big") + size.to_bytes(4, "big"))


@pytest.mark.parametrize("length", [0, 1, 64, 71, 72 + 320 + 1, 72 + 352, 4096])
def test_a_proof_header_of_impossible_length_is_refused(length):
    """A header holds 72 bytes and at most ten hashes."""
    with pytest.raises(MalformedProofError):
        Proof.parse(
            bytes(64) + bytes(3) + b"\x00" + bytes(3) + b"\x01" + bytes(length) if length > 72 else bytes(length)
        )


@pytest.mark.parametrize("size", [1, 2, 5, 1024])
@pytest.mark.parametrize("change", [-33, -32, -1, 1, 32, 33, 64])
def test_a_path_of_another_length_than_index_and_size_demand_is_refused(size, change):
    """Exactly as many hashes as the tree demands, to the byte."""
    for index, proof in enumerate(KEY.sign_leaves(LEAVES[:size])[:8]):
        changed = proof + bytes(change) if change > 0 else proof[:change]
        with pytest.raises(MalformedProofError):
            check(changed, LEAVES[index])


def test_a_proof_is_good_for_its_own_leaf_and_key_only():
    """Another record of the same burst, or another key, does not verify."""
    proofs = KEY.sign_leaves(LEAVES[:5])
    for i in range(5):
        for j in range(5):
            if i != j:
                with pytest.raises(SignatureError):
                    check(proofs[i], LEAVES[j])
    with pytest.raises(SignatureError):
        check(proofs[0], LEAVES[0], SigningKey.from_seed(noise("another")).public)


def test_an_inner_node_of_a_burst_is_no_record():
    """The node over two leaves does not pass for a leaf of a smaller burst: the size is signed with the root."""
    proof = KEY.sign_leaves(LEAVES[:2])[0]
    node = merkle.node_hash(LEAVES[0], LEAVES[1])
    forged = proof[:64] + (0).to_bytes(4, "big") + (1).to_bytes(4, "big")

    with pytest.raises(SignatureError):
        check(forged, node)


@pytest.mark.parametrize("size", [0, limits.HEAD_LEAVES_MAX + 1])
def test_nobody_signs_an_empty_or_oversized_burst(size):
    """Signing takes 1 to 1024 leaves."""
    with pytest.raises(AssertionError):
        KEY.sign_leaves([bytes(32)] * size)


# ---- the memory of heads


def said(check_head, *triple: bytes) -> bool:
    try:
        check_head(*triple)
    except SignatureError:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), max_size=30), st.integers(1, 4))
def test_the_memory_of_heads_says_exactly_what_verification_says(script, capacity):
    """With any history and any capacity a remembered answer is the computed one, and nothing bad is remembered."""
    heads = VerifiedHeads(capacity)
    keys = [SigningKey.from_seed(noise("key", i)) for i in range(3)]
    messages = [signing.head_bytes(1, noise("head", i)) for i in range(3)]
    for who, what, good in script:
        key, head = keys[who], messages[what]
        signature = key.sign(head) if good else keys[who - 1].sign(head)
        answer = said(signing.verify_signature, key.public, head, signature)

        assert said(heads.verify, key.public, head, signature) is answer is bool(good)
        assert ((key.public, head, signature) in heads._known) is answer
        assert len(heads._known) <= capacity


def test_a_remembered_head_is_remembered_for_its_key_and_signature_only():
    """A head that verified under one key says nothing of another key, head or signature."""
    heads = VerifiedHeads()
    head = signing.head_bytes(1, LEAVES[0])
    signature = KEY.sign(head)
    heads.verify(KEY.public, head, signature)
    other = SigningKey.from_seed(noise("another"))

    for triple in (
        (other.public, head, signature),
        (KEY.public, signing.head_bytes(1, LEAVES[1]), signature),
        (KEY.public, signing.head_bytes(2, LEAVES[0]), signature),
        (KEY.public, head, other.sign(head)),
        (KEY.public, head, signature[:-1] + bytes([signature[-1] ^ 1])),
    ):
        assert triple not in heads._known
        with pytest.raises(SignatureError):
            heads.verify(*triple)
    heads.verify(KEY.public, head, signature)


# ---- what new keys and root keys sign


def test_possession_and_root_acts_are_bound_to_everything_they_are_for():
    """Another tenant, role, name, key or epoch makes another message, and the two kinds never meet."""
    base = signing.possession_bytes(noise("g"), "agent", "bot", noise("e"), noise("x"))
    others = [
        signing.possession_bytes(noise("h"), "agent", "bot", noise("e"), noise("x")),
        signing.possession_bytes(noise("g"), "tool", "bot", noise("e"), noise("x")),
        signing.possession_bytes(noise("g"), "agent", "bob", noise("e"), noise("x")),
        signing.possession_bytes(noise("g"), "agentb", "ot", noise("e"), noise("x")),
        signing.possession_bytes(noise("g"), "agent", "bot", noise("f"), noise("x")),
        signing.possession_bytes(noise("g"), "agent", "bot", noise("e"), noise("y")),
        signing.root_act_bytes(noise("g"), 0, b"act"),
        signing.root_act_bytes(noise("g"), 1, b"act"),
        signing.root_act_bytes(noise("h"), 0, b"act"),
    ]

    assert len({base, *others}) == len(others) + 1
