"""Whose key may sign an entry while keys change: told alike by the verifier and by the second implementation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.evidence.registry_events import AHEAD_MAX
from processors.evidence.verdict import verify
from processors.proof.signing import SigningKey
from schemas.events.keys import KeyRotated
from tests.builders import Actor, keys_of
from tests.reference.evidence_reference import verdict_of
from tests.reference.log_builder import SmallLog
from tests.world import HOUR_MS, World

OLD, NEW, STRANGER, THIRD = "old", "new", "stranger", "third"


def told(log: SmallLog) -> tuple[str, int | None]:
    """Return the verdict that both implementations give."""
    folder, genesis = log.folder(), log.world.genesis
    verdict = verify(folder, genesis=genesis)
    assert verdict_of(folder.files, genesis) == (verdict.code, verdict.index)
    return verdict.code, verdict.index


def key(world: World, name: str) -> SigningKey:
    return world.monitor.keys.signing if name == OLD else keys_of(name).signing


def signed(log: SmallLog, *names: str) -> SmallLog:
    """Return the log with each entry signed by the key of this name; the last name serves for the rest."""
    for index, _ in enumerate(log.entries):
        log = log.resign(index, by=key(log.world, names[min(index, len(names) - 1)]))
    return log


# ---- a rotation


def rotated(by_name: str = NEW) -> SmallLog:
    """Return the log of a tenant whose decision key is rotated at entry 2."""
    world = World.founded("rotation")
    world.register("agent", "bot")
    offer = world.offer(keys_of(by_name), "monitor", "monitor")
    said = world.send(KeyRotated(kid=world.monitor.kid, key=offer, reason="planned"), world.admin)
    assert said.says == ("accepted", "")
    world.register("agent", "other")
    return SmallLog.of(world)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((OLD, OLD, NEW, NEW), ("UNWITNESSED", None)),
        ((OLD, OLD, OLD, NEW), ("KEY_NOT_VALID", 2)),  # the old key ends with this event
        ((OLD, OLD, NEW, OLD), ("KEY_NOT_VALID", 3)),
        ((OLD, NEW, NEW, NEW), ("BAD_SIG", 1)),  # not before its rotation
        ((OLD, OLD, STRANGER, NEW), ("BAD_SIG", 2)),
        ((OLD, OLD, NEW, STRANGER), ("BAD_SIG", 3)),
        ((NEW, OLD, NEW, NEW), ("BAD_SIG", 0)),
    ],
    ids=str,
)
def test_the_key_that_follows_signs_from_its_rotation_on(names, expected):
    """And the old one up to the entry before."""
    assert told(signed(rotated(), *names)) == expected


def test_a_refused_rotation_brings_no_key():
    """What an agent says of a monitor's key is no reason to believe an entry."""
    world = World.founded("refused rotation")
    agent = world.register("agent", "bot")
    offer = world.offer(keys_of(NEW), "monitor", "monitor")
    world.send(KeyRotated(kid=world.monitor.kid, key=offer, reason="mine"), agent)
    log = SmallLog.of(world)

    assert told(signed(log, OLD)) == ("UNWITNESSED", None)
    assert told(signed(log, OLD, OLD, NEW)) == ("BAD_SIG", 2)
    lied = log.resign(2, by=keys_of(NEW).signing, outcome="accepted", reason="")
    assert told(lied)[0] in {"KEY_NOT_VALID", "BAD_SIG"}


# ---- while no key is live


def stretch() -> SmallLog:
    """Return a log: 0 founding, 1 agent, 2 the monitor's revocation, 3 and 4 refused, 5 the roots, 6 the next key."""
    world = World.founded("stretch")
    agent = world.register("agent", "bot")
    world.revoke("monitor")
    world.send(world.session_of(agent, keys=keys_of("session")), agent)
    world.send(world.publication({"policy_id": "agent:bot", "resources": ["**"]}), world.admin)
    second = Actor("admin", "second", keys_of("second admin"))
    world.send(world.admin_addition(world.offer(second.keys, "admin", "second"), world.roots[:2]), world.roots[0])
    world.register("monitor", "monitor", by=second, keys=keys_of(NEW))
    world.register("agent", "other", by=second)
    return SmallLog.of(world)


ALL = (OLD, OLD, OLD, NEW, NEW, NEW, NEW, NEW)


@pytest.mark.parametrize(
    ("at", "by", "expected"),
    [
        (None, NEW, ("UNWITNESSED", None)),
        (2, NEW, ("BAD_SIG", 2)),  # the revoked key signs its own end
        (3, OLD, ("KEY_NOT_VALID", 3)),
        (4, OLD, ("KEY_NOT_VALID", 4)),
        (5, STRANGER, ("BAD_SIG", 5)),
        (6, OLD, ("KEY_NOT_VALID", 6)),
        (7, OLD, ("KEY_NOT_VALID", 7)),
        (7, STRANGER, ("BAD_SIG", 7)),
    ],
)
def test_the_key_that_ends_a_stretch_without_one_signs_it_whole(at, by, expected):
    """A stranger, and the revoked key, sign nothing in it."""
    names = [*ALL]
    if at is not None:
        names[at] = by
    assert told(signed(stretch(), *names)) == expected


def test_nothing_but_its_remedies_has_an_effect_in_a_stretch():
    """The next key signs these entries before it is registered: it must not be able to allow anything there."""
    log = signed(stretch(), *ALL)
    lied = log.resign(4, by=key(log.world, NEW), outcome="accepted", reason="").relinked(5, by=key(log.world, NEW))
    assert told(lied) == ("KEY_NOT_VALID", 4)


def test_a_stretch_that_nothing_ends_is_signed_by_nobody():
    """Cut before the registration, or with a registration that the admin did not make."""
    log = signed(stretch(), *ALL)
    cut = SmallLog(log.world, log.pairs[:6], log.entries[:6])
    assert told(cut) == ("BAD_SIG", 3)

    world = World.founded("no end")
    agent = world.register("agent", "bot")
    world.revoke("monitor")
    body = world.registration("monitor", "monitor", keys=keys_of(NEW))
    world.send(body, agent)
    log = signed(SmallLog.of(world), OLD, OLD, OLD, NEW)
    assert told(log) == ("BAD_SIG", 3)


def test_a_key_that_expires_begins_a_stretch_by_log_time():
    """The entry at the end itself is not the expired key's any more."""
    world = World.founded("expiry")
    world.send(
        world.registration("monitor", "monitor", keys=keys_of(THIRD), expires_at=world.now + HOUR_MS), world.admin
    )
    world.revoke("monitor", kid=world.monitor.kid)
    world.advance(HOUR_MS)
    world.send(world.publication({"policy_id": "user:a", "resources": ["**"]}), world.admin)
    world.register("monitor", "monitor", keys=keys_of(NEW))
    log = SmallLog.of(world)

    assert told(signed(log, OLD, OLD, OLD, NEW, NEW)) == ("UNWITNESSED", None)
    assert told(signed(log, OLD, OLD, OLD, THIRD, NEW)) == ("KEY_NOT_VALID", 3)


def test_two_stretches_have_each_their_own_key():
    """The second theft is a stretch of its own."""
    world = World.founded("twice")
    world.revoke("monitor")
    first = world.register("monitor", "monitor", keys=keys_of(NEW))
    world.revoke("monitor", kid=first.kid)
    world.register("monitor", "monitor", keys=keys_of(THIRD))
    world.register("agent", "bot")
    log = SmallLog.of(world)

    assert told(signed(log, OLD, OLD, NEW, NEW, THIRD, THIRD)) == ("UNWITNESSED", None)
    assert told(signed(log, OLD, OLD, THIRD, NEW, THIRD, THIRD)) == ("KEY_NOT_VALID", 2)


@given(st.lists(st.sampled_from([OLD, NEW, STRANGER]), min_size=8, max_size=8))
def test_of_all_ways_to_sign_a_stretch_one_is_right(names):
    """Whoever signs which entry."""
    verdict = told(signed(stretch(), *names))
    assert (verdict == ("UNWITNESSED", None)) is (tuple(names) == ALL)


def test_a_registration_is_looked_for_a_bounded_way_ahead():
    """A folder of a million registrations is not held in memory to find a key."""
    world = World.founded("far")
    world.revoke("monitor")
    roots = world.roots[:2]
    for number in range(AHEAD_MAX):
        offer = world.offer(keys_of("admin", number), "admin", f"a{number}")
        world.send(world.admin_addition(offer, roots), world.roots[0])
    world.register("monitor", "monitor", keys=keys_of(NEW))
    log = signed(SmallLog.of(world), OLD, OLD, NEW)

    assert told(log) == ("BAD_SIG", 2)


def test_the_key_to_come_registers_nobody_but_a_monitor_in_a_stretch():
    """An entry that says so is its own lie: the registration is refused while no key is live."""
    world = World.founded("agent in a stretch")
    world.revoke("monitor")
    world.send(world.registration("agent", "sneaked"), world.admin)
    world.register("monitor", "monitor", keys=keys_of(NEW))
    log = signed(SmallLog.of(world), OLD, OLD, NEW)
    assert told(log) == ("UNWITNESSED", None)
    lied = log.resign(2, by=key(world, NEW), outcome="accepted", reason="").relinked(3, by=key(world, NEW))

    assert told(lied) == ("KEY_NOT_VALID", 2)
