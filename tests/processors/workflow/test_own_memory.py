"""One's own memory needs no grant, and is bound by every policy that speaks of it; and nobody keeps others out."""

import pytest

from processors.state.bounds import TenantLimits
from schemas import limits
from tests.workflow_world import ANYTHING, PAY, Workflow

BOSS = {"constraints": {"attestations": {"boss": {"approval_criteria": "role:manager", "timeout": 300}}}}
BANK_ONLY = {"resources": ["tool:bank/*"]}


@pytest.fixture
def world(request) -> Workflow:
    return Workflow.opened(request.node.name)


def test_what_a_policy_denies_holds_for_memory_too(world):
    """Whatever the policy lists: values are looked at as parameters are."""
    denied = {"vault:**": {"*": ["drop table*"]}}
    world.publish_policy({"policy_id": "agent:bot", **BANK_ONLY, "constraints": {"denied_parameters": denied}})

    world.is_refused("PARAM_DENIED", lambda: world.put(world.bot, "plan", "DROP TABLE users"))
    assert world.put(world.bot, "plan", "buy milk").says == ("accepted", "")


def test_a_policy_without_resources_binds_memory(world):
    """It restricts whatever its holder does."""
    needed = ["deny::{tool.domain == 'vault' AND params.key == 'secret'}"]
    world.publish_policy({"policy_id": "agent:bot", "attestations": needed})

    world.is_refused("CONDITION_DENIED", lambda: world.put(world.bot, "secret", 1))
    assert world.put(world.bot, "other", 1).says == ("accepted", "")


def test_a_policy_of_other_resources_asks_nothing_of_memory(world):
    """What it wants of its tools it does not want of a note: neither parameters nor approvals, and no rate is used."""
    constraints = {
        "parameters": {"**": {"amount": {"max": 10, "required": True}}},
        "rate_limit": 1,
        "attestations": {"boss": {"approval_criteria": "role:manager", "timeout": 60}},
    }
    world.publish_policy({"policy_id": "agent:bot", **BANK_ONLY, "attestations": ["boss"], "constraints": constraints})

    for n in range(3):
        assert world.put(world.bot, "note", n).says == ("accepted", "")
    assert not world.tables.buckets.rows
    assert world.pay(5).says == ("pending", "APPROVAL_PENDING")


def test_a_policy_that_lists_memory_is_asked_whole(world):
    """Its rate counts every operation."""
    limited = {"policy_id": "agent:bot", "resources": ["tool:bank/*", "vault:session/**"]}
    world.publish_policy({**limited, "constraints": {"rate_limit": 2}})

    for n in range(2):
        assert world.put(world.bot, "note", n).says == ("accepted", "")
    world.is_refused("RATE_LIMITED", lambda: world.put(world.bot, "note", 3))


def test_reading_from_memory_taints_what_comes_after(world):
    """A sequence rule sees an operation of the vault as it sees a call that has ended well."""
    rule = {"id": "t", "when": "tool:bank/*", "tainted_by": "vault:session/get/*", "require": "clean"}
    metas = {"attestations": {"clean": {"approval_criteria": "role:lead", "timeout": 60}}}
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "sequence": [rule], "constraints": metas})
    world.put(world.bot, "mail", "pay bob")
    assert world.pay(1).says == ("allowed", "")

    world.get(world.bot, "mail")

    assert world.pay(2).says == ("pending", "APPROVAL_PENDING")


def test_an_operation_that_is_refused_leaves_no_mark(world):
    """A conflict of versions changes nothing, for sequence rules neither."""
    rule = {"id": "o", "when": PAY, "after": {"resource": "vault:session/set/*"}}
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "sequence": [rule]})
    world.is_refused("VERSION_CONFLICT", lambda: world.put(world.bot, "checked", 1, expected=7))
    assert world.pay(1).says == ("denied", "SEQUENCE_MISSING")

    world.put(world.bot, "checked", 1, expected=0)

    assert world.pay(1).says == ("allowed", "")


def test_one_delegator_leaves_room_for_others():
    """However much one grants, another may. What is revoked makes room after an hour."""
    world = Workflow.opened("delegators", bounds=TenantLimits(delegations=12))
    world.register("agent", "clerk")
    other = world.open_session(world.register("agent", "other"))
    granted = [world.grant_to(world.bot, "clerk") for _ in range(3)]
    assert {one.says for one in granted} == {("accepted", "")}

    world.is_refused("LIMIT_EXCEEDED", lambda: world.grant_to(world.bot, "clerk"))
    assert world.grant_to(other, "clerk", life_ms=90_000_000).says == ("accepted", "")
    world.revoke_delegation(world.bot, granted[0].entry.event)
    world.passes(limits.REVOKED_DELEGATION_MS)
    again = world.open_session(world.agent)
    assert world.grant_to(again, "clerk").says == ("accepted", "")


def test_one_program_leaves_room_for_others_sessions():
    """An agent that opens session after session keeps nobody from logging in."""
    world = Workflow.opened("sessions", bounds=TenantLimits(sessions=12))
    other = world.register("agent", "other")
    for _ in range(2):  # the world has opened one
        world.open_session(world.agent)

    with pytest.raises(AssertionError, match="LIMIT_EXCEEDED"):
        world.open_session(world.agent)
    world.open_session(other)
    world.person("carol", "manager")


def test_what_proves_a_value_weighs_too(world):
    """The writer's event and the opening of its session are kept with each value, and so they count."""
    world.put(world.bot, "a", "1")
    [row] = world.tables.vault.rows.values()

    kept = (row.value.encode(), row.written.event, row.written.proof, row.opened.event, row.opened.proof)
    assert world.tables.vault.weight == sum(map(len, kept))


@pytest.mark.parametrize("limit", ["vault_keys", "vault_bytes"])
def test_one_principal_leaves_room_in_the_vault(world, limit):
    """In all its sessions together; who writes over a value takes its weight."""
    world.put(world.bot, "a", 1)
    most = 8 if limit == "vault_keys" else world.tables.vault.weight * 10  # a quarter of it has room for two
    world = Workflow.opened("vault", bounds=TenantLimits(**{limit: most}))
    other = world.open_session(world.register("agent", "other"))
    again = world.open_session(world.agent)
    assert world.put(world.bot, "a", 1).says == ("accepted", "")
    assert world.put(again, "b", 2).says == ("accepted", "")

    world.is_refused("LIMIT_EXCEEDED", lambda: world.put(again, "c", 3))
    assert world.put(again, "b", 4).says == ("accepted", "")
    assert world.put(other, "c", 3).says == ("accepted", "")
    world.drop(world.bot, "a")
    assert world.put(again, "c", 3).says == ("accepted", "")


def test_one_requester_leaves_room_for_others_that_wait():
    """What waits is kept whole, so its bytes count; room comes back with the answer."""
    world = Workflow.opened("waiting", bounds=TenantLimits(pending_bytes=3_000))
    world.require("boss", approval_criteria="role:manager", timeout=300)
    carol = world.person("carol", "manager")
    asked = [world.pay(n) for n in range(9)]
    waits = [one for one in asked if one.says == ("pending", "APPROVAL_PENDING")]
    assert 0 < len(waits) < len(asked)
    assert asked[-1].says == ("denied", "LIMIT_EXCEEDED")
    world.publish_policy({"policy_id": "agent:other", **ANYTHING, "attestations": ["boss"], **BOSS})
    other = world.open_session(world.register("agent", "other"))

    assert world.pay(3, by=other).says == ("pending", "APPROVAL_PENDING")
    world.deny(carol, waits[0], "boss")
    assert world.pay(4).says == ("pending", "APPROVAL_PENDING")
