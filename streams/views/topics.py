"""The topics of the views, created before a views process starts: no topic is created by a first write."""

from __future__ import annotations

import time
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from producers.home.security import UNSECURED, Security
from schemas.errors import InstallationError
from schemas.topics import OPS_TOPICS

TIMEOUT_SECONDS = 15.0


class ViewTopicsError(InstallationError):
    """A topic of the views has another number of partitions, or cannot be created."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewTopic:
    """A topic that the views read or write."""

    name: str
    partitions: int
    config: dict[str, str]


def view_topics(replication: int = 1) -> tuple[ViewTopic, ...]:
    """Return the source of each table and its changelog. Faust requires equal partition counts."""
    return tuple(
        ViewTopic(name=topic.of(""), partitions=topic.partitions, config=topic.config(replication))
        for topic in OPS_TOPICS
    )


def create_view_topics(bootstrap: str, *, replication: int = 1, security: Security = UNSECURED) -> list[str]:
    """Create the missing topics and return their names; existing ones are only checked.

    Raises:
        ViewTopicsError: a topic has another number of partitions or cannot be created, or the brokers do not answer.
    """
    with AdminClient({**security, "bootstrap.servers": bootstrap, "log_level": 3}) as admin:
        try:
            have = _partitions(admin)
            missing = [t for t in view_topics(replication) if t.name not in have]
            if missing:
                _create(admin, missing, replication)
                have = _await(admin, [t.name for t in missing])
        except KafkaException as exc:
            raise ViewTopicsError(f"the topics of the views could not be created: {exc.args[0].str()}") from exc
    for topic in view_topics():
        if have[topic.name] != topic.partitions:
            raise ViewTopicsError(
                f"topic {topic.name} has {have[topic.name]} partitions and must have {topic.partitions}: delete the "
                "topic if it is empty, and start the views again"
            )
    return [t.name for t in missing]


def _create(admin: AdminClient, missing: list[ViewTopic], replication: int) -> None:
    new = [
        NewTopic(t.name, num_partitions=t.partitions, replication_factor=replication, config=t.config) for t in missing
    ]
    for future in admin.create_topics(new, operation_timeout=TIMEOUT_SECONDS).values():
        try:
            future.result(TIMEOUT_SECONDS)
        except KafkaException as exc:
            # Another views process, or the founding of a tenant, has created it meanwhile.
            if exc.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise


def _partitions(admin: AdminClient) -> dict[str, int]:
    topics = admin.list_topics(timeout=TIMEOUT_SECONDS).topics
    return {name: len(topic.partitions) for name, topic in topics.items() if topic.partitions}


def _await(admin: AdminClient, names: list[str]) -> dict[str, int]:
    until = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < until:
        have = _partitions(admin)
        if all(name in have for name in names):
            return have
        time.sleep(0.05)
    raise ViewTopicsError(f"the brokers did not list {', '.join(names)} after their creation: start the views again")
