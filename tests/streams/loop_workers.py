"""Workers for tests of the loop: on a thread of this process, or a process that can be killed and stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, TopicPartition

from schemas.topics import AUDIT
from streams.worker.loop import Loop
from tests.streams.loop_world import QuickSettings, Tenant, World
from tests.waiting import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parents[2]


class ShortTransactions(QuickSettings):
    """Settings under which the broker ends a dead worker's transaction after 3 s, where tests cannot wait for 15."""

    def producer(self, lane: int = 0) -> dict[str, Any]:
        return {**super().producer(lane), "transaction.timeout.ms": 3000}


class WorkerThread:
    """A loop that takes turns on a thread, from `with` to its end."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.loop.turn(0.05)
        except BaseException as exc:  # noqa: BLE001 - shown by the test's own thread
            self.failure = exc
        finally:
            self.loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        if self.failure is not None and exc is None:
            raise self.failure


class WorkerProcess:
    """`worker_main` as a child process; killed at the end of `with` if it still runs."""

    def __init__(self, world: World, worker: str, *, freeze: str = "") -> None:
        settings = world.settings(worker)
        self.log_path = world.base / f"worker-{worker}.log"
        command = [
            *(sys.executable, "-m", "tests.streams.worker_main", "--home", str(world.base)),
            *("--group", settings.group, "--pattern", settings.pattern),
            *("--transactional-id", settings.transactional_id, "--freeze", freeze),
        ]
        with self.log_path.open("wb") as log:
            self.child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def await_stopped(self) -> None:
        """Wait until the process has stopped itself."""

        def is_stopped() -> bool:
            assert self.child.poll() is None, self.log_path.read_text()
            return _state(self.child.pid) == "T"

        wait_until(is_stopped, lambda: f"the worker did not stop: {self.log_path.read_text()}")

    def has_said(self, word: str) -> bool:
        """Whether the process has written a word."""
        return word in self.log_path.read_text()

    def await_word(self, word: str) -> None:
        """Wait until the process has written a word."""
        wait_until(lambda: self.has_said(word), lambda: f"want {word!r} in: {self.log_path.read_text()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class AuditWatch:
    """Counts the committed audit entries of tenants as they come."""

    def __init__(self, world: World, *tenants: Tenant) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": world.broker.bootstrap,
                "group.id": f"{world.unique}.watch",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(AUDIT.of(t.name), 0, 0) for t in tenants])
        self.entries = {AUDIT.of(t.name): 0 for t in tenants}

    def count(self, tenant: Tenant) -> int:
        for message in self._consumer.consume(1000, 0.02):
            if message.error() is None:
                self.entries[message.topic() or ""] += 1
        return self.entries[AUDIT.of(tenant.name)]

    def wait(self, tenant: Tenant, count: int) -> None:
        wait_until(
            lambda: self.count(tenant) >= count, lambda: f"got {self.entries}, want {count} of {tenant.name}", pause=0
        )

    def close(self) -> None:
        self._consumer.close()
