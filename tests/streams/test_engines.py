"""Workers with and without a tenant's engine: the one stops it exactly before the activation, the other goes on."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from processors.proof.signing import VerifiedHeads
from processors.state.engine import ENGINE
from processors.state.engines import EngineMissingError, installed
from schemas.records import TenantFounded
from streams.local.choose import BrokerInfo
from streams.worker.fold import TenantFold
from streams.worker.loop import Loop
from streams.worker.signing.decision_keys import DecisionKeys, Signatory
from streams.worker.state_head import StateMac
from tests.engines import WITH_LATER, activation
from tests.streams.loop_oracle import check_log, read_log
from tests.streams.loop_workers import AuditWatch, WorkerThread
from tests.streams.loop_world import Tenant, World, fold_all, folded_here, turn_until
from tests.waiting import wait_until
from tests.world import Office


def test_a_batch_ends_before_the_activation_of_an_engine_that_is_not_here() -> None:
    """The records before it are sent first; neither its entry is written nor what follows, and nothing is lost."""
    office = Office.opened("batch")
    world = office.world
    count = len(world.records)
    world.send(activation(), world.admin)
    world.given["engines"] = WITH_LATER
    world.tables.engines = WITH_LATER
    office.call()
    keys = world.monitor.keys

    def folding(engines: object) -> TenantFold:
        world.given["engines"] = engines
        tables = world.fresh_tables()
        return TenantFold(tables, Signatory(DecisionKeys.of(keys)), StateMac(bytes(32)), VerifiedHeads())

    fold = folding(None)
    assert fold.fold(world.records) == count
    assert fold.fold(world.records[count:]) == 0
    assert fold.take()
    with pytest.raises(EngineMissingError):
        fold.fold(world.records[count:])
    fold.commit()
    with pytest.raises(EngineMissingError):
        fold.fold(world.records[count:])
    assert fold.tables.next_index == count
    assert fold.tables.tenant.rows[b"-"].engine == 1
    assert folding(WITH_LATER).fold(world.records) == count + 2


# --- on a broker


@pytest.fixture
def world(broker: BrokerInfo, tmp_path: Path, unique: str) -> World:
    return World(broker, tmp_path, unique)


def loop_with(world: World, engines: object, worker: str = "0") -> Loop:
    """Return a worker's loop that holds some engines."""
    world.engines = engines  # type: ignore[assignment]
    fold = world.open_fold
    held = world.engines

    def opened(name: str) -> TenantFold | None:
        found = fold(name)
        if found is not None:
            found.tables.engines = held
        return found

    return Loop(world.settings(worker), opened)


def activate(tenant: Tenant) -> int:
    """Append the activation of the later engine; return how many records stand before it."""
    tenant.append(tenant.events(tenant.admin, [activation()]))
    return tenant.appended - 1


@pytest.mark.broker
def test_a_tenant_is_founded_with_the_engine_and_data_of_its_installation(world: World) -> None:
    tenant = world.found()
    loop = world.loop()
    fold_all(loop, tenant)
    row = loop.folds[tenant.intake].tables.tenant.rows[b"-"]
    loop.close()

    assert (row.engine, row.data) == (ENGINE, installed()[ENGINE].data)
    assert {one.name.split("/")[0] for one in row.data} > {"re2", "tzdata", "unicode", "detectors", "pyatr"}
    assert TenantFounded.__dataclass_fields__.keys() >= {"engine", "data"}


@pytest.mark.broker
def test_a_worker_without_the_engine_stops_that_tenant_loudly_and_serves_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Installing the engine, and starting the worker again, lets the tenant go on where it stopped."""
    one, other = world.found_all("one", "other")
    loop = loop_with(world, None)
    fold_all(loop, one, other)
    one.call(20)
    before = activate(one)
    one.call(30)
    turn_until(loop, lambda: one.intake in loop.paused)
    other.call(10)
    fold_all(loop, other)

    assert "ENGINE_MISSING: the tenant decides by engine 3, and this installation holds 1, 2" in loop.paused[one.intake]
    assert [r.levelname for r in caplog.records if "ENGINE_MISSING" in r.getMessage()] == ["ERROR"]
    assert len(read_log(world, one).entries) == before

    loop.close()
    again = loop_with(world, None)  # still without it: the tenant stops before anything is read
    turn_until(again, lambda: "ENGINE_MISSING" in again.paused.get(one.intake, ""))
    again.close()

    updated = loop_with(world, WITH_LATER)
    fold_all(updated, one, other)
    updated.close()
    assert len(check_log(world, one).decisions) == 50
    check_log(world, other)


@pytest.mark.broker
@pytest.mark.real_broker("groups of several members are Apache Kafka's")
def test_workers_are_exchanged_one_by_one_under_load(world: World) -> None:
    """A worker of before the activation gives up the tenant, and the one with the engine gets it; no call is lost."""
    tenants = world.found_all("a", "b", "c", "d")
    stop = threading.Event()
    with ExitStack() as stack:
        old = stack.enter_context(WorkerThread(loop_with(world, None, "old")))
        watch = AuditWatch(world, *tenants)
        stack.callback(watch.close)
        for tenant in tenants:
            watch.wait(tenant, tenant.appended)
        new = stack.enter_context(WorkerThread(loop_with(world, WITH_LATER, "new")))
        wait_until(lambda: new.loop.folds, "the new worker's part")
        with_old = [t for t in tenants if t.intake in old.loop.folds]
        assert 0 < len(with_old) < len(tenants)
        moved = with_old[0]

        def load() -> None:
            while not stop.is_set():
                for tenant in tenants:
                    tenant.call(5)
                time.sleep(0.05)

        calling = threading.Thread(target=load)
        calling.start()
        try:
            time.sleep(0.5)
            moved.append(moved.events(moved.admin, [activation()]))
            wait_until(lambda: folded_here(new.loop, moved), lambda: f"{old.loop.paused}, {new.loop.paused}")
            assert "ENGINE_MISSING" in old.loop.paused[moved.intake]
            time.sleep(0.5)
        finally:
            stop.set()
            calling.join()
        for tenant in tenants:
            watch.wait(tenant, tenant.appended)
        stayed = [t for t in with_old[1:] if t.intake in old.loop.folds]
        fresh = world.found("e")
        watch_fresh = AuditWatch(world, fresh)
        stack.callback(watch_fresh.close)
        watch_fresh.wait(fresh, fresh.appended)  # a tenant of after that is found by one of the two

    world.engines = WITH_LATER
    assert len(stayed) == len(with_old) - 1, "the other tenants of the old worker moved, too"
    for tenant in [*tenants, fresh]:
        log = check_log(world, tenant)
        assert len(log.decisions) == tenant.calls


@pytest.mark.broker
def test_without_a_worker_that_has_the_engine_nothing_is_lost(world: World) -> None:
    """All workers have given the tenant up; a new one finds everything."""
    tenant = world.found()
    loops = [loop_with(world, None, name) for name in ("x", "y")[: 2 if world.broker.is_real else 1]]
    turn_until(loops, lambda: sum(folded_here(loop, tenant) for loop in loops) >= tenant.appended)
    activate(tenant)
    tenant.call(5)
    turn_until(loops, lambda: all("ENGINE_MISSING" in loop.paused.get(tenant.intake, "") for loop in loops))
    for loop in loops:
        loop.turn(0.05)
    if not world.broker.is_real:
        loops.pop().close()
    late = loop_with(world, WITH_LATER, "z")
    turn_until([*loops, late], lambda: folded_here(late, tenant) >= tenant.appended)
    for loop in [*loops, late]:
        loop.close()
    assert len(check_log(world, tenant).decisions) == 5
