"""Which decision key signs the outputs of a record, and what a worker does without it: no broker is needed to show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from processors.intake.identify import Received
from processors.proof import signing
from processors.proof.sealing import PAYLOAD_HEADER
from processors.proof.signing import KID_HEADER, PROOF_HEADER, Place, Proof
from processors.step import step
from producers.home.keys import KeyPair
from producers.kafka.consuming import UnreadableBatchError
from schemas import codec
from schemas.events.keys import KeyRotated
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.records import Body, PrincipalRevoked
from schemas.topics import AUDIT
from streams.worker.fold import Message, TenantFold
from streams.worker.signing.decision_keys import DecisionKeys, Heir, MissingKeyError, NoLiveKeyError, Signatory
from streams.worker.signing.stretch import Stretch
from streams.worker.state_head import StateMac
from tests.builders import invocation, keys_of
from tests.world import HOUR_MS, Office, World


@dataclass(slots=True)
class Home:
    """The decision keys on a worker's disk."""

    keys: list[KeyPair] = field(default_factory=list)

    def fold(self, world: World) -> TenantFold:
        return TenantFold(world.fresh_tables(), Signatory(DecisionKeys(lambda: self.keys)), StateMac(bytes(32)))


def signers(world: World, messages: list[Message], ring: list[KeyPair]) -> list[KeyPair]:
    """Return for each audit entry the key of `ring` that signed it, with a good signature."""
    found = []
    for message in messages:
        if message.topic != AUDIT.of(world.tenant):
            continue
        headers = dict(message.headers)
        schema, body = codec.unframe(message.value or b"")
        place = Place.of(signing.AUDIT_TAG, world.genesis, message.topic, 0, schema.sha256)
        [key] = [k for k in ring if k.kid == headers[KID_HEADER]]
        proof = Proof.parse(headers[PROOF_HEADER])  # type: ignore[arg-type]
        signing.verify_signature(key.signing.public, proof.head(place.leaf(body)), proof.signature)
        found.append(key)
    return found


def fold_some(fold: TenantFold, world: World, begin: int = 0) -> list[Message]:
    """Fold and commit the world's records from `begin` on, as the loop does."""
    made: list[Message] = []
    while begin < len(world.records):
        begin += fold.fold(world.records[begin:])
        made += fold.take()
        fold.commit()
    return made


def test_a_revoked_key_signs_its_own_revocation_and_nothing_more() -> None:
    """Without that entry no reader would hear of it. The next record is not folded at all."""
    office = Office.opened("revoked monitor")
    world, home = office.world, Home([office.world.monitor.keys])
    fold = home.fold(world)
    world.send(PrincipalRevoked(principal_id="monitor", reason="stolen"), world.admin)
    office.call()

    folded = fold.fold(world.records)

    assert folded == len(world.records) - 1
    assert fold.fold(world.records[folded:]) == 0  # what was folded is sent first
    assert len(signers(world, fold.take(), home.keys)) == folded
    fold.commit()
    tables = fold.tables
    before = (tables.next_index, tables.prev, tables.now, tables.savepoint())
    for _ in range(2):
        with pytest.raises(NoLiveKeyError):
            fold.fold(world.records[folded:])
        assert (tables.next_index, tables.prev, tables.now, tables.savepoint()) == before


def test_a_second_live_key_goes_on_when_the_first_is_revoked() -> None:
    office = Office.opened("two monitors")
    world, second = office.world, keys_of("second monitor")
    home = Home([world.monitor.keys, second])
    world.send(world.registration("monitor", "monitor", keys=second), world.admin)
    world.send(PrincipalRevoked(principal_id="monitor", kid=world.monitor.kid, reason="stolen"), world.admin)
    office.call()
    made = fold_some(home.fold(world), world)
    assert signers(world, made, home.keys)[-3:] == [world.monitor.keys, world.monitor.keys, second]


def test_a_key_does_not_sign_its_own_registration() -> None:
    """A verifier knows it only after that entry: a worker that has the new key alone waits for the other."""
    office = Office.opened("only the second")
    world, second = office.world, keys_of("second monitor")
    first = Home([world.monitor.keys])
    fold = first.fold(world)
    fold_some(fold, world)
    begin = len(world.records)
    world.send(world.registration("monitor", "monitor", keys=second), world.admin)
    other = TenantFold(fold.tables, Signatory(DecisionKeys.of(second)), fold.state)
    with pytest.raises(MissingKeyError) as raised:
        other.fold(world.records[begin:])
    assert raised.value.wanted == {world.monitor.kid}


def test_a_key_that_comes_into_the_home_is_found_without_a_restart() -> None:
    """Without the key that must sign next, not even the revocation is written; the revoked key signs it."""
    office = Office.opened("late file")
    world, second = office.world, keys_of("second monitor")
    home = Home([world.monitor.keys])
    fold = home.fold(world)
    world.send(world.registration("monitor", "monitor", keys=second), world.admin)
    fold_some(fold, world)
    begin = len(world.records)
    world.send(PrincipalRevoked(principal_id="monitor", kid=world.monitor.kid, reason="stolen"), world.admin)
    office.call()
    with pytest.raises(MissingKeyError) as raised:
        fold.fold(world.records[begin:])
    assert raised.value.wanted == {second.kid}
    home.keys.append(second)
    assert signers(world, fold_some(fold, world, begin), home.keys) == [world.monitor.keys, second]


def test_a_key_signs_nothing_at_or_after_its_end() -> None:
    """The record that comes later moves log time: it is not folded with the key that was live before it."""
    office = Office.opened("expiring monitor")
    world, second = office.world, keys_of("second monitor")
    home = Home([world.monitor.keys, second])
    ends = world.now + HOUR_MS // 2
    world.send(world.registration("monitor", "monitor", keys=second, expires_at=ends), world.admin)
    world.send(PrincipalRevoked(principal_id="monitor", kid=world.monitor.kid, reason="old"), world.admin)
    world.advance(ends - world.now - 1)
    office.call()
    fold = home.fold(world)
    assert signers(world, fold_some(fold, world), home.keys)[-1] is second
    begin = len(world.records)
    world.advance(1)
    office.call()
    with pytest.raises(NoLiveKeyError):
        fold.fold(world.records[begin:])


def rotated(world: World, old: KeyPair, new: KeyPair) -> KeyRotated:
    return KeyRotated(kid=old.kid, key=world.offer(new, "monitor", "monitor"), reason="planned")


def test_the_successor_signs_the_entry_of_the_rotation_and_everything_after() -> None:
    """One transaction holds both: each burst has a signature of its own, and payloads of its own sender."""
    office = Office.opened("rotation")
    world, new = office.world, keys_of("new monitor")
    home = Home([world.monitor.keys, new])
    fold = home.fold(world)
    fold_some(fold, world)
    before = len(world.records)
    office.call()
    assert world.send(rotated(world, world.monitor.keys, new), world.admin).says == ("accepted", "")
    office.call()
    assert fold.fold(world.records[before:]) == 3
    made = fold.take()
    assert signers(world, made, home.keys) == [world.monitor.keys, new, new]
    senders = [dict(m.headers)[PAYLOAD_HEADER][:32] for m in made if PAYLOAD_HEADER in dict(m.headers)]  # type: ignore[index]
    assert senders == [world.monitor.keys.sealing.public, new.sealing.public]


def test_a_rotation_to_a_key_that_is_not_here_stops_before_it() -> None:
    """Two workers with different rings: the one without the key decides nothing more, the other goes on."""
    office = Office.opened("rings")
    world, new = office.world, keys_of("new monitor")
    poor, rich = Home([world.monitor.keys]), Home([world.monitor.keys, new])
    world.send(rotated(world, world.monitor.keys, new), world.admin)
    office.call()
    fold = poor.fold(world)
    assert fold.fold(world.records) == len(world.records) - 2
    fold.take()
    fold.commit()
    with pytest.raises(MissingKeyError) as raised:
        fold.fold(world.records[-2:])
    assert raised.value.wanted == {new.kid}
    assert signers(world, fold_some(rich.fold(world), world), rich.keys)[-2:] == [new, new]


def test_after_a_rotation_the_old_key_signs_nothing_though_it_is_still_here() -> None:
    """A worker that starts again with both files takes the live one."""
    office = Office.opened("both files")
    world, new = office.world, keys_of("new monitor")
    home = Home([world.monitor.keys, new])
    world.send(rotated(world, world.monitor.keys, new), world.admin)
    fold = home.fold(world)
    fold_some(fold, world)
    begin = len(world.records)
    office.call()
    again = TenantFold(fold.tables, Signatory(DecisionKeys(lambda: home.keys)), fold.state)
    assert signers(world, fold_some(again, world, begin), home.keys) == [new]


def test_the_heir_signs_up_to_its_own_registration() -> None:
    """In a stretch without a live key the key that ends it signs, and not a record further unless it lives then."""
    office = Office.opened("stretch")
    world, heir = office.world, keys_of("heir")
    home = Home([world.monitor.keys, heir])
    fold = home.fold(world)
    world.send(PrincipalRevoked(principal_id="monitor", reason="stolen"), world.admin)
    fold_some(fold, world)
    begin = len(world.records)
    office.call()
    world.send(world.registration("monitor", "monitor", keys=heir), world.admin)
    office.call()
    fold.signatory.heir = Heir(heir.kid, world.records[begin].offset)  # too early: the second record is not covered
    with pytest.raises(NoLiveKeyError):
        fold.signatory.sign_for(fold.tables, world.records[begin + 1].offset)
    fold.signatory.heir = Heir(heir.kid, world.records[begin + 1].offset)
    assert signers(world, fold_some(fold, world, begin), home.keys) == [heir, heir, heir]


class Records:
    """Records of intake in memory, some of which nobody can read."""

    def __init__(self, records: Iterable[Received], unreadable: range) -> None:
        self._records, self._unreadable = list(records), unreadable
        self.low, self.high = 0, len(self._records)

    def read(self, start: int) -> Iterator[Received]:
        for received in self._records[start:]:
            if received.offset in self._unreadable:
                raise UnreadableBatchError("intake", received.offset, "damaged")
            yield received

    def behind(self, offset: int) -> int:
        assert offset in self._unreadable
        return self._unreadable.stop


def test_a_stretch_is_folded_ahead_past_what_an_admin_rules_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the ruling the worker says where the stretch stops; with it the key that comes behind is the heir."""
    office = Office.opened("ruled stretch")
    world, heir = office.world, keys_of("heir")
    world.send(PrincipalRevoked(principal_id="monitor", reason="stolen"), world.admin)
    begin = len(world.records)
    monkeypatch.setattr("streams.worker.signing.stretch.clock_ms", lambda: world.now)
    late = world.receive(
        *world.signed(invocation(office.resource, {}), office.session), appended_at=world.now + HOUR_MS
    )
    records = [*world.records, late, *(replace(late, offset=begin + n) for n in (1, 2))]
    unreadable = range(begin + 1, begin + 3)
    ring = DecisionKeys.of(world.monitor.keys, heir)

    def add(body: Body) -> None:
        records.append(world.receive(*world.signed(body, world.admin), offset=len(records)))

    def checked(stretch: Stretch) -> Signatory:
        signatory = Signatory(ring)
        stretch.check(signatory, Records(records, unreadable))
        return signatory

    stretch = Stretch(world.tables, begin)
    add(world.registration("monitor", "monitor", keys=heir))
    with pytest.raises(NoLiveKeyError, match=f"the record at offset {begin} is ahead"):
        checked(stretch)
    add(TimeAccepted(first=begin, last=begin, now=world.now, reason="a clock was wrong"))
    with pytest.raises(NoLiveKeyError, match=f"nothing from offset {begin + 1} of intake on can be read"):
        checked(stretch)
    add(RecordsSkipped(first=begin + 1, last=begin + 2, reason="a disk was lost"))
    assert checked(stretch).heir == Heir(heir.kid, begin + 3)


def test_a_rolled_back_record_gives_its_key_back() -> None:
    """After an abort the choice is made again from the state before."""
    office = Office.opened("rolled back")
    world, second = office.world, keys_of("second monitor")
    home = Home([world.monitor.keys, second])
    fold = home.fold(world)
    world.send(world.registration("monitor", "monitor", keys=second), world.admin)
    fold_some(fold, world)
    begin = len(world.records)
    world.send(PrincipalRevoked(principal_id="monitor", kid=world.monitor.kid, reason="stolen"), world.admin)
    office.call()
    assert fold.fold(world.records[begin:]) == 2
    fold.take()
    fold.rollback()
    assert fold.fold(world.records[begin:]) == 2
    assert len(signers(world, fold.take(), home.keys)) == 2


def kids_of(world: World, *held: KeyPair, restart_at: int | None = None) -> list[bytes]:
    """Return the kid that signs each record, folded as a worker does that has these keys."""
    signatory, tables, found = Signatory(DecisionKeys.of(*held)), world.fresh_tables(), []
    for index, received in enumerate(world.records):
        if index == restart_at:
            signatory = Signatory(DecisionKeys.of(*held))
        signatory.begin(tables)
        entry = step(tables, received, world.heads)[-1].value
        found.append(signatory.sign_for(tables, received.offset, entry).kid)
        tables.commit()
    return found


@pytest.mark.parametrize("restart_at", [None, 3, 4])
def test_a_key_that_ends_by_time_gives_way_to_one_that_lived_before(restart_at: int | None) -> None:
    """Not to the one that this very record registers: no verifier would take it. A restart changes nothing."""
    world, first, second, third = World.founded("by time"), keys_of("e1"), keys_of("m2"), keys_of("m3")
    world.register("monitor", "monitor", keys=first, expires_at=world.now + HOUR_MS)
    world.revoke("monitor", kid=world.monitor.kid)
    world.register("monitor", "monitor", keys=second)
    world.advance(HOUR_MS)
    world.register("monitor", "monitor", keys=third)

    assert kids_of(world, world.monitor.keys, first, second, third, restart_at=restart_at)[4] == second.kid


@pytest.mark.parametrize("restart_at", [None, 2])
def test_a_rotation_of_this_workers_key_is_signed_by_its_successor_beside_a_spare(restart_at: int | None) -> None:
    """Another decision key that is live elsewhere does not stop the tenant here."""
    world, spare, successor = World.founded("spare"), keys_of("spare"), keys_of("successor")
    world.register("monitor", "monitor", keys=spare)
    offer = world.offer(successor, "monitor", "monitor")
    world.send(KeyRotated(kid=world.monitor.kid, key=offer, reason="planned"), world.admin)
    world.register("agent", "bot")

    assert kids_of(world, world.monitor.keys, successor, restart_at=restart_at)[2:] == [successor.kid] * 2
