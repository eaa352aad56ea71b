"""Partitions on hold: the loop stops a partition at an offset it cannot pass, and later goes on from there.

The reasons for a hold, and the search for rulings, are in `streams.worker.holds`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from confluent_kafka import Consumer, KafkaException

from processors.intake.identify import Received, Ruling
from processors.refusal import Refusal
from producers.home.clock import clock_ms
from schemas import limits
from schemas.events.rulings import RecordsSkipped
from streams.history.ruling_search import judged, skipped
from streams.worker.holds import Hold, Lookout, is_about
from streams.worker.naps import wake
from streams.worker.partition import Partition

log = logging.getLogger(__name__)


class Holding:
    """Holds partitions and lets them go on. Records folded before the hold are still sent; other partitions go on."""

    def __init__(
        self, consumer: Consumer, lookout: Lookout, pause: Callable[[str, str], None], paused: dict[str, str]
    ) -> None:
        """`pause` logs why a topic stands still and pauses its consumer; `paused` is the reason by topic."""
        self._consumer = consumer
        self._paused = paused
        self._lookout = lookout
        self._pause = pause

    def note_unreadable(self, partition: Partition, offset: int, why: str) -> None:
        """Stop buffering at a batch that cannot be read. Without this the client may go on after the batch."""
        if partition.unreadable is None:
            partition.unreadable = offset, why
            self._consumer.pause([partition.place])

    def timely(self, partition: Partition, most: int) -> list[Received]:
        """Return the next records of the buffer to fold, at most `most`.

        The list ends before a record that is ahead of the clock. If there is no record before such a place, or before
        a batch that cannot be read, the partition is put on hold and the list is empty.
        """
        records = [received for _, received in partition.buffer[:most]]
        if not records:
            if partition.unreadable is not None and partition.hold is None:
                offset, why = partition.unreadable
                hold = Hold(partition.topic, max(partition.position, offset), why=why)
                self._hold(partition, hold)
                # One ruling may cover many batches. It is offered again here, because reading up to it takes time.
                if partition.skipping is not None and is_about(partition.skipping.event, hold):
                    hold.candidates.append(partition.skipping.event)
            return records
        latest = clock_ms() + limits.LOG_AHEAD_MS_MAX
        if max(received.appended_at for received in records) <= latest:
            return records
        count = next(n for n, received in enumerate(records) if received.appended_at > latest)
        if count:
            return records[:count]
        first = records[0]
        if partition.ruling is not None and self._holds_good(partition, replace(first, ruling=partition.ruling)):
            first.ruling = partition.ruling
            return [first]
        self._hold(partition, Hold(partition.topic, first.offset, first.appended_at))
        return []

    def look(self, partitions: Iterable[Partition]) -> None:
        """Let each held partition go on if its time has come or an admin's ruling was found."""
        for partition in partitions:
            if partition.hold is not None and partition.fold is not None:
                self._look(partition, partition.hold)

    def _look(self, partition: Partition, hold: Hold) -> None:
        if hold.is_over(clock_ms()):
            log.warning("%s goes on at offset %d: the reason for the hold has passed", hold.topic, hold.offset)
            self._go_on(partition, hold, hold.offset)
            return
        if hold.is_measured and not hold.is_told:
            hold.is_told = True
            self._pause(hold.topic, hold.told(clock_ms()))
        while hold.candidates and (hold.appended_at is not None or hold.is_measured):
            if self._follow(partition, hold, Ruling(b"", hold.candidates[0])):
                return
            hold.candidates.popleft()

    def _follow(self, partition: Partition, hold: Hold, ruling: Ruling) -> bool:
        """Let a partition go on by a ruling; return False if the event is not a valid ruling on this hold.

        If the consumer refuses the seek, the ruling stays and is tried again in the next turn.
        """
        fold, at = partition.fold, ruling.event.offset
        assert fold is not None
        try:
            body = judged(fold.tables, hold.place(ruling), fold.heads)
        except Refusal as refusal:
            hold.rejected += 1
            if hold.rejected.bit_count() == 1:  # at 1, 2, 4, 8, …: any sender can append any number of such events
                log.warning(
                    "%s: %d events claim to be rulings and are not valid, the last at offset %d: %s",
                    hold.topic, hold.rejected, at, refusal,
                )  # fmt: skip
            return False
        if not isinstance(body, RecordsSkipped):
            partition.ruling = ruling
            if self._go_on(partition, hold, hold.offset):
                log.warning(
                    "%s goes on: the ruling at offset %d accepts the append time of the record at offset %d",
                    hold.topic, at, hold.offset,
                )  # fmt: skip
            return True
        partition.skipping = ruling
        assert hold.behind is not None
        placeholders = skipped(hold.offset, min(body.last + 1, hold.behind), ruling)
        if self._go_on(partition, hold, placeholders[-1].offset + 1):
            partition.buffer += [(partition.epoch, received) for received in placeholders]
            log.warning("%s goes on: the ruling at offset %d skips %d records", hold.topic, at, len(placeholders))
        return True

    def _holds_good(self, partition: Partition, received: Received) -> bool:
        assert partition.fold is not None
        try:
            judged(partition.fold.tables, received, partition.fold.heads)
        except Refusal:
            return False
        return True

    def _hold(self, partition: Partition, hold: Hold) -> None:
        partition.hold = hold
        partition.is_held_back = False
        partition.clear()
        self._pause(partition.topic, hold.told(clock_ms()))
        self._lookout.watch(hold)

    def _go_on(self, partition: Partition, hold: Hold, offset: int) -> bool:
        """Seek to an offset and read on; return False if the consumer refuses.

        Then the partition is being revoked, or the next turn tries again.
        """
        try:
            partition.read_from(self._consumer, offset)
            wake(self._consumer, partition.place)
        except KafkaException as exc:
            log.warning("%s: cannot seek to offset %d: %s; the next turn tries again", hold.topic, offset, exc)
            return False
        self.release(partition)
        return True

    def release(self, partition: Partition) -> None:
        """Forget a hold. Called when it is over, when the partition is given up, or when it is read again."""
        partition.unreadable = None
        if partition.hold is not None:
            self._lookout.forget(partition.hold)
            self._paused.pop(partition.topic, None)
            partition.hold = None

    def close(self) -> None:
        """End the search for rulings."""
        self._lookout.close()
