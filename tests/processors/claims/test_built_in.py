"""The built-in providers: the tables of the original, claims as real providers send them, and the choice by issuer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from processors.identity.claims.built_in import BUILT_IN
from processors.identity.claims.detection import IssuerPattern, ProviderDetection
from processors.identity.claims.errors import ClaimsMappingError, MappingCode
from processors.identity.claims.mapping import Mapped, map_token, map_unverified
from processors.identity.claims.model import ATTRIBUTES, ClaimRule, ClaimsMapping, ProviderMapping
from processors.identity.claims.paths import ClaimPath

VECTORS = Path(__file__).parents[2] / "vectors" / "idp_claims.jsonl"
OURS = "https://macaw.local/"

# The claims of each provider in the tables of the original, with values, and the attributes that they give.
TABLES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "keycloak",
        {
            "email": "alice@company.com",
            "organization": "FinTech Corp",
            "business_unit": "Analytics",
            "team": "Reporting",
        },
        {"company": "FinTech Corp", "business_unit": "Analytics", "team": "Reporting", "user": "alice@company.com"},
    ),
    (
        "keycloak",  # the example of a session in code
        {
            "sub": "12345",
            "email": "alice@fintech.com",
            "organization": "FinTech Corp",
            "business_unit": "Analytics",
            "team": "Reporting",
        },
        {"company": "FinTech Corp", "business_unit": "Analytics", "team": "Reporting", "user": "alice@fintech.com"},
    ),
    (
        "okta",
        {"companyName": "Acme", "department": "Sales", "groups": ["Everyone", "Analysts"], "email": "a@acme.example"},
        {"company": "Acme", "business_unit": "Sales", "team": "Everyone", "user": "a@acme.example"},
    ),
    (
        "okta",
        {"org": "Acme", "department": "Sales", "division": "East", "email": "a@acme.example"},
        {"company": "Acme", "business_unit": "Sales", "team": "East", "user": "a@acme.example"},
    ),
    (
        "azure_ad",
        {"companyName": "Acme", "department": "Sales", "jobTitle": "Clerk", "userPrincipalName": "a@acme.example"},
        {"company": "Acme", "business_unit": "Sales", "team": "Clerk", "user": "a@acme.example"},
    ),
    (
        "google",
        {"hd": "acme.example", "ou": "Sales", "groups": ["east@acme.example"], "email": "a@acme.example"},
        {"company": "acme.example", "business_unit": "Sales", "team": "east@acme.example", "user": "a@acme.example"},
    ),
    (
        "auth0",
        {
            f"{OURS}organization": "Acme",
            f"{OURS}business_unit": "Sales",
            f"{OURS}team": "East",
            f"{OURS}username": "alice",
            "email": "a@acme.example",
        },
        {"company": "Acme", "business_unit": "Sales", "team": "East", "user": "alice"},
    ),
]


def given(mapped: Mapped) -> dict[str, Any]:
    """Return the attributes that were given, without those that there are not."""
    return {name: value for name in ATTRIBUTES if (value := getattr(mapped.attributes, name))}


@pytest.mark.parametrize(("provider", "claims", "wanted"), TABLES, ids=lambda one: one if isinstance(one, str) else "")
def test_the_tables_of_the_original_hold(provider: str, claims: dict[str, Any], wanted: dict[str, Any]) -> None:
    """The four attributes are exactly those of the table; the email and roles come beside them."""
    mapped = map_unverified(BUILT_IN, claims, provider=provider)
    four = {name: value for name, value in given(mapped).items() if name in {*wanted}}

    assert mapped.can_open
    assert four == wanted
    assert mapped.name == wanted["user"]
    assert set(given(mapped)) - set(four) <= {"email", "roles"}


@pytest.mark.parametrize(
    ("provider", "claims", "roles"),
    [
        ("keycloak", {"realm_access": {"roles": ["offline_access", "Analyst", "default-roles-x"]}}, ("analyst",)),
        ("okta", {"groups": ["Everyone", "ANALYSTS", "managers", "analyst"]}, ("analyst", "manager")),
        ("azure_ad", {"roles": ["Admin"]}, ("admin",)),
        ("google", {"custom_roles": ["viewer", "root"]}, ("viewer",)),
        ("auth0", {f"{OURS}roles": ["analyst"]}, ("analyst",)),
    ],
)
def test_roles_pass_the_published_filter(provider: str, claims: dict[str, Any], roles: tuple[str, ...]) -> None:
    name = {"email": "a@acme.example", "upn": "a@acme.example", f"{OURS}username": "a"}

    assert map_unverified(BUILT_IN, {**name, **claims}, provider=provider).attributes.roles == roles


@pytest.mark.parametrize(
    ("issuer", "claims", "provider"),
    [
        ("https://sso.acme.example/realms/staff", {}, "keycloak"),
        ("https://sso.acme.example/auth/realms/staff", {}, "keycloak"),
        ("https://acme.okta.com", {}, "okta"),
        ("https://acme.okta.com/oauth2/default", {}, "okta"),
        ("https://sts.windows.net/8f2c/", {}, "azure_ad"),
        ("https://login.microsoftonline.com/8f2c/v2.0", {}, "azure_ad"),
        ("https://accounts.google.com", {"hd": "acme.example"}, "google"),
        ("accounts.google.com", {"hd": "acme.example"}, "google"),
        ("https://accounts.google.com", {}, None),
        ("https://acme.us.auth0.com/", {}, "auth0"),
        ("https://evilauth0.com/", {}, None),
        ("https://auth0.com.evil.example/", {}, None),
        ("https://acme.okta.com.evil.example", {}, None),
        ("https://evil.example/.okta.com", {}, None),
        ("https://evil.example#.okta.com", {}, None),
        ("https://a@evil.example/.okta.com", {}, None),
        ("https://okta.com", {}, None),
        ("http://acme.okta.com", {}, None),
        ("https://accounts.google.com/x", {"hd": "acme.example"}, None),
        ("https://accounts.google.com.evil.example", {"hd": "acme.example"}, None),
        ("https://authentik.acme.example/application/o/x/", {}, None),
        ("https://sso.acme.example/\u200brealms/x", {}, None),
        ("\ud800realms/x", {}, None),
        ("", {}, None),
        ("x" * 513, {}, None),
        (["https://acme.okta.com"], {}, None),
        (None, {}, None),
    ],
)
def test_the_issuer_chooses_the_provider(issuer: Any, claims: dict[str, Any], provider: str | None) -> None:
    mapped = map_unverified(BUILT_IN, {"iss": issuer, "email": "a@acme.example", **claims})

    assert mapped.provider == provider
    if provider is None:
        assert not mapped.can_open
        assert (given(mapped), mapped.name, mapped.trace) == ({}, None, ())
        assert [one.code for one in mapped.refusals] == [MappingCode.PROVIDER_UNKNOWN]


def test_a_pattern_is_not_held_against_a_strangers_issuer() -> None:
    """The pattern of Keycloak fits any host. With the issuer of the trust, a token of another host maps nothing."""
    trusted = "https://sso.acme.example/realms/staff"
    stranger = {"iss": "https://evil.example/realms/x", "email": "alice@company.com"}

    refused = map_token(BUILT_IN, stranger, issuer=trusted)

    assert [one.code for one in refused.refusals] == [MappingCode.ISSUER_MISMATCH]
    assert (refused.provider, refused.name, given(refused)) == (None, None, {})
    for provider in (None, "keycloak"):
        assert not map_token(BUILT_IN, {**stranger, "iss": f"{trusted}/"}, issuer=trusted, provider=provider).can_open
        assert map_token(BUILT_IN, {**stranger, "iss": trusted}, issuer=trusted, provider=provider).can_open


@pytest.mark.parametrize("pattern", ["*", "**", "*://*", "https://a b", "", "a" * 257, "a\u200b"])
def test_a_pattern_that_fits_everything_or_cannot_be_seen_is_refused(pattern: str) -> None:
    with pytest.raises(ClaimsMappingError):
        IssuerPattern(pattern)


def test_a_named_issuer_goes_before_a_pattern() -> None:
    """Wherever it stands in the file."""

    def provider(name: str, detection: ProviderDetection) -> ProviderMapping:
        rule = ClaimRule(attribute="user", claims=(ClaimPath("sub"),))
        return ProviderMapping(id=name, detection=detection, rules=(rule,))

    wide = provider("wide", ProviderDetection(patterns=(IssuerPattern("https://*.acme.example"),)))
    exact = provider("exact", ProviderDetection(issuers=("https://sso.acme.example",)))
    mapping = ClaimsMapping(providers=(wide, exact))

    assert map_unverified(mapping, {"iss": "https://sso.acme.example", "sub": "a"}).provider == "exact"
    assert map_unverified(mapping, {"iss": "https://www.acme.example", "sub": "a"}).provider == "wide"


# ---- claims as real providers send them

REAL = {
    # An access token of version 1.0 without `upn` names no person: `oid` would have to be mapped.
    "idp_claims-015845175": ("azure_ad", None, ["NAME_MISSING"]),
    "idp_claims-416923906": (None, None, ["PROVIDER_UNKNOWN"]),  # userinfo of Auth0, without an issuer
    "idp_claims-757749660": ("azure_ad", None, ["NAME_MISSING"]),
    "idp_claims-983282748": ("azure_ad", "test@upn.com", []),
    "idp_claims-094296817": (None, None, ["PROVIDER_UNKNOWN"]),  # authentik is not built in
}


def test_claims_of_real_providers_map_as_written_here() -> None:
    rows = [json.loads(line) for line in VECTORS.read_text("utf-8").splitlines()]
    found = {row["id"]: map_unverified(BUILT_IN, row.get("claims", row.get("userinfo"))) for row in rows}

    assert {name: (one.provider, one.name, [r.code for r in one.refusals]) for name, one in found.items()} == REAL


def test_a_declared_provider_maps_what_is_not_built_in() -> None:
    """The claims of authentik, with three rules of one's own; its list of groups is one attribute."""
    row = next(r for r in map(json.loads, VECTORS.read_text("utf-8").splitlines()) if "authentik" in str(r))
    rules = [
        ClaimRule(attribute=name, claims=(ClaimPath(path),))
        for name, path in (("user", "preferred_username"), ("email", "email"), ("groups", "groups"))
    ]
    mapping = ClaimsMapping(
        providers=(
            ProviderMapping(
                id="authentik",
                detection=ProviderDetection(patterns=(IssuerPattern("https://authentik.mydomain.com/*"),)),
                rules=tuple(rules),
            ),
        )
    )
    mapped = map_token(mapping, row["claims"], issuer=row["claims"]["iss"])

    assert mapped.name == "alice@example.com"
    assert mapped.attributes.groups == ("GROUP_1", "GROUP_2")
