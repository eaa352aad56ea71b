"""What comes with a call is judged alone: it cannot ask what others' policies say (ADR 0016)."""

import json

import pytest

from tests.builders import invocation
from tests.workflow_world import CHECK, Workflow

HIDDEN = {
    "policy_id": "user:ceo@example.com",
    "resources": ["tool:desk/check"],
    "constraints": {"parameters": {"**": {"code": ["s3cret-project"]}}},
}


@pytest.fixture
def work() -> Workflow:
    """Return a tenant where a policy of somebody else's is in force."""
    world = Workflow.opened("inline")
    world.publish_policy(HIDDEN)
    return world


def told(work: Workflow, parameters: dict[str, str], intent: dict[str, object]) -> tuple[str, str]:
    """Return what becomes of a call with an intent."""
    return work.send(invocation(CHECK, parameters, intents=(json.dumps(intent),)), work.bot).says


def test_an_intent_that_extends_says_nothing_of_any_policy(work: Workflow) -> None:
    """The same answer whether the parent exists, whatever it says, and whatever the call holds."""
    parents = ["user:ceo@example.com", "user:nobody@example.com", "agent:bot", "org:base", "intent:", ""]
    codes = ["x", "s3cret-project"]

    assert {told(work, {"code": code}, {"extends": parent}) for parent in parents for code in codes} == {
        ("denied", "POLICY_BROKEN")
    }


def test_an_intent_without_a_parent_narrows_as_before(work: Workflow) -> None:
    """Its own words are all it has."""
    assert told(work, {"code": "x"}, {"resources": [CHECK]}) == ("allowed", "")
    assert told(work, {"code": "x"}, {"resources": ["tool:other/**"]}) == ("denied", "RESOURCE_NOT_ALLOWED")
