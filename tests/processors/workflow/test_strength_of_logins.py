"""How strong a login was: a method that resists phishing is attested by the step, and a weaker login takes it back."""

import json
from dataclasses import replace
from typing import Any

import pytest

from processors.calls.attestations import PHISHING_RESISTANT, record_id
from processors.identity.login_proof import PHISHING_RESISTANT_METHODS
from processors.state.bounds import TenantLimits
from schemas import topics
from schemas.events.attributes import Attributes
from tests.builders import Actor, Folded, invocation, keys_of
from tests.offers_world import Instance, call_of
from tests.processors.test_logins import CI, PARTNER
from tests.processors.test_providers import ACME, trust, trusted
from tests.workflow_world import ANYTHING, PAY, Workflow, reply, told
from tests.world import HOUR_MS

ALICE = "user:alice"


def opened(**how: Any) -> Workflow:
    """Return a world in which analysts pay, if they have logged in with a key."""
    world = Workflow.opened("strength", **how)
    world.gate = trust(world, trusted(), PARTNER, CI)
    world.publish_policy({"policy_id": "role:analyst", **ANYTHING, "attestations": [PHISHING_RESISTANT]})
    return world


@pytest.fixture
def world() -> Workflow:
    return opened()


def logs_in(world: Workflow, *methods: str, name: str = ALICE, by: Actor | None = None, **more: Any) -> Actor:
    """Open a session of a provider's principal and return it."""
    keys = keys_of("login", world.draw())
    fields = {"issuer": ACME, "attributes": Attributes(company="Acme", roles=("analyst",)), **more}
    bridge = by or world.gate
    body = world.provided_session(name, bridge, keys=keys, methods=methods, **fields)
    folded = world.send(body, bridge)
    assert folded.says == ("accepted", ""), folded.results
    return Actor("session", name, keys)


def pays(world: Workflow, session: Actor) -> Folded:
    return world.pay(by=session)


@pytest.mark.parametrize("method", sorted(PHISHING_RESISTANT_METHODS))
def test_a_strong_login_is_attested_in_its_own_record(world, method):
    """By the bridge's name, until the session's end, for as many calls as it makes."""
    alice = logs_in(world, "pwd", method)

    [change] = told(world.log[-1], topics.OPS_ATTESTATIONS)
    assert (change.kind, change.key, change.status) == ("record", PHISHING_RESISTANT, "active")
    [row] = [world.tables.attestations.rows[one] for one in world.tables.attestations.of(alice.kid)]
    assert (row.setter, row.by, row.set_with, row.one_time, row.max_uses) == (
        "bridge:gate", "gate", world.gate.kid, False, None,
    )  # fmt: skip
    assert json.loads(row.value) == [method]
    assert row.until == world.tables.sessions.rows[alice.kid].expires_at
    assert pays(world, alice).says == pays(world, alice).says == ("allowed", "")
    [shown] = reply(world.ask(alice, "attestations"))["attestations"]
    assert (shown["setter"], shown["revoked"]) == ("bridge:gate", False)


@pytest.mark.parametrize("methods", [(), ("pwd", "otp", "mfa"), ("HWK",), ("hwk ",), ("fido3", "phrx"), ("swk", "sms")])
def test_another_login_is_not(world, methods):
    """Neither a code that can be relayed, nor a text that only looks like a strong method."""
    alice = logs_in(world, *methods)

    assert pays(world, alice).says == ("denied", "ATTESTATION_MISSING")
    assert not world.tables.attestations.rows


def test_a_weaker_login_takes_it_back_everywhere_at_once(world):
    """Somebody who has the password only is in: no session of that person counts as strong any more."""
    strong, second, bob = logs_in(world, "hwk"), logs_in(world, "fido"), logs_in(world, "hwk", name="user:bob")
    other = world.register("bridge", "other", attributes=Attributes(issuers=("*",)))
    third = logs_in(world, "phr", by=other)
    weak = logs_in(world, "pwd")

    for session in (strong, second, third):
        assert pays(world, session).says == ("denied", "ATTESTATION_REVOKED")
    assert pays(world, weak).says == ("denied", "ATTESTATION_MISSING")
    assert pays(world, bob).says == ("allowed", "")
    assert {one.status for one in told(world.log[-6], topics.OPS_ATTESTATIONS)} == {"revoked"}
    again = logs_in(world, "hwk")
    assert pays(world, again).says == ("allowed", "")
    assert pays(world, strong).says == ("denied", "ATTESTATION_REVOKED")


def test_each_record_is_taken_back_once(world):
    """So a thousand weak logins write no more than the strong ones before them did."""
    logs_in(world, "hwk")
    logs_in(world, "pwd")
    before = dict(world.tables.attestations.rows)
    logs_in(world, "pwd")
    assert world.tables.attestations.rows == before
    assert told(world.log[-1], topics.OPS_ATTESTATIONS) == []


def test_persons_of_the_same_name_elsewhere_are_others(world):
    """Another provider's alice, a workload of that name and a person of a file say nothing of this one."""
    strong = logs_in(world, "hwk")
    logs_in(world, "pwd", name="user:partner/alice", issuer=PARTNER.issuer)
    logs_in(world, name="workload:ci/alice", issuer=CI.issuer)
    logs_in(world, "pwd", name="user:Alice")
    world.person("alice", "analyst")

    assert pays(world, strong).says == ("allowed", "")


def test_a_workload_is_never_phishing_resistant(world):
    """There is nobody to be deceived."""
    build = logs_in(world, "hwk", name="workload:ci/build", issuer=CI.issuer)
    assert not world.tables.attestations.of(build.kid)


def test_a_refused_login_takes_nothing_back(world):
    """A stolen bridge without the person's token would end a strong session with any event otherwise."""
    strong = logs_in(world, "hwk")
    bad = world.provided_session(ALICE, world.gate, keys=keys_of("bad"), issuer=ACME, methods=("pwd",))
    world.refuses("LOGIN_PROOF", replace(bad, login=None), world.gate)
    assert pays(world, strong).says == ("allowed", "")


def test_a_login_stands_where_there_is_no_room_to_attest_it():
    """Four colluding persons of a provider could keep all the others from logging in."""
    world = opened(bounds=TenantLimits(attestations=16))
    for _ in range(2):
        alice = logs_in(world, "hwk")

    assert not world.tables.attestations.of(alice.kid)
    assert pays(world, alice).says == ("denied", "ATTESTATION_MISSING")
    assert world.tables.attestations.rows


def test_it_ends_with_the_session_and_with_the_key_that_said_it(world):
    """A stolen bridge's word does not count once its key is revoked; nor does it outlive its session."""
    other = world.register("bridge", "other", attributes=Attributes(issuers=("*",)))
    alice, bob = logs_in(world, "hwk", ttl_ms=HOUR_MS), logs_in(world, "hwk", name="user:bob", by=other)
    world.revoke("other")
    assert pays(world, bob).says == ("refused", "EXPIRED_SESSION")
    record = record_id(alice.kid, PHISHING_RESISTANT, "bridge:gate")
    assert record in world.tables.attestations.rows
    world.passes(HOUR_MS)
    assert record not in world.tables.attestations.rows


def test_the_setter_takes_it_back_too(world):
    """The bridge hears that the person's token was stolen."""
    alice = logs_in(world, "hwk")
    assert world.take_back(world.gate, alice, PHISHING_RESISTANT, "bridge:gate").says == ("accepted", "")
    assert pays(world, alice).says == ("denied", "ATTESTATION_REVOKED")


def test_a_delegation_takes_the_strength_of_its_grant(world):
    """As the root had logged in when it was granted."""
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "attestations": [PHISHING_RESISTANT]})
    leaf = world.grant_to(logs_in(world, "hwk"), "bot", resources=[PAY]).entry.event
    assert world.pay(on_behalf_of=leaf).says == ("allowed", "")
    leaf = world.grant_to(logs_in(world, "pwd"), "bot", resources=[PAY]).entry.event
    assert world.pay(on_behalf_of=leaf).says == ("denied", "ATTESTATION_MISSING")


def test_the_login_of_a_tools_session_is_not_that_of_its_caller(world):
    """A weak login reaches nothing through another person's tool, whose own login is strong."""
    bob = Instance(world, logs_in(world, "hwk", name="user:bob"))
    assert bob.offer("prompt:ask").says == ("accepted", "")
    paying = f"{PHISHING_RESISTANT}::{{tool.id == '{PAY}'}}"
    world.publish_policy({"policy_id": "role:analyst", **ANYTHING, "attestations": [paying]})
    for method, says in (("pwd", ("denied", "ATTESTATION_MISSING")), ("hwk", ("allowed", ""))):
        carol = logs_in(world, method, name="user:carol")
        outer = call_of(world, carol, "prompt:ask", target=bob.id)
        assert outer.says == ("allowed", "")
        inner = world.send(invocation(PAY, {"amount": 1}), bob.session, causation_id=outer.entry.event)
        assert inner.says == says
