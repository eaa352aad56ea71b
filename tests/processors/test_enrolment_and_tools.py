"""What enrolment keys may register, and what tools may declare."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.following import follow
from processors.signing import VerifiedHeads
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

ROLES = ["payer", "treasurer", "clerk"]
listed = st.lists(st.sampled_from(ROLES), max_size=3)
given_attributes = st.fixed_dictionaries(
    {},
    optional={
        "roles": listed | st.sampled_from(ROLES),
        "groups": listed,
        "user": st.sampled_from(["carol", "Carol", "dave"]),
        "clearance": st.sampled_from(["low", "top"]),
        "company": st.sampled_from(["ACME", ""]),
        "other": listed | st.sampled_from(ROLES),
    },
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
    assert said(world.send(world.registration("agent", "a", attributes="[]"), key)) == "ATTRIBUTE_INVALID"
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


@given(most=given_attributes, given=given_attributes, role=st.sampled_from(["agent", "service", "tool"]))
def test_an_enrolment_key_gives_no_more_than_its_grant_has(most, given, role):
    """Any part of a list; every other member exactly as the grant has it, so that none is left out that restricts."""
    world = World.founded()
    key = enrolment(world, attributes=json.dumps(most))
    folded = world.send(world.registration(role, "newcomer", attributes=json.dumps(given)), key)
    within = all(name in most and set(part(given[name])) <= set(part(most[name])) for name in given) and all(
        given.get(name) == value for name, value in most.items() if isinstance(value, str)
    )

    assert folded.says == (("accepted", "") if within else ("refused", "ATTRIBUTE_INVALID"))
    if within:
        [row] = [row for row in world.tables.keys.rows.values() if row.principal_id == "newcomer"]
        assert json.loads(row.attributes) == given


def part(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_an_enrolment_key_gives_nothing_unless_its_grant_says_so(world):
    """The default is a name and no attribute."""
    key = enrolment(world, name_pattern="ci-*")
    for attributes in (
        '{"roles":["treasurer"]}',
        '{"user":"carol"}',
        '{"clearance":"top"}',
        '{"x":[]}',
        '{"roles":"a"}',
    ):
        folded = world.send(world.registration("agent", "ci-1", attributes=attributes), key)
        assert folded.says == ("refused", "ATTRIBUTE_INVALID"), attributes
    assert world.send(world.registration("agent", "ci-1"), key).says == ("accepted", "")


@pytest.mark.parametrize(
    "attributes", ["", "[]", "{", '{"user":["a"]}', '{"user":"a*"}', '{"roles":[1]}', '{"a":"b","a":"c"}']
)
def test_a_grant_of_attributes_that_nobody_can_have_is_refused(world, attributes):
    """It is read when it is given, not when it is used."""
    body = world.registration("enrolment", "e", enrolment=grant(attributes=attributes))

    assert said(world.send(body, world.admin)) == "ATTRIBUTE_INVALID"


def test_an_enrolled_tool_attests_what_its_grant_lists(world):
    """To the letter: a pattern that the grant does not have could take in any key."""
    key = enrolment(world, attributes='{"attests":["checked","kyc.*"]}')
    for attests in (("**",), ("checked", "other"), ("kyc.x",)):
        tools = (replace(tool("tool:lab/run"), attests=attests),)
        assert said(world.send(world.registration("tool", "lab", tools=tools), key)) == "ATTESTATION_NOT_DECLARED"
    tools = (replace(tool("tool:lab/run"), attests=("kyc.*", "checked")),)
    assert world.send(world.registration("tool", "lab", tools=tools), key).says == ("accepted", "")
    with_it = world.registration("agent", "a", attributes='{"attests":["checked"]}')
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


ADD, SUB, MUL = (tool(f"tool:calc/{name}") for name in ("add", "sub", "mul"))


def test_live_instances_of_a_tool_keep_its_contracts(world):
    """Another time-out, repetition, attestation or prompt is refused while an instance lives; so are two halves."""
    first = world.register("tool", "calc", tools=(ADD, SUB))
    for tools in (
        (ADD, replace(SUB, timeout_ms=1)),
        (replace(ADD, idempotent=True), SUB),
        (replace(ADD, attests=("checked",)),),
        (SUB, MUL),
    ):
        for keys in (first.keys, keys_of("another instance")):
            folded = world.send(world.registration("tool", "calc", keys=keys, tools=tools), world.admin)
            assert said(folded) == "REGISTRATION_CONFLICT"

    world.register("tool", "calc", tools=(SUB, ADD))
    assert len(world.tables.principals.rows[b"calc"].kids) == 2
    assert world.tables.keys.rows[first.kid].revoked_at is None


def described(world: World) -> dict[str, str]:
    return {one.resource: one.description for one in world.tables.principals.rows[b"calc"].tools}


def test_a_description_is_no_contract(world):
    """The same key declares again and the newest text counts; of an enrolment each is one, because all must read it."""
    key = enrolment(world, roles=["tool"], name_pattern="calc", count_max=4)
    calc = world.register("tool", "calc", tools=(ADD, SUB), by=key)
    for text in ("adds", "adds two numbers", ""):
        body = world.registration("tool", "calc", keys=calc.keys, tools=(replace(ADD, description=text), SUB))
        folded = world.send(body, key)
        assert folded.says == ("accepted", "")
        assert [output.key for output in folded.of(topics.REGISTRY)] == [f"tools/{folded.entry.event.hex()}".encode()]
        assert described(world) == {"tool:calc/add": text, "tool:calc/sub": ""}

    assert world.tables.keys.rows[key.kid].enrolled == 4
    assert said(world.send(body, key)) == "ENROLMENT_EXCEEDED"
    assert world.send(body, world.admin).says == ("accepted", "")
    assert world.tables.principals.rows[b"calc"].kids == (calc.kid,)


def test_an_operation_is_added_while_others_run(world):
    """By the same key or by a new instance; one of the older version may still come, and takes nothing back."""
    calc = world.register("tool", "calc", tools=(ADD,))
    assert (
        world.send(world.registration("tool", "calc", keys=calc.keys, tools=(ADD, SUB)), world.admin).says[0]
        == "accepted"
    )
    world.register("tool", "calc", tools=(MUL, ADD, SUB))
    world.register("tool", "calc", tools=(replace(ADD, description="old"),))

    assert described(world) == {"tool:calc/add": "old", "tool:calc/sub": "", "tool:calc/mul": ""}
    assert set(world.tables.resources.rows) == {b"tool:calc/add", b"tool:calc/sub", b"tool:calc/mul"}


acts = st.lists(
    st.tuples(
        st.sampled_from(["first", "second"]), st.sets(st.sampled_from([ADD, SUB, MUL]), min_size=1), st.text(max_size=2)
    ),
    max_size=8,
)


@given(acts=acts)
def test_followers_know_the_same_declarations_with_and_without_what_was_compacted(acts):
    """Whatever two instances declare, in whatever order: the fold, its replay, and who follows agree."""
    world = World.founded()
    keys = {name: keys_of("calc", name) for name in ("first", "second")}
    for name, tools, text in acts:
        described = tuple(replace(one, description=text) for one in sorted(tools, key=lambda one: one.resource))
        world.send(world.registration("tool", "calc", keys=keys[name], tools=described), world.admin)
        world.advance(1)

    replayed = world.fresh_tables()
    every, compacted = [], {}
    for received in world.records:
        for output in world.fold_into(replayed, received).of(topics.REGISTRY):
            every.append(received)
            compacted.pop(output.key, None)
            compacted[output.key] = received
    assert replayed.principals.rows == world.tables.principals.rows
    for kept in (every, list(compacted.values())):
        followed = world.fresh_tables()
        for received in kept:
            follow(followed, replace(received, partition=0, offset=0), VerifiedHeads())
        offered = followed.principals.get(b"calc")
        assert {one.resource for one in (offered.tools if offered else ())} == set(
            map(bytes.decode, world.tables.resources.rows)
        )
        assert followed.resources.rows == world.tables.resources.rows


def test_only_a_tools_own_live_key_declares_again(world):
    """Not as another tool, not with other attributes or another end, not once it is revoked, and not by a stranger."""
    calc = world.register("tool", "calc", tools=(ADD,))
    other = world.registration("tool", "calc", keys=calc.keys, tools=(ADD, SUB))
    stranger = enrolment(world)

    assert said(world.send(other, stranger)) == "REGISTRATION_CONFLICT"
    for changed in (
        replace(other, attributes='{"roles":["x"]}'),
        replace(other, expires_at=world.now + 1000),
        replace(other, role="agent", tools=(), key=world.offer(calc.keys, "agent", "calc")),
        replace(other, key=world.offer(calc.keys, "tool", "calc2"), tools=(tool("tool:calc2/run"),)),
    ):
        assert said(world.send(changed, world.admin)) == "KEY_TAKEN"
    unproven = replace(other, key=world.offer(calc.keys, "tool", "calc", possession=bytes(64)))
    assert said(world.send(unproven, world.admin)) == "BAD_POSSESSION"
    world.revoke("calc")
    assert said(world.send(other, world.admin)) == "KEY_TAKEN"


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
