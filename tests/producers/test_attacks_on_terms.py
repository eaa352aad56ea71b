"""A monitor that lies about the terms of a request: a yes lasts no longer than its giver was told."""

from __future__ import annotations

from typing import Any

import pytest

from producers.client import approvals
from producers.client.approvals import ParametersChangedError
from tests.approver_world import Desk
from tests.builders import Folded
from tests.producers.asking import Asking
from tests.producers.forging import TwinRegistry
from tests.producers.test_shown_calls import Scene
from tests.workflow_world import reply

ONE_TIME = {"one_time": True, "scopes": {"once": True}}


def staged() -> tuple[Desk, Scene, dict[str, Any]]:
    """Return a world, a call that waits on lasting terms, and its request as the log tells it."""
    world = Desk.with_policy("terms")
    world.needs(one_time=False)
    asked: Folded = world.pay()
    scene = Scene(world, world.person("carol", "manager"), asked)
    [listed] = reply(world.ask(scene.carol, "invocation", scene.request))["requests"]
    return world, scene, listed


def asking(scene: Scene, terms: dict[str, Any]) -> Asking:
    """Return a connection whose monitor tells these terms of each request."""

    def lie(_: int, told: Any) -> Any:
        return {**told, "requests": [{**one, **terms} for one in told["requests"]]}

    return Asking(scene.world, scene.carol, answer=lie, registry=TwinRegistry(scene))


@pytest.mark.parametrize("terms", [ONE_TIME, {"scopes": {"once": True}}], ids=["one time", "once only"])
def test_a_yes_to_this_call_alone_serves_no_later_one(terms: dict[str, Any]) -> None:
    """The request lasts by its policies; the monitor says that it does not, and keeps saying so."""
    world, scene, listed = staged()

    assert approvals.approve_request(asking(scene, terms), {**listed, **terms}, "")
    assert world.final(scene.asked).outcome == "allowed"
    assert world.pay().says == ("pending", "APPROVAL_PENDING")


def test_a_yes_that_may_last_does() -> None:
    """An honest monitor, and a person who leaves the scope as it is."""
    world, scene, listed = staged()

    assert approvals.approve_request(asking(scene, {}), listed, "")
    assert world.pay().says == ("allowed", "")


@pytest.mark.parametrize("name", ["one_time", "scopes", "quorum", "criteria"])
def test_terms_that_changed_since_the_list_are_not_signed(name: str) -> None:
    """Between the list and the answer the log tells other terms."""
    world, scene, listed = staged()
    other = {"one_time": True, "scopes": {"once": True, "uses": 7}, "quorum": 9, "criteria": ["role:cleaner"]}

    with pytest.raises(ParametersChangedError, match=name):
        approvals.approve_request(asking(scene, {name: other[name]}), listed, "")
    assert world.finals(scene.asked.entry.event) == []
