"""Policies made from recorded calls let these calls pass, and narrow: shown on random logs."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from macaw.policies.history import History, Recorded
from macaw.policies.simulation import simulate
from macaw.policies.traffic.suggestion import Suggested, suggest
from processors.calls.parameters import parse_parameters
from processors.identity.attributes import subject_of
from processors.policy.call import Circumstances
from processors.policy.compiled import compile_policy
from processors.policy.decide import decide, index_policies
from processors.policy.documents import parse_policy
from schemas.records import InvocationRequested
from tests.builders import Actor, invocation
from tests.enforcing_world import Enforcing
from tests.workflow_world import ANYTHING, CHECK, PAY

REFUND = "tool:bank/refund"
RESOURCES = (PAY, REFUND, CHECK)
TEXTS = ("bob", "eve", "a*", "**", "caf\u00e9", "", "x" * 200, "(a|b)\\", "line\nline", "\U0001f600", "a/../b", "?")
SEEDS = range(12)
OTHERS: tuple[dict[str, Any], ...] = (
    {"policy_id": "app:bank", "constraints": {"parameters": {PAY: {"n": {"max": 40}}}}},
    {"policy_id": "app:bank", "denied_resources": [REFUND]},
    {"policy_id": "app:desk", "constraints": {"denied_parameters": {CHECK: {"*": ["*eve*"]}}}},
    {"policy_id": "app:bank", "constraints": {"rate_limit": 3}},
    {"policy_id": "app:desk", "attestations": ["checked"]},
)


def value(dice: random.Random, depth: int = 0) -> Any:
    """Return a value of a parameter, of any kind."""
    kinds = [
        lambda: dice.randrange(100),
        lambda: dice.random() * 10,
        lambda: dice.choice(TEXTS),
        lambda: dice.random() < 0.5,
        lambda: None,
        lambda: [value(dice, 2) for _ in range(dice.randrange(3))],
        lambda: {name: value(dice, depth + 1) for name in ("k", "l") if dice.random() < 0.7} if depth < 2 else {},
    ]
    return dice.choice(kinds)()


def parameters(dice: random.Random, resource: str) -> dict[str, Any]:
    """Return parameters: two that have always the same kind, and some of any."""
    found: dict[str, Any] = {"n": dice.randrange(60), "to": dice.choice(TEXTS)}
    if dice.random() < 0.7:
        found["o"] = value(dice)
    if resource == PAY:
        found["currency"] = dice.choice(["EUR", "USD"])
    if dice.random() < 0.05:
        found["odd.name"] = 1
    return found


def recorded(seed: int, *others: dict[str, Any], odd: bool = True) -> tuple[Enforcing, list[Actor]]:
    """Return a tenant with random calls of an agent, a person and a tool's program."""
    dice = random.Random(f"suggest {seed}")
    world = Enforcing.now(f"suggest-{seed}")
    world.withdraw_policy("agent:bot")
    if others:
        world.publish_policy(*others)
    world.sets("observe")
    actors = [world.bot, world.person("ann", "clerk"), world.open_session(world.desk)]
    for _ in range(40):
        resource = dice.choice(RESOURCES)
        given = parameters(dice, resource)
        if not odd:
            given.pop("odd.name", None)
        world.call(dice.choice(actors), resource, given)
    return world, actors


def history_of(world: Enforcing) -> History:
    return History(world.tenant, world.deployment, world.genesis, iter([Recorded(one) for one in world.records]))


def suggested(world: Enforcing, **more: Any) -> Suggested:
    return suggest(history_of(world), **more)


def decided(found: Suggested, world: Enforcing, by: Actor, resource: str, given: dict[str, Any]) -> str:
    """Return the outcome of a call by the suggested documents alone."""
    index = index_policies({name: compile_policy(one) for name, one in found.documents.items()})
    row = world.tables.sessions.rows[by.kid]
    subject = subject_of(row.attributes, row.role, row.principal_id)
    return str(decide(index, subject, resource, given, Circumstances(now=world.now)).outcome)


def calls_of(world: Enforcing) -> list[tuple[bytes, InvocationRequested]]:
    events = [world.event_of(folded) for folded in world.log if folded.received.value]
    return [(e.header.session_id, e.body) for e in events if isinstance(e.body, InvocationRequested)]


@pytest.mark.parametrize("seed", SEEDS)
def test_each_recorded_call_passes_under_a_simulation(seed: int) -> None:
    world, _ = recorded(seed)
    found = suggested(world)
    odd = sum(found.left_out.values())
    simulated = simulate(history_of(world), list(found.documents.values()))
    after = [one.after[0] for one in simulated.turned]
    assert sum(found.calls.values()) + odd == simulated.calls == 40
    assert after.count("allowed") == sum(found.calls.values())
    assert {one.before[:2] for one in simulated.flips} == {("denied", "NO_POLICY")}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_call_that_differs_in_resource_or_principal_is_denied(seed: int) -> None:
    world, actors = recorded(seed)
    found = suggested(world)
    stranger = world.open_session(world.register("agent", "stranger"))
    by_kid = {one.kid: one for one in actors}
    for session_id, body in calls_of(world):
        given = parse_parameters(body.parameters).value
        if "odd.name" in given:
            continue
        by = by_kid[session_id]
        assert decided(found, world, by, body.resource, given) == "allowed"
        assert decided(found, world, stranger, body.resource, given) == "denied"
        for other in (f"{body.resource}/x", body.resource.upper(), body.resource[:-1], "tool:bank/other", "tool:bank"):
            assert decided(found, world, by, other, given) == "denied"
        assert decided(found, world, by, body.resource, {**given, "more": 1}) == "denied"
        assert decided(found, world, by, body.resource, {**given, "n": 1000}) == "denied"
        assert decided(found, world, by, body.resource, {**given, "n": "1"}) == "denied"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_suggestion_never_allows_what_other_layers_deny(seed: int) -> None:
    """Made from a tenant that observes, and put beside documents that deny some of its calls."""
    dice = random.Random(seed)
    others = {one["policy_id"]: one for one in dice.sample(OTHERS, 3)}
    world, _ = recorded(seed, *others.values(), odd=False)
    found = suggested(world)
    assert not set(found.documents) & set(others)
    simulated = simulate(history_of(world), list(found.documents.values()))
    assert {one.before[1] for one in simulated.flips} <= {"NO_POLICY"}
    alone = {one.event_id: one for one in simulated.turned}
    # What the other documents deny when everybody is granted everything.
    everybody = [parse_policy(json.dumps({"policy_id": one, **ANYTHING}).encode()) for one in found.documents]
    wide = simulate(history_of(world), everybody)
    denied = {one.event_id for one in wide.turned if one.after[0] == "denied"}
    assert all(alone[one].after[0] == "denied" for one in denied if one in alone)


def test_a_document_in_force_is_left_alone_unless_it_is_to_be_replaced() -> None:
    world = Enforcing.now("in-force")
    world.pay()
    found = suggested(world)
    assert not found.documents
    assert found.left_out == {"agent:bot is in force: change it by hand": 1}
    assert set(suggested(world, replacing=True).documents) == {"agent:bot"}


def test_calls_are_left_out_by_name() -> None:
    world = Enforcing.now("left-out")
    ann = world.person("ann", "clerk")
    world.sets("observe")
    leaf = world.grant_to(ann, "bot").entry.event
    world.pay(on_behalf_of=leaf)
    desk = world.open_session(world.desk)
    outer = world.call(world.bot, CHECK)
    world.call(desk, PAY, {"amount": 1}, causation_id=outer.entry.event)
    world.call(world.bot, PAY, "{")
    assert suggested(world, replacing=True).left_out == {
        "it was delegated, or its login has actors: each of them needs a policy": 1,
        "it was made within another call": 1,
    }


def test_only_the_calls_of_a_span_count() -> None:
    world = Enforcing.now("span")
    world.withdraw_policy("agent:bot")
    world.sets("observe")
    world.pay()
    world.advance(1000)
    world.call(world.bot, REFUND)
    found = suggested(world, since=world.now)
    assert found.documents["agent:bot"].resources == (REFUND,)


def test_the_bounds_of_a_suggestion_are_those_of_its_calls() -> None:
    world = Enforcing.now("bounds")
    world.withdraw_policy("agent:bot")
    world.sets("observe")
    for at in range(20):
        world.send(
            invocation(PAY, {"to": ["bob", "ann"][at % 2], "n": at + 3, "memo": "m" * (at + 1), "o": {"k": True}}),
            world.bot,
        )
    (document,) = suggested(world).documents.values()
    said = json.loads(document.canonical)
    assert said["resources"] == [PAY]
    assert said["constraints"] == {
        "allowed_parameters": {PAY: ["memo", "n", "o.k", "to"]},
        "parameters": {
            PAY: {
                "memo": {"type": "string", "min_length": 1, "max_length": 20, "required": True},
                "n": {"type": "integer", "min": 3, "max": 22, "required": True},
                "o.k": {"allowed_values": [True], "required": True},
                "to": {"allowed_values": ["ann", "bob"], "required": True},
            }
        },
    }
