"""What a running broker is and can do, and the errors of finding and starting one.

No process is started here. The tree of errors:

    BrokerError
    ├── BrokerUnavailableError   there is no such broker on this machine
    │   └── KafkaJarsError       the jars of Apache Kafka could not be had
    ├── BrokerStartError         it was started, or named, and does not answer
    ├── BrokerBusyError          another process holds the data directory
    └── UncleanStopError         the embedded broker was not stopped; its last records may be lost
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, Self

from schemas.errors import UnavailableError


class BrokerKind(StrEnum):
    """Where a broker comes from."""

    ENVIRONMENT = "environment"  # somebody else runs it and named it
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
"""A compacted topic does lose its old values, not only keep the setting."""
TOPIC_IDS: Final = "topic-ids"
"""A topic that is deleted and made again has another id."""

APACHE_KAFKA: Final = frozenset(
    {GENERATION_FENCING, TRANSACTION_TIMEOUT, GROUP_FAILOVER, DURABLE, COMPACTION, TOPIC_IDS}
)
"""All of the above. The guarantees of this project are claimed for brokers that have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerInfo:
    """A broker that has answered; `version` is its maker's, or "unknown"."""

    bootstrap: str
    kind: BrokerKind
    version: str
    capabilities: frozenset[str]

    @property
    def is_real(self) -> bool:
        """Say whether a test that needs Apache Kafka means something on this broker."""
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
    """A broker for the length of a `with` block; stopping one that does not run is allowed."""

    @property
    def info(self) -> BrokerInfo: ...

    def start(self) -> BrokerInfo: ...

    def stop(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class BrokerError(UnavailableError):
    """A broker is not there or does not work; the message ends with what to do next."""


class BrokerUnavailableError(BrokerError):
    """A broker of this kind cannot be started on this machine."""


class KafkaJarsError(BrokerUnavailableError):
    """The jars of Apache Kafka are not cached and could not be fetched."""


class BrokerStartError(BrokerError):
    """The broker ended or stayed silent before its first answer."""


class BrokerBusyError(BrokerError):
    """Another broker, perhaps one whose starter died, uses the data directory."""


class UncleanStopError(BrokerError):
    """The embedded broker was not stopped last time, so acknowledged records may be missing."""
