"""The exactly-once loop: consume intake, fold, and commit outputs, state and offset in one Kafka transaction.

One transaction covers one intake partition. Assignment callbacks run inside consumer calls, so a record may already
belong to another worker when it would be folded, and Kafka fences group generations, not ownership (KIP-447): both
copies could be committed. Therefore each partition has an epoch that its callbacks raise; a record carries the epoch
from before the call that returned it; and records of another epoch are dropped after the last consumer call of a
batch. No consumer call stands between that filter and the commit. Read `docs/adr/0005` before touching this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from schemas import limits, topics
from streams.fold import TenantFold
from streams.resume import Reader, ResumeError, received_of, resume

log = logging.getLogger(__name__)

FAILURES_MAX = 3  # a partition whose own transaction fails this often alike is paused; the others go on
TRANSACTION_SECONDS = limits.TRANSACTION_TIMEOUT_MS / 1000


class WorkerFencedError(RuntimeError):
    """The worker may not go on: fenced, or a commit whose outcome is unknown. Its supervisor starts another."""


@dataclass(slots=True)
class Partition:
    """One assigned intake partition."""

    topic: str
    epoch: int = 0
    fold: TenantFold | None = None
    failures: int = 0
    buffer: list[tuple[int, Message]] = field(default_factory=list)

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.topic, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How a worker reaches its brokers. `assigned` lists topics where no group can be relied on (embedded broker)."""

    bootstrap: str
    group: str = "macaw.monitor"
    transactional_id: str
    assigned: Callable[[], Iterable[str]] | None = None
    session_timeout_ms: int = 10_000

    def consumer(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": self.bootstrap,
            "group.id": self.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "check.crcs": True,
            "log_level": 3,
        }

    def intake(self) -> dict[str, Any]:
        return {
            **self.consumer(),
            # An appended signed event is a fact; nobody writes intake in a transaction, and an intruder's open
            # transaction would stall a read_committed reader.
            "isolation.level": "read_uncommitted",
            "partition.assignment.strategy": "cooperative-sticky",
            "topic.metadata.refresh.interval.ms": 5000,
            "session.timeout.ms": self.session_timeout_ms,
            "fetch.wait.max.ms": 100,
            "queued.min.messages": 2000,
        }

    def producer(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": self.bootstrap,
            "transactional.id": self.transactional_id,
            "transaction.timeout.ms": limits.TRANSACTION_TIMEOUT_MS,
            "retry.backoff.ms": 1,
            "linger.ms": 0,
            "compression.type": "none",
            "message.max.bytes": limits.OUTPUT_MESSAGE_BYTES_MAX,
            "queue.buffering.max.messages": 4 * limits.BATCH_OUTPUTS_MAX,
            "log_level": 3,
        }


class Loop:
    """A worker's loop over every intake partition that it owns."""

    def __init__(self, settings: LoopSettings, open_fold: Callable[[str], TenantFold | None]) -> None:
        """`open_fold` returns a fresh fold for a tenant, or None where the tenant is not configured here."""
        self._settings = settings
        self._open_fold = open_fold
        self._partitions: dict[str, Partition] = {}
        self._epochs: dict[str, int] = {}
        self._restoring: list[str] = []
        self.paused: dict[str, str] = {}
        self._producer = Producer(settings.producer())
        self._producer.init_transactions(TRANSACTION_SECONDS)
        self._consumer = Consumer(settings.intake())
        self._reader = Reader(settings.consumer())
        if settings.assigned is None:
            self._consumer.subscribe(
                [topics.INTAKE_PATTERN], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )

    def close(self) -> None:
        """Leave the group and release the connections."""
        self._consumer.close()
        self._reader.close()

    @property
    def folds(self) -> dict[str, TenantFold]:
        """The folds that are running, by intake topic."""
        return {t: p.fold for t, p in self._partitions.items() if p.fold is not None and t not in self.paused}

    # --- assignment: callbacks run inside consumer calls and only take note ---

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        # An explicit offset: with auto.offset.reset=error a tenant without a committed offset would fail. Paused until
        # the state is restored, which happens in the loop.
        consumer.incremental_assign([TopicPartition(p.topic, p.partition, 0) for p in places])
        consumer.pause(places)
        for place in places:
            self._raise_epoch(place.topic)
            self._partitions[place.topic] = Partition(place.topic, self._epochs[place.topic])
            self._restoring.append(place.topic)

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        for place in places:
            self._raise_epoch(place.topic)
            self._partitions.pop(place.topic, None)
            self.paused.pop(place.topic, None)
        consumer.incremental_unassign(places)

    def _raise_epoch(self, topic: str) -> None:
        self._epochs[topic] = self._epochs.get(topic, 0) + 1

    def _assign_new(self) -> None:
        """Without a group: take every intake topic that there is."""
        assert self._settings.assigned is not None
        new = [TopicPartition(t, 0) for t in self._settings.assigned() if t not in self._partitions]
        if new:
            self._on_assign(self._consumer, new)

    # --- one turn ---

    def turn(self, timeout: float) -> int:
        """Fold and commit what there is, waiting at most `timeout` seconds for a first record; return how many.

        Raises:
            WorkerFencedError: this worker must not go on.
        """
        if self._settings.assigned is not None:
            self._assign_new()
        self._restore_assigned()
        self._collect(timeout)
        return sum(self._transact(partition) for partition in list(self._partitions.values()) if partition.buffer)

    def _collect(self, timeout: float) -> None:
        """Buffer what the consumer has, each record with its partition's epoch from before the call."""
        waiting = any(p.buffer for p in self._partitions.values())
        before = dict(self._epochs)
        first = self._consumer.poll(0 if waiting else timeout)
        self._note(before, [first] if first is not None else [])
        if first is not None:
            before = dict(self._epochs)
            self._note(before, self._consumer.consume(limits.BATCH_RECORDS_MAX - 1, 0))
        for partition in self._partitions.values():
            partition.buffer = [(e, m) for e, m in partition.buffer if e == self._epochs[partition.topic]]

    def _note(self, before: dict[str, int], messages: list[Message]) -> None:
        for message in messages:
            topic = message.topic() or ""
            if message.error() is not None:
                log.warning("%s: %s", topic or "consumer", message.error())
            elif topic in self._partitions:
                self._partitions[topic].buffer.append((before.get(topic, 0), message))

    def _transact(self, partition: Partition) -> int:
        fold = partition.fold
        if fold is None or partition.topic in self.paused:
            partition.buffer.clear()
            return 0
        batch = [received_of(m) for _, m in partition.buffer[: limits.BATCH_RECORDS_MAX]]
        try:
            folded = self._commit(partition, fold, batch)
        except KafkaException as exc:
            self._recover(partition, fold, batch[0].offset, exc)
            return 0
        except BaseException:
            fold.rollback()
            raise
        fold.commit()
        partition.failures = 0
        del partition.buffer[:folded]
        return folded

    def _commit(self, partition: Partition, fold: TenantFold, batch: list[Any]) -> int:
        """Fold a batch inside one transaction and return how many records it took."""
        producer = self._producer
        folded, outputs = fold.fold(batch)
        producer.begin_transaction()
        for made in fold.messages(outputs):
            producer.produce(made.topic, made.value, made.key, made.partition, headers=list(made.headers))
        position = TopicPartition(partition.topic, 0, batch[folded - 1].offset + 1)
        producer.send_offsets_to_transaction([position], self._consumer.consumer_group_metadata(), TRANSACTION_SECONDS)
        producer.commit_transaction(TRANSACTION_SECONDS)
        return folded

    def _recover(self, partition: Partition, fold: TenantFold, offset: int, exc: KafkaException) -> None:
        """Abort, drop the overlay and seek back. Any other outcome than a clean abort ends the worker."""
        fold.rollback()
        partition.buffer.clear()
        error = exc.args[0]
        if error.fatal() or not (error.txn_requires_abort() or _is_local(error)):
            raise WorkerFencedError(f"{partition.topic}: {error}") from exc
        try:
            self._producer.abort_transaction(TRANSACTION_SECONDS)
        except KafkaException as failed:
            raise WorkerFencedError(f"{partition.topic}: {failed.args[0]}") from failed
        log.warning("%s: transaction aborted: %s", partition.topic, error)
        partition.failures += 1
        if partition.failures >= FAILURES_MAX:
            self._pause(partition.topic, f"{FAILURES_MAX} transactions failed: {error}")
            return
        if partition.topic in self._partitions:
            self._consumer.seek(TopicPartition(partition.topic, 0, offset))

    # --- restoring ---

    def _restore_assigned(self) -> None:
        pending, self._restoring = self._restoring, []
        for topic in pending:
            if topic in self._partitions:
                self._restore(self._partitions[topic])

    def _restore(self, partition: Partition) -> None:
        tenant = topics.tenant_of(partition.topic)
        fold = self._open_fold(tenant)
        if fold is None:
            self._pause(partition.topic, "the tenant is not configured on this worker")
            return
        try:
            offset = resume(fold, self._reader)
        except ResumeError as exc:
            self._pause(partition.topic, f"{exc.code}: {exc}")
            return
        partition.fold = fold
        self._consumer.seek(TopicPartition(partition.topic, 0, offset))
        self._consumer.resume([partition.place])
        log.info("%s: resumed at offset %d, audit index %d", partition.topic, offset, fold.tables.next_index)

    def _pause(self, topic: str, why: str) -> None:
        log.error("%s is paused: %s", topic, why)
        self.paused[topic] = why
        self._consumer.pause([TopicPartition(topic, 0)])


def _is_local(error: Any) -> bool:
    """Whether produce() refused a record on this side: nothing was sent, but a commit would still succeed."""
    return error.name() in {"MSG_SIZE_TOO_LARGE", "_QUEUE_FULL", "_INVALID_ARG", "_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC"}
