"""A text that travels beside its call is never let through where the same text inside the call would be denied."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors.calls.bodies import with_leaves
from processors.calls.parameters import MalformedParametersError, parse_parameters
from processors.policy.call import Circumstances
from processors.policy.compiled import compile_policy
from processors.policy.decide import decide
from processors.policy.delegation import Hop, parse_scope
from processors.policy.documents import parse_policy
from processors.policy.evaluation import HIDDEN, OPAQUE
from processors.policy.resolve import Subject
from processors.policy.verdict import RANK
from tests.mapl_strategies import NOW, focused, worlds
from tests.processors.policy.test_against_reference import Both
from tests.reference import mapl

GRANT = {"policy_id": "user:u", "resources": ["**"]}
TEXT = "some text"


def texts_in(value: Any, steps: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, str):
        return [steps]
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [one for step, member in members for one in texts_in(member, (*steps, step))]


def kept_out(world: Any, data: Any) -> None:
    """Judge each call of a world as it is, and with one of its texts, or all, beside it."""
    both, now = Both(world), NOW
    for one in world["calls"]:
        now += one["after_ms"]
        text = json.dumps(one["params"])
        try:
            parameters = parse_parameters(text).value
        except MalformedParametersError:
            return
        plain = decide(*both.asked(one["resource"], parameters, now))
        places = texts_in(parameters)
        if places:
            chosen = data.draw(st.sampled_from([[place] for place in places] + [places]))
            leaves = {place: data.draw(st.sampled_from([HIDDEN, OPAQUE])) for place in chosen}
            beside = both.ours(one["resource"], with_leaves(parameters, leaves), now)  # explained alike
            assert RANK[beside.outcome] <= RANK[plain.outcome]
            assert beside.reason != "INTERNAL_ERROR"
        call = both.call(one["resource"], text, now)
        both.leave(plain, call, mapl.evaluate(both.theirs, call))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(focused, st.data())
def test_no_text_beside_a_call_turns_a_denial_into_a_permission(world, data):
    """Parameters, denied parameters, conditions, attestations, sequences and rates, each without much beside it."""
    kept_out(world, data)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(worlds, st.data())
def test_nor_in_any_tenant(world, data):
    """With layers, roles, intents and delegations."""
    kept_out(world, data)


def judged(leaf: object, *, member: str = "text", **policy: Any) -> tuple[str, str, str]:
    document = parse_policy(json.dumps({**GRANT, **policy}).encode(), organisation=True)
    parameters: Any = {member: leaf, "n": 1}
    verdict = decide({"user:u": compile_policy(document)}, Subject(user="u", principal="u"), "tool:a", parameters)
    return str(verdict.outcome), verdict.reason, verdict.path


PRESENCE = [
    {"required": True}, {"type": "string"}, ["*"], {"required": True, "type": "string", "allowed_values": ["**"]},
]  # fmt: skip
CONTENT = [
    [TEXT], ["some*"], {"pattern": ".*"}, {"max_length": 1000}, {"min_length": 0}, {"allowed_values": [TEXT, None]},
]  # fmt: skip


@pytest.mark.parametrize("spec", PRESENCE)
def test_a_rule_on_presence_counts_where_the_owner_calls_the_path_opaque(spec):
    """The text is there; only its content is not. Elsewhere every rule that reaches it denies."""
    policy = {"constraints": {"parameters": {"**": {"text": spec}}}}
    assert judged(OPAQUE, **policy) == judged(TEXT, **policy) == ("allowed", "", "")
    assert judged(HIDDEN, **policy) == ("denied", "BODY_UNSEEN", "text")


@pytest.mark.parametrize("spec", CONTENT)
@pytest.mark.parametrize("leaf", [HIDDEN, OPAQUE])
def test_a_rule_on_content_never_passes(spec, leaf):
    """Also where the very text would meet it."""
    policy = {"constraints": {"parameters": {"**": {"text": spec}}}}
    assert judged(TEXT, **policy)[0] == "allowed"
    assert judged(leaf, **policy) == ("denied", "BODY_UNSEEN", "text")


@pytest.mark.parametrize("denied", [{"text": ["*evil*"]}, {"*": ["*evil*"]}, {"o": ["*evil*"]}, {"o": [{"k": "v"}]}])
@pytest.mark.parametrize("leaf", [HIDDEN, OPAQUE])
def test_a_denied_parameter_that_reaches_it_denies(denied, leaf):
    """By its path, by any path, and through the object that holds it."""
    policy = {"constraints": {"denied_parameters": {"**": denied}}}
    value = {"inner": [leaf]} if "o" in denied else leaf
    assert judged(value, member="o" if "o" in denied else "text", **policy)[:2] == ("denied", "BODY_UNSEEN")


@pytest.mark.parametrize("leaf", [HIDDEN, OPAQUE])
def test_an_object_that_holds_one_equals_nothing(leaf):
    """An allowed object is compared whole, so its content would be looked at."""
    policy = {"constraints": {"parameters": {"**": {"o": [{"k": TEXT}]}}}}
    assert judged({"k": TEXT}, member="o", **policy)[0] == "allowed"
    assert judged({"k": leaf}, member="o", **policy)[:2] == ("denied", "BODY_UNSEEN")


@pytest.mark.parametrize(
    ("condition", "opaque"),
    [
        ("params.text == 'x'", "BODY_UNSEEN"), ("params.text MATCHES 'x*'", "BODY_UNSEEN"),
        ("text IN ('x', 'y')", "BODY_UNSEEN"), ("'x' IN params.list", "BODY_UNSEEN"),
        ("NOT (params.text == 'x')", "BODY_UNSEEN"), ("params.text == params.list[0]", "BODY_UNSEEN"),
        ("params.text == null", ""), ("params.text != null", "CONDITION_DENIED"),
    ],
)  # fmt: skip
def test_a_condition_that_looks_at_it_denies(condition, opaque):
    """`== null` asks for presence only."""
    policy = {"attestations": [f"deny::{{{condition}}}"]}
    document = compile_policy(parse_policy(json.dumps({**GRANT, **policy}).encode(), organisation=True))
    for leaf, wanted in ((OPAQUE, opaque), (HIDDEN, "BODY_UNSEEN")):
        parameters: Any = {"text": leaf, "list": [leaf]}
        verdict = decide({"user:u": document}, Subject(user="u", principal="u"), "tool:a", parameters)
        assert verdict.reason == wanted


@pytest.mark.parametrize(
    "rule", [{"sum": "text", "max": 5, "per": "user"}, {"after": {"resource": "tool:a", "same": [["text", "n"]]}}]
)
def test_a_sequence_rule_that_looks_at_it_denies(rule):
    """A sum, and a text that must be the same as before."""
    assert judged(OPAQUE, sequence=[{"id": "r", "when": "**", **rule}])[:2] == ("denied", "BODY_UNSEEN")


def test_a_delegation_that_lists_tickets_is_not_met_by_one():
    """A scope is judged before any policy, and compares too."""
    scope = parse_scope(json.dumps({"resources": ["**"], "conditions": {"ticket_ids": ["t"]}}).encode())
    hop = Hop(delegator="u", delegate="v", scope=scope, expires_at=NOW + 1)
    parameters: Any = {"ticket_id": OPAQUE}
    subjects = (Subject(user="u", principal="u"), Subject(user="v", principal="v"))
    verdict = decide({}, subjects, "tool:a", parameters, Circumstances(now=NOW, hops=(hop,)))
    assert verdict.reason == "BODY_UNSEEN"


def test_a_list_of_parameters_names_it_as_any_other():
    """`allowed_parameters` asks for names alone."""
    listed = {"constraints": {"allowed_parameters": {"**": ["text", "n"]}}}
    assert judged(HIDDEN, **listed)[0] == "allowed"
    assert judged(HIDDEN, constraints={"allowed_parameters": {"**": ["n"]}})[1] == "PARAM_UNLISTED"
