"""What holds for every set of policies, every resource and every call."""

import json

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from processors.calls.parameters import MalformedParametersError, parse_parameters
from processors.policy.compiled import compile_policy
from processors.policy.decide import decide
from processors.policy.documents import parse_policy
from processors.policy.resolve import Subject
from processors.policy.verdict import RANK
from schemas.words import Outcome
from tests.mapl_strategies import LAYERS, NOW, focused, sound, worlds
from tests.processors.policy.test_against_reference import Both

names = st.sampled_from(["tool:a", "tool:A", "tool:a/b", "tool:a/b/c", "data:a", "a", "@acme/tool:a", "tool:%61"])
patterns = st.sampled_from(["tool:a", "tool:*", "tool:a/*", "*", "**", "data:*", "*b*", "@acme/**", "tool:A"])
lists = st.lists(patterns, max_size=3)
specs = st.sampled_from([[1], [1, 2], [None], {"required": True}, {"required": True, "allowed_values": [2]}])
constraints = st.dictionaries(patterns.filter(lambda key: key != "a"), st.dictionaries(st.just("n"), specs), max_size=2)
bodies = st.fixed_dictionaries(
    {"resources": lists, "denied_resources": lists, "constraints": st.fixed_dictionaries({"parameters": constraints})}
)
LAYER_IDS = [
    "org:o", "role:r", "base:role:r", "role:s", "company:C", "restrict:org:c", "bu:B", "team:T", "user:u",
    "agent:g", "filter:clearance:standard", "app:a", "tool:a", "tool:a/b", "data:a", "user:other",
]  # fmt: skip
universes = st.dictionaries(st.sampled_from(LAYER_IDS), bodies, max_size=5)
parameters = st.sampled_from([{}, {"n": 1}, {"n": 2}, {"n": None}, {"n": "1"}])
SUBJECT = Subject(company="C", business_unit="B", team="T", user="u", agent="g", roles=("r", "s"))


def of(universe):
    documents = [{"policy_id": policy_id, **body} for policy_id, body in universe.items()]
    parsed = [parse_policy(json.dumps(document).encode(), organisation=True) for document in documents]
    return {document.policy_id: compile_policy(document) for document in parsed}


@settings(deadline=None)
@given(universes, names, parameters, st.data())
def test_another_denied_resource_never_turns_a_denial_into_a_permission(universe, resource, call, data):
    """Adding an entry to `denied_resources` of any document in force can only deny more."""
    before = decide(of(universe), SUBJECT, resource, call)
    if universe:
        changed = data.draw(st.sampled_from(sorted(universe)))
        body = universe[changed]
        denials = [*body["denied_resources"], data.draw(patterns)]
        universe = {**universe, changed: {**body, "denied_resources": denials}}

    after = decide(of(universe), SUBJECT, resource, call)
    assert before.outcome is Outcome.ALLOWED or after.outcome is Outcome.DENIED


@settings(deadline=None)
@given(universes, st.sampled_from([one for one in LAYER_IDS if "role:" not in one]), bodies, names, parameters)
@example(universe={}, policy_id="user:u", body={"resources": ["**"]}, resource="tool:a", call={})
def test_another_document_permits_more_only_where_none_granted(universe, policy_id, body, resource, call):
    """The theorem of docs/mapl.md 5: outside role branches a further document raises no outcome but NO_POLICY's."""
    if policy_id in universe:
        return
    before = decide(of(universe), SUBJECT, resource, call)
    after = decide(of({**universe, policy_id: body}), SUBJECT, resource, call)

    if before.outcome is Outcome.DENIED and before.reason != "NO_POLICY":
        assert after.outcome is Outcome.DENIED


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(worlds | focused, st.sampled_from([one for one in LAYERS if "role:" not in one]), sound)
def test_no_part_of_the_language_makes_a_further_document_permit_more(world, policy_id, body):
    """The theorem again, with all that a document can say, approvals and delegation too: denied < pending < allowed.

    Beside its own exceptions: a document that others extend in vain mends their chain when it comes.
    """
    documents = world["documents"]
    if policy_id in documents or policy_id in {
        one.get("extends") for one in [*documents.values(), *world["intents"], body]
    }:
        return
    more = {**world, "documents": {**documents, policy_id: body}}
    one = world["calls"][0]
    try:
        call = parse_parameters(json.dumps(one["params"])).value
    except MalformedParametersError:
        return
    before, after = (Both(which).ours(one["resource"], call, NOW) for which in (world, more))

    assert RANK[after.outcome] <= RANK[before.outcome] or before.reason == "NO_POLICY"


@settings(deadline=None)
@given(universes, names, parameters)
def test_an_allowed_call_was_granted_and_denied_by_nobody(universe, resource, call):
    """Whatever is allowed has a document that grants, and would still be allowed if asked again."""
    policies = of(universe)
    verdict = decide(policies, SUBJECT, resource, call)

    assert verdict == decide(policies, SUBJECT, resource, call)
    if verdict.outcome is Outcome.ALLOWED:
        assert any(policies[one].grants and policies[one].resources for one in policies if one != "user:other")
        assert not any("**" in policy.denied_resources for policy in policies.values() if policy.policy_id == "org:o")
