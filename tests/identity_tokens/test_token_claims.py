"""The claims of a token with a sound signature: issuer, audience, party, times, subject, actors, and other claims."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from processors.identity.tokens.claims import TIME_MAX, TokenActor
from processors.identity.tokens.reasons import TokenReason
from processors.identity.tokens.verify import VerifiedToken
from schemas import limits
from tests.identity_tokens.minting import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    NOW_MS,
    NOW_S,
    claims,
    compact,
    header,
    judged,
    token,
)

OTHER = "https://api.example.org"


def accepted(text: str, **changes: Any) -> VerifiedToken:
    outcome = judged(text, **changes)
    assert isinstance(outcome, VerifiedToken), outcome
    return outcome


def test_an_accepted_token_says_all_that_was_checked() -> None:
    text = token(
        aud=[AUDIENCE, OTHER], azp="shop", sid="s-1", acr="2", amr=["pwd", "otp"], act={"sub": "bot"}, team="red"
    )
    found = accepted(text, authorised_parties=frozenset({"shop"}))

    assert (found.algorithm, found.kid, found.type) == ("ES256", "ES256", "at+jwt")
    assert (found.issuer, found.subject, found.audiences) == (ISSUER, "alice", (AUDIENCE, OTHER))
    assert (found.authorised_party, found.token_id, found.session) == ("shop", "7c1e", "s-1")
    assert (found.context, found.methods, found.actors) == ("2", ("pwd", "otp"), (TokenActor(ISSUER, "bot"),))
    assert (found.expires_at_ms, found.issued_at_ms) == (NOW_MS + 300_000, NOW_MS - 5000)
    assert found.sha256 == sha256(text.encode()).digest()
    assert found.claims["team"] == "red"


def test_a_token_with_the_least_claims_is_accepted() -> None:
    found = accepted(token(iat=ABSENT, nbf=ABSENT, jti=ABSENT))

    assert (found.issued_at_ms, found.token_id, found.session, found.context) == (None, None, None, None)
    assert (found.methods, found.actors, found.authorised_party) == ((), (), None)


def test_the_claims_of_a_verified_token_cannot_be_changed() -> None:
    found = accepted(token(groups=["a"]))
    found.claims["groups"] = ["admin"]
    found.claims["sub"] = "root"

    assert (found.claims["groups"], found.claims["sub"]) == (["a"], "alice")


def test_a_verified_token_does_not_show_its_claims() -> None:
    found = accepted(token(email="alice@example.org"))

    assert repr(found) == f"VerifiedToken(algorithm='ES256', kid='ES256', sha256={found.sha256!r})"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": ABSENT}, TokenReason.TOKEN_ISSUER),
        ({"iss": None}, TokenReason.TOKEN_ISSUER),
        ({"iss": [ISSUER]}, TokenReason.TOKEN_ISSUER),
        ({"iss": ISSUER + "/"}, TokenReason.TOKEN_ISSUER),
        ({"iss": ISSUER[:-1]}, TokenReason.TOKEN_ISSUER),
        ({"iss": ISSUER.upper()}, TokenReason.TOKEN_ISSUER),
        ({"iss": ISSUER + "@evil.example"}, TokenReason.TOKEN_ISSUER),
        ({"aud": ABSENT}, TokenReason.TOKEN_AUDIENCE),
        ({"aud": OTHER}, TokenReason.TOKEN_AUDIENCE),
        ({"aud": [OTHER]}, TokenReason.TOKEN_AUDIENCE),
        ({"aud": []}, TokenReason.TOKEN_AUDIENCE),
        ({"aud": AUDIENCE.upper()}, TokenReason.TOKEN_AUDIENCE),
        ({"aud": None}, TokenReason.TOKEN_AUDIENCE_FORM),
        ({"aud": ""}, TokenReason.TOKEN_AUDIENCE_FORM),
        ({"aud": {AUDIENCE: True}}, TokenReason.TOKEN_AUDIENCE_FORM),
        ({"aud": [AUDIENCE, 7]}, TokenReason.TOKEN_AUDIENCE_FORM),
        ({"aud": [AUDIENCE, [AUDIENCE]]}, TokenReason.TOKEN_AUDIENCE_FORM),
        ({"aud": [AUDIENCE] * (limits.TOKEN_AUDIENCES_MAX + 1)}, TokenReason.TOKEN_AUDIENCE_FORM),
        ({"aud": [AUDIENCE, OTHER]}, TokenReason.TOKEN_PARTY),
        ({"aud": [AUDIENCE, AUDIENCE]}, TokenReason.TOKEN_PARTY),
        ({"aud": [AUDIENCE, OTHER], "azp": "shop"}, TokenReason.TOKEN_PARTY),
        ({"azp": 7}, TokenReason.TOKEN_CLAIM_FORM),
        ({"azp": None}, TokenReason.TOKEN_CLAIM_FORM),
        ({"azp": ""}, TokenReason.TOKEN_CLAIM_FORM),
        ({"events": {}}, TokenReason.TOKEN_IS_EVENT),
        ({"events": None}, TokenReason.TOKEN_IS_EVENT),
        ({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, TokenReason.TOKEN_BOUND),
        ({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}, TokenReason.TOKEN_BOUND),
        ({"cnf": None}, TokenReason.TOKEN_BOUND),
        ({"exp": ABSENT}, TokenReason.TOKEN_NO_END),
        ({"exp": NOW_S}, TokenReason.TOKEN_EXPIRED),
        ({"exp": NOW_S - 1}, TokenReason.TOKEN_EXPIRED),
        ({"exp": 0}, TokenReason.TOKEN_EXPIRED),
        ({"iat": NOW_S + 61}, TokenReason.TOKEN_ISSUED_AHEAD),
        ({"nbf": NOW_S + 61}, TokenReason.TOKEN_NOT_YET),
        ({"sub": ABSENT}, TokenReason.TOKEN_SUBJECT),
        ({"sub": None}, TokenReason.TOKEN_SUBJECT),
        ({"sub": ""}, TokenReason.TOKEN_SUBJECT),
        ({"sub": 42}, TokenReason.TOKEN_SUBJECT),
        ({"sub": ["alice"]}, TokenReason.TOKEN_SUBJECT),
        ({"sub": "a" * 256}, TokenReason.TOKEN_SUBJECT),
        ({"sub": " alice"}, TokenReason.TOKEN_SUBJECT),
        ({"sub": "ali\u200bce"}, TokenReason.TOKEN_SUBJECT),
        ({"sub": "ali\u0000ce"}, TokenReason.TOKEN_SUBJECT),
        ({"sub": "\u202eecila"}, TokenReason.TOKEN_SUBJECT),
        ({"jti": 7}, TokenReason.TOKEN_CLAIM_FORM),
        ({"jti": ""}, TokenReason.TOKEN_CLAIM_FORM),
        ({"jti": None}, TokenReason.TOKEN_CLAIM_FORM),
        ({"sid": ["s"]}, TokenReason.TOKEN_CLAIM_FORM),
        ({"acr": 2}, TokenReason.TOKEN_CLAIM_FORM),
        ({"amr": "pwd"}, TokenReason.TOKEN_CLAIM_FORM),
        ({"amr": ["pwd", 7]}, TokenReason.TOKEN_CLAIM_FORM),
        ({"amr": None}, TokenReason.TOKEN_CLAIM_FORM),
        ({"amr": ["pwd"] * (limits.TOKEN_METHODS_MAX + 1)}, TokenReason.TOKEN_CLAIM_FORM),
    ],
)
def test_a_claim_with_a_defect_is_refused_by_name(changes: dict[str, Any], reason: TokenReason) -> None:
    assert judged(token(**changes)) == reason


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value", [str(NOW_S + 300), "", None, True, False, [NOW_S], {}, -1, -0.5, NOW_MS, TIME_MAX + 1, 1e300]
)
def test_a_time_is_a_number_of_seconds(claim: str, value: object) -> None:
    """A numeric text, a boolean and a time in milliseconds are refused, not converted."""
    assert judged(token(**{claim: value})) == TokenReason.TOKEN_TIME_FORM


def test_each_bound_of_a_list_and_of_a_time_is_exact() -> None:
    longest = [AUDIENCE, *map(str, range(limits.TOKEN_AUDIENCES_MAX - 1))]
    found = accepted(
        token(aud=longest, azp="a", amr=["pwd"] * limits.TOKEN_METHODS_MAX, exp=TIME_MAX),
        authorised_parties=frozenset({"a"}),
    )

    assert (len(found.audiences), len(found.methods)) == (limits.TOKEN_AUDIENCES_MAX, limits.TOKEN_METHODS_MAX)
    assert found.expires_at_ms == TIME_MAX * 1000 == 253_402_300_799_000


def test_a_time_may_have_a_fraction() -> None:
    found = accepted(token(exp=NOW_S + 0.25, iat=NOW_S - 0.5, nbf=NOW_S - 0.5))

    assert (found.expires_at_ms, found.issued_at_ms) == (NOW_MS + 250, NOW_MS - 500)
    assert judged(token(exp=NOW_S + 0.25), now_ms=NOW_MS + 250) == TokenReason.TOKEN_EXPIRED
    assert accepted(
        compact(header(), b'{"iss":"%s","aud":"%s","sub":"a","exp":2e9}' % (ISSUER.encode(), AUDIENCE.encode()))
    )


def test_each_bound_of_time_is_exact() -> None:
    """`exp` has no grace; `iat` and `nbf` have that of the rules."""
    ahead = token(iat=NOW_S + 60, nbf=NOW_S + 60)

    assert accepted(token(exp=NOW_S + 1), now_ms=NOW_MS + 999)
    assert judged(token(exp=NOW_S + 1), now_ms=NOW_MS + 1000) == TokenReason.TOKEN_EXPIRED
    assert accepted(ahead)
    assert judged(ahead, now_ms=NOW_MS - 1) == TokenReason.TOKEN_NOT_YET
    assert judged(token(iat=NOW_S + 60), now_ms=NOW_MS - 1) == TokenReason.TOKEN_ISSUED_AHEAD
    assert judged(token(iat=NOW_S + 1), skew_ms=0) == TokenReason.TOKEN_ISSUED_AHEAD


def test_a_token_may_be_bound_in_age() -> None:
    assert accepted(token(iat=NOW_S - 60), max_age_ms=60_000)
    assert judged(token(iat=NOW_S - 60), max_age_ms=59_999) == TokenReason.TOKEN_TOO_OLD
    assert judged(token(iat=ABSENT), max_age_ms=60_000) == TokenReason.TOKEN_CLAIM_MISSING


@pytest.mark.parametrize(
    ("changes", "is_accepted"),
    [
        ({"azp": "shop"}, True),
        ({"azp": "desk"}, True),
        ({"azp": "other"}, False),
        ({}, False),
        ({"aud": [AUDIENCE, OTHER], "azp": "shop"}, True),
        ({"aud": [OTHER, AUDIENCE], "azp": "other"}, False),
        ({"aud": [AUDIENCE, OTHER]}, False),
    ],
)
def test_where_parties_are_authorised_a_token_must_name_one(changes: dict[str, Any], is_accepted: bool) -> None:
    outcome = judged(token(**changes), authorised_parties=frozenset({"shop", "desk"}))

    assert isinstance(outcome, VerifiedToken) or outcome == TokenReason.TOKEN_PARTY
    assert isinstance(outcome, VerifiedToken) == is_accepted


def test_a_token_for_us_alone_may_name_any_party_where_none_is_authorised() -> None:
    assert accepted(token(aud=[AUDIENCE], azp="shop")).authorised_party == "shop"


def test_a_logout_token_opens_nothing_though_its_type_is_that_of_any_token() -> None:
    """OpenID Connect recommends `logout+jwt` and does not require it; `events` is required."""
    logout = claims(sid="s-1", events={"http://schemas.openid.net/event/backchannel-logout": {}})

    assert judged(compact(header(typ="JWT"), logout)) == TokenReason.TOKEN_IS_EVENT
    assert judged(compact(header(typ="logout+jwt"), logout)) == TokenReason.TOKEN_TYPE


def test_claims_that_the_rules_require_are_there_and_not_null() -> None:
    required = frozenset({"email", "jti"})

    assert accepted(token(email="alice@example.org"), required_claims=required)
    assert accepted(token(email=False), required_claims=required)
    assert judged(token(), required_claims=required) == TokenReason.TOKEN_CLAIM_MISSING
    assert judged(token(email=None), required_claims=required) == TokenReason.TOKEN_CLAIM_MISSING


def chain(length: int) -> dict[str, Any]:
    """Return `act` claims nested so deep; the innermost acted first."""
    nested: dict[str, Any] = {}
    for number in range(length, 0, -1):
        nested = {"act": {"sub": f"bot-{number}", **nested}}
    return nested


def test_actors_stand_in_order_with_the_one_that_acts_now_first() -> None:
    text = token(act={"sub": "now", "client_id": "x", "act": {"sub": "before", "iss": "https://other.example"}})

    assert accepted(text).actors == (TokenActor(ISSUER, "now"), TokenActor("https://other.example", "before"))
    assert [one.subject for one in accepted(token(**chain(8))).actors] == [f"bot-{n}" for n in range(1, 9)]


@pytest.mark.parametrize("issuer", ["i", "i" * limits.ISSUER_CHARS_MAX])
def test_each_bound_of_a_name_is_exact(issuer: str) -> None:
    longest = "a" * limits.TOKEN_TEXT_CHARS_MAX
    found = accepted(token(sub=longest, jti="j", act={"sub": longest, "iss": issuer}))

    assert (found.subject, found.token_id) == (longest, "j")
    assert found.actors == (TokenActor(issuer, longest),)


@pytest.mark.parametrize(
    "act",
    [
        None,
        "bot",
        [],
        {},
        [{"sub": "bot"}],
        {"sub": ""},
        {"sub": 7},
        {"sub": "b" * 256},
        {"sub": "b\u200bot"},
        {"iss": ISSUER},
        {"sub": "bot", "iss": 7},
        {"sub": "bot", "iss": ""},
        {"sub": "bot", "iss": None},
        {"sub": "bot", "iss": "i" * (limits.ISSUER_CHARS_MAX + 1)},
        {"sub": "bot", "act": None},
        {"sub": "bot", "act": {"sub": ""}},
        chain(9)["act"],
    ],
)
def test_a_malformed_or_long_chain_of_actors_is_refused(act: object) -> None:
    assert judged(token(act=act)) == TokenReason.TOKEN_ACTORS


def test_of_several_audiences_the_party_is_one_of_ours_where_no_party_is_authorised():
    """As a client's own id is, which the admin lists among the audiences."""
    assert isinstance(judged(token(aud=[AUDIENCE, OTHER], azp=AUDIENCE)), VerifiedToken)
    assert judged(token(aud=[AUDIENCE, OTHER], azp=OTHER)) is TokenReason.TOKEN_PARTY
