"""`SessionManager`: the context that a session of some claims would have. It opens nothing on the log.

    session = SessionManager().create_session({"organization": "FinTech Corp", "email": "alice@fintech.com"})
    session.context["company"]

Claims alone prove nothing, so a session on the log needs the token itself: `macaw login`, or
`MACAWClient(agent_type="user", iam_token=token)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from macaw.identity.claims_context import ClaimsContext, ClaimsRefusedError, context_of, find_mapping
from schemas.errors import InputError

__all__ = ["ClaimsContext", "ClaimsNotGivenError", "ClaimsRefusedError", "SessionManager"]


class ClaimsNotGivenError(InputError):
    """The argument is not the claims of a token."""


class SessionManager:
    """Maps claims by `.claims-config.yaml` of the working directory or installation, else by the built-in tables."""

    def __init__(self, config_path: str | Path | None = None) -> None:
        """Read the mapping at the first session; `config_path` names another file."""
        self._path = None if config_path is None else Path(config_path)

    def create_session(self, jwt_claims: Mapping[str, Any], *, provider: str | None = None) -> ClaimsContext:
        """Return the context of claims, with the ids of the policies that it would be judged by.

        Missing claims give nothing, and claims of an unknown provider stay as they are.

        Raises:
            ClaimsNotGivenError: `jwt_claims` is not a dict; give a token to `MACAWClient`.
            ClaimsRefusedError: a claim is there and cannot be used.
            ClaimsFileError: the file is malformed.
        """
        if not isinstance(jwt_claims, Mapping):
            raise ClaimsNotGivenError(f"want the claims as a dict, got {type(jwt_claims).__name__}")
        return context_of(find_mapping(self._path), jwt_claims, provider)
