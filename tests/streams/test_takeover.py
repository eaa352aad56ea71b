"""Workers that take over from each other: under load, after a kill, after a pause, and behind open transactions."""

import signal
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.local.choose import BrokerInfo
from streams.worker.lanes import WorkerFencedError
from streams.worker.loop import Loop
from tests.streams.loop_oracle import check_log, read_log
from tests.streams.loop_workers import AuditWatch, ShortTransactions, WorkerProcess, WorkerThread
from tests.streams.loop_world import Tenant, World, fold_all, folded_here, mixed, turn_until
from tests.streams.worker_main import FENCED
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.real_broker("groups, generations and transaction timeouts are Apache Kafka's"),
]


@pytest.fixture
def world(broker: BrokerInfo, tmp_path: Path, unique: str) -> World:
    return World(broker, tmp_path, unique)


def folded_twice(world: World, tenant: Tenant) -> list[int]:
    """Return the intake offsets that more than one audit entry is about."""
    times = Counter(entry.offset for entry in read_log(world, tenant).entries)
    return sorted(offset for offset, n in times.items() if n > 1)


class Interrupted(Loop):
    """A loop whose consumer calls, once armed, last until a partition was revoked and another worker has folded."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.expected = 0
        self.revoked: list[str] = []
        self.meanwhile: Any = None

    def _collect(self, timeout: float) -> int:
        collected = super()._collect(timeout)
        if not self.expected:
            return collected
        while sum(len(p.buffer) for p in self._partitions.values()) < self.expected:
            super()._collect(timeout)
        self.expected = 0
        self.meanwhile(lambda: super(Interrupted, self)._collect(0.02))
        return collected

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self.revoked += [p.topic for p in places]
        super()._on_revoke(consumer, places)


class WithoutEpochs(Interrupted):
    """The same, with a callback that takes no note: what the loop would be without epochs."""

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self.revoked += [p.topic for p in places]
        consumer.incremental_unassign(places)


@pytest.mark.parametrize("cls", [Interrupted, WithoutEpochs])
def test_records_of_a_revoked_partition_are_dropped(world: World, cls: type[Interrupted]) -> None:
    """A partition that moves between poll and commit is folded once; without epochs it is folded twice.

    Kafka accepts the first worker's commit: it is a member of the newest generation, only not the partition's owner.
    """
    tenants = {t.intake: t for t in world.found_all("one", "two")}
    first = cls(world.settings("first"), world.open_fold)
    fold_all(first, *tenants.values())
    for tenant in tenants.values():
        tenant.call(40)

    with ExitStack() as stack:

        def until_folded_elsewhere(collect: Any) -> None:
            second = stack.enter_context(WorkerThread(world.loop("second")))
            while not first.revoked:
                collect()
            [moved] = [tenants[topic] for topic in first.revoked]
            wait_until(lambda: folded_here(second.loop, moved) >= moved.appended, "the second fold")

        first.expected, first.meanwhile = 80, until_folded_elsewhere
        turn_until(first, lambda: first.revoked)
        [moved] = [tenants[topic] for topic in first.revoked]
        [kept] = [t for t in tenants.values() if t is not moved]
        expected = [kept] if cls is Interrupted else [kept, moved]  # the control must not leave before it did wrong
        turn_until(first, lambda: all(folded_here(first, t) >= t.appended for t in expected))
        first.close()

    check_log(world, kept)
    if cls is Interrupted:
        check_log(world, moved)
    else:
        assert len(folded_twice(world, moved)) == 40


class Killed(BaseException):
    """The end of a process, as far as its loop can tell."""


class NeverCommits:
    """A producer whose process dies when everything is sent but the commit."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def commit_transaction(self, _: float) -> None:
        self._producer.flush(PATIENCE_SECONDS)
        raise Killed


@pytest.mark.parametrize("successor", ["same", "other"])
def test_an_open_transaction_is_waited_out(world: World, successor: str) -> None:
    """What a dead worker left open is neither lost nor doubled, be its successor of its name or another."""
    tenant = world.found()
    dead = world.loop("same", settings=ShortTransactions)
    fold_all(dead, tenant)
    tenant.append(mixed(tenant, 60))
    for lane in dead._lanes:
        lane.producer = NeverCommits(lane.producer)  # type: ignore[assignment]
    with pytest.raises(Killed):
        turn_until(dead, lambda: False)
    dead._consumer.close()
    began = time.monotonic()

    loop = world.loop(successor, settings=ShortTransactions)
    fold_all(loop, tenant)
    loop.close()

    assert successor == "same" or time.monotonic() - began > 1.5, "the open transaction was not waited for"
    check_log(world, tenant)


def test_an_open_transaction_on_intake_stalls_nobody(world: World) -> None:
    """An intruder who writes intake in a transaction and never ends it holds up neither the loop nor a rebuild."""
    tenant = world.found()
    intruder = Producer(
        {"bootstrap.servers": world.broker.bootstrap, "transactional.id": f"{world.unique}.x", "log_level": 0}
        | {"transaction.timeout.ms": 15_000}
    )
    intruder.init_transactions(10)
    intruder.begin_transaction()
    tenant.append([(b"mine", [])], producer=intruder)
    tenant.call(50)
    began = time.monotonic()

    loop = world.loop()
    fold_all(loop, tenant)
    loop.close()
    world.producer.produce(f"macaw.{tenant.name}.state", None, b"head")
    assert world.producer.flush(PATIENCE_SECONDS) == 0
    tenant.call(10)
    again = world.loop("again")
    fold_all(again, tenant)

    assert time.monotonic() - began < 14, "the transaction has timed out: nothing was shown"
    intruder.abort_transaction(10)
    tenant.call(10)
    fold_all(again, tenant)
    again.close()
    check_log(world, tenant)


def test_a_killed_worker_is_replaced(world: World) -> None:
    """After kill -9 in the middle of a stream a second worker goes on: each call has one decision."""
    tenants = world.found_all("one", "two")
    watch = AuditWatch(world, *tenants)
    with WorkerProcess(world, "first") as first:
        watch.wait(tenants[0], tenants[0].appended)
        for tenant in tenants:
            tenant.append(mixed(tenant, 1500))
        watch.wait(tenants[0], 200)
        first.send(signal.SIGKILL)
    assert watch.count(tenants[1]) < tenants[1].appended, "it was killed too late"
    watch.close()

    second = world.loop("second", settings=ShortTransactions)
    for tenant in tenants:
        tenant.append(mixed(tenant, 50))
    fold_all(second, *tenants)
    second.close()

    for tenant in tenants:
        check_log(world, tenant)


def test_one_name_one_worker(world: World) -> None:
    """Of two workers with one transactional id the older must not go on."""
    tenant = world.found()
    older = world.loop("0")
    fold_all(older, tenant)
    newer = world.loop("0")
    tenant.call(20)

    with pytest.raises(WorkerFencedError):
        turn_until(older, lambda: False)
    older.close()
    fold_all(newer, tenant)
    newer.close()

    check_log(world, tenant)


def test_a_stopped_worker_comes_back_as_nobody(broker: BrokerInfo, tmp_path: Path, unique: str) -> None:
    """A worker that was stopped past its session timeout commits nothing more, whatever it was doing."""
    cases = ["with-proof", "before-proof", "before-commit"]
    worlds = {case: World(broker, tmp_path / case, f"{unique}{case[0]}{len(case)}") for case in cases}
    tenants = {case: worlds[case].found() for case in cases}
    with ExitStack() as ours, ExitStack() as stack:
        zombies = {case: stack.enter_context(WorkerProcess(worlds[case], "zombie", freeze=case)) for case in cases}
        for case in cases:
            zombies[case].await_word("armed")
            tenants[case].call(30)
        for case in cases:
            zombies[case].await_stopped()
        loops = {case: worlds[case].loop("next", settings=ShortTransactions) for case in cases}
        for loop in loops.values():
            ours.callback(loop.close)  # after a failure too: a member that takes no turns slows down every later test
        turn_until(
            list(loops.values()),
            lambda: all(folded_here(loops[c], tenants[c]) >= tenants[c].appended for c in cases),
        )
        # We go on meanwhile: who takes no turns holds up the group, and its transactions run out.
        for case in cases:
            zombies[case].send(signal.SIGCONT)
            turn_until(list(loops.values()), partial(zombies[case].has_said, "thawed"))
            tenants[case].call(10)
        for case, word in (
            ("before-proof", "excluded"),
            ("with-proof", "UNKNOWN_MEMBER_ID"),
            ("before-commit", "fenced"),
        ):
            turn_until(list(loops.values()), partial(zombies[case].has_said, word))
        assert zombies["before-commit"].child.wait(PATIENCE_SECONDS) == FENCED
        # Every other zombie is a member again and shares the work; its loop and ours end together.
        turn_until(
            list(loops.values()),
            lambda: all(len(read_log(worlds[c], tenants[c]).entries) >= tenants[c].appended for c in cases),
        )

    for case in cases:
        check_log(worlds[case], tenants[case])


def test_a_proof_without_a_member_is_worth_nothing(world: World) -> None:
    """Kafka takes a transaction's offsets from a consumer outside the group, so the loop must look at its member id."""
    tenant = world.found()
    loop = world.loop()
    fold_all(loop, tenant)
    outsider = Consumer({"bootstrap.servers": world.broker.bootstrap, "group.id": world.group, "log_level": 0})
    producer = Producer(world.settings("outsider", cls=ShortTransactions).producer())
    producer.init_transactions(10)
    producer.begin_transaction()
    moved = TopicPartition(tenant.intake, 0, tenant.appended - 1)
    producer.send_offsets_to_transaction([moved], outsider.consumer_group_metadata(), 10)
    producer.commit_transaction(10)

    [committed] = outsider.committed([TopicPartition(tenant.intake, 0)], timeout=PATIENCE_SECONDS)
    outsider.close()
    assert committed.offset == tenant.appended - 1, "Kafka has become stricter: the check may go"

    tenant.call(10)
    partition = loop._partitions[tenant.intake]
    partition.member = "somebody else"
    for _ in range(20):
        assert loop.turn(0.05) == 0, "a record of a lost membership was folded"
    loop.close()
    again = world.loop("again")
    fold_all(again, tenant)
    again.close()
    check_log(world, tenant)


def test_workers_share_tenants(world: World) -> None:
    """Workers that join and leave under load move tenants between them; each record is folded once."""
    tenants = world.found_all("a", "b", "c", "d")
    watch = AuditWatch(world, *tenants)
    moved: set[str] = set()

    def load(count: int) -> None:
        for tenant in tenants:
            tenant.append(mixed(tenant, count))

    with WorkerThread(world.loop("stays")):
        for turn in range(3):
            load(60)
            with WorkerThread(world.loop(f"guest-{turn}")) as guest:
                wait_until(lambda: guest.loop.folds, "a fold", pause=0.2, meanwhile=lambda: load(3))
                moved |= guest.loop.folds.keys()
                load(60)
                watch.wait(tenants[turn], tenants[turn].appended // 2)
        for tenant in tenants:
            watch.wait(tenant, tenant.appended)
    watch.close()

    assert moved
    for tenant in tenants:
        check_log(world, tenant)
