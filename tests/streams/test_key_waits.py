"""A worker without the key that must sign pauses that tenant; a tenant without any live key can be given another."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from processors.proof import signing
from processors.proof.signing import KID_HEADER, PROOF_HEADER, Place
from producers.home.keys import KeyPair
from schemas import codec
from schemas.events.attributes import NONE
from schemas.records import AuditEntry, PrincipalRegistered, PrincipalRevoked
from schemas.topics import AUDIT, STATE
from streams.local.choose import BrokerInfo
from streams.worker.fold import Message
from streams.worker.lanes import Lane
from streams.worker.restorations import KEY_SECONDS
from streams.worker.state_head import HEAD_KEY
from tests.plain_keys import PLAIN_KEYS
from tests.streams.loop_oracle import check_log, expected_outputs, read_topic
from tests.streams.loop_world import Tenant, World, fold_all, folded_here, mixed, turn_until
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker


@pytest.fixture
def world(broker: BrokerInfo, tmp_path: Path, unique: str) -> World:
    return World(broker, tmp_path, unique)


def monitor_registered(tenant: Tenant, key: KeyPair) -> PrincipalRegistered:
    return PrincipalRegistered(
        role="monitor", key=key.offer("monitor", "monitor", tenant.folder.genesis), attributes=NONE, tools=()
    )


def say(tenant: Tenant, *bodies: object) -> None:
    tenant.append(tenant.events(tenant.admin, bodies))  # type: ignore[arg-type]


def replace_key(tenant: Tenant, old: KeyPair, new: KeyPair) -> None:
    """Append the registration of one decision key and the revocation of another."""
    say(tenant, monitor_registered(tenant, new), PrincipalRevoked(principal_id="monitor", kid=old.kid, reason="old"))


def signers(world: World, tenant: Tenant) -> list[bytes]:
    """Return the kid in the header of each audit entry."""
    return [dict(m.headers() or [])[KID_HEADER] for m in read_topic(world, AUDIT.of(tenant.name))]  # type: ignore[misc]


def run(world: World, *tenants: Tenant) -> None:
    """Let a new worker fold what is there."""
    loop = world.loop()
    fold_all(loop, *tenants)
    loop.close()


def test_a_worker_goes_on_behind_an_entry_that_another_decision_key_signed(world: World) -> None:
    """F7: the tail of the log is accepted under every decision key that was valid for it."""
    tenant = world.found()
    first, second = tenant.folder.key("monitor"), KeyPair.generate()
    run(world, tenant)
    PLAIN_KEYS.put(tenant.folder.coming_monitor_file(second.kid), second, "file")
    say(
        tenant,
        monitor_registered(tenant, second),
        PrincipalRevoked(principal_id="monitor", kid=first.kid, reason="old"),
    )
    run(world, tenant)
    (tenant.folder.path / "monitor.key").unlink()
    tenant.folder.coming_monitor_file(second.kid).rename(tenant.folder.path / "monitor.key")
    tenant.append(mixed(tenant, 20))
    run(world, tenant)
    check_log(world, tenant)
    used = signers(world, tenant)
    assert used.index(second.kid) == 7, "the entry of the revocation is the revoked key's last"
    assert set(used[7:]) == {second.kid}


def test_a_missing_key_pauses_one_tenant_until_its_file_is_there(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The others go on; nothing of the tenant is decided with the old key; the file is found without a restart."""
    tenant, other = world.found_all("one", "other")
    first, second = tenant.folder.key("monitor"), KeyPair.generate()
    replace_key(tenant, first, second)
    known = tenant.appended - 1  # the entry of the revocation waits, too
    tenant.append(mixed(tenant, 20))
    with caplog.at_level(logging.ERROR):
        loop = world.loop()
        turn_until(loop, lambda: loop.paused.get(tenant.intake, "").startswith("KEY_MISSING"))
        other.append(mixed(other, 20))
        fold_all(loop, other)
        assert second.kid.hex()[:16] in loop.paused[tenant.intake]
        assert len(signers(world, tenant)) == known
        PLAIN_KEYS.put(tenant.folder.path / f"monitor.{second.kid.hex()[:16]}.key", second, "file")
        fold_all(loop, tenant, other)
        assert tenant.intake not in loop.paused
    loop.close()
    told = [r for r in caplog.records if "KEY_MISSING" in r.getMessage()]
    assert len(told) == 1, "the reason is logged once, not at every attempt"
    check_log(world, tenant)
    check_log(world, other)
    assert set(signers(world, tenant)[known:]) == {second.kid}


@pytest.mark.parametrize("damaged", [False, True])
def test_a_tenant_without_a_live_key_is_given_another(world: World, *, damaged: bool) -> None:
    """The stretch is folded once a key is registered in it: that key signs its entries, also after a damaged state."""
    tenant, other = world.found_all("one", "other")
    heir = KeyPair.generate()
    say(tenant, PrincipalRevoked(principal_id="monitor", kid=None, reason="stolen"))
    known = tenant.appended
    tenant.append(mixed(tenant, 20))
    loop = world.loop()
    turn_until(loop, lambda: loop.paused.get(tenant.intake, "").startswith("NO_DECISION_KEY"))
    other.append(mixed(other, 20))
    fold_all(loop, other)
    assert len(signers(world, tenant)) == known
    if damaged:
        world.producer.produce(STATE.of(tenant.name), None, HEAD_KEY, 0)
        assert world.producer.flush(PATIENCE_SECONDS) == 0
    PLAIN_KEYS.put(tenant.folder.path / f"monitor.{heir.kid.hex()[:16]}.key", heir, "file")
    tenant.append(mixed(tenant, 20))
    say(tenant, monitor_registered(tenant, heir))
    tenant.append(mixed(tenant, 20))
    fold_all(loop, tenant, other)
    loop.close()
    check_log(world, tenant)
    assert set(signers(world, tenant)[known:]) == {heir.kid}


def test_a_key_that_expires_between_two_records_stops_the_tenant_until_another_comes(world: World) -> None:
    """In the state before the late record the key still lives: the worker looks ahead, and does not spin."""
    tenant = world.found()
    first, short, heir = tenant.folder.key("monitor"), KeyPair.generate(), KeyPair.generate()
    PLAIN_KEYS.put(tenant.folder.coming_monitor_file(short.kid), short, "file")
    ends = int(time.time() * 1000) + 2500
    say(
        tenant,
        replace(monitor_registered(tenant, short), expires_at=ends),
        PrincipalRevoked(principal_id="monitor", kid=first.kid, reason="old"),
    )
    loop = world.loop()
    fold_all(loop, tenant)
    known = tenant.appended
    time.sleep(max(0.0, ends / 1000 + 0.2 - time.time()))
    tenant.append(mixed(tenant, 20))
    turn_until(loop, lambda: loop.paused.get(tenant.intake, "").startswith("NO_DECISION_KEY"))
    PLAIN_KEYS.put(tenant.folder.coming_monitor_file(heir.kid), heir, "file")
    say(tenant, monitor_registered(tenant, heir))
    fold_all(loop, tenant)
    loop.close()
    check_log(world, tenant)
    assert set(signers(world, tenant)[known:]) == {heir.kid}


def test_nothing_is_folded_twice_where_the_last_commit_is_slow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The partition is restored only once its own transaction has ended: before, the log is read without it."""
    tenant = world.found()
    send, kept = Lane._send_offset, dict[Lane, list[Message]]()

    def keep(self: Lane, _topic: str, messages: Iterable[Message]) -> None:
        self.producer.begin_transaction()
        kept[self] = [*messages]

    def slowly(self: Lane, *of: Any) -> None:
        time.sleep(4 * KEY_SECONDS)
        for made in kept.pop(self):
            self.producer.produce(made.topic, made.value, made.key, made.partition, headers=made.headers)
        send(self, *of)

    monkeypatch.setattr(Lane, "write", keep)
    monkeypatch.setattr(Lane, "_send_offset", slowly)
    say(tenant, PrincipalRevoked(principal_id="monitor", kid=None, reason="stolen"))
    known = tenant.appended
    tenant.append(mixed(tenant, 20))
    loop = world.loop()
    turn_until(loop, lambda: loop.paused.get(tenant.intake, "").startswith("NO_DECISION_KEY"))
    until = time.monotonic() + 10 * KEY_SECONDS
    while time.monotonic() < until:
        loop.turn(0.05)
    loop.close()
    assert len(signers(world, tenant)) == known


def test_a_stretch_is_not_ended_by_a_registration_that_is_refused(world: World) -> None:
    """An agent, or the old key itself, cannot register a decision key; the worker does not begin to sign with it."""
    tenant = world.found()
    old, thief = tenant.folder.key("monitor"), KeyPair.generate()
    say(tenant, PrincipalRevoked(principal_id="monitor", kid=None, reason="stolen"))
    known = tenant.appended
    PLAIN_KEYS.put(tenant.folder.path / f"monitor.{thief.kid.hex()[:16]}.key", thief, "file")
    tenant.append(tenant.events(tenant.caller, [monitor_registered(tenant, thief)]))
    speaker = type(tenant.admin)(old.signing, "monitor")
    tenant.append(tenant.events(speaker, [monitor_registered(tenant, thief)]))
    loop = world.loop()
    turn_until(loop, lambda: loop.paused.get(tenant.intake, "").startswith("NO_DECISION_KEY"))
    for _ in range(60):
        loop.turn(0.05)
    loop.close()
    assert len(signers(world, tenant)) == known


def test_a_worker_that_dies_in_a_stretch_is_followed_by_one_that_goes_on(world: World) -> None:
    """The last entry is then signed by a key that the registry does not have yet."""
    tenant = world.found()
    heir = KeyPair.generate()
    say(tenant, PrincipalRevoked(principal_id="monitor", kid=None, reason="stolen"))
    known = tenant.appended
    tenant.append(mixed(tenant, 2000))
    say(tenant, monitor_registered(tenant, heir))
    PLAIN_KEYS.put(tenant.folder.path / f"monitor.{heir.kid.hex()[:16]}.key", heir, "file")
    first = world.loop("dies")
    turn_until(first, lambda: known < folded_here(first, tenant))
    assert folded_here(first, tenant) < tenant.appended, "the stretch must not fit into one transaction"
    first.close()
    run(world, tenant)
    check_log(world, tenant)
    assert set(signers(world, tenant)[known:]) == {heir.kid}


@pytest.mark.parametrize("is_right", [False, True])
@pytest.mark.parametrize("is_stolen", [False, True])
def test_an_entry_that_a_thief_adds_is_not_gone_on_from(world: World, *, is_stolen: bool, is_right: bool) -> None:
    """An agent's key or a revoked decision key makes no entry, even with the very bytes that it must have."""
    tenant = world.found()
    old, new = tenant.folder.key("monitor"), KeyPair.generate()
    PLAIN_KEYS.put(tenant.folder.path / f"monitor.{new.kid.hex()[:16]}.key", new, "file")
    replace_key(tenant, old, new)
    tenant.append(mixed(tenant, 20))
    run(world, tenant)
    tenant.call(1)  # the record that the forged entry claims
    forge_entry(world, tenant, old.signing if is_stolen else tenant.caller.key, is_right=is_right)
    loop = world.loop("next")
    turn_until(loop, lambda: tenant.intake in loop.paused)
    assert loop.paused[tenant.intake].startswith("LOG_MISMATCH"), loop.paused
    loop.close()


def forge_entry(world: World, tenant: Tenant, key: signing.SigningKey, *, is_right: bool) -> None:
    """Append the entry of the last record of intake, as a replay gives it or with another outcome."""
    intake = read_topic(world, tenant.intake, isolation="read_uncommitted")
    written, _ = expected_outputs(world, tenant, intake)
    value = written[AUDIT.of(tenant.name), 0][-1][1] or b""
    if not is_right:
        value = codec.frame(replace(codec.decode_as(AuditEntry, value), outcome="denied", reason="NO_POLICY"))
    schema, body = codec.unframe(value)
    place = Place.of(signing.AUDIT_TAG, tenant.folder.genesis, AUDIT.of(tenant.name), 0, schema.sha256)
    [proof] = key.sign_leaves([place.leaf(body)])
    headers: list[tuple[str, str | bytes | None]] = [(PROOF_HEADER, proof), (KID_HEADER, key.kid)]
    world.producer.produce(AUDIT.of(tenant.name), value, None, 0, headers=headers)
    assert world.producer.flush(PATIENCE_SECONDS) == 0


def test_a_new_state_secret_makes_the_old_state_worthless(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Recovery after a theft: a changelog that the thief may have written is thrown away, loudly, once."""
    tenant = world.found()
    tenant.append(mixed(tenant, 20))
    run(world, tenant)
    tenant.folder.state_secret_file.unlink()
    with caplog.at_level(logging.WARNING):
        tenant.append(mixed(tenant, 20))
        run(world, tenant)
        assert "do not match their head; folding intake again" in caplog.text
        caplog.clear()
        run(world, tenant)
        assert "folding intake again" not in caplog.text
    check_log(world, tenant)
