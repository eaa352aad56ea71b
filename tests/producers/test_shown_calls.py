"""A monitor that lies to whoever approves: what is shown is what the caller signed, or nothing is signed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from producers.client import approvals
from producers.client.approvals import CallForgedError, ParametersChangedError, ScopeError
from producers.kafka.connection import Connection
from producers.kafka.outcomes import MalformedReplyError
from tests.builders import Actor, Folded, invocation, keys_of
from tests.producers.asking import Asking
from tests.producers.forging import TwinRegistry
from tests.workflow_world import PAY, Workflow, reply
from tests.world import HOUR_MS

Told = dict[str, Any]
KEY = "agreed"
HARMLESS = "tool:desk/check"


@dataclass
class Scene:
    """A call that waits for carol, and how the log tells her of it."""

    world: Workflow
    carol: Actor
    asked: Folded

    @property
    def request(self) -> str:
        return self.asked.entry.event.hex()

    def desk(self, lie: Callable[[Told], Told] = lambda told: told) -> Connection:
        return Asking(self.world, self.carol, answer=lambda _, told: lie(told), registry=TwinRegistry(self))

    def told(self, request: str) -> Told:
        found: Told = reply(self.world.ask(self.carol, "invocation", request))
        return found


def staged(**meta: Any) -> Scene:
    world = Workflow.opened("shown")
    said = {"approval_criteria": "role:manager", "timeout": 3600, **meta}
    for resource in (PAY, HARMLESS):
        world.require(KEY, who=f"agent:{resource}", resource=resource, **said)
    attestations = [f"{KEY}::{{tool.id == '{resource}'}}" for resource in (PAY, HARMLESS)]
    constraints = {"attestations": {KEY: said}}
    world.publish_policy(
        {"policy_id": "agent:bot", "resources": ["**"], "attestations": attestations, "constraints": constraints}
    )
    return Scene(world, world.person("carol", "manager"), world.pay(10))


@pytest.fixture
def scene() -> Scene:
    return staged()


def test_a_call_is_shown_as_its_caller_signed_it(scene: Scene) -> None:
    """Resource, parameters and who asks."""
    shown = approvals.show_call(scene.desk(), scene.request)

    assert (shown.resource, shown.principal) == (PAY, "bot")
    assert shown.parameters == {"amount": 10, "to": "bob"}


def test_it_is_shown_when_its_session_has_left() -> None:
    """What was asked for serves later sessions."""
    scene = staged(one_time=False)
    world = scene.world
    world.passes(HOUR_MS // 2)
    [row] = [one for one in world.tables.requests.rows.values() if one.event == scene.asked.entry.event]
    world.tables.sessions.delete(row.session_id)
    world.tables.commit()

    assert approvals.show_call(scene.desk(), scene.request).principal == "bot"


def another_resource(_: Scene, told: Told) -> Told:
    """The same parameters, and something that nobody minds."""
    requests = [{**one, "resource": HARMLESS} for one in told["requests"]]
    return {**told, "resource": HARMLESS, "requests": requests}


def another_call(scene: Scene, told: Told) -> Told:
    """A call that was signed, with the same parameters, in the place of the one that would be approved."""
    other = scene.world.call(scene.world.bot, HARMLESS, {"amount": 10, "to": "bob"})
    return {
        **scene.told(other.entry.event.hex()),
        "event": told["event"],
        "requests": another_resource(scene, told)["requests"],
    }


def by_a_session_of_the_monitors_own(scene: Scene, told: Told) -> Told:
    """It has made the session up, and no registered key."""
    thief = Actor("session", "bot", keys_of("thief"))
    opening = scene.world.session_of(scene.world.agent, keys=thief.keys)
    return {
        **told,
        "call": signed(scene, invocation(HARMLESS, {"amount": 10, "to": "bob"}), thief),
        "opened": signed(scene, opening, Actor("agent", "bot", keys_of("no agent"))),
    }


def without_a_proof(_: Scene, told: Told) -> Told:
    return {**told, "call": {**told["call"], "proof": ""}}


def without_an_opening(_: Scene, told: Told) -> Told:
    return {**told, "opened": None}


def signed(scene: Scene, body: Any, by: Actor) -> dict[str, str]:
    value, headers = scene.world.signed(body, by)
    proof, kid = (held or b"" for _, held in headers)
    return {"event": value.hex(), "proof": proof.hex(), "kid": kid.hex()}


@pytest.mark.parametrize(
    "lie",
    [another_resource, another_call, by_a_session_of_the_monitors_own, without_a_proof, without_an_opening],
)
def test_a_lie_about_a_call_is_neither_shown_nor_signed(scene: Scene, lie: Callable[[Scene, Told], Told]) -> None:
    """Else a yes to something harmless would bring up again what was asked for long ago."""
    [listed] = scene.told(scene.request)["requests"]
    desk = scene.desk(lambda told: lie(scene, told))
    lies = (CallForgedError, ParametersChangedError, MalformedReplyError)

    with pytest.raises(lies):
        approvals.show_call(desk, scene.request)
    with pytest.raises(lies):
        approvals.approve_request(desk, {**listed, "resource": HARMLESS}, "")
    assert scene.world.finals(scene.asked.entry.event) == []


@pytest.mark.parametrize(
    "narrow",
    [
        {"once": True}, {"for_seconds": 61}, {"for_seconds": 0}, {"for_seconds": float("nan")}, {"uses": 3},
        {"uses": 0}, {"once": True, "uses": 1}, {"once": True, "for_seconds": 1},
    ],
)  # fmt: skip
@pytest.mark.parametrize("scopes", [{}, {"scopes": {"for_seconds": 60, "uses": 2}}])
def test_a_scope_that_the_list_does_not_offer_is_not_signed(
    scene: Scene, scopes: dict[str, Any], narrow: dict[str, Any]
) -> None:
    """Wider than its policies, or of a log whose engine knows none."""
    [listed] = scene.told(scene.request)["requests"]
    before = len(scene.world.records)

    with pytest.raises(ScopeError):
        approvals.approve_request(scene.desk(lambda told: told), {**listed, **scopes}, "", **narrow)
    assert len(scene.world.records) == before


def test_who_asks_is_the_callers_own_word(scene: Scene) -> None:
    """A name in the reply counts for nothing."""
    shown = approvals.show_call(scene.desk(lambda told: {**told, "principal": "boss", "parameters": {}}), scene.request)

    assert (shown.principal, shown.parameters) == ("bot", {"amount": 10, "to": "bob"})
