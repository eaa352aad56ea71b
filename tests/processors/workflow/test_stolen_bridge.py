"""A bridge key that was stolen: once it is revoked, nothing counts that it made people say, however long ago."""

import pytest

from schemas.events.attributes import Attributes
from tests.builders import Actor, keys_of
from tests.processors.test_providers import ACME, distrusted, trust, trusted
from tests.workflow_world import ANYTHING, Workflow
from tests.world import HOUR_MS

KEY = "boss"


@pytest.fixture
def world() -> Workflow:
    world = Workflow.opened("stolen")
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    world.stolen = world.register("bridge", "stolen")
    world.bot = world.open_session(world.agent, ttl_ms=20 * HOUR_MS)
    return world


def leaves(world: Workflow, session: Actor, how: str) -> None:
    """End a session, and let its row leave."""
    if how == "closed":
        world.close(session)
    world.passes(HOUR_MS)
    assert session.kid not in world.tables.sessions.rows


@pytest.mark.parametrize("how", ["closed", "over"])
def test_a_delegation_of_a_session_that_has_left_ends_with_the_bridge(world, how):
    """Also where the person has logged in through a good bridge since, with the same rights."""
    mallory = world.person("alice", "payer", by=world.stolen, ttl_ms=60_000)
    leaf = world.grant_to(mallory, "bot", life_ms=10 * HOUR_MS).entry.event
    honest = world.grant_to(world.person("bob", "payer"), "bot", life_ms=10 * HOUR_MS).entry.event
    leaves(world, mallory, how)
    world.person("alice", "payer")
    assert world.pay(on_behalf_of=leaf).says == ("allowed", "")

    world.revoke("stolen")
    assert world.tables.delegations.rows[leaf].revoked
    world.is_denied("DELEGATION_REVOKED", lambda: world.pay(on_behalf_of=leaf))
    assert world.pay(on_behalf_of=honest).says == ("allowed", "")


@pytest.mark.parametrize("how", ["closed", "over"])
def test_a_grant_from_a_session_that_has_left_ends_with_the_bridge(world, how):
    """Also where the approver has logged in through a good bridge since."""
    world.require(KEY, approval_criteria="role:manager", timeout=300, one_time=False)
    mallory = world.person("carol", "manager", by=world.stolen, ttl_ms=60_000)
    world.approve(mallory, world.pay(), KEY)
    leaves(world, mallory, how)
    world.person("carol", "manager")
    assert world.pay().says == ("allowed", "")

    world.revoke("stolen")
    [grant] = world.tables.grants.rows.values()
    assert grant.approvals == ()
    assert world.pay().says == ("pending", "APPROVAL_PENDING")


def test_an_approval_of_a_call_that_waits_is_taken_back_with_the_bridge(world):
    """The second person's yes is not enough any more, long after the first one's session has left."""
    world.require(KEY, approval_criteria="role:manager", quorum=2, timeout=7200)
    mallory = world.person("carol", "manager", by=world.stolen, ttl_ms=60_000)
    asked = world.pay()
    world.approve(mallory, asked, KEY)
    leaves(world, mallory, "closed")
    world.person("carol", "manager")
    world.revoke("stolen")
    world.approve(world.person("dave", "manager"), asked, KEY)
    assert world.finals(asked.entry.event) == []

    world.approve(world.person("carol", "manager"), asked, KEY)
    assert world.final(asked).outcome == "allowed"


def test_one_of_a_bridges_keys_takes_back_what_went_through_it_alone(world):
    """Another instance of the same bridge is another key."""
    second = world.register("bridge", "stolen")
    sessions = [world.person(name, "payer", by=by) for name, by in (("alice", world.stolen), ("bob", second))]
    first, other = (world.grant_to(one, "bot", life_ms=10 * HOUR_MS).entry.event for one in sessions)
    world.passes(2 * HOUR_MS)
    world.revoke("stolen", kid=world.stolen.kid)

    assert world.tables.delegations.rows[first].revoked
    assert not world.tables.delegations.rows[other].revoked
    assert world.pay(on_behalf_of=other).says == ("allowed", "")


def test_what_a_stolen_bridge_said_of_a_person_is_forgotten_with_it(world):
    """It gave carol a role that she never had: her honest approvals do not grow by that, nor after it has left."""
    world.require(KEY, approval_criteria="role:manager", timeout=300, one_time=False)
    carol = world.person("carol", "manager", ttl_ms=60_000)
    world.approve(carol, world.pay(), KEY)
    world.person("carol", "intern", ttl_ms=60_000)
    leaves(world, carol, "over")
    assert world.pay().says == ("pending", "APPROVAL_PENDING")
    world.person("carol", "manager", by=world.stolen, ttl_ms=60_000)
    assert world.pay().says == ("allowed", "")
    world.passes(HOUR_MS)

    world.revoke("stolen")
    assert b"user:carol" not in world.tables.persons.rows
    assert world.pay().says == ("pending", "APPROVAL_PENDING")


def test_a_revoked_bridge_gives_way_to_what_an_honest_one_said(world):
    """Of a session that is still there."""
    world.person("carol", "intern")
    world.advance(1)
    world.person("carol", "manager", by=world.stolen)
    world.revoke("stolen")

    assert world.tables.persons.rows[b"user:carol"].attributes == Attributes(roles=("intern",), user="carol")


def test_a_revoked_approvers_key_takes_back_what_it_signed(world):
    """A registered approver has no session: its own key is what opened it."""
    world.require(KEY, approval_criteria="role:manager", timeout=300, one_time=False)
    system = world.register("approver", "checks", attributes=Attributes(roles=("manager",)))
    world.approve(system, world.pay(), KEY)
    [grant] = world.tables.grants.rows.values()
    assert [one.opened_by for one in grant.approvals] == [system.kid]

    world.revoke("checks", kid=system.kid)
    [grant] = world.tables.grants.rows.values()
    assert grant.approvals == ()
    world.register("approver", "checks", attributes=Attributes(roles=("manager",)))
    assert world.pay().says == ("pending", "APPROVAL_PENDING")


def test_a_programs_revoked_key_takes_back_what_it_delegated(world):
    """Another of its keys lives: what this one handed on ends, also after its session has left."""
    planner = world.register("agent", "planner")
    world.register("agent", "planner")
    world.publish_policy({"policy_id": "agent:planner", **ANYTHING})
    session = world.open_session(planner, ttl_ms=60_000)
    leaf = world.grant_to(session, "bot", life_ms=10 * HOUR_MS).entry.event
    leaves(world, session, "over")
    assert world.pay(on_behalf_of=leaf).says == ("allowed", "")

    world.revoke("planner", kid=planner.kid)
    world.is_denied("DELEGATION_REVOKED", lambda: world.pay(on_behalf_of=leaf))


# --- a provider whose signing key was stolen


def through(world: Workflow, gate: Actor, name: str, issuer: str = ACME) -> Actor:
    """Return a session of a provider's person, for a minute."""
    keys = keys_of("provided", world.draw())
    said = Attributes(company="Acme", roles=("analyst",))
    body = world.provided_session(name, gate, keys=keys, issuer=issuer, attributes=said, ttl_ms=60_000)
    assert world.send(body, gate).says == ("accepted", "")
    return Actor("session", name, keys)


PARTNER = trusted("https://idp.partner.example", namespace="partner", name_pattern="user:partner/*")


@pytest.mark.parametrize("how", ["closed", "over"])
def test_delegations_end_with_their_provider(world, how):
    """A minute as somebody is enough to delegate for a year: also where that person has logged in since."""
    gate = trust(world, trusted(), PARTNER)
    world.publish_policy({"policy_id": "role:analyst", **ANYTHING})
    mallory, honest = through(world, gate, "user:alice"), through(world, gate, "user:partner/al", PARTNER.issuer)
    leaf, theirs = (world.grant_to(one, "bot", life_ms=10 * HOUR_MS).entry.event for one in (mallory, honest))
    leaves(world, mallory, how)
    assert world.pay(on_behalf_of=leaf).says == ("allowed", "")

    world.send(distrusted(end_sessions=True), world.admin)
    world.is_denied("DELEGATION_REVOKED", lambda: world.pay(on_behalf_of=leaf))
    assert world.pay(on_behalf_of=theirs).says == ("allowed", "")
    assert list(world.tables.persons.rows) == [b"user:partner/al"]
    world.send(trusted(), world.admin)
    through(world, gate, "user:alice")
    world.is_denied("DELEGATION_REVOKED", lambda: world.pay(on_behalf_of=leaf))


@pytest.mark.parametrize("how", ["closed", "over"])
def test_approvals_end_with_their_provider(world, how):
    """And do not come back with that person's next login."""
    gate = trust(world, trusted(), PARTNER)
    world.require(KEY, approval_criteria="role:analyst", timeout=300, one_time=False)
    mallory = through(world, gate, "user:carol")
    world.approve(mallory, world.pay(), KEY)
    leaves(world, mallory, how)
    assert world.pay().says == ("allowed", "")

    world.send(distrusted(PARTNER.issuer, end_sessions=True), world.admin)
    assert world.pay().says == ("allowed", "")
    world.send(distrusted(end_sessions=True), world.admin)
    world.send(trusted(), world.admin)
    through(world, gate, "user:carol")
    assert world.pay().says == ("pending", "APPROVAL_PENDING")
