"""The exactly-once loop: consume intake, fold, and commit outputs, state and offset in one Kafka transaction.

One transaction covers one intake partition. Assignment callbacks run inside consumer calls, so a record may already
belong to another worker when it would be folded, and Kafka fences group generations, not ownership (KIP-447): both
copies could be committed. Therefore each partition has an epoch that its callbacks raise; a record carries the epoch
from before the call that returned it; and records of another epoch are dropped after the last consumer call of a
batch. No consumer call stands between that filter and the commit. Read `docs/adr/0005` before touching this.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from processors.intake import Received
from schemas import limits, topics
from streams.fold import TenantFold
from streams.resume import Reader, Restoration, ResumeError, received_of

log = logging.getLogger(__name__)

FAILURES_MAX = 3  # a partition whose own transaction fails this often alike is paused; the others go on
TRANSACTION_SECONDS = limits.TRANSACTION_TIMEOUT_MS / 1000
BUFFERED_RECORDS_MAX = 2 * limits.BATCH_RECORDS_MAX  # polled, not folded yet, of all partitions together
RESTORING_MAX = 4  # each has connections of its own
RETRY_SECONDS = 5.0  # until a partition that could not be restored is tried again
RESTORED_SECONDS = 0.02  # how long a restored partition may wait to be noticed
WAKE_SECONDS = 0.5
# Faults of the machine are no decisions: the worker ends, and its supervisor starts another.
MACHINE_FAULTS = (MemoryError, RecursionError, OSError, ImportError)
DISCOVER_SECONDS = 1.0  # without a group: how often topics are listed
# Errors that say who may write, not what was written: no fault of the partition's records.
_MEMBERSHIP = frozenset({"UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS", "FENCED_INSTANCE_ID"})


class WorkerFencedError(RuntimeError):
    """The worker may not go on: fenced, or a commit whose outcome is unknown. Its supervisor starts another."""


@dataclass(slots=True)
class Partition:
    """One assigned intake partition."""

    topic: str
    epoch: int = 0
    member: str | None = None  # who we were in the group when it was assigned
    fold: TenantFold | None = None
    position: int = 0  # the next offset to fold
    failures: int = 0
    failed_with: str = ""
    restoration: Restoration | None = None
    restore_at: float = 0.0
    buffer: list[tuple[int, Received]] = field(default_factory=list)

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.topic, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How a worker reaches its brokers, and which intakes its group serves.

    `assigned` lists topics where no group can be relied on (embedded broker).
    """

    bootstrap: str
    pattern: str = topics.INTAKE_PATTERN
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
            "log_level": 2,
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
            # A transaction is bounded by what the step makes of its records; a second bound would only break it:
            # one revocation may end 10,000 sessions.
            "queue.buffering.max.messages": 0,
            "log_level": 2,
        }


class Loop:
    """A worker's loop over every intake partition that it owns."""

    def __init__(self, settings: LoopSettings, open_fold: Callable[[str], TenantFold | None]) -> None:
        """`open_fold` returns a fresh fold for a tenant, or None where the tenant is not configured here."""
        self._settings = settings
        self._open_fold = open_fold
        self._partitions: dict[str, Partition] = {}
        self._epochs: dict[str, int] = {}
        self._restoring: list[Partition] = []
        self._readers = [Reader(settings.consumer())]  # idle ones; the first connects while the group is joined
        self._readers_busy = 0
        self._discover_at = 0.0
        self.paused: dict[str, str] = {}
        self._producer = Producer(settings.producer())
        self._producer.init_transactions(TRANSACTION_SECONDS)
        self._consumer = Consumer(settings.intake())
        if settings.assigned is None:
            self._consumer.subscribe(
                [settings.pattern], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )

    def close(self) -> None:
        """Leave the group and release the connections."""
        for partition in self._restoring:
            self._stop_restoring(partition)
        self._consumer.close()
        for reader in self._readers:
            reader.close()

    @property
    def folds(self) -> dict[str, TenantFold]:
        """The folds that are running, by intake topic."""
        return {t: p.fold for t, p in self._partitions.items() if p.fold is not None and t not in self.paused}

    # --- assignment: callbacks run inside consumer calls and only take note ---

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        # An explicit offset: with auto.offset.reset=error a tenant without a committed offset would fail. Paused until
        # the state is restored, which is begun in the loop.
        consumer.incremental_assign([TopicPartition(p.topic, p.partition, 0) for p in places])
        consumer.pause(places)
        member = consumer.memberid()
        for topic in _intakes(places):
            self._raise_epoch(topic)
            self._partitions[topic] = Partition(topic, self._epochs[topic], member)
            self._restoring.append(self._partitions[topic])

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        for topic in _intakes(places):
            self._raise_epoch(topic)
            self._partitions.pop(topic, None)
            self.paused.pop(topic, None)
        consumer.incremental_unassign(places)

    def _raise_epoch(self, topic: str) -> None:
        self._epochs[topic] = self._epochs.get(topic, 0) + 1

    def _assign_new(self) -> None:
        """Without a group: take every intake topic that there is."""
        assert self._settings.assigned is not None
        if time.monotonic() < self._discover_at:
            return
        self._discover_at = time.monotonic() + DISCOVER_SECONDS
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
        self._collect(min(timeout, RESTORED_SECONDS) if self._readers_busy else timeout)
        return sum(self._transact(partition) for partition in list(self._partitions.values()) if partition.buffer)

    def _collect(self, timeout: float) -> None:
        """Buffer what the consumer has, each record with its partition's epoch from before the call."""
        buffered = sum(len(p.buffer) for p in self._partitions.values())
        room = min(limits.BATCH_RECORDS_MAX, BUFFERED_RECORDS_MAX - buffered)
        if room <= 0:
            return  # each turn folds a record at least of every buffer, so the next has room
        before = dict(self._epochs)
        first = self._consumer.poll(0 if buffered else timeout)
        self._note(before, [first] if first is not None else [])
        if first is not None and room > 1:
            before = dict(self._epochs)
            self._note(before, self._consumer.consume(room - 1, 0))
        for partition in self._partitions.values():
            partition.buffer = [(e, m) for e, m in partition.buffer if e == self._epochs[partition.topic]]

    def _note(self, before: dict[str, int], messages: list[Message]) -> None:
        for message in messages:
            topic, error = message.topic() or "", message.error()
            if error is not None:
                self._note_error(topic, error)
            elif message.timestamp()[0] != TIMESTAMP_LOG_APPEND_TIME:
                if topic not in self.paused:
                    self._pause(topic, "CLOCK_UNTRUSTED: intake is not LogAppendTime: its senders would set log time")
            elif topic in self._partitions:
                self._partitions[topic].buffer.append((before.get(topic, 0), received_of(message)))

    def _note_error(self, topic: str, error: KafkaError) -> None:
        if error.fatal():
            raise WorkerFencedError(str(error))
        if topic in self._partitions and error.name() == "_AUTO_OFFSET_RESET":
            self._pause(topic, f"RESUME_MISMATCH: intake no longer has the offset to go on at: {error}")
        else:
            log.warning("%s: %s", topic or "consumer", error)

    def _transact(self, partition: Partition) -> int:
        fold = partition.fold
        membership = self._membership(partition)
        if fold is None or partition.topic in self.paused or membership is None:
            partition.buffer.clear()
            return 0
        while partition.buffer and partition.buffer[0][1].offset < partition.position:
            del partition.buffer[0]  # on the log already, which only goes forward
        batch = [received for _, received in partition.buffer[: limits.BATCH_RECORDS_MAX]]
        if not batch:
            return 0
        try:
            folded = self._commit(partition, fold, batch, membership)
        except (WorkerFencedError, *MACHINE_FAULTS):
            fold.rollback()
            raise
        except Exception as exc:  # noqa: BLE001 - one tenant's failure must not end the others' worker
            self._recover(partition, fold, exc)
            return 0
        fold.commit()
        partition.position = batch[folded - 1].offset + 1
        partition.failures = 0
        del partition.buffer[:folded]
        return folded

    def _membership(self, partition: Partition) -> Any:
        """Return the proof of membership for a transaction's offsets, or None once the partition may be another's.

        A consumer that was put out of its group forgets its member id at once and says so only at a later call, and
        Kafka takes the offsets of a transaction that names neither member nor generation from anybody. So the id must
        still be the one of the assignment, and is looked at after the proof was made.
        """
        proof = self._consumer.consumer_group_metadata()
        return proof if self._consumer.memberid() == partition.member else None

    def _commit(self, partition: Partition, fold: TenantFold, batch: list[Received], membership: Any) -> int:
        """Fold a batch inside one transaction and return how many records it took.

        Raises:
            WorkerFencedError: nobody knows whether the transaction was committed.
        """
        producer = self._producer
        producer.begin_transaction()
        folded, outputs = fold.fold(batch)
        for made in fold.messages(outputs):
            producer.produce(made.topic, made.value, made.key, made.partition, headers=list(made.headers))
        position = TopicPartition(partition.topic, 0, batch[folded - 1].offset + 1)
        producer.send_offsets_to_transaction([position], membership, TRANSACTION_SECONDS)
        try:
            producer.commit_transaction(TRANSACTION_SECONDS)
        except KafkaException as exc:
            if exc.args[0].txn_requires_abort():
                raise
            raise WorkerFencedError(f"{partition.topic}: the outcome of a commit is unknown: {exc.args[0]}") from exc
        return folded

    def _recover(self, partition: Partition, fold: TenantFold, exc: Exception) -> None:
        """Abort, drop the overlay and seek back. A fatal error, or no clean abort, ends the worker.

        Whatever failed, a local refusal of one record included: without the abort a later commit would succeed.
        """
        fold.rollback()
        partition.buffer.clear()
        error = exc.args[0] if isinstance(exc, KafkaException) else None
        if error is not None and error.fatal():
            raise WorkerFencedError(f"{partition.topic}: {error}") from exc
        try:
            self._producer.abort_transaction(TRANSACTION_SECONDS)
        except KafkaException as failed:
            raise WorkerFencedError(f"{partition.topic}: {failed.args[0]}") from failed
        log.warning("%s: transaction aborted: %s", partition.topic, error or repr(exc), exc_info=error is None)
        self._count(partition, error.name() if error is not None else type(exc).__name__)
        if partition.failures >= FAILURES_MAX:
            self._pause(partition.topic, f"{FAILURES_MAX} transactions failed: {error or repr(exc)}")
        elif error is None:
            self._restore_again(partition)  # the fold broke off in the middle: its tables are made anew
        else:
            self._consumer.seek(TopicPartition(partition.topic, 0, partition.position))

    def _count(self, partition: Partition, failure: str) -> None:
        if failure not in _MEMBERSHIP:
            partition.failures = partition.failures + 1 if failure == partition.failed_with else 1
            partition.failed_with = failure

    # --- restoring: beside the loop, so that one that is long or must wait holds up neither others nor the group ---

    def _restore_assigned(self) -> None:
        pending, self._restoring = self._restoring, []
        for partition in pending:
            if self._partitions.get(partition.topic) is not partition:
                self._stop_restoring(partition)
            elif not self._restore(partition):
                self._restoring.append(partition)

    def _restore(self, partition: Partition) -> bool:
        """Begin or end restoring a partition; whether nothing is left to do."""
        restoration = partition.restoration
        if restoration is None:
            if self._readers_busy < RESTORING_MAX and time.monotonic() >= partition.restore_at:
                reader = self._readers.pop() if self._readers else Reader(self._settings.consumer())
                partition.restoration = Restoration(partition.topic, self._open_fold, reader)
                self._readers_busy += 1
            return False
        if not restoration.is_done:
            return False
        partition.restoration = None
        self._readers.append(restoration.reader)
        self._readers_busy -= 1
        try:
            self._go_on(partition, *restoration.result())
        except ResumeError as exc:
            self._pause(partition.topic, f"{exc.code}: {exc}")
            partition.restore_at = time.monotonic() + RETRY_SECONDS
            return not exc.is_passing
        return True

    def _go_on(self, partition: Partition, fold: TenantFold, position: int) -> None:
        try:
            self._consumer.seek(TopicPartition(partition.topic, 0, position))
        except KafkaException as exc:
            raise ResumeError(f"cannot go to offset {position}: {exc.args[0]}") from exc
        self._consumer.resume([partition.place])
        with contextlib.suppress(KafkaException):
            # Any question to the leader wakes the thread that fetches; by itself it looks around once a second.
            self._consumer.get_watermark_offsets(partition.place, timeout=WAKE_SECONDS)
        partition.fold, partition.position = fold, position
        self.paused.pop(partition.topic, None)
        log.info("%s: resumed at offset %d, audit index %d", partition.topic, position, fold.tables.next_index)

    def _restore_again(self, partition: Partition) -> None:
        partition.fold = None
        self._consumer.pause([partition.place])
        self._restoring.append(partition)

    def _stop_restoring(self, partition: Partition) -> None:
        if partition.restoration is not None:
            partition.restoration.stop()
            partition.restoration = None
            self._readers_busy -= 1

    def _pause(self, topic: str, why: str) -> None:
        if self.paused.get(topic) != why:
            log.error("%s is paused: %s", topic, why)
        self.paused[topic] = why
        self._consumer.pause([TopicPartition(topic, 0)])


def _intakes(places: list[TopicPartition]) -> list[str]:
    """Return the topics of first partitions; another partition of an intake is nobody's, and stays paused."""
    for place in places:
        if place.partition != 0:
            log.error("%s has more than one partition: partition %d is not read", place.topic, place.partition)
    return [place.topic for place in places if place.partition == 0]
