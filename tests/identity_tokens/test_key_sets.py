"""Key sets as values: every reason for which a key verifies nothing, and the choice of the one key for a token."""

from __future__ import annotations

import base64
import time
from math import isqrt
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from processors.identity.tokens import weak_rsa
from processors.identity.tokens.jose import encode_base64url
from processors.identity.tokens.key_sets import KeySet, UnusableKey, parse_key_set
from processors.identity.tokens.reasons import KeyReason, KeySetError, TokenReason, TokenRefusedError
from processors.identity.tokens.verify import VerifiedToken
from schemas import limits
from tests.identity_tokens.minting import (
    ABSENT,
    KEY_OF,
    RSA_JWK,
    STRANGER,
    claims,
    compact,
    header,
    judged,
    public_jwk,
    rows_of,
    set_bytes,
    set_of,
    token,
)

MODULUS = int.from_bytes(base64.urlsafe_b64decode(RSA_JWK["n"] + "=="), "big")


def number(value: int, octets: int | None = None) -> str:
    return encode_base64url(value.to_bytes(octets or (value.bit_length() + 7) // 8, "big"))


def fault(jwk: Any) -> KeyReason | None:
    """Return the reason of the only key of a set."""
    keys = set_of(jwk)
    return keys.unusable[0].reason if keys.unusable else None


def refusal(data: bytes) -> KeyReason:
    with pytest.raises(KeySetError) as caught:
        parse_key_set(data)
    return caught.value.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", KeyReason.KEY_SET_JSON),
        (b"<html>", KeyReason.KEY_SET_JSON),
        (b'{"keys":[],"keys":[]}', KeyReason.KEY_SET_JSON),
        (b'{"keys":[{"kid":"a","kid":"b"}]}', KeyReason.KEY_SET_JSON),
        (b'{"keys":' + b"[" * 20 + b"]" * 20 + b"}", KeyReason.KEY_SET_JSON),
        (b'{"keys":[' + b"0," * 5000 + b"0]}", KeyReason.KEY_SET_JSON),
        (b"\xff", KeyReason.KEY_SET_JSON),
        (b"[]", KeyReason.KEY_SET_FORM),
        (b"null", KeyReason.KEY_SET_FORM),
        (b"{}", KeyReason.KEY_SET_FORM),
        (b'{"keys":{}}', KeyReason.KEY_SET_FORM),
        (b'{"keys":[' + b"0," * limits.KEY_SET_KEYS_MAX + b"0]}", KeyReason.KEY_SET_TOO_MANY),
        (b'{"keys":[]}' + b" " * limits.KEY_SET_BYTES_MAX, KeyReason.KEY_SET_TOO_LARGE),
    ],
)
def test_a_text_that_is_not_a_key_set_is_refused_as_a_whole(data: bytes, reason: KeyReason) -> None:
    assert refusal(data) == reason


def test_an_empty_key_set_is_a_value_and_verifies_nothing() -> None:
    keys = parse_key_set(b' {"keys": [], "more": 1} ')

    assert (keys.usable, keys.unusable) == ((), ())
    assert parse_key_set(b'{"keys":[]}'.ljust(limits.KEY_SET_BYTES_MAX)).usable == ()
    assert judged(token(), keys=keys) == TokenReason.TOKEN_KEY_UNKNOWN


@pytest.mark.parametrize("algorithm", KEY_OF)
def test_a_public_key_of_each_algorithm_is_usable(algorithm: str) -> None:
    (key,) = set_of(public_jwk(algorithm)).usable

    assert (key.kid, list(key.bound)) == (algorithm, [algorithm])


@pytest.mark.parametrize(
    ("jwk", "reason"),
    [
        (7, KeyReason.KEY_FORM),
        (None, KeyReason.KEY_FORM),
        ([], KeyReason.KEY_FORM),
        ({}, KeyReason.KEY_TYPE),
        (public_jwk("RS256", kty="rsa"), KeyReason.KEY_TYPE),
        (public_jwk("RS256", kty=["RSA"]), KeyReason.KEY_TYPE),
        (public_jwk("RS256", kty="AKP"), KeyReason.KEY_TYPE),
        ({"kty": "oct", "kid": "s", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}, KeyReason.KEY_SYMMETRIC),
        (public_jwk("RS256", kid=7), KeyReason.KEY_ID),
        (public_jwk("RS256", kid=None), KeyReason.KEY_ID),
        (public_jwk("RS256", kid=""), KeyReason.KEY_ID),
        (public_jwk("RS256", kid="k" * (limits.KEY_ID_CHARS_MAX + 1)), KeyReason.KEY_ID),
        (public_jwk("RS256", use="enc"), KeyReason.KEY_USE),
        (public_jwk("RS256", use="SIG"), KeyReason.KEY_USE),
        (public_jwk("RS256", use=1), KeyReason.KEY_FORM),
        (public_jwk("RS256", use=ABSENT, key_ops=["encrypt"]), KeyReason.KEY_USE),
        (public_jwk("RS256", key_ops=["sign"]), KeyReason.KEY_USE),
        (public_jwk("RS256", key_ops=[]), KeyReason.KEY_USE),
        (public_jwk("RS256", key_ops="verify"), KeyReason.KEY_FORM),
        (public_jwk("RS256", alg="ES256"), KeyReason.KEY_ALGORITHM),
        (public_jwk("RS256", alg="HS256"), KeyReason.KEY_ALGORITHM),
        (public_jwk("RS256", alg="none"), KeyReason.KEY_ALGORITHM),
        (public_jwk("RS256", alg="RSA-OAEP"), KeyReason.KEY_ALGORITHM),
        (public_jwk("RS256", alg=None), KeyReason.KEY_ALGORITHM),
        (public_jwk("ES256", alg="ES384"), KeyReason.KEY_ALGORITHM),
        (public_jwk("ES512", alg="ES521"), KeyReason.KEY_ALGORITHM),
        (public_jwk("EdDSA", alg="ES256"), KeyReason.KEY_ALGORITHM),
        ({**RSA_JWK, "kid": "private"}, KeyReason.KEY_PRIVATE),
        (public_jwk("RS256", d=RSA_JWK["d"]), KeyReason.KEY_PRIVATE),
        (public_jwk("RS256", p=None), KeyReason.KEY_PRIVATE),
        (public_jwk("ES256", d="AA"), KeyReason.KEY_PRIVATE),
        (public_jwk("EdDSA", d="AA"), KeyReason.KEY_PRIVATE),
        (public_jwk("RS256", k="AA"), KeyReason.KEY_PRIVATE),
        (public_jwk("RS256", n=ABSENT), KeyReason.KEY_FORM),
        (public_jwk("RS256", e=ABSENT), KeyReason.KEY_FORM),
        (public_jwk("RS256", e=65537), KeyReason.KEY_FORM),
        (public_jwk("RS256", n=RSA_JWK["n"] + "=="), KeyReason.KEY_FORM),
        (public_jwk("RS256", n=""), KeyReason.KEY_RSA_SIZE),
        (public_jwk("RS256", n=number(2**2046 + 1)), KeyReason.KEY_RSA_SIZE),
        (public_jwk("RS256", n=number(2**8192 + 1)), KeyReason.KEY_RSA_SIZE),
        (public_jwk("RS256", n=number(2**100_000 + 1)), KeyReason.KEY_RSA_SIZE),
        (public_jwk("RS256", e=""), KeyReason.KEY_RSA_EXPONENT),
        (public_jwk("RS256", e=number(1)), KeyReason.KEY_RSA_EXPONENT),
        (public_jwk("RS256", e=number(3)), KeyReason.KEY_RSA_EXPONENT),
        (public_jwk("RS256", e=number(65535)), KeyReason.KEY_RSA_EXPONENT),
        (public_jwk("RS256", e=number(65538)), KeyReason.KEY_RSA_EXPONENT),
        (public_jwk("RS256", e=number(2**32 + 1)), KeyReason.KEY_RSA_EXPONENT),
        (public_jwk("RS256", e=RSA_JWK["n"]), KeyReason.KEY_RSA_EXPONENT),
        (public_jwk("RS256", n=number(MODULUS + 1)), KeyReason.KEY_RSA_WEAK),
        (public_jwk("ES256", crv="secp256k1"), KeyReason.KEY_CURVE),
        (public_jwk("ES256", crv="P-192"), KeyReason.KEY_CURVE),
        (public_jwk("ES256", crv="p-256"), KeyReason.KEY_CURVE),
        (public_jwk("ES256", crv="Ed25519"), KeyReason.KEY_CURVE),
        (public_jwk("EdDSA", crv="P-256"), KeyReason.KEY_CURVE),
        (public_jwk("EdDSA", crv="X25519"), KeyReason.KEY_CURVE),
        (public_jwk("ES256", crv=ABSENT), KeyReason.KEY_FORM),
        (public_jwk("ES256", y=ABSENT), KeyReason.KEY_FORM),
        (public_jwk("ES256", y=7), KeyReason.KEY_FORM),
        (public_jwk("ES256", y="*"), KeyReason.KEY_FORM),
        (public_jwk("ES256", y=public_jwk("ES256")["x"]), KeyReason.KEY_POINT),
        (public_jwk("ES256", x=number(0, 32), y=number(0, 32)), KeyReason.KEY_POINT),
        (public_jwk("ES256", x=number(0, 33)), KeyReason.KEY_POINT),
        (public_jwk("ES256", crv="P-384"), KeyReason.KEY_POINT),
        (public_jwk("EdDSA", x=number(1, 31)), KeyReason.KEY_POINT),
        (public_jwk("EdDSA", x=encode_base64url(bytes([1]) + bytes(31))), KeyReason.KEY_POINT),  # the neutral point
        (public_jwk("EdDSA", x=encode_base64url(bytes(32))), KeyReason.KEY_POINT),  # of order 4
        (public_jwk("EdDSA", x=encode_base64url(b"\xff" * 32)), KeyReason.KEY_POINT),  # not canonical
    ],
)
def test_a_key_with_a_defect_is_refused_by_name_and_spoils_no_other(jwk: Any, reason: KeyReason) -> None:
    sound = public_jwk("ES384", kid="sound")
    keys = set_of(jwk, sound)

    assert [one.reason for one in keys.unusable] == [reason]
    assert [key.kid for key in keys.usable] == ["sound"]
    assert isinstance(judged(compact(header("ES384", kid="sound"), claims(), "ES384"), keys=keys), VerifiedToken)


def test_keys_on_further_curves_are_refused() -> None:
    """The library that verifies knows secp256k1 and Ed448."""
    bitcoin = ECAlgorithm.to_jwk(ec.derive_private_key(7, ec.SECP256K1()).public_key(), as_dict=True)
    goldilocks = OKPAlgorithm.to_jwk(Ed448PrivateKey.from_private_bytes(bytes(57)).public_key(), as_dict=True)

    assert [fault(bitcoin), fault(goldilocks)] == [KeyReason.KEY_CURVE, KeyReason.KEY_CURVE]


def test_each_bound_of_an_rsa_key_is_exact() -> None:
    usable = [number(65537), number(2**32 - 1)]

    assert [fault(public_jwk("RS256", e=e)) for e in usable] == [None, None]
    assert fault(public_jwk("RS256", n=number(2**2047 + 1))) != KeyReason.KEY_RSA_SIZE
    assert fault(public_jwk("RS256", n=number(2**8191 + 1))) != KeyReason.KEY_RSA_SIZE


def test_octets_of_zero_in_front_of_a_modulus_are_let_pass() -> None:
    """Java's big integers bring one."""
    keys = set_of(public_jwk("RS256", n=number(MODULUS, 257)))

    assert isinstance(judged(token("RS256"), keys=keys), VerifiedToken)


def test_a_key_without_alg_verifies_the_algorithms_of_its_kind() -> None:
    """Microsoft Entra ID publishes no `alg`; the rules for the issuer choose then."""
    keys = set_of(public_jwk("RS256", kid="rsa", alg=ABSENT), public_jwk("ES256", kid="ec", alg=ABSENT))
    rsa_key, ec_key = keys.usable
    text = compact(header("PS384", kid="rsa"), claims(), "PS384")

    assert list(rsa_key.bound) == ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
    assert list(ec_key.bound) == ["ES256"]
    assert isinstance(judged(text, keys=keys), VerifiedToken)
    assert judged(text, keys=keys, algorithms=frozenset({"RS256"})) == TokenReason.TOKEN_ALGORITHM_FORBIDDEN


def test_a_key_is_used_with_the_algorithm_that_it_names_alone() -> None:
    """RFC 8725 3.1. The signature is by that very key."""
    text = compact(header("PS256", kid="RS256"), claims(), "PS256")

    assert judged(text, keys=set_of(public_jwk("RS256"))) == TokenReason.TOKEN_KEY_ALGORITHM


@pytest.mark.parametrize(
    "other",
    [
        public_jwk("ES256", kid="one"),
        public_jwk("RS256", kid="one"),
        public_jwk("ES384", kid="one", y=ABSENT),
        {"kty": "oct", "kid": "one", "k": "AA"},
        {"kid": "one"},
    ],
)
def test_two_keys_of_one_kid_spoil_each_other(other: dict[str, Any]) -> None:
    keys = set_of(public_jwk("ES256", kid="one"), other, public_jwk("ES384"))

    assert keys.unusable == (
        UnusableKey("one", KeyReason.KEY_AMBIGUOUS),
        UnusableKey("one", KeyReason.KEY_AMBIGUOUS),
    )
    assert judged(compact(header(kid="one"), claims()), keys=keys) == TokenReason.TOKEN_KEY_AMBIGUOUS
    assert isinstance(judged(token("ES384"), keys=keys), VerifiedToken)


def test_a_key_for_encryption_does_not_make_a_kid_ambiguous() -> None:
    keys = set_of(public_jwk("ES256", kid="one"), public_jwk("RS256", kid="one", use="enc", alg="RSA-OAEP"))

    assert isinstance(judged(compact(header(kid="one"), claims()), keys=keys), VerifiedToken)


def test_a_token_without_kid_needs_exactly_one_key_that_fits() -> None:
    bare = compact(header(kid=ABSENT), claims())
    unnamed = public_jwk("ES256", kid=ABSENT)

    assert isinstance(judged(bare, keys=set_of(unnamed)), VerifiedToken)
    assert isinstance(judged(bare, keys=set_of(public_jwk("ES256"), public_jwk("RS256"))), VerifiedToken)
    assert judged(bare, keys=set_of(unnamed, unnamed)) == TokenReason.TOKEN_KEY_UNNAMED
    assert judged(bare, keys=set_of(unnamed, public_jwk("ES256"))) == TokenReason.TOKEN_KEY_UNNAMED
    assert judged(bare, keys=set_of(public_jwk("ES384"))) == TokenReason.TOKEN_KEY_UNNAMED


def test_a_token_with_kid_is_not_tried_with_other_keys() -> None:
    assert judged(token(), keys=set_of(public_jwk("ES256", kid=ABSENT))) == TokenReason.TOKEN_KEY_UNKNOWN
    assert judged(token(), keys=set_of(public_jwk("ES256", kid="es256"))) == TokenReason.TOKEN_KEY_UNKNOWN
    assert judged(token(), keys=set_of(public_jwk("ES256", use="enc"))) == TokenReason.TOKEN_KEY_UNUSABLE


def test_a_signature_by_a_stranger_does_not_verify() -> None:
    assert judged(compact(header(), claims(), key=STRANGER)) == TokenReason.TOKEN_SIGNATURE


def test_a_message_names_the_kid_bounded_and_escaped() -> None:
    keys = set_of(public_jwk("ES256", d="AA"))
    with pytest.raises(TokenRefusedError) as caught:
        keys.key_for("k\n\u202e" + "x" * 200, "ES256")
    with pytest.raises(TokenRefusedError) as unusable:
        keys.key_for("ES256", "ES256")

    assert "kid 'k\\n\\u202exxx" in str(caught.value)
    assert len(caught.value.detail) < 90
    assert unusable.value.detail == "kid 'ES256': KEY_PRIVATE"


def test_a_key_set_shows_kids_and_reasons_and_no_key() -> None:
    keys = set_of(public_jwk("ES256"), {**RSA_JWK, "kid": "leaked"})
    shown = repr(keys)

    assert shown.startswith("KeySet(usable=(UsableKey(kid='ES256'),), unusable=(UnusableKey(kid='leaked', ")
    assert not any(value in shown for value in (RSA_JWK["d"], RSA_JWK["n"], public_jwk("ES256")["x"]))
    assert repr(keys.sha256) not in shown


def test_key_sets_of_the_same_bytes_are_equal() -> None:
    data = set_bytes(public_jwk("ES256"))

    assert parse_key_set(data) == parse_key_set(data)
    assert parse_key_set(data) != parse_key_set(data + b" ")
    assert isinstance(parse_key_set(data), KeySet)


def test_moduli_that_can_be_factored_are_found_each_by_its_own_look() -> None:
    near = isqrt(MODULUS) | 1
    roca = next(row for row in rows_of("jwk_wycheproof.jsonl") if row["group_comment"] == "jws_rsa_roca_key")
    text = roca["keyset"]["keys"][0]["n"]
    weak = int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")

    assert weak_rsa._has_roca_fingerprint(weak)
    assert not weak_rsa._has_close_factors(weak)
    assert weak_rsa._has_close_factors(near * (near + 2))
    assert weak_rsa._has_close_factors(near * near)
    assert weak_rsa._has_close_factors(near * (near + 6))
    assert not weak_rsa._has_close_factors(near * (near + 2**1023))
    assert weak_rsa.is_weak(751 * MODULUS)
    assert weak_rsa.is_weak(3 * MODULUS)
    assert weak_rsa.is_weak(2 * MODULUS)
    assert not weak_rsa.is_weak(757 * MODULUS)
    assert not weak_rsa.is_weak(MODULUS)


def test_no_key_of_a_sound_generator_is_taken_for_weak() -> None:
    sound = [row["key"] for row in rows_of("jws_wycheproof.jsonl") if row["key"]["kty"] == "RSA"]
    made = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n

    assert not weak_rsa.is_weak(made)
    assert {fault({**jwk, "use": "sig", "key_ops": ["verify"]}) for jwk in sound} == {None}


def test_the_largest_set_of_the_costliest_keys_is_read_within_seconds() -> None:
    costly = public_jwk("RS256", n=number(2**8191 + 2**4000 + 5), alg=ABSENT)
    data = set_bytes(*({**costly, "kid": str(n)} for n in range(limits.KEY_SET_KEYS_MAX)))
    begun = time.perf_counter()
    keys = parse_key_set(data)

    assert time.perf_counter() - begun < 5  # 0.4 s on an idle core
    assert len(keys.usable) == limits.KEY_SET_KEYS_MAX
