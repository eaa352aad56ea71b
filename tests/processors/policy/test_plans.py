"""What a plan asks of a call: which documents, in which order, and what is shared by calls and subjects."""

import json
from typing import Any

import pytest

from processors.policy import limits
from processors.policy.call import PLAIN, Circumstances
from processors.policy.decide import decide, index_policies
from processors.policy.delegation import Hop, Scope
from processors.policy.evaluation import Lookups, Session, Settings
from processors.policy.index import PolicyIndex
from processors.policy.insight.explain import explain
from processors.policy.rates import policy_of
from processors.policy.resolve import Subject
from processors.policy.verdict import Verdict
from tests.processors.policy.written import digest_of, policies_of

EVE = Subject(user="eve")
ANY = {"policy_id": "user:eve", "resources": ["**"]}


def in_force(*documents: dict[str, Any]) -> PolicyIndex:
    return index_policies(policies_of(documents))


def judged(*documents: dict[str, Any], who: Subject = EVE, call: Circumstances = PLAIN, **parameters: Any) -> Verdict:
    return decide(in_force(*documents), who, "tool:x", parameters, call)


# ---- stages


LATER, BEFORE = {"not_before": "2100-01-01T00:00:00Z"}, {"not_after": "1970-01-01T00:00:00Z"}
APPROVED = {"policy_id": "tool:x", "constraints": {"attestations": {"k": {"approval_criteria": "role:lead"}}}}


@pytest.mark.parametrize(
    ("stage", "reason", "document"),
    [
        (0, "LAYER_MISSING", {"policy_id": "company:C"}),
        (1, "POLICY_NOT_YET_VALID", {"policy_id": "tool:x", "validity": LATER}),
        (1, "POLICY_EXPIRED", {"policy_id": "tool:x", "validity": BEFORE}),
        (2, "RESOURCE_DENIED", {"policy_id": "tool:x", "denied_resources": ["tool:*"]}),
        (3, "RESOURCE_NOT_ALLOWED", {"policy_id": "tool:x", "resources": ["tool:y"]}),
        (4, "NO_POLICY", {"policy_id": "user:eve"}),
        (5, "ROLE_REQUIRED", {"policy_id": "tool:x", "constraints": {"roles": ["lead"]}}),
        (6, "PARAM_REQUIRED", {"policy_id": "tool:x", "constraints": {"parameters": {"n": {"required": True}}}}),
        (7, "PARAM_DENIED", {"policy_id": "tool:x", "constraints": {"denied_parameters": {"p": ["a"]}}}),
        (8, "CONDITION_DENIED", {"policy_id": "tool:x", "attestations": ["deny::{params.p == 'a'}"]}),
        (8.5, "SEQUENCE_MISSING", {"policy_id": "tool:x", "sequence": [
            {"id": "r", "when": "tool:x", "after": {"resource": "tool:y"}}
        ]}),
        (9, "RATE_LIMITED", {"policy_id": "tool:x", "constraints": {"rate_limit": 1}}),
        (10, "ATTESTATION_MISSING", {"policy_id": "tool:x", "attestations": ["k"]}),
        (11, "APPROVAL_REQUIRED", {"attestations": ["k"], **APPROVED}),
        (12, "", {"policy_id": "tool:x"}),
    ],
)  # fmt: skip
def test_a_denial_tells_how_far_the_call_came(stage: float, reason: str, document: dict[str, Any]) -> None:
    """The numbers of docs/mapl.md 12, which the log and explanations hold."""
    full = Lookups(buckets=lambda _key: 60_000_000)
    documents = [document] if document["policy_id"] == ANY["policy_id"] else [ANY, document]

    verdict = judged(*documents, call=Circumstances(tables=full), p="a")

    assert (verdict.reason, verdict.stage.number) == (reason, stage)


# ---- layers


def test_each_layer_is_told_by_its_name() -> None:
    """In the order in which they are judged, what comes with the call at the end."""
    everything = Subject(
        company="C", business_unit="B", team="T", user="eve", roles=("r",), agent="a", service="s", clearance="standard"
    )
    layers = {
        "org:o": "organisation", "role:r": "role", "company:C": "company", "restrict:org:c": "company",
        "bu:B": "business_unit", "team:T": "team", "user:eve": "user", "agent:a": "program", "service:s": "program",
        "filter:clearance:standard": "clearance", "tool:x": "resource",
    }  # fmt: skip
    index = in_force(*({"policy_id": one, "resources": ["**"]} for one in layers))
    told = explain(index, everything, "tool:x", {}, Circumstances(intents=('{"resources": ["**"]}',)))["policies"]

    assert isinstance(told, list)
    assert {one["id"]: one["layer"] for one in told if isinstance(one, dict)} == layers | {"intent:": "inline"}


@pytest.mark.parametrize("prefix", ["company:C", "bu:B", "team:T", "user:eve", "agent:a", "service:s", "role:r"])
def test_each_layer_of_a_subject_can_grant(prefix: str) -> None:
    """By itself."""
    subject = Subject(company="C", business_unit="B", team="T", user="eve", roles=("r",), agent="a", service="s")

    assert judged({"policy_id": prefix, "resources": ["**"]}, who=subject).reason == ""


def test_a_tenant_says_which_attributes_a_subject_must_have() -> None:
    """Each of those and no other; where it says nothing, a company as soon as one has a policy."""

    def reason(who: Subject, *layers: str) -> str:
        return judged(ANY, who=who, call=Circumstances(settings=Settings(required_layers=frozenset(layers)))).reason

    member = Subject(user="eve", team="T")
    assert reason(EVE) == reason(EVE, "user") == reason(member, "team", "user") == ""
    assert reason(EVE, "team") == reason(member, "team", "company") == reason(member, "roles") == "LAYER_MISSING"


def test_what_a_layer_that_only_restricts_has_named_first_can_still_be_granted() -> None:
    """A document grants if any way to it does."""
    member = Subject(user="eve", team="T")
    shared = {"policy_id": "skill:s", "resources": ["**"]}
    restricting = {"policy_id": "restrict:team:t", "extends": "skill:s"}

    assert judged(shared, restricting, who=member).reason == "NO_POLICY"
    assert judged(shared, restricting, {"policy_id": "user:eve", "extends": "skill:s"}, who=member).reason == ""


# ---- roles


BOTH = Subject(user="eve", roles=("a", "b"))


def test_what_a_role_extends_belongs_to_that_role_alone() -> None:
    """It neither restricts the other roles nor grants beyond its own, and gives the branch no other name."""
    skill = {"policy_id": "a-skill:s", "resources": ["tool:*"], "constraints": {"parameters": {"p": ["mine"]}}}
    first, second = {"policy_id": "role:a", "extends": "a-skill:s"}, {"policy_id": "role:b", "resources": ["tool:*"]}
    documents = (skill, first, second)

    assert judged(*documents, who=BOTH, p="mine").branch == "role:a"
    assert judged(*documents, who=BOTH, p="other").branch == "role:b"
    assert judged(*documents, who=Subject(roles=("a",)), p="other").reason == "PARAM_NOT_ALLOWED"


def test_a_role_that_grants_is_an_alternative_though_what_it_extends_names_no_resources() -> None:
    """Its constraints hold for it and for no other role."""
    skill = {"policy_id": "skill:s", "constraints": {"parameters": {"p": ["mine"]}}}
    first = {"policy_id": "role:a", "extends": "skill:s", "resources": ["tool:*"]}

    assert judged(skill, first, {"policy_id": "role:b", "resources": ["tool:*"]}, who=BOTH, p="other").reason == ""


def test_a_branch_is_called_by_the_smallest_id_of_its_role() -> None:
    """A role may have a policy of its own and a base."""
    documents = [{"policy_id": one, "resources": ["**"]} for one in ("role:a", "base:role:a")]

    assert judged(*documents, who=Subject(roles=("a",))).branch == "base:role:a"


# ---- spellings


@pytest.mark.parametrize("kind", ["parameters", "denied_parameters"])
def test_a_constraint_meets_an_operation_however_it_is_spelt(kind: str) -> None:
    """One of the spellings is enough."""
    index = in_force(ANY, {"policy_id": "org:o", "constraints": {kind: {"tool:pay": {"p": ["no"]}}}})
    parameters = {"p": "yes" if kind == "parameters" else "no"}

    for spelling in ("tool:pay", "tool:PAY", "tool:p%61y"):
        assert decide(index, EVE, spelling, parameters).outcome == "denied", spelling
    assert decide(index, EVE, "tool:play", parameters).outcome == "allowed"


# ---- chains


CHAIN = Circumstances(hops=(Hop(delegator="eve", delegate="bot", scope=Scope(resources=("**",)), expires_at=2**62),))


def test_members_of_a_chain_who_are_judged_alike_cost_as_much_as_one() -> None:
    """Work is spent on what is asked, and it is asked once; where somebody is asked for, of each."""
    bot = Subject(service="bot", type="service")
    long = {"s": "a" * (limits.WORK_UNITS_MAX * 6 // 10)}
    costly: dict[str, Any] = {"denied_parameters": {"**": {"s": ["x"]}}}
    document = {"policy_id": "tool:x", "resources": ["**"], "constraints": costly}
    asking = document | {"constraints": costly | {"rate_limit": 5}}

    assert decide(in_force(document), [EVE, bot], "tool:x", long, CHAIN).reason == ""
    assert decide(in_force(asking), EVE, "tool:x", long).reason == ""
    assert decide(in_force(asking), [EVE, bot], "tool:x", long, CHAIN).reason == "LIMIT_EXCEEDED"


def test_one_role_that_asks_who_calls_is_asked_of_each_member() -> None:
    """Though another role of theirs does not."""
    roles: list[dict[str, Any]] = [
        {"policy_id": "role:a", "resources": ["tool:y"]},
        {"policy_id": "role:b", "resources": ["**"], "constraints": {"roles": ["lead"]}},
    ]
    lead = Subject(user="eve", roles=("a", "b", "lead"))
    bot = Subject(service="bot", type="service", roles=("a", "b"))

    assert decide(in_force(*roles), lead, "tool:x", {}).reason == ""
    assert decide(in_force(*roles), [lead, bot], "tool:x", {}, CHAIN).reason == "ROLE_REQUIRED"


# ---- rates, and what comes with a call


def test_a_call_waits_for_the_slowest_of_its_rates() -> None:
    """The first document is named; as long as was told, and not a ms less."""
    first, second = ({"policy_id": one, "constraints": {"rate_limit": 1}} for one in ("org:o", "tool:x"))
    arrivals = {"org:o": 30_000_000, "tool:x": 60_000_000}  # as two calls would leave them
    paid = judged(ANY, first, second).effects.buckets
    assert [policy_of(key) for key, _ in paid] == ["org:o", "tool:x"]

    def again(now: int) -> Verdict:
        return judged(
            ANY, first, second, call=Circumstances(now=now, tables=Lookups(lambda key: arrivals[policy_of(key)]))
        )

    assert (again(0).retry_after_ms, again(0).deciding) == (60_000, digest_of(first))
    assert (again(59_999).retry_after_ms, again(59_999).deciding) == (1, digest_of(second))
    assert again(60_000).outcome == "allowed"


def test_of_rates_that_came_with_a_call_the_lowest_counts_and_the_first_of_equals_is_named() -> None:
    """They have one bucket for each session."""
    texts = [json.dumps({"constraints": {"rate_limit": n}, "purpose": f"{n}{at}"}) for at, n in enumerate((9, 5, 5))]
    call = Circumstances(intents=tuple(texts), session=Session(session_id="s"))
    (key, arrival), = judged(ANY, call=call).effects.buckets  # fmt: skip
    assert (policy_of(key), arrival) == ("intent:s", 12_000_000)

    full = judged(ANY, call=call._replace(tables=Lookups(buckets=lambda _key: 60_000_000)))
    lone = judged(ANY, call=call._replace(tables=Lookups(buckets=lambda _key: 60_000_000), intents=(texts[1],)))
    assert (full.reason, full.deciding) == ("RATE_LIMITED", lone.deciding)


def test_counts_of_what_came_with_a_call_are_its_sessions_own() -> None:
    """Another session's documents of the same words have others; they would share one count of a user."""
    rule = {"id": "r", "when": "tool:x", "at_most": 1, "per": "user", "window": "day"}
    call = Circumstances(intents=(json.dumps({"sequence": [rule]}),))
    keys = [
        judged(ANY, call=call._replace(session=Session(session_id=one))).effects.cells[0].key for one in ("s", "t", "s")
    ]

    assert keys[0] == keys[2] != keys[1]
