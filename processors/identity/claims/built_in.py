"""The providers that need no file: Keycloak, Okta, Azure AD, Google Workspace and Auth0 (docs/claims.md)."""

from __future__ import annotations

from collections.abc import Mapping

from processors.identity.claims.detection import IssuerPattern, ProviderDetection
from processors.identity.claims.model import (
    SUBJECT,
    WITHOUT_ATTRIBUTE,
    ClaimRule,
    ClaimsMapping,
    ProviderMapping,
    RoleFilter,
)
from processors.identity.claims.paths import ClaimPath

_ROLES = ("analyst", "manager", "admin", "viewer")
_ANY_CASE = RoleFilter(allowed=_ROLES, is_case_sensitive=False)
_PLURALS = RoleFilter(
    allowed=tuple(f"{role}s" for role in _ROLES),
    is_case_sensitive=False,
    names={f"{role}s": role for role in _ROLES},
)
_OURS = "https://macaw.local/"  # before the claims that an Action of Auth0 adds at each login


def _provider(
    provider_id: str,
    name: str,
    patterns: tuple[str, ...],
    claims: Mapping[str, str],
    roles: RoleFilter = _ANY_CASE,
    required: tuple[str, ...] = (),
    issuers: tuple[str, ...] = (),
) -> ProviderMapping:
    """Return a provider. `claims` has the paths of each attribute, with blanks between: the first found counts."""
    return ProviderMapping(
        id=provider_id,
        name=name,
        detection=ProviderDetection(
            issuers=issuers,
            patterns=tuple(map(IssuerPattern, patterns)),
            required_claims=tuple(map(ClaimPath, required)),
        ),
        rules=tuple(
            ClaimRule(attribute=attribute, claims=tuple(map(ClaimPath, paths.split(" "))))
            for attribute, paths in claims.items()
        ),
        role_filter=roles,
        is_built_in=True,
    )


KEYCLOAK = _provider(
    "keycloak",
    "Keycloak",
    ("*realms/*",),
    {
        "company": "organization",
        "business_unit": "business_unit",
        "team": "team",
        "user": "email",
        "email": "email",
        "roles": "realm_access.roles",
        SUBJECT: "sub",
    },
)
OKTA = _provider(
    "okta",
    "Okta",
    ("https://*.okta.com",),
    {
        "company": "companyName org",
        "business_unit": "department",
        "team": "groups[0] division",
        "user": "email",
        "email": "email",
        "roles": "groups",
        SUBJECT: "sub",
    },
    _PLURALS,
)
# Version 1.0 of its tokens calls the principal name `upn`. The claim `email` can be changed by an owner of the account.
AZURE_AD = _provider(
    "azure_ad",
    "Azure AD",
    ("https://sts.windows.net/*", "https://login.microsoftonline.com/*"),
    {
        "company": "companyName tid",
        "business_unit": "department",
        "team": "jobTitle",
        "user": "userPrincipalName upn",
        "email": "userPrincipalName upn",
        "roles": "roles",
        SUBJECT: "oid",
    },
)
# An account without `hd` belongs to no company that uses Google Workspace.
GOOGLE = _provider(
    "google",
    "Google Workspace",
    ("https://accounts.google.com",),
    {
        "company": "hd",
        "business_unit": "ou department",
        "team": "groups[0] team",
        "user": "email",
        "email": "email",
        "roles": "custom_roles",
        SUBJECT: "sub",
    },
    required=("hd",),
    issuers=("accounts.google.com",),  # as Google's older tokens have it
)
AUTH0 = _provider(
    "auth0",
    "Auth0",
    ("auth0.com",),
    {
        "company": f"{_OURS}organization",
        "business_unit": f"{_OURS}business_unit",
        "team": f"{_OURS}team",
        "user": f"{_OURS}username",
        "email": "email",
        "roles": f"{_OURS}roles",
        SUBJECT: "sub",
        **{name: f"{_OURS}{name}" for name in WITHOUT_ATTRIBUTE},
    },
)

BUILT_IN = ClaimsMapping(providers=(KEYCLOAK, OKTA, AZURE_AD, GOOGLE, AUTH0))

# A workload is known by its subject alone: the service account, the job or the SPIFFE id that its provider vouches for.
WORKLOAD = _provider("workload", "Workloads", (), {"user": "sub", SUBJECT: "sub"})
