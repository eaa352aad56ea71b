"""What readers still believe of a key that was rotated: records that were on the log before, and nothing of a thief."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME

from processors.effects import Output
from processors.proof import signing
from processors.state.tables import Tables
from producers.home.keys import KeyPair
from producers.kafka import registry_view
from producers.kafka.registry_view import LATE_MS, ROTATED_MS, RegistryView
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from schemas import limits, topics
from schemas.events.keys import KeyRotated
from schemas.records import Decision, PrincipalRevoked
from tests.builders import keys_of
from tests.producers.forging import TwinTopic, record_of
from tests.waiting import PATIENCE_SECONDS
from tests.world import HOUR_MS, Office

APPENDED, SENT = TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_CREATE_TIME


@dataclass
class RegistryRecord:
    """A record of the registry topic as a consumer hands it over."""

    output: Output
    stamped: tuple[int, int]

    def timestamp(self) -> tuple[int, int]:
        return self.stamped

    def key(self) -> bytes | None:
        return self.output.key

    def value(self) -> bytes | None:
        return self.output.value

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self.output.headers)


class NothingNew(TwinTopic):
    """A topic that has nothing to read on."""

    def refresh(self, *, seconds: float = 0) -> None:
        pass

    freshen = refresh


class FedRegistry(RegistryView):
    """A view that is given the registry of a world by hand."""

    def __init__(self, office: Office) -> None:
        self._world, self._fed = office.world, 0
        self._folded: Tables = office.world.fresh_tables()
        self._begin(office.world.fresh_tables())
        self._topic = NothingNew(office.world, topics.REGISTRY, self._fold)

    def feed(self, kind: int = APPENDED) -> None:
        """Follow what the world's records since the last call put into the registry."""
        for received in self._world.records[self._fed :]:
            for output in self._world.fold_into(self._folded, received).of(topics.REGISTRY):
                self._fold(RegistryRecord(output, (kind, received.appended_at)))
        self._fed = len(self._world.records)


@dataclass
class Scene:
    """A tenant whose monitor key is rotated, with a decision of before."""

    office: Office
    view: FedRegistry
    trusted: MonitorSigned
    decision: Output
    old: KeyPair
    new: KeyPair

    @property
    def now(self) -> int:
        return self.office.world.now

    def accepts(self, *, by: KeyPair, kind: int = APPENDED, at: int) -> bool:
        """True if a reader takes the decision under this key, appended at this time."""
        record = replace(record_of(self.office, self.decision, signed_by=by), stamped=(kind, at))
        try:
            self.trusted.verify(record, signing.DECISION_TAG, Decision)
        except UntrustedRecordError:
            return False
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The reader's clock, as one value in ms."""
    now = [0]
    monkeypatch.setattr(registry_view, "clock_ms", lambda: now[0])
    return now


def rotation(office: Office, old: KeyPair, new: KeyPair) -> KeyRotated:
    return KeyRotated(kid=old.kid, key=office.world.offer(new, "monitor", "monitor"), reason="planned")


def opened(clock: list[int], *, kind: int = APPENDED) -> Scene:
    """Return a tenant whose reader has just followed the rotation, with the topic's timestamps of this kind."""
    office = Office.opened("rotated")
    world, new = office.world, keys_of("new monitor")
    view = FedRegistry(office)
    [decision] = office.call().of(topics.DECISIONS)
    assert world.send(rotation(office, world.monitor.keys, new), world.admin).says == ("accepted", "")
    view.feed(kind)
    clock[0] = world.now
    trusted = MonitorSigned(view, tenant=world.tenant, genesis=world.genesis)
    return Scene(office, view, trusted, decision, world.monitor.keys, new)


def test_a_record_from_before_the_rotation_counts_when_it_is_read_after_it(clock: list[int]) -> None:
    """So no call and no result is lost under load."""
    scene = opened(clock)
    assert scene.accepts(by=scene.old, at=scene.now - 60_000)
    assert scene.accepts(by=scene.old, at=scene.now + ROTATED_MS)
    assert scene.accepts(by=scene.new, at=scene.now + HOUR_MS)


def test_a_thief_of_the_old_key_has_no_more_than_the_difference_of_two_clocks(clock: list[int]) -> None:
    """The append time is the broker's; the claims of the record, its log time and audit index, do not matter."""
    scene = opened(clock)
    assert not scene.accepts(by=scene.old, at=scene.now + ROTATED_MS + 1)
    assert not scene.accepts(by=scene.old, at=scene.now + HOUR_MS)


def test_a_time_that_the_sender_wrote_proves_nothing(clock: list[int]) -> None:
    """On a topic that is not under append time a thief would write an earlier one."""
    scene = opened(clock)
    assert not scene.accepts(by=scene.old, kind=SENT, at=scene.now - 60_000)
    scene = opened(clock, kind=SENT)  # the registry's own topic likewise
    assert not scene.accepts(by=scene.old, at=scene.now - 60_000)


def test_a_broker_that_lies_about_times_helps_a_thief_for_an_hour_at_most(clock: list[int]) -> None:
    scene = opened(clock)
    clock[0] += LATE_MS
    assert scene.accepts(by=scene.old, at=scene.now)
    clock[0] += 1
    assert not scene.accepts(by=scene.old, at=scene.now)


def test_a_revoked_key_has_no_grace(clock: list[int]) -> None:
    """Neither one that was revoked instead of rotated, nor one that turned out to be stolen after its rotation."""
    scene = opened(clock)
    world = scene.office.world
    world.send(PrincipalRevoked(principal_id="monitor", kid=scene.old.kid, reason="stolen"), world.admin)
    scene.view.feed()
    assert not scene.accepts(by=scene.old, at=scene.now - 60_000)
    assert scene.accepts(by=scene.new, at=scene.now)


def test_a_key_that_came_to_its_planned_end_has_no_grace(clock: list[int]) -> None:
    """Its end is known beforehand: an operator rotates before it."""
    office = Office.opened("planned end")
    world, second = office.world, keys_of("second monitor")
    view = FedRegistry(office)
    world.send(world.registration("monitor", "monitor", keys=second, expires_at=world.now + 1000), world.admin)
    [decision] = office.call().of(topics.DECISIONS)
    view.feed()
    trusted = MonitorSigned(view, tenant=world.tenant, genesis=world.genesis)
    scene = Scene(office, view, trusted, decision, second, world.monitor.keys)
    clock[0] = world.now + 999
    assert scene.accepts(by=second, at=world.now)
    clock[0] = world.now + 1000
    assert not scene.accepts(by=second, at=world.now)


def test_a_rotation_that_the_log_refused_gives_no_grace_and_ends_nothing(clock: list[int]) -> None:
    """A record that a thief puts onto the registry topic is judged as on the log: his own key cannot rotate others."""
    scene = opened(clock)
    world, thief = scene.office.world, scene.office.session
    own = rotation(scene.office, scene.new, keys_of("thief"))
    value, headers = world.signed(own, thief)
    output = Output(topics.REGISTRY, 0, b"key/" + keys_of("thief").kid.hex().encode(), value, headers=tuple(headers))  # type: ignore[arg-type]
    scene.view._fold(RegistryRecord(output, (APPENDED, scene.now)))
    assert scene.accepts(by=scene.new, at=scene.now + HOUR_MS)
    assert not scene.accepts(by=keys_of("thief"), at=scene.now)


def test_a_copy_of_the_rotation_that_is_appended_later_gives_no_more_time() -> None:
    """Compaction drops the first one; the time at which its signer issued it stays."""
    office = Office.opened("copied")
    world, new = office.world, keys_of("next monitor")
    begin = len(world.records)
    offer = world.offer(new, "monitor", "monitor")
    world.send(KeyRotated(kid=world.monitor.kid, key=offer, reason="planned"), world.admin)
    view = FedRegistry(office)
    for at, received in enumerate(world.records):
        for output in world.fold_into(view._folded, received).of(topics.REGISTRY):
            late = received.appended_at + (30 * 24 * HOUR_MS if at >= begin else 0)
            view._fold(RegistryRecord(output, (APPENDED, late)))

    assert view._rotated[world.monitor.kid] <= world.now + limits.ISSUED_BEHIND_MS_MAX


def test_a_key_that_changes_its_own_sealing_half_is_not_one_that_was_rotated() -> None:
    """It would count past its planned end."""
    office = Office.opened("sealing")
    world, tool = office.world, office.tool
    both = KeyPair(tool.keys.signing, keys_of("fresh").sealing)
    offer = world.offer(both, "tool", tool.principal_id)
    assert world.send(KeyRotated(kid=tool.kid, key=offer, reason="daily"), tool).says == ("accepted", "")
    view = FedRegistry(office)
    view.feed()

    assert view._rotated == {}


class LateRegistry(FedRegistry):
    """A view whose topic shows what was committed only after it was asked a number of times."""

    def __init__(self, office: Office, after: float) -> None:
        super().__init__(office)
        self.asked, self._after = 0, after

    def refresh(self, *, seconds: float = 0) -> None:
        self.asked += 1
        if self.asked > self._after:
            self.feed()


def signed_by_a_new_key(after: float) -> tuple[LateRegistry, Scene]:
    """Return a view that has not read the rotation yet, and a decision for which the new key is needed."""
    office = Office.opened("late")
    world, new = office.world, keys_of("late monitor")
    view = LateRegistry(office, after)
    [decision] = office.call().of(topics.DECISIONS)
    view.feed()
    assert world.send(rotation(office, world.monitor.keys, new), world.admin).says == ("accepted", "")
    trusted = MonitorSigned(view, tenant=world.tenant, genesis=world.genesis)
    return view, Scene(office, view, trusted, decision, world.monitor.keys, new)


def test_a_record_that_is_read_before_the_registration_in_its_own_transaction_counts(
    clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the registration of a decision key is signed by this key, and would else be lost for ever."""
    monkeypatch.setattr(registry_view, "COMMIT_SECONDS", PATIENCE_SECONDS)
    view, scene = signed_by_a_new_key(after=4)
    clock[0] = scene.now
    assert scene.accepts(by=scene.new, at=scene.now)
    assert view.asked == 5


def test_strangers_do_not_hold_a_reader_up_again_and_again(clock: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_view, "COMMIT_SECONDS", 0.1)
    view, scene = signed_by_a_new_key(after=math.inf)
    clock[0] = scene.now
    assert not scene.accepts(by=keys_of("stranger 0"), at=scene.now)
    asked = view.asked
    for number in range(1, 9):
        assert not scene.accepts(by=keys_of(f"stranger {number}"), at=scene.now)
    assert asked > 2
    assert view.asked <= asked + 3 * 8  # each is looked for, and not waited for
    assert scene.accepts(by=scene.old, at=scene.now)
