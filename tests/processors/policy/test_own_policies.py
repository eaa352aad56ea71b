"""A resource's own policies bind every spelling of its name, and grant one (docs/mapl.md 6, ADR 0016)."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.policy.decide import decide, index_policies
from processors.policy.errors import ResourceInvalidError
from processors.policy.index import PolicyIndex
from processors.policy.insight.effective import effective
from processors.policy.insight.explain import explain
from processors.policy.patterns import resource_name, restricts
from processors.policy.resolve import Subject
from tests.processors.policy.written import policies_of
from tests.reference import mapl

BOB = Subject(user="bob", roles=("payer",))
PAYER: dict[str, Any] = {"policy_id": "role:payer", "resources": ["tool:**", "@acme/tool:**", "agent:**"]}


def own(policy_id: str, **more: Any) -> dict[str, Any]:
    """Return a policy that a resource carries, with a bound on amounts."""
    return {"policy_id": policy_id, "constraints": {"parameters": {"**": {"amount": {"max": 100}}}}, **more}


def held(*documents: dict[str, Any]) -> PolicyIndex:
    return index_policies(policies_of([PAYER, *documents]))


def reason(index: PolicyIndex, resource: str, amount: int = 5000) -> str:
    return decide(index, BOB, resource, {"amount": amount}).reason or "ALLOWED"


@pytest.mark.parametrize(
    ("policy_id", "resource"),
    [
        ("tool:bank/wire", "tool:bank/WIRE"),
        ("tool:bank/wire", "tool:bank/w%69re"),
        ("tool:bank/wire", "tool:bank/w%2569re"),
        ("tool:bank/wire", "tool:bank/\uff57ire"),
        ("tool:bank/wire", "tool:bank\\wire"),
        ("tool:bank/wire", "tool:bank/wire/"),
        ("tool:bank/wire", "tool:BANK/wire/now"),
        ("tool:bank", "tool:Bank/wire"),
        ("app:bank", "tool:BANK/wire"),
        ("app:bank", "tool:bank\\wire"),
        ("tool:Bank/Wire", "tool:bank/wire"),
        ("tool:bank/w%69re", "tool:bank/wire"),
        ("tool:stra\u00dfe", "tool:STRASSE"),
        ("res:agent:bot", "agent:BOT"),
        ("@acme/tool:x", "@acme/tool:X"),
    ],
)
def test_a_bound_holds_in_every_spelling(policy_id: str, resource: str) -> None:
    """Of the call's name as of the policy's id; what is within the bound passes."""
    index = held(own(policy_id))
    assert reason(index, resource) == "PARAM_OUT_OF_RANGE"
    assert reason(index, resource, 100) == "ALLOWED"
    assert policy_id in explain(index, BOB, resource, {"amount": 5000})["tried"]["found"]  # type: ignore[index, call-overload, operator]
    assert policy_id in effective(index, BOB, resource)["found"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("policy_id", "resource"),
    [
        ("tool:bank/wire", "tool:bank/wired"),
        ("tool:x", "@acme/tool:X"),  # our namesake says nothing of a foreign tenant's
        ("app:bank", "@acme/tool:BANK/x"),
        ("user:eve", "tool:USER/eve"),
        ("role:agent", "agent:ROLE"),
        ("tool:b\u0430nk", "tool:bank"),  # another letter is another name
    ],
)
def test_another_name_has_another_policy(policy_id: str, resource: str) -> None:
    """Wide is not everything."""
    assert reason(held(own(policy_id)), resource) == "ALLOWED"


def test_nothing_is_granted_in_another_spelling() -> None:
    """The one who asks for `WIRE` needs a grant of that name; what the policy lists must fit its own spelling."""
    alone = index_policies(policies_of([own("tool:bank/wire", resources=["tool:bank/wire"])]))
    assert reason(alone, "tool:bank/wire", 1) == "ALLOWED"
    assert reason(alone, "tool:bank/WIRE", 1) == "NO_POLICY"

    assert reason(held(own("tool:bank", resources=["tool:bank/*"])), "tool:BANK/a", 1) == "ALLOWED"
    assert reason(held(own("tool:bank", resources=["tool:bank/*"])), "tool:BANK/a/b", 1) == "RESOURCE_NOT_ALLOWED"
    assert reason(held(own("tool:bank", resources=["tool:bank/b"])), "tool:BANK/a", 1) == "RESOURCE_NOT_ALLOWED"
    assert reason(held(own("tool:bank", resources=["tool:\uff0a"])), "tool:BANK", 1) == "RESOURCE_NOT_ALLOWED"


def test_what_is_inherited_binds_too() -> None:
    """And a document that is reached both ways is judged as the one that was named."""
    parent = own("skill:capped")
    child = {"policy_id": "tool:bank/wire", "extends": "skill:capped"}
    assert reason(held(parent, child), "tool:bank/WIRE") == "PARAM_OUT_OF_RANGE"

    twice = {"policy_id": "tool:bank/WIRE", "extends": "tool:bank/wire", "resources": ["tool:bank/WIRE"]}
    narrow = own("tool:bank/wire", resources=["tool:bank/wire"])
    assert reason(held(narrow, twice), "tool:bank/WIRE", 1) == "RESOURCE_NOT_ALLOWED"


NAMES = st.lists(
    st.sampled_from(["bank", "BANK", "wire", "w%69re", "\uff57ire", "/", "\\", "%57", "\u017f", "s", "x"]), max_size=5
).map(lambda parts: "tool:" + "".join(parts))


@settings(max_examples=300, deadline=None)
@given(NAMES, NAMES)
def test_what_a_denial_of_the_name_meets_the_policy_of_the_name_binds(policy_id: str, resource: str) -> None:
    """As wide as a denial, and both evaluators say so."""
    try:
        name, known = resource_name(resource), resource_name(policy_id)
    except ResourceInvalidError:
        return
    if "\\" in policy_id or not restricts(known.text, name):
        return
    documents = [PAYER, own(known.text)]
    assert reason(held(own(known.text)), resource) == "PARAM_OUT_OF_RANGE"
    world = mapl.World(
        {one["policy_id"]: json.dumps(one) for one in documents}, {"bob": {"user": "bob", "roles": ["payer"]}}
    )
    theirs = mapl.evaluate(world, mapl.Call(resource, 0, ["bob"], '{"amount": 5000}'))
    assert theirs.reason == "PARAM_OUT_OF_RANGE"
