"""Exceptions from enforcement as an administrator sets them: their form, their bounds, and what is told of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schemas.events.enforcement import EnforcementSet
from tests.enforcing_world import ANN, set_on
from tests.processors.test_observe import BOUND, worldwith
from tests.workflow_world import PAY, Workflow, reply


@pytest.mark.parametrize(
    ("kind", "scope", "name", "more"),
    [
        ("watch", "tenant", "", {}),
        ("observe", "principal", "bot", {}),
        ("observe", "tenant", "acme", {}),
        ("observe", "resource", "", {}),
        ("observe", "resource", "x" * 2000, {}),
        ("observe", "resource", "tool:bank/\n*", {}),
        ("observe", "tenant", "", {"reason": ""}),
        ("observe", "tenant", "", {"reason": "r" * 1025}),
        ("observe", "tenant", "", {"lasts_ms": 60_000}),
        ("observe", "tenant", "", {"person": ANN}),
        ("observe", "tenant", "", {"on": False}),
        ("freeze", "policy", "agent:bot", {}),
        ("freeze", "principal", "bot\n", {}),
        ("break-glass", "tenant", "", {"person": ANN, "lasts_ms": 60_000}),
        ("break-glass", "resource", "tool:bank/*", {"person": ANN, "lasts_ms": 60_000}),
        ("break-glass", "resource", PAY, {"person": ANN}),
        ("break-glass", "resource", PAY, {"person": ANN, "lasts_ms": 59_999}),
        ("break-glass", "resource", PAY, {"person": ANN, "lasts_ms": 3_600_001}),
        ("break-glass", "resource", PAY, {"lasts_ms": 60_000}),
        ("break-glass", "resource", "tool:bank/../pay", {"person": ANN, "lasts_ms": 60_000}),
    ],
)
def test_a_faulty_exception_is_refused_by_name(kind: str, scope: str, name: str, more: dict[str, Any]) -> None:
    assert worldwith(**BOUND).refused_setting(kind, scope, name, **more).startswith("ENFORCEMENT_FORM ")


@pytest.mark.parametrize(("kind", "most"), [("observe", 32), ("freeze", 256), ("break-glass", 8)])
def test_exceptions_are_bounded(kind: str, most: int) -> None:
    world = worldwith(**BOUND)
    more = {"person": ANN, "lasts_ms": 60_000} if kind == "break-glass" else {}
    for at in range(most):
        world.sets(kind, "resource", f"tool:bank/{at}", **more)
    assert world.refused_setting(kind, "resource", "tool:bank/one-more", **more).startswith("LIMIT_EXCEEDED ")
    world.sets(kind, "resource", "tool:bank/0", **more)  # replaced
    world.sets(kind, "resource", "tool:bank/0", on=False, **({"person": ANN} if more else {}))
    world.sets(kind, "resource", "tool:bank/one-more", **more)


def test_an_administrator_is_told_what_stands_and_nobody_else() -> None:
    world = worldwith(**BOUND)
    leaf = world.sets("observe", "policy", "agent:bot").entry.event
    told = reply(world.ask(world.admin, "enforcement"))
    assert told == {
        "enforcement": [
            {
                "kind": "observe", "scope": "policy", "name": "agent:bot", "person": "", "since": world.now,
                "until": None, "event": leaf.hex(), "by": "admin", "reason": "a drill",
            }
        ]
    }  # fmt: skip
    assert world.ask(world.bot, "enforcement").says == ("refused", "QUERY_INVALID")


def test_an_ended_exception_leaves_no_row() -> None:
    world = worldwith(**BOUND)
    before = world.rows(without=["sequences", "work"])
    for scope, name in (("tenant", ""), ("policy", "agent:bot"), ("resource", "tool:**")):
        world.sets("observe", scope, name)
        world.sets("observe", scope, name, on=False)
    assert world.rows(without=["sequences", "work"]) == before


def test_the_event_has_no_field_that_is_not_judged() -> None:
    assert set(EnforcementSet.__dataclass_fields__) == {
        "kind", "scope", "name", "on", "person", "lasts_ms", "reason",
    }  # fmt: skip
    assert replace(set_on("observe"), reason="x").reason == "x"


def test_the_workflow_world_of_engine_1_decides_without_the_table() -> None:
    assert not Workflow.opened("no-exceptions").tables.enforcement.rows
