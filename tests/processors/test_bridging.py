"""Logins as a bridge judges them: whose key signed them, and what the token says within the tenant's trust."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.identity.bridging import (
    BridgeIdentity,
    LoginReason,
    LoginRefusedError,
    check_time,
    ends_of,
    judge_login,
    read_login,
    reference,
)
from processors.identity.claims.errors import MappingCode
from processors.identity.tokens.logout import LogoutToken
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.proof import signing
from schemas import codec, limits
from schemas.events.attributes import Attributes
from schemas.events.logins import LoginEnded, LoginProof, LoginRequested, SessionRenewed
from schemas.records import SessionOpened
from schemas.rows import ProviderRow
from streams.identity_files.claims_file import parse_claims
from tests.builders import keys_of
from tests.identity_tokens.minting import ABSENT, AUDIENCE, ISSUER, NOW_MS, NOW_S, all_keys, public_jwk, set_of, token

BRIDGE = BridgeIdentity(genesis=b"g" * 32, kid=b"k" * 32, ref_secret=b"s" * 32)
KEYS = keys_of("a person's login")
MAPPING = parse_claims(b'providers:\n  "%s": {org: company, email: user, dept: business_unit}\n' % ISSUER.encode())
TRUST = ProviderRow(
    kind="oidc", subjects="user", name_pattern="user:*", attributes=Attributes(company="*", business_unit="*"),
    audiences=(AUDIENCE,), algorithms=("ES256", "RS256"), private_hosts=(), trusted_at=0,
)  # fmt: skip


def login(
    text: str, *, bridge: BridgeIdentity = BRIDGE, tag_renewal: bool | None = None, **changes: Any
) -> LoginRequested:
    """Return a login whose session key signed it as it stands, but for `changes` made afterwards."""
    is_renewal = changes.get("is_renewal", False)
    proof = changes.pop("proof", None) or LoginProof(nonce=b"n" * 16, expires_at=NOW_MS + limits.LOGIN_MS)
    message = signing.login_bytes(
        bridge.genesis,
        bridge.kid,
        sha256(text.encode()).digest(),
        ed25519=KEYS.signing.public,
        x25519=KEYS.sealing.public,
        nonce=proof.nonce,
        expires_at=proof.expires_at,
        is_renewal=is_renewal if tag_renewal is None else tag_renewal,
    )
    made = LoginRequested(
        token=text,
        ed25519=KEYS.signing.public,
        x25519=KEYS.sealing.public,
        proof=proof,
        possession=KEYS.signing.sign(message),
        is_renewal=False,
    )
    return replace(made, **changes)


def read(made: LoginRequested, *, session: bytes = KEYS.kid, now_ms: int = NOW_MS) -> LoginRequested | str:
    try:
        login = read_login(codec.frame(made), session, BRIDGE)
        check_time(login, now_ms)
    except LoginRefusedError as exc:
        return exc.reason
    return login


def judged(text: str, *, trust: ProviderRow = TRUST, **changes: Any) -> Any:
    """Return the event that opens a session, or the reason why there is none."""
    mapping = changes.pop("mapping", MAPPING)
    others = changes.pop("others", None)
    keys = changes.pop("keys", None) or all_keys()
    try:
        return judge_login(login(text, **changes), ISSUER, trust, keys, BRIDGE, NOW_MS, mapping=mapping, others=others)
    except (LoginRefusedError, TokenRefusedError) as exc:
        return exc.reason


# ---- whose login it is


def test_a_login_counts_for_its_own_bridge_tenant_and_key_until_its_end():
    good = login(token())
    assert read(good) == good
    assert read(good, now_ms=good.proof.expires_at - 1) == good
    assert read(good, now_ms=good.proof.expires_at) == LoginReason.LOGIN_TIME
    assert read(good, now_ms=good.proof.expires_at - limits.LOGIN_AHEAD_MS_MAX - 1) == LoginReason.LOGIN_TIME
    assert read(good, session=b"x" * 32) == LoginReason.LOGIN_MALFORMED


@pytest.mark.parametrize(
    "stolen",
    [
        login(token(), bridge=replace(BRIDGE, kid=b"o" * 32)),
        login(token(), bridge=replace(BRIDGE, genesis=b"o" * 32)),
        login(token(), tag_renewal=True),
        login(token(), token=token(sub="mallory")),
        login(token(), x25519=keys_of("mallory").sealing.public),
        login(token(), possession=bytes(64)),
        replace(login(token()), proof=LoginProof(nonce=b"m" * 16, expires_at=NOW_MS + limits.LOGIN_MS)),
        replace(login(token()), is_renewal=True),
    ],
    ids=["bridge", "tenant", "tag", "token", "sealing key", "signature", "nonce", "renewal"],
)
def test_nothing_of_a_login_can_be_exchanged(stolen):
    """Its session key signed all of it: for this bridge of this tenant, with this token."""
    assert read(stolen) == LoginReason.LOGIN_POSSESSION


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"proof": LoginProof(nonce=b"n" * 15, expires_at=NOW_MS + 1000)}, LoginReason.LOGIN_MALFORMED),
        ({"x25519": b"short"}, LoginReason.LOGIN_MALFORMED),
        ({"token": "t" * (limits.TOKEN_CHARS_MAX + 1)}, LoginReason.LOGIN_MALFORMED),
        (
            {"proof": LoginProof(nonce=b"", expires_at=NOW_MS)},
            LoginReason.LOGIN_MALFORMED,
        ),
    ],
)
def test_a_login_out_of_bounds_is_refused(changes, reason):
    assert read(login(token(), **changes)) == reason


def test_a_login_that_ends_before_there_was_time_is_refused():
    ended = replace(login(token()), proof=LoginProof(nonce=b"n" * 16, expires_at=-1))
    assert read(ended) == LoginReason.LOGIN_MALFORMED


@given(st.binary(max_size=200))
@settings(max_examples=60)
def test_any_payload_is_a_login_or_is_refused(payload):
    with pytest.raises(LoginRefusedError):
        read_login(payload, KEYS.kid, BRIDGE)


# ---- what its token says


def test_a_person_gets_the_attributes_of_the_mapping_and_a_session_no_longer_than_the_token():
    body = judged(token(email="alice@acme.example", org="Acme", dept="Loans", amr=["pwd", "hwk"], sid="s-1"))

    assert isinstance(body, SessionOpened)
    assert body.principal_id == body.key.principal_id == "user:alice@acme.example"
    assert body.attributes == Attributes(user="alice@acme.example", company="Acme", business_unit="Loans")
    assert (body.ttl_ms, body.methods, body.actors) == (300_000, ("pwd", "hwk"), ())
    assert body.login_ref == reference(BRIDGE.ref_secret, ISSUER, "sid", "s-1")
    assert body.subject_ref == reference(BRIDGE.ref_secret, ISSUER, "sub", "alice")
    assert judged(token(email="a@b"), ttl_ms=1000).ttl_ms == 1000
    assert judged(token(email="a@b"), ttl_ms=10**12).ttl_ms == 300_000
    assert judged(token(email="a@b", exp=NOW_S + 10**6)).ttl_ms == limits.SESSION_TTL_MS_MAX


def test_no_part_of_the_token_stands_in_the_event():
    text = token(email="alice@acme.example", org="Acme", sid="a-session-of-the-provider", jti="its-own-id")
    stands = repr(judged(text)).encode()  # of a record without secrets, so of all its fields

    for secret in (*text.split("."), "a-session-of-the-provider", "its-own-id"):
        assert secret.encode() not in stands


def test_a_renewal_says_everything_again():
    text = token(email="alice@acme.example", org="Acme")
    opened, renewed = judged(text), judged(text, is_renewal=True)

    assert isinstance(renewed, SessionRenewed)
    assert renewed.session == KEYS.kid
    for name in ("principal_id", "issuer", "attributes", "actors", "subject_ref", "ttl_ms", "token_sha256"):
        assert getattr(renewed, name) == getattr(opened, name)


def test_references_are_apart_and_need_the_secret():
    """Neither kind, issuer nor value can be shifted into another, and another secret gives other references."""
    refs = {
        reference(secret, issuer, kind, value)
        for secret in (b"a" * 32, b"b" * 32)
        for issuer, kind, value in [("i", "sid", "x"), ("i", "sub", "x"), ("isid", "", "x"), ("i", "si", "dx")]
    }
    assert len(refs) == 8


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"email": "a@b", "exp": NOW_S - 1}, TokenReason.TOKEN_EXPIRED),
        ({"email": "a@b", "aud": "another"}, TokenReason.TOKEN_AUDIENCE),
        ({"email": "a@b", "iss": "https://evil.example"}, TokenReason.TOKEN_ISSUER),
        ({}, MappingCode.NAME_MISSING),
        ({"email": "a*"}, MappingCode.CLAIM_INVALID),
        ({"email": ["a"] * 3 + [{"b": 1}]}, MappingCode.CLAIM_INVALID),
        ({"email": "a@b", "act": {"sub": "svc", "iss": "https://evil.example"}}, LoginReason.LOGIN_ISSUER),
    ],
)
def test_each_defect_has_its_code(claims, reason):
    assert judged(token(**claims)) == reason


def test_a_key_that_is_not_there_yet_has_its_own_code_so_that_it_is_looked_for():
    other = set_of(public_jwk("ES256", kid="another"))
    assert judged(token(email="a@b"), keys=other) == TokenReason.TOKEN_KEY_UNKNOWN


# ---- which mapping


def test_without_a_file_the_kind_of_the_trust_names_the_mapping():
    """The issuer has no form by which it could be known, as with a domain of one's own at Okta."""
    okta = replace(TRUST, kind="okta")
    body = judged(token(email="a@b", companyName="Acme", department="Loans"), trust=okta, mapping=None)

    assert body.attributes == Attributes(user="a@b", company="Acme", business_unit="Loans")


def test_an_address_that_another_provider_gives_as_a_name_is_left_out():
    """Policies and approvals read `user:<email>`: the partner's mallory would be the boss, and say yes in that name."""
    home = replace(TRUST, name_pattern="user:*@acme.example")
    partner = replace(TRUST, namespace="partner", kind="okta", attributes=Attributes(email="*"))
    said = {"trust": partner, "mapping": None, "others": {"https://home.example": home, ISSUER: partner}}

    def mapped(email: str) -> Attributes:
        return judged(token(email=email), **said).attributes

    assert mapped("boss@acme.example") == Attributes(user="partner/boss@acme.example")
    assert mapped("bob@partner.example").email == "bob@partner.example"
    said["others"]["https://home.example"] = replace(home, ended_at=1)  # its names stay its own
    assert mapped("boss@acme.example").email is None
    said["trust"] = replace(partner, attributes=Attributes())  # the log refuses an address that the trust does not want
    assert mapped("bob@partner.example").email is None


@pytest.mark.parametrize("named", [None, "google"])
def test_a_private_account_with_an_address_of_the_company_is_not_of_the_company(named):
    """Anybody can make a Google account with an address elsewhere, and keep it after leaving; `hd` it never gets."""
    google = replace(TRUST, kind="google", attributes=Attributes(company="Acme", email="*"))
    said = {"email": "eve@acme.example", "email_verified": True}

    assert judged(token(**said), trust=google, mapping=None, provider=named) == MappingCode.PROVIDER_UNKNOWN
    body = judged(token(**said, hd="Acme"), trust=google, mapping=None, provider=named)
    assert (body.principal_id, body.attributes.company) == ("user:eve@acme.example", "Acme")
    file = parse_claims(b"built_in: [google]\n")
    assert judged(token(**said), trust=google, mapping=file, provider=named) == MappingCode.PROVIDER_UNKNOWN


def test_a_login_may_name_a_mapping_only_if_it_fits_its_issuer():
    """Else a person could choose the mapping that gives the most."""
    both = parse_claims(
        b'providers:\n  "%s": {org: company, email: user}\n  "https://other.example": {nick: user}\n' % ISSUER.encode()
    )
    text = token(email="a@b", nick="root", org="Acme")

    assert judged(text, mapping=both, provider=ISSUER).principal_id == "user:a@b"
    assert judged(text, mapping=both, provider="https://other.example") == LoginReason.LOGIN_PROVIDER
    assert judged(text, mapping=both, provider="nothing") == LoginReason.LOGIN_PROVIDER


def test_a_login_does_not_choose_beside_what_an_administrator_has_settled():
    """A pattern fits many issuers, and its mapping may let roles pass that the one for this issuer does not."""
    settled = parse_claims(
        b'identity_providers:\n  staff:\n    detection: {iss: "%s"}\n    mappings: {name_path: email}\n'
        b'  wide:\n    detection: {iss_pattern: "*realms/*"}\n    mappings: {name_path: nick, roles_path: roles}\n'
        % ISSUER.encode()
    )
    text = token(email="a@b", nick="root", roles=["admin"])
    workloads = replace(TRUST, subjects="workload", namespace="ci", kind="oidc")

    assert judged(text, mapping=settled, provider="staff").principal_id == "user:a@b"
    assert judged(text, mapping=settled, provider="wide") == LoginReason.LOGIN_PROVIDER
    assert judged(text, trust=workloads, mapping=None).principal_id == "workload:ci/alice"
    assert judged(text, trust=workloads, mapping=None, provider="keycloak") == LoginReason.LOGIN_PROVIDER


def test_a_workload_is_its_subject_in_its_namespace_with_what_the_trust_fixes():
    """Its token names no company, so a bound that has one value gives it."""
    workloads = replace(
        TRUST, subjects="workload", namespace="ci", attributes=Attributes(company="Acme", team="*"), kind="oidc"
    )
    body = judged(token(sub="repo:acme/shop:ref:refs/heads/main", email=ABSENT), trust=workloads, mapping=None)

    assert body.principal_id == "workload:ci/repo:acme/shop:ref:refs/heads/main"
    assert body.attributes == Attributes(company="Acme")


def test_persons_of_a_provider_with_a_namespace_are_its_own():
    body = judged(token(email="alice"), trust=replace(TRUST, namespace="partner"))

    assert body.principal_id == "user:partner/alice"
    assert body.attributes.user == "partner/alice"


def test_actors_are_named_by_the_trust_in_their_own_issuer():
    rows = {ISSUER: TRUST, "https://ci.example": replace(TRUST, subjects="workload", namespace="ci")}
    act = {"sub": "svc", "iss": "https://ci.example", "act": {"sub": "bob"}}
    assert judged(token(email="a@b", act=act), others=rows).actors == ("workload:ci/svc", "user:bob")

    ended = {**rows, "https://ci.example": replace(rows["https://ci.example"], ended_at=1)}
    assert judged(token(email="a@b", act=act), others=ended) == LoginReason.LOGIN_ISSUER


def ended(**names: str | None) -> list[LoginEnded]:
    """Return the events of a logout token that names these."""
    token = LogoutToken(ISSUER, names.get("sub"), names.get("sid"), "e-1", NOW_MS, NOW_MS + 1)
    return ends_of(BRIDGE.ref_secret, token)


def test_a_logout_ends_the_login_it_names_and_those_of_its_subject_that_have_no_name():
    """With `sub` alone all of the subject; with `sid` alone that login."""
    of_sid, of_sub = (reference(BRIDGE.ref_secret, ISSUER, *one) for one in (("sid", "s-1"), ("sub", "alice")))

    assert [(one.login_ref, one.subject_ref) for one in ended(sub="alice")] == [(None, of_sub)]
    assert [(one.login_ref, one.subject_ref) for one in ended(sid="s-1")] == [(of_sid, None)]
    both = ended(sid="s-1", sub="alice")
    assert [(one.issuer, one.login_ref, one.subject_ref) for one in both] == [
        (ISSUER, of_sid, None),
        (ISSUER, of_sub, None),
    ]


def test_a_login_without_sid_is_named_by_its_subject():
    """Else a logout that names a `sid` could not find it, and it would live on."""
    named = judged(token(email="alice@acme.example", org="Acme", sid="s-1"))
    nameless = judged(token(email="alice@acme.example", org="Acme"))

    assert isinstance(named, SessionOpened)
    assert isinstance(nameless, SessionOpened)
    assert nameless.login_ref == nameless.subject_ref == named.subject_ref != named.login_ref
    assert nameless.login_ref in [one.login_ref for one in ended(sid="another", sub="alice")]
    assert named.login_ref not in [one.login_ref for one in ended(sid="another", sub="alice")]
