"""Who makes the fold work for nothing pays for it and waits; nobody else does."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from processors.calls import work
from processors.policy.limits import WORK_UNITS_MAX
from schemas import limits
from schemas.events.workflow import ContextWritten, DelegationGranted
from schemas.rows import WorkRow
from tests.builders import Folded, invocation
from tests.workflow_world import CHECK, PAY, Workflow

COSTLY = json.dumps({"constraints": {"denied_parameters": {"**": {"*": [f"*{n}?x*" for n in range(400)]}}}})
LEAVES = {"a": ["y" * 20] * 4000}


@pytest.fixture
def world() -> Workflow:
    return Workflow.opened("work")


def costly(world: Workflow, by: Any = None, parameters: Any = None) -> Folded:
    """Send a call that meets the work limit, or what other parameters come to."""
    return world.send(
        invocation(CHECK, LEAVES if parameters is None else parameters, intents=(COSTLY,)), by or world.bot
    )


def bucket(world: Workflow) -> int:
    """Return how many units stand against the agent."""
    row = world.tables.work.get(b"bot")
    return 0 if row is None else max(0, row.arrival - world.now * 1000)


def test_a_call_that_meets_the_work_limit_pays_although_it_is_denied(world: Workflow) -> None:
    """What it would have changed is undone; what it has cost is not."""
    before = world.rows(without=("sequences", "work"))
    folded = costly(world)

    assert folded.says == ("denied", "LIMIT_EXCEEDED")
    assert world.rows(without=("sequences", "work")) == before
    assert bucket(world) == WORK_UNITS_MAX - limits.WORK_FREE_UNITS


def test_an_empty_bucket_denies_before_anything_is_judged_and_says_how_long(world: Workflow) -> None:
    """Every call of this principal, in any of its sessions, until the bucket holds something again."""
    other, second = world.open_session(world.register("agent", "other")), world.open_session(world.agent)
    world.publish_policy({"policy_id": "agent:other", "resources": ["**"]})
    costly(world)
    costly(world)
    assert costly(world).says == ("denied", "LIMIT_EXCEEDED")
    spent = bucket(world)
    assert spent > limits.WORK_BUCKET_UNITS

    for by in (world.bot, second):
        folded = world.call(by, PAY, {"amount": 1})
        (result,) = folded.results
        assert folded.says == ("denied", "LIMIT_EXCEEDED")
        assert folded.decisions[0].detail.endswith(result.detail)
        wait = int(re.fullmatch(r"retry_after_ms=(\d+)", result.detail)[1])  # type: ignore[index]
        assert wait == -(-(spent - limits.WORK_BUCKET_UNITS) // 1000)
    write = ContextWritten(scope="session", key="k", value="1", ttl_ms=None, expected=None)
    refused = world.send(write, world.bot)
    assert (refused.says, refused.results[0].detail) == (("refused", "LIMIT_EXCEEDED"), f"retry_after_ms={wait}")
    assert bucket(world) == spent  # what is not judged costs nothing
    assert world.call(other, PAY, {"amount": 1}).says == ("allowed", "")
    assert world.send(write, other).says == ("accepted", "")

    world.advance(wait)
    assert world.call(world.bot, PAY, {"amount": 1}).says == ("allowed", "")


def test_a_principal_spends_a_twentieth_of_a_core_at_most(world: Workflow) -> None:
    """However often it tries: a unit each microsecond, and what is free with each call."""
    judged, begin = 0, world.now
    for _ in range(300):
        before = bucket(world)
        costly(world)
        judged += bucket(world) > before
        world.advance(1000)
    elapsed = world.now - begin

    assert judged <= limits.WORK_BUCKET_UNITS // WORK_UNITS_MAX + 1 + elapsed * 1000 // (WORK_UNITS_MAX * 9 // 10)


def test_what_published_policies_alone_make_it_cost_is_no_callers_to_pay(world: Workflow) -> None:
    """A tenant with long rules and large parameters is not slowed down; a denied call of the same pays."""
    rules = {"**": {"*": [f"*{n}?x*" for n in range(400)]}}
    world.publish_policy({"policy_id": "tool:desk/check", "constraints": {"denied_parameters": rules}})
    half = {"a": ["y" * 20] * 30}

    assert world.call(world.bot, CHECK, half).says == ("allowed", "")
    assert bucket(world) == 0
    assert world.call(world.bot, CHECK, {"a": ["1ax", *half["a"]]}).says == ("denied", "PARAM_DENIED")
    assert bucket(world) > limits.WORK_FREE_UNITS


def test_a_call_that_was_allowed_pays_for_what_it_brought(world: Workflow) -> None:
    """Else an intent of its own would be a way to make the fold work without end."""
    assert costly(world, parameters={"a": ["y" * 20] * 30}).says == ("allowed", "")
    assert bucket(world) > limits.WORK_FREE_UNITS
    small = bucket(world)
    assert world.send(invocation(CHECK, {}, intents=('{"resources": ["**"]}',)), world.bot).says == ("allowed", "")
    assert bucket(world) == small


def test_the_row_leaves_when_it_says_nothing_any_more(world: Workflow) -> None:
    """A bucket that is full again is no row; so there are as many as principals that made much work lately."""
    costly(world)
    assert len(world.tables.work) == 1
    world.advance(120_000)
    world.tick()

    assert len(world.tables.work) == 0
    assert work.wait_ms(world.tables, "bot") == 0


def test_the_wait_is_the_time_until_a_call_is_judged_again(world: Workflow) -> None:
    """To the millisecond, and rounded up."""
    arrival = world.tables.now * 1000 + limits.WORK_BUCKET_UNITS

    for more, wait in ((-1, 0), (0, 0), (1, 1), (1000, 1), (1001, 2)):
        world.tables.work.put(b"bot", WorkRow(arrival=arrival + more, until=2**50))
        assert work.wait_ms(world.tables, "bot") == wait


def test_a_question_pays_for_a_long_answer_and_waits_like_a_call(world: Workflow) -> None:
    """A short one is free; one that has much to tell cannot be asked without end."""
    assert world.ask(world.bot, "delegations").says == ("accepted", "")
    assert bucket(world) == 0
    scope = json.dumps({"resources": ["**"], "conditions": {"ticket_ids": [1e-7] * 1024}})
    for _ in range(50):
        granted = DelegationGranted(delegate="desk", scope=scope, expires_at=world.now + 60_000, purpose="")
        assert world.send(granted, world.bot).says == ("accepted", "")
    before = world.tables.now
    asked = [world.ask(world.bot, "delegations").says for _ in range(6)]

    assert world.tables.now == before
    assert asked[0] == ("accepted", "")
    assert asked[-1] == ("refused", "LIMIT_EXCEEDED")
    assert world.call(world.bot, PAY, {"amount": 1}).says == ("denied", "LIMIT_EXCEEDED")


def test_a_read_of_the_vault_pays_for_a_long_value_and_waits_like_a_question(world: Workflow) -> None:
    """A read of a hundred bytes is answered with two hundred thousand: nobody fills the results' topic for nothing."""
    assert world.put(world.bot, "short", "x" * 1000).says == ("accepted", "")
    assert world.get(world.bot, "short").says == ("accepted", "")
    assert bucket(world) == 0
    assert world.put(world.bot, "long", "x" * 65_000).says == ("accepted", "")
    told = [world.get(world.bot, "long") for _ in range(80)]

    assert told[0].says == ("accepted", "")
    assert told[-1].says == ("refused", "LIMIT_EXCEEDED")
    assert told[-1].results[0].detail.startswith("retry_after_ms=")
    assert world.get(world.person("ada"), "long").says == ("accepted", "")
