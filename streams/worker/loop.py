"""The exactly-once loop: consume intake, fold, and commit outputs, state and offset in one Kafka transaction.

One transaction covers one intake partition. While it is being committed, the loop folds the next records
(`streams.worker.lanes`) on top of it: an abort takes back both.

Assignment callbacks run inside consumer calls, so a record may belong to another worker by the time it is folded. Kafka
fences group generations, not ownership (KIP-447), so both workers could commit it. Therefore each partition has an
epoch, which its callbacks raise. A record carries the epoch from before the call that returned it; it is dropped if the
call raised the epoch. A folded batch is dropped with the assignment under which its records were read. No consumer call
stands between that filter and the proof of membership that goes with a batch's offset, and a partition is given up only
after its commit has ended. Read `docs/adr/0005` and `0011` before you change this file.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

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
from processors.state.engines import EngineMissingError
from producers.kafka.consuming import UNREADABLE
from schemas import limits
from streams.history.records import received_of
from streams.worker.fold import TenantFold
from streams.worker.holding import Holding
from streams.worker.holds import Lookout
from streams.worker.lanes import LOST, PASSING, Batched, Lane, Lanes, Underway, WorkerFencedError, kafka_error
from streams.worker.naps import Naps, wake
from streams.worker.partition import Partition, intakes_of
from streams.worker.restorations import KEY_SECONDS, RETRY_SECONDS, Restorations
from streams.worker.resume_errors import NoEngineError, ResumeError, WaitError
from streams.worker.settings import LoopSettings
from streams.worker.signing.decision_keys import DecisionKeyError
from streams.worker.signing.stretch import wait_at
from streams.worker.subscription import Subscription
from streams.worker.topic_ids import TopicIds

log = logging.getLogger(__name__)

FAILURES_MAX = 3  # after this many failures of the same kind in a row a partition is paused; the others go on
BUFFERED_RECORDS_MAX = 8 * limits.BATCH_RECORDS_MAX  # polled and not folded yet, all partitions together
BUFFERED_BYTES_MAX = 32 * 1024 * 1024  # the same in bytes; the client's own queue comes on top (FETCH_BOUNDS)
RESTORED_SECONDS = 0.02  # the longest time until the loop notices a restored partition
COMMITTED_SECONDS = 0.01  # the longest time until the loop notices a commit, while nothing depends on it
TURN_RECORDS = 128  # of all tenants together in one turn; records that arrive during a turn wait for its end
ALONE_RECORDS = 256  # in one turn, if only one tenant has records
SHARE_RECORDS_MIN = 8  # of each tenant in one turn, for any number of tenants
GATHER_SECONDS = 0.002  # between two polls while a full batch waits for a commit


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
        self.paused: dict[str, str] = {}
        with ThreadPoolExecutor(settings.lanes) as starting:
            self._lanes = Lanes(starting.map(lambda n: Lane(settings.producer(n), Producer), range(settings.lanes)))
        self._consumer = Consumer(settings.intake())
        self._naps = None if settings.assigned is None else Naps(self._consumer)
        self._holding = Holding(self._consumer, Lookout(settings.consumer()), self._pause, self.paused)
        self._subscription = Subscription(settings, self._consumer, self._on_assign, self._on_revoke)

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

    def lags(self) -> dict[str, int]:
        """Return how many records each partition has yet to fold, as far as the client knows. Asks no broker."""
        return {topic: one.lag(self._consumer) for topic, one in list(self._partitions.items())}

    # --- assignment: callbacks run inside consumer calls and only take note ---

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        # An explicit offset: with auto.offset.reset=error a tenant without a committed offset would fail, and the
        # answer to a logical one may come after the seek and undo it. Paused until the state is restored, which is
        # begun in the loop; a first fetch may still find that offset 0 was trimmed.
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
            if not self._subscription.has_left(topic):
                self.paused.pop(topic, None)
        consumer.incremental_unassign(places)

    def _raise_epoch(self, topic: str) -> None:
        self._epochs[topic] = self._epochs.get(topic, 0) + 1
        self._is_moved = True

    # --- one turn ---

    def turn(self, timeout: float) -> int:
        """Fold the records at hand, begin and end commits, and return the number of records committed.

        Waits at most `timeout` seconds for a first record.

        Raises:
            WorkerFencedError: this worker must end.
        """
        self._subscription.look(self._partitions)
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
        # The partition with the oldest send goes first: a quiet tenant does not wait behind busy ones.
        for partition in sorted(self._ready(), key=lambda p: p.sent_at):
            self._send(partition)
        if not collected and any(p.has_more for p in self._ready()):
            self._lanes.await_any(GATHER_SECONDS)
        return committed

    def _ready(self) -> Iterator[Partition]:
        for partition in list(self._partitions.values()):
            if partition.fold is None or (partition.topic in self.paused and partition.hold is None):
                partition.clear()  # before this partition goes on, the consumer seeks
            else:
                yield partition

    def _patience(self, timeout: float) -> float:
        """Return how many seconds to wait for a record: 0 while there is other work."""
        if any(p.has_more for p in self._ready()):
            return 0
        if any(not lane.is_free for lane in self._lanes):
            timeout = min(timeout, COMMITTED_SECONDS)
        return min(timeout, RESTORED_SECONDS) if self._restorations.are_under_way else timeout

    def _collect(self, timeout: float) -> int:
        """Buffer the consumer's records, each with its partition's epoch from before the call; return their number."""
        held = sum(len(p.buffer) for p in self._partitions.values())
        room, size = BUFFERED_RECORDS_MAX - held, 0
        if room <= 0 or sum(p.size for p in self._partitions.values()) >= BUFFERED_BYTES_MAX:
            return 0  # there is room again after the next commit
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
            message = messages.pop()  # a message caches each part that was read, so it is released before the next
            topic, error = message.topic() or "", message.error()
            if error is not None:
                self._note_error(topic, error, message.offset() or 0)
            elif message.timestamp()[0] != TIMESTAMP_LOG_APPEND_TIME:
                if topic not in self.paused:
                    self._pause(topic, "CLOCK_UNTRUSTED: intake is not LogAppendTime; run `macaw topic apply`")
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
        elif partition is not None and error.name() in LOST:
            if partition.fold is not None:  # else it is not known yet where it goes on
                self._pause(topic, f"RESUME_MISMATCH: intake no longer has the next offset to fold: {error}")
        elif partition is not None and error.name() in UNREADABLE:
            self._holding.note_unreadable(partition, offset, error.str())
        else:
            log.warning("%s: %s", topic or "consumer", error)

    def _hold_back(self, share: int) -> None:
        """Pause reading a partition while many of its records wait, so that one tenant cannot fill the buffer."""
        for partition in filter(lambda p: p.is_open, self._ready()):
            if partition.is_held_back and len(partition.buffer) < share:
                partition.is_held_back = False
                self._consumer.resume([partition.place])
            elif not partition.is_held_back and len(partition.buffer) >= 2 * share and len(self._partitions) > 1:
                partition.is_held_back = True
                self._consumer.pause([partition.place])

    def _fold(self, partition: Partition, most: int) -> None:
        """Fold records into the partition's next transaction while they fit, at most `most`."""
        fold = partition.fold
        assert fold is not None
        while partition.buffer and partition.buffer[0][1].offset < partition.position:
            partition.drop(1)  # it was folded before
        records = self._holding.timely(partition, most)
        if not records:
            return
        try:
            folded = fold.fold(records)
        except MACHINE_FAULTS:  # the worker ends, and its supervisor starts another
            raise
        except (DecisionKeyError, EngineMissingError) as exc:
            if self._lanes.of(partition.topic) is not None:
                return  # first the commit of the records before it ends: an abort would take back the tables
            partition.fold = None
            self._holding.release(partition)
            self._wait(partition, WaitError(exc.code, exc.told, wait_at(records[0], exc, fold.tables)))
            return
        except Exception as exc:  # one tenant's failure must not end the others' worker
            log.warning("%s: folding failed", partition.topic, exc_info=True)
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
        membership = partition.membership(self._consumer)
        if membership is None:
            partition.fold = None  # the partition belongs to another worker, or soon will: nothing more is sent
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
        """Take note of commits that have ended and return the number of records in them."""
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

    def _recover(self, lane: Lane, batch: Batched, exc: Exception) -> None:
        """Take back an aborted batch and every record folded since, and seek back. A fatal error ends the worker."""
        topic = batch.topic
        batch.fold.rollback()
        error = kafka_error(exc)
        if error is not None and error.fatal():
            raise WorkerFencedError(f"{topic}: {error}") from exc
        lane.renew()
        log.warning("%s: transaction aborted: %s", topic, error or repr(exc), exc_info=error is None)
        partition = self._partitions.get(topic)
        if partition is not None and partition.fold is batch.fold:  # neither given up nor restored meanwhile
            partition.position = partition.begin = batch.begin
            self._fail(partition, exc)

    def _fail(self, partition: Partition, exc: Exception) -> None:
        """Retry after a failure; pause the partition after FAILURES_MAX failures of the same kind in a row."""
        error = kafka_error(exc)
        kind = error.name() if error is not None else type(exc).__name__
        partition.clear()
        self._holding.release(partition)
        if kind not in PASSING:
            partition.failures = partition.failures + 1 if kind == partition.failed_with else 1
            partition.failed_with = kind
        if partition.failures >= FAILURES_MAX:
            self._pause(partition.topic, f"{FAILURES_MAX} transactions failed in a row: {error or repr(exc)}")
        elif error is None:
            self._restore_again(partition)  # the exception may have left its tables half changed
        else:
            partition.read_from(self._consumer, partition.begin)
            partition.is_held_back = False

    # --- restoring: on threads beside the loop, so that a long one delays neither other partitions nor the group ---

    def _restore_assigned(self) -> None:
        for partition, restoration in self._restorations.ended(self._partitions, self._lanes):
            try:
                self._go_on(partition, *restoration.result())
            except ResumeError as exc:
                self._wait(partition, exc)
                if isinstance(exc, NoEngineError):
                    self._give_up(partition, self.paused[partition.topic])

    def _wait(self, partition: Partition, why: ResumeError) -> None:
        """Pause a partition that cannot be folded now, and try again later if that may pass."""
        self._pause(partition.topic, f"{why.code}: {why}")
        partition.wait, pause = None, RETRY_SECONDS
        if isinstance(why, WaitError):
            partition.wait, pause = why.wait, KEY_SECONDS
        if why.is_passing:
            self._restorations.add_again(partition, pause)

    def _go_on(self, partition: Partition, fold: TenantFold, position: int) -> None:
        try:
            partition.read_from(self._consumer, position)
        except KafkaException as exc:
            raise ResumeError(f"cannot seek to offset {position} of intake: {exc.args[0]}") from exc
        partition.is_held_back = False
        wake(self._consumer, partition.place)
        partition.fold, partition.position, partition.begin = fold, position, position
        partition.wait = None
        self.paused.pop(partition.topic, None)
        log.info("%s: resumed at offset %d, audit index %d", partition.topic, position, fold.tables.next_index)

    def _restore_made_again(self) -> None:
        """Restore each intake that was deleted and created again: its offsets now belong to other records."""
        for topic in self._topic_ids.changed(self._partitions) if self._topic_ids is not None else ():
            partition = self._partitions.get(topic)
            if partition is not None and partition.fold is not None:
                log.error("%s was deleted and created again while it was read; comparing it with the log", topic)
                self._restore_again(partition)

    def _restore_again(self, partition: Partition) -> None:
        partition.fold = None
        self._holding.release(partition)
        self._consumer.pause([partition.place])
        self._restorations.add(partition)

    def _give_up(self, partition: Partition, why: str) -> None:
        """Serve a partition no longer: another worker of the group may have the missing engine."""
        partition.fold = None
        self._holding.release(partition)
        self._pause(partition.topic, why)
        self._subscription.leave(partition.topic)

    def _pause(self, topic: str, why: str) -> None:
        if self.paused.get(topic) != why:
            log.error("%s is paused: %s", topic, why)
        self.paused[topic] = why
        self._consumer.pause([TopicPartition(topic, 0)])
