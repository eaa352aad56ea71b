"""`.claims-config.yaml`: both published forms, our additions, and any text in their place."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.identity.claims import bounds
from processors.identity.claims.built_in import BUILT_IN
from processors.identity.claims.errors import MappingCode
from processors.identity.claims.mapping import Mapped, map_unverified
from processors.identity.claims.model import ClaimsMapping
from producers.home.strict_yaml import StrictYAMLError
from streams.identity_files.claims_file import parse_claims
from streams.identity_files.lined import LinedError

# The simple form, with the blocks of the original as they stand there.
SIMPLE = """\
providers:
  keycloak:
    organization: company
    business_unit: business_unit
    team: team
    email: user
  okta:
    companyName: company
    department: business_unit
    groups: team  # Uses first group
    email: user
  azure_ad:
    companyName: company
    department: business_unit
    jobTitle: team  # Or use groups
    userPrincipalName: user
  google:
    hd: company  # Hosted domain
    ou: business_unit  # Organizational unit
    groups: team
    email: user
  custom_idp:
    corp_name: company
    division: business_unit
    squad: team
    username: user
"""

# Every member of the published extended form, with its published values.
EXTENDED = """\
internal_model:
  company: "the company"
  user: "the person"
identity_providers:
  keycloak:
    name: "Keycloak"
    type: "oidc"
    detection:
      iss_pattern: "*realms/*"
      required_claims: ["realm_access"]
    mappings:
      subject_path: "sub"
      email_path: "email"
      name_path: "preferred_username"
      organization_path: "organization"
      business_unit_path: "business_unit"
      team_path: "team"
      roles_path: "realm_access.roles"
    role_filter:
      allowed: ["analyst", "manager", "admin", "viewer"]
      case_sensitive: false
  azure_ad:
    name: "Azure Active Directory"
    detection: {iss_pattern: "https://sts.windows.net/*", required_claims: ["oid", "tid"]}
    mappings: {subject_path: oid, email_path: upn, name_path: name, organization_path: tid, roles_path: roles}
  okta:
    detection: {iss_pattern: "https://*.okta.com", required_claims: ["groups"]}
    mappings: {subject_path: sub, name_path: name, organization_path: org, team_path: division, roles_path: groups}
    role_filter:
      allowed: ["analysts", "managers", "admins", "viewers"]
      case_sensitive: false
      role_mapping: {analysts: analyst, managers: manager, admins: admin, viewers: viewer}
  auth0:
    detection: {iss_pattern: "auth0.com", required_claims: []}
    mappings:
      subject_path: "sub"
      email_path: "email"
      name_path: "https://macaw.local/username"
      organization_path: "https://macaw.local/organization"
      business_unit_path: "https://macaw.local/business_unit"
      team_path: "https://macaw.local/team"
      roles_path: "https://macaw.local/roles"
      tier_path: "https://macaw.local/tier"
      max_tokens_path: "https://macaw.local/max_tokens"
      allowed_models_path: "https://macaw.local/allowed_models"
  google_workspace:
    detection: {iss_pattern: "https://accounts.google.com", required_claims: ["hd"]}
    mappings: {subject_path: sub, email_path: email, name_path: name, organization_path: hd, roles_path: custom_roles}
default:
  name: "Generic JWT Provider"
  mappings: {subject_path: sub, name_path: name, organization_path: org, roles_path: roles}
  role_filter: {allowed: ["analyst"], case_sensitive: false}
security:
  require_roles: true
  require_organization: true
  max_token_age_minutes: 60
audit:
  log_identity_mapping: true
  log_role_filtering: true
  log_provider_detection: true
"""

OURS = """\
built_in: [google]
identity_providers:
  acme:
    detection:
      iss: [https://sso.acme.example, https://sso2.acme.example]
    rules:
      - attribute: company
        claim: hd
        when: {claim: email_verified, equals: true}
      - attribute: user
        claims: [preferred_username, '["https://acme.example/name"]']
        transforms: [trim, lower]
      - attribute: groups
        claim: groups[*]
        when:
          - {claim: kind, not_equals: [guest, partner]}
          - {claim: email, matches: '.+@acme\\.example'}
          - {claim: blocked, present: false}
        transforms:
          - {regex: {pattern: "app-(?P<name>.+)", group: name}}
          - {map: {analysts: analyst}}
          - {prefix: "acme-"}
      - {attribute: team, claim: teams, transforms: [{split: ","}, first, {strip_prefix: "t-"}, {default: none}]}
      - {attribute: clearance, claim: levels, transforms: [{join: "-"}, upper]}
    mappings:
      roles_path: [realm_access.roles, roles]
      groups_path: more_groups
      clearance_path: clearance
    role_filter:
      forbidden: [root]
      role_mapping: {admins: admin}
"""


def told(mapped: Mapped) -> dict[str, Any]:
    attributes = mapped.attributes
    return {name: value for name in attributes.__slots__ if (value := getattr(attributes, name))}


def parsed(text: str) -> ClaimsMapping:
    return parse_claims(text.encode())


def test_the_simple_form_loads_unchanged() -> None:
    """Each provider of the file maps its four attributes, and nothing else."""
    mapping = parsed(SIMPLE)
    claims = {
        "keycloak": {"organization": "Acme", "business_unit": "B", "team": "T", "email": "a@b"},
        "okta": {"companyName": "Acme", "department": "B", "groups": ["T", "U"], "email": "a@b"},
        "azure_ad": {"companyName": "Acme", "department": "B", "jobTitle": "T", "userPrincipalName": "a@b"},
        "google": {"hd": "Acme", "ou": "B", "groups": ["T"], "email": "a@b"},
        "custom_idp": {"corp_name": "Acme", "division": "B", "squad": "T", "username": "a@b"},
    }

    assert [one.id for one in mapping.providers] == [*claims]
    for provider, given_claims in claims.items():
        mapped = map_unverified(mapping, {**given_claims, "roles": ["admin"]}, provider=provider)
        assert told(mapped) == {"company": "Acme", "business_unit": "B", "team": "T", "user": "a@b"}


@pytest.mark.parametrize(
    ("issuer", "provider"),
    [
        ("https://sso.example/realms/x", "keycloak"),
        ("https://acme.okta.com", "okta"),
        ("https://sts.windows.net/x/", "azure_ad"),
        ("accounts.google.com", "google"),
        ("custom_idp", "custom_idp"),
        ("https://custom_idp", None),
    ],
)
def test_a_provider_of_the_simple_form_is_chosen_by_its_name(issuer: str, provider: str | None) -> None:
    """A name that is built in stands for the issuers of that provider; any other name is the issuer itself."""
    assert map_unverified(parsed(SIMPLE), {"iss": issuer}).provider == provider


def test_the_name_of_a_provider_may_be_its_issuer() -> None:
    mapping = parsed('providers: {"https://sso.acme.example/": {sub: user}}')

    assert map_unverified(mapping, {"iss": "https://sso.acme.example/", "sub": "ann"}).name == "ann"


def test_the_extended_form_loads_unchanged() -> None:
    mapping = parsed(EXTENDED)
    keycloak = {
        "iss": "https://sso.example/realms/x",
        "sub": "8f2c",
        "realm_access": {"roles": ["Analyst", "offline_access"]},
        "preferred_username": "alice",
        "email": "alice@fintech.example",
        "organization": "FinTech Corp",
        "business_unit": "Analytics",
        "team": "Reporting",
    }
    mapped = map_unverified(mapping, keycloak)

    assert told(mapped) == {
        "company": "FinTech Corp",
        "business_unit": "Analytics",
        "team": "Reporting",
        "user": "alice",
        "email": "alice@fintech.example",
        "roles": ("analyst",),
    }
    assert (mapped.name, mapped.subject) == ("alice", "8f2c")
    assert [one.id for one in mapping.providers] == ["keycloak", "azure_ad", "okta", "auth0", "google_workspace"]
    demands = mapping.demands
    assert (demands.needs_roles, demands.needs_company, demands.token_age_minutes_max) == (True, True, 60)


def test_demands_and_the_default_of_the_extended_form() -> None:
    """Without a declared default nothing is mapped for an unknown provider."""
    mapping = parsed(EXTENDED)
    stranger = {"iss": "https://other.example", "name": "Ann", "org": "Acme", "roles": ["Analyst"]}
    lacking = {"iss": "https://acme.okta.com", "name": "Ann"}

    assert map_unverified(mapping, stranger).provider == "default"
    assert told(map_unverified(mapping, stranger)) == {"company": "Acme", "user": "Ann", "roles": ("analyst",)}
    refused = map_unverified(mapping, {**stranger, "roles": [], "org": None})
    assert [one.code for one in refused.refusals] == [MappingCode.ROLES_MISSING, MappingCode.COMPANY_MISSING]
    assert (
        "the issuer is that of `okta`, but the token has no `groups`: the default"
        in map_unverified(mapping, lacking).chosen_by
    )
    without = parsed(SIMPLE)
    assert [one.code for one in map_unverified(without, stranger).refusals] == [MappingCode.PROVIDER_UNKNOWN]


def test_claims_with_the_namespace_of_auth0() -> None:
    claims = {f"https://macaw.local/{name}": name for name in ("username", "organization", "team", "tier", "roles")}
    mapped = map_unverified(parsed(EXTENDED), {"iss": "https://acme.us.auth0.com/", **claims})

    assert told(mapped) == {"user": "username", "company": "organization", "team": "team", "roles": ("roles",)}
    assert [one.result.value for one in mapped.trace if one.attribute == "tier"] == ["no attribute"]


def test_our_additions() -> None:
    mapping = parsed(OURS)
    claims = {
        "iss": "https://sso.acme.example",
        "hd": "acme.example",
        "email": "ann@acme.example",
        "email_verified": True,
        "https://acme.example/name": " Ann ",
        "groups": ["app-analysts", "app-x", "other"],
        "kind": "staff",
        "teams": "t-east,t-west",
        "levels": ["top", "secret"],
        "roles": ["admins", "ROOT", "clerk"],
        "more_groups": "all",
    }
    mapped = map_unverified(mapping, claims)

    assert told(mapped) == {
        "company": "acme.example",
        "user": "ann",
        "groups": ("acme-analyst", "acme-x", "all"),
        "team": "east",
        "clearance": "TOP-SECRET",
        "roles": ("admin", "clerk"),
    }
    assert [one.id for one in mapping.providers] == ["acme", "google"]
    assert mapping.providers[1].rules == next(one for one in BUILT_IN.providers if one.id == "google").rules
    guest = told(map_unverified(mapping, {**claims, "kind": "Guest"}))
    assert guest["groups"] == ("all",)


def test_each_rule_tells_its_line() -> None:
    mapped = map_unverified(parsed(SIMPLE), {}, provider="okta")

    assert [one.line for one in mapped.trace] == [8, 9, 10, 11]


def test_json_is_yaml() -> None:
    assert parsed(json.dumps(yaml.safe_load(EXTENDED))).providers == parsed(EXTENDED).providers


# ---- any text

WORDS = (
    [
        "providers",
        "identity_providers",
        "default",
        "security",
        "audit",
        "built_in",
        "okta",
        "acme",
        "team",
        "x",
        "lower",
    ],
    ["mappings", "role_filter", "rules", "detection", "team_path", "iss_pattern", "required_claims", "allowed"],
    ["attribute", "claim", "when", "transforms", "equals", "regex", "role_mapping"],
)
words = st.sampled_from([word for row in WORDS for word in row])
leaves = words | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=25
)


@settings(deadline=None, max_examples=400)
@given(trees | st.dictionaries(words, trees, max_size=5))
def test_any_tree_is_a_mapping_or_has_a_fault(tree: Any) -> None:
    refused(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60) | st.text(st.sampled_from("a: -{}[]&*!|>'\"#\n\t%@,?0<"), max_size=40).map(str.encode))
def test_any_bytes_are_a_mapping_or_have_a_fault(content: bytes) -> None:
    refused(content)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_changed_file_is_a_mapping_or_has_a_fault(data: st.DataObject) -> None:
    """A line is taken out, written twice, or changed in one character."""
    lines = data.draw(st.sampled_from([SIMPLE, EXTENDED, OURS])).splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    change = data.draw(st.integers(0, 2))
    column = data.draw(st.integers(0, len(lines[at]) - 1))
    changed = ["", lines[at] * 2, lines[at][:column] + data.draw(st.characters()) + lines[at][column + 1 :]][change]
    refused("".join([*lines[:at], changed, *lines[at + 1 :]]).encode("utf-8", "surrogatepass"))


def refused(content: bytes) -> None:
    """Parse a file; every error must be one of the two that are told with a place."""
    try:
        mapping = parse_claims(content)
    except (LinedError, StrictYAMLError):
        return
    assert len(mapping.providers) <= bounds.PROVIDERS_MAX
    assert mapping.providers or mapping.default
