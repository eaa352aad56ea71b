"""Decisions: layers, roles, grants, parameters, and what an attacker would try."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.calls.parameters import parse_parameters
from processors.policy.compiled import CompiledPolicy, compile_policy
from processors.policy.decide import decide, index_policies
from processors.policy.documents import parse_policy
from processors.policy.resolve import Subject
from schemas.words import Outcome

EVE = Subject(user="eve@x.org")
BOB = Subject(user="bob@fintech.com", company="FinTech Corp", roles=("guest", "owner"))


def in_force(*documents: dict[str, object]) -> dict[str, CompiledPolicy]:
    parsed = [parse_policy(json.dumps(document).encode(), organisation=True) for document in documents]
    return {document.policy_id: compile_policy(document) for document in parsed}


def grant(policy_id: str, *resources: str, **more: object) -> dict[str, object]:
    return {"policy_id": policy_id, "resources": list(resources), **more}


def constrained(policy_id: str, opkey: str, **specs: object) -> dict[str, object]:
    return {"policy_id": policy_id, "constraints": {"parameters": {opkey: specs}}}


def reason(policies, subject=EVE, resource="tool:x", text="{}") -> str:
    verdict = decide(policies, subject, resource, parse_parameters(text).value)
    assert verdict == decide(index_policies(policies), subject, resource, parse_parameters(text).value)
    assert (verdict.outcome == "allowed") is (verdict.reason == "")
    return verdict.reason or "ALLOWED"


ANY = in_force(grant("user:eve@x.org", "**"))
ROLES = in_force(
    grant("role:guest", "tool:shop/read*", denied_resources=["tool:shop/read_secret"]),
    {**grant("role:owner", "tool:shop/**"), "constraints": {"parameters": {"tool:shop/buy": {"to": ["eu"]}}}},
)


# ---- grants


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([], "NO_POLICY"),
        ([{"policy_id": "user:eve@x.org"}], "NO_POLICY"),
        ([grant("user:eve@x.org")], "NO_POLICY"),
        ([grant("user:eve@x.org"), grant("tool:x", "tool:x")], "ALLOWED"),
        ([grant("user:other@x.org", "**")], "NO_POLICY"),
        ([grant("user:eve@x.org", "tool:y")], "RESOURCE_NOT_ALLOWED"),
        ([grant("user:eve@x.org", "tool:y"), grant("tool:x", "**")], "RESOURCE_NOT_ALLOWED"),
        ([grant("org:base", "**")], "NO_POLICY"),
        ([grant("filter:clearance:standard", "**")], "NO_POLICY"),
        ([grant("org:base", "data:**"), grant("user:eve@x.org", "**")], "RESOURCE_NOT_ALLOWED"),
        ([grant("user:eve@x.org", "**"), {"policy_id": "org:base", "denied_resources": ["*x"]}], "RESOURCE_DENIED"),
        ([grant("user:eve@x.org", "**", denied_resources=["tool:x"])], "RESOURCE_DENIED"),
    ],
)
def test_a_call_needs_one_layer_that_may_grant_and_does(documents, expected):
    """Nothing, an empty list, or a layer that only restricts is no permission; every list must match."""
    assert reason(in_force(*documents)) == expected


def test_every_layer_must_agree():
    """A user's grant does not reach beyond the team's, nor a role's beyond the company's restriction."""
    subject = Subject(user="u", team="Red Team", company="C", roles=("r",))
    policies = in_force(
        grant("role:r", "tool:*"),
        grant("team:Red Team", "tool:a/**", "tool:b"),
        {"policy_id": "restrict:team:red-team", "denied_resources": ["*/secret"]},
        grant("company:C", "tool:*", "data:*"),
    )

    assert reason(policies, subject, "tool:a/x") == "ALLOWED"
    assert reason(policies, subject, "tool:c") == "RESOURCE_NOT_ALLOWED"
    assert reason(policies, subject, "data:x") == "RESOURCE_NOT_ALLOWED"
    assert reason(policies, subject, "tool:a/secret") == "RESOURCE_DENIED"


# ---- roles


def test_roles_are_alternatives():
    """What one held role permits is permitted, whatever another role leaves out or would constrain."""
    assert reason(ROLES, BOB, "tool:shop/read_x") == "ALLOWED"
    assert reason(ROLES, BOB, "tool:shop/buy", '{"to":"eu"}') == "ALLOWED"
    assert reason(ROLES, BOB, "tool:shop/buy", '{"to":"us"}') == "PARAM_NOT_ALLOWED"
    assert reason(ROLES, BOB, "tool:other") == "RESOURCE_NOT_ALLOWED"


def test_a_denial_of_any_held_role_counts():
    """The owner may read everything, but the holder is a guest too, and guests are denied."""
    owner = Subject(roles=("owner",))

    assert reason(ROLES, owner, "tool:shop/read_secret") == "ALLOWED"
    assert reason(ROLES, BOB, "tool:shop/read_secret") == "RESOURCE_DENIED"


def test_a_role_policy_that_names_no_resources_frees_nobody():
    """It is no alternative: the other role's list still has to match, and its own constraints apply."""
    policies = in_force(grant("role:a", "tool:x"), constrained("role:b", "**", n=[1]))
    subject = Subject(roles=("a", "b"))

    assert reason(policies, subject, "tool:y") == "RESOURCE_NOT_ALLOWED"
    assert reason(policies, subject, "tool:x", '{"n":2}') == "PARAM_NOT_ALLOWED"
    assert reason(policies, subject, "tool:x", '{"n":1}') == "ALLOWED"
    assert reason(in_force({"policy_id": "role:b"}), subject, "tool:x") == "NO_POLICY"


def test_the_two_policies_of_a_role_are_one_branch():
    """`role:r` and `base:role:r` must both agree, while another role stands beside them."""
    policies = in_force(grant("role:r", "tool:x", "tool:y"), grant("base:role:r", "tool:x"), grant("role:s", "tool:z"))
    subject = Subject(roles=("r", "s"))

    assert reason(policies, subject, "tool:x") == "ALLOWED"
    assert reason(policies, subject, "tool:y") == "RESOURCE_NOT_ALLOWED"
    assert reason(policies, subject, "tool:z") == "ALLOWED"


def test_of_several_refused_branches_the_furthest_is_told_and_then_the_smallest():
    """The reason does not depend on the order in which a token lists the roles."""
    policies = in_force(
        grant("role:a", "tool:other"),
        {**grant("role:b", "tool:x"), "constraints": {"parameters": {"tool:*": {"n": [1]}}}},
        {**grant("role:c", "tool:x"), "constraints": {"parameters": {"tool:*": {"n": {"required": True}}}}},
    )

    for roles in (("a", "b", "c"), ("c", "b", "a")):
        verdict = decide(policies, Subject(roles=roles), "tool:x", {"n": None})
        assert verdict.reason == "PARAM_TYPE"
        assert verdict.deciding == policies["role:b"].digest


# ---- resolution


def test_a_subject_without_company_is_denied_once_companies_have_policies():
    """A token that merely lacks the claim must not escape the company's limits; a service has no company."""
    for company in ({"policy_id": "restrict:org:c"}, {"policy_id": "company:C"}):
        policies = in_force(grant("user:eve@x.org", "**"), grant("service:s", "**"), company)

        assert reason(policies) == "LAYER_MISSING"
        assert reason(policies, Subject(user="eve@x.org", company="")) == "LAYER_MISSING"
        assert reason(policies, Subject(user="eve@x.org", company="Other")) == "ALLOWED"
        assert reason(policies, Subject(service="s", type="service")) == "ALLOWED"
        assert reason(policies, Subject(service="s", type="agent")) == "LAYER_MISSING"


# ---- parameters

CONSTRAINED = in_force(
    grant("user:eve@x.org", "**"),
    constrained(
        "filter:clearance:standard",
        "tool:p/*",
        e=["a", 5, None, True, {"k": [1]}, "caf\u00e9"],
        b=[False],
        must={"required": True},
        both={"required": True, "allowed_values": ["x", None]},
        é=["ok"],
        K=["ok"],
    ),
)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ("", "ALLOWED"),
        ('"e":"a"', "ALLOWED"),
        ('"e":5', "ALLOWED"),
        ('"e":5.0', "ALLOWED"),
        ('"e":null', "ALLOWED"),
        ('"e":true', "ALLOWED"),
        ('"e":{"k":[1.0]}', "ALLOWED"),
        ('"e":"cafe\\u0301"', "ALLOWED"),
        ('"e":"5"', "PARAM_NOT_ALLOWED"),
        ('"e":"A"', "PARAM_NOT_ALLOWED"),
        ('"e":"a "', "PARAM_NOT_ALLOWED"),
        ('"e":"\\uff41"', "PARAM_NOT_ALLOWED"),
        ('"e":1', "PARAM_NOT_ALLOWED"),
        ('"e":false', "PARAM_NOT_ALLOWED"),
        ('"e":["a"]', "PARAM_NOT_ALLOWED"),
        ('"e":{"k":[true]}', "PARAM_NOT_ALLOWED"),
        ('"e":{"k":[1],"l":2}', "PARAM_NOT_ALLOWED"),
        ('"e":1e300', "PARAM_NOT_ALLOWED"),
        ('"b":false', "ALLOWED"),
        ('"b":0', "PARAM_NOT_ALLOWED"),
        ('"b":""', "PARAM_NOT_ALLOWED"),
        ('"b":null', "PARAM_TYPE"),
        ('"free":null', "ALLOWED"),
        ('"\\u00e9":"no"', "PARAM_NOT_ALLOWED"),
        ('"e\\u0301":"no"', "PARAM_NOT_ALLOWED"),
        ('"e\\u0301":"ok"', "ALLOWED"),
        ('"\\u212a":"no"', "PARAM_NOT_ALLOWED"),
    ],
)
def test_a_constrained_parameter_is_a_literal_of_the_list(members, expected):
    """Equal as JSON, text in NFC, nothing coerced; null passes only where the list says so; absent passes."""
    text = '{"must":1,"both":"x"' + ("," + members if members else "") + "}"

    assert reason(CONSTRAINED, resource="tool:p/op", text=text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "PARAM_REQUIRED"),
        ('{"must":null,"both":"x"}', "PARAM_REQUIRED"),
        ('{"must":false,"both":"x"}', "ALLOWED"),
        ('{"must":1}', "PARAM_REQUIRED"),
        ('{"must":1,"both":null}', "PARAM_REQUIRED"),
        ('{"must":1,"both":"y"}', "PARAM_NOT_ALLOWED"),
    ],
)
def test_a_required_parameter_is_present_and_not_null(text, expected):
    """`required` is judged before the list, also where the list holds null."""
    assert reason(CONSTRAINED, resource="tool:p/op", text=text) == expected


def test_all_operation_keys_that_match_apply_and_read_widely():
    """No key is more specific than another, case does not matter, and a star crosses slashes."""
    keys = {"TOOL:P/*": {"a": [1]}, "**": {"b": [1]}, "tool:q": {"c": [1]}}
    policies = in_force(grant("user:eve@x.org", "**"), {"policy_id": "org:o", "constraints": {"parameters": keys}})

    assert reason(policies, resource="tool:p/x/y", text='{"a":1,"b":1,"c":2}') == "ALLOWED"
    assert reason(policies, resource="tool:p/x/y", text='{"a":2}') == "PARAM_NOT_ALLOWED"
    assert reason(policies, resource="data:z", text='{"b":2}') == "PARAM_NOT_ALLOWED"
    assert reason(policies, resource="tool:q/", text='{"c":2}') == "PARAM_NOT_ALLOWED"


def test_a_value_that_json_cannot_hold_is_not_allowed():
    """A verifier that stamps nonsense gets a denial, not a crash."""
    for value in (float("nan"), 2**60, object(), ("a",)):
        assert decide(CONSTRAINED, EVE, "tool:p/op", {"must": 1, "e": value}).reason == "PARAM_REQUIRED"
        verdict = decide(CONSTRAINED, EVE, "tool:p/op", {"must": 1, "both": "x", "e": value})
        assert verdict.reason == "PARAM_NOT_ALLOWED"


# ---- verdicts


def test_a_verdict_names_the_documents_and_the_place_but_no_value():
    """Digests are sorted and complete; the detail is a pointer into the deciding document."""
    verdict = decide(CONSTRAINED, EVE, "tool:p/op", {"must": 1, "both": "hunter2"})

    assert verdict.outcome is Outcome.DENIED
    assert verdict.detail == "/constraints/parameters/tool:p~1*/both"
    assert verdict.deciding == CONSTRAINED["filter:clearance:standard"].digest
    assert verdict.policies == tuple(sorted(policy.digest for policy in CONSTRAINED.values()))
    assert "hunter2" not in repr(verdict)
    with pytest.raises(AttributeError):
        verdict.outcome = Outcome.ALLOWED


def test_a_denied_resource_points_at_its_pattern():
    """The pattern that denied can be found in the document."""
    policies = in_force({"policy_id": "user:eve@x.org", "denied_resources": ["data:*", "*x"]})
    verdict = decide(policies, EVE, "tool:x", {})

    assert (verdict.reason, verdict.detail) == ("RESOURCE_DENIED", "/denied_resources/1")


def test_a_new_version_of_a_policy_takes_effect_at_once():
    """What was remembered for the former version does not answer for the new one."""
    policies = dict(ANY)
    assert reason(policies) == "ALLOWED"

    policies.update(in_force(grant("user:eve@x.org", "data:*")))
    assert reason(policies) == "RESOURCE_NOT_ALLOWED"
    del policies["user:eve@x.org"]
    assert reason(policies) == "NO_POLICY"


# ---- attacks


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("tool:a/../admin/x", "RESOURCE_INVALID"),
        ("resource:file:///data/%2e%2e/etc", "RESOURCE_INVALID"),
        ("tool:a\u200bb", "RESOURCE_INVALID"),
        ("tool:a//b", "RESOURCE_INVALID"),
        ("tool:a\ud800", "RESOURCE_INVALID"),
        ("tool:*", "RESOURCE_INVALID"),
        ("**", "RESOURCE_INVALID"),
        ("", "RESOURCE_INVALID"),
        ("@acme/tool:x", "RESOURCE_NOT_ALLOWED"),
        ("tool:x", "ALLOWED"),
    ],
)
def test_everything_is_not_everything(resource, expected):
    """Even under `**` a name with two readings is refused, and a foreign tenant's resource is not granted."""
    assert reason(ANY, resource=resource) == expected


@pytest.mark.parametrize(
    "resource",
    [
        "file:/etc/passwd",
        "file:/etc/PASSWD",
        "file:/etc/p%61sswd",
        "file:/etc/p%2561sswd",
        "file:/etc/passwd/",
        "file:/etc/\uff50asswd",
        "file:/etc/pa\u017fswd",
        "file:/etc/%EF%BD%90asswd",
        "@acme/file:/etc/passwd",
        "tool:x.PEM",
        "tool:a/b.%70em",
        "tool:GetCredentials",
        "tool:a/get_credential%73",
        "tool:get-\u24d2redential",
    ],
)
def test_no_spelling_of_a_denied_name_passes(resource):
    """Case, percent-encoding, compatibility forms, trailing slashes and tenants do not lead around a denial."""
    denied = ["file:/etc/passwd", "*.pem", "*credential*"]
    policies = in_force(grant("user:eve@x.org", "**", "@acme/**", denied_resources=denied))

    assert reason(policies, resource=resource) == "RESOURCE_DENIED"


@pytest.mark.parametrize(
    "resource", ["tool:Pay", "tool:\uff50ay", "tool:p%61y", "tool:pay/", "tool:pay/x", "tool:p\u0430y"]
)
def test_no_other_spelling_of_a_granted_name_is_granted(resource):
    """A grant is read to the letter."""
    assert reason(in_force(grant("user:eve@x.org", "tool:pay")), resource=resource) == "RESOURCE_NOT_ALLOWED"


def test_an_attribute_cannot_speak_for_another_layer():
    """A user who is called like a role's or resource's policy gets that policy neither as a role nor as a resource."""
    policies = in_force(grant("role:admin", "**"), grant("tool:x", "tool:x"), grant("base:role:admin", "**"))

    for value in ("role:admin", "admin", "../role:admin", "x\\role:admin"):
        assert reason(policies, Subject(user=value, team=value, agent=value), "tool:y") == "NO_POLICY"
    assert reason(policies, Subject(roles=("Admin", "base:role:admin")), "tool:y") == "NO_POLICY"


def test_a_resource_cannot_pick_the_policy_of_a_layer():
    """Naming the resource like a user's or role's policy does not apply that policy to the call."""
    policies = in_force(grant("user:admin", "**"), grant("role:admin", "**"), grant("app:role", "**"))

    for resource in ("user:admin", "role:admin", "role:admin/x", "user:admin/x"):
        assert reason(policies, resource=resource) == "NO_POLICY"


def test_attributes_are_compared_in_nfc_and_by_case():
    """The same name composed differently is the same subject; another case is another."""
    policies = in_force(grant("user:jos\u00e9", "**"))

    assert reason(policies, Subject(user="jose\u0301")) == "ALLOWED"
    assert reason(policies, Subject(user="Jos\u00e9")) == "NO_POLICY"


# ---- whatever comes


@settings(deadline=None)
@given(st.text(max_size=12), st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3)))
def test_no_call_makes_the_decision_raise(resource, call):
    """Any name and any parameters get a verdict."""
    assert decide(CONSTRAINED, EVE, resource, call).outcome in Outcome
