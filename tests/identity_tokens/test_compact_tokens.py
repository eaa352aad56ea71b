"""The text of a token and its header: one refusal for each defect, before any signature is looked at."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from processors.identity.tokens.jose import decode_base64url, encode_base64url, normal_type, parse_compact
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.identity.tokens.verify import VerifiedToken, claimed_issuer
from schemas import limits
from tests.identity_tokens.minting import (
    ABSENT,
    ISSUER,
    KEY_OF,
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

GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize("algorithm", KEY_OF)
def test_a_token_of_each_algorithm_is_accepted(algorithm: str) -> None:
    accepted = judged(token(algorithm))

    assert isinstance(accepted, VerifiedToken)
    assert (accepted.algorithm, accepted.kid, accepted.subject) == (algorithm, algorithm, "alice")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", TokenReason.TOKEN_NOT_COMPACT),
        ("opaque-0f3a", TokenReason.TOKEN_NOT_COMPACT),
        (f"{HEAD}.{BODY}", TokenReason.TOKEN_NOT_COMPACT),
        (f"{GOOD}.", TokenReason.TOKEN_NOT_COMPACT),
        (f"{GOOD}.{SIGNATURE}.{SIGNATURE}.x", TokenReason.TOKEN_NOT_COMPACT),
        (f"{HEAD}..{BODY}.{BODY}.{SIGNATURE}", TokenReason.TOKEN_IS_ENCRYPTED),
        (json.dumps({"payload": BODY, "protected": HEAD, "signature": SIGNATURE}), TokenReason.TOKEN_IS_JSON),
        (" \n" + json.dumps({"payload": BODY, "signatures": []}), TokenReason.TOKEN_IS_JSON),
        (f" {GOOD}", TokenReason.TOKEN_BASE64),
        (f"{GOOD}\n", TokenReason.TOKEN_BASE64),
        (f"{HEAD}.{BODY}=.{SIGNATURE}", TokenReason.TOKEN_BASE64),
        (f"{HEAD}.{BODY}.{SIGNATURE}==", TokenReason.TOKEN_BASE64),
        (f"{HEAD}.{BODY}.{SIGNATURE[:-1]}", TokenReason.TOKEN_BASE64),
        (f"{HEAD}.{BODY[:8]}\n{BODY[8:]}.{SIGNATURE}", TokenReason.TOKEN_BASE64),
        (f"{HEAD}.{BODY[:8]}+{BODY[8:]}.{SIGNATURE}", TokenReason.TOKEN_BASE64),
        (f"{HEAD}.é{BODY}.{SIGNATURE}", TokenReason.TOKEN_BASE64),
        (f"{HEAD}.\ud800{BODY}.{SIGNATURE}", TokenReason.TOKEN_BASE64),
        (f".{BODY}.{SIGNATURE}", TokenReason.TOKEN_HEADER_JSON),
        (f"{HEAD}.{BODY}.", TokenReason.TOKEN_SIGNATURE),
        (f"{HEAD}..{SIGNATURE}", TokenReason.TOKEN_SIGNATURE),
    ],
)
def test_a_text_that_is_not_a_compact_token_is_refused(text: str, reason: TokenReason) -> None:
    assert judged(text) == reason


def test_a_part_has_one_spelling() -> None:
    """The last character of a part must not carry bits that decoding drops."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    accepted = [last for last in alphabet if decode_base64url("QUJD" + "Q" + last) is not None]

    assert accepted == ["A", "Q", "g", "w"]
    assert decode_base64url("") == b""
    assert decode_base64url(encode_base64url(bytes(range(256)))) == bytes(range(256))


def test_the_size_is_checked_before_anything_else() -> None:
    room = limits.TOKEN_CHARS_MAX - len(f"{HEAD}..{SIGNATURE}")
    largest = compact(header(), claims(pad="x" * (room * 3 // 4 - 250)))

    assert room - 200 < len(largest) - len(HEAD) - len(SIGNATURE) <= room + 2
    assert isinstance(judged(largest), VerifiedToken)
    assert judged("A" * limits.TOKEN_CHARS_MAX) == TokenReason.TOKEN_NOT_COMPACT
    assert judged("A" * (limits.TOKEN_CHARS_MAX + 1)) == TokenReason.TOKEN_TOO_LONG


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", TokenReason.TOKEN_HEADER_JSON),
        (b"null", TokenReason.TOKEN_HEADER_JSON),
        (b"[]", TokenReason.TOKEN_HEADER_JSON),
        (b'"ES256"', TokenReason.TOKEN_HEADER_JSON),
        (b'{"alg":"ES256"', TokenReason.TOKEN_HEADER_JSON),
        (b'{"alg":"ES256"}{}', TokenReason.TOKEN_HEADER_JSON),
        (b'{"alg":"none","alg":"ES256","kid":"ES256"}', TokenReason.TOKEN_HEADER_JSON),
        (b'{"alg":"ES256","kid":"ES256","\\u0061lg":"none"}', TokenReason.TOKEN_HEADER_JSON),
        (b'{"alg":"ES256","kid":"ES256","x":NaN}', TokenReason.TOKEN_HEADER_JSON),
        (b'{"alg":"ES256","kid":"ES256","x":1e999}', TokenReason.TOKEN_HEADER_JSON),
        (b'{"alg":"ES256","kid":"ES256","x":' + b"9" * 5000 + b"}", TokenReason.TOKEN_HEADER_JSON),
        (b'{"alg":"ES256","kid":"ES256","x":[[[[[]]]]]}', TokenReason.TOKEN_HEADER_JSON),
        (b'{"alg":"ES256","kid":"ES256","x":' + b"[" * 5000 + b"]" * 5000 + b"}", TokenReason.TOKEN_HEADER_JSON),
        (b'{"alg":"ES256","kid":"ES256","x":[' + b"1," * 200 + b"1]}", TokenReason.TOKEN_HEADER_JSON),
        (b'\xef\xbb\xbf{"alg":"ES256","kid":"ES256"}', TokenReason.TOKEN_HEADER_JSON),
        (b'{"alg":"ES256","kid":"\xff"}', TokenReason.TOKEN_HEADER_JSON),
        (b'{"alg":"ES256","kid":"\\ud800"}', TokenReason.TOKEN_HEADER_JSON),
        ('{"alg":"ES256"}'.encode("utf-16"), TokenReason.TOKEN_HEADER_JSON),
    ],
)
def test_a_header_that_is_not_strict_json_is_refused(head: bytes, reason: TokenReason) -> None:
    assert judged(compact(head, claims())) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"alg": ABSENT}, TokenReason.TOKEN_HEADER),
        ({"alg": None}, TokenReason.TOKEN_HEADER),
        ({"alg": ["ES256"]}, TokenReason.TOKEN_HEADER),
        ({"alg": "none"}, TokenReason.TOKEN_UNSIGNED),
        ({"alg": "nOnE"}, TokenReason.TOKEN_UNSIGNED),
        ({"alg": "HS256"}, TokenReason.TOKEN_SYMMETRIC),
        ({"alg": "HS512"}, TokenReason.TOKEN_SYMMETRIC),
        ({"alg": "hs256"}, TokenReason.TOKEN_SYMMETRIC),
        ({"alg": ""}, TokenReason.TOKEN_ALGORITHM),
        ({"alg": "es256"}, TokenReason.TOKEN_ALGORITHM),
        ({"alg": "ES256 "}, TokenReason.TOKEN_ALGORITHM),
        ({"alg": "ES256K"}, TokenReason.TOKEN_ALGORITHM),
        ({"alg": "ES521"}, TokenReason.TOKEN_ALGORITHM),
        ({"alg": "RSA-OAEP"}, TokenReason.TOKEN_ALGORITHM),
        ({"kid": ""}, TokenReason.TOKEN_HEADER),
        ({"kid": None}, TokenReason.TOKEN_HEADER),
        ({"kid": 7}, TokenReason.TOKEN_HEADER),
        ({"kid": "k" * (limits.KEY_ID_CHARS_MAX + 1)}, TokenReason.TOKEN_HEADER),
        ({"typ": None}, TokenReason.TOKEN_HEADER),
        ({"typ": ""}, TokenReason.TOKEN_HEADER),
        ({"typ": 1}, TokenReason.TOKEN_HEADER),
        ({"typ": "j" * 65}, TokenReason.TOKEN_HEADER),
        ({"typ": "JW\u0422"}, TokenReason.TOKEN_HEADER),
        ({"crit": ["exp"], "exp": 1}, TokenReason.TOKEN_CRITICAL),
        ({"crit": []}, TokenReason.TOKEN_CRITICAL),
        ({"crit": ["b64"], "b64": False}, TokenReason.TOKEN_CRITICAL),
        ({"b64": True}, TokenReason.TOKEN_CRITICAL),
        ({"jwk": public_jwk("ES256")}, TokenReason.TOKEN_KEY_INSIDE),
        ({"jku": "https://evil.example/keys"}, TokenReason.TOKEN_KEY_INSIDE),
        ({"x5u": "https://evil.example/cert"}, TokenReason.TOKEN_KEY_INSIDE),
        ({"jwk": None}, TokenReason.TOKEN_KEY_INSIDE),
        ({"cty": "JWT"}, TokenReason.TOKEN_NESTED),
        ({"enc": "A128GCM"}, TokenReason.TOKEN_IS_ENCRYPTED),
    ],
)
def test_a_header_with_a_defect_is_refused_though_the_signature_is_sound(
    changes: dict[str, Any], reason: TokenReason
) -> None:
    assert judged(compact(header(**changes), claims())) == reason


def test_certificates_and_unknown_members_of_a_header_are_ignored() -> None:
    """Microsoft Entra ID sends `x5t`, others `x5c`. No certificate is a key, not even a garbled one."""
    head = header(x5c=["bm90IGEgY2VydGlmaWNhdGU"], x5t="GvnP", **{"x5t#S256": 7}, org={"a": [1]})

    assert isinstance(judged(compact(head, claims())), VerifiedToken)


@pytest.mark.parametrize(
    ("typ", "is_accepted"),
    [
        (ABSENT, True),
        ("JWT", True),
        ("jwt", True),
        ("at+jwt", True),
        ("AT+JWT", True),
        ("application/at+jwt", True),
        ("application/JWT", True),
        ("id+jwt", False),
        ("logout+jwt", False),
        ("application/logout+jwt", False),
        ("secevent+jwt", False),
        ("text/jwt", False),
        ("application/application/jwt", False),
        ("JWT ", False),
    ],
)
def test_the_type_of_a_token_is_one_of_an_access_token(typ: object, is_accepted: bool) -> None:
    outcome = judged(compact(header(typ=typ), claims()))

    assert outcome == TokenReason.TOKEN_TYPE or is_accepted
    assert isinstance(outcome, VerifiedToken) == is_accepted


@pytest.mark.parametrize("typ", [ABSENT, "JWT"])
def test_where_access_tokens_have_a_type_an_identity_token_does_not_pass(typ: object) -> None:
    only = frozenset({"at+jwt"})

    assert judged(compact(header(typ=typ), claims(nonce="n")), types=only) == TokenReason.TOKEN_TYPE
    assert isinstance(judged(compact(header(typ="application/at+jwt"), claims()), types=only), VerifiedToken)


def test_a_type_is_compared_as_a_media_type() -> None:
    assert [normal_type(one) for one in ("JWT", "application/AT+jwt", "x/y", "application/x/y")] == [
        "jwt",
        "at+jwt",
        "x/y",
        "application/x/y",
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"sub":"a","sub":"b"}',
        b'{"exp":NaN}',
        b'{"exp":Infinity}',
        b'{"sub":"\xff"}',
        b'{"n":' + b"1" * 400 + b"}",
        b'{"n":18446744073709551616}',
        b'{"a":' * 17 + b"1" + b"}" * 17,
    ],
)
def test_claims_that_are_not_strict_json_are_refused_behind_a_sound_signature(body: bytes) -> None:
    assert judged(compact(header(), body)) == TokenReason.TOKEN_CLAIMS_JSON


def test_claims_are_not_read_before_the_signature_is_verified() -> None:
    text = compact(header(), b"not json")

    assert judged(text[:-8] + "AAAAAAAA") == TokenReason.TOKEN_SIGNATURE


def test_the_issuer_that_a_token_claims_chooses_the_rules() -> None:
    assert claimed_issuer(token()) == ISSUER
    assert claimed_issuer(f"{HEAD}.{BODY}.") == ISSUER  # nothing is verified
    for wrong in (ABSENT, 7, "", "i" * (limits.ISSUER_CHARS_MAX + 1)):
        with pytest.raises(TokenRefusedError) as caught:
            claimed_issuer(token(iss=wrong))
        assert caught.value.reason == TokenReason.TOKEN_ISSUER


def test_each_bound_of_a_header_is_exact() -> None:
    name = "k" * limits.KEY_ID_CHARS_MAX
    named = set_of(public_jwk("ES256", kid=name))

    assert isinstance(judged(compact(header(kid=name), claims()), keys=named), VerifiedToken)
    assert isinstance(
        judged(compact(header(kid="k"), claims()), keys=set_of(public_jwk("ES256", kid="k"))), VerifiedToken
    )
    assert judged(compact(header(typ="j" * 64), claims())) == TokenReason.TOKEN_TYPE
    assert judged(compact(header(typ="j"), claims())) == TokenReason.TOKEN_TYPE
    assert judged(compact(header(x=[[[[]]]]), claims())) == TokenReason.TOKEN_HEADER_JSON
    assert isinstance(judged(compact(header(x=[[[]]]), claims())), VerifiedToken)
    assert isinstance(judged(compact(header(x=[1] * 123), claims())), VerifiedToken)  # 128 values with the others
    assert judged(compact(header(x=[1] * 124), claims())) == TokenReason.TOKEN_HEADER_JSON


def test_each_bound_of_a_claimed_issuer_is_exact() -> None:
    for issuer in ("i", "i" * limits.ISSUER_CHARS_MAX):
        assert claimed_issuer(token(iss=issuer)) == issuer
        assert isinstance(judged(token(iss=issuer), issuer=issuer), VerifiedToken)


def test_a_parsed_token_does_not_show_its_text() -> None:
    assert "alice" not in repr(parse_compact(GOOD))
    assert BODY not in repr(parse_compact(GOOD))


def test_the_worst_text_of_the_largest_size_is_judged_within_half_a_second() -> None:
    """Many parts, deep JSON, many members, one long member."""
    size = limits.TOKEN_CHARS_MAX * 3 // 4 - 200
    many = json.dumps({f"{n:x}": 1 for n in range(size // 10)}).encode()[:size]
    worst = [
        "." * limits.TOKEN_CHARS_MAX,
        "A" * limits.TOKEN_CHARS_MAX,
        f"{encode_base64url(b'[' * size)}.e30.AA",
        f"{encode_base64url(many)}.e30.AA",
        compact(header(), b"[" * (size - 100)),
        signed(f"{HEAD}.{base64.urlsafe_b64encode(b'a' * (size // 3 * 3 - 99)).decode()}"),
    ]
    keys = all_keys()
    for text in worst:
        begun = time.perf_counter()
        assert isinstance(judged(text, keys=keys), TokenReason)
        assert time.perf_counter() - begun < 0.5
