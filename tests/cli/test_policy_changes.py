"""The smallest change that would have allowed a call: complete, of the cheapest branch, and silent about values."""

import json
from typing import Any

import pytest

from macaw.policies.changes import smallest_change
from processors.policy.call import Circumstances
from processors.policy.compiled import compile_policy
from processors.policy.decide import decide, index_policies
from processors.policy.documents import parse_policy
from processors.policy.evaluation import Lookups
from processors.policy.index import PolicyIndex
from processors.policy.resolve import Subject

EVE = Subject(user="eve", roles=("cheap", "dear"))
NOW = 1_772_463_600_000


def in_force(*documents: dict[str, Any]) -> PolicyIndex:
    parsed = [parse_policy(json.dumps(one).encode()) for one in documents]
    return index_policies({one.policy_id: compile_policy(one) for one in parsed})


def reasons(
    index: PolicyIndex, resource: str, parameters: dict[str, Any], call: Circumstances | None = None
) -> list[str]:
    asked = call or Circumstances(now=NOW)
    edits = smallest_change(index, EVE, resource, parameters, asked)
    denied = decide(index, EVE, resource, parameters, asked).outcome != "allowed"
    assert bool(edits) is denied  # there is always something to change, and only then
    return [one.reason for one in edits]


def limits(**specs: Any) -> dict[str, Any]:
    return {"parameters": {"tool:a": specs}}


def test_all_failing_checks_of_the_branch_with_the_fewest() -> None:
    """A role that came further but fails twice is no smaller a change than one that fails once."""
    index = in_force(
        {"policy_id": "role:cheap", "resources": ["tool:b"]},
        {"policy_id": "role:dear", "resources": ["tool:a"], "constraints": limits(n={"max": 1}, c=["x"])},
    )

    [edit] = smallest_change(index, EVE, "tool:a", {"n": 2, "c": "y"}, Circumstances(now=NOW))

    assert (edit.policy, edit.at, edit.reason) == ("role:cheap", "/resources", "RESOURCE_NOT_ALLOWED")
    assert reasons(index, "tool:a", {"n": 2}) == ["RESOURCE_NOT_ALLOWED"]
    assert reasons(index, "tool:a", {"n": 1}) == []


@pytest.mark.parametrize(("level", "told"), [("full", True), ("standard", False), ("minimal", False), (None, False)])
def test_values_are_told_only_where_everything_may_be(level: str | None, told: bool) -> None:
    """The audit level of what applied decides, and without one nothing is told."""
    constraints = limits(c=["x"], n={"max": 1}, s={"max_length": 1}, p={"pattern": "a"})
    document = {"policy_id": "user:eve", "resources": ["tool:a"], "constraints": constraints}
    if level is not None:
        constraints["audit_level"] = level
    secrets = {"c": "hush-1", "n": 424242, "s": "hush-2", "p": "hush-3"}

    edits = smallest_change(in_force(document), EVE, "tool:a", secrets, Circumstances(now=NOW))

    text = " ".join(one.do for one in edits)
    assert len(edits) == 4
    assert [value in text for value in ("hush-1", "424242", "hush-2", "hush-3")] == [told] * 4


def test_what_no_document_says() -> None:
    """A grant that is missing, a layer without an attribute, a parent that is gone, a name that is none."""
    assert reasons(in_force(), "tool:a", {}) == ["NO_POLICY"]
    company = {"policy_id": "company:Acme", "resources": ["tool:*"]}
    grant = {"policy_id": "user:eve", "resources": ["tool:*"]}
    assert reasons(in_force(company, grant), "tool:a", {}) == ["LAYER_MISSING"]
    assert reasons(in_force({"policy_id": "user:eve", "extends": "gone"}), "tool:a", {}) == ["POLICY_BROKEN"]
    assert reasons(in_force(grant), "tool:a/../b", {}) == ["RESOURCE_INVALID"]


def test_rates_conditions_attestations_and_roles() -> None:
    """Each later stage has its edit too, all at once."""
    document = {
        "policy_id": "user:eve",
        "resources": ["tool:a"],
        "denied_resources": ["*a"],
        "attestations": ["deny::{params.n > 1}", "checked"],
        "validity": {"not_after": "2026-01-01T00:00:00Z"},
        "constraints": {"rate_limit": 1, "roles": ["boss"], "denied_parameters": {"**": {"n": [2]}}},
    }
    full = Circumstances(now=NOW, tables=Lookups(buckets=lambda _key: (NOW + 60_000) * 1000))

    found = reasons(in_force(document), "tool:a", {"n": 2}, full)

    assert sorted(found) == sorted(
        [
            "POLICY_EXPIRED",
            "RESOURCE_DENIED",
            "ROLE_REQUIRED",
            "PARAM_DENIED",
            "CONDITION_DENIED",
            "RATE_LIMITED",
            "ATTESTATION_MISSING",
        ]
    )


def test_a_rule_that_asks_for_an_attestation() -> None:
    """A taint that an attestation would lift is lifted by it, and by nothing else that is told."""
    rule = {"id": "t", "when": "tool:mail", "tainted_by": "tool:web", "require": "clean"}
    index = in_force({"policy_id": "user:eve", "resources": ["tool:*"], "sequence": [rule]})
    taint = decide(index, EVE, "tool:web", {}, Circumstances(now=NOW)).effects.cells
    assert taint
    cells = {write.key: write.cell for write in taint}

    tainted = Circumstances(now=NOW, tables=Lookups(cells=cells.get))

    assert reasons(index, "tool:mail", {}, tainted) == ["ATTESTATION_MISSING"]
    assert reasons(index, "tool:mail", {}) == []


@pytest.mark.parametrize(
    ("intent", "told"),
    [
        ('{"resources": "tool:a"}', "E_TYPE at '/resources'"),
        ("{", "E_JSON"),
        ('{"resources": ["tool:a"], "surprise": 1}', "E_UNKNOWN_FIELD"),
    ],
)
def test_a_faulty_intent_is_the_callers_to_mend(intent: str, told: str) -> None:
    """It is no parent that somebody could publish again."""
    index = in_force({"policy_id": "user:eve", "resources": ["tool:a"]})

    [edit] = smallest_change(index, EVE, "tool:a", {}, Circumstances(now=NOW, intents=(intent,)))

    assert "the caller must mend" in edit.do
    assert told in edit.do
    assert "publish" not in edit.do


def test_a_name_that_is_not_one_is_named_with_its_form() -> None:
    """The caller sees the name that it sent, and how names are written."""
    [edit] = smallest_change(in_force(), EVE, "tool:a/../b", {}, Circumstances(now=NOW))

    assert (
        edit.do == "'tool:a/../b' is not a valid resource name; the caller must use DOMAIN:NAME, such as tool:bank/pay"
    )


def test_a_parent_that_is_gone_is_named() -> None:
    index = in_force({"policy_id": "user:eve", "extends": "role:gone", "resources": ["tool:a"]})

    [edit] = smallest_change(index, EVE, "tool:a", {}, Circumstances(now=NOW))

    assert edit.at == "/extends"
    assert edit.do.startswith("publish 'role:gone' again")
