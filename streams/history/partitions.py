"""Reading one partition up to its present end, for export and replay."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from processors.intake.identify import Received
from producers.home.security import UNSECURED, Security
from producers.kafka.consuming import FETCH_BOUNDS, behind_unreadable, read_to, watermarks
from schemas import limits
from schemas.topics import reader_group, tenant_of
from streams.history.records import received_of

IDLE_SECONDS = limits.TRANSACTION_TIMEOUT_MS / 1000 + 5  # longer than a transaction may stay open
QUEUED_KIB_MAX = 4096  # of each consumer: a replay reads ten partitions at once


class Whole:
    """The records of a partition at the time of construction, at offsets `low` <= offset < `high`.

    `low` is above 0 if retention has removed the start.
    """

    def __init__(self, consumer: Consumer, place: TopicPartition) -> None:
        self._consumer, self._place = consumer, place
        self._reading: Generator[Message] | None = None
        self.low, self.high = watermarks(consumer, place.topic, place.partition)

    @property
    def records(self) -> Iterator[Received]:
        """All records, from `low` on."""
        return self.read(self.low)

    def read(self, start: int) -> Iterator[Received]:
        """Yield the records from an offset on. Each new reading ends the one before.

        Raises:
            ReadTimeoutError: no record came for IDLE_SECONDS.
            UnreadableBatchError: the next batch cannot be read.
        """
        self.close()
        place = TopicPartition(self._place.topic, self._place.partition, start)
        self._reading = read_to(self._consumer, place, self.high, idle_seconds=IDLE_SECONDS)
        return map(received_of, self._reading)

    def behind(self, offset: int) -> int:
        """Return the first offset after a batch that cannot be read. Raises ReadTimeoutError."""
        self.close()
        place = TopicPartition(self._place.topic, self._place.partition, offset)
        return behind_unreadable(self._consumer, place, self.high)

    def close(self) -> None:
        """End a reading that is under way."""
        if self._reading is not None:
            self._reading.close()  # before the consumer that it reads from
            self._reading = None


def reader_settings(bootstrap: str, tenant: str, *, committed: bool, security: Security) -> dict[str, Any]:
    """Return the settings of a consumer that is told where to read; with `committed` it passes open transactions."""
    return {
        **security,
        "bootstrap.servers": bootstrap,
        "group.id": reader_group(tenant),
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "check.crcs": True,
        "isolation.level": "read_committed" if committed else "read_uncommitted",
        **FETCH_BOUNDS,
        "queued.max.messages.kbytes": QUEUED_KIB_MAX,
        "log_level": 2,
    }


@contextmanager
def whole_partition(
    bootstrap: str, topic: str, partition: int = 0, *, committed: bool = True, security: Security = UNSECURED
) -> Iterator[Whole]:
    """Give a partition up to its present end; with `committed` only the records of committed transactions."""
    consumer = Consumer(reader_settings(bootstrap, tenant_of(topic), committed=committed, security=security))
    try:
        with closing(Whole(consumer, TopicPartition(topic, partition))) as whole:
            yield whole
    finally:
        consumer.close()
