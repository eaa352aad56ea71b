"""Driving a measured worker: starting its process, appending backlogs, reading its outputs, timing calls."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.tenant import Signed
from bench.worker import Usage, Work
from producers.kafka.consuming import watermarks
from schemas.topics import Topic

ANSWER_SECONDS = 120.0
IDLE_SECONDS = 20.0


class BenchError(RuntimeError):
    """A worker died, paused or did not finish, so there is no measurement."""


@dataclass(slots=True)
class Running:
    """A worker's process. It does no work between two calls."""

    pipe: Connection
    process: Any
    appended: int = 0
    usage: Usage = field(default_factory=lambda: Usage(0, 0, 0.0, 0.0, 0.0, {}))

    def mark(self) -> Usage:
        """Take note of the usage up to now, so that the work of a consumer's threads between drains is left out."""
        self.pipe.send(Work(0))
        return self._since_last()

    def drain(self) -> Usage:
        """Let the worker do the whole backlog, and return its usage since the last mark."""
        self.pipe.send(Work(self.appended))
        return self._since_last()

    def serve(self) -> None:
        """Let the worker work until `hold`."""
        self.pipe.send(Work(None))

    def hold(self) -> Usage:
        """Let the worker finish the backlog and stop working; return its usage."""
        self.pipe.send(Work(self.appended))
        first, second = self._since_last(), self._since_last()
        return _plus(first, second)

    def stop(self) -> None:
        if self.process.is_alive():
            self.pipe.send(None)
        self.process.join(15)
        if self.process.is_alive():
            self.process.kill()

    def _since_last(self) -> Usage:
        until = time.monotonic() + ANSWER_SECONDS
        while not self.pipe.poll(0.2):
            if not self.process.is_alive() or time.monotonic() > until:
                raise BenchError("a worker died" if not self.process.is_alive() else "a worker does not end its work")
        before, self.usage = self.usage, self.pipe.recv()
        if self.usage.paused:
            raise BenchError(f"the worker has paused: {self.usage.paused}")
        now = self.usage
        return Usage(
            now.records - before.records,
            now.transactions - before.transactions,
            now.cpu_seconds - before.cpu_seconds,
            now.main_seconds - before.main_seconds,
            now.rss_mb,
            {},
        )


def _plus(a: Usage, b: Usage) -> Usage:
    cpu, main = a.cpu_seconds + b.cpu_seconds, a.main_seconds + b.main_seconds
    return Usage(a.records + b.records, a.transactions + b.transactions, cpu, main, b.rss_mb, {})


@contextmanager
def running(target: Callable[..., None], spec: object) -> Iterator[Running]:
    """Start a worker in a fresh interpreter and stop it at the end."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, spec), daemon=True)
    process.start()
    theirs.close()
    worker = Running(ours, process)
    try:
        yield worker
    finally:
        worker.stop()


class Appender:
    """Appends to a topic as a client would, as fast as it can."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 0,
            }
        )

    def append(self, topic: str, events: Sequence[Signed]) -> None:
        """Append all and wait until the broker has them."""
        for event in events:
            self.send(topic, event)
        if self._producer.flush(60):
            raise BenchError(f"the broker did not accept the whole backlog on {topic}")

    def send(self, topic: str, event: Signed) -> None:
        """Append one, without waiting."""
        self._producer.produce(topic, event.value, event.event_id, 0, headers=list(event.headers))
        self._producer.poll(0)


class TopicReader:
    """Reads committed records of some partitions from their start. The caller knows the number or the last record."""

    def __init__(self, bootstrap: str, places: Sequence[tuple[str, int]]) -> None:
        self._consumer = Consumer(reader_settings(bootstrap))
        self._consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in places])

    def until(self, is_last: Callable[[Any], bool]) -> list[Any]:
        """Return records up to the first for which `is_last` is true."""
        found: list[Any] = []
        give_up = time.monotonic() + IDLE_SECONDS
        while time.monotonic() < give_up:
            message = self._consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            found.append(message)
            if is_last(message):
                return found
            give_up = time.monotonic() + IDLE_SECONDS
        raise BenchError(f"{len(found)} records were read, and the expected last record was not among them")

    def take(self, count: int) -> list[Any]:
        """Return the next `count` records."""
        left = iter(range(count, 0, -1))
        return self.until(lambda _: next(left) == 1)

    def close(self) -> None:
        self._consumer.close()


def reader_settings(bootstrap: str) -> dict[str, Any]:
    """Return the settings of a read_committed consumer that joins no group."""
    return {
        "bootstrap.servers": bootstrap,
        "group.id": "bench.reader",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 20,
        "log_level": 0,
    }


def create_like(bootstrap: str, topics: Sequence[Topic], prefix: str) -> None:
    """Create topics with the settings of a tenant's topics, under names that no monitor subscribes to."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    new = [NewTopic(prefix + t.name, t.partitions, 1, config=t.config()) for t in topics]
    for made in admin.create_topics(new).values():
        made.result(15)


class Clock:
    """Notes for each decision, by its key, the time at which it can be read."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._consumer = Consumer(reader_settings(bootstrap))
        ends = [watermarks(self._consumer, topic, p)[1] for p in range(partitions)]
        self._consumer.assign([TopicPartition(topic, p, end) for p, end in enumerate(ends)])
        self._consumer.poll(0.5)  # the first fetch is slow and is not measured
        self.seen: dict[bytes, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.05)
            if message is not None and message.error() is None:
                self.seen[message.key() or b""] = time.perf_counter()

    def await_all(self, count: int, seconds: float = 20.0) -> None:
        until = time.monotonic() + seconds
        while len(self.seen) < count and time.monotonic() < until:
            time.sleep(0.01)
        self._stop.set()
        self._thread.join()
        self._consumer.close()
        if len(self.seen) < count:
            raise BenchError(f"{len(self.seen)} of {count} decisions came within {seconds:g} s")


def latencies(
    appender: Appender, source: str, events: Sequence[Signed], per_second: float, clock: Clock
) -> list[float]:
    """Append events at a steady rate and return, for each, the ms from its produce call to its decision."""
    sent: dict[bytes, float] = {}
    begin = time.perf_counter()
    for number, event in enumerate(events):
        time.sleep(max(0.0, begin + number / per_second - time.perf_counter()))
        sent[event.event_id] = time.perf_counter()
        appender.send(source, event)
    clock.await_all(len(events))
    return [(clock.seen[key] - at) * 1000 for key, at in sent.items()]
