"""The exactly-once loop: consume intake, fold, and commit outputs, state and offset in one Kafka transaction.

One transaction covers one intake partition. While it is committed the loop folds what comes next
(`streams.worker.lanes`), on top of what is not committed yet: an abort takes back both.

Assignment callbacks run inside consumer calls, so a record may already belong to another worker when it would be
folded, and Kafka fences group generations, not ownership (KIP-447): both copies could be committed. Therefore each
partition has an epoch that its callbacks raise; a record carries the epoch from before the call that returned it;
records of another epoch are dropped after that call; and a folded batch dies with the assignment under which its
records were read. No consumer call stands between that filter and the proof of membership with which a batch's offset
is sent, and a partition is given up only after its commit. Read `docs/adr/0005` and `0011` before touching this.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

from processors.refusal import MACHINE_FAULTS
from producers.kafka.consuming import UNREADABLE
from schemas import limits
from streams.history.folded import received_of
from streams.worker.fold import TenantFold
from streams.worker.holding import Holding
from streams.worker.holds import Lookout
from streams.worker.lanes import Batched, Lane, Lanes, Underway, WorkerFencedError, kafka_error
from streams.worker.naps import Naps, wake
from streams.worker.partition import Partition, intakes_of
from streams.worker.restorations import Restorations
from streams.worker.resume_errors import ResumeError
from streams.worker.settings import LoopSettings
from streams.worker.topic_ids import TopicIds

log = logging.getLogger(__name__)

FAILURES_MAX = 3  # a partition whose own transaction fails this often alike is paused; the others go on
BUFFERED_RECORDS_MAX = 8 * limits.BATCH_RECORDS_MAX  # polled, not folded yet, of all partitions together
BUFFERED_BYTES_MAX = 32 * 1024 * 1024  # of them; what the client has fetched comes on top (FETCH_BOUNDS)
RESTORED_SECONDS = 0.02  # how long a restored partition may wait to be noticed
COMMITTED_SECONDS = 0.01  # how long a commit may wait to be noticed where nothing depends on it
TURN_RECORDS = 128  # of all tenants in a turn, while several have records: what comes meanwhile waits for its end
ALONE_RECORDS = 256  # of the only one that has any
SHARE_RECORDS_MIN = 8  # of one tenant in a turn, however many have records
GATHER_SECONDS = 0.002  # how often, while a full batch waits for a commit, the next records are asked for
DISCOVER_SECONDS = 1.0  # without a group: how often topics are listed
# Who may write, no fault of the partition's records: these neither count as failures alike nor end a row of such.
_LOST = frozenset({"_AUTO_OFFSET_RESET", "_LOG_TRUNCATION", "OFFSET_OUT_OF_RANGE"})
_PASSING = frozenset({"UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS", "FENCED_INSTANCE_ID"})


class Loop:
    """A worker's loop over every intake partition that it owns."""

    def __init__(self, settings: LoopSettings, open_fold: Callable[[str], TenantFold | None]) -> None:
        """`open_fold` returns a fresh fold for a tenant, or None where the tenant is not configured here."""
        self._settings = settings
        self._partitions: dict[str, Partition] = {}
        self._epochs: dict[str, int] = {}
        self._is_moved = False  # an epoch was raised since records were last filtered by it
        self._restorations = Restorations(settings, open_fold)
        # The embedded broker gives every topic the same id.
        self._topic_ids = TopicIds(settings.admin()) if settings.assigned is None else None
        self._discover_at = 0.0
        self.paused: dict[str, str] = {}
        with ThreadPoolExecutor(settings.lanes) as starting:
            self._lanes = Lanes(starting.map(lambda n: Lane(settings.producer(n), Producer), range(settings.lanes)))
        self._consumer = Consumer(settings.intake())
        self._naps = None if settings.assigned is None else Naps(self._consumer)
        self._holding = Holding(self._consumer, Lookout(settings.consumer()), self._pause, self.paused)
        if settings.assigned is None:
            self._consumer.subscribe(
                [settings.pattern], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )

    def close(self) -> None:
        """Leave the group and release the connections."""
        self._holding.close()
        self._consumer.close()
        for lane in self._lanes:
            lane.close()
        self._restorations.close()

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
        for topic in intakes_of(places):
            self._raise_epoch(topic)
            self._partitions[topic] = Partition(topic, self._epochs[topic], member)
            self._restorations.add(self._partitions[topic])

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._lanes.await_of(intakes_of(places))
        for topic in intakes_of(places):
            self._raise_epoch(topic)
            if (partition := self._partitions.pop(topic, None)) is not None:
                self._holding.release(partition)
            self.paused.pop(topic, None)
        consumer.incremental_unassign(places)

    def _raise_epoch(self, topic: str) -> None:
        self._epochs[topic] = self._epochs.get(topic, 0) + 1
        self._is_moved = True

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
        """Fold what there is, let commits begin and end, and return how many records were committed.

        Waits at most `timeout` seconds for a first record.

        Raises:
            WorkerFencedError: this worker must not go on.
        """
        if self._settings.assigned is not None:
            self._assign_new()
        self._restore_assigned()
        self._restore_made_again()
        self._holding.look(self._partitions.values())
        committed = self._settle()
        collected = self._collect(self._patience(timeout))
        busy = [p for p in self._ready() if p.buffer or (p.unreadable is not None and p.hold is None)]
        share = max(SHARE_RECORDS_MIN, TURN_RECORDS // len(busy)) if len(busy) > 1 else ALONE_RECORDS
        for partition in busy:
            self._fold(partition, share)
        self._hold_back(share)
        # Who has not been sent for longest goes first: a quiet tenant does not stand in line behind the floods.
        for partition in sorted(self._ready(), key=lambda p: p.sent_at):
            self._send(partition)
        if not collected and any(p.has_more for p in self._ready()):
            self._lanes.await_any(GATHER_SECONDS)
        return committed

    def _ready(self) -> Iterator[Partition]:
        for partition in list(self._partitions.values()):
            if partition.fold is None or (partition.topic in self.paused and partition.hold is None):
                partition.clear()  # whatever goes on with this partition begins with a seek
            else:
                yield partition

    def _patience(self, timeout: float) -> float:
        """Return how long to wait for a record: not at all while there is work without one."""
        if any(p.has_more for p in self._ready()):
            return 0
        if any(not lane.is_free for lane in self._lanes):
            timeout = min(timeout, COMMITTED_SECONDS)
        return min(timeout, RESTORED_SECONDS) if self._restorations.are_under_way else timeout

    def _collect(self, timeout: float) -> int:
        """Buffer what the consumer has, each record with its partition's epoch from before the call; say how many."""
        held = sum(len(p.buffer) for p in self._partitions.values())
        room, size = BUFFERED_RECORDS_MAX - held, 0
        if room <= 0 or sum(p.size for p in self._partitions.values()) >= BUFFERED_BYTES_MAX:
            return 0  # a commit ends, a batch is sent, and then there is room again
        before = dict(self._epochs)
        if self._naps is not None:
            timeout = self._naps.nap(timeout, [p.topic for p in self._ready() if p.is_open])
        first = self._consumer.poll(timeout)
        messages = [first] if first is not None else []
        while messages:
            room -= len(messages)
            size += self._note(before, messages)
            if room <= 0 or size >= limits.BATCH_BYTES_MAX:
                break
            before = dict(self._epochs)
            messages = self._consumer.consume(min(room, limits.BATCH_RECORDS_MAX), 0)
        if self._is_moved:
            self._is_moved = False
            for partition in self._partitions.values():
                kept = [(e, m) for e, m in partition.buffer if e == self._epochs[partition.topic]]
                partition.clear()
                for epoch, received in kept:
                    partition.put(epoch, received)
        return sum(len(p.buffer) for p in self._partitions.values()) - held

    def _note(self, before: dict[str, int], messages: list[Message]) -> int:
        """Buffer records, take note of errors, and return how many bytes were buffered."""
        size = 0
        messages.reverse()
        while messages:
            message = messages.pop()  # it keeps what was read of it: each is let go before the next
            topic, error = message.topic() or "", message.error()
            if error is not None:
                self._note_error(topic, error, message.offset() or 0)
            elif message.timestamp()[0] != TIMESTAMP_LOG_APPEND_TIME:
                if topic not in self.paused:
                    self._pause(topic, "CLOCK_UNTRUSTED: intake is not LogAppendTime: its senders would set log time")
            elif topic in self._partitions and self._partitions[topic].is_open:
                size += self._partitions[topic].put(before.get(topic, 0), received_of(message))
                if self._naps is not None:
                    self._naps.note_record(topic)
        return size

    def _note_error(self, topic: str, error: KafkaError, offset: int) -> None:
        if error.fatal():
            raise WorkerFencedError(str(error))
        partition = self._partitions.get(topic)
        if self._naps is not None and error.name() == "_PARTITION_EOF":
            self._naps.note_end(topic)
        elif partition is not None and error.name() in _LOST:
            self._pause(topic, f"RESUME_MISMATCH: intake no longer has the offset to go on at: {error}")
        elif partition is not None and error.name() in UNREADABLE:
            self._holding.note_unreadable(partition, offset, error.str())
        else:
            log.warning("%s: %s", topic or "consumer", error)

    def _hold_back(self, share: int) -> None:
        """Let no tenant fill what all share: one whose records pile up is not read on until they are folded."""
        for partition in filter(lambda p: p.is_open, self._ready()):
            if partition.is_held_back and len(partition.buffer) < share:
                partition.is_held_back = False
                self._consumer.resume([partition.place])
            elif not partition.is_held_back and len(partition.buffer) >= 2 * share and len(self._partitions) > 1:
                partition.is_held_back = True
                self._consumer.pause([partition.place])

    def _fold(self, partition: Partition, most: int) -> None:
        """Fold what fits into the partition's next transaction, at most so many records."""
        fold = partition.fold
        assert fold is not None
        while partition.buffer and partition.buffer[0][1].offset < partition.position:
            partition.drop(1)  # on the log already, which only goes forward
        records = self._holding.timely(partition, most)
        if not records:
            return
        try:
            folded = fold.fold(records)
        except MACHINE_FAULTS:  # the worker ends, and its supervisor starts another
            raise
        except Exception as exc:  # one tenant's failure must not end the others' worker
            log.warning("%s: the fold broke off", partition.topic, exc_info=True)
            self._fail(partition, exc)
            return
        if folded:
            partition.position = records[folded - 1].offset + 1
            partition.drop(folded)

    def _send(self, partition: Partition) -> None:
        """Put a folded batch into a transaction and let its commit begin, if a lane is free."""
        fold, lane = partition.fold, self._lanes.free()
        if fold is None or not fold.batch.records or lane is None or self._lanes.of(partition.topic) is not None:
            return
        membership = self._membership(partition)
        if membership is None:
            partition.fold = None  # another's by now, or soon: nothing is sent for it any more
            return
        batch = Batched(partition.topic, fold, partition.begin, fold.batch.records)
        try:
            lane.write(partition.topic, fold.take())
        except (WorkerFencedError, *MACHINE_FAULTS):
            raise
        except Exception as exc:  # noqa: BLE001 - one tenant's failure must not end the others' worker
            self._recover(lane, batch, exc)
            return
        lane.commit(batch, TopicPartition(partition.topic, 0, partition.position), membership)
        partition.sent_at = time.monotonic()
        partition.begin = partition.position

    def _settle(self) -> int:
        """Take note of commits that have ended and return how many records they hold."""
        committed = 0
        for lane in self._lanes:
            underway = lane.take_ended()
            if underway is not None:
                committed += self._settled(lane, underway)
        return committed

    def _settled(self, lane: Lane, underway: Underway) -> int:
        try:
            underway.outcome.result()
        except KafkaException as exc:
            self._recover(lane, underway.batch, exc)
            return 0
        batch = underway.batch
        batch.fold.commit()
        partition = self._partitions.get(batch.topic)
        if partition is not None and partition.fold is batch.fold:
            partition.failures = 0
        return batch.records

    def _membership(self, partition: Partition) -> Any:
        """Return the proof of membership for a transaction's offsets, or None once the partition may be another's.

        A consumer that was put out of its group forgets its member id at once and says so only at a later call, and
        Kafka takes the offsets of a transaction that names neither member nor generation from anybody. So the id must
        still be the one of the assignment, and is looked at after the proof was made.
        """
        proof = self._consumer.consumer_group_metadata()
        return proof if self._consumer.memberid() == partition.member else None

    def _recover(self, lane: Lane, batch: Batched, exc: Exception) -> None:
        """Take back an aborted batch with what was folded since, and seek back. A fatal error ends the worker."""
        topic = batch.topic
        batch.fold.rollback()
        error = kafka_error(exc)
        if error is not None and error.fatal():
            raise WorkerFencedError(f"{topic}: {error}") from exc
        lane.renew()
        log.warning("%s: transaction aborted: %s", topic, error or repr(exc), exc_info=error is None)
        partition = self._partitions.get(topic)
        if partition is not None and partition.fold is batch.fold:  # else given up meanwhile, or restored from the log
            partition.position = partition.begin = batch.begin
            self._fail(partition, exc)

    def _fail(self, partition: Partition, exc: Exception) -> None:
        """Go on after a failure: the third alike pauses the partition."""
        error = kafka_error(exc)
        kind = error.name() if error is not None else type(exc).__name__
        partition.clear()
        self._holding.release(partition)
        if kind not in _PASSING:
            partition.failures = partition.failures + 1 if kind == partition.failed_with else 1
            partition.failed_with = kind
        if partition.failures >= FAILURES_MAX:
            self._pause(partition.topic, f"{FAILURES_MAX} transactions failed: {error or repr(exc)}")
        elif error is None:
            self._restore_again(partition)  # the fold broke off in the middle: its tables are made anew
        else:
            self._consumer.seek(TopicPartition(partition.topic, 0, partition.begin))
            self._consumer.resume([partition.place])
            partition.is_held_back = False

    # --- restoring: beside the loop, so that one that is long or must wait holds up neither others nor the group ---

    def _restore_assigned(self) -> None:
        for partition, restoration in self._restorations.ended(lambda p: self._partitions.get(p.topic) is p):
            try:
                self._go_on(partition, *restoration.result())
            except ResumeError as exc:
                self._pause(partition.topic, f"{exc.code}: {exc}")
                if exc.is_passing:
                    self._restorations.add_again(partition)

    def _go_on(self, partition: Partition, fold: TenantFold, position: int) -> None:
        try:
            self._consumer.seek(TopicPartition(partition.topic, 0, position))
        except KafkaException as exc:
            raise ResumeError(f"cannot go to offset {position}: {exc.args[0]}") from exc
        self._consumer.resume([partition.place])
        partition.is_held_back = False
        wake(self._consumer, partition.place)
        partition.fold, partition.position, partition.begin = fold, position, position
        self.paused.pop(partition.topic, None)
        log.info("%s: resumed at offset %d, audit index %d", partition.topic, position, fold.tables.next_index)

    def _restore_made_again(self) -> None:
        """Look again, as at a start, at an intake that was deleted and made again: its offsets are of other records."""
        for topic in self._topic_ids.changed(self._partitions) if self._topic_ids is not None else ():
            partition = self._partitions.get(topic)
            if partition is not None and partition.fold is not None:
                log.error("%s was deleted and made again while it was read", topic)
                self._restore_again(partition)

    def _restore_again(self, partition: Partition) -> None:
        partition.fold = None
        self._holding.release(partition)
        self._consumer.pause([partition.place])
        self._restorations.add(partition)

    def _pause(self, topic: str, why: str) -> None:
        if self.paused.get(topic) != why:
            log.error("%s is paused: %s", topic, why)
        self.paused[topic] = why
        self._consumer.pause([TopicPartition(topic, 0)])
