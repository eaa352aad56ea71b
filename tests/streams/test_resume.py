"""Where a worker resumes: with damaged state, and with an intake or a log that does not fit."""

import io
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas import codec
from schemas.rows import StateHead
from schemas.topics import AUDIT, INTAKE, STATE
from streams.local.choose import BrokerInfo
from streams.worker.partition import Partition
from streams.worker.state_head import HEAD_KEY, StateMac
from tests.streams.loop_oracle import check_log, read_log, read_topic
from tests.streams.loop_world import Tenant, World, fold_all, folded_here, mixed, turn_until
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker

Rows = dict[bytes, bytes]
Damage = Callable[[Rows], dict[bytes, bytes | None]]


def changed_row(rows: Rows) -> dict[bytes, bytes | None]:
    first, second = sorted(key for key in rows if key.startswith(b"keys/"))[:2]
    return {first: rows[second]}


def dropped_row(rows: Rows) -> dict[bytes, bytes | None]:
    return {min(key for key in rows if key.startswith(b"calls/")): None}


def added_row(rows: Rows) -> dict[bytes, bytes | None]:
    return {b"calls/" + bytes(32): rows[min(key for key in rows if key.startswith(b"calls/"))]}


def missing_head(_: Rows) -> dict[bytes, bytes | None]:
    return {HEAD_KEY: None}


def unreadable_head(_: Rows) -> dict[bytes, bytes | None]:
    return {HEAD_KEY: b"\x00\x00\x00\x00\x11?"}


def foreign_head(rows: Rows) -> dict[bytes, bytes | None]:
    head: StateHead = codec.decode_as(StateHead, rows[HEAD_KEY])
    stranger = StateMac(bytes(32))
    for key, value in rows.items():
        if key != HEAD_KEY:
            stranger.restore(key, value)
    return {HEAD_KEY: codec.frame(stranger.head(head.audit_index, bytes(32)))}


def everything_gone(rows: Rows) -> dict[bytes, bytes | None]:
    return dict.fromkeys(rows)


@pytest.fixture
def world(broker: BrokerInfo, tmp_path: Path, unique: str) -> World:
    return World(broker, tmp_path, unique)


def state_of(world: World, tenant: Tenant) -> Rows:
    rows: Rows = {}
    for message in read_topic(world, STATE.of(tenant.name)):
        if message.value() is None:
            rows.pop(message.key() or b"", None)
        else:
            rows[message.key() or b""] = message.value() or b""
    return rows


def write(world: World, topic: str, records: dict[bytes, bytes | None]) -> None:
    for key, value in records.items():
        world.producer.produce(topic, value, key, 0)
    assert world.producer.flush(PATIENCE_SECONDS) == 0


def older_state(rows: Rows) -> dict[bytes, bytes | None]:
    """Return what makes the rows those of an earlier time; filled in by the fixture."""
    return {key: OLDER.get(key) for key in {**OLDER, **rows}}


OLDER: Rows = {}
DAMAGES = (
    changed_row,
    dropped_row,
    added_row,
    missing_head,
    unreadable_head,
    foreign_head,
    everything_gone,
    older_state,
)


@dataclass(slots=True)
class Damaged:
    """Tenants whose state was damaged while no worker ran, and what the next two workers said."""

    world: World
    tenants: dict[Damage, Tenant]
    first: str = ""
    second: str = ""


@pytest.fixture(scope="module")
def damaged(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    """One tenant a damage: folded, damaged, and gone on with by two workers in turn."""
    world = World(broker, tmp_path_factory.mktemp("damaged"), f"t{secrets.token_hex(4)}")
    tenants = world.found_all(*(damage.__name__.replace("_", "-") for damage in DAMAGES))
    told = Damaged(world, dict(zip(DAMAGES, tenants, strict=True)))
    fold_more(told)
    OLDER.update(state_of(world, told.tenants[older_state]))
    fold_more(told)
    for damage, tenant in told.tenants.items():
        write(world, STATE.of(tenant.name), damage(state_of(world, tenant)))
    told.first = fold_more(told)
    told.second = fold_more(told)
    return told


def fold_more(told: Damaged) -> str:
    """Append to every tenant, have a new worker fold it, and return what was logged of resuming."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    logger = logging.getLogger("streams.worker.resume")
    logger.addHandler(handler)
    for tenant in told.tenants.values():
        tenant.append(mixed(tenant, 20))
    loop = told.world.loop()
    fold_all(loop, *told.tenants.values())
    loop.close()
    logger.removeHandler(handler)
    return lines.getvalue()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_state_is_rebuilt_from_the_log(damaged: Damaged, damage: Damage) -> None:
    """A changelog that its head does not vouch for is thrown away, loudly, and every output after it is the same.

    The first transaction afterwards repairs the changelog: the next worker restores from it again.
    """
    tenant = damaged.tenants[damage]

    assert f"{tenant.name}: " in damaged.first
    assert f"{tenant.name}: " not in damaged.second
    check_log(damaged.world, tenant)


def paused_with(world: World, tenant: Tenant, code: str) -> str:
    """Assert that a worker pauses the tenant with this code and adds nothing to its log, while another is served.

    Return what it says.
    """
    other = world.found("other")
    before = len(read_topic(world, AUDIT.of(tenant.name)))
    loop = world.loop("next")
    turn_until(loop, lambda: tenant.intake in loop.paused)
    said = loop.paused[tenant.intake]
    assert said.startswith(code)
    fold_all(loop, other)
    loop.close()
    assert len(read_topic(world, AUDIT.of(tenant.name))) == before
    check_log(world, other)
    return said


def founded_and_folded(world: World) -> Tenant:
    tenant = world.found()
    tenant.call(20)
    loop = world.loop()
    fold_all(loop, tenant)
    loop.close()
    return tenant


def test_a_committed_offset_above_the_log_stops_the_tenant(world: World) -> None:
    """Records that were consumed but are not on the log are not skipped in silence."""
    tenant = founded_and_folded(world)
    tenant.call(5)
    consumer = Consumer({"bootstrap.servers": world.broker.bootstrap, "group.id": world.group, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(tenant.intake, 0, tenant.appended)], asynchronous=False)
    consumer.close()

    paused_with(world, tenant, "RESUME_MISMATCH")


def test_a_log_that_does_not_chain_stops_the_tenant(world: World) -> None:
    """A record that somebody added to the audit log, even one with the right index, is not built upon."""
    tenant = founded_and_folded(world)
    entries = read_log(world, tenant).entries
    write(world, AUDIT.of(tenant.name), {b"": codec.frame(entries[-1])})

    paused_with(world, tenant, "LOG_MISMATCH")


def test_a_log_that_misses_entries_in_its_midst_stops_the_tenant(world: World) -> None:
    """What brokers lost between two transactions is named, although the state can be folded again without it."""
    tenant = founded_and_folded(world)
    loop = world.loop()
    fold_all(loop, tenant)
    for is_lost in (True, False):
        tenant.call(3)
        if is_lost:  # a commit that is answered, and forgotten
            lane = loop._lanes.free()
            assert lane is not None
            lane.producer = Forgetful(lane.producer)  # type: ignore[assignment]
        turn_until(loop, lambda: folded_here(loop, tenant) >= tenant.appended)
    loop.close()

    said = paused_with(world, tenant, "LOG_MISMATCH")
    assert "does not link to the entry before it" in said


class Forgetful:
    """A producer whose commits are answered, and come to nothing."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def commit_transaction(self, seconds: float) -> None:
        self._producer.abort_transaction(seconds)


def test_a_signed_entry_twice_stops_the_tenant(world: World) -> None:
    """The monitor's own signature does not make a copy of its last entry a successor."""
    tenant = founded_and_folded(world)
    last = read_topic(world, AUDIT.of(tenant.name))[-1]
    world.producer.produce(AUDIT.of(tenant.name), last.value(), None, 0, headers=last.headers() or [])
    assert world.producer.flush(PATIENCE_SECONDS) == 0

    paused_with(world, tenant, "LOG_MISMATCH")


def recreate_intake(world: World, tenant: Tenant) -> None:
    """Delete intake and make it again, empty."""
    with AdminClient({"bootstrap.servers": world.broker.bootstrap, "log_level": 0}) as admin:
        admin.delete_topics([tenant.intake])[tenant.intake].result(PATIENCE_SECONDS)
        new = NewTopic(tenant.intake, num_partitions=1, replication_factor=1, config=INTAKE.config())

        def is_made() -> bool:
            try:
                admin.create_topics([new])[tenant.intake].result(PATIENCE_SECONDS)
            except KafkaException:  # the deletion is under way; the wait below decides
                return False
            return True

        wait_until(is_made, "the topic is not made again", pause=0.05)
        wait_until(lambda: tenant.intake in admin.list_topics(timeout=PATIENCE_SECONDS).topics)
    world.producer = tenant.producer = world.idempotent_producer()


@pytest.mark.real_broker("a topic that is deleted and made again")
def test_an_intake_that_ends_before_the_log_stops_the_tenant(world: World) -> None:
    """A worker does not go on with an intake that lacks what the log has."""
    tenant = founded_and_folded(world)
    recreate_intake(world, tenant)

    paused_with(world, tenant, "RESUME_MISMATCH")


@pytest.mark.real_broker("a topic that is deleted and made again")
@pytest.mark.parametrize("kept_count", [0, 1, 20, 24])
def test_an_intake_that_lost_records_and_grew_again_stops_the_tenant(world: World, kept_count: int) -> None:
    """Not where the log goes on, but what was folded before it, says whether it is the same intake."""
    tenant = founded_and_folded(world)
    assert tenant.appended == 25
    kept = [(m.value(), m.headers() or []) for m in read_topic(world, tenant.intake)]
    recreate_intake(world, tenant)
    tenant.append([*kept[:kept_count], *((b"stray %d" % n, []) for n in range(40 - kept_count))])

    paused_with(world, tenant, "RESUME_MISMATCH")


@pytest.mark.real_broker("a topic that is deleted and made again")
def test_an_intake_whose_last_folded_record_is_another_at_the_same_place(world: World) -> None:
    """A founding event and as many records as before do not make it the same."""
    tenant = founded_and_folded(world)
    kept = [(m.value(), m.headers() or []) for m in read_topic(world, tenant.intake)]
    recreate_intake(world, tenant)
    tenant.append([*kept[:-2], kept[-1], kept[-2]])

    paused_with(world, tenant, "RESUME_MISMATCH")


@pytest.mark.real_broker("a topic that is deleted and made again")
def test_an_intake_that_gives_another_log_stops_the_tenant(world: World) -> None:
    """Where state must be rebuilt and intake was changed, the log does not come out the same, and nothing is added."""
    tenant = founded_and_folded(world)
    kept = [(m.value(), m.headers() or []) for m in read_topic(world, tenant.intake)]
    recreate_intake(world, tenant)
    tenant.append([*kept[:10], kept[11], kept[10], *kept[12:]])
    write(world, STATE.of(tenant.name), {HEAD_KEY: None})

    paused_with(world, tenant, "LOG_MISMATCH")


@pytest.mark.real_broker("a topic that is deleted and made again")
def test_an_intake_that_is_made_again_under_a_running_worker_stops_the_tenant(world: World) -> None:
    """The client reads on behind the old position without a word; the worker notices, and so does every later one."""
    tenant = world.found()
    loop = world.loop()
    fold_all(loop, tenant)
    turn_until(loop, lambda: loop._topic_ids is not None and tenant.intake in loop._topic_ids._known)
    recreate_intake(world, tenant)
    tenant.append((b"stray %d" % n, []) for n in range(40))

    turn_until(loop, lambda: loop.paused.get(tenant.intake, "").startswith("RESUME_MISMATCH"))
    loop.close()
    paused_with(world, tenant, "RESUME_MISMATCH")


class Unpaused(Consumer):
    """A consumer that fetches from new partitions at once; so does any, for the moment until they are paused."""

    def pause(self, _places: list[TopicPartition]) -> None:
        """Nothing is paused."""


def trim(world: World, tenant: Tenant, offset: int) -> None:
    with AdminClient({"bootstrap.servers": world.broker.bootstrap, "log_level": 0}) as admin:
        [done] = admin.delete_records([TopicPartition(tenant.intake, 0, offset)]).values()
        assert done.result(PATIENCE_SECONDS).low_watermark == offset


@pytest.mark.real_broker("an intake that is trimmed")
def test_a_worker_starts_on_a_trimmed_intake(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never asks for a record that is gone, not even before it knows where it goes on."""
    tenant = world.found()
    tenant.call(20)
    first = world.loop()
    fold_all(first, tenant)
    first.close()
    trim(world, tenant, tenant.appended - 1)

    monkeypatch.setattr("streams.worker.loop.Consumer", Unpaused)
    second = world.loop()
    fold_all(second, tenant)
    tenant.call(5)
    fold_all(second, tenant)
    second.close()

    assert not second.paused


@pytest.mark.real_broker("an intake that is trimmed")
def test_a_partition_whose_offset_was_gone_is_read_on(world: World) -> None:
    """The client's fetcher stops there, and a seek alone is refused for good."""
    tenant = world.found()
    tenant.call(20)
    trim(world, tenant, 10)
    settings = {"bootstrap.servers": world.broker.bootstrap, "group.id": world.unique, "auto.offset.reset": "error"}
    consumer, partition = Consumer(settings), Partition(tenant.intake)
    try:
        consumer.incremental_assign([TopicPartition(tenant.intake, 0, 3)])
        lost = consumer.poll(30)
        assert lost is not None
        error = lost.error()
        assert error is not None
        assert error.name() == "_AUTO_OFFSET_RESET"
        for offset in (12, 11):  # after a new assignment, then by a seek
            partition.read_from(consumer, offset)
            found = consumer.poll(30)
            assert found is not None
            assert (found.error(), found.offset()) == (None, offset)
    finally:
        consumer.close()
