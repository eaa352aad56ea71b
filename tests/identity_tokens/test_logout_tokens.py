"""Logout tokens (OpenID Connect Back-Channel Logout 1.0): each defect has its code, and no token has two uses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.identity.tokens.jose import encode_base64url
from processors.identity.tokens.key_sets import KeySet
from processors.identity.tokens.logout import LOGOUT_EVENT, LogoutToken, verify_logout_token
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.identity.tokens.verify import VerifiedToken
from schemas import limits
from tests.identity_tokens.minting import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    KEY_OF,
    NOW_MS,
    NOW_S,
    STRANGER,
    all_keys,
    compact,
    header,
    judged,
    logout_claims,
    logout_token,
    public_jwk,
    rules,
    set_of,
    signed,
    token,
)

KEYS = all_keys()
WORDS = st.sampled_from(["alice", AUDIENCE, ISSUER, LOGOUT_EVENT, "", "s-1"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2 * NOW_S) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
AGE_S = limits.LOGOUT_TOKEN_AGE_MS_MAX // 1000


def ended(text: str, *, keys: KeySet = KEYS, now_ms: int = NOW_MS, **changes: Any) -> TokenReason | LogoutToken:
    """Return the logout token if it is accepted, else the reason; any other error fails the test."""
    try:
        return verify_logout_token(text, rules(**changes), keys, now_ms)
    except TokenRefusedError as exc:
        return exc.reason


def accepted(text: str, **changes: Any) -> LogoutToken:
    outcome = ended(text, **changes)
    assert isinstance(outcome, LogoutToken), outcome
    return outcome


@pytest.mark.parametrize("algorithm", KEY_OF)
def test_a_logout_token_says_whose_login_has_ended(algorithm: str) -> None:
    found = accepted(logout_token(algorithm))

    assert (found.issuer, found.subject, found.session, found.token_id) == (ISSUER, "alice", "s-1", "e-1")
    assert (found.issued_at_ms, found.ends_at_ms) == (NOW_MS - 5000, NOW_MS + 115_000)


@pytest.mark.parametrize("typ", ["logout+jwt", "application/logout+jwt", "LOGOUT+JWT", "JWT", "jwt", ABSENT])
def test_older_providers_send_no_type_of_its_own(typ: Any) -> None:
    assert accepted(compact(header(typ=typ), logout_claims()))


def test_the_session_or_the_subject_is_enough() -> None:
    assert accepted(logout_token(sub=ABSENT)).subject is None
    assert accepted(logout_token(sid=ABSENT)).session is None


def test_the_event_may_stand_beside_others_and_say_more() -> None:
    """RFC 8417 allows other events, and members of an event."""
    assert accepted(logout_token(events={LOGOUT_EVENT: {"why": "admin"}, "urn:other": {}}))


def test_a_token_for_several_audiences_needs_no_party() -> None:
    """`azp` belongs to tokens that open something."""
    assert accepted(logout_token(aud=["other", AUDIENCE]), authorised_parties=frozenset({"shop"}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": ABSENT}, TokenReason.TOKEN_ISSUER),
        ({"iss": ISSUER + "/"}, TokenReason.TOKEN_ISSUER),
        ({"aud": ABSENT}, TokenReason.TOKEN_AUDIENCE),
        ({"aud": "other"}, TokenReason.TOKEN_AUDIENCE),
        ({"aud": [AUDIENCE, 7]}, TokenReason.TOKEN_AUDIENCE_FORM),
        ({"iat": ABSENT}, TokenReason.TOKEN_CLAIM_MISSING),
        ({"iat": None}, TokenReason.TOKEN_TIME_FORM),
        ({"iat": NOW_S + 61}, TokenReason.TOKEN_ISSUED_AHEAD),
        ({"iat": NOW_S - AGE_S}, TokenReason.TOKEN_TOO_OLD),
        ({"iat": NOW_S - AGE_S, "exp": NOW_S + 86_400}, TokenReason.TOKEN_TOO_OLD),
        ({"exp": ABSENT}, TokenReason.TOKEN_NO_END),
        ({"exp": NOW_S}, TokenReason.TOKEN_EXPIRED),
        ({"exp": str(NOW_S + 60)}, TokenReason.TOKEN_TIME_FORM),
        ({"nbf": NOW_S + 61}, TokenReason.TOKEN_NOT_YET),
        ({"jti": ABSENT}, TokenReason.TOKEN_CLAIM_MISSING),
        ({"jti": ""}, TokenReason.TOKEN_CLAIM_FORM),
        ({"jti": 7}, TokenReason.TOKEN_CLAIM_FORM),
        ({"sub": ABSENT, "sid": ABSENT}, TokenReason.TOKEN_LOGOUT_OF_NONE),
        ({"sub": None}, TokenReason.TOKEN_CLAIM_FORM),
        ({"sub": ["alice"]}, TokenReason.TOKEN_CLAIM_FORM),
        ({"sub": "ali\u200bce"}, TokenReason.TOKEN_CLAIM_FORM),
        ({"sid": None}, TokenReason.TOKEN_CLAIM_FORM),
        ({"sid": 1}, TokenReason.TOKEN_CLAIM_FORM),
        ({"sid": "s" * 256}, TokenReason.TOKEN_CLAIM_FORM),
        ({"events": ABSENT}, TokenReason.TOKEN_NOT_LOGOUT),
        ({"events": None}, TokenReason.TOKEN_NOT_LOGOUT),
        ({"events": {}}, TokenReason.TOKEN_NOT_LOGOUT),
        ({"events": [LOGOUT_EVENT]}, TokenReason.TOKEN_NOT_LOGOUT),
        ({"events": LOGOUT_EVENT}, TokenReason.TOKEN_NOT_LOGOUT),
        ({"events": {LOGOUT_EVENT: None}}, TokenReason.TOKEN_NOT_LOGOUT),
        ({"events": {LOGOUT_EVENT: True}}, TokenReason.TOKEN_NOT_LOGOUT),
        ({"events": {LOGOUT_EVENT.upper(): {}}}, TokenReason.TOKEN_NOT_LOGOUT),
        ({"events": {LOGOUT_EVENT + "/": {}}}, TokenReason.TOKEN_NOT_LOGOUT),
        ({"nonce": "n"}, TokenReason.TOKEN_NONCE),
        ({"nonce": None}, TokenReason.TOKEN_NONCE),
    ],
)
def test_a_claim_with_a_defect_is_refused_by_name(changes: dict[str, Any], reason: TokenReason) -> None:
    assert ended(logout_token(**changes)) == reason


@pytest.mark.parametrize("typ", ["at+jwt", "secevent+jwt", "dpop+jwt", "id+jwt", "logout"])
def test_another_type_is_refused(typ: str) -> None:
    assert ended(compact(header(typ=typ), logout_claims())) == TokenReason.TOKEN_NOT_LOGOUT


def test_the_signature_is_that_of_a_key_of_the_issuer() -> None:
    forged = compact(header(typ="logout+jwt"), logout_claims(), key=STRANGER)

    assert ended(forged) == TokenReason.TOKEN_SIGNATURE
    assert ended(logout_token(), keys=set_of(public_jwk("ES256", kid="new"))) == TokenReason.TOKEN_KEY_UNKNOWN
    assert ended(logout_token(), algorithms=frozenset({"RS256"})) == TokenReason.TOKEN_ALGORITHM_FORBIDDEN
    unsigned = ".".join([encode_base64url(b'{"alg":"none"}'), logout_token().split(".")[1], ""])
    assert ended(unsigned) == TokenReason.TOKEN_UNSIGNED


def test_each_bound_of_a_life_is_exact() -> None:
    old = logout_token(iat=NOW_S, exp=NOW_S + 2 * AGE_S)

    assert accepted(old, now_ms=NOW_MS + limits.LOGOUT_TOKEN_AGE_MS_MAX - 1).ends_at_ms == NOW_MS + AGE_S * 1000
    assert ended(old, now_ms=NOW_MS + limits.LOGOUT_TOKEN_AGE_MS_MAX) == TokenReason.TOKEN_TOO_OLD
    assert ended(logout_token(iat=NOW_S - 60), max_age_ms=59_999) == TokenReason.TOKEN_TOO_OLD


@pytest.mark.parametrize("typ", ["at+jwt", "JWT", ABSENT])
def test_an_access_or_identity_token_ends_nothing(typ: Any) -> None:
    access = compact(header(typ=typ), logout_claims(events=ABSENT))
    identity = compact(header(typ=typ), logout_claims(events=ABSENT, nonce="n"))

    assert (ended(access), ended(identity)) == (TokenReason.TOKEN_NOT_LOGOUT, TokenReason.TOKEN_NOT_LOGOUT)


@given(
    st.dictionaries(st.sampled_from(["events", "nonce", "sub", "sid", "jti", "exp", "iat", "aud"]), json_values),
    st.sampled_from(["logout+jwt", "JWT", "at+jwt", ABSENT]),
)
@settings(max_examples=60)
def test_no_token_both_opens_and_ends_something(changes: dict[str, Any], typ: Any) -> None:
    text = compact(header(typ=typ), logout_claims(**changes))

    assert not (isinstance(ended(text), LogoutToken) and isinstance(judged(text), VerifiedToken))
    assert not isinstance(judged(logout_token(**changes)), VerifiedToken)
    assert not isinstance(ended(token(**changes)), LogoutToken)


@given(st.text(), st.binary(max_size=200), st.binary(max_size=200))
def test_any_text_is_refused(text: str, head: bytes, body: bytes) -> None:
    parts = f"{encode_base64url(head)}.{encode_base64url(body)}"

    assert all(isinstance(ended(one), TokenReason) for one in (text, parts, signed(parts)))


@given(json_values)
def test_any_payload_is_refused_behind_a_sound_signature(payload: Any) -> None:
    assert isinstance(ended(compact(header(typ="logout+jwt"), json.dumps(payload).encode())), TokenReason)


def test_a_logout_token_shows_no_claim() -> None:
    assert repr(accepted(logout_token())) == f"LogoutToken(issued_at_ms={NOW_MS - 5000}, ends_at_ms={NOW_MS + 115_000})"
