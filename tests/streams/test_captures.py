"""A thief of an admin key takes a worker's key or engine away: the roots remove the admin, and the tenant goes on."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from processors.proof import signing
from producers.home.keys import KeyPair
from schemas.events.attributes import NONE
from schemas.events.keys import AdminAdded, AdminAddition, AdminRemoval, AdminRemoved, KeyRotated, RootSignature
from schemas.records import AuditEntry, Body, PrincipalRegistered, PrincipalRevoked
from schemas.topics import STATE
from streams.local.choose import BrokerInfo
from streams.worker.loop import Loop
from streams.worker.restorations import KEY_SECONDS
from streams.worker.state_head import HEAD_KEY
from tests.builders import act_bytes
from tests.engines import activation
from tests.plain_keys import PLAIN_KEYS
from tests.streams.loop_oracle import check_log, read_log
from tests.streams.loop_world import Record, Speaker, World, fold_all, mixed, turn_until
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker


@pytest.fixture
def world(broker: BrokerInfo, tmp_path: Path, unique: str) -> World:
    return World(broker, tmp_path, unique)


class Stolen:
    """A tenant whose admin key is stolen, and its roots."""

    def __init__(self, world: World) -> None:
        self.world, self.tenant = world, world.found()
        self.key, self.thief = self.tenant.folder.key("monitor"), KeyPair.generate()
        self._root = self.tenant.folder.key("root")
        self._speaker = Speaker(self._root.signing, "root")
        self.admin = self.tenant.admin
        self.tenant.append(mixed(self.tenant, 20))

    def offer(self, key: KeyPair) -> PrincipalRegistered:
        offered = key.offer("monitor", "monitor", self.tenant.folder.genesis)
        return PrincipalRegistered(role="monitor", key=offered, attributes=NONE, tools=())

    def rotation(self, key: KeyPair) -> KeyRotated:
        offered = key.offer("monitor", "monitor", self.tenant.folder.genesis)
        return KeyRotated(kid=self.key.kid, key=offered, reason="planned")

    def revocation(self, kid: bytes | None) -> PrincipalRevoked:
        return PrincipalRevoked(principal_id="monitor", kid=kid, reason="old")

    def say(self, *bodies: Body, by: Speaker | None = None) -> None:
        """Append events of the admin, whoever has the key, each signed by itself."""
        for body in bodies:
            self.tenant.append(self.tenant.events(by or self.admin, [body]))

    def by_roots(self, kind: type[AdminRemoved | AdminAdded], act: Any, epoch: int = 0) -> list[Record]:
        made = act_bytes(act)
        message = signing.root_act_bytes(self.tenant.folder.genesis, epoch, made)
        consents = (RootSignature(kid=self._root.kid, signature=self._root.signing.sign(message)),)
        return self.tenant.events(self._speaker, [kind(act=made, root_signatures=consents)])

    def remove_admin(self) -> None:
        act = AdminRemoval(principal_id="admin", kid=None, reason="stolen")
        self.tenant.append(self.by_roots(AdminRemoved, act))

    def go_on_with_another_admin(self) -> None:
        """Let the roots name another admin, as their second act, who registers the next decision key; make calls."""
        key, heir = KeyPair.generate(), KeyPair.generate()
        offered = key.offer("admin", "olga", self.tenant.folder.genesis)
        self.tenant.append(self.by_roots(AdminAdded, AdminAddition(admin=offered), epoch=1))
        PLAIN_KEYS.put(self.tenant.folder.coming_monitor_file(heir.kid), heir, "file")
        self.say(self.offer(heir), by=Speaker(key.signing, "olga"))
        self.tenant.append(mixed(self.tenant, 20))

    def stands_still(self, loop: Loop, code: str, offset: int) -> None:
        """Let a worker run until it stands still at an offset, and says why; and for a while longer."""
        turn_until(loop, lambda: loop.paused.get(self.tenant.intake, "").startswith(code))
        until = time.monotonic() + 2 * KEY_SECONDS
        while time.monotonic() < until:
            loop.turn(0.05)
        assert loop.paused[self.tenant.intake].startswith(code)
        assert len(read_log(self.world, self.tenant).entries) == offset

    def end_after(self, seconds: float) -> int:
        """Let the owner put a key with an end in the place of the decision key; return the time (ms) of its end."""
        new, ends = KeyPair.generate(), int((time.time() + seconds) * 1000)
        PLAIN_KEYS.put(self.tenant.folder.coming_monitor_file(new.kid), new, "file")
        self.say(replace(self.rotation(new), expires_at=ends))
        self.key = new
        return ends

    def damage_state(self) -> None:
        self.world.producer.produce(STATE.of(self.tenant.name), None, HEAD_KEY, 0)
        assert self.world.producer.flush(PATIENCE_SECONDS) == 0


def ruled_out(entries: list[AuditEntry]) -> list[str]:
    return [one.kind for one in entries if one.reason == "RULED_OUT"]


@pytest.mark.parametrize("way", ["rotated", "revoked", "rotated twice", "outlived"])
def test_a_thief_who_takes_the_decision_key_is_undone_by_the_roots(world: World, way: str) -> None:
    """The worker stops before the record; it goes on with the key of before, and a restart gives the same log."""
    stolen = Stolen(world)
    tenant = stolen.tenant
    bodies: dict[str, list[Body]] = {
        "rotated": [stolen.rotation(stolen.thief)],
        "revoked": [stolen.offer(stolen.thief), stolen.revocation(stolen.key.kid)],
        "outlived": [stolen.offer(stolen.thief)],  # the tenant's own has an end, and no record would stand there
        "rotated twice": [stolen.rotation(stolen.thief), stolen.rotation(KeyPair.generate())],
    }
    if way == "outlived":
        stolen.end_after(3600)
    takes = [body for body in bodies[way] if way == "outlived" or not isinstance(body, PrincipalRegistered)]
    stolen.say(*bodies[way])
    taken_at = tenant.appended - len(takes)
    tenant.append(mixed(tenant, 20))
    loop = world.loop()
    stolen.stands_still(loop, "KEY_MISSING", taken_at)
    assert "let the roots remove that administrator" in loop.paused[tenant.intake]

    stolen.remove_admin()
    tenant.append(mixed(tenant, 20))
    fold_all(loop, tenant)
    loop.close()

    log = check_log(world, tenant)
    assert ruled_out(log.entries) == [type(body).__name__ for body in takes]
    stolen.damage_state()
    again = world.loop()
    tenant.append(mixed(tenant, 20))
    fold_all(again, tenant)
    again.close()
    check_log(world, tenant)


def test_a_removal_that_does_not_count_lets_nobody_go_on(world: World) -> None:
    """Not one that the thief has made, of another admin, or of an epoch that is not the present one."""
    stolen = Stolen(world)
    tenant = stolen.tenant
    taken_at = tenant.appended
    stolen.say(stolen.rotation(stolen.thief))
    tenant.call(5)
    act = AdminRemoval(principal_id="admin", kid=None, reason="mine")
    forged = AdminRemoved(act=act_bytes(act), root_signatures=(RootSignature(kid=bytes(32), signature=bytes(64)),))
    stolen.say(forged)
    tenant.append(stolen.by_roots(AdminRemoved, replace(act, principal_id="olga")))
    tenant.append(stolen.by_roots(AdminRemoved, act, epoch=1))
    loop = world.loop()
    stolen.stands_still(loop, "KEY_MISSING", taken_at)

    stolen.remove_admin()
    fold_all(loop, tenant)
    loop.close()
    assert [one.reason for one in check_log(world, tenant).entries[-4:]] == [
        "WRONG_ROLE", "UNKNOWN_PRINCIPAL", "BAD_ROOT_SIGNATURES", "",
    ]  # fmt: skip


def test_a_thief_who_activates_what_nobody_has_is_undone_by_the_roots(world: World) -> None:
    """No activation stands on the log before a worker that holds the engine has written it."""
    stolen = Stolen(world)
    tenant = stolen.tenant
    taken_at = tenant.appended
    stolen.say(activation(), activation(700))
    tenant.append(mixed(tenant, 20))
    loop = world.loop()
    stolen.stands_still(loop, "ENGINE_MISSING", taken_at)
    loop.close()

    stolen.remove_admin()
    again = world.loop()
    fold_all(again, tenant)
    again.close()
    assert ruled_out(check_log(world, tenant).entries) == ["EngineActivated", "EngineActivated"]
    stolen.damage_state()
    last = world.loop()
    fold_all(last, tenant)
    last.close()


def test_a_stretch_begins_with_the_registration_of_a_thief(world: World) -> None:
    """The tenant's key comes to its end, and the first record after that is the registration of the thief's."""
    stolen = Stolen(world)
    tenant = stolen.tenant
    ends = stolen.end_after(3)
    loop = world.loop()
    fold_all(loop, tenant)
    taken_at = tenant.appended
    time.sleep(max(0.0, ends / 1000 + 0.2 - time.time()))
    stolen.say(stolen.offer(stolen.thief))
    stolen.stands_still(loop, "KEY_MISSING", taken_at)
    stolen.remove_admin()
    stolen.go_on_with_another_admin()
    fold_all(loop, tenant)
    loop.close()
    assert ruled_out(check_log(world, tenant).entries) == ["PrincipalRegistered"]


def test_a_thief_does_not_end_a_stretch_without_a_key(world: World) -> None:
    """All decision keys are revoked, and the thief's are the first that are registered: the next one is the heir."""
    stolen = Stolen(world)
    tenant = stolen.tenant
    stolen.say(stolen.revocation(None))
    taken_at = tenant.appended
    stolen.say(*(stolen.offer(KeyPair.generate()) for _ in range(20)))
    loop = world.loop()
    stolen.stands_still(loop, "KEY_MISSING", taken_at)
    stolen.remove_admin()
    stolen.stands_still(loop, "NO_DECISION_KEY", taken_at)
    stolen.go_on_with_another_admin()
    fold_all(loop, tenant)
    loop.close()

    log = check_log(world, tenant)
    assert ruled_out(log.entries) == ["PrincipalRegistered"] * 20
    stolen.damage_state()
    again = world.loop()
    fold_all(again, tenant)
    again.close()
