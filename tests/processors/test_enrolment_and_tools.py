"""What enrolment keys may register, and what tools may declare."""

from dataclasses import replace
from typing import Any

import pytest

from processors.tables import TenantLimits
from schemas import limits, topics
from tests.builders import Actor, Folded, grant, keys_of, tool
from tests.world import World


@pytest.fixture
def world() -> World:
    return World.founded()


def said(folded: Folded) -> str:
    """Return the reason of a refusal, having looked that nothing else came of it."""
    assert folded.entry.outcome == "refused"
    assert {output.topic for output in folded.outputs} <= {topics.RESULTS, topics.AUDIT}
    return folded.entry.reason


# ---- enrolment keys


def enrolment(world: World, **granted: Any) -> Actor:
    return world.register("enrolment", f"enrol-{len(world.tables.principals)}", enrolment=grant(**granted))


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("ci-*", "ci-1", True), ("ci-*", "ci-", True), ("ci-*", "xci-1", False), ("ci-*", "ci", False),
        ("*", "anything", True), ("exact", "exact", True), ("exact", "exactly", False), ("*-bot", "a-bot", True),
        ("*-bot", "a-bott", False), ("a*b*c", "aXbYc", True), ("a*b*c", "abc", True), ("a*b*c", "acb", False),
        ("ab*ba", "aba", False), ("ab*ba", "abba", True), ("a**b", "ab", True), ("a*a*a", "aa", False),
        ("", "x", False),
    ],
)  # fmt: skip
def test_an_enrolment_key_registers_names_of_its_pattern_only(world, pattern, name, fits):
    """The pattern's asterisks stand for any run of characters; everything else stands for itself."""
    key = enrolment(world, name_pattern=pattern)
    folded = world.send(world.registration("agent", name), key)

    assert folded.says == (("accepted", "") if fits else ("refused", "NAME_INVALID"))


def test_an_enrolment_key_adds_instances_to_its_own_principals_only(world):
    """Or it could give itself another's attributes, or become a reader of what is sealed to another's tool."""
    key, other = enrolment(world), enrolment(world)
    world.register("agent", "ceo")
    world.register("agent", "worker", by=key)

    assert said(world.send(world.registration("agent", "ceo"), key)) == "REGISTRATION_CONFLICT"
    assert said(world.send(world.registration("agent", "worker"), other)) == "REGISTRATION_CONFLICT"
    assert world.send(world.registration("agent", "worker"), key).says == ("accepted", "")
    assert world.send(world.registration("agent", "worker"), world.admin).says == ("accepted", "")


def test_an_enrolment_key_registers_as_many_keys_as_it_may(world):
    """The count is spent by registrations that came about, and by no others."""
    key = enrolment(world, count_max=2)
    assert said(world.send(world.registration("agent", "a", attributes="[]"), key)) == "ATTRIBUTE_INVALID"
    bad = world.offer(keys_of("x"), "agent", "a", possession=bytes(64))
    assert said(world.send(world.registration("agent", "a", offer=bad), key)) == "BAD_POSSESSION"
    world.register("agent", "a", by=key)
    world.register("tool", "b", by=key)

    assert said(world.send(world.registration("agent", "c"), key)) == "ENROLMENT_EXCEEDED"
    assert world.tables.keys.rows[key.kid].enrolled == 2


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


def test_an_enrolment_key_registers_roles_of_its_grant_only(world):
    """A grant for agents is no grant for tools."""
    key = enrolment(world, roles=["agent"])

    assert said(world.send(world.registration("tool", "a"), key)) == "WRONG_ROLE"
    assert said(world.send(world.registration("service", "a"), key)) == "WRONG_ROLE"
    assert world.send(world.registration("agent", "a"), key).says == ("accepted", "")


def test_an_enrolment_key_ends_with_its_registration(world):
    """After its expiry an enrolment key registers nobody."""
    key = world.register("enrolment", "enrol", expires_at=world.now + 1000)
    world.register("agent", "a", by=key)
    world.advance(1000)

    assert world.send(world.registration("agent", "b"), key).says == ("refused", "EXPIRED_KEY")


@pytest.mark.parametrize(
    "granted",
    [{"roles": []}, {"roles": ["admin"]}, {"roles": ["agent", "enrolment"]}, {"roles": ["monitor"]}, {"count_max": 0},
     {"count_max": -1}, {"count_max": limits.KEYS_MAX + 1}],
)  # fmt: skip
def test_a_grant_of_nothing_or_of_too_much_is_refused(world, granted):
    """An enrolment key registers agents, services or tools, one to ten thousand; never keys that rule."""
    body = world.registration("enrolment", "enrol", enrolment=grant(**granted))

    assert said(world.send(body, world.admin)) == "NAME_INVALID"


def test_a_grant_belongs_to_enrolment_keys_only(world):
    """An agent with a grant, or an enrolment key without one, is refused."""
    for body in (
        world.registration("agent", "a", enrolment=grant()),
        world.registration("enrolment", "e", enrolment=None),
    ):
        assert said(world.send(body, world.admin)) == "NAME_INVALID"


# ---- tools and their resources


def test_a_resource_belongs_to_one_tool(world):
    """A resource that one tool offers cannot be declared by another, however well that is signed."""
    world.register("tool", "calc", tools=(tool("tool:calc/add"),))
    body = world.registration("tool", "evil", tools=(tool("tool:evil/x"), tool("tool:calc/add")))
    assert said(world.send(body, world.admin)) == "RESOURCE_TAKEN"
    assert said(world.send(body, enrolment(world))) == "RESOURCE_INVALID"

    assert world.tables.resources.rows[b"tool:calc/add"].principal_id == "calc"
    assert b"tool:evil/x" not in world.tables.resources.rows


def test_an_enrolled_tool_offers_resources_under_its_own_name_only(world):
    """The name pattern of an enrolment key binds resources too: nobody enrols himself as the bank."""
    key = enrolment(world, name_pattern="lab-*")
    theirs = world.registration("tool", "lab-x", tools=(tool("tool:bank/transfer"),))

    assert said(world.send(theirs, key)) == "RESOURCE_INVALID"
    assert world.send(world.registration("tool", "lab-x", tools=(tool("tool:lab-x/run"),)), key).says[0] == "accepted"


def test_every_instance_of_a_tool_declares_the_same(world):
    """A second instance with other operations is refused while the first one lives."""
    first = world.register("tool", "calc", tools=(tool("tool:calc/add"), tool("tool:calc/sub")))
    for tools in (
        (tool("tool:calc/add"),),
        (tool("tool:calc/add"), tool("tool:calc/sub"), tool("tool:calc/mul")),
        (tool("tool:calc/sub"), tool("tool:calc/add")),
        (tool("tool:calc/add"), tool("tool:calc/sub", timeout_ms=1)),
        (tool("tool:calc/add", idempotent=True), tool("tool:calc/sub")),
    ):
        folded = world.send(world.registration("tool", "calc", tools=tools), world.admin)
        assert said(folded) == "REGISTRATION_CONFLICT"

    world.register("tool", "calc", tools=(tool("tool:calc/add"), tool("tool:calc/sub")))
    assert len(world.tables.principals.rows[b"calc"].kids) == 2
    assert world.tables.keys.rows[first.kid].revoked_at is None


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_tool_without_live_instances_may_declare_anew(world, how):
    """What the new first instance no longer offers is free for others."""
    world.register("tool", "calc", tools=(tool("tool:a"), tool("tool:b")), expires_at=world.now + 1000)
    if how == "revoked":
        world.revoke("calc")
    world.advance(1000)
    world.register("tool", "calc", tools=(tool("tool:b"), tool("tool:c")))

    assert set(world.tables.resources.rows) == {b"tool:b", b"tool:c"}
    world.register("tool", "other", tools=(tool("tool:a"),))


def test_a_tool_that_declares_an_operation_twice_is_refused(world):
    """Two declarations of one resource contradict each other; a later registration must not stumble over them."""
    body = world.registration("tool", "calc", tools=(tool("tool:a"), tool("tool:a", timeout_ms=1)))

    assert said(world.send(body, world.admin)) == "REGISTRATION_CONFLICT"
    assert not world.tables.resources.rows


@pytest.mark.parametrize(
    ("role", "tools", "reason"),
    [
        ("tool", (), "REGISTRATION_CONFLICT"),
        ("agent", (tool("tool:a"),), "REGISTRATION_CONFLICT"),
        ("tool", tuple(tool(f"tool:{i}") for i in range(limits.TOOLS_PER_PRINCIPAL_MAX + 1)), "REGISTRATION_CONFLICT"),
        ("tool", (tool(""),), "RESOURCE_INVALID"),
        ("tool", (tool("tool:a\n"),), "RESOURCE_INVALID"),
        ("tool", (tool("t" * (limits.RESOURCE_CHARS_MAX + 1)),), "RESOURCE_INVALID"),
        ("tool", (tool("tool:a", timeout_ms=0),), "LIMIT_EXCEEDED"),
        ("tool", (tool("tool:a", timeout_ms=-1),), "LIMIT_EXCEEDED"),
        ("tool", (tool("tool:a", timeout_ms=limits.TOOL_TIMEOUT_MS_MAX + 1),), "LIMIT_EXCEEDED"),
    ],
    ids=["tool-of-nothing", "agent-with-tools", "too-many", "no-name", "unprintable", "too-long", "no-time",
         "negative-time", "too-much-time"],
)  # fmt: skip
def test_a_declaration_out_of_bounds_is_refused_whole(world, role, tools, reason):
    """Tools, and they alone, declare 1 to 512 operations with a printable name and a time to run."""
    folded = world.send(world.registration(role, "newcomer", tools=tools), world.admin)

    assert said(folded) == reason
    assert b"newcomer" not in world.tables.principals.rows
    assert not world.tables.resources.rows
