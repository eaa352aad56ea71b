"""Rules and transforms in few words, and one provider that has them."""

from __future__ import annotations

from typing import Any

from processors.identity.claims.mapping import Mapped, map_claims
from processors.identity.claims.model import ClaimRule, ProviderMapping, RoleFilter
from processors.identity.claims.paths import ClaimPath
from processors.identity.claims.regexes import ClaimRegex
from processors.identity.claims.transforms import ClaimTransform, TransformKind

NAME = ClaimRule(attribute="user", claims=(ClaimPath("sub"),))


def rule(attribute: str, *claims: str, **given: Any) -> ClaimRule:
    return ClaimRule(attribute=attribute, claims=tuple(map(ClaimPath, claims)), **given)


def mapped_by(*rules: ClaimRule, roles: RoleFilter | None = None, claims: dict[str, Any]) -> Mapped:
    provider = ProviderMapping(id="acme", rules=(*rules, NAME), role_filter=roles or RoleFilter())
    return map_claims({"sub": "alice", **claims}, provider)


def transform(kind: str, option: Any = None) -> ClaimTransform:
    if isinstance(option, dict):
        return ClaimTransform(kind=TransformKind(kind), table=option)
    if isinstance(option, ClaimRegex):
        return ClaimTransform(kind=TransformKind(kind), regex=option)
    return ClaimTransform(kind=TransformKind(kind), text=option)
