"""A running broker's kind, version and capabilities, and the errors of finding and starting one.

This module starts no process. The tree of errors:

    BrokerError
    ├── BrokerUnavailableError   this machine has no broker of this kind
    │   └── KafkaJarsError       there is no Java, or the jars of Apache Kafka could not be fetched
    ├── BrokerStartError         it was started, or named, and does not answer
    ├── BrokerBusyError          another process holds the data directory
    └── UncleanStopError         the embedded broker was not stopped; its last records may be lost
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, Self

from schemas.errors import UnavailableError


class BrokerKind(StrEnum):
    """The origin of a broker."""

    ENVIRONMENT = "environment"  # it runs already, and MACAW_BOOTSTRAP_SERVERS names it
    KAFKA = "kafka"  # Apache Kafka on a local Java
    EMBEDDED = "embedded"  # a small program that speaks Kafka's protocol


GENERATION_FENCING: Final = "generation-fencing"
"""A group member of an old generation cannot commit offsets in a transaction (KIP-447)."""
TRANSACTION_TIMEOUT: Final = "transaction-timeout"
"""The broker aborts a transaction that its producer leaves open."""
GROUP_FAILOVER: Final = "group-failover"
"""The partitions of a killed group member go to another after the session timeout."""
DURABLE: Final = "durable"
"""An acknowledged record outlives the broker's process."""
COMPACTION: Final = "compaction"
"""A compacted topic really loses its old values; the broker does more than store the setting."""
TOPIC_IDS: Final = "topic-ids"
"""A topic that is deleted and created again has another id."""

APACHE_KAFKA: Final = frozenset(
    {GENERATION_FENCING, TRANSACTION_TIMEOUT, GROUP_FAILOVER, DURABLE, COMPACTION, TOPIC_IDS}
)
"""All of the above. The guarantees of this project are claimed for brokers that have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerInfo:
    """A broker that has answered. `version` is the version of its program, or "unknown"."""

    bootstrap: str
    kind: BrokerKind
    version: str
    capabilities: frozenset[str]

    @property
    def is_real(self) -> bool:
        """True if the broker has every capability of Apache Kafka, so that its guarantees can be tested."""
        return self.capabilities >= APACHE_KAFKA

    def __str__(self) -> str:
        match self.kind:
            case BrokerKind.ENVIRONMENT:
                return f"{self.bootstrap} (environment)"
            case BrokerKind.KAFKA:
                return f"Apache Kafka {self.version} (jars)"
            case BrokerKind.EMBEDDED:
                return f"noida-db {self.version} (embedded)"


class Broker(Protocol):
    """A broker for the length of a `with` block. `stop` is allowed if it does not run."""

    @property
    def info(self) -> BrokerInfo: ...

    def start(self) -> BrokerInfo: ...

    def stop(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class BrokerError(UnavailableError):
    """A broker is missing or does not work; the message ends with the next step."""


class BrokerUnavailableError(BrokerError):
    """A broker of this kind cannot be started on this machine."""


class KafkaJarsError(BrokerUnavailableError):
    """There is no Java, or the jars of Apache Kafka are not cached and could not be fetched."""


class BrokerStartError(BrokerError):
    """The broker ended or stayed silent before its first answer."""


class BrokerBusyError(BrokerError):
    """Another broker uses the data directory, perhaps one left over from a process that died."""


class UncleanStopError(BrokerError):
    """The embedded broker was not stopped last time, so acknowledged records may be missing."""
