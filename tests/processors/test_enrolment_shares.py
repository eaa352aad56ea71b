"""How much an enrolment key may register: keys, bytes of the registry, operations; and what comes after it."""

from dataclasses import replace
from typing import Any

import pytest

from processors.state.bounds import TenantLimits
from schemas import limits, topics
from tests.builders import Actor, Folded, grant, tool
from tests.world import World


@pytest.fixture
def world() -> World:
    return World.founded()


def enrolment(world: World, **granted: Any) -> Actor:
    return world.register("enrolment", f"enrol-{len(world.tables.principals)}", enrolment=grant(**granted))


def said(folded: Folded) -> str:
    """Return the reason of a refusal, having looked that nothing else came of it."""
    assert folded.entry.outcome == "refused"
    assert {output.topic for output in folded.outputs} <= {topics.RESULTS, topics.AUDIT}
    return folded.entry.reason


def test_an_enrolment_key_whose_count_is_used_up_is_followed_by_another_of_its_name(world):
    """It goes on with the names of the first; a key of another name does not."""
    first = world.register("enrolment", "enrol", enrolment=grant(count_max=1))
    world.register("agent", "a", by=first)
    refused = world.send(world.registration("agent", "b"), first)
    assert refused.results[0].detail == "an admin registers a further enrolment key under the same name"
    other = world.register("enrolment", "other")
    assert said(world.send(world.registration("agent", "a"), other)) == "REGISTRATION_CONFLICT"

    second = world.register("enrolment", "enrol", enrolment=grant(count_max=1))
    world.revoke("enrol", kid=first.kid)
    assert world.send(world.registration("agent", "a"), second).says == ("accepted", "")


def test_an_enrolment_key_fills_the_registry_with_so_many_bytes(world):
    """In all its life: clients read every registration when they start, of revoked keys too."""
    key = enrolment(world, count_max=10_000)
    big = tuple(tool(f"tool:fat/{n}") for n in range(limits.TOOLS_PER_PRINCIPAL_MAX))
    big = tuple(replace(one, description="d" * 300) for one in big)
    size = 0
    for _ in range(200):
        folded = world.send(world.registration("tool", "fat", tools=big), key)
        if folded.entry.outcome == "refused":
            break
        size += sum(len(output.value or b"") for output in folded.of(topics.REGISTRY))
        world.revoke("fat")
    assert folded.says == ("refused", "ENROLMENT_EXCEEDED")
    assert 0.9 * limits.ENROLLED_BYTES_MAX < size <= limits.ENROLLED_BYTES_MAX


def test_a_tool_and_its_enrolment_key_offer_so_many_operations():
    """A quarter of the tenant's for all that one key registers, a quarter of that for each."""
    world = World.founded("few", bounds=TenantLimits(resources=64))
    key = world.register("enrolment", "enrol")
    for name in ("a", "b", "c", "d"):
        five = tuple(tool(f"tool:{name}/{n}") for n in range(5))
        assert said(world.send(world.registration("tool", name, tools=five), key)) == "LIMIT_EXCEEDED"
        world.register("tool", name, by=key, tools=five[:4])

    assert said(world.send(world.registration("tool", "e"), key)) == "LIMIT_EXCEEDED"
    world.register("tool", "e", tools=tuple(tool(f"tool:e/{n}") for n in range(16)))
