"""One assigned intake partition: the loop's record of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processors.intake.identify import Received, Ruling
from streams.worker.fold import TenantFold
from streams.worker.holds import Hold
from streams.worker.resume import Restoration
from streams.worker.signing.stretch import Wait

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Partition:
    """One assigned intake partition. A new assignment makes a new object."""

    topic: str
    epoch: int = 0
    member: str | None = None  # this consumer's member id in the group at the time of the assignment
    fold: TenantFold | None = None
    position: int = 0  # the next offset to fold
    begin: int = 0  # the first offset that is not in a transaction yet
    sent_at: float = 0.0  # when its last transaction was handed to a lane
    is_held_back: bool = False  # not read on while its records pile up
    failures: int = 0
    failed_with: str = ""
    restoration: Restoration | None = None
    restore_at: float = 0.0
    wait: Wait | None = (
        None  # what its next record waits for, if the last attempt found that a key or engine is missing
    )
    hold: Hold | None = None  # why nothing is folded for now; records folded before are still sent
    unreadable: tuple[int, str] | None = None  # offset and error of a batch that cannot be read; buffering stops there
    ruling: Ruling | None = None  # the last ruling on append times that was followed; it may cover later records too
    skipping: Ruling | None = None  # the last ruling on unreadable batches that was followed; it may cover more
    buffer: list[tuple[int, Received]] = field(default_factory=list)
    size: int = 0  # bytes in the buffer

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.topic, 0)

    def read_from(self, consumer: Consumer, offset: int) -> None:
        """Let the consumer read this partition on, from an offset. Raises KafkaException.

        A fetcher has stopped where the broker no longer had its offset. A seek does not start it again; a new
        assignment does.
        """
        place = TopicPartition(self.topic, 0, offset)
        try:
            consumer.seek(place)
        except KafkaException as exc:
            if exc.args[0].name() != "_STATE":
                raise
            consumer.incremental_unassign([self.place])
            consumer.incremental_assign([place])
        consumer.resume([self.place])

    def put(self, epoch: int, received: Received) -> int:
        """Buffer a record under the epoch in which it was read, and return its size."""
        self.buffer.append((epoch, received))
        size = size_of(received)
        self.size += size
        return size

    def drop(self, count: int) -> None:
        """Remove the first `count` records from the buffer."""
        self.size -= sum(size_of(received) for _, received in self.buffer[:count])
        del self.buffer[:count]

    def clear(self) -> None:
        """Empty the buffer."""
        self.buffer.clear()
        self.size = 0

    def membership(self, consumer: Consumer) -> Any:
        """Return the proof of membership for a transaction's offsets, None if another worker may own the partition.

        A consumer that the group has removed loses its member id at once and reports that only at a later call. Kafka
        accepts offsets from any producer if the transaction names neither member nor generation. So the id must still
        be that of the assignment, and it is compared after the proof was made.
        """
        proof = consumer.consumer_group_metadata()
        return proof if consumer.memberid() == self.member else None

    def lag(self, consumer: Consumer) -> int:
        """Return how many records are not folded yet, by the end of the partition that the client heard of last."""
        _, end = consumer.get_watermark_offsets(self.place, cached=True)
        return max(end - self.position, 0)

    @property
    def is_open(self) -> bool:
        """True if the loop buffers further records."""
        return self.hold is None and self.unreadable is None

    @property
    def has_more(self) -> bool:
        """True if there are records to fold, or folded records to send."""
        return bool(self.buffer) or (self.fold is not None and self.fold.batch.records > 0)


def size_of(received: Received) -> int:
    """Return the size of a record in bytes, headers included: a hostile record may be large only there."""
    size = len(received.value or b"")
    for name, value in received.headers:
        size += len(name) + len(value or b"")
    return size


def intakes_of(places: list[TopicPartition]) -> list[str]:
    """Return the topics of the first partitions among `places`. Other partitions of an intake stay paused."""
    for place in places:
        if place.partition != 0:
            log.error(
                "%s must have one partition: partition %d is not read; see `macaw topic check`",
                place.topic, place.partition,
            )  # fmt: skip
    return [place.topic for place in places if place.partition == 0]
