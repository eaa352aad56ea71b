"""The question `callable`: every operation that a call could be allowed is told, and none that policies never allow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import limits
from tests.engines import NEWEST
from tests.workflow_world import PAY, Workflow, reply

NAMES = ["tool:bank/pay", "tool:bank/drop", "tool:mail/send", "tool:bank/PAY", "mcp:bank/resources/read"]
PATTERNS = st.sampled_from(["tool:bank/*", "tool:bank/pay", "tool:**", "mcp:bank/**", "tool:mail/send", "tool:*/drop"])


def asked(world: Workflow, names: list[Any]) -> list[str]:
    return reply(world.ask(world.bot, "callable", names))["callable"]


def test_the_names_of_denied_and_ungranted_operations_are_not_told() -> None:
    world = Workflow.opened("callable", **NEWEST)
    world.publish_policy(
        {"policy_id": "agent:bot", "resources": ["tool:bank/*"], "denied_resources": ["tool:bank/drop"]}
    )
    assert asked(world, NAMES) == ["tool:bank/pay", "tool:bank/PAY"]
    world.publish_policy({"policy_id": "tool:bank/pay", "resources": ["**"], "constraints": {"roles": ["boss"]}})
    assert PAY not in asked(world, NAMES)
    assert asked(world, ["../x", "", "tool:bank/\u200b"]) == []


@pytest.mark.parametrize(
    "argument", [None, "tool:bank/pay", {"a": 1}, [1], [None], ["x"] * (limits.QUERY_NAMES_MAX + 1)]
)
def test_another_argument_is_refused(argument: object) -> None:
    world = Workflow.opened("callable badly", **NEWEST)
    world.is_refused("QUERY_INVALID", lambda: world.ask(world.bot, "callable", argument))


def test_engine_1_does_not_know_the_question_and_no_registered_key_has_it() -> None:
    world = Workflow.opened("callable before")
    world.is_refused("QUERY_INVALID", lambda: world.ask(world.bot, "callable", NAMES))
    world = Workflow.opened("callable by an admin", **NEWEST)
    world.is_refused("QUERY_INVALID", lambda: world.ask(world.admin, "callable", NAMES))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(PATTERNS, max_size=3),
    st.lists(PATTERNS, max_size=2),
    st.lists(PATTERNS, max_size=2),
    st.booleans(),
)
def test_an_allowed_call_is_always_callable(
    granted: list[str], denied: list[str], owned: list[str], is_constrained: bool
) -> None:
    """The list may hold more than a caller gets, for parameters decide too; it never hides what it would get."""
    world = Workflow.opened("callable at random", **NEWEST)
    document: dict[str, Any] = {"policy_id": "agent:bot", "resources": granted, "denied_resources": denied}
    if is_constrained:
        document["constraints"] = {"parameters": {"tool:bank/pay": {"to": ["bob"]}}}
    world.publish_policy(document)
    if owned:
        world.publish_policy({"policy_id": "app:bank", "resources": owned})
    told = set(asked(world, [PAY]))
    for parameters in ({}, {"to": "bob"}, {"to": "eve"}):
        if world.call(world.bot, PAY, parameters).decisions[0].outcome == "allowed":
            assert told == {PAY}
