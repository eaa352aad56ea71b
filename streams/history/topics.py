"""Reading a tenant's topics from the brokers, for commands that only show them.

Nothing here writes, joins a group or commits an offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from confluent_kafka import Consumer, Message, TopicPartition

from producers.home.security import UNSECURED, Security
from producers.kafka.consuming import FETCH_BOUNDS, ReadPosition, read_to, take, watermarks
from schemas.topics import INTAKE, Topic, reader_group

IDLE_SECONDS = 10.0  # longer than a healthy monitor keeps a transaction open
FOLLOW_SECONDS = 0.2


class TopicReader(AbstractContextManager["TopicReader"]):
    """One topic of one tenant, with all its partitions. A context manager."""

    def __init__(self, bootstrap: str, topic: Topic, tenant: str, *, security: Security = UNSECURED) -> None:
        self.name = topic.of(tenant)
        self._partitions = range(topic.partitions)
        self._consumer = Consumer(
            {
                **security,
                "bootstrap.servers": bootstrap,
                "group.id": reader_group(tenant),
                "enable.auto.commit": False,
                # Intake is written without transactions. Any other record counts once its transaction is committed.
                "isolation.level": "read_uncommitted" if topic is INTAKE else "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
                **FETCH_BOUNDS,
                "log_level": 2,
            }
        )

    def all(self) -> Iterator[Message]:
        """Yield the present records, partition by partition. Raises ReadTimeoutError."""
        for partition in self._partitions:
            low, high = watermarks(self._consumer, self.name, partition)
            yield from self._range(partition, low, high)

    def between(self, partition: int, start: int, end: int) -> Iterator[Message]:
        """Yield the records of one partition in [start, end). Raises ReadTimeoutError."""
        return (m for m in self._range(partition, start, end) if start <= (m.offset() or 0) < end)

    def first_offset(self, partition: int = 0) -> int:
        """Return the first offset that the topic still has."""
        return watermarks(self._consumer, self.name, partition)[0]

    def last(self, count: int) -> list[Message]:
        """Return the last `count` records, in the order of their timestamps. Raises ReadTimeoutError."""
        found = [m for partition in self._partitions for m in self._last_of(partition, count)]
        return sorted(found, key=_when)[-count:] if count > 0 else []

    def follow(self, after: dict[int, int]) -> Iterator[Message | None]:
        """Yield records appended from now on, and None after FOLLOW_SECONDS without one. Does not end.

        For a partition in `after` the first record is the one at that offset.
        """
        places = []
        for partition in self._partitions:
            _, high = watermarks(self._consumer, self.name, partition)
            places.append(TopicPartition(self.name, partition, after.get(partition, high)))
        self._consumer.assign(places)
        positions = {place.partition: ReadPosition(place.offset) for place in places}
        while True:
            batch = take(self._consumer, 256, FOLLOW_SECONDS)
            yield from (m for m in batch if positions[m.partition() or 0].note(m))
            if not batch:
                yield None

    def _range(self, partition: int, start: int, end: int) -> Iterator[Message]:
        return read_to(self._consumer, TopicPartition(self.name, partition, start), end, idle_seconds=IDLE_SECONDS)

    def _last_of(self, partition: int, count: int) -> list[Message]:
        low, high = watermarks(self._consumer, self.name, partition)
        back = 2 * count  # the end of each transaction takes an offset too
        while True:
            start = max(low, high - back)
            found = list(self._range(partition, start, high))
            if len(found) >= count or start == low:
                return found[-count:]
            back *= 4

    def close(self) -> None:
        self._consumer.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def _when(message: Message) -> tuple[int, int, int]:
    return message.timestamp()[1], message.partition() or 0, message.offset() or 0
