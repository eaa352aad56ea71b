"""Any text and any key set: one of two outcomes, and no change to a token leaves it accepted."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.identity.tokens.jose import decode_base64url, encode_base64url
from processors.identity.tokens.key_sets import KeySet, parse_key_set
from processors.identity.tokens.reasons import KeySetError, TokenReason
from processors.identity.tokens.verify import VerifiedToken
from tests.identity_tokens.minting import (
    KEY_OF,
    RSA_JWK,
    all_keys,
    claims,
    compact,
    header,
    judged,
    public_jwk,
    set_of,
    signed,
    token,
)

KEYS = all_keys()
GOOD = {algorithm: token(algorithm) for algorithm in KEY_OF}
UNDER_ONE_KID = [compact(header(algorithm, kid="RS256"), claims(), algorithm) for algorithm in KEY_OF]
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\0é"

algorithms = st.sampled_from(sorted(KEY_OF))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=16,
)
header_names = st.sampled_from(["alg", "kid", "typ", "cty", "crit", "b64", "jwk", "jku", "x5u", "x5c", "enc", "zip"])
claim_names = st.sampled_from(["iss", "aud", "azp", "sub", "exp", "iat", "nbf", "jti", "sid", "acr", "amr", "act"])
key_names = st.sampled_from(["kty", "kid", "use", "key_ops", "alg", "n", "e", "crv", "x", "y", "d", "k"])
WORDS = ["RSA", "EC", "OKP", "oct", "sig", "enc", "P-256", "P-384", "P-521", "Ed25519", "AQAB", "AA", *KEY_OF]
NUMBERS = [RSA_JWK["n"], public_jwk("ES256")["x"], public_jwk("ES256")["y"], public_jwk("EdDSA")["x"]]
key_values = json_values | st.sampled_from([*WORDS, *NUMBERS])


def is_refused(text: str, keys: KeySet = KEYS) -> bool:
    """Return True for a refusal; any other error than the verifier's own fails the test."""
    return isinstance(judged(text, keys=keys), TokenReason)


@given(algorithms, st.integers(0), st.sampled_from(ALPHABET))
def test_no_token_with_another_character_is_accepted(algorithm: str, at: int, character: str) -> None:
    good = GOOD[algorithm]
    at %= len(good)
    changed = good[:at] + character + good[at + 1 :]

    assert changed == good or is_refused(changed)


@given(algorithms, st.integers(0), st.integers(0, 2))
def test_no_token_with_a_flipped_bit_is_accepted(algorithm: str, bit: int, part: int) -> None:
    parts = GOOD[algorithm].split(".")
    data = bytearray(decode_base64url(parts[part]) or b"")
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    parts[part] = encode_base64url(bytes(data))

    assert is_refused(".".join(parts))


@given(algorithms, st.integers(0), st.integers(1, 40), st.text(ALPHABET, max_size=8))
def test_no_token_with_a_piece_cut_out_or_put_in_is_accepted(algorithm: str, at: int, length: int, piece: str) -> None:
    good = GOOD[algorithm]
    at %= len(good)
    changed = good[:at] + piece + good[at + length :]

    assert changed == good or is_refused(changed)
    assert piece == "" or is_refused(good[:at] + piece + good[at:])


@given(st.lists(algorithms, min_size=3, max_size=3), st.permutations([0, 1, 2]))
def test_no_parts_of_different_tokens_make_one(origins: list[str], order: list[int]) -> None:
    parts = [GOOD[origin].split(".")[part] for origin, part in zip(origins, order, strict=True)]
    text = ".".join(parts)

    assert text in GOOD.values() or is_refused(text)


@given(algorithms, st.dictionaries(header_names | st.text(max_size=6), json_values, max_size=4))
def test_no_changed_header_keeps_its_signature(algorithm: str, changes: dict[str, Any]) -> None:
    head, body, signature = GOOD[algorithm].split(".")
    changed = {**json.loads(decode_base64url(head) or b""), **changes}
    text = encode_base64url(json.dumps(changed).encode())

    assert text == head or is_refused(f"{text}.{body}.{signature}")


@given(algorithms, st.sampled_from([" ", "\n", "\t", "\u00a0", "\0", "{}", ","]), st.booleans(), st.integers(0))
def test_no_other_spelling_of_the_same_json_keeps_its_signature(
    algorithm: str, blank: str, is_body: bool, at: int
) -> None:
    parts = GOOD[algorithm].split(".")
    data = decode_base64url(parts[is_body]) or b""
    at %= len(data) + 1
    parts[is_body] = encode_base64url(data[:at] + blank.encode() + data[at:])

    assert is_refused(".".join(parts))


@given(st.dictionaries(header_names | st.text(max_size=6), json_values, max_size=5), st.booleans())
def test_any_header_is_judged_behind_a_sound_signature(changes: dict[str, Any], alone: bool) -> None:
    judged(compact(changes if alone else header(**changes), claims()), keys=KEYS)


@given(st.dictionaries(claim_names | st.text(max_size=6), json_values, max_size=5), st.booleans())
def test_any_claims_are_judged_behind_a_sound_signature(changes: dict[str, Any], alone: bool) -> None:
    outcome = judged(compact(header(), changes if alone else claims(**changes)), keys=KEYS)

    assert isinstance(outcome, TokenReason) or outcome.subject == outcome.claims["sub"]


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=80))
def test_any_bytes_in_three_parts_are_refused(head: bytes, body: bytes, signature: bytes) -> None:
    text = f"{encode_base64url(head)}.{encode_base64url(body)}"

    assert is_refused(f"{text}.{encode_base64url(signature)}")
    assert is_refused(signed(text))


@given(st.text() | st.text(ALPHABET))
def test_any_text_is_refused(text: str) -> None:
    assert is_refused(text)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_key_set_or_refused_as_one(data: bytes) -> None:
    try:
        keys = parse_key_set(data)
    except KeySetError:
        return
    assert is_refused(GOOD["ES256"], keys)


@given(st.lists(st.dictionaries(key_names, key_values, max_size=8) | json_values, max_size=4))
@settings(max_examples=300)
def test_any_keys_are_usable_or_have_a_reason(items: list[Any]) -> None:
    try:
        keys = set_of(*items)
    except KeySetError:
        return
    assert len(keys.usable) + len(keys.unusable) == len(items)
    for text in (*GOOD.values(), *UNDER_ONE_KID):
        judged(text, keys=keys)


@given(algorithms, st.dictionaries(key_names, key_values, min_size=1, max_size=3))
@settings(max_examples=300)
def test_a_changed_key_verifies_only_where_it_is_the_same_key(algorithm: str, changes: dict[str, Any]) -> None:
    sound = public_jwk(algorithm)
    try:
        keys = set_of({**sound, **changes})
    except KeySetError:
        return
    outcome = judged(GOOD[algorithm], keys=keys)
    if isinstance(outcome, VerifiedToken):
        members = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}[sound["kty"]]
        same = ("kty", "use", "alg", "kid", *members)
        assert all(changes.get(name, sound[name]) == sound[name] for name in same)
        assert "verify" in changes.get("key_ops", ["verify"])
        assert "d" not in changes
        assert "k" not in changes
