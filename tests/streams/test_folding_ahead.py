"""While a transaction is committed the loop folds what comes next: nothing of that may outlive its ground."""

import re
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.local.choose import BrokerInfo
from streams.worker.lanes import WorkerStuckError
from streams.worker.loop import Loop
from tests.streams.loop_oracle import check_log
from tests.streams.loop_workers import WorkerThread
from tests.streams.loop_world import Tenant, World, fold_all, folded_here, mixed, turn_until
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker


@pytest.fixture
def world(broker: BrokerInfo, tmp_path: Path, unique: str) -> World:
    return World(broker, tmp_path, unique)


class Held:
    """A producer whose next commit is held until `release` is set, and then does what `then` says."""

    def __init__(self, producer: Any, then: Callable[[], None] = lambda: None) -> None:
        self._producer = producer
        self._then = then
        self.armed = False
        self.begun = threading.Event()
        self.release = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def commit_transaction(self, seconds: float) -> None:
        if self.armed:
            self.armed = False
            self.begun.set()
            assert self.release.wait(PATIENCE_SECONDS)
            self._then()
        self._producer.commit_transaction(seconds)


def hold(loop: Loop, then: Callable[[], None] = lambda: None) -> Held:
    """Hold the next commit of the lane whose turn is next."""
    lane = loop._lanes.free()
    assert lane is not None
    held = Held(lane.producer, then)
    lane.producer = held  # type: ignore[assignment]
    held.armed = True
    return held


def aborted_error() -> KafkaException:
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, "made to fail", False, True, True))


def aborted() -> None:
    raise aborted_error()


def fold_ahead(loop: Loop, held: Held, tenant: Tenant) -> None:
    """Take turns until a commit is held and the loop has folded records that stand on it."""
    turn_until(loop, held.begun.is_set)
    tenant.append(mixed(tenant, 40))
    fold = loop.folds[tenant.intake]
    turn_until(loop, lambda: fold.batch.records > 0)


@pytest.mark.parametrize("outcome", ["committed", "aborted"])
def test_what_was_folded_ahead_shares_the_fate_of_its_ground(world: World, outcome: str) -> None:
    """Records folded on top of a transaction are kept if it is committed, and folded again if it is aborted."""
    tenant = world.found()
    loop = world.loop()
    fold_all(loop, tenant)
    held = hold(loop, aborted if outcome == "aborted" else lambda: None)
    tenant.append(mixed(tenant, 40))
    fold_ahead(loop, held, tenant)
    ahead = loop.folds[tenant.intake].tables
    assert ahead.next_index > ahead.committed_index
    meters = loop.folds[tenant.intake].meters

    held.release.set()
    fold_all(loop, tenant)
    loop.close()

    log = check_log(world, tenant)
    assert meters.aborts == (outcome == "aborted")
    assert dict(meters.decisions.items()) == Counter((one.outcome, one.reason) for one in log.decisions)
    assert dict(meters.records.items()) == Counter((one.kind, one.outcome, one.reason) for one in log.entries)
    assert meters.committing.cumulative()[-1] == meters.folding.cumulative()[-1] != ("+Inf", 0)


def test_a_worker_that_ends_folds_nothing_in_vain(world: World) -> None:
    """What was folded ahead and not sent is gone with the worker; the next one folds it."""
    tenant = world.found()
    loop = world.loop()
    fold_all(loop, tenant)
    held = hold(loop)
    tenant.append(mixed(tenant, 40))
    fold_ahead(loop, held, tenant)

    held.release.set()
    loop.close()
    successor = world.loop("successor")
    fold_all(successor, tenant)
    successor.close()

    check_log(world, tenant)


def test_a_tenant_is_served_while_another_waits_for_its_commit(world: World) -> None:
    """Each tenant's transaction has a lane of its own."""
    slow, quick = world.found_all("slow", "quick")
    loop = world.loop()
    fold_all(loop, slow, quick)
    held = hold(loop)
    slow.call(5)
    turn_until(loop, held.begun.is_set)

    quick.call(5)
    turn_until(loop, lambda: folded_here(loop, quick) >= quick.appended)
    assert folded_here(loop, slow) < slow.appended

    held.release.set()
    fold_all(loop, slow)
    loop.close()
    check_log(world, slow)
    check_log(world, quick)


def test_lanes_are_taken_in_turn(world: World) -> None:
    """So the markers of a commit are there before its producer begins anew; one that is held is passed over."""
    tenant = world.found()
    loop = world.loop()
    fold_all(loop, tenant)
    lanes = list(loop._lanes)

    def next_ones(count: int) -> list[int]:
        taken = []
        for _ in range(count):
            lane = loop._lanes.free()
            assert lane is not None
            before = lane.committed_at
            tenant.call(1)
            fold_all(loop, tenant)
            assert lane.committed_at > before
            taken.append(lanes.index(lane))
        return taken

    turns = next_ones(3 * len(lanes))
    assert sorted(turns[: len(lanes)]) == [0, 1, 2, 3]
    assert turns == turns[: len(lanes)] * 3

    lanes[turns[0]].renew()
    assert next_ones(1) == [turns[1]]
    loop.close()
    check_log(world, tenant)


class Watched(Loop):
    """A loop that notes which commits were still under way when it had given their partitions up."""

    revoked: tuple[str, ...] = ()
    unfinished = 0

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        super()._on_revoke(consumer, places)
        self.revoked += tuple(p.topic for p in places)
        lanes = [self._lanes.of(p.topic) for p in places]
        self.unfinished += sum(not lane.underway.outcome.done() for lane in lanes if lane and lane.underway)


@pytest.mark.real_broker("a partition that moves to another member of the group")
def test_a_partition_is_given_up_after_its_commit(world: World) -> None:
    """A revocation that falls into a commit waits for it, and what was folded ahead is never sent."""
    tenants = {t.intake: t for t in world.found_all("one", "two")}
    first = world.loop("first", cls=Watched)
    assert isinstance(first, Watched)
    fold_all(first, *tenants.values())
    held = [Held(lane.producer) for lane in first._lanes]
    for lane, producer in zip(first._lanes, held, strict=True):
        lane.producer, producer.armed = producer, True  # type: ignore[assignment]
    for tenant in tenants.values():
        tenant.append(mixed(tenant, 40))
    turn_until(first, lambda: sum(h.begun.is_set() for h in held) == 2)
    for tenant in tenants.values():
        tenant.append(mixed(tenant, 40))
    turn_until(first, lambda: all(f.batch.records for f in first.folds.values()))

    with WorkerThread(world.loop("second")) as second:
        release = threading.Timer(1.5, lambda: [h.release.set() for h in held])
        release.start()
        turn_until(first, lambda: first.revoked)
        release.join()
        [moved] = [tenants[topic] for topic in first.revoked]
        [kept] = [t for t in tenants.values() if t is not moved]
        turn_until(first, lambda: folded_here(first, kept) >= kept.appended)
        wait_until(lambda: folded_here(second.loop, moved) >= moved.appended, "the second fold")
    first.close()

    assert first.unfinished == 0
    check_log(world, moved)
    check_log(world, kept)


class Hanging:
    """A producer whose calls of one name do not come back until `release` is set."""

    def __init__(self, producer: Any, call: str) -> None:
        self._producer, self._call = producer, call
        self.release = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return self._hang if name == self._call else getattr(self._producer, name)

    def _hang(self, *_: object) -> None:
        self.release.wait()
        raise aborted_error()


def hang(loop: Any, tenant: Any, call: str) -> list[Hanging]:
    """Let a call of each lane's client hang from now on, with records to be folded."""
    fold_all(loop, tenant)
    hanging = [Hanging(lane.producer, call) for lane in loop._lanes]
    for lane, producer in zip(loop._lanes, hanging, strict=True):
        lane.producer = producer
    tenant.append(mixed(tenant, 40))
    return hanging


def loses_nothing(world: World, tenant: Any, hanging: list[Hanging]) -> None:
    """The next worker goes on where the log ends, while the calls still hang."""
    successor = world.loop()
    fold_all(successor, tenant)
    successor.close()
    for producer in hanging:
        producer.release.set()
    check_log(world, tenant)


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_a_client_that_does_not_come_back_ends_its_worker(
    world: World, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The loop neither stands still unnoticed nor waits for the lost thread; the next worker loses nothing."""
    monkeypatch.setattr("streams.worker.lanes.STUCK_SECONDS", 0.5)
    tenant = world.found()
    loop = world.loop()
    hanging = hang(loop, tenant, call)

    with pytest.raises(WorkerStuckError, match=re.escape(tenant.intake)):
        turn_until(loop, lambda: False)
    loop.close()

    assert any(thread.name.startswith("lane") for thread in threading.enumerate()), "nothing was hanging"
    loses_nothing(world, tenant, hanging)


def test_a_loop_is_closed_although_the_client_does_not_come_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks a worker to end waits so long as one call may take, and is told; the next worker loses nothing."""
    monkeypatch.setattr("streams.worker.lanes.STUCK_SECONDS", 3.0)
    tenant = world.found()
    loop = world.loop()
    hanging = hang(loop, tenant, "send_offsets_to_transaction")
    turn_until(loop, lambda: any(not lane.is_free for lane in loop._lanes))

    with pytest.raises(WorkerStuckError, match="did not end"):
        loop.close()

    loses_nothing(world, tenant, hanging)
