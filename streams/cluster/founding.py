"""Founding a tenant: its topics, and its first event at offset 0 of intake."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer

from producers.home.security import UNSECURED, Security
from producers.kafka.consuming import watermarks
from schemas.errors import InstallationError
from schemas.topics import INTAKE, reader_group
from streams.cluster.topics import TOPICS, Key, TopicPlan, TopicsError, open_admin

TIMEOUT_SECONDS = 15.0


class FoundingError(InstallationError):
    """A topic could not be created, or the founding event is not at offset 0."""


def create_topics(
    bootstrap: str,
    tenant: str,
    *,
    replication: int = 1,
    security: Security = UNSECURED,
    verified: int | None = None,
) -> list[str]:
    """Create the missing topics of the tenant and of the operator; return the names of the created ones.

    `verified` is 0 for a tenant that is to be archived, else None. Settings of existing topics stay as they are;
    `macaw topic check` shows where they differ.

    Raises:
        FoundingError: a topic exists with another number of partitions, or cannot be created.
    """
    with open_admin(bootstrap, security) as admin:
        try:
            # Without settings: a founder on topics that an operator created may not be allowed to see them.
            plan = _checked(TopicPlan.read(admin, tenant, replication=replication, settings=False, verified=verified))
            made = plan.create(admin)
            if len(made) < len(TOPICS) - len(plan.found):  # another process created some, perhaps with other counts
                _checked(TopicPlan.read(admin, tenant, replication=replication, settings=False, verified=verified))
        except TopicsError as exc:
            raise FoundingError(str(exc)) from exc
    return made


def _checked(plan: TopicPlan) -> TopicPlan:
    for drift in plan.drift:
        if drift.key == Key.PARTITIONS:
            raise FoundingError(
                f"topic {drift.resource} has {drift.found} partitions and must have {drift.wanted}: delete the topic "
                "if it is empty, and run the command again"
            )
    return plan


def publish_founding(
    bootstrap: str, tenant: str, value: bytes, headers: list[tuple[str, bytes]], *, security: Security = UNSECURED
) -> None:
    """Append the founding event. Raises FoundingError unless it lands at offset 0."""
    landed: list[int | str] = []
    producer = Producer(
        {**security, "bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "log_level": 2}
    )
    producer.list_topics(INTAKE.of(tenant), timeout=TIMEOUT_SECONDS)  # connects now; by itself it tries twice a second
    producer.produce(
        INTAKE.of(tenant),
        value,
        partition=0,
        headers=list(headers),
        on_delivery=lambda error, m: landed.append(error.str() if error else m.offset() or 0),
    )
    if producer.flush(TIMEOUT_SECONDS) or landed != [0]:
        raise FoundingError(
            f"the founding event of {tenant!r} is not at offset 0 of {INTAKE.of(tenant)}, the brokers answered "
            f"{landed}: found the tenant on an empty topic"
        )


def intake_is_empty(bootstrap: str, tenant: str, *, security: Security = UNSECURED) -> bool:
    """True if no record was ever appended to the tenant's intake."""
    consumer = Consumer({**security, "bootstrap.servers": bootstrap, "group.id": reader_group(tenant), "log_level": 2})
    try:
        _, high = watermarks(consumer, INTAKE.of(tenant))
    finally:
        consumer.close()
    return bool(high == 0)
