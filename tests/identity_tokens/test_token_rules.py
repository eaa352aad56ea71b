"""The rules for an issuer, which are refused when they are made, and the errors, which hold no part of a token."""

from __future__ import annotations

from typing import Any

import pytest

from processors.identity.tokens.reasons import KeyReason, KeySetError, TokenReason, TokenRefusedError
from processors.identity.tokens.rules import ACCESS_TYPES, TokenRulesError
from processors.identity.tokens.verify import verify_token
from schemas import limits
from schemas.errors import InputError
from schemas.reasons import Reason
from tests.identity_tokens.minting import AUDIENCE, NOW_MS, all_keys, public_jwk, rules, set_of, token


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"issuer": ""}, "issuer"),
        ({"issuer": "i" * (limits.ISSUER_CHARS_MAX + 1)}, "issuer"),
        ({"audiences": frozenset()}, "audiences"),
        ({"audiences": frozenset({""})}, "audiences"),
        ({"audiences": AUDIENCE}, "audiences"),
        ({"audiences": [AUDIENCE]}, "audiences"),
        ({"audiences": frozenset({7})}, "audiences"),
        ({"audiences": frozenset(map(str, range(limits.TOKEN_AUDIENCES_MAX + 1)))}, "audiences"),
        ({"algorithms": frozenset()}, "algorithms"),
        ({"algorithms": frozenset({"RS256", "HS256"})}, "shared secret"),
        ({"algorithms": frozenset({"none"})}, "'none' is not supported"),
        ({"algorithms": frozenset({"ES256K"})}, "ES256K"),
        ({"types": frozenset()}, "types"),
        ({"types": frozenset({"JWT"})}, "write 'jwt'"),
        ({"types": frozenset({"application/at+jwt"})}, "write 'at+jwt'"),
        ({"types": frozenset({"at+jwt", "logout+jwt"})}, "logout+jwt"),
        ({"types": frozenset({"dpop+jwt"})}, "dpop+jwt"),
        ({"authorised_parties": frozenset({""})}, "authorised_parties"),
        ({"authorised_parties": {"shop"}}, "authorised_parties"),
        ({"required_claims": frozenset({""})}, "required_claims"),
        ({"skew_ms": -1}, "skew_ms"),
        ({"skew_ms": limits.TOKEN_SKEW_MS_MAX + 1}, "skew_ms"),
        ({"max_age_ms": 0}, "max_age_ms"),
        ({"max_age_ms": -1}, "max_age_ms"),
    ],
)
def test_rules_that_allow_too_much_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(TokenRulesError) as caught:
        rules(**changes)

    assert told in str(caught.value)


def test_the_bounds_themselves_are_allowed() -> None:
    made = rules(skew_ms=limits.TOKEN_SKEW_MS_MAX, max_age_ms=1, audiences=frozenset(map(str, range(64))))

    assert (made.types, made.skew_ms) == (ACCESS_TYPES, limits.TOKEN_SKEW_MS_MAX)
    assert rules().skew_ms == 60_000


def test_an_algorithm_that_the_rules_do_not_pin_is_refused_before_a_key_is_sought() -> None:
    pinned = rules(algorithms=frozenset({"RS256"}))
    with pytest.raises(TokenRefusedError) as caught:
        verify_token(token("ES256"), pinned, set_of(), NOW_MS)

    assert caught.value.reason == TokenReason.TOKEN_ALGORITHM_FORBIDDEN


def test_each_code_is_its_name_and_stands_nowhere_else() -> None:
    codes = [*TokenReason, *KeyReason]

    assert all(str(one) == one.name for one in codes)
    assert all(one.name.startswith("TOKEN_") for one in TokenReason)
    assert all(one.name.startswith("KEY_") for one in KeyReason)
    assert len({*codes, *Reason}) == len(codes) + len(Reason)
    assert len({one.meaning for one in codes}) == len(codes)
    assert all(one.meaning and one.step for one in codes)


def test_the_errors_are_those_of_an_input_and_say_what_is_wrong_and_what_helps() -> None:
    refused = TokenRefusedError(TokenReason.TOKEN_EXPIRED)
    malformed = KeySetError(KeyReason.KEY_SET_TOO_MANY, "got 65")

    assert str(refused) == "TOKEN_EXPIRED: the token has expired; get a new token"
    assert str(malformed).startswith("KEY_SET_TOO_MANY: the key set has more than 64 keys (got 65); ")
    assert isinstance(refused, InputError)
    assert isinstance(malformed, InputError)


def test_an_error_carries_no_part_of_the_token_and_no_other_error() -> None:
    """The library's messages quote keys and claims; none of them travels along."""
    text = token(sub="very-secret-subject", exp="soon")
    forged = text[:-12] + "AAAAAAAAAAAA"
    keys = set_of(public_jwk("ES256"))
    for one, among in ((text, all_keys()), (forged, keys), ("x" + text, keys), (f"{text}.x", keys)):
        with pytest.raises(TokenRefusedError) as caught:
            verify_token(one, rules(), among, NOW_MS)
        told = f"{caught.value} {caught.value!r} {caught.value.args}"
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert not any(part[:12] in told for part in text.split("."))
        assert "secret" not in told
