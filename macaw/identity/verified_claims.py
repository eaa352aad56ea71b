"""The claims of a token once its signature was checked with the keys of the configured provider."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from processors.identity.tokens.jose import ALGORITHMS
from processors.identity.tokens.key_sets import parse_key_set
from processors.identity.tokens.rules import TokenRules
from processors.identity.tokens.verify import claimed_issuer, verify_token
from producers.home.home import Home
from producers.identity.errors import LoginSettingsError, ProviderUnavailableError
from producers.identity.metadata import fetch_metadata
from producers.identity.settings import read_login_settings
from producers.identity.web import get


def verified_claims(
    token: str, *, audiences: Collection[str] | None = None, home: Home | None = None
) -> Mapping[str, object]:
    """Return the claims of a token of the configured provider, verified now with its published keys.

    The token must be for one of `audiences`; without them for the configured `audience`, else for the client.

    Raises:
        TokenRefusedError: the token does not verify, has expired, or is for another audience.
        LoginSettingsError: no provider is configured, or the token is another issuer's.
        ProviderUnavailableError: the provider does not give its keys.
        KeySetError: they cannot be read.
    """
    settings = read_login_settings(home)
    if claimed_issuer(token) != settings.issuer:
        raise LoginSettingsError(
            "the token is of another issuer than the configured one, so it cannot be verified here"
        )
    expected = audiences if audiences is not None else {settings.audience or settings.client.client_id}
    rules = TokenRules(issuer=settings.issuer, audiences=frozenset(expected), algorithms=frozenset(ALGORITHMS))
    metadata = fetch_metadata(settings.issuer)
    if metadata.keys_address is None:
        raise ProviderUnavailableError(f"the metadata of {metadata.host} names no `jwks_uri`: nothing can be verified")
    reply = get(metadata.keys_address)
    if reply.status != 200:
        raise ProviderUnavailableError(f"{metadata.host} answers {reply.status} for its keys: try again later")
    return verify_token(token, rules, parse_key_set(reply.body), time.time_ns() // 1_000_000).claims
