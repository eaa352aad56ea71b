"""The loop on a broker: a backlog, restarts, tenants that come late, and partitions that cannot go on."""

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType
from confluent_kafka.admin._config import ConfigEntry, ConfigResource

from macaw.installation.monitored import monitored
from schemas import limits
from streams.local.choose import BrokerInfo
from streams.worker.fold import TenantFold
from streams.worker.loop import BUFFERED_RECORDS_MAX, FAILURES_MAX, Loop
from tests.streams.loop_oracle import check_log
from tests.streams.loop_world import QuickSettings, World, decisions_limited, fold_all, folded_here, mixed, turn_until
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker


@pytest.fixture
def world(broker: BrokerInfo, tmp_path: Path, unique: str) -> World:
    return World(broker, tmp_path, unique)


def committed_offset(world: World, topic: str) -> int:
    settings = {"bootstrap.servers": world.broker.bootstrap, "group.id": world.group, "log_level": 0}
    consumer = Consumer(settings)
    try:
        [place] = consumer.committed([TopicPartition(topic, 0)], timeout=PATIENCE_SECONDS)
    finally:
        consumer.close()
    return place.offset


class SmallOutputs(QuickSettings):
    """Settings of a producer that takes no record above 3000 bytes."""

    def producer(self, lane: int = 0) -> dict[str, Any]:
        return {**super().producer(lane), "message.max.bytes": 3000}


class Watched(Loop):
    """A loop that notes how many records it held at once."""

    held_max = 0

    def _collect(self, timeout: float) -> int:
        collected = super()._collect(timeout)
        self.held_max = max(self.held_max, sum(len(p.buffer) for p in self._partitions.values()))
        return collected


def test_a_backlog_is_folded_once(world: World) -> None:
    """Good and bad records alike get one audit entry each, in order, and each call one decision."""
    tenant = world.found()
    tenant.append(mixed(tenant, 600))
    loop = world.loop()

    fold_all(loop, tenant)
    loop.close()

    log = check_log(world, tenant)
    assert len(log.decisions) == tenant.calls
    assert {e.outcome for e in log.entries} >= {"accepted", "allowed", "denied", "refused"}
    assert committed_offset(world, tenant.intake) == len(log.intake)


def test_a_restart_goes_on_where_the_log_ends(world: World) -> None:
    """A second worker takes over state from the changelog and writes what the first would have written."""
    tenant = world.found()
    tenant.append(mixed(tenant, 200))
    first = world.loop()
    fold_all(first, tenant)
    before = first.folds[tenant.intake].tables
    first.close()
    tenant.append(mixed(tenant, 200))

    second = world.loop()
    turn_until(second, lambda: folded_here(second, tenant) > 0)
    assert second.folds[tenant.intake].tables.next_index >= before.next_index
    fold_all(second, tenant)
    second.close()

    check_log(world, tenant)


class Slow(TenantFold):
    """A fold that takes few records at a time, as one does whose records cost much."""

    def fold(self, records: Any) -> int:
        return super().fold(records[:20])


def test_the_records_held_are_bounded(world: World) -> None:
    """A backlog is not read into memory faster than it is folded, and what a cut batch left over is folded next."""
    tenant = world.found()
    tenant.call(1200)

    def open_fold(name: str) -> TenantFold | None:
        fold = world.open_fold(name)
        return fold and Slow(fold.tables, fold.signatory, fold.state)

    loop = Watched(world.settings(), open_fold)
    fold_all(loop, tenant)
    loop.close()

    assert limits.BATCH_RECORDS_MAX < loop.held_max <= BUFFERED_RECORDS_MAX
    check_log(world, tenant)


def test_a_tenant_that_appears_is_served(world: World) -> None:
    """A tenant founded while the worker runs is found, and the first one goes on."""
    first = world.found("one")
    loop = world.loop()
    fold_all(loop, first)

    second = world.found("two")
    first.call(20)
    second.call(20)
    fold_all(loop, first, second)
    loop.close()

    check_log(world, first)
    check_log(world, second)


def test_an_unknown_tenant_waits_for_its_keys(world: World) -> None:
    """A tenant without keys here is paused and reported, others go on, and it is served once the keys are here."""
    stranger = world.found("stranger")
    hidden = stranger.folder.path / "monitor.key"
    aside = hidden.rename(hidden.with_suffix(".aside"))
    tenant = world.found("known")
    tenant.call(30)
    loop = world.loop()

    turn_until(loop, lambda: folded_here(loop, tenant) >= tenant.appended and stranger.intake in loop.paused)
    assert "NOT_CONFIGURED" in loop.paused[stranger.intake]
    assert monitored(world.home, stranger.name) is None
    aside.rename(hidden)
    fold_all(loop, stranger)
    loop.close()

    check_log(world, tenant)
    check_log(world, stranger)


@pytest.mark.real_broker("a topic whose settings change")
def test_an_intake_whose_senders_set_the_time_stops_its_tenant(world: World) -> None:
    """Log time is the broker's. Where a topic was changed to take the senders', nothing more is folded."""
    tenant, other = world.found_all("timed", "whole")
    loop = world.loop()
    fold_all(loop, tenant, other)
    resource = ConfigResource(
        ConfigResource.Type.TOPIC,
        tenant.intake,
        incremental_configs=[
            ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
        ],
    )
    with AdminClient({"bootstrap.servers": world.broker.bootstrap, "log_level": 0}) as admin:
        admin.incremental_alter_configs([resource])[resource].result(PATIENCE_SECONDS)
    before = folded_here(loop, tenant)

    tenant.call(5)
    other.call(5)
    turn_until(loop, lambda: tenant.intake in loop.paused)
    fold_all(loop, other)

    assert loop.paused[tenant.intake].startswith("CLOCK_UNTRUSTED")
    assert folded_here(loop, tenant) in {0, before}
    loop.close()
    check_log(world, other)


def test_a_damaged_key_file_stops_its_tenant_only(world: World) -> None:
    """A key file that cannot be read is one tenant's trouble, not the worker's."""
    damaged, tenant = world.found_all("damaged", "whole")
    key = damaged.folder.path / "monitor.key"
    key.write_bytes(b"not a key")
    loop = world.loop()

    turn_until(loop, lambda: folded_here(loop, tenant) >= tenant.appended and damaged.intake in loop.paused)
    loop.close()

    check_log(world, tenant)


def test_an_output_that_is_too_large_is_never_half_committed(world: World) -> None:
    """A refusal by the producer's own limit aborts; the third time the partition is paused, and others go on.

    Without the abort the commit would succeed, and the transaction would lack a record.
    """
    large, tenant = world.found_all("large", "small")
    loop = Loop(world.settings(cls=SmallOutputs), world.open_fold)
    fold_all(loop, large, tenant)
    good = large.appended
    large.append(large.make_calls(1, pad=8000))
    tenant.call(50)

    turn_until(loop, lambda: large.intake in loop.paused)
    fold_all(loop, tenant)
    assert f"{FAILURES_MAX} transactions failed" in loop.paused[large.intake]
    assert "MSG_SIZE_TOO_LARGE" in loop.paused[large.intake]
    assert committed_offset(world, large.intake) == good
    loop.close()

    # A worker with the right limit takes up where the log ends: nothing of the aborted ones is there.
    mended = world.loop("mended")
    fold_all(mended, large, tenant)
    mended.close()
    check_log(world, large)
    check_log(world, tenant)


def test_a_lane_is_in_order_again_after_the_broker_refused_an_output(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """What the broker refused cost no later transaction of that lane: the next one to the partition goes through.

    The client counts the refused messages, and the broker does not (librdkafka 2.16): a producer that went on would
    send the next ones out of sequence.
    """
    tenant = world.found()
    loop = Loop(world.settings(lanes=1), world.open_fold)
    fold_all(loop, tenant)

    def aborts() -> list[str]:
        return [r.getMessage() for r in caplog.records if "transaction aborted" in r.getMessage()]

    with caplog.at_level(logging.WARNING, "streams.worker.loop"):
        with decisions_limited(world, [tenant], 200):
            tenant.call(1)
            turn_until(loop, aborts)
        fold_all(loop, tenant)
        tenant.call(5)
        fold_all(loop, tenant)
    loop.close()

    assert all("MSG_SIZE_TOO_LARGE" in line for line in aborts()), aborts()
    check_log(world, tenant)


class Overtaken(Producer):
    """A producer whose first try to send an offset is overtaken by the refusal of a message, as on a busy machine."""

    tries = 0

    def send_offsets_to_transaction(self, *given: Any) -> None:
        self.tries += 1
        if self.tries == 1:
            time.sleep(1)  # the refusal has come
            raise KafkaException(KafkaError(KafkaError._STATE))
        super().send_offsets_to_transaction(*given)


def test_a_refusal_that_overtakes_the_offset_is_told_by_its_cause(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client tells only that its state is wrong; asked again, it tells what the broker said."""
    tenant = world.found()
    loop = Loop(world.settings(lanes=1), world.open_fold)
    fold_all(loop, tenant)
    loop.close()
    monkeypatch.setattr("streams.worker.loop.Producer", Overtaken)
    loop = Loop(world.settings(lanes=1), world.open_fold)

    with caplog.at_level(logging.WARNING, "streams.worker.loop"):
        with decisions_limited(world, [tenant], 200):
            tenant.call(1)
            turn_until(loop, lambda: tenant.intake in loop.paused)
        paused = dict(loop.paused)
        loop.close()

    assert "MSG_SIZE_TOO_LARGE" in paused[tenant.intake]
    assert not [r for r in caplog.records if "_STATE" in r.getMessage()]


class Breaking(TenantFold):
    """A fold with a fault: it breaks off in the middle of a batch."""

    def fold(self, records: Any) -> int:
        super().fold(records[:-1])
        raise ZeroDivisionError("a fault of the fold")


def test_a_fault_in_one_fold_pauses_one_partition(world: World) -> None:
    """An exception while folding aborts; the third time the partition is paused, and others go on."""
    faulty, tenant = world.found_all("faulty", "sound")

    def open_fold(name: str) -> TenantFold | None:
        fold = world.open_fold(name)
        if name != faulty.name or fold is None:
            return fold
        return Breaking(fold.tables, fold.signatory, fold.state)

    loop = Loop(world.settings(), open_fold)
    turn_until(loop, lambda: faulty.intake in loop.paused and folded_here(loop, tenant) >= tenant.appended)
    assert "ZeroDivisionError" in loop.paused[faulty.intake]
    loop.close()

    mended = world.loop("mended")
    fold_all(mended, faulty, tenant)
    mended.close()
    check_log(world, faulty)
    check_log(world, tenant)
