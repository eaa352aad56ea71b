"""`ClaimsMapper`: from a token to the context that policies are found by, once its signature was checked.

    ClaimsMapper().map_jwt_to_security_context(jwt_token)

The context is for the program's own eyes. The log takes a person's attributes from a login alone, not from a context.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from macaw.identity.claims_context import context_of, find_mapping
from macaw.identity.verified_claims import verified_claims


class ClaimsMapper:
    """Maps tokens of the configured provider (`iam_provider` and `iam_config`) by `.claims-config.yaml`."""

    def __init__(self, config_path: str | Path | None = None, *, audiences: Collection[str] | None = None) -> None:
        """Read nothing yet. `audiences` are those that a token may be for; else the configured one."""
        self._path = None if config_path is None else Path(config_path)
        self._audiences = audiences

    def map_jwt_to_security_context(self, jwt_token: str) -> dict[str, Any]:
        """Return `company`, `business_unit`, `team`, `user`, `roles` and more, as far as the token has them.

        Raises:
            TokenRefusedError: the token does not verify, has expired, or is for another audience.
            LoginSettingsError: no provider is configured, or the token is another issuer's.
            ProviderUnavailableError, KeySetError: the provider's keys cannot be had.
            ClaimsRefusedError, ClaimsFileError: a claim, or the file, cannot be used.
        """
        claims = verified_claims(jwt_token, audiences=self._audiences)
        return context_of(find_mapping(self._path), claims).context
