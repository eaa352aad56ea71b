"""The topics of a tenant: the wanted ones of `schemas.topics` beside those of a cluster.

Comparing is pure; reading and correcting ask the brokers. Correcting creates missing topics and sets settings. It
deletes nothing. It refuses a topic with another partition count, because signatures cover partition numbers, and one
with another number of replicas, because Kafka's own tools move replicas. It leaves the settings of a refused topic
alone too: `min.insync.replicas=2` on a topic with one replica would stop every writer.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource  # typed only there
from confluent_kafka.cimpl import NewTopic

from producers.home.security import UNSECURED, Security
from schemas.errors import InstallationError
from schemas.topics import OPS_TOPICS, TENANT_TOPICS, Topic

ASK_SECONDS = 15.0
WAIT_SECONDS = ASK_SECONDS + 5  # the library itself gives up after ASK_SECONDS
SAID_CHARS_MAX = 300
MISSING = "missing"
RETENTION_BELOW_ARCHIVE = "RETENTION_BELOW_ARCHIVE"
_DELETING = frozenset({"retention.ms", "retention.bytes", "cleanup.policy"})
TOPICS: tuple[Topic, ...] = (*TENANT_TOPICS, *OPS_TOPICS)


class TopicsError(InstallationError):
    """The brokers do not show, create or alter a topic; the message names it."""


class Remedy(enum.StrEnum):
    """The action of `macaw topic apply` for a drift."""

    CREATE = "create"
    ALTER = "alter"
    REFUSE = "refuse"


class Key(enum.StrEnum):
    """The property of a topic that differs, if it is not a setting."""

    TOPIC = "topic"
    PARTITIONS = "partitions"
    REPLICATION = "replication"


_WHY: Mapping[str, str] = {
    Key.PARTITIONS: "a partition count cannot change: every offset and every signature names its partition",
    Key.REPLICATION: "move replicas with kafka-reassign-partitions",
}
_WHY_SETTING = "not set while the partitions or replicas of the topic differ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One difference between the wanted state and the cluster. `why` is the reason if the remedy is REFUSE."""

    resource: str
    key: str
    wanted: str
    found: str
    remedy: Remedy
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTopic:
    """A topic of the cluster. `config` is None if its settings were not asked for."""

    partitions: int
    replication: int  # of the partition that has the fewest
    config: Mapping[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """The topics of one tenant and of the operator: `found` on the cluster, to compare with the table."""

    tenant: str
    replication: int
    found: Mapping[str, FoundTopic]
    verified: int | None = None

    @classmethod
    def read(
        cls,
        admin: AdminClient,
        tenant: str,
        *,
        replication: int,
        settings: bool = True,
        verified: int | None = None,
    ) -> TopicPlan:
        """Return the plan for a tenant. Without `settings`, only topics and partitions are read.

        `verified` is the intake offset below which the tenant's archive was verified, None if it has no archive.

        Raises:
            TopicsError: the cluster does not answer, or does not show a setting to this principal.
        """
        wanted = {topic.of(tenant) for topic in TOPICS}
        have = {name: topic for name, topic in _listed(admin).items() if name in wanted}
        configs = _configs(admin, have) if settings else {}
        return cls(
            tenant=tenant,
            replication=replication,
            verified=verified,
            found={
                name: FoundTopic(
                    partitions=len(topic.partitions),
                    replication=min((len(p.replicas) for p in topic.partitions.values()), default=0),
                    config=configs.get(name),
                )
                for name, topic in have.items()
            },
        )

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The wanted topics, in the order of the table."""
        return TOPICS if self.verified is None else tuple(topic.beside_archive() for topic in TOPICS)

    @property
    def drift(self) -> tuple[Drift, ...]:
        """Every difference, in the order of the table."""
        return tuple(d for topic in self.topics for d in self._drift_of(topic))

    @property
    def refusals(self) -> tuple[str, ...]:
        """The settings that delete records which are not archived and verified, each as a sentence for the operator."""
        return tuple(
            f"{RETENTION_BELOW_ARCHIVE}: {d.resource} has {d.key}={d.found}, and the brokers delete by it, also from "
            f"offset {self.verified} on, which is not archived and verified: run `macaw topic apply`, which sets "
            f"{d.wanted}, and `macaw archive trim` to delete what is"
            for d in self.drift
            if d.key in _DELETING and self._is_kept(d.resource)
        )

    def _is_kept(self, name: str) -> bool:
        """Return True if nothing but a trim may delete from a topic."""
        return self.verified is not None and any(t.kept_with_archive and t.of(self.tenant) == name for t in TOPICS)

    def _drift_of(self, topic: Topic) -> list[Drift]:
        name = topic.of(self.tenant)
        found = self.found.get(name)
        if found is None:
            return [Drift(resource=name, key=Key.TOPIC, wanted="present", found=MISSING, remedy=Remedy.CREATE)]
        counts = (
            (Key.PARTITIONS, topic.partitions, found.partitions),
            (Key.REPLICATION, self.replication, found.replication),
        )
        drift = [
            Drift(resource=name, key=key, wanted=str(want), found=str(have), remedy=Remedy.REFUSE, why=_WHY[key])
            for key, want, have in counts
            if want != have
        ]
        if found.config is None:
            return drift
        remedy, why = (Remedy.REFUSE, _WHY_SETTING) if drift else (Remedy.ALTER, "")
        return drift + [
            Drift(resource=name, key=key, wanted=want, found=found.config.get(key, MISSING), remedy=remedy, why=why)
            for key, want in topic.config(self.replication).items()
            if found.config.get(key) != want
        ]

    def create(self, admin: AdminClient) -> list[str]:
        """Create the missing topics, wait until the brokers list them, and return the names of the created ones.

        A topic that another process created meanwhile is not among them, and may differ from the table.

        Raises:
            TopicsError: a topic cannot be created.
        """
        new = [
            NewTopic(
                topic.of(self.tenant),
                num_partitions=topic.partitions,
                replication_factor=self.replication,
                config=topic.config(self.replication),
            )
            for topic in self.topics
            if topic.of(self.tenant) not in self.found
        ]
        if not new:
            return []
        made = []
        for name, future in admin.create_topics(new, operation_timeout=ASK_SECONDS).items():
            if _is_done(future, f"cannot create {name}", unless="TOPIC_ALREADY_EXISTS"):
                made.append(name)
        _await_topics(admin, [topic.topic for topic in new])
        return made

    def alter(self, admin: AdminClient) -> list[Drift]:
        """Set the settings that differ, topic by topic, and return them.

        Raises:
            TopicsError: the brokers refuse the settings of a topic.
        """
        todo: dict[str, list[Drift]] = {}
        for drift in self.drift:
            if drift.remedy is Remedy.ALTER:
                todo.setdefault(drift.resource, []).append(drift)
        for name, drifts in todo.items():
            entries = [ConfigEntry(d.key, d.wanted, incremental_operation=AlterConfigOpType.SET) for d in drifts]
            resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
            [future] = admin.incremental_alter_configs([resource], request_timeout=ASK_SECONDS).values()
            _is_done(future, f"cannot alter {name}")
        return [drift for drifts in todo.values() for drift in drifts]


def open_admin(bootstrap: str, security: Security = UNSECURED) -> AdminClient:
    """Return a quiet client for the topics and access rules of a cluster; a context manager."""
    return AdminClient({**security, "bootstrap.servers": bootstrap, "log_level": 2})


def said(exc: KafkaException) -> str:
    """Return the brokers' error text, shortened. For a refusal only its name: its text may dump the request."""
    error = exc.args[0]
    return str(error.name() if "AUTHORIZATION" in error.name() else error.str()[:SAID_CHARS_MAX])


def _listed(admin: AdminClient) -> dict[str, Any]:
    try:
        return {name: t for name, t in admin.list_topics(timeout=ASK_SECONDS).topics.items() if t.partitions}
    except KafkaException as exc:
        raise TopicsError(f"the brokers do not list their topics: {said(exc)}") from exc


def _configs(admin: AdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the settings of each topic, the cluster's defaults included."""
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    if not resources:
        return {}
    asked = admin.describe_configs(resources, request_timeout=ASK_SECONDS)
    return {
        resource.name: {
            key: entry.value or ""
            for key, entry in answered(future, f"the brokers do not show the settings of {resource.name}").items()
        }
        for resource, future in asked.items()
    }


def _is_done(future: Future[Any], what: str, *, unless: str = "") -> bool:
    """Return True if the request succeeded, False for the error named `unless`. Raises TopicsError for others."""
    try:
        answered(future, what)
    except TopicsError as exc:
        cause = exc.__cause__
        if isinstance(cause, KafkaException) and cause.args[0].name() == unless:
            return False
        raise
    return True


def answered(future: Future[Any], what: str, error: type[InstallationError] = TopicsError) -> Any:
    """Return the brokers' answer to a request. Raises `error`: `what` and the cause."""
    try:
        return future.result(WAIT_SECONDS)
    except KafkaException as exc:
        raise error(f"{what}: {said(exc)}") from exc
    except FutureTimeoutError as exc:
        raise error(f"{what}: no answer within {WAIT_SECONDS:g} s") from exc


def _await_topics(admin: AdminClient, names: list[str]) -> None:
    until = time.monotonic() + ASK_SECONDS
    while time.monotonic() < until:
        known = _listed(admin)
        if all(name in known for name in names):
            return
        time.sleep(0.05)
    raise TopicsError(
        f"the brokers did not list {', '.join(names)} within {ASK_SECONDS:g} s of their creation: run the command again"
    )
