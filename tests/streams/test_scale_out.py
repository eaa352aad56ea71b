"""Sixteen tenants on the workers of one group: shared out, moved under load, and none at another's expense."""

import itertools
import logging
import secrets
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from streams.local.choose import BrokerInfo
from streams.worker.fold import TenantFold
from streams.worker.loop import FAILURES_MAX, Loop
from streams.worker.partition import Partition
from streams.worker.settings import LANES, LoopSettings
from tests.streams.loop_oracle import check_log, read_log
from tests.streams.loop_workers import AuditWatch, WorkerProcess, WorkerThread
from tests.streams.loop_world import (
    Tenant,
    World,
    decisions_limited,
    fold_all,
    folded_here,
    mixed,
    turn_until,
)
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.real_broker("groups of several members are Apache Kafka's"),
]

TENANTS = 16  # four for each of four workers; `python -m bench.scale` has forty
BACKLOG = 3_000
QUIET_CALLS = ((1, 0), (1, 0), (4, 200_000))  # the last are one batch of nearly a megabyte
FOUNDED_AT_ONCE = 4  # each founding waits for a broker that shares two cores with everybody


@dataclass(frozen=True, slots=True)
class Town:
    """The tenants of one installation; each test leaves them folded whole, and without workers."""

    world: World
    tenants: list[Tenant]

    def load(self, count: int) -> None:
        """Append calls and bad records to every tenant."""
        for tenant in self.tenants:
            tenant.append(mixed(tenant, count))

    def check(self, tenants: Sequence[Tenant] = ()) -> None:
        """Assert that each record of these tenants, or of all, was folded exactly once."""
        with ThreadPoolExecutor(FOUNDED_AT_ONCE) as pool:
            list(pool.map(lambda tenant: check_log(self.world, tenant), tenants or self.tenants))


@pytest.fixture(scope="module")
def town(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Town:
    world = World(broker, tmp_path_factory.mktemp("town"), f"t{secrets.token_hex(4)}")
    with ThreadPoolExecutor(FOUNDED_AT_ONCE) as pool:
        return Town(world, list(pool.map(world.found, (f"n{n}" for n in range(TENANTS)))))


def shares(world: World) -> list[int]:
    """Return how many intakes the coordinator has given to each member of the group, the fewest first."""
    with AdminClient({"bootstrap.servers": world.broker.bootstrap, "log_level": 0}) as admin:
        [described] = admin.describe_consumer_groups([world.group]).values()
        members = described.result(PATIENCE_SECONDS).members
    return sorted(len(m.assignment.topic_partitions) for m in members)


def await_shares(world: World, wanted: list[int], meanwhile: Callable[[], None]) -> None:
    """Do something again and again until the group has shared out its intakes like this."""
    # With a pause: a flood would take the processor from the workers that are waited for.
    wait_until(
        lambda: shares(world) == wanted,
        lambda: f"the shares are {shares(world)}, want {wanted}",
        pause=0.05,
        meanwhile=meanwhile,
    )


class Counted(Loop):
    """A loop that notes which tenants it has begun to serve."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.served: set[str] = set()

    def _go_on(self, partition: Partition, fold: TenantFold, position: int) -> None:
        super()._go_on(partition, fold, position)
        self.served.add(partition.topic)


def test_tenants_move_between_one_two_and_four_workers(town: Town) -> None:
    """Workers join, leave, and die while every tenant is spoken to: each gets its share, each record is folded once."""
    world, every = town.world, town.tenants
    watch = AuditWatch(world, *every)
    turns = itertools.cycle([every[n::4] for n in range(4)])

    def trickle() -> None:
        for tenant in next(turns):
            tenant.append(mixed(tenant, 3))

    with WorkerProcess(world, "stays") as stays:
        await_shares(world, [16], trickle)
        town.load(12)
        with WorkerProcess(world, "dies") as dies:
            await_shares(world, [8, 8], trickle)
            dies.await_word("resumed")
            with ExitStack() as stack:
                guests = [Counted(world.settings(f"guest-{n}"), world.open_fold) for n in range(2)]
                for guest in guests:
                    stack.enter_context(WorkerThread(guest))
                await_shares(world, [4] * 4, trickle)
                wait_until(lambda: all(len(guest.served) >= 4 for guest in guests), pause=0.05, meanwhile=trickle)
                town.load(12)
            await_shares(world, [8, 8], trickle)
            town.load(12)
            dies.send(signal.SIGKILL)
        await_shares(world, [16], trickle)
        for tenant in every:
            watch.wait(tenant, tenant.appended)
        assert stays.child.poll() is None
    watch.close()

    town.check()


class Breaking(TenantFold):
    """A fold with a fault: it breaks off when a batch is folded."""

    def fold(self, records: Any) -> int:
        super().fold(records)
        raise ZeroDivisionError("a fault of the fold")


def test_tenants_that_fail_again_and_again_are_paused_and_the_others_go_on(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    """Six of sixteen fail, by the broker's word or in the fold: each is paused and reported; nobody else is touched."""
    world = town.world
    refused, faulty = town.tenants[0:16:4], town.tenants[1:9:4]
    failing = [t.intake for t in (*refused, *faulty)]
    sound = [t for t in town.tenants if t.intake not in failing]

    def open_fold(name: str) -> TenantFold | None:
        fold = world.open_fold(name)
        if fold is None or name not in {t.name for t in faulty}:
            return fold
        return Breaking(fold.tables, fold.signatory, fold.state)

    with caplog.at_level(logging.WARNING, "streams.worker.loop"):
        loop = Loop(world.settings("pausing"), open_fold)
        fold_all(loop, *sound, *refused)
        good = [t.appended for t in refused]
        with decisions_limited(world, refused, 200):
            town.load(10)
            turn_until(loop, lambda: len(loop.paused) == 6 and all(folded_here(loop, t) >= t.appended for t in sound))
            town.load(10)
            fold_all(loop, *sound)
        paused = dict(loop.paused)
        loop.close()
    told = [r.getMessage() for r in caplog.records]

    assert sorted(paused) == sorted(failing)
    assert all(f"{FAILURES_MAX} transactions failed" in why for why in paused.values())
    assert all("MSG_SIZE_TOO_LARGE" in paused[t.intake] for t in refused)
    assert all("ZeroDivisionError" in paused[t.intake] for t in faulty)
    assert [sum(f"{intake} is paused" in line for line in told) for intake in failing] == [1] * 6
    refusals = [
        sum(f"{t.intake}: transaction aborted" in line and "MSG_SIZE_TOO_LARGE" in line for line in told)
        for t in refused
    ]
    # A transaction that holds no decision goes through in between, and the count begins anew.
    assert all(FAILURES_MAX <= count <= 3 * FAILURES_MAX for count in refusals), refusals
    assert not [line for line in told for t in sound if t.intake in line]
    kept = [len(read_log(world, t).entries) for t in refused]
    assert all(before <= after < t.appended for before, after, t in zip(good, kept, refused, strict=True)), kept

    mended = world.loop("mended")
    fold_all(mended, *town.tenants)
    mended.close()
    town.check()


def test_a_new_tenant_is_served_beside_sixteen(town: Town) -> None:
    """Two workers with the settings of every day serve sixteen tenants, and find one more by themselves.

    How soon is measured by `python -m bench.scale`.
    """
    world, over = town.world, threading.Event()

    def talk() -> None:
        for tenant in itertools.cycle(town.tenants):
            if over.wait(0.02):
                return
            tenant.append(mixed(tenant, 3))

    with ExitStack() as stack:
        for name in ("one", "two"):
            stack.enter_context(WorkerThread(world.loop(name, settings=LoopSettings)))
        await_shares(world, [8, 8], lambda: time.sleep(0.1))
        talking = stack.enter_context(ThreadPoolExecutor(1)).submit(talk)
        stack.callback(over.set)
        late = world.found(f"late{secrets.token_hex(2)}")
        late.call(1)
        watch = AuditWatch(world, late)
        stack.callback(watch.close)
        watch.wait(late, late.appended)
        over.set()
        talking.result(PATIENCE_SECONDS)
        everybody = AuditWatch(world, *town.tenants)
        stack.callback(everybody.close)
        for tenant in town.tenants:
            everybody.wait(tenant, tenant.appended)

    town.check([late, *town.tenants])


@pytest.mark.parametrize("floods", [1, LANES + 1])
def test_a_quiet_tenant_is_served_while_others_flood(town: Town, floods: int) -> None:
    """A quiet tenant's calls, small and large, are decided while each flood is still long, and the floods share."""
    world = town.world
    quiet, *flooding = town.tenants[-1 - floods :]
    theirs = rf"^macaw\.({'|'.join(t.name for t in (quiet, *flooding))})\.intake$"
    loop = Loop(replace(world.settings(f"flooded-{floods}"), pattern=theirs), world.open_fold)
    fold_all(loop, quiet, *flooding)
    for tenant in flooding:
        tenant.append(tenant.make_calls(BACKLOG))

    def left() -> list[int]:
        return [tenant.appended - folded_here(loop, tenant) for tenant in flooding]

    turn_until(loop, lambda: min(left()) < BACKLOG)
    seen = [left()]
    for calls, pad in QUIET_CALLS:
        quiet.append(quiet.make_calls(calls, pad=pad))
        turn_until(loop, lambda: folded_here(loop, quiet) >= quiet.appended)
        seen.append(left())

    assert min(seen[-1]) > 0, f"the floods went first; what was left of them after each call of the quiet one: {seen}"
    turn_until(loop, lambda: min(left()) == 0)
    assert max(left()) < BACKLOG * 3 / 4, f"one flood was over when others had hardly begun: {left()}"
    fold_all(loop, quiet, *flooding)
    loop.close()
    town.check([quiet, *flooding])
