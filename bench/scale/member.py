"""The measured workers, each in a process of its own: a member of a group, and a worker that restarts."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from bench.drive import ANSWER_SECONDS, BenchError, Running
from bench.worker import Usage, Work, resident_mb
from streams.worker.fold import TenantFold
from streams.worker.loop import Loop
from streams.worker.monitor import IDLE_SECONDS, MonitoredTenant, Ticker, build_fold, tune_collector
from streams.worker.partition import Partition
from streams.worker.settings import LoopSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpec:
    """The settings of one worker in a group that serves these tenants."""

    bootstrap: str
    group: str
    worker: str
    tenants: tuple[MonitoredTenant, ...]

    @property
    def settings(self) -> LoopSettings:
        names = "|".join(t.tenant for t in self.tenants)
        return LoopSettings(
            bootstrap=self.bootstrap,
            group=f"bench.{self.group}",
            pattern=rf"^macaw\.({names})\.intake$",
            transactional_id=f"bench.{self.group}.{self.worker}",
        )

    def open_fold(self, name: str) -> TenantFold | None:
        return next((build_fold(t) for t in self.tenants if t.tenant == name), None)


def run_member(pipe: Connection, spec: GroupSpec) -> None:
    """Drive the loop as `Monitor.run` does, and report the usage whenever the pipe asks."""
    logging.basicConfig(level=logging.WARNING)
    loop = Loop(spec.settings, spec.open_fold)
    tune_collector()
    ticker = Ticker(spec.settings)
    records = transactions = 0
    while (work := pipe.recv()) is not None:
        while not loop.paused and (records < work.until if work.until is not None else not pipe.poll()):
            done = loop.turn(IDLE_SECONDS)
            records += done
            transactions += done > 0
            for fold in loop.folds.values():
                ticker.tick(fold)
        used = time.process_time(), time.thread_time()
        pipe.send(Usage(records, transactions, *used, resident_mb(), dict(loop.paused)))
    loop.close()
    ticker.close()


class Crew:
    """Workers of one group, driven together. Their shares of the work are not known in advance."""

    def __init__(self, workers: Sequence[Running]) -> None:
        self.workers = list(workers)
        self.go_on()

    def go_on(self) -> None:
        """Let them work, after `hold`."""
        for worker in self.workers:
            worker.serve()

    def look(self) -> Usage:
        """Return the usage of all workers up to now; they go on."""
        for worker in self.workers:
            worker.serve()  # the last piece of work ends with it
        return _total([_answer(worker) for worker in self.workers])

    def await_records(self, records: int, seconds: float = ANSWER_SECONDS) -> Usage:
        """Wait until the workers have done `records` in all."""
        until = time.monotonic() + seconds
        while (usage := self.look()).records < records:
            if time.monotonic() > until:
                raise BenchError(f"{usage.records} of {records} records were folded")
            time.sleep(0.02)
        return usage

    def hold(self) -> Usage:
        """Stop the work, and return the usage of all workers up to then."""
        for worker in self.workers:
            worker.pipe.send(Work(0))
        for worker in self.workers:
            _answer(worker)
        return _total([_answer(worker) for worker in self.workers])


def _total(usages: Sequence[Usage]) -> Usage:
    return Usage(
        sum(u.records for u in usages),
        sum(u.transactions for u in usages),
        sum(u.cpu_seconds for u in usages),
        sum(u.main_seconds for u in usages),
        sum(u.rss_mb for u in usages),
        {},
    )


def _answer(worker: Running) -> Usage:
    until = time.monotonic() + ANSWER_SECONDS
    while not worker.pipe.poll(0.2):
        if not worker.process.is_alive() or time.monotonic() > until:
            raise BenchError("a worker died or does not answer")
    usage: Usage = worker.pipe.recv()
    if usage.paused:
        raise BenchError(f"the worker has paused: {usage.paused}")
    return usage


@dataclass(frozen=True, slots=True)
class Restart:
    """The steps of a worker's restart in seconds of one clock, and the number of restored rows."""

    running: float  # the interpreter has imported everything
    restoring: float
    restored: float
    committed: float  # the first record, with all that came from it
    cpu_seconds: float  # until then, imports included
    restoring_cpu_seconds: float
    rows: int
    rss_mb: float


class _Marked(Loop):
    """The loop of one tenant, with the times of its restoration."""

    restoring = restored = (0.0, 0.0)

    def _restore_assigned(self) -> None:
        super()._restore_assigned()
        if self.restoring == (0.0, 0.0) and any(p.restoration is not None for p in self._partitions.values()):
            self.restoring = _clocks()

    def _go_on(self, partition: Partition, fold: TenantFold, position: int) -> None:
        self.restored = _clocks()
        super()._go_on(partition, fold, position)


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def run_restart(pipe: Connection, spec: GroupSpec) -> None:
    """Start, restore, fold the first record, and report the time of each step."""
    logging.basicConfig(level=logging.WARNING)
    running = time.monotonic()
    tune_collector()
    loop = _Marked(spec.settings, spec.open_fold)
    while not loop.turn(IDLE_SECONDS):
        if loop.paused:
            raise BenchError(f"the worker has paused: {loop.paused}")
    committed, cpu = _clocks()
    [fold] = loop.folds.values()
    rows = sum(len(table) for table in fold.tables.by_name.values())
    restoring_cpu = loop.restored[1] - loop.restoring[1]
    begun, done = loop.restoring[0], loop.restored[0]
    pipe.send(Restart(running, begun, done, committed, cpu, restoring_cpu, rows, resident_mb()))
    pipe.recv()
    loop.close()
