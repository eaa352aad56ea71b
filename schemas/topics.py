"""The table of topics, with the consumer groups and transactional ids.

`macaw tenant create`, `macaw topic`, the access rules and docs/topics.md are made from it. A tenant is one ordered
log: its topics have one partition, except `decisions` and `results`, which are keyed and have four from founding.
Partition counts never change: every offset and every leaf names its partition.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from schemas import limits

TENANT = re.compile(r"[a-z][a-z0-9-]{1,39}")
RESERVED_TENANTS = frozenset({"ops"})
KEYED_PARTITIONS = 4
FOR_EVER = -1
HOUR = 3600 * 1000
DAYS_2 = 2 * 24 * HOUR  # a session lives at most one day; the other is for segments that are not full, and for clocks
DAYS_3 = 3 * 24 * HOUR
DAYS_30 = 30 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic of each tenant (or, with `scope="ops"`, of the operator)."""

    name: str
    holds: str
    partitions: int = 1
    retention_ms: int = DAYS_30
    compacted: bool = False
    segment_ms: int | None = None
    append_time: bool = False  # of intake, as log time; of others, to tell which records came before a rotation
    uncompressed: bool = False
    message_bytes_max: int = limits.OUTPUT_MESSAGE_BYTES_MAX
    scope: str = "tenant"
    kept_with_archive: bool = False  # once there is an archive, only `macaw archive trim` deletes from it
    writers: tuple[str, ...]
    readers: tuple[str, ...]

    def of(self, tenant: str) -> str:
        """Return the full name, `macaw.<tenant>.<name>`."""
        return f"macaw.{tenant}.{self.name}" if self.scope == "tenant" else f"macaw.ops.{self.name}"

    def beside_archive(self) -> Topic:
        """Return the topic as it must be once the tenant has an archive."""
        return replace(self, retention_ms=FOR_EVER) if self.kept_with_archive else self

    @property
    def cleanup(self) -> str:
        """The broker's cleanup policy. A compacted topic with a retention also drops keys without a recent record."""
        if not self.compacted:
            return "delete"
        return "compact" if self.retention_ms == FOR_EVER else "compact,delete"

    def config(self, replication: int = 1) -> dict[str, str]:
        """Return every broker setting that the topic depends on, so that no default of the cluster applies."""
        return {
            # With compression `max.message.bytes` counts compressed bytes; a reader may have to inflate 3 KB to 95 MB.
            **({"compression.type": "uncompressed"} if self.uncompressed else {}),
            # Kafka compacts and drops whole segments only, and not the one that is written: by default a week old.
            **({"segment.ms": str(self.segment_ms)} if self.segment_ms is not None else {}),
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            # A bound by size, as a cluster may have by default, would cut off the audit log and the registry.
            "retention.bytes": str(FOR_EVER),
            "max.message.bytes": str(self.message_bytes_max),
            "message.timestamp.type": "LogAppendTime" if self.append_time else "CreateTime",
            "min.insync.replicas": str(insync_replicas_min(replication)),
            # A lagging replica that becomes leader would lose acknowledged records.
            "unclean.leader.election.enable": "false",
        }


def insync_replicas_min(replication: int) -> int:
    """Return how many replicas must hold a record before it is acknowledged: a majority. Requires replication >= 1."""
    return replication // 2 + 1


TENANT_ROLES = ("agent", "tool", "approver", "admin", "bridge", "verifier", "signer", "exporter")
OPERATOR_ROLES = ("operator", "monitor", "views")
_SIGNERS = ("agent", "tool", "approver", "admin", "bridge", "verifier", "monitor")

INTAKE = Topic(
    name="intake", holds="signed events, in the one order that counts", append_time=True, uncompressed=True,
    kept_with_archive=True,
    message_bytes_max=limits.INTAKE_MESSAGE_BYTES_MAX, writers=_SIGNERS, readers=("monitor", "exporter"),
)  # fmt: skip
DECISIONS = Topic(
    name="decisions", holds="one decision a call; payload sealed to the tool, of a waiting call to verifiers",
    partitions=KEYED_PARTITIONS, append_time=True, writers=("monitor",),
    readers=("tool", "verifier", "exporter", "views"),
)  # fmt: skip
RESULTS = Topic(
    name="results", holds="answers to signers; payload sealed to the caller, of a result to its verifiers too",
    partitions=KEYED_PARTITIONS,
    append_time=True, writers=("monitor",),
    readers=("agent", "tool", "approver", "admin", "bridge", "verifier", "exporter"),
)  # fmt: skip
AUDIT = Topic(
    name="audit", holds="the hash-chained log", retention_ms=FOR_EVER, append_time=True,
    writers=("monitor",), readers=("monitor", "signer", "exporter", "agent", "tool", "approver", "admin", "verifier"),
)  # fmt: skip
REGISTRY = Topic(
    name="registry", holds="the signed event behind each principal and key", retention_ms=FOR_EVER, append_time=True,
    compacted=True, writers=("monitor",),
    readers=("monitor", "agent", "tool", "approver", "admin", "bridge", "verifier", "signer", "exporter"),
)  # fmt: skip
SESSIONS = Topic(
    name="sessions", holds="the signed event behind each open session, and behind its end", retention_ms=DAYS_2,
    compacted=True, segment_ms=HOUR, append_time=True, partitions=KEYED_PARTITIONS, writers=("monitor",),
    readers=("tool", "admin", "exporter"),
)  # fmt: skip
BODIES = Topic(
    name="bodies", holds="sealed chunks of large bodies", partitions=KEYED_PARTITIONS, retention_ms=DAYS_3,
    append_time=True,  # readers begin by time, and a sender's own would let it move them, or keep a record for ever
    uncompressed=True,  # as logins
    message_bytes_max=limits.BODY_MESSAGE_BYTES_MAX,
    writers=("agent", "tool"), readers=("agent", "tool"),
)  # fmt: skip
LOGINS = Topic(
    name="logins", holds="logins, each sealed to one bridge", retention_ms=HOUR, segment_ms=HOUR,
    uncompressed=True,  # or one record of any client, inflated beyond what a bridge reads, would stop every login
    message_bytes_max=limits.LOGIN_MESSAGE_BYTES_MAX,
    writers=("agent", "tool", "approver", "admin"), readers=("bridge",),
)  # fmt: skip
LOGIN_ANSWERS = Topic(
    name="login-answers", holds="a bridge's answers, each sealed to the session that was asked for",
    partitions=KEYED_PARTITIONS, retention_ms=HOUR, segment_ms=HOUR, uncompressed=True,
    message_bytes_max=limits.LOGIN_MESSAGE_BYTES_MAX,
    writers=("bridge",), readers=("agent", "tool", "approver", "admin"),
)  # fmt: skip
STATE = Topic(
    name="state", holds="changelog of the fold's tables: a cache, never evidence", retention_ms=FOR_EVER,
    compacted=True, writers=("monitor",), readers=("monitor",),
)  # fmt: skip
DEAD_LETTERS = Topic(
    name="dead-letters", holds="bytes that could not be decoded, with the reason",
    writers=("monitor",), readers=("admin", "exporter"),
)  # fmt: skip
OPS_SESSIONS = Topic(
    name="sessions", holds="session rows of every tenant, for the views", scope="ops", compacted=True,
    partitions=KEYED_PARTITIONS,
    retention_ms=DAYS_3, writers=("monitor",), readers=("views",),
)  # fmt: skip
OPS_SESSIONS_CHANGELOG = Topic(
    name="sessions-changelog", holds="changelog of the views' table: a cache, never evidence", scope="ops",
    compacted=True, partitions=KEYED_PARTITIONS,
    retention_ms=FOR_EVER, writers=("views",), readers=("views",),
)  # fmt: skip
OPS_ATTESTATIONS = Topic(
    name="attestations", holds="attestations, requests and grants of every tenant, for the views", scope="ops",
    compacted=True, partitions=KEYED_PARTITIONS, retention_ms=FOR_EVER, writers=("monitor",), readers=("views",),
)  # fmt: skip
OPS_CONTEXT = Topic(
    name="context", holds="keys of every vault, never values, for the views", scope="ops", compacted=True,
    partitions=KEYED_PARTITIONS, retention_ms=FOR_EVER, writers=("monitor",), readers=("views",),
)  # fmt: skip
OPS_DELEGATIONS = Topic(
    name="delegations", holds="delegations of every tenant, for the views", scope="ops", compacted=True,
    partitions=KEYED_PARTITIONS, retention_ms=FOR_EVER, writers=("monitor",), readers=("views",),
)  # fmt: skip
OPS_ATTESTATIONS_CHANGELOG, OPS_CONTEXT_CHANGELOG, OPS_DELEGATIONS_CHANGELOG = (
    replace(OPS_SESSIONS_CHANGELOG, name=f"{source.name}-changelog")
    for source in (OPS_ATTESTATIONS, OPS_CONTEXT, OPS_DELEGATIONS)
)

TENANT_TOPICS = (
    INTAKE,
    DECISIONS,
    RESULTS,
    AUDIT,
    REGISTRY,
    SESSIONS,
    BODIES,
    LOGINS,
    LOGIN_ANSWERS,
    STATE,
    DEAD_LETTERS,
)
OPS_TOPICS = (
    OPS_SESSIONS,
    OPS_SESSIONS_CHANGELOG,
    OPS_ATTESTATIONS,
    OPS_ATTESTATIONS_CHANGELOG,
    OPS_CONTEXT,
    OPS_CONTEXT_CHANGELOG,
    OPS_DELEGATIONS,
    OPS_DELEGATIONS_CHANGELOG,
)
ALL_TOPICS_PREFIX = "macaw."
INTAKE_PATTERN = r"^macaw\.[a-z][a-z0-9-]{1,39}\.intake$"


def is_tenant_id(name: str) -> bool:
    """Return True if `name` may name a tenant: `[a-z][a-z0-9-]{1,39}` and not reserved."""
    return TENANT.fullmatch(name) is not None and name not in RESERVED_TENANTS


def tenant_of(topic: str) -> str:
    """Return the tenant in a full topic name. Raises ValueError for any other name."""
    parts = topic.split(".")
    if len(parts) != 3 or parts[0] != "macaw" or not is_tenant_id(parts[1]):
        raise ValueError(f"{topic!r} is not a topic of a tenant; want macaw.TENANT.NAME")
    return parts[1]


def named_key(kind: str, digest: bytes) -> bytes:
    """Return the key of a record on `registry` or `sessions`: `kind/hex`."""
    return f"{kind}/{digest.hex()}".encode()


def keyed_partition(key: bytes) -> int:
    """Return the partition of a keyed record. The signed leaf covers it, so a producer must not choose another."""
    return key[-1] % KEYED_PARTITIONS


# Consumer groups and transactional ids. Only a monitor and the instances of a tool commit offsets of a tenant.
MONITOR_GROUP = "macaw.monitor"
MONITOR_TRANSACTIONS_PREFIX = f"{MONITOR_GROUP}."  # the prefix of the ids of each worker's lanes
VIEWS_GROUP_PREFIX = "macaw-views-"  # each process is a group of its own, with a new name at every start


def tool_group(tenant: str, tool: str) -> str:
    """Return the consumer group that all instances of one tool share."""
    return f"macaw.{tenant}.tool.{tool}"


def reader_group(tenant: str) -> str:
    """Return the group id of plain readers: no consumer joins it, and no offset is committed under it.

    A reader needs an id all the same, because the client library looks its group up before it reads.
    """
    return f"macaw.{tenant}.reader"


def export_groups(tenant: str) -> str:
    """Return the prefix of the group ids with which foreign tools read a tenant's topics.

    Kafka Connect, kafkajs or a console consumer joins a group and commits to it; each gets an id of its own under this
    prefix. No group of another tenant has the prefix: a tenant id holds no dot.
    """
    return f"macaw.{tenant}.export."
