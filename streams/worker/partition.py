"""One assigned intake partition, as the loop keeps it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from confluent_kafka import TopicPartition

from processors.intake.identify import Received, Ruling
from streams.worker.fold import TenantFold
from streams.worker.holds import Hold
from streams.worker.resume import Restoration

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Partition:
    """One assigned intake partition. It lives as long as the assignment."""

    topic: str
    epoch: int = 0
    member: str | None = None  # who we were in the group when it was assigned
    fold: TenantFold | None = None
    position: int = 0  # the next offset to fold
    begin: int = 0  # the first offset that is in no transaction yet
    sent_at: float = 0.0  # when its last transaction was handed to a lane
    is_held_back: bool = False  # not read on while its records pile up
    failures: int = 0
    failed_with: str = ""
    restoration: Restoration | None = None
    restore_at: float = 0.0
    hold: Hold | None = None  # why nothing is folded for now; what was folded before is still sent
    unreadable: tuple[int, str] | None = None  # where a batch could not be read, and why; nothing behind it is taken
    ruling: Ruling | None = None  # on append times: the last that was followed, which may go on to hold
    skipping: Ruling | None = None  # the same of what cannot be read
    buffer: list[tuple[int, Received]] = field(default_factory=list)
    size: int = 0  # bytes in the buffer

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.topic, 0)

    def put(self, epoch: int, received: Received) -> int:
        """Buffer a record under the epoch in which it was read, and return its size."""
        self.buffer.append((epoch, received))
        size = size_of(received)
        self.size += size
        return size

    def drop(self, count: int) -> None:
        """Take the first records out of the buffer."""
        self.size -= sum(size_of(received) for _, received in self.buffer[:count])
        del self.buffer[:count]

    def clear(self) -> None:
        """Empty the buffer."""
        self.buffer.clear()
        self.size = 0

    @property
    def is_open(self) -> bool:
        """Whether what comes next is taken."""
        return self.hold is None and self.unreadable is None

    @property
    def has_more(self) -> bool:
        """Whether there are records to fold, or folded ones to send."""
        return bool(self.buffer) or (self.fold is not None and self.fold.batch.records > 0)


def size_of(received: Received) -> int:
    """Return how many bytes a record holds; a hostile one may have all of them in its headers."""
    size = len(received.value or b"")
    for name, value in received.headers:
        size += len(name) + len(value or b"")
    return size


def intakes_of(places: list[TopicPartition]) -> list[str]:
    """Return the topics of first partitions; another partition of an intake is nobody's, and stays paused."""
    for place in places:
        if place.partition != 0:
            log.error("%s has more than one partition: partition %d is not read", place.topic, place.partition)
    return [place.topic for place in places if place.partition == 0]
