"""What tools may declare, and what of it may change while they run."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.identity.following import follow
from processors.proof.signing import VerifiedHeads
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


def enrolment(world: World, **granted: Any) -> Actor:
    return world.register("enrolment", f"enrol-{len(world.tables.principals)}", enrolment=grant(**granted))


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


@settings(deadline=None)
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


@pytest.mark.parametrize("ahead_ms", [-limits.ISSUED_BEHIND_MS_MAX, limits.ISSUED_AHEAD_MS_MAX])
def test_followers_take_what_the_log_took_by_its_own_clock(world, ahead_ms):
    """A second instance with another contract, which may come when the first has expired: by the log's clock alone."""
    lives_ms = 2 * limits.ISSUED_BEHIND_MS_MAX
    world.register("tool", "calc", tools=(ADD,), expires_at=world.now + lives_ms)
    world.advance(lives_ms + (1 if ahead_ms < 0 else -1))
    other = replace(ADD, timeout_ms=ADD.timeout_ms + 1) if ahead_ms < 0 else ADD
    second = world.registration("tool", "calc", tools=(other,), expires_at=None)
    folded = world.send(second, world.admin, issued_at=world.now + ahead_ms)
    assert folded.says == ("accepted", "")

    followed = world.fresh_tables()
    for received in world.records:
        follow(followed, replace(received, partition=0, offset=0), VerifiedHeads())
    assert followed.resources.rows == world.tables.resources.rows
    assert followed.keys.rows.keys() == world.tables.keys.rows.keys()


def test_only_a_tools_own_live_key_declares_again(world):
    """Not as another tool, not with other attributes or another end, not once it is revoked, and not by a stranger."""
    calc = world.register("tool", "calc", tools=(ADD,))
    other = world.registration("tool", "calc", keys=calc.keys, tools=(ADD, SUB))
    stranger = enrolment(world)

    assert said(world.send(other, stranger)) == "REGISTRATION_CONFLICT"
    for changed in (
        replace(other, attributes=Attributes(roles=("x",))),
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
        ("tool", tuple(replace(tool(f"tool:{i}"), attests=("**",) * 400) for i in range(11)), "LIMIT_EXCEEDED"),
        ("tool", tuple(replace(tool(f"tool:{i}"), prompts=("a",) * 400) for i in range(11)), "LIMIT_EXCEEDED"),
    ],
    ids=["tool-of-nothing", "agent-with-tools", "too-many", "no-name", "unprintable", "too-long", "no-time",
         "negative-time", "too-much-time", "too-many-patterns", "too-many-prompts"],
)  # fmt: skip
def test_a_declaration_out_of_bounds_is_refused_whole(world, role, tools, reason):
    """Tools, and they alone, declare 1 to 512 operations with a printable name and a time to run."""
    folded = world.send(world.registration(role, "newcomer", tools=tools), world.admin)

    assert said(folded) == reason
    assert b"newcomer" not in world.tables.principals.rows
    assert not world.tables.resources.rows
