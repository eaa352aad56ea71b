"""Tokens that a provider exchanges (RFC 8693): the person stays the subject, and the actors are named in order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from processors.identity.tokens.verify import VerifiedToken, verify_token
from tests.identity_providers.node_home import PACKAGES
from tests.identity_providers.node_provider import NodeProvider
from tests.identity_providers.provider import ProviderRefusedError, now_ms
from tests.optional import skip_without_provider


@pytest.fixture(scope="module", params=["ES256", "EdDSA"])
def provider(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProvider]:
    if why := PACKAGES.why_not():
        skip_without_provider("oidc-provider", why)
    with NodeProvider(tmp_path_factory.mktemp("idp"), request.param) as running:
        yield running


def verified(provider: NodeProvider, token: str) -> VerifiedToken:
    return verify_token(token, provider.rules(), provider.key_set(), now_ms())


def test_a_token_has_the_algorithm_and_the_type_of_its_provider(provider: NodeProvider) -> None:
    token = verified(provider, provider.token("alice"))

    assert (token.algorithm, token.type, token.actors) == (provider.algorithm, "at+jwt", ())


def test_an_exchanged_token_names_its_actors_in_order(provider: NodeProvider) -> None:
    """A second exchange puts its actor before the first one."""
    once = provider.exchange(provider.token("alice"), provider.client_token())
    twice = provider.exchange(once, provider.token("bob"))

    token = verified(provider, twice)

    assert token.subject == "alice"
    assert [actor.subject for actor in verified(provider, once).actors] == [provider.workload_id]
    assert [actor.subject for actor in token.actors] == ["bob", provider.workload_id]


def test_a_spoiled_token_is_not_exchanged(provider: NodeProvider) -> None:
    good, other = provider.token("alice"), provider.token("bob")
    spoiled = good.rpartition(".")[0] + "." + other.rpartition(".")[2]

    for subject, actor in ((spoiled, other), (good, spoiled), (good, "")):
        with pytest.raises(ProviderRefusedError) as refused:
            provider.exchange(subject, actor)
        assert refused.value.code == "invalid_grant"


def test_a_workload_is_not_a_subject(provider: NodeProvider) -> None:
    with pytest.raises(ProviderRefusedError) as refused:
        provider.exchange(provider.client_token(), provider.token("alice"))

    assert refused.value.code == "invalid_grant"
