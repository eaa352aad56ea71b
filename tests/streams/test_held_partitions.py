"""Places that a worker does not pass by itself: a batch that nobody can read, a record that is ahead of its clock."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType
from confluent_kafka.admin._config import ConfigEntry, ConfigResource

from producers.kafka.consuming import behind_unreadable, take
from schemas import limits
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.records import AuditEntry, Body
from schemas.topics import STATE
from streams.history.evidence_folder import verify_folder
from streams.history.export import export_audit
from streams.history.replay import replay
from streams.local.choose import BrokerInfo
from streams.worker.holds import Hold, Lookout
from streams.worker.state_head import HEAD_KEY
from tests.streams.loop_oracle import check_log, read_log
from tests.streams.loop_world import Speaker, Tenant, World, fold_all, turn_until
from tests.streams.test_resume import write
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker

BOMB_BYTES = 20_000_000  # more than a client of ours inflates
HOUR_MS = 3_600_000


@pytest.fixture
def world(broker: BrokerInfo, tmp_path: Path, unique: str) -> World:
    return World(broker, tmp_path, unique)


@contextmanager
def compressed_as_sent(bootstrap: str, topic: str) -> Iterator[None]:
    """Let intake take batches as they come, as a topic does that was not made by our table."""
    for value in ("producer", "uncompressed"):
        entry = ConfigEntry("compression.type", value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        with AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}) as admin:
            for done in admin.incremental_alter_configs([resource]).values():
                done.result(PATIENCE_SECONDS)
        if value == "producer":
            time.sleep(0.5)
            yield


def send_bomb(bootstrap: str, topic: str, sizes: Sequence[int]) -> None:
    """Append one batch that is small on the wire, and too large for any client of ours to read."""
    sender = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "zstd",
            "message.max.bytes": 1_000_000_000,
            "batch.size": 500_000_000,
            "linger.ms": 60_000,  # one batch, which `flush` sends
            "log_level": 0,
        }
    )
    sender.list_topics(
        topic, timeout=PATIENCE_SECONDS
    )  # else a message may leave alone while the client learns of the partition
    errors: list[object] = []
    for size in sizes:
        sender.produce(topic, bytes(size), partition=0, on_delivery=lambda error, _: errors.append(error))
    assert sender.flush(PATIENCE_SECONDS) == 0
    assert errors == [None] * len(sizes)


def bomb(world: World, tenant: Tenant, sizes: Sequence[int]) -> None:
    send_bomb(world.broker.bootstrap, tenant.intake, sizes)
    tenant.appended += len(sizes)


def rule(tenant: Tenant, body: Body, by: Speaker | None = None) -> None:
    tenant.append(tenant.events(by or tenant.admin, [body]))


def entries(world: World, tenant: Tenant) -> list[AuditEntry]:
    return read_log(world, tenant).entries


@pytest.mark.real_broker("the embedded broker takes batches as they come")
def test_kafka_itself_refuses_a_batch_that_inflates(world: World) -> None:
    """A record counts what it holds, not what it takes on the wire; the next one is folded."""
    tenant = world.found()
    told: list[str] = []
    for codec in ("zstd", "gzip", "lz4", "snappy"):
        settings = {"bootstrap.servers": world.broker.bootstrap, "message.max.bytes": 10**9, "compression.type": codec}
        sender = Producer(settings)
        value = bytes(BOMB_BYTES)
        sender.produce(tenant.intake, value, partition=0, on_delivery=lambda error, _: told.append(error.name()))
        assert sender.flush(PATIENCE_SECONDS) == 0
    assert told == ["MSG_SIZE_TOO_LARGE"] * 4
    tenant.call(3)
    loop = world.loop()
    fold_all(loop, tenant)
    loop.close()
    check_log(world, tenant)


@pytest.mark.real_broker("a topic whose settings change")
def test_a_batch_that_cannot_be_read_holds_its_tenant_until_an_admin_skips_it(world: World) -> None:
    """The tenant stands still, loudly, others go on; only an admin lets it go on, and the log says what he did."""
    tenant, other = world.found_all("one", "other")
    tenant.call(5)
    with compressed_as_sent(world.broker.bootstrap, tenant.intake):
        bomb(world, tenant, [BOMB_BYTES // 4] * 5)
    first = tenant.appended - 5
    tenant.call(5)
    loop = world.loop()

    turn_until(loop, lambda: f"{first + 4} cannot be read" in loop.paused.get(tenant.intake, ""))
    assert loop.paused[tenant.intake].startswith(f"UNREADABLE_BATCH: offsets {first} to {first + 4}")
    assert f"macaw intake skip {first} {first + 4} --tenant {tenant.name}" in loop.paused[tenant.intake]
    fold_all(loop, other)
    assert [e.offset for e in entries(world, tenant)] == list(range(first))

    skipped = RecordsSkipped(first=first, last=first + 4, reason="sent by an intruder")
    rule(tenant, skipped, tenant.caller)
    rule(tenant, skipped, Speaker(tenant.caller.key, "admin"))
    for _ in range(20):
        loop.turn(0.05)
    assert loop.paused[tenant.intake].startswith("UNREADABLE_BATCH")
    assert len(entries(world, tenant)) == first

    rule(tenant, RecordsSkipped(first=first, last=first + 2, reason="the first three"))
    turn_until(loop, lambda: f"offsets {first + 3} to {first + 4} cannot" in loop.paused.get(tenant.intake, ""))
    loop.close()
    loop = world.loop("next")
    turn_until(loop, lambda: f"offsets {first + 3} to {first + 4} cannot" in loop.paused.get(tenant.intake, ""))
    rule(tenant, RecordsSkipped(first=first, last=first + 4, reason="the others"))
    fold_all(loop, tenant)
    loop.close()

    found = entries(world, tenant)
    assert [e.offset for e in found] == list(range(tenant.appended))
    assert {(e.outcome, e.reason, e.kind) for e in found[first : first + 5]} == {
        ("skipped", "UNREADABLE_BATCH", "RecordsSkipped")
    }
    rulings = [found[-2].event, found[-1].event]
    assert [e.ruling for e in found[first : first + 5]] == [rulings[0]] * 3 + [rulings[1]] * 2
    assert (found[-2].kind, found[-2].outcome) == ("RecordsSkipped", "accepted")
    assert (found[-1].kind, found[-1].outcome) == ("RecordsSkipped", "accepted")


@pytest.mark.real_broker("a topic whose settings change")
def test_a_log_with_skipped_records_is_restored_replayed_exported_and_rebuilt(world: World, tmp_path: Path) -> None:
    """Whoever follows the log passes the same place in the same way, without an admin and without the old worker."""
    tenant = world.found()
    with compressed_as_sent(world.broker.bootstrap, tenant.intake):
        bomb(world, tenant, [BOMB_BYTES])
        tenant.call(2)
        bomb(world, tenant, [BOMB_BYTES // 2] * 3)
    first = tenant.appended - 6
    rule(tenant, RecordsSkipped(first=first, last=first, reason="one"))
    rule(tenant, RecordsSkipped(first=first + 3, last=first + 4, reason="two of three"))
    rule(tenant, RecordsSkipped(first=first + 5, last=first + 5, reason="and the third"))
    loop = world.loop()
    fold_all(loop, tenant)
    loop.close()
    skipped = [e.offset for e in entries(world, tenant) if e.outcome == "skipped"]
    assert skipped == [first, first + 3, first + 4, first + 5]

    genesis = tenant.folder.genesis
    again = replay(world.broker.bootstrap, tenant=tenant.name, deployment="test", genesis=genesis)
    assert again.difference is None
    assert again.entries == tenant.appended
    export_audit(
        world.broker.bootstrap, tenant=tenant.name, deployment="test", genesis=genesis, target=tmp_path / "evidence"
    )
    verdict = verify_folder(tmp_path / "evidence", genesis=genesis)
    assert (verdict.code, verdict.events_absent) == ("UNWITNESSED", 0)

    write(world, STATE.of(tenant.name), {HEAD_KEY: None})
    tenant.call(2)
    rebuilt = world.loop("next")
    fold_all(rebuilt, tenant)
    rebuilt.close()
    assert len(entries(world, tenant)) == tenant.appended


def behind_by(monkeypatch: pytest.MonkeyPatch, ms: int) -> None:
    """Set this worker's clock back: to its workers the broker's is ahead."""
    monkeypatch.setattr("streams.worker.holding.clock_ms", lambda: time.time_ns() // 1_000_000 - ms)


def test_a_record_ahead_of_the_clock_is_held_until_the_clock_is_right(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is folded, both times are told, and once the clock is set the partition goes on by itself."""
    tenant = world.found()
    loop = world.loop()
    fold_all(loop, tenant)
    folded = tenant.appended
    behind_by(monkeypatch, HOUR_MS)
    tenant.call(5)

    turn_until(loop, lambda: tenant.intake in loop.paused)
    told = loop.paused[tenant.intake]
    assert told.startswith(f"CLOCK_AHEAD: the broker's append time of the record at offset {folded} is 20")
    assert f"macaw intake accept-time {folded} --tenant {tenant.name}" in told
    assert len(entries(world, tenant)) == folded

    behind_by(monkeypatch, limits.LOG_AHEAD_MS_MAX - 5_000)
    fold_all(loop, tenant)
    loop.close()
    check_log(world, tenant)


def test_an_admin_accepts_times_and_the_log_says_which(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that the ruling names is taken, also for the ruling's own event; replay and a rebuild take the same."""
    tenant = world.found()
    loop = world.loop()
    fold_all(loop, tenant)
    before = entries(world, tenant)[-1].now
    first = tenant.appended
    behind_by(monkeypatch, HOUR_MS)
    tenant.call(3)
    turn_until(loop, lambda: tenant.intake in loop.paused)
    ruled = {"first": first, "last": first + 3, "now": before + 1, "reason": "the broker was an hour ahead"}
    rule(tenant, TimeAccepted(**{**ruled, "last": first + 4}))  # it rules on what is to come
    for _ in range(20):
        loop.turn(0.05)
    assert len(entries(world, tenant)) == first
    rule(tenant, TimeAccepted(**{**ruled, "last": first + 4}))
    fold_all(loop, tenant)
    loop.close()

    found = entries(world, tenant)[first:]
    assert [(e.outcome, e.now) for e in found] == [
        ("allowed", before + 1),
        ("allowed", before + 1),
        ("allowed", before + 1),
        ("refused", before + 1),
        ("accepted", before + 1),
    ]
    assert {e.ruling for e in found} == {found[-1].event}
    genesis = tenant.folder.genesis
    again = replay(world.broker.bootstrap, tenant=tenant.name, deployment="test", genesis=genesis)
    assert again.difference is None

    write(world, STATE.of(tenant.name), {HEAD_KEY: None})
    behind_by(monkeypatch, 0)
    tenant.call(2)
    rebuilt = world.loop("next")
    fold_all(rebuilt, tenant)
    rebuilt.close()
    assert len(entries(world, tenant)) == tenant.appended


@pytest.mark.real_broker("a topic whose settings change")
def test_records_read_for_a_hold_that_is_over_say_nothing_about_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer hold of the topic is measured from its own offset, whatever was fetched for the one before."""
    tenant = world.found()
    with compressed_as_sent(world.broker.bootstrap, tenant.intake):
        for _ in range(2):
            bomb(world, tenant, [BOMB_BYTES])
            tenant.call(3)
    first, second = tenant.appended - 8, tenant.appended - 4
    old, new = Hold(tenant.intake, first), Hold(tenant.intake, second)
    lookout = Lookout(world.settings("lookout").consumer())
    takes: list[int] = []
    changes = iter([True])

    def take_while_it_changes(*args: Any) -> list[Message]:
        messages = take(*args)
        takes.extend(m.offset() for m in messages if m.error() is None)
        if takes and takes[-1] > second and next(changes, False):
            lookout.forget(old)
            lookout.watch(new)
        return messages

    monkeypatch.setattr("streams.worker.holds.take", take_while_it_changes)
    lookout.watch(old)
    wait_until(lambda: new.is_measured, lambda: f"never measured; read: {takes}", pause=0.05)
    lookout.close()
    assert (old.behind, new.behind) == (first + 1, second + 1)


@pytest.mark.real_broker("a topic whose settings change")
def test_a_lookout_goes_on_after_its_brokers_did_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was reading when the question failed is read again."""
    tenant = world.found()
    with compressed_as_sent(world.broker.bootstrap, tenant.intake):
        bomb(world, tenant, [BOMB_BYTES])
    hold = Hold(tenant.intake, tenant.appended - 1)
    asked: list[int] = []

    def unanswered_once(consumer: Consumer, place: TopicPartition, end: int) -> int:
        asked.append(place.offset)
        if len(asked) == 1:
            consumer.unassign()
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return behind_unreadable(consumer, place, end)

    monkeypatch.setattr("streams.worker.holds.behind_unreadable", unanswered_once)
    lookout = Lookout(world.settings("lookout").consumer())
    lookout.watch(hold)
    wait_until(lambda: hold.is_measured, lambda: f"never measured; asked: {asked}", pause=0.05)
    lookout.close()
    assert asked == [hold.offset] * 2


@pytest.mark.real_broker("a topic whose settings change")
def test_one_ruling_is_enough_for_many_batches_and_folds_what_can_be_read(world: World) -> None:
    """A ruling permits to skip, and orders nothing: what lies between, and can be read, is decided."""
    tenant = world.found()
    first = tenant.appended
    with compressed_as_sent(world.broker.bootstrap, tenant.intake):
        for _ in range(12):
            bomb(world, tenant, [BOMB_BYTES])
            tenant.call(1)
    last = tenant.appended - 1
    tenant.append((b"looks like nothing %d" % n, []) for n in range(20))
    tenant.append(
        tenant.events(Speaker(tenant.caller.key, "admin"), [RecordsSkipped(first=first, last=last, reason="x")] * 200)
    )
    rule(tenant, RecordsSkipped(first=first, last=last, reason="a flood of them"))
    loop = world.loop()
    fold_all(loop, tenant)
    loop.close()

    found = entries(world, tenant)
    assert [e.offset for e in found] == list(range(tenant.appended))
    assert [e.outcome for e in found[first : last + 1]] == ["skipped", "allowed"] * 12
    genesis = tenant.folder.genesis
    again = replay(world.broker.bootstrap, tenant=tenant.name, deployment="test", genesis=genesis)
    assert again.difference is None
