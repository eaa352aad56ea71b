"""Explanations and the effective view, on the worked example of the seed: alice, an analyst of FinTech Corp."""

import json
from pathlib import Path
from typing import Any

import pytest

from macaw.policies.case_files import read_case_file
from macaw.policies.case_tables import ms
from macaw.policies.cases import NOW, CaseRun, documents_of, subject_of
from processors.policy.call import Circumstances
from processors.policy.decide import decide, index_policies
from processors.policy.documents import parse_policy
from processors.policy.evaluation import Lookups, Session
from processors.policy.index import PolicyIndex
from processors.policy.insight.effective import effective, lines_of, merged_spec
from processors.policy.insight.explain import explain
from tests.processors.policy.written import policies_of

CASES = read_case_file(Path(__file__).parents[2] / "vectors" / "mapl" / "conformance.jsonl")
ALICE = subject_of(CASES.sessions["alice"])
GENERATE = {"model": "gpt-3.5-turbo", "max_tokens": 500, "temperature": 0.2}


def defined(name: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in CASES.sets[name]]


def seed(*more: dict[str, Any]) -> PolicyIndex:
    return index_policies(policies_of([*defined("seed"), *more]))


def told(index: PolicyIndex, resource: str, parameters: dict[str, Any], **how: Any) -> dict[str, Any]:
    return explain(index, ALICE, resource, parameters, Circumstances(now=ms(NOW), **how))


def results(told: dict[str, Any], policy: str) -> dict[str, str]:
    return {check["at"]: check["result"] for check in told["checks"] if check["policy"] == policy}


@pytest.mark.parametrize(
    "case", [case for _, case in CASES.cases if "resource" in case and "params_raw" not in case], ids=lambda c: c["id"]
)
def test_an_explanation_says_what_was_decided(case):
    """Outcome, reason and stage are the decision's; it is JSON, and nothing is charged by asking."""
    run = CaseRun(CASES, case, documents_of(CASES, case))
    call = run.call(ms(case.get("now", NOW)))
    asked = (run.index, run.subjects(), case["resource"], case.get("params", {}), call)

    verdict, explained = decide(*asked), json.loads(json.dumps(explain(*asked)))
    assert (explained["outcome"], explained["reason"]) == (verdict.outcome, verdict.reason or "ALLOWED")
    assert explained["stage"] == verdict.stage.number
    assert decide(*asked) == verdict


def test_the_five_layers_of_the_example_are_told():
    """Ids tried and found, the layers, the grant, and every check although the first failure decided."""
    explained = told(seed(), "tool:analyzer/generate", {**GENERATE, "model": "gpt-4", "temperature": 0.5})

    assert explained["tried"]["found"] == [
        "base:role:analyst", "restrict:org:fintech-corp", "restrict:bu:analytics", "restrict:team:reporting",
        "filter:clearance:standard",
    ]  # fmt: skip
    assert explained["tried"]["absent"] == [
        "role:analyst", "company:FinTech Corp", "bu:Analytics", "team:Reporting", "user:alice@fintech.com",
        "app:analyzer",
        "tool:analyzer", "tool:analyzer/generate",
    ]  # fmt: skip
    layers = {one["id"]: (one["layer"], one["grants"]) for one in explained["policies"]}
    assert layers == {
        "restrict:org:fintech-corp": ("company", False), "restrict:bu:analytics": ("business_unit", False),
        "restrict:team:reporting": ("team", False), "filter:clearance:standard": ("clearance", False),
        "base:role:analyst": ("role", True),
    }  # fmt: skip
    assert (explained["branch"], explained["grant"], explained["audit_level"]) == (
        "base:role:analyst",
        "base:role:analyst",
        "full",
    )
    pointer = "/constraints/parameters/tool:*~1generate"
    assert explained["decided_by"]["at"] == f"{pointer}/temperature"
    assert results(explained, "restrict:bu:analytics") == {
        f"{pointer}/consistency": "pass", f"{pointer}/temperature": "PARAM_OUT_OF_RANGE",
    }  # fmt: skip
    assert results(explained, "base:role:analyst")[f"{pointer}/model"] == "PARAM_NOT_ALLOWED"
    assert results(explained, "restrict:team:reporting")["/attestations/0"] == "not required"
    assert explained["to_caller"] == {"outcome": "denied", "reason": "PARAM_OUT_OF_RANGE", "path": "temperature"}


def test_what_was_unknown_is_named():
    """A condition that could not be told protects, and the explanation says why it could not."""
    rule = {"policy_id": "user:alice@fintech.com", "attestations": ["deny::{params.to != 'a' AND params.l > 5}"]}
    explained = told(seed(rule), "data:finance/reports/x", {"l": [1]})

    (check,) = (one for one in explained["checks"] if one["policy"] == rule["policy_id"])
    assert (check["condition"], check["result"]) == ("unknown", "CONDITION_DENIED")
    assert check["unknown"] == ["params.to is absent", "params.l is array"]


def test_no_value_of_a_parameter_is_shown():
    """Their types are; who may see the values is not known here."""
    explained = told(seed(), "tool:analyzer/generate", {**GENERATE, "model": "hunter2", "note": "hunter3"})

    assert "hunter" not in json.dumps(explained)
    assert {check["type"] for check in explained["checks"] if check.get("path") == "model"} == {"string"}


def test_how_each_document_was_reached_is_told():
    """By look-up, through `extends`, or with the call, which never grants."""
    skill, user = (
        {"policy_id": "skill:s", "resources": ["**"]},
        {"policy_id": "user:alice@fintech.com", "extends": "skill:s"},
    )
    explained = told(seed(skill, user), "data:finance/reports/x", {}, intents=('{"resources": ["**"]}',))

    ways = {one["id"]: (one["via"], one["layer"], one["grants"]) for one in explained["policies"]}
    assert ways["user:alice@fintech.com"] == ("lookup", "user", True)
    assert ways["skill:s"] == ("extends", "user", True)
    assert ways["intent:"] == ("inline", "inline", False)


def test_the_rate_is_told_and_not_charged():
    """Arrival times before and after, and when a call would be admitted."""
    index = seed({"policy_id": "team:Reporting", "constraints": {"rate_limit": 2}})
    explained = told(index, "data:finance/reports/x", {})

    now = ms(NOW) * 1000
    assert explained["buckets"] == [
        {"policy": "team:Reporting", "before": 0, "after": now + 30_000_000, "retry_after_ms": 0}
    ]
    assert told(index, "data:finance/reports/x", {}) == explained


def test_the_rate_that_is_told_is_the_callers_own():
    """What earlier calls of this principal left, for a policy and for what came with the call; nobody else's."""
    index = seed({"policy_id": "team:Reporting", "constraints": {"rate_limit": 2}})
    call = Circumstances(now=ms(NOW), intents=('{"constraints": {"rate_limit": 5}}',), session=Session(session_id="s"))
    paid = dict(decide(index, ALICE, "data:finance/reports/x", {}, call).effects.buckets)
    assert len(paid) == 2

    after = call._replace(tables=Lookups(buckets=lambda key: paid.get(key, 0)))
    once_more = explain(index, ALICE, "data:finance/reports/x", {}, after)["buckets"]

    assert [one["before"] for one in once_more] == list(paid.values())
    assert all(one["after"] > one["before"] for one in once_more)


def test_a_failed_role_is_told_beside_the_chosen_one():
    """Alternatives, each with how far it came."""
    bob = subject_of(CASES.sessions["bob"])
    index = index_policies(policies_of(defined("roles")))
    explained = explain(index, bob, "tool:shop/buy", {"n": 50})

    assert explained["branch"] == "role:owner"
    assert [(one["branch"], one["reason"]) for one in explained["branches"]] == [
        ("role:guest", "RESOURCE_NOT_ALLOWED"), ("role:owner", "ALLOWED"),
    ]  # fmt: skip


def test_what_has_no_name_or_no_whole_chain_is_explained_too():
    """Bad names and broken chains are answers, not errors."""
    assert told(seed(), "tool:a/../b", {})["reason"] == "RESOURCE_INVALID"
    broken = told(seed({"policy_id": "user:alice@fintech.com", "extends": "gone"}), "tool:x", {})
    assert (broken["reason"], broken["broken"]) == ("POLICY_BROKEN", "gone")


# ---- the effective view


def test_the_final_policy_of_the_example_is_what_the_specification_says():
    """Resources of both lists, three denials, four parameters, office hours of New York, full audit."""
    (analyst,) = effective(seed(), ALICE, "tool:analyzer/generate")["alternatives"]
    merged = analyst["merged"]

    assert merged["resources"] == [
        ["tool:analyzer/*", "data:finance/reports/**"],
        ["tool:analyzer/generate", "data:**"],
    ]
    assert sorted(merged["denied_resources"]) == ["*.secret", "*credential*", "data:**/executive/**"]
    assert merged["parameters"] == {
        "tool:*/generate": {
            "model": {"allowed_values": ["gpt-3.5*"], "required": True},
            "max_tokens": {"max": 500, "type": "integer", "required": True},
            "temperature": {"max": 0.3},
            "consistency": {"allowed_values": [True]},
        }
    }
    assert merged["audit_level"] == "full"
    assert [one["of"] for one in merged["attestations"]] == ["restrict:team:reporting"]
    said = {(line["layer"], line["says"]) for line in analyst["lines"]}
    assert {
        ("business_unit", "at most 0.3"),
        ("role", "required, integer, at most 500"),
        ("team", "tool:analyzer/*"),
    } <= said


def test_the_chain_of_the_specification_merges_to_its_numbers():
    """Company, business unit and user: the tightest of each."""
    index = index_policies(policies_of(defined("chain")))
    (only,) = effective(index, ALICE)["alternatives"]

    assert only["branch"] is None
    assert [one["id"] for one in only["policies"]] == ["company:FinTech Corp", "bu:Analytics", "user:alice@fintech.com"]
    assert only["merged"]["rate_limit"] == 2
    assert only["merged"]["parameters"]["tool:*/generate"] == {
        "max_tokens": {"max": 500}, "temperature": {"max": 0.3}, "model": {"allowed_values": ["m1"]},
    }  # fmt: skip
    assert only["merged"]["denied_parameters"] == {"*": {"prompt": ["*password*"]}}
    assert (
        effective(index_policies(policies_of([{"policy_id": "bu:Analytics", "extends": "gone"}])), ALICE)["broken"]
        == "gone"
    )


def specs(*written: Any) -> dict[str, Any]:
    parsed = []
    for spec in written:
        text = {"policy_id": "a:b", "constraints": {"parameters": {"**": {"n": spec}}}}
        parsed += parse_policy(json.dumps(text).encode()).parameters
    return merged_spec(parsed)


def test_merging_takes_the_tighter_of_each():
    """The table of docs/mapl.md 5; an intersection that comes out empty permits no value, and says so."""
    assert specs({"min": 1, "max": 9}, {"range": [3, 12]}) == {"min": 3, "max": 9}
    assert specs({"min_length": 1, "max_length": 9}, {"max_length": 3}) == {"min_length": 1, "max_length": 3}
    assert specs([1, "a", 2], {"allowed_values": ["a", 1.0], "required": True}) == {
        "allowed_values": [1, "a"],
        "required": True,
    }
    assert specs([1], [2]) == {"allowed_values": []}
    assert specs(["a*"], ["*b"]) == {"allowed_values": {"each_of": [["a*"], ["*b"]]}}
    assert specs({"pattern": "a+"}, {"pattern": "b+"}) == {"pattern": ["a+", "b+"]}
    assert specs({"type": "integer"}, {"max": 5}) == {"type": "integer", "max": 5}


def test_every_part_of_a_document_is_a_line():
    """In the order in which a call is judged, in words."""
    document = {
        "policy_id": "a:b",
        "resources": ["tool:a"],
        "denied_resources": ["*b"],
        "validity": {"not_before": "2026-03-02T15:00:00Z", "not_after": "2026-03-03T15:00:00+01:00"},
        "attestations": ["ok::{n > 5}", "seen", "deny"],
        "sequence": [
            {"id": "1", "when": "**", "after": {"resource": "tool:c", "same": [["to", "who"]], "within": 60}},
            {"id": "2", "when": "**", "at_most": 2, "per": "session", "window": "day"},
            {"id": "3", "when": "**", "sum": "n", "max": 9, "per": "user"},
            {"id": "4", "when": "**", "tainted_by": "web:*", "require": "ok"},
        ],
        "constraints": {
            "rate_limit": 5,
            "roles": ["x", "y"],
            "audit_level": "full",
            "require_approval": "team:T",
            "parameters": {"n": {"min": 1}},
            "denied_parameters": {"n": ["x", 5]},
            "attestations": {
                "ok": {"approval_criteria": "role:lead", "quorum": 2, "timeout": 60, "time_to_live": 5, "max_uses": 3}
            },
        },
    }
    lines = lines_of(parse_policy(json.dumps(document).encode()))

    assert [(line.kind, line.says) for line in lines] == [
        ("valid", "from 2026-03-02T15:00:00.000Z"),
        ("valid", "until 2026-03-03T14:00:00.000Z"),
        ("denied resource", "*b"),
        ("resource", "tool:a"),
        ("roles", "one of x, y"),
        ("parameter", "at least 1"),
        ("denied parameter", '"x", 5'),
        ("sequence", "after tool:c ended well within 60 s, to as its who"),
        ("sequence", "at most 2 calls in all for each session in 86400 s"),
        ("sequence", "n at most 9 in all for each user"),
        ("sequence", "not after web:*, unless ok is attested"),
        ("rate", "5 calls a minute"),
        ("requires", "approved by 2 of role:lead, waits 60 s, good for 5 s, 3 uses"),
        ("requires", "attested by a tool"),
        ("requires", "nothing meets it: the call is forbidden"),
        ("requires", "approved by 1 of team:T, waits 300 s, 1 use"),
        ("audit", "full"),
    ]
