"""A token's claims, read for display. Nothing here is verified: the identity bridge alone decides on the person.

The rules that turn claims into names and roles are those of the built-in providers (docs/claims.md). The tenant's own
mapping may say something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from processors.identity.claims.built_in import BUILT_IN
from processors.identity.claims.mapping import map_unverified
from processors.identity.tokens.jose import parse_claims, parse_compact
from processors.identity.tokens.reasons import TokenRefusedError
from processors.text.characters import is_plain_text

NAME_CHARS_MAX = 255
LISTED_MAX = 256
_NAMES = ("preferred_username", "email", "upn", "sub")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedPrincipal:
    """The principal that a token claims to be of, for display. Each field is also a member: `principal["user_id"]`.

    The token's signature was not checked. `expires_at` is in seconds since 1970.
    """

    user_id: str | None = None
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    department: str | None = None
    issuer: str | None = None
    expires_at: float | None = None

    def __getitem__(self, name: str) -> object:
        if name not in _FIELDS:
            raise KeyError(name)
        return getattr(self, name)

    def get(self, name: str, default: object = None) -> object:
        """Return a member, or the default."""
        return self[name] if name in _FIELDS else default


_FIELDS = frozenset(one.name for one in fields(UnverifiedPrincipal))


def unverified_claims(token: str) -> Mapping[str, object]:
    """Return the claims of a signed token without a look at its signature.

    Raises:
        TokenRefusedError: the text is not a signed token; the message quotes nothing of it.
    """
    return parse_claims(parse_compact(token).payload)


def unverified_principal(claims: Mapping[str, object]) -> UnverifiedPrincipal:
    """Return the fields for display of claims. A field that cannot be shown is left out."""
    mapped = map_unverified(BUILT_IN, claims)
    given = mapped.attributes
    issuer = claims.get("iss")
    return UnverifiedPrincipal(
        user_id=mapped.name or next((name for one in _NAMES if (name := _text(claims.get(one)))), None),
        roles=given.roles or _texts(claims.get("roles")),
        groups=given.groups or _texts(claims.get("groups")),
        department=given.business_unit or _text(claims.get("department")),
        issuer=_text(issuer, 2 * NAME_CHARS_MAX),
        expires_at=number_in(claims, "exp"),
    )


def principal_of(*tokens: str | None) -> UnverifiedPrincipal:
    """Return the fields of the first token that can be read; without one, no field is known."""
    for token in tokens:
        if token is not None:
            try:
                return unverified_principal(unverified_claims(token))
            except TokenRefusedError:  # an opaque token is nothing to be read
                continue
    return UnverifiedPrincipal()


def number_in(claims: Mapping[str, object], name: str) -> float | None:
    """Return a claim that is a number, None for any other."""
    value = claims.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: object, chars_max: int = NAME_CHARS_MAX) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= chars_max and is_plain_text(value) else None


def _texts(value: object) -> tuple[str, ...]:
    listed = value[:LISTED_MAX] if isinstance(value, list) else []
    return tuple(text for one in listed if (text := _text(one)) is not None)
