"""Logins that a mapping refuses, and names that it hands over."""

from __future__ import annotations

from typing import Any

import pytest

from processors.identity.claims.errors import MappingCode
from processors.identity.claims.mapping import age_refusal, map_claims
from processors.identity.claims.model import LoginDemands, ProviderMapping
from processors.identity.claims.rules import RuleResult
from tests.processors.claims.mapped import NAME, mapped_by, rule, transform


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (5, "it is a number"),
        (True, "it is a boolean"),
        ({"a": 1}, "it is an object"),
        ([5], "an element is a number"),
        ([["a"]], "an element is a list"),
        (["a", {}], "an element is an object"),
        ("a\u200b", "it is a text with a control or invisible character"),
        ("a\ud800", "it is a text with a control or invisible character"),
        ("a\n", "it is a text with a control or invisible character"),
        ("a*", "a text holds `*`, which could be taken for a pattern"),
        ("e" + "\u0301" * 31, "a text has too many combining marks in a row"),
        ("x" * 1_000_000, "it is a text of 1000000 characters, allowed are 4096"),
        ("x" * 513, "a text has 513 characters, allowed are 512"),
        (["x"] * 1025, "there are 1025 texts, allowed are 1024"),
        (["x"] * 1_000_000, "it has more than 4096 values"),
        (["x" * 4096] * 5, "its texts have more than 16384 characters together"),
    ],
)
def test_a_claim_that_cannot_be_used_refuses_the_login(value: Any, says: str) -> None:
    """Were the rule skipped, a person could shed a team with its restrictions. Nothing of the value is told."""
    mapped = mapped_by(rule("team", "team"), claims={"team": value})

    assert mapped.trace[0].result is RuleResult.UNUSABLE
    assert [one.code for one in mapped.refusals] == [MappingCode.CLAIM_INVALID]
    assert says in mapped.refusals[0].detail
    assert mapped.attributes.team is None
    assert mapped.name is None
    assert "xxx" not in f"{mapped}{mapped.refusals[0]}"


def test_a_path_through_a_huge_list_is_bounded() -> None:
    many = {"a": [{"b": ["x"] * 1000}] * 1000}

    assert "leads to more than 4096 values" in str(mapped_by(rule("team", "a[*].b[*]"), claims=many).refusals[0])


def test_a_transform_that_makes_too_much_refuses_the_login() -> None:
    ruled = rule("groups", "g", transforms=(transform("split", ","), transform("prefix", "x" * 200)))

    assert "more than 16384 characters" in str(mapped_by(ruled, claims={"g": "a," * 100}).refusals[0])


@pytest.mark.parametrize("attribute", ["roles", "groups"])
def test_too_many_roles_or_groups_refuse_the_login(attribute: str) -> None:
    mapped = mapped_by(rule(attribute, "r"), claims={"r": [str(n) for n in range(300)]})

    assert [one.code for one in mapped.refusals] == [MappingCode.ATTRIBUTES_INVALID]


def test_attributes_that_are_too_large_together_refuse_the_login() -> None:
    rules = [rule("groups", "a"), rule("roles", "b"), rule("company", "c")]
    texts = [f"{n}{'x' * 250}" for n in range(60)]
    mapped = mapped_by(*rules, claims={"a": texts, "b": texts[:30], "c": "x"})

    assert [one.code for one in mapped.refusals] == [MappingCode.ATTRIBUTES_INVALID]


@pytest.mark.parametrize(
    "name",
    [
        "ann+1@example.com",
        "realm/alice",
        "urn:acme:alice",
        "Ann Müller",
        "安娜",
        "a'b\"c\\d",
        "x" * 255,
        "ü" * 255,
        "user:alice",
    ],
)
def test_a_persons_name_is_handed_over_unchanged(name: str) -> None:
    mapped = mapped_by(claims={"sub": name})

    assert mapped.can_open
    assert (mapped.name, mapped.attributes.user) == (name, name)


def test_a_persons_name_has_one_normal_form() -> None:
    assert mapped_by(claims={"sub": "Mu\u0308ller"}).name == "M\u00fcller"


@pytest.mark.parametrize("name", ["x" * 256, " alice", "alice\u3000", "ali\u2800ce"])
def test_a_name_that_people_cannot_tell_apart_refuses_the_login(name: str) -> None:
    assert MappingCode.NAME_INVALID in [one.code for one in mapped_by(claims={"sub": name}).refusals]


@pytest.mark.parametrize("sub", [None, "", []])
def test_a_login_without_a_name_is_refused(sub: Any) -> None:
    assert [one.code for one in mapped_by(claims={"sub": sub}).refusals] == [MappingCode.NAME_MISSING]


@pytest.mark.parametrize(
    ("verified", "is_mapped"),
    [(True, True), ("true", True), (False, False), ("false", False), (None, False), (1, False), ([], False)],
)
def test_an_address_that_the_provider_does_not_vouch_for_is_not_mapped(verified: Any, is_mapped: bool) -> None:
    """Whoever may enter any address at a provider would be the person with that address here."""
    claims = {"email": "boss@acme.example", "email_verified": verified}
    mapped = mapped_by(rule("email", "email"), claims=claims)
    by_name = map_claims(claims, ProviderMapping(id="acme", rules=(rule("user", "email"),)))

    assert (mapped.attributes.email is not None) is by_name.can_open is is_mapped
    if not is_mapped:
        assert mapped.trace[0].result is RuleResult.UNVERIFIED
        assert mapped.trace[0].values == ()


def test_a_display_name_is_taken_with_a_warning() -> None:
    provider = ProviderMapping(id="acme", rules=(rule("user", "name"),))

    assert "two people may share it" in map_claims({"name": "Ann"}, provider).trace[0].detail


def test_demands_on_every_login() -> None:
    demands = LoginDemands(needs_roles=True, needs_company=True, token_age_minutes_max=60)
    provider = ProviderMapping(id="acme", rules=(NAME, rule("roles", "r"), rule("company", "c")))
    without = map_claims({"sub": "a"}, provider, demands)

    assert [one.code for one in without.refusals] == [MappingCode.ROLES_MISSING, MappingCode.COMPANY_MISSING]
    assert map_claims({"sub": "a", "r": "x", "c": "y"}, provider, demands).can_open
    assert [age_refusal({"iat": iat}, demands, 10_000) is None for iat in (6400, 6399, 6400.5, None, "6400", True)] == [
        True, False, True, False, False, False,
    ]  # fmt: skip
    assert age_refusal({"iat": float("nan")}, demands, 10_000) is not None
    assert age_refusal({}, LoginDemands(), 10_000) is None


@pytest.mark.parametrize("attribute", ["tier", "max_tokens", "allowed_models"])
def test_a_published_member_without_an_attribute_maps_nothing_and_says_so(attribute: str) -> None:
    mapped = mapped_by(rule(attribute, "x"), claims={"x": 5})

    assert mapped.can_open
    assert mapped.trace[0].result is RuleResult.NO_ATTRIBUTE


def test_no_value_of_a_claim_stands_in_a_repr() -> None:
    mapped = mapped_by(rule("team", "team"), rule("roles", "r"), claims={"team": "hunter2", "r": ["hunter2"]})

    assert mapped.attributes.team == "hunter2"
    assert "hunter2" not in repr(mapped)
