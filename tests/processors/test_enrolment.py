"""What enrolment keys may register, under which names, and with what at most."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import limits, topics
from schemas.events.attributes import Attributes
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

ROLES = ["payer", "treasurer", "clerk"]
listed = st.lists(st.sampled_from(ROLES), max_size=3, unique=True).map(tuple)
given_attributes = st.builds(
    Attributes,
    roles=listed,
    groups=listed,
    subjects=listed,
    user=st.sampled_from([None, "carol", "Carol", "dave"]),
    clearance=st.sampled_from([None, "low", "top"]),
    company=st.sampled_from([None, "ACME", ""]),
)


def enrolment(world: World, **granted: Any) -> Actor:
    return world.register("enrolment", f"enrol-{len(world.tables.principals)}", enrolment=grant(**granted))


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("ci-*", "ci-1", True), ("ci-*", "ci-", True), ("ci-*", "xci-1", False), ("ci-*", "ci", False),
        ("*", "anything", True), ("exact", "exact", True), ("exact", "exactly", False), ("*-bot", "a-bot", True),
        ("*-bot", "a-bott", False), ("a*b*c", "aXbYc", True), ("a*b*c", "abc", True), ("a*b*c", "acb", False),
        ("ab*ba", "aba", False), ("ab*ba", "abba", True), ("a**b", "ab", True), ("a*a*a", "aa", False),
        ("", "x", False), ("*", "a/b", False), ("*", "a:b", False), ("*-bot", "x/a-bot", False), ("**", "a/b", False),
        ("a/*", "a/b", True), ("a/*", "a/b/c", False), ("a/*/c", "a/b/c", True), ("a*", "a/", False),
        ("*/*", "a/b", True),
        ("spiffe://acme/*", "spiffe://acme/x", True), ("spiffe:*", "spiffe://acme/x", False), ("a:*", "a/x", False),
    ],
)  # fmt: skip
def test_an_enrolment_key_registers_names_of_its_pattern_only(world, pattern, name, fits):
    """The pattern's asterisks stand for runs without `/` and `:`; everything else stands for itself."""
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


def test_an_enrolment_key_for_one_name_adds_instances_to_it(world):
    """An admin made it for that name: another instance, or the first one after the name was revoked; no other role."""
    first, second = (enrolment(world, roles=["tool"], name_pattern="bank", count_max=1) for _ in range(2))
    world.register("tool", "bank", by=first)
    world.register("tool", "bank", by=second)
    assert len(world.tables.principals.rows[b"bank"].kids) == 2
    world.revoke("bank")
    assert said(world.send(world.registration("tool", "bank"), first)) == "ENROLMENT_EXCEEDED"
    assert said(world.send(world.registration("tool", "bank"), enrolment(world))) == "REGISTRATION_CONFLICT"
    world.register("tool", "bank", by=enrolment(world, roles=["tool"], name_pattern="bank"))

    both = enrolment(world, name_pattern="bank")
    assert said(world.send(world.registration("agent", "bank"), both)) == "REGISTRATION_CONFLICT"


def test_an_enrolment_key_registers_as_many_keys_as_it_may(world):
    """The count is spent by registrations that came about, and by no others."""
    key = enrolment(world, count_max=2)
    assert (
        said(world.send(world.registration("agent", "a", attributes=Attributes(user="*")), key)) == "ATTRIBUTE_INVALID"
    )
    bad = world.offer(keys_of("x"), "agent", "a", possession=bytes(64))
    assert said(world.send(world.registration("agent", "a", offer=bad), key)) == "BAD_POSSESSION"
    world.register("agent", "a", by=key)
    world.register("tool", "b", by=key)

    assert said(world.send(world.registration("agent", "c"), key)) == "ENROLMENT_EXCEEDED"
    assert world.tables.keys.rows[key.kid].enrolled == 2


def test_an_enrolment_key_registers_roles_of_its_grant_only(world):
    """A grant for agents is no grant for tools."""
    key = enrolment(world, roles=["agent"])

    assert said(world.send(world.registration("tool", "a"), key)) == "WRONG_ROLE"
    assert said(world.send(world.registration("service", "a"), key)) == "WRONG_ROLE"
    assert world.send(world.registration("agent", "a"), key).says == ("accepted", "")


@settings(deadline=None)
@given(most=given_attributes, given=given_attributes, role=st.sampled_from(["agent", "service", "tool"]))
def test_an_enrolment_key_gives_no_more_than_its_grant_has(most, given, role):
    """Any part of a list; every text exactly as the grant has it, so that none is left out that restricts."""
    world = World.founded()
    key = enrolment(world, attributes=most)
    folded = world.send(world.registration(role, "newcomer", attributes=given), key)
    lists = ((given.roles, most.roles), (given.groups, most.groups), (given.subjects, most.subjects))
    texts = (given.user, given.clearance, given.company) == (most.user, most.clearance, most.company)
    within = texts and all(set(some) <= set(all_) for some, all_ in lists)

    assert folded.says == (("accepted", "") if within else ("refused", "ATTRIBUTE_INVALID"))
    if within:
        [row] = [row for row in world.tables.keys.rows.values() if row.principal_id == "newcomer"]
        assert row.attributes == given


def test_an_enrolment_key_gives_nothing_unless_its_grant_says_so(world):
    """The default is a name and no attribute."""
    key = enrolment(world, name_pattern="ci-*")
    for attributes in (
        Attributes(roles=("treasurer",)),
        Attributes(user="carol"),
        Attributes(user=""),
        Attributes(clearance="top"),
        Attributes(issuers=("x",)),
        Attributes(subjects=("**",)),
    ):
        folded = world.send(world.registration("agent", "ci-1", attributes=attributes), key)
        assert folded.says == ("refused", "ATTRIBUTE_INVALID"), attributes
    assert world.send(world.registration("agent", "ci-1"), key).says == ("accepted", "")


@pytest.mark.parametrize(
    "attributes", [Attributes(user="a*"), Attributes(roles=("a", "a")), Attributes(groups=("x",) * 257)]
)
def test_a_grant_of_attributes_that_nobody_can_have_is_refused(world, attributes):
    """It is read when it is given, not when it is used."""
    body = world.registration("enrolment", "e", enrolment=grant(attributes=attributes))

    assert said(world.send(body, world.admin)) == "ATTRIBUTE_INVALID"


def test_an_enrolled_tool_attests_what_its_grant_lists(world):
    """To the letter: a pattern that the grant does not have could take in any key."""
    key = enrolment(world, attributes=Attributes(attests=("checked", "kyc.*")))
    for attests in (("**",), ("checked", "other"), ("kyc.x",)):
        tools = (replace(tool("tool:lab/run"), attests=attests),)
        assert said(world.send(world.registration("tool", "lab", tools=tools), key)) == "ATTESTATION_NOT_DECLARED"
    tools = (replace(tool("tool:lab/run"), attests=("kyc.*", "checked")),)
    assert world.send(world.registration("tool", "lab", tools=tools), key).says == ("accepted", "")
    with_it = world.registration("agent", "a", attributes=Attributes(attests=("checked",)))
    assert said(world.send(with_it, key)) == "ATTRIBUTE_INVALID"


@pytest.mark.parametrize("name", ["bank/x-helper", "bank\\x-helper", "bank\uff0fx-helper", "a/", "/a"])
def test_no_tool_stands_below_another(world, name):
    """Whoever registers it: what is granted on `tool:bank/**` is the bank's."""
    key = enrolment(world, roles=["tool"], name_pattern="*-helper")
    for by in (key, world.admin):
        assert said(world.send(world.registration("tool", name), by)) == "NAME_INVALID"


def test_who_registers_tools_can_take_no_agents_rights(world):
    """A tool that calls others is the agent `tool:<name>`, which no agent can be named."""
    key = enrolment(world, roles=["tool"])
    world.publish_policy({"policy_id": "agent:shopper", "resources": ["**"]})
    shopper = world.register("tool", "shopper", by=key)
    session = world.open_session(shopper)

    assert world.call(session, "tool:shopper/run").says == ("denied", "NO_POLICY")
    world.publish_policy({"policy_id": "agent:tool:shopper", "resources": ["**"]})
    assert world.call(session, "tool:shopper/run").says == ("allowed", "")
    both = enrolment(world)
    for role in ("agent", "service", "tool"):
        assert said(world.send(world.registration(role, "tool:shopper"), both)) == "NAME_INVALID"


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
