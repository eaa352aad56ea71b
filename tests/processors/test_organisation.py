"""The organisation's key: it signs restrictions above a tenant, and may do nothing else; no admin stands above it."""

from __future__ import annotations

from typing import Any

import pytest

from processors.identity.following import FollowedRegistry
from processors.refusal import Refusal
from processors.state.bounds import TenantLimits
from schemas import limits
from schemas.events.keys import KeyRotated
from schemas.records import PolicyPublished, PolicyWithdrawn, PrincipalRevoked, SessionOpened
from tests.builders import Actor, Folded, keys_of
from tests.reference.registry_reference import Registry
from tests.tenancy import organised
from tests.world import Office, World

SHARED = keys_of("shared", "organisation")
OWNER = Actor("organisation", "organisation", SHARED)
DENIES = {"policy_id": "org:calm", "denied_resources": ["tool:calc/**"]}


def office(name: str = "office", **founding: Any) -> Office:
    opened = Office.opened(name, **{"organisation_key": SHARED.signing.public, **founding})
    opened.world.organisation = OWNER
    return opened


def said(folded: Folded) -> str:
    assert folded.entry.outcome == "refused"
    return folded.entry.reason


def withdrawal(world: World, policy_id: str) -> PolicyWithdrawn:
    return PolicyWithdrawn(policy_id=policy_id, previous=world.tables.policies.rows[policy_id.encode()].digest)


def rotation(world: World, old: Actor, new: Any, by: Actor) -> Folded:
    offer = world.offer(new, old.role, old.principal_id)
    return world.send(KeyRotated(kid=old.kid, key=offer, reason="planned"), by)


# ---- restrictions above the tenant


def test_a_document_of_the_organisation_restricts_calls_that_the_tenant_grants_and_grants_none():
    """The tenant's grant lets the call pass, the organisation's denial stops it, and its own resources grant none."""
    desk = office()
    assert desk.call().says == ("allowed", "")
    assert organised(desk.world, DENIES).says == ("accepted", "")
    assert desk.call().entry.outcome == "denied"

    assert organised(desk.world, {"policy_id": "org:calm", "resources": ["tool:**"]}).says == ("accepted", "")
    assert desk.call().says == ("allowed", "")
    desk.world.withdraw_policy("agent:bot")
    assert desk.call().entry.outcome == "denied"


def test_an_admin_neither_publishes_nor_replaces_nor_withdraws_a_document_of_the_organisation():
    """Each of the three is refused for its prefix, and the document stays."""
    desk, world = office(), None
    world = desk.world
    assert said(world.send(world.publication(DENIES), world.admin)) == "E_PREFIX_RESERVED"
    organised(world, DENIES)
    weaker = world.publication({"policy_id": "org:calm"})

    assert said(world.send(weaker, world.admin)) == "E_PREFIX_RESERVED"
    assert said(world.send(withdrawal(world, "org:calm"), world.admin)) == "E_PREFIX_RESERVED"
    assert said(world.send(world.publication({"policy_id": "org:more"}), world.admin)) == "E_PREFIX_RESERVED"
    assert desk.call().entry.outcome == "denied"


@pytest.mark.parametrize("policy_id", ["agent:bot", "tool:calc/run", "Org:calm", "org", "restrict:org:acme"])
def test_the_organisation_signs_no_document_of_the_tenant(policy_id):
    """It neither publishes nor withdraws policies of the tenant, and a mixed event has no effect at all."""
    world = office().world
    document = {"policy_id": policy_id, "denied_resources": ["**"]}
    assert said(organised(world, document)) == "E_SIGNER"
    assert said(organised(world, DENIES, document)) == "E_SIGNER"
    assert said(world.send(withdrawal(world, "agent:bot"), OWNER)) == "E_SIGNER"
    assert set(world.tables.policies.rows) == {b"agent:bot"}


def test_without_an_organisation_nobody_signs_its_documents():
    """In a tenant that was founded without one the key is unknown, and the admin has no right to the prefix."""
    world = Office.opened("alone").world
    assert said(world.send(world.publication(DENIES), OWNER)) == "UNKNOWN_KEY"
    assert said(world.send(world.publication(DENIES), world.admin)) == "E_PREFIX_RESERVED"


def test_a_tenant_full_of_policies_still_takes_those_of_its_organisation():
    """The two have rooms of their own: neither an admin nor the organisation fills the other's."""
    world = World.founded("full", organisation_key=SHARED.signing.public, bounds=TenantLimits(policies=2))
    world.organisation = OWNER
    world.publish_policy({"policy_id": "user:a"}, {"policy_id": "user:b"})

    assert organised(world, DENIES).says == ("accepted", "")
    assert said(world.send(world.publication({"policy_id": "user:c"}), world.admin)) == "LIMIT_EXCEEDED"
    assert world.send(world.publication({"policy_id": "user:b", "name": "b"}), world.admin).says == ("accepted", "")


def test_an_organisation_has_a_bounded_number_of_documents():
    """One more than the bound is refused, and its whole event with it."""
    world = office().world
    for first in range(0, limits.ORGANISATION_POLICIES_MAX, 64):
        assert organised(world, *({"policy_id": f"org:{n}"} for n in range(first, first + 64))).says[0] == "accepted"
    assert said(organised(world, {"policy_id": "org:more"})) == "LIMIT_EXCEEDED"
    assert organised(world, {"policy_id": "org:0", "name": "zero"}).says == ("accepted", "")


# ---- one key, one role


def test_one_organisation_stands_over_two_tenants_and_its_signature_for_one_counts_in_no_other():
    """The same key, the same event: what it signed for one genesis is BAD_SIGNATURE in the other."""
    here, there = office("here", tenant="acme").world, office("there", tenant="bolt").world
    value, headers = here.signed(here.publication(DENIES), OWNER)
    assert said(there.fold(value, headers)) == "BAD_SIGNATURE"
    assert here.fold(value, headers).says == ("accepted", "")
    assert organised(there, DENIES).says == ("accepted", "")


@pytest.mark.parametrize("taken", ["root", "admin", "monitor"])
def test_a_tenant_whose_organisation_has_another_key_of_its_founding_is_not_founded(taken):
    """One key has one role."""
    keys = keys_of("twice", "root", 0) if taken == "root" else keys_of("twice", taken)
    assert said(World("twice", organisation_key=keys.signing.public).found()) == "KEY_TAKEN"


@pytest.mark.parametrize(("key", "reason"), [
    (bytes(32), "BAD_KEY"), (b"", "BAD_KEY"), (b"\x01" + bytes(31), "BAD_KEY"), (bytes([255]) * 32, "BAD_KEY"),
])  # fmt: skip
def test_a_key_of_the_organisation_is_a_point_of_the_curve(key, reason):
    """A small or malformed point founds no tenant."""
    assert said(World("bad", organisation_key=key).found()) == reason


def test_the_organisations_key_is_no_next_root_key():
    """Else a recovery by that key would meet KEY_TAKEN, when it is needed most."""
    world = World("next", organisation_key=SHARED.signing.public, next_root_digests=(SHARED.kid, bytes(32)))
    assert said(world.found()) == "BAD_ROOT_SIGNATURES"


def test_the_organisations_key_takes_no_second_role():
    """Registration, root acts, rotation and sessions all refuse it."""
    world = office().world
    agent = world.register("agent", "runner")
    assert said(world.send(world.registration("agent", "other", keys=SHARED), world.admin)) == "KEY_TAKEN"
    assert said(
        world.send(world.admin_addition(world.offer(SHARED, "admin", "new"), world.roots[:2]), world.roots[0])
    ) == ("KEY_TAKEN")
    assert said(world.send(world.root_rotation([SHARED], world.roots[:2]), world.roots[0])) == "KEY_TAKEN"
    assert said(world.send(world.session_of(agent, keys=SHARED), agent)) == "KEY_TAKEN"


def test_nobody_else_takes_the_organisations_name():
    """A registration under its name is refused, whichever role it asks for."""
    world = office().world
    for role in ("agent", "monitor", "approver", "enrolment"):
        assert said(world.send(world.registration(role, "organisation"), world.admin)) == "REGISTRATION_CONFLICT"
    assert said(world.send(world.registration("organisation", "organisation"), world.admin)) == "WRONG_ROLE"


# ---- its end


def test_no_admin_ends_or_replaces_the_organisations_key():
    """Revocation and rotation by an admin are refused, and the key goes on."""
    world = office().world
    assert said(world.send(PrincipalRevoked(principal_id="organisation", kid=None, reason="away"), world.admin)) == (
        "WRONG_PRINCIPAL"
    )
    assert said(rotation(world, OWNER, keys_of("mine"), world.admin)) == "WRONG_ROLE"
    assert organised(world, DENIES).says == ("accepted", "")


def test_the_organisation_rotates_its_own_key_and_the_old_one_ends():
    """The old key signs for the new one; afterwards it is expired, and the new one publishes."""
    world, new = office().world, keys_of("successor")
    assert said(rotation(world, world.admin, new, OWNER)) == "WRONG_PRINCIPAL"
    assert rotation(world, OWNER, new, OWNER).says == ("accepted", "")
    assert said(organised(world, DENIES)) == "EXPIRED_KEY"
    world.organisation = Actor("organisation", "organisation", new)
    assert organised(world, DENIES).says == ("accepted", "")


def test_a_revoked_organisation_leaves_its_restrictions_in_force():
    """It fails closed: only a new key that the roots name lifts them."""
    desk = office()
    world = desk.world
    organised(world, DENIES)
    assert (
        world.send(PrincipalRevoked(principal_id="organisation", kid=None, reason="over"), OWNER).says[0] == "accepted"
    )
    assert said(organised(world, {"policy_id": "org:calm"})) == "REVOKED_KEY"
    assert said(world.send(withdrawal(world, "org:calm"), world.admin)) == "E_PREFIX_RESERVED"
    assert desk.call().entry.outcome == "denied"


def test_the_roots_replace_a_stolen_key_of_the_organisation():
    """A thief has rotated it; the roots end all its keys and name another, which withdraws what the thief published."""
    desk, thief, again = office(), keys_of("thief"), keys_of("again")
    world = desk.world
    rotation(world, OWNER, thief, OWNER)
    world.organisation = Actor("organisation", "organisation", thief)
    organised(world, DENIES)
    one_root = world.admin_removal("organisation", world.roots[:1])
    assert said(world.send(one_root, world.roots[0])) == "BAD_ROOT_SIGNATURES"
    removal = world.admin_removal("organisation", world.roots[:2])
    assert world.send(removal, world.roots[0]).says == ("accepted", "")
    assert said(organised(world, DENIES)) == "REVOKED_KEY"

    as_admin = world.admin_addition(world.offer(again, "admin", "organisation"), world.roots[:2])
    assert said(world.send(as_admin, world.roots[0])) == "BAD_POSSESSION"
    addition = world.admin_addition(world.offer(again, "organisation", "organisation"), world.roots[:2])
    assert world.send(addition, world.roots[0]).says == ("accepted", "")
    named = Actor("organisation", "organisation", again)
    assert said(world.send(world.registration("agent", "x"), named)) == "WRONG_ROLE"
    assert world.send(withdrawal(world, "org:calm"), named).says == ("accepted", "")
    assert desk.call().says == ("allowed", "")


def test_followers_and_the_second_registry_know_the_organisation_by_the_same_events():
    """Founding, own rotation, root acts: after each the three agree about its keys."""
    world, second, third = office("known").world, keys_of("second"), keys_of("third")
    rotation(world, OWNER, second, OWNER)
    world.send(world.admin_removal("organisation", world.roots[:2]), world.roots[0])
    world.send(
        world.admin_addition(world.offer(third, "organisation", "organisation"), world.roots[:2]), world.roots[1]
    )
    followed = FollowedRegistry(world.fresh_tables())
    other = Registry(world.tenant, world.tables.origin, world.genesis)
    for output in world.followed:
        if b"session" not in (output.key or b""):
            received = world.receive(output.value, output.headers)
            followed.follow(received)
            other.fold(received.value or b"", received.header("macaw-kid"), received.header("macaw-proof"), world.now)
    want = {kid: row for kid, row in world.tables.keys.rows.items() if row.role == "organisation"}
    assert {kid: followed.tables.keys.rows[kid].revoked_at is None for kid in want} == {
        SHARED.kid: False, second.kid: False, third.kid: True,
    }  # fmt: skip
    assert {kid: not row["revoked"] for kid, row in other.keys.items() if row["role"] == "organisation"} == {
        kid: row.revoked_at is None for kid, row in want.items()
    }
    with pytest.raises(Refusal, match="REVOKED_KEY"):
        followed.follow(world.receive(*world.signed(PolicyPublished(documents=("{}",), previous=(None,)), OWNER)))
    assert SessionOpened.__name__ not in other.principals
