"""Any JSON as claims, under mappings of every kind: a result, always, and the same one again."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.identity.claims.built_in import BUILT_IN
from processors.identity.claims.conditions import ClaimComparison, ClaimCondition
from processors.identity.claims.errors import ClaimsMappingError
from processors.identity.claims.mapping import map_claims, map_token, map_unverified
from processors.identity.claims.model import ATTRIBUTES, SUBJECT, ClaimRule, ProviderMapping, RoleFilter
from processors.identity.claims.paths import ClaimPath
from processors.identity.claims.regexes import ClaimRegex
from processors.identity.claims.transforms import BARE, WITH_TEXT, ClaimTransform, TransformKind
from schemas.events.attributes import NONE

NAMES = ["iss", "sub", "email", "email_verified", "groups", "roles", "realm_access", "organization", "a.b", "hd"]
ODD = ["https://x.example/realms/y", "https://acme.okta.com", "admin", "a" * 5000, "\ud800", "e" + "\u0301" * 50, "*"]
texts = st.text(st.characters(), max_size=20) | st.sampled_from([*ODD, "a,b"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
names = st.sampled_from(NAMES) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5),
    max_leaves=20,
)
claims_of = st.dictionaries(names, values, max_size=10)
PATHS = ["sub", "email", "groups", "groups[0]", "groups[*]", "groups[*].roles", "realm_access.roles", "hd", "roles[*]"]
paths = st.sampled_from([*PATHS, '["a.b"]']).map(ClaimPath)
regexes = st.sampled_from(["(.*)", "a(.)?", ".*", r"[^,]+,(\pL*)"]).map(ClaimRegex)
transforms = (
    st.sampled_from(sorted(BARE)).map(lambda kind: ClaimTransform(kind=kind))
    | st.builds(lambda kind: ClaimTransform(kind=kind, text=","), st.sampled_from(sorted(WITH_TEXT)))
    | regexes.map(lambda one: ClaimTransform(kind=TransformKind.REGEX, regex=one))
    | st.just(ClaimTransform(kind=TransformKind.MAP, table={"admin": "root"}))
)
conditions = (
    st.builds(
        lambda path, kind, value: ClaimCondition(claim=path, comparison=kind, values=(value,)),
        paths,
        st.sampled_from([ClaimComparison.EQUALS, ClaimComparison.NOT_EQUALS]),
        st.sampled_from(["admin", True, 0]),
    )
    | st.builds(
        lambda path, one: ClaimCondition(claim=path, comparison=ClaimComparison.MATCHES, regex=one), paths, regexes
    )
    | st.builds(
        lambda path, one: ClaimCondition(claim=path, comparison=ClaimComparison.PRESENT, is_present=one),
        paths,
        st.booleans(),
    )
)
rules = st.builds(
    lambda attribute, claims, when, made: ClaimRule(
        attribute=attribute, claims=tuple(claims), when=tuple(when), transforms=tuple(made)
    ),
    st.sampled_from([*ATTRIBUTES, SUBJECT, "tier"]),
    st.lists(paths, min_size=1, max_size=3),
    st.lists(conditions, max_size=2),
    st.lists(transforms, max_size=3),
)
filters = st.sampled_from([RoleFilter(), RoleFilter(allowed=("admin",), is_case_sensitive=False, forbidden=("root",))])
providers = st.builds(
    lambda made, roles: ProviderMapping(
        id="any", rules=(*made, ClaimRule(attribute="user", claims=(ClaimPath("sub"),))), role_filter=roles
    ),
    st.lists(rules, max_size=6),
    filters,
)


@settings(deadline=None, max_examples=300)
@given(claims_of, providers)
def test_any_claims_have_a_result(claims: dict[str, Any], provider: ProviderMapping) -> None:
    """No exception; the same again; and nothing of a refused login is left to be used by mistake."""
    mapped = map_claims(claims, provider)

    assert map_claims(claims, provider) == mapped
    assert len(mapped.trace) == len(provider.rules)
    if mapped.can_open:
        assert mapped.name == mapped.attributes.user
        assert mapped.name
    else:
        assert (mapped.attributes, mapped.name, mapped.subject) == (NONE, None, None)
    for refusal in mapped.refusals:
        assert len(str(refusal).encode("utf-8", "strict")) < 2000


@settings(deadline=None, max_examples=200)
@given(claims_of | values, st.sampled_from([None, "keycloak", "nobody"]), st.sampled_from(ODD[:2]))
def test_any_value_may_come_as_claims(claims: Any, provider: str | None, issuer: str) -> None:
    mapped = map_token(BUILT_IN, claims, provider=provider, issuer=issuer)
    tried = map_unverified(BUILT_IN, claims, provider=provider)

    assert tried.can_open is not bool(tried.refusals)
    if isinstance(claims, dict) and claims.get("iss") == issuer:
        assert mapped == tried
    else:
        assert not mapped.can_open


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("ab.[]*\"'\\ 0:/\u00a0\u200b\ud800"), max_size=12) | texts)
def test_any_text_is_a_path_or_is_refused(text: str) -> None:
    try:
        steps, told = ClaimPath(text).steps, ""
    except ClaimsMappingError as exc:
        steps, told = (), str(exc)

    assert bool(steps) is not bool(told)
    assert told.isprintable()


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"groups": [value]}
    return value


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "a", **deep(100_000)},
        {"sub": "a", "groups": ["x" * 1_000_000] * 50},
        {"sub": "a", "groups": [{"roles": ["a"] * 4000}] * 4000},
        {"sub": "a", **{str(n): n for n in range(200_000)}},
        {"sub": "e" + "\u0301" * 1_000_000},
        {"sub": "a", "groups": [f"{n:x}" + "\u00c5" * 12 for n in range(1024)]},
        {"sub": 10**4000, "iss": 10**4000},
    ],
    ids=["deep", "long", "wide", "many", "marks", "roles", "number"],
)
def test_hostile_claims_take_little_time(claims: dict[str, Any]) -> None:
    """Sixteen rules take milliseconds; the bound leaves room for a slow core."""
    attributes = ["groups", "roles", "team", "email"]
    transforms = tuple(
        ClaimTransform(kind=kind) for kind in (TransformKind.LOWER, TransformKind.UPPER, TransformKind.TRIM)
    )
    made = tuple(
        ClaimRule(attribute=attributes[n % 4], claims=(ClaimPath(path),), transforms=transforms)
        for n, path in enumerate(["groups[*].roles[*]", "groups", "sub", "groups[0].groups[0]"] * 4)
    )
    strict = RoleFilter(allowed=tuple(f"r{n}" for n in range(256)), is_case_sensitive=False, forbidden=("root",))
    provider = ProviderMapping(id="any", rules=made, role_filter=strict)
    begun = time.process_time()
    map_claims(claims, provider)

    assert time.process_time() - begun < 0.5
