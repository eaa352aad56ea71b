"""The readings of ADR 0012 that no case of `tests/vectors/mapl` holds the engine to."""

import json
from pathlib import Path
from typing import Any

import pytest

from macaw.policies.case_files import CaseFile
from macaw.policies.cases import play_case

START, LATER = "2026-03-02T15:00:00Z", "2026-03-02T15:00:01Z"
WIDE = {"policy_id": "tool:a", "resources": ["**"]}
EVE = {"user": "eve@x.org"}


def outcomes(**case: Any) -> list[tuple[str, str]]:
    """Decide a case: outcome and reason of each of its calls."""
    sessions = {"root": {"user": "root"}, "u": {"user": "u"}}
    file = CaseFile(Path("readings"), sessions=sessions)
    played = play_case(file, {"id": "r", "session": EVE, "resource": "tool:a", "times": [START], "expect": [], **case})
    return [(outcome, reason) for outcome, reason in played.found]


HOP = {"from": "root", "to": "u", "scope": {"resources": ["**"]}, "expires": "2026-03-02T16:00:00Z"}


@pytest.mark.parametrize(
    ("requirement", "former"),
    [
        ("deny::{context.is_delegated == false}", "CONDITION_DENIED"),
        ("k::{context.delegation_depth < 1}", "ATTESTATION_MISSING"),
    ],
)
def test_a_hop_may_raise_an_outcome_only_where_a_condition_asks_for_it(requirement: str, former: str) -> None:
    """Reading 2a, 2b: the exception of the theorem that an author writes down himself."""
    policies = [{**WIDE, "attestations": [requirement]}]

    assert outcomes(policies=policies, session={"user": "u"}) == [("denied", former)]
    assert outcomes(policies=policies, subjects=["root", "u"], delegation=[HOP]) == [("allowed", "ALLOWED")]


def test_a_parent_that_comes_back_heals_what_was_broken() -> None:
    """Reading 2c: nothing was decided on its merits while the chain was broken."""
    child = {"policy_id": "user:eve@x.org", "extends": "skill:gone", "resources": ["**"]}

    assert outcomes(policies=[child]) == [("denied", "POLICY_BROKEN")]
    assert outcomes(policies=[child, {"policy_id": "skill:gone"}]) == [("allowed", "ALLOWED")]


@pytest.mark.parametrize("rates", [(1, 60), (60, 1)])
def test_two_intents_share_a_bucket_and_the_slower_is_charged(rates: tuple[int, int]) -> None:
    """Reading 6: else a second intent with a higher rate would take the first one's limit away."""
    intents = [json.dumps({"constraints": {"rate_limit": rate}}) for rate in rates]

    found = outcomes(policies=[WIDE], intents=intents, times=[START, LATER])

    assert found == [("allowed", "ALLOWED"), ("denied", "RATE_LIMITED")]


def test_a_role_policy_that_names_no_resources_limits_every_role_also_by_its_window() -> None:
    """Reading 7: it is no alternative, so no other role makes up for it."""
    held = {"user": "eve@x.org", "roles": ["clerk", "guest"]}
    clerk = {"policy_id": "role:clerk", "resources": ["**"]}
    over = {"policy_id": "role:guest", "validity": {"not_after": "2026-03-02T15:00:00Z"}}

    assert outcomes(policies=[clerk, over], session=held) == [("denied", "POLICY_EXPIRED")]
    assert outcomes(policies=[clerk, {**over, "resources": ["**"]}], session=held) == [("allowed", "ALLOWED")]


def test_a_sequence_rule_is_judged_after_conditions_and_before_rates() -> None:
    """Reading 8: the place that the reason list does not give."""
    rule = {"id": "one", "when": "tool:a", "at_most": 1, "per": "session"}
    limited = {**WIDE, "sequence": [rule], "constraints": {"rate_limit": 1}}
    late = {**limited, "attestations": ["deny::{time.now > 1772463600}"]}

    assert outcomes(policies=[limited], times=[START, LATER])[1] == ("denied", "SEQUENCE_LIMIT")
    assert outcomes(policies=[late], times=[START, LATER])[1] == ("denied", "CONDITION_DENIED")


@pytest.mark.parametrize("company", ["東京", "大阪", "!"])
def test_companies_without_a_latin_letter_share_one_restriction(company: str) -> None:
    """Reading 10: more is restricted, never less; and nobody else is."""
    policies = [WIDE, {"policy_id": "restrict:org:", "denied_resources": ["tool:a"]}]

    assert outcomes(policies=policies, session={**EVE, "company": company}) == [("denied", "RESOURCE_DENIED")]
    assert outcomes(policies=policies, session={**EVE, "company": "acme"}) == [("allowed", "ALLOWED")]
