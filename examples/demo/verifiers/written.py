"""The records of the demo's tenant as they stand on its topics: decisions, entries, and the signed calls themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

from examples.demo.installation import DemoError
from producers.home.home import Home
from producers.kafka.consuming import headers_of
from schemas import codec, topics
from schemas.records import AuditEntry, Decision, Event

READ_SECONDS = 30.0
READ = (topics.INTAKE, topics.DECISIONS, topics.RESULTS, topics.AUDIT)


class Kept(NamedTuple):
    """One record: its topic's own name, place, value and headers."""

    topic: str
    offset: int
    value: bytes
    headers: list[tuple[str, str | bytes | None]]


class Written:
    """Reads the committed records of a tenant, from the beginning, as far as they are asked for."""

    def __init__(self, home: Home, tenant: str) -> None:
        self._names = {topic.of(tenant): topic.name for topic in READ}
        self._intake = topics.INTAKE.of(tenant)
        self._bootstrap = home.bootstrap
        self.records: list[Kept] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": home.bootstrap,
                "group.id": "demo-verifiers",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        places = [
            TopicPartition(topic.of(tenant), partition, OFFSET_BEGINNING)
            for topic in READ
            for partition in range(topic.partitions)
        ]
        self._consumer.assign(places)

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()

    def decision(self, event_id: bytes) -> Decision:
        """Return the decision on a call. Raises DemoError if it does not come."""
        for one in self._all("decisions"):
            decision: Decision = codec.decode_as(Decision, one.value)
            if decision.event_id == event_id:
                return decision
        raise DemoError("a decision is not on the log")

    def entry(self, offset: int) -> AuditEntry:
        """Return the audit entry of the record at an offset of intake. Raises DemoError if it does not come."""
        for one in self._all("audit"):
            entry: AuditEntry = codec.decode_as(AuditEntry, one.value)
            if entry.offset == offset:
                return entry
        raise DemoError("an audit entry is not on the log")

    def call(self, event_id: bytes) -> Kept:
        """Return the record of a call on intake. Raises DemoError if it does not come."""
        for one in self._all("intake"):
            event: Event = codec.decode_as(Event, one.value)
            if event.header.event_id == event_id:
                return one
        raise DemoError("a call is not on the log")

    def append(self, value: bytes, headers: list[tuple[str, str | bytes | None]]) -> int:
        """Append a record to intake, as anybody may who reaches the broker, and return its offset."""
        appended: list[int] = []

        def note(error: object, message: Message) -> None:
            if error is None:
                appended.append(message.offset() or 0)

        producer = Producer({"bootstrap.servers": self._bootstrap, "compression.type": "none"})
        producer.produce(self._intake, value=value, partition=0, headers=headers, on_delivery=note)
        producer.flush(READ_SECONDS)
        if not appended:
            raise DemoError("the broker does not take a record")
        return appended[0]

    def _all(self, name: str) -> Iterator[Kept]:
        """Yield the records of a topic, those read before first, until none comes for READ_SECONDS."""
        at = 0
        until = time.monotonic() + READ_SECONDS
        while time.monotonic() < until:
            for one in self.records[at:]:
                if one.topic == name:
                    yield one
            at = len(self.records)
            self._read()

    def _read(self) -> None:
        for message in self._consumer.consume(500, timeout=0.1):
            if message.error() is None:
                headers: list[tuple[str, str | bytes | None]] = [*headers_of(message)]
                name = self._names[message.topic() or ""]
                self.records.append(Kept(name, message.offset() or 0, message.value() or b"", headers))
