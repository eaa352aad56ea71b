"""Challenges that name all scopes that a token needs (RFC 6750, section 3).

The SDK answers 401 without a valid token and 403 `insufficient_scope` for one that lacks a scope; it names the scopes
in the protected resource's metadata alone. The authorization chapter of MCP wants them in the challenge as well, so
that a client asks its user for all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from schemas.errors import InputError

SCOPES_MAX: Final = 32
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")  # RFC 6749, 3.3
_CHALLENGED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class TokenScopeError(InputError):
    """A text is not the name of a scope."""


def check_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """Return the scopes, each once. Raises TokenScopeError."""
    found = tuple(dict.fromkeys(scopes))
    if len(found) > SCOPES_MAX:
        raise TokenScopeError(f"a token may need {SCOPES_MAX} scopes at most, not {len(found)}")
    for one in found:
        if _SCOPE.fullmatch(one) is None:
            raise TokenScopeError(f"{one[:60]!r} is not a scope: want visible ASCII without a quote or backslash")
    return found


def scopes_of(claims: Mapping[str, Any]) -> list[str]:
    """Return the scopes of a token's claims: `scope` (RFC 9068), or `scp` of providers that write it so."""
    for name in ("scope", "scp"):
        value = claims.get(name)
        if isinstance(value, str):
            return value.split()
        if isinstance(value, list):
            return [one for one in value if isinstance(one, str)]
    return []


class ScopedChallenges:
    """An ASGI application with the scopes that a token needs in its challenges."""

    def __init__(self, app: Any, scopes: Sequence[str]) -> None:
        self.inner, self._scopes = app, tuple(scopes)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] in _CHALLENGED:
                message = {**message, "headers": [self._named(*one) for one in message.get("headers", ())]}
            await send(message)

        await self.inner(scope, receive, sending if self._scopes else send)

    def _named(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        if name.lower() != b"www-authenticate" or not value.startswith(b"Bearer "):
            return name, value
        return name, value + f', scope="{" ".join(self._scopes)}"'.encode()
