"""Founding: a tenant's topics, and its first event at offset 0 of intake."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from producers.consuming import watermarks
from schemas.topics import INTAKE, OPS_TOPICS, TENANT_TOPICS, Topic

TIMEOUT_SECONDS = 15.0


class FoundingError(RuntimeError):
    """A topic could not be made, or the founding event is not at offset 0."""


def create_topics(bootstrap: str, tenant: str, *, replication: int = 1) -> list[str]:
    """Create the tenant's topics, and the operator's where they are missing; return the names that were made.

    Raises:
        FoundingError: a topic of the tenant exists with another number of partitions, or cannot be made.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    have = admin.list_topics(timeout=TIMEOUT_SECONDS).topics
    wanted: list[Topic] = [*TENANT_TOPICS, *OPS_TOPICS]
    for topic in wanted:
        found = have.get(topic.of(tenant))
        if found is not None and len(found.partitions) != topic.partitions:
            raise FoundingError(f"{topic.of(tenant)} has {len(found.partitions)} partitions, want {topic.partitions}")
    new = [
        NewTopic(t.of(tenant), num_partitions=t.partitions, replication_factor=replication, config=t.config())
        for t in wanted
        if t.of(tenant) not in have
    ]
    if not new:
        return []
    for name, future in admin.create_topics(new, operation_timeout=TIMEOUT_SECONDS).items():
        try:
            future.result(TIMEOUT_SECONDS)
        except KafkaException as exc:
            if exc.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise FoundingError(f"cannot create {name}: {exc.args[0].str()}") from exc
    _await_topics(admin, [t.topic for t in new])
    return [t.topic for t in new]


def _await_topics(admin: AdminClient, names: list[str]) -> None:
    until = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < until:
        known = admin.list_topics(timeout=TIMEOUT_SECONDS).topics
        if all(n in known and known[n].partitions for n in names):
            return
        time.sleep(0.05)
    raise FoundingError("the new topics do not show in the broker's metadata")


def publish_founding(bootstrap: str, tenant: str, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    """Append the founding event. Raises FoundingError unless it lands at offset 0."""
    landed: list[int] = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "log_level": 2})
    producer.list_topics(INTAKE.of(tenant), timeout=TIMEOUT_SECONDS)  # connects: without, it asks twice a second only
    producer.produce(
        INTAKE.of(tenant),
        value,
        partition=0,
        headers=list(headers),
        on_delivery=lambda _, m: landed.append(m.offset() or 0),
    )
    if producer.flush(TIMEOUT_SECONDS) or landed != [0]:
        raise FoundingError(f"the founding event of {tenant!r} is not at offset 0 of its intake: {landed}")


def intake_is_empty(bootstrap: str, tenant: str) -> bool:
    """Whether nothing was ever appended to the tenant's intake."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "macaw.founding", "log_level": 2})
    try:
        _, high = watermarks(consumer, INTAKE.of(tenant))
    finally:
        consumer.close()
    return bool(high == 0)
