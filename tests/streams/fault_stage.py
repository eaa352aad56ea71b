"""A stage for one round of faults: tenants of its own, workers that are supervised, and load that keeps coming."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.topics import TENANT_TOPICS
from streams.local.choose import BrokerInfo
from tests.streams.fault_main import FENCED, UNREACHED
from tests.streams.fault_oracle import Finding, judge
from tests.streams.fault_points import SPRUNG, Fault
from tests.streams.fault_tally import Tally
from tests.streams.loop_workers import ROOT, AuditWatch
from tests.streams.loop_world import Record, Tenant, World, mixed
from tests.waiting import PATIENCE_SECONDS

RESTARTS_MAX = 10
LOAD_MAX = 300  # calls a tenant; after that the bursts are small
LOG_TAIL_CHARS = 2500
LOUD = re.compile(r" is paused: ([A-Z_]+): ")
ENDS = {0, FENCED, -signal.SIGKILL, -signal.SIGTERM}  # of a worker that was struck, or asked to end


class RoundInvalidError(RuntimeError):
    """The round does not show what it is for."""


class Worker:
    """`fault_main` as a child process, under a name that it keeps over restarts."""

    def __init__(self, world: World, name: str, *, identity: str = "", message_bytes_max: int = 0, deaf: bool = False):
        """`identity` is the name from which the transactional id is made, where two workers shall share one."""
        self.name = name
        self.log_path = world.base / f"worker-{name}.log"
        self.release = world.base / f"release-{name}"
        self.restarts = 0
        self.is_left_alone = False  # its end is the round's business
        settings = world.settings(identity or name)
        self._command = [
            *(sys.executable, "-m", "tests.streams.fault_main", "--home", str(world.base)),
            *("--group", settings.group, "--pattern", settings.pattern),
            *("--transactional-id", settings.transactional_id, "--release", str(self.release)),
            *("--message-bytes-max", str(message_bytes_max), *(["--deaf"] if deaf else [])),
        ]
        self.child: subprocess.Popen[bytes]

    def start(self, fault: Fault | None = None) -> Self:
        self.is_left_alone = fault is not None
        with self.log_path.open("ab") as log:
            command = [*self._command, *(["--fault", fault.dump()] if fault else [])]
            self.child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    @property
    def has_ended(self) -> bool:
        return self.child.poll() is not None

    @property
    def was_struck(self) -> bool:
        return f"{SPRUNG} " in self.log

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.is_left_alone = True
        self.child.kill()
        self.child.wait()

    def stop(self) -> None:
        """Ask it to end and wait. Raises RoundInvalidError if it does not, or not in peace."""
        self.is_left_alone = True
        if self.has_ended:
            return
        self.child.terminate()
        try:
            code = self.child.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.dump()
            self.kill()
            raise RoundInvalidError(f"{self.name} did not end when asked: {self.tail()}") from None
        if code not in ENDS - {-signal.SIGKILL}:
            raise RoundInvalidError(f"{self.name} ended with {code} when asked: {self.tail()}")

    def dump(self) -> None:
        """Have it write into its log where its threads are."""
        if not self.has_ended:
            self.child.send_signal(signal.SIGUSR1)
            time.sleep(0.3)

    def tail(self) -> str:
        return self.log[-LOG_TAIL_CHARS:]


class Stage:
    """One round: `with` ends its workers, whatever happened, and removes the topics of a round that is whole."""

    def __init__(self, tally: Tally, broker: BrokerInfo, base: Path) -> None:
        self.tally = tally
        self.rng = Random(f"{tally.kind}:{tally.seed}")  # draws the plan, and only that: load depends on timing
        self._load = Random(tally.seed)
        self.base = base
        self.world = World(broker, base, f"f{secrets.token_hex(4)}")
        self.tenants: list[Tenant] = []
        self.workers: list[Worker] = []
        self.watch: AuditWatch

    def found(self, count: int) -> list[Tenant]:
        """Found the round's tenants, with a first load on intake."""
        self.tenants = self.world.found_all(*(f"n{n}" for n in range(count)))
        self.watch = AuditWatch(self.world, *self.tenants)
        for tenant in self.tenants:
            self.append(tenant, mixed(tenant, self._load.randint(30, 120)))
        return self.tenants

    def start(self, name: str, fault: Fault | None = None, **more: Any) -> Worker:
        """Start a worker, or a killed one of this name again."""
        worker = next((w for w in self.workers if w.name == name), None)
        if worker is None:
            worker = Worker(self.world, name, **more)
            self.workers.append(worker)
        if fault is not None:
            self.tally.plan.setdefault("faults", []).append({"worker": name, "fault": fault.dump()})
        return worker.start(fault)

    # --- load ---

    def feed(self) -> None:
        """Append a burst to each tenant, and look after the workers."""
        self.tend()
        for tenant in self.tenants:
            count = self._load.randint(1, 30) if tenant.calls < LOAD_MAX else 2
            if tenant.calls < LOAD_MAX and self._load.random() < 0.2:
                self.append(tenant, mixed(tenant, count + 6))
            else:
                self.append(tenant, tenant.make_calls(count))

    def append(self, tenant: Tenant, records: Iterable[Record]) -> None:
        """Append records and wait until a broker has them, which may be away meanwhile."""
        for value, headers in records:
            tenant.producer.produce(tenant.intake, value, partition=0, headers=list(headers))
            tenant.appended += 1
        if tenant.producer.flush(PATIENCE_SECONDS):
            raise RoundInvalidError(f"no broker took the load within {PATIENCE_SECONDS:g} s")

    def feed_until(self, done: Callable[[], bool], what: str) -> None:
        """Append bursts until something has happened. Raises RoundInvalidError if it does not."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not done():
            if time.monotonic() > until:
                raise RoundInvalidError(f"not in {PATIENCE_SECONDS:g} s: {what}: {[w.tail() for w in self.workers]}")
            self.feed()
            time.sleep(self._load.uniform(0, 0.06))

    def feed_some(self) -> None:
        """Append a few bursts."""
        for _ in range(self._load.randint(1, 4)):
            self.feed()
            time.sleep(self._load.uniform(0, 0.03))

    @contextmanager
    def feeding(self) -> Iterator[None]:
        """Append bursts from another thread meanwhile; its failure is raised at the end."""
        enough, failures = Event(), []

        def run() -> None:
            try:
                while not enough.is_set():
                    self.feed()
                    time.sleep(0.05)
            except BaseException as exc:  # noqa: BLE001 - raised by the round's own thread
                failures.append(exc)

        thread = Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()
        if failures:
            raise failures[0]

    # --- workers ---

    def tend(self) -> None:
        """Start again what was fenced or found no broker, as a supervisor does. Raises RoundInvalidError else."""
        for worker in self.workers:
            if not worker.has_ended or (worker.is_left_alone and worker.child.returncode in ENDS):
                continue
            code = worker.child.returncode
            if worker.is_left_alone or code not in {FENCED, UNREACHED} or worker.restarts >= RESTARTS_MAX:
                raise RoundInvalidError(f"{worker.name} ended with {code}: {worker.tail()}")
            worker.restarts += 1
            worker.start()

    def await_that(self, done: Callable[[], bool], what: str) -> None:
        """Look after the workers until something has happened. Raises RoundInvalidError if it does not."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not done():
            if time.monotonic() > until:
                raise RoundInvalidError(f"not in {PATIENCE_SECONDS:g} s: {what}: {[w.tail() for w in self.workers]}")
            self.tend()
            time.sleep(0.02)

    def await_end(self, worker: Worker, codes: set[int]) -> None:
        """Wait until a worker has ended, with one of these codes."""
        self.await_that(lambda: worker.has_ended, f"the end of {worker.name}")
        if worker.child.returncode not in codes:
            raise RoundInvalidError(f"{worker.name} ended with {worker.child.returncode}: {worker.tail()}")

    def is_folded(self, tenant: Tenant) -> bool:
        """Whether as many audit entries are committed as records were appended."""
        return self.watch.count(tenant) >= tenant.appended

    def missing(self) -> dict[str, int]:
        """How many records of each tenant have no committed audit entry yet."""
        return {t.name: t.appended - n for t in self.tenants if (n := self.watch.count(t)) < t.appended}

    # --- the end ---

    def finish(self) -> None:
        """Wait until everything is folded, stop the workers in peace, and judge each tenant."""
        self.await_folded()
        self.stop()
        for column, count, why in self._judged(whole=True):
            self.tally.note(column, count, why)

    def finish_or_stop_loudly(self) -> None:
        """The same where little is claimed: no fork and no wrong state after a resume, or a loud stop.

        What else is found is noted in the plan, and counts for nothing.
        """
        whole = self.is_folded_in_time()
        self.stop()
        if not whole:
            reasons = sorted({why for worker in self.workers for why in LOUD.findall(worker.log)})
            self.tally.plan["stopped_loudly"] = reasons
            self.tally.note("stuck", not reasons, f"stopped in silence: {[w.tail() for w in self.workers]}")
        for column, count, why in self._judged(whole=whole):
            if column in {"doubled", "forked"}:
                self.tally.note(column, count, why)
            else:
                self.tally.plan.setdefault("not_claimed", []).append((column, count, why))

    def stop(self) -> None:
        """Stop the workers in peace."""
        for worker in self.workers:
            worker.stop()

    def _judged(self, *, whole: bool) -> Iterator[Finding]:
        def judged(tenant: Tenant) -> list[Finding]:
            return judge(self.world, tenant, self.base / f"evidence-{tenant.name}", whole=whole)

        self.tally.records += sum(tenant.appended for tenant in self.tenants)
        with ThreadPoolExecutor(len(self.tenants)) as pool:
            for found in pool.map(judged, self.tenants):
                yield from found

    def await_folded(self) -> None:
        """Wait, bounded, until everything is folded; what is not is stuck, unless a worker says that it is done."""
        if self.is_folded_in_time():
            return
        for name, missing in self.missing().items():
            [tenant] = [t for t in self.tenants if t.name == name]
            why = f"{name}: not folded in {PATIENCE_SECONDS:g} s: {[w.tail() for w in self.workers]}"
            self.tally.note("stuck", 0 if self._is_said_done(tenant) else missing, why)

    def is_folded_in_time(self) -> bool:
        until = time.monotonic() + PATIENCE_SECONDS
        while self.missing():
            if time.monotonic() > until:
                for worker in self.workers:
                    worker.dump()
                return False
            self.tend()
            time.sleep(0.02)
        return True

    def _is_said_done(self, tenant: Tenant) -> bool:
        """Whether the committed offset is the end of intake: what has no entry then is lost, not late."""
        settings = {"bootstrap.servers": self.world.broker.bootstrap, "group.id": self.world.group, "log_level": 0}
        with Consumer(settings) as consumer:
            place = TopicPartition(tenant.intake, 0)
            [committed] = consumer.committed([place], timeout=PATIENCE_SECONDS)
            return bool(committed.offset >= consumer.get_watermark_offsets(place, timeout=PATIENCE_SECONDS)[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        for worker in self.workers:
            if not worker.has_ended:
                worker.kill()
        if self.tenants:
            self.watch.close()
        if exc is None and self.tally.is_whole:
            self._clear()

    def _clear(self) -> None:
        """Remove what a whole round leaves: hundreds of rounds share one broker."""
        names = [topic.of(tenant.name) for tenant in self.tenants for topic in TENANT_TOPICS]
        with AdminClient({"bootstrap.servers": self.world.broker.bootstrap, "log_level": 0}) as admin:
            for deleted in admin.delete_topics(names).values():
                deleted.result(PATIENCE_SECONDS)
        shutil.rmtree(self.base)
