"""Delegation: rights that only shrink on their way, and end where any hop ends."""

import pytest

from schemas import topics
from schemas.events.workflow import ContextRead
from tests.builders import Actor
from tests.workflow_world import ANYTHING, PAY, Workflow, attests, forgotten, reply, told
from tests.world import HOUR_MS


@pytest.fixture
def world() -> Workflow:
    world = Workflow.opened()
    world.publish_policy(
        {"policy_id": "role:payer", **ANYTHING},
        *({"policy_id": f"agent:{name}", **ANYTHING} for name in ("bot", "planner", "worker")),
    )
    return world


class Line:
    """alice → planner → worker → bot, each hop narrower."""

    def __init__(self, world: Workflow) -> None:
        self.world = world
        self.alice = world.person("alice", "payer")
        world.planner = world.register("agent", "planner")
        self.planner = world.open_session(world.planner)
        self.worker = world.open_session(world.register("agent", "worker"))
        self.first = world.grant_to(self.alice, "planner", resources=["tool:bank/*", "tool:desk/*"]).entry.event
        self.second = world.grant_to(
            self.planner, "worker", parent=self.first, resources=["tool:bank/*"], conditions={"max_amount": 100}
        ).entry.event
        self.third = world.grant_to(
            self.worker, "bot", parent=self.second, resources=["**"], conditions={"max_amount": 50}
        ).entry.event

    def pay(self, amount: float = 10, by: Actor | None = None, leaf: bytes | None = None):
        return self.world.pay(amount, by=by or self.world.bot, on_behalf_of=leaf or self.third)


@pytest.fixture
def line(world: Workflow) -> Line:
    return Line(world)


def test_a_chain_of_three_names_everybody(world, line):
    """The decision says on whose behalf, root first; the audit entry names the delegation."""
    asked = line.pay(50)

    final = world.final(asked)
    assert (final.outcome, final.principal_id) == ("allowed", "bot")
    assert final.subjects == ("user:alice", "planner", "worker", "bot")
    assert asked.entry.on_behalf_of == line.third
    assert world.pay().entry.on_behalf_of is None


@pytest.mark.parametrize(
    ("amount", "resource", "reason"),
    [
        (51, PAY, "DELEGATION_CONDITION"),  # the last hop says 50
        (10, "tool:desk/check", "DELEGATION_SCOPE"),  # the second says bank only
    ],
)
def test_every_hop_narrows(world, line, amount, resource, reason):
    """What one hop leaves out no later one gives back."""
    decision = world.is_denied(
        reason, lambda: world.call(world.bot, resource, {"amount": amount}, on_behalf_of=line.third)
    )
    assert decision.subjects == ("user:alice", "planner", "worker", "bot")


def test_a_missing_parameter_of_a_condition_fails(world, line):
    """Conditions fail closed."""
    world.is_denied("DELEGATION_CONDITION", lambda: world.call(world.bot, PAY, {}, on_behalf_of=line.third))


@pytest.mark.parametrize("who", ["role:payer", "agent:planner", "agent:bot"])
def test_every_member_must_be_allowed_for_itself(world, line, who):
    """Nobody passes on what it may not do, and nobody gets what it may not do itself."""
    assert line.pay().says == ("allowed", "")
    world.publish_policy({"policy_id": who, "resources": ["tool:desk/*"]})

    world.is_denied("RESOURCE_NOT_ALLOWED", line.pay)


def test_a_role_that_the_delegator_has_lost_counts_no_more(world, line):
    """What the newest login said is what a delegator is, also when they are away; another one gives it back."""
    world.advance(1)
    world.person("alice", "guest", ttl_ms=HOUR_MS // 2)
    world.is_denied("NO_POLICY", line.pay)
    world.advance(HOUR_MS // 2)
    world.is_denied("NO_POLICY", line.pay)
    line.alice = world.person("alice", "payer")
    assert line.pay().says == ("allowed", "")


@pytest.mark.parametrize("by", ["alice", "planner", "admin"])
def test_a_hop_revoked_in_the_middle_ends_all_below(world, line, by):
    """By its delegator, by one above it, or by an admin; what stands above goes on."""
    revoked = world.revoke_delegation(world.admin if by == "admin" else getattr(line, by), line.second)

    assert revoked.says == ("accepted", "")
    [change] = told(revoked, topics.OPS_DELEGATIONS)
    assert (change.status, change.delegator, change.delegate) == ("revoked", "planner", "worker")
    world.is_denied("DELEGATION_REVOKED", line.pay)
    world.is_denied("DELEGATION_REVOKED", lambda: line.pay(by=line.worker, leaf=line.second))
    assert line.pay(by=line.planner, leaf=line.first).says == ("allowed", "")
    replacement = world.grant_to(line.planner, "worker", parent=line.first).entry.event
    assert line.pay(by=line.worker, leaf=replacement).says == ("allowed", "")
    world.is_denied("DELEGATION_REVOKED", line.pay)  # the old line is not revived


def test_a_delegation_ends_at_its_time_and_its_rows_leave(world, line):
    """The last millisecond counts, the next does not; afterwards the delegation is not known."""
    leaf = world.grant_to(line.alice, "bot", life_ms=1_000).entry.event
    world.advance(999)
    assert line.pay(leaf=leaf).says == ("allowed", "")
    world.advance(1)
    world.is_denied("DELEGATION_EXPIRED", lambda: line.pay(leaf=leaf))
    ended = world.passes(HOUR_MS // 2)
    assert forgotten(ended, topics.OPS_DELEGATIONS) == [leaf.hex()]
    world.is_denied("DELEGATION_BROKEN", lambda: line.pay(leaf=leaf))


def test_a_delegation_outlives_the_session_that_granted_it(world, line):
    """Closing it ends nothing; the delegate goes on, from any of its sessions."""
    world.close(line.alice)
    assert line.pay().says == ("allowed", "")

    assert line.pay(by=world.open_session(world.agent)).says == ("allowed", "")


@pytest.mark.parametrize("of", ["alice", "planner", "worker"])
def test_a_revoked_session_takes_its_delegations_with_it_for_good(world, line, of):
    """Also long after the row of that session has left."""
    ended = world.revoke_session(getattr(line, of))
    assert [one.status for one in told(ended, topics.OPS_DELEGATIONS)] == ["revoked"]
    world.is_denied("DELEGATION_REVOKED", line.pay)

    world.passes(1_000_000)
    assert getattr(line, of).kid not in world.tables.sessions.rows
    world.is_denied("DELEGATION_REVOKED", line.pay)


def test_a_revoked_principal_takes_its_delegations_with_it_for_good(world, line):
    """Its keys are gone, and what it handed on."""
    world.revoke("planner")
    world.is_denied("DELEGATION_REVOKED", line.pay)

    world.register("agent", "planner")  # the name comes back with another key: nothing is revived
    world.passes(1_000_000)
    world.is_denied("DELEGATION_REVOKED", line.pay)


@pytest.mark.parametrize("name", ["planner", "bot"])
def test_a_name_that_comes_back_with_another_key_finds_nothing_of_the_old(world, line, name):
    """Neither as delegator, where its session had long run out, nor as delegate."""
    world.passes(2 * HOUR_MS)  # all sessions have left; the delegations were made for longer
    alice, planner = world.person("alice", "payer"), world.open_session(world.planner)
    first = world.grant_to(alice, "planner", life_ms=9 * HOUR_MS).entry.event
    second = world.grant_to(planner, "bot", parent=first, life_ms=9 * HOUR_MS).entry.event
    world.passes(2 * HOUR_MS)
    bot = world.open_session(world.agent)
    assert world.pay(by=bot, on_behalf_of=second).says == ("allowed", "")

    world.revoke(name)
    again = world.register("agent", name)
    bot = world.open_session(again if name == "bot" else world.agent)
    world.is_denied("DELEGATION_REVOKED", lambda: world.pay(by=bot, on_behalf_of=second))


def test_a_delegate_is_bound_by_its_own_attestations(world, line):
    """The signer's session counts for every subject of the chain."""
    world.require("checked", who="role:payer")
    world.is_denied("ATTESTATION_MISSING", line.pay)
    alices = world.ran(line.alice, "tool:desk/check", attests("checked"))
    assert alices.says == ("accepted", "")
    world.is_denied("ATTESTATION_MISSING", line.pay)

    world.ran(world.bot, "tool:desk/check", attests("checked"))
    assert line.pay().says == ("allowed", "")


def test_a_service_is_bound_to_its_user(world):
    """The user's session signs for the service: both must pass, both are named."""
    alice = world.person("alice", "payer")
    world.register("service", "shop")
    leaf = world.grant_to(alice, "shop", resources=["tool:bank/*"]).entry.event
    world.is_denied("NO_POLICY", lambda: world.pay(by=alice, on_behalf_of=leaf))
    world.publish_policy({"policy_id": "service:shop", "resources": ["tool:bank/*"]})

    asked = world.pay(by=alice, on_behalf_of=leaf)
    assert (world.final(asked).outcome, world.final(asked).subjects) == ("allowed", ("user:alice", "shop"))
    world.is_denied("DELEGATION_SCOPE", lambda: world.call(alice, "tool:desk/check", {}, on_behalf_of=leaf))
    world.revoke("shop")
    world.is_denied("DELEGATION_REVOKED", lambda: world.pay(by=alice, on_behalf_of=leaf))


def test_an_agent_is_no_service_to_be_bound(world, line):
    """Who delegated cannot sign for the agent that it delegated to."""
    leaf = world.grant_to(line.alice, "bot").entry.event

    world.is_denied("DELEGATION_BROKEN", lambda: world.pay(by=line.alice, on_behalf_of=leaf))


def test_a_delegate_uses_a_shared_scope_within_what_was_delegated(world, line):
    """Vault operations are calls like others: scope and members are asked."""
    leaf = world.grant_to(line.alice, "bot", resources=["vault:team/get/*"]).entry.event

    assert world.put(world.bot, "a", 1, "team").says == ("accepted", "")
    world.is_refused("DELEGATION_SCOPE", lambda: world.put(world.bot, "a", 2, "team", on_behalf_of=leaf))


@pytest.mark.parametrize("key", ["balance", "x/balance", "balance/x", "tool:bank/balance", "set", "get/balance"])
def test_a_delegated_operation_is_no_name_of_a_memory(world, line, key):
    """Of the vault the operation is the verb: a key is a text that callers choose, and may be the name of one."""
    named = world.grant_to(line.alice, "bot", operations=["balance", "", "x", key]).entry.event
    reads = world.grant_to(line.alice, "bot", operations=["get"]).entry.event
    for leaf in (named, reads):
        if not (leaf == named and key == "set"):
            world.is_refused(
                "DELEGATION_SCOPE", lambda leaf=leaf: world.put(world.bot, key, 0, "team", on_behalf_of=leaf)
            )
    world.put(world.bot, key, 0, "team")

    def read(leaf):
        return world.send(ContextRead(scope="team", key=key), world.bot, on_behalf_of=leaf).says

    assert read(reads) == ("accepted", "")
    assert read(named) == ("refused", "DELEGATION_SCOPE")
    assert world.keys_in(world.bot, "team").says == ("accepted", "")


def test_delegations_are_listed_for_both_sides(world, line):
    """What the asker granted and received, and nothing else."""
    told_planner = reply(world.nothing_changes(lambda: world.ask(line.planner, "delegations")))

    assert [one["delegation"] for one in told_planner["granted"]] == [line.second.hex()]
    [received] = told_planner["received"]
    assert (received["delegation"], received["delegator"], received["parent"]) == (line.first.hex(), "user:alice", None)
    assert reply(world.ask(world.bot, "delegations"))["granted"] == []
