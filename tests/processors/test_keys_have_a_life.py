"""Keys begin, are rotated and end: by whom, with which effects, and what a thief of each may not."""

from typing import Any

import pytest

from processors.identity.following import follow
from processors.identity.keys import decision_keys
from processors.proof.signing import VerifiedHeads
from processors.state.bounds import TenantLimits
from schemas import limits
from schemas.events.keys import KeyRotated
from schemas.records import SessionRevoked
from schemas.words import RegistryKind
from tests.builders import Actor, Folded, keys_of
from tests.cast import Cast
from tests.world import HOUR_MS, World

ROTATED = ("monitor", "bridge", "enrolment", "approver", "attester")


@pytest.fixture
def world() -> World:
    return World.founded("life", next_root_digests=tuple(keys_of("next", i).kid for i in range(3)))


@pytest.fixture
def cast() -> Cast:
    return Cast("life")


def said(folded: Folded) -> str:
    assert folded.entry.outcome == "refused", folded.says
    return folded.entry.reason


def rotation(world: World, old: Actor, new: Any, **body: Any) -> KeyRotated:
    offer = world.offer(new, old.role, body.pop("name", old.principal_id))
    return KeyRotated(**{"kid": old.kid, "key": offer, "reason": "planned", **body})


def published(world: World) -> Folded:
    return world.send(world.publication({"policy_id": "user:a", "resources": ["**"]}), world.admin)


def follows(world: World) -> None:
    """Fold the accepted events of the registry by themselves, as a client does, and compare the keys."""
    tables, heads = world.fresh_tables(), VerifiedHeads()
    reference = world.fresh_tables()
    for received in world.records:
        entry = world.fold_into(reference, received).entry
        if entry.outcome == "accepted" and any(
            entry.kind == kind for kind in ("TenantFounded", "PrincipalRegistered", "PrincipalRevoked", "KeyRotated",
                                            "AdminAdded", "AdminRemoved", "RootRotated", "SessionOpened",
                                            "SessionClosed", "SessionRevoked", "IdentityProviderTrusted",
                                            "IdentityProviderDistrusted", "SessionRenewed", "LoginEnded")
        ):  # fmt: skip
            follow(tables, received, heads, now=entry.now)
    assert {k: (r.x25519, r.revoked_at is None) for k, r in tables.keys.rows.items()} == {
        k: (r.x25519, r.revoked_at is None) for k, r in world.tables.keys.rows.items()
    }
    assert tables.tenant.rows == world.tables.tenant.rows


# ---- rotation by an admin


@pytest.mark.parametrize("role", ROTATED)
def test_an_admin_rotates_a_key_and_the_next_one_has_its_rights(cast, role):
    """Role, name, attributes and grant pass over; the old key signs nothing from then on."""
    world, old = cast.world, cast.actors[role]
    before = world.tables.keys.rows[old.kid]
    new = keys_of("new", role)
    folded = world.send(rotation(world, old, new), world.admin)

    assert folded.says == ("accepted", "")
    row = world.tables.keys.rows[new.kid]
    assert (row.role, row.principal_id, row.attributes, row.enrolment, row.enrolled, row.payer) == (
        before.role, before.principal_id, before.attributes, before.enrolment, before.enrolled, before.payer,
    )  # fmt: skip
    assert (row.ed25519, row.x25519) == (new.signing.public, new.sealing.public)
    assert said(world.revoke("nobody", by=old)) == "EXPIRED_KEY"
    assert world.tables.principals.rows[old.principal_id.encode()].kids == (new.kid,)
    follows(world)


def test_what_a_rotated_key_said_still_counts(cast):
    """A bridge's sessions stay open and are its next key's to revoke; an attester's word stands."""
    world, bridge = cast.world, cast.actors["bridge"]
    keys = keys_of("ann")
    assert world.send(world.person_session("user:ann", keys=keys), bridge).says == ("accepted", "")
    new = Actor("bridge", bridge.principal_id, keys_of("new bridge"))
    world.send(rotation(world, bridge, new.keys), world.admin)

    assert world.tables.sessions.rows[keys.kid].expires_at > world.now
    assert world.send(SessionRevoked(session=keys.kid, reason="left"), new).says == ("accepted", "")


def test_an_enrolment_grant_is_not_filled_up_by_a_rotation(cast):
    """Counters pass over: a thief of an enrolment key gains no registrations by having it rotated."""
    world = cast.world
    key = world.register("enrolment", "few")
    row = world.tables.keys.rows[key.kid]
    assert row.enrolment is not None
    world.register("agent", "one", by=key)
    new = Actor("enrolment", "few", keys_of("few again"))
    world.send(rotation(world, key, new.keys), world.admin)

    assert world.tables.keys.rows[new.kid].enrolled == 1
    follows(world)


@pytest.mark.parametrize("role", ["agent", "service", "tool", "admin"])
def test_an_admin_rotates_no_programs_and_no_admins(cast, role):
    """Programs register a further instance; admins are the roots' to name."""
    world, old = cast.world, cast.actors[role]
    by = world.admin if role != "admin" else Actor("admin", "second", keys_of("second"))
    if role == "admin":
        world.send(world.admin_addition(world.offer(by.keys, "admin", "second"), world.roots[:2]), world.roots[0])

    assert said(world.send(rotation(world, old, keys_of("n")), by)) == "WRONG_ROLE"
    assert keys_of("n").kid not in world.tables.keys.rows


@pytest.mark.parametrize("thief", [*ROTATED, "agent", "service", "tool"])
def test_a_thief_of_a_key_cannot_pass_it_on(cast, thief):
    """Neither its own nor another's: the owner would be locked out, and the thief never be found."""
    world, by = cast.world, cast.actors[thief]
    expected = "WRONG_ROLE" if thief == "monitor" else "WRONG_PRINCIPAL"

    assert said(world.send(rotation(world, by, keys_of("thief")), by)) == expected
    other = cast.actors["bridge" if thief != "bridge" else "approver"]
    assert said(world.send(rotation(world, other, keys_of("thief")), by)) == expected
    assert keys_of("thief").kid not in world.tables.keys.rows


def test_a_rotation_needs_a_free_key_that_is_held(cast):
    """A key that exists, one without possession, and one proven for another role or name are refused."""
    world, old = cast.world, cast.actors["bridge"]
    new = keys_of("new")
    taken = cast.actors["approver"].keys
    no_proof = world.offer(new, "bridge", old.principal_id, possession=bytes(64))
    tries: dict[str, KeyRotated] = {
        "KEY_TAKEN": rotation(world, old, taken),
        "BAD_POSSESSION": KeyRotated(kid=old.kid, key=no_proof, reason=""),
        "WRONG_PRINCIPAL": rotation(world, old, new, name="another"),
        "UNKNOWN_KEY": rotation(world, Actor("bridge", old.principal_id, keys_of("nobody's")), new),
        "EXPIRED_KEY": rotation(world, old, new, expires_at=world.now),
    }
    for reason, body in tries.items():
        assert said(world.send(body, world.admin)) == reason
    as_agent = KeyRotated(kid=old.kid, key=world.offer(new, "agent", old.principal_id), reason="")
    assert said(world.send(as_agent, world.admin)) == "BAD_POSSESSION"
    assert new.kid not in world.tables.keys.rows
    assert world.tables.keys.rows[old.kid].expires_at is None


def test_of_two_rotations_at_once_the_first_counts(cast):
    """The second names a key that has ended; its new key is not registered."""
    world, old = cast.world, cast.actors["bridge"]
    assert world.send(rotation(world, old, keys_of("first")), world.admin).says == ("accepted", "")

    assert said(world.send(rotation(world, old, keys_of("second")), world.admin)) == "EXPIRED_KEY"
    revoked = world.register("approver", "gone")
    world.revoke("gone")
    assert said(world.send(rotation(world, revoked, keys_of("second")), world.admin)) == "REVOKED_KEY"
    assert keys_of("second").kid not in world.tables.keys.rows


def test_a_rotated_key_can_still_be_revoked_with_all_that_it_said(cast):
    """A theft that is found after the rotation: expired keys are revoked too."""
    world, bridge = cast.world, cast.actors["bridge"]
    keys = keys_of("ann")
    world.send(world.person_session("user:ann", keys=keys), bridge)
    world.send(rotation(world, bridge, keys_of("new")), world.admin)
    world.revoke(bridge.principal_id, kid=bridge.kid)

    assert world.tables.sessions.rows[keys.kid].revoked


# ---- the X25519 half


@pytest.mark.parametrize("role", ["admin", "bridge", "enrolment", "approver", "attester", "agent", "service", "tool"])
def test_a_key_replaces_its_own_sealing_half(cast, role):
    """The registry has the newest under one key of the topic, so a daily rotation does not let it grow."""
    world, old = cast.world, cast.actors[role]
    for number in range(3):
        fresh = keys_of("sealing", number)
        both = type(old.keys)(old.keys.signing, fresh.sealing)
        folded = world.send(rotation(world, old, both), old)
        assert folded.says == ("accepted", "")
        assert world.tables.keys.rows[old.kid].x25519 == fresh.sealing.public
        [entry] = [o for o in folded.outputs if o.topic.name == "registry"]
        assert entry.key == f"{RegistryKind.SEALING}/{old.kid.hex()}".encode()
    follows(world)


def test_nobody_replaces_anothers_sealing_half_or_its_own_end(cast):
    """Payloads would be sealed to the thief; and a key that runs out would never do so."""
    world, tool = cast.world, cast.actors["tool"]
    both = type(tool.keys)(tool.keys.signing, keys_of("thief").sealing)
    for by in (world.admin, cast.actors["agent"], cast.actors["enrolment"]):
        assert said(world.send(rotation(world, tool, both), by)) in {"KEY_TAKEN", "WRONG_PRINCIPAL", "WRONG_ROLE"}
    assert said(world.send(rotation(world, tool, both, expires_at=world.now + 1), tool)) == "NOT_SUPPORTED"
    assert said(world.send(rotation(world, tool, tool.keys), tool)) == "KEY_TAKEN"
    assert world.tables.keys.rows[tool.kid].x25519 == tool.keys.sealing.public


# ---- no decision key


def test_without_a_decision_key_only_its_remedies_have_an_effect(cast):
    """All else is refused, whoever signs it, until an admin has registered a monitor again."""
    world, session = cast.world, cast.actors["session"]
    world.publish_policy({"policy_id": "agent:the-agent", "resources": ["**"]})
    world.revoke("monitor")
    assert not decision_keys(world.tables)

    assert said(world.call(session, "tool:the-tool/run")) == "NO_DECISION_KEY"
    assert (
        said(world.send(world.publication({"policy_id": "user:a", "resources": ["**"]}), world.admin))
        == "NO_DECISION_KEY"
    )
    assert said(world.send(world.registration("agent", "late"), world.admin)) == "NO_DECISION_KEY"
    keys = keys_of("second admin")
    add = world.admin_addition(world.offer(keys, "admin", "second"), world.roots[:2])
    assert world.send(add, world.roots[0]).says == ("accepted", "")
    assert said(world.send(world.registration("monitor", "monitor"), session)) == "WRONG_ROLE"
    second = Actor("admin", "second", keys)
    assert world.register("monitor", "monitor", by=second, keys=keys_of("next monitor"))
    assert decision_keys(world.tables) == [keys_of("next monitor").kid]
    assert world.call(session, "tool:the-tool/run").says == ("allowed", "")


def test_the_key_that_ends_a_stretch_needs_no_room():
    """A thief of an admin key fills the table and revokes the decision key: the next one is registered all the same."""
    world = World.founded("full", bounds=TenantLimits(keys=8))
    while world.send(world.registration("agent", f"bot{world.draw()}"), world.admin).says == ("accepted", ""):
        assert len(world.tables.keys) < 50
    assert world.revoke("monitor").says == ("accepted", "")

    assert world.send(world.registration("monitor", "monitor"), world.admin).says == ("accepted", "")
    for number in range(limits.DECISION_KEYS_MAX - 1):
        assert world.send(world.registration("monitor", f"m{number}"), world.admin).says == ("accepted", "")
    assert said(world.send(world.registration("monitor", "one too many"), world.admin)) == "LIMIT_EXCEEDED"


def test_an_expired_decision_key_is_none(world):
    """By log time; the log says so from the first record after the end on."""
    second = keys_of("second monitor")
    world.send(world.registration("monitor", "monitor", keys=second, expires_at=world.now + HOUR_MS), world.admin)
    world.revoke("monitor", kid=world.monitor.kid)
    assert decision_keys(world.tables) == [second.kid]
    world.advance(HOUR_MS)

    assert (
        said(world.send(world.publication({"policy_id": "user:a", "resources": ["**"]}), world.admin))
        == "NO_DECISION_KEY"
    )
    assert world.register("monitor", "monitor", keys=keys_of("third monitor"))


def test_the_newest_decision_key_comes_last(world):
    """A worker signs with the newest that it has."""
    world.advance(1)
    second = world.register("monitor", "monitor", keys=keys_of("second monitor"))

    assert decision_keys(world.tables) == [world.monitor.kid, second.kid]
