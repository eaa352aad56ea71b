"""The explanation of a call is that of its decision: with a body, within another call, or to a session's tool."""

from __future__ import annotations

import json
from dataclasses import replace

from macaw.policies.asking import Explained, explain_call
from macaw.policies.history import History, Recorded
from processors.calls.bodies import reference_to, written
from schemas.events.attributes import Attributes
from tests.builders import Folded, invocation, tool
from tests.offers_world import LOOK, SHOUT, Instance, Offers, call_of
from tests.workflow_world import declared
from tests.world import World


def test_a_denial_because_of_a_body_is_explained() -> None:
    """Replayed with the body as the rules saw it, not as the object that stands on the wire."""
    world = World.founded()
    bot = world.register("agent", "bot")
    world.register("tool", "files", tools=(replace(tool("tool:files/put"), body_paths=("text",)),))
    denied = {"denied_parameters": {"tool:files/*": {"text": ["*evil*"]}}}
    world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:**"], "constraints": denied})
    body = reference_to(bytes(16), b"good")
    call = invocation("tool:files/put", {"text": written(body)}, bodies=(body,))
    folded = world.send(call, world.open_session(bot))
    assert folded.says == ("denied", "BODY_UNSEEN")

    found = explained(world, folded)
    assert (found.told["outcome"], found.told["reason"], found.deciding) == ("denied", "BODY_UNSEEN", "agent:bot")
    assert [one.reason for one in found.edits] == ["BODY_UNSEEN"]
    assert "inside the call" in found.edits[0].do


def explained(world: World, folded: Folded) -> Explained:
    """Return the explanation of a call, having compared the verdicts that it holds with the log's decision."""
    log = History(world.tenant, world.deployment, world.genesis, map(Recorded, world.records))
    assert folded.entry.event_id is not None
    found = explain_call(log, folded.entry.event_id.hex()).answer
    assert (found.told["outcome"], found.told["reason"]) == (found.verdict.outcome, found.verdict.reason or "ALLOWED")
    assert (found.verdict.outcome, found.verdict.reason or "") == folded.says
    return found


def test_a_call_within_a_call_is_explained_with_everybody_around_it() -> None:
    world = Offers.opened()
    denied = {"denied_resources": ["tool:app/shout"]}
    world.publish_policy({"policy_id": "service:other", "resources": ["tool:**"], **denied})
    app = world.instance(world.app, LOOK, SHOUT)
    outer = call_of(world, world.open_session(world.other), LOOK)
    inner = world.within(outer, app.session, SHOUT)
    assert inner.says[0] == "denied"

    assert explained(world, inner).deciding == "service:other"
    assert explained(world, outer).deciding == ""


def test_a_call_of_a_bare_name_is_explained_with_its_owners_policy() -> None:
    world = Offers.opened()
    owner = world.register("service", "bare", attributes=Attributes(offers=("tool:*",)))
    world.publish_policy({"policy_id": "app:bare", "resources": ["**"], "denied_resources": ["tool:speak"]})
    world.instance(owner, declared("tool:speak"), declared("tool:hear"))
    asked = call_of(world, world.bot, "tool:speak")
    assert asked.says[0] == "denied"

    found = explained(world, asked)
    assert found.deciding == "app:bare"
    assert "app:bare" in json.dumps(found.told["policies"])
    assert [one.policy for one in found.edits] == ["app:bare"]
    assert explained(world, call_of(world, world.bot, "tool:hear")).told["outcome"] == "allowed"


def test_a_body_to_a_persons_tool_is_explained_by_that_sessions_declaration() -> None:
    world = Offers.opened()
    alice = Instance(world, world.person("alice"))
    alice.offer(replace(declared("prompt:x"), body_paths=("text",)))
    body = reference_to(bytes(16), b"good")
    asked = world.send(invocation("prompt:x", {"text": written(body)}, bodies=(body,), target=alice.id), world.bot)
    assert asked.says == ("allowed", "")

    assert explained(world, asked).told["outcome"] == "allowed"
