"""The two workers that are measured, each in a process of its own: the trust path, and a bare loop.

The bare loop does only the work of any consume-transform-produce loop on Kafka for the same records and outputs: no
signature, no Avro, no policy, no state. Both have the same client settings and the same batch rule.

A worker does the work that its pipe names and then waits. So the driver can append a backlog, and everything used
between two reports was used for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from schemas import limits
from schemas.topics import INTAKE
from streams.worker.lanes import TRANSACTION_SECONDS
from streams.worker.loop import Loop
from streams.worker.monitor import IDLE_SECONDS, MonitoredTenant, Ticker, build_fold, tune_collector
from streams.worker.settings import LoopSettings

Turn = Callable[[float], int]


@dataclass(frozen=True, slots=True)
class Work:
    """A request to work until `until` records are done in all; None means until the next message."""

    until: int | None


@dataclass(frozen=True, slots=True)
class Usage:
    """The records and resources of a worker since its process began. `main_seconds` is the Python thread's share."""

    records: int
    transactions: int
    cpu_seconds: float
    main_seconds: float
    rss_mb: float
    paused: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OursSpec:
    """The settings of the real worker. `grouped` is false on a broker without reliable consumer groups."""

    bootstrap: str
    tenant: MonitoredTenant
    grouped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An output of the bare loop: topic, number of partitions, bytes."""

    topic: str
    partitions: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BareSpec:
    """The settings of the bare loop: its outputs for each record and for each transaction."""

    bootstrap: str
    source: str
    grouped: bool
    per_record: tuple[Made, ...]
    per_transaction: tuple[Made, ...]


def run_ours(pipe: Connection, spec: OursSpec) -> None:
    """Drive the loop as `Monitor.run` does."""
    logging.basicConfig(level=logging.WARNING)
    name = spec.tenant.tenant
    settings = LoopSettings(
        bootstrap=spec.bootstrap,
        group=f"bench.{name}",
        transactional_id=f"bench.{name}.0",
        assigned=None if spec.grouped else lambda: [INTAKE.of(name)],
    )
    loop = Loop(settings, lambda tenant: build_fold(spec.tenant) if tenant == name else None)
    tune_collector()
    ticker = Ticker(settings)

    def turn(wait: float) -> int:
        folded = loop.turn(wait)
        for fold in loop.folds.values():
            ticker.tick(fold)
        return folded

    _attend(pipe, turn, loop.paused)
    loop.close()
    ticker.close()


def run_bare(pipe: Connection, spec: BareSpec) -> None:
    """Run the bare loop."""
    bare = _Bare(spec)
    _attend(pipe, bare.turn, {})
    bare.close()


class _Bare:
    def __init__(self, spec: BareSpec) -> None:
        settings = LoopSettings(bootstrap=spec.bootstrap, group="bench.bare", transactional_id="bench.bare.0")
        self._spec = spec
        self._value = bytes(max(made.size for made in (*spec.per_record, *spec.per_transaction)))
        self._producer = Producer(settings.producer())
        self._producer.init_transactions(TRANSACTION_SECONDS)
        self._consumer = Consumer(settings.intake())
        if spec.grouped:
            self._consumer.subscribe([spec.source], on_assign=_from_start)
        else:
            self._consumer.assign([TopicPartition(spec.source, 0, 0)])

    def turn(self, wait: float) -> int:
        first = self._consumer.poll(wait)
        if first is None:
            return 0
        batch = [m for m in (first, *self._consumer.consume(limits.BATCH_RECORDS_MAX - 1, 0)) if m.error() is None]
        if batch:
            self._transact(batch)
        return len(batch)

    def _transact(self, batch: list[Any]) -> None:
        produce, value = self._producer.produce, self._value
        self._producer.begin_transaction()
        for message in batch:
            key = message.key()
            message.value()  # the transformation reads it
            for made in self._spec.per_record:
                produce(made.topic, value[: made.size], key, key[-1] % made.partitions)
        for made in self._spec.per_transaction:
            produce(made.topic, value[: made.size], key, 0)
        position = TopicPartition(self._spec.source, 0, batch[-1].offset() + 1)
        group = self._consumer.consumer_group_metadata()
        self._producer.send_offsets_to_transaction([position], group, TRANSACTION_SECONDS)
        self._producer.commit_transaction(TRANSACTION_SECONDS)

    def close(self) -> None:
        self._consumer.close()


def _from_start(consumer: Consumer, places: list[TopicPartition]) -> None:
    consumer.incremental_assign([TopicPartition(p.topic, p.partition, 0) for p in places])


def _attend(pipe: Connection, turn: Turn, paused: dict[str, str]) -> None:
    """Do the work that the pipe names, with a report after each piece, until it sends None."""
    records = transactions = 0
    while (work := pipe.recv()) is not None:
        while not paused and (records < work.until if work.until is not None else not pipe.poll()):
            done = turn(IDLE_SECONDS)
            records += done
            transactions += done > 0
        pipe.send(Usage(records, transactions, time.process_time(), time.thread_time(), resident_mb(), dict(paused)))


def resident_mb() -> float:
    """Return this process's resident memory in MB (10^6 bytes)."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("no VmRSS in /proc/self/status")
