"""Reading one partition as far as it goes now, for those who look back: export and replay."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, Message, TopicPartition

from producers.consuming import FETCH_BOUNDS, read_to, watermarks
from producers.security import UNSECURED, Security
from schemas import limits
from schemas.topics import reader_group, tenant_of

IDLE_SECONDS = limits.TRANSACTION_TIMEOUT_MS / 1000 + 5  # an open transaction is waited for
QUEUED_KIB_MAX = 4096  # a replay reads ten partitions at once


@dataclass(frozen=True, slots=True)
class Whole:
    """What a partition held when it was asked. `low` is above 0 where retention has removed its start."""

    low: int
    records: Iterator[Message]


@contextmanager
def whole_partition(
    bootstrap: str, topic: str, partition: int = 0, *, committed: bool = True, security: Security = UNSECURED
) -> Iterator[Whole]:
    """Give the records of a partition up to its end of now, one by one; with `committed` those of commits only.

    Raises:
        ReadTimeoutError: while they are read, when none comes for longer than a transaction may last.
    """
    consumer = Consumer(
        {
            **security,
            "bootstrap.servers": bootstrap,
            "group.id": reader_group(tenant_of(topic)),
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "check.crcs": True,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            **FETCH_BOUNDS,
            "queued.max.messages.kbytes": QUEUED_KIB_MAX,
            "log_level": 2,
        }
    )
    try:
        low, high = watermarks(consumer, topic, partition)
        records = read_to(consumer, TopicPartition(topic, partition, low), high, idle_seconds=IDLE_SECONDS)
        assert isinstance(records, Generator)
        try:
            yield Whole(low, records)
        finally:
            records.close()  # before the consumer that it reads from
    finally:
        consumer.close()
