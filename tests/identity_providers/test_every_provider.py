"""Each real provider: its tokens verify, its claims become attributes, its keys rotate, its logins work end to end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from processors.identity.claims.mapping import map_token
from processors.identity.tokens.key_sets import KeySet
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.identity.tokens.verify import VerifiedToken, verify_token
from tests.identity_providers.flows import (
    Pkce,
    authorize,
    code_login,
    device_answer,
    device_await,
    device_login,
    device_poll,
    device_start,
    redeem,
)
from tests.identity_providers.keycloak import Keycloak
from tests.identity_providers.nano import NanoIdP
from tests.identity_providers.node_home import PACKAGES
from tests.identity_providers.node_provider import NodeProvider
from tests.identity_providers.provider import IdentityProvider, Lifetime, ProviderRefusedError, now_ms
from tests.optional import skip_without_provider

KINDS = ("nanoidp", "oidc-provider ES256", "oidc-provider EdDSA", "keycloak")
# How an identity token and a refresh token are refused as access tokens; None is not refused.
OTHER_TOKENS = {
    "nanoidp": (TokenReason.TOKEN_AUDIENCE, None),
    "oidc-provider": (TokenReason.TOKEN_TYPE, TokenReason.TOKEN_NOT_COMPACT),
    "keycloak": (TokenReason.TOKEN_AUDIENCE, TokenReason.TOKEN_SYMMETRIC),
}


@pytest.fixture(scope="module", params=KINDS)
def provider(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityProvider]:
    with make(request.param, request, tmp_path_factory.mktemp("idp")) as running:
        yield running


def make(kind: str, request: pytest.FixtureRequest, folder: Path) -> IdentityProvider:
    if kind == "keycloak":
        return Keycloak(request.getfixturevalue("keycloak_server"))
    if kind == "nanoidp":
        return NanoIdP(folder)
    if why := PACKAGES.why_not():
        skip_without_provider("oidc-provider", why)
    return NodeProvider(folder, kind.split()[1])


def verified(provider: IdentityProvider, token: str, keys: KeySet | None = None) -> VerifiedToken:
    return verify_token(token, provider.rules(), keys or provider.key_set(), now_ms())


def refusal(provider: IdentityProvider, token: str, keys: KeySet | None = None) -> TokenReason:
    with pytest.raises(TokenRefusedError) as refused:
        verified(provider, token, keys)
    return refused.value.reason


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_a_token_verifies_and_its_claims_become_attributes(provider: IdentityProvider, user: str) -> None:
    person = provider.people[user]

    token = verified(provider, provider.token(user))
    mapped = map_token(provider.mapping, token.claims, issuer=provider.issuer)

    assert mapped.refusals == ()
    assert mapped.can_open
    assert mapped.name == person.email
    assert mapped.subject == token.subject
    assert mapped.attributes.company == person.company
    assert mapped.attributes.business_unit == person.business_unit
    assert mapped.attributes.team == person.team
    assert mapped.attributes.email == person.email
    assert sorted(mapped.attributes.roles) == sorted(person.roles)


def test_a_token_of_another_audience_or_issuer_is_refused(provider: IdentityProvider) -> None:
    """The keys are right, so only the rules can refuse."""
    token, keys, rules = provider.token("alice"), provider.key_set(), provider.rules()
    for changed, reason in (
        (replace(rules, audiences=frozenset({"another"})), TokenReason.TOKEN_AUDIENCE),
        (replace(rules, issuer=f"{rules.issuer}/"), TokenReason.TOKEN_ISSUER),
    ):
        with pytest.raises(TokenRefusedError) as refused:
            verify_token(token, changed, keys, now_ms())
        assert refused.value.reason is reason


def test_lifetimes_are_as_promised(provider: IdentityProvider) -> None:
    for lifetime in Lifetime:
        token = verified(provider, provider.token("alice", lifetime=lifetime))
        assert token.issued_at_ms is not None
        assert token.expires_at_ms - token.issued_at_ms == provider.lifetimes[lifetime] * 1000


def test_an_identity_token_does_not_serve_as_an_access_token(provider: IdentityProvider) -> None:
    answer = provider.password_grant("alice")

    assert refusal(provider, answer["id_token"]) is OTHER_TOKENS[provider.kind][0]


def test_only_nanoidp_has_refresh_tokens_that_pass_for_access_tokens(provider: IdentityProvider) -> None:
    """They are signed with the same key for the same audience, and only a claim of its own tells them apart."""
    token, reason = provider.password_grant("alice")["refresh_token"], OTHER_TOKENS[provider.kind][1]

    if reason is None:
        assert verified(provider, token).claims["token_use"] == "refresh"
    else:
        assert refusal(provider, token) is reason


def test_a_wrong_password_gives_no_token(provider: IdentityProvider) -> None:
    with pytest.raises(ProviderRefusedError) as refused:
        provider.grant("password", {"username": "alice", "password": "wrong", "scope": "openid"})

    assert refused.value.code == "invalid_grant"


def test_a_workload_has_a_token_of_its_own(provider: IdentityProvider) -> None:
    token = verified(provider, provider.client_token())

    assert token.subject not in provider.people
    assert token.claims.get("azp", token.claims.get("client_id")) == provider.workload_id


def test_a_refresh_token_gives_a_new_access_token_once(provider: IdentityProvider) -> None:
    first = provider.password_grant("alice")
    second = provider.refresh(first["refresh_token"])

    assert verified(provider, second["access_token"]).token_id != verified(provider, first["access_token"]).token_id
    with pytest.raises(ProviderRefusedError) as refused:
        provider.refresh(first["refresh_token"])
    assert refused.value.code == "invalid_grant"


def test_keys_rotate(provider: IdentityProvider) -> None:
    """A new key is unknown to the set before. The old token verifies as long as its key is in the set."""
    old_token, old_keys = provider.token("alice"), provider.key_set()
    verified(provider, old_token, old_keys)

    provider.rotate()
    new_token, both_keys = provider.token("alice"), provider.key_set()

    assert refusal(provider, new_token, old_keys) is TokenReason.TOKEN_KEY_UNKNOWN
    verified(provider, new_token, both_keys)
    verified(provider, old_token, both_keys)

    provider.rotate(keep_old=False)
    newest_token, newest_keys = provider.token("alice"), provider.key_set()

    verified(provider, newest_token, newest_keys)
    assert refusal(provider, new_token, newest_keys) is TokenReason.TOKEN_KEY_UNKNOWN


def test_the_code_flow_logs_a_person_in(provider: IdentityProvider) -> None:
    token = verified(provider, code_login(provider, "bob")["access_token"])

    mapped = map_token(provider.mapping, token.claims, issuer=provider.issuer)
    assert (mapped.name, mapped.attributes.team) == ("bob@fintech.example", "Payments")


def test_a_stolen_code_is_worth_nothing(provider: IdentityProvider) -> None:
    """Without its verifier no token is given, and a code without a challenge is not given to a public client."""
    code = authorize(provider, "alice", Pkce.make())

    with pytest.raises(ProviderRefusedError) as refused:
        redeem(provider, code, Pkce.make().verifier)
    assert refused.value.code == "invalid_grant"

    with pytest.raises(ProviderRefusedError) as unproven:
        authorize(provider, "alice", None)
    assert unproven.value.code == "invalid_request"


def test_the_device_flow_logs_a_person_in(provider: IdentityProvider) -> None:
    token = verified(provider, device_login(provider, "alice")["access_token"])

    mapped = map_token(provider.mapping, token.claims, issuer=provider.issuer)
    assert (mapped.name, mapped.attributes.roles) == ("alice@fintech.example", ("analyst",))


def test_a_denied_device_gets_nothing(provider: IdentityProvider) -> None:
    """It is pending first, and refused once the person said no."""
    started = device_start(provider)
    with pytest.raises(ProviderRefusedError) as pending:
        device_poll(provider, started)
    assert pending.value.code == "authorization_pending"

    device_answer(provider, "alice", started, deny=True)

    with pytest.raises(ProviderRefusedError) as denied:
        device_await(provider, started)
    assert denied.value.code == "access_denied"


def test_a_provider_goes_down_and_comes_back(provider: IdentityProvider) -> None:
    """Its keys are the same after a start, so a token from before verifies."""
    token = provider.token("alice")

    provider.stop()
    with pytest.raises(httpx.TransportError):
        provider.key_set_bytes()
    provider.start()

    verified(provider, token)
