"""The settings of a worker's Kafka clients: its consumers, and its transactional producers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from producers.kafka.consuming import FETCH_BOUNDS
from schemas import limits, topics

FETCH_OVERHEAD_BYTES = 4096  # of a batch beside its records; generous
LANES = 4  # transactions that one worker may have under way at once, each of another tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """The brokers of a worker, its group, and the intakes that it serves.

    `pattern` is the subscription. With `assigned`, which lists topics, the worker takes these without a group: the
    embedded broker's groups are not reliable.
    """

    bootstrap: str
    security: Mapping[str, str] = field(default_factory=dict)
    pattern: str = topics.INTAKE_PATTERN
    group: str = topics.MONITOR_GROUP
    transactional_id: str
    assigned: Callable[[], Iterable[str]] | None = None
    session_timeout_ms: int = 10_000
    lanes: int = LANES

    def admin(self) -> dict[str, Any]:
        return {**self.security, "bootstrap.servers": self.bootstrap, "log_level": 2}

    def consumer(self) -> dict[str, Any]:
        return {
            **self.security,
            "bootstrap.servers": self.bootstrap,
            "group.id": self.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "check.crcs": True,
            "log_level": 2,
            **FETCH_BOUNDS,
        }

    def intake(self) -> dict[str, Any]:
        return {
            **self.consumer(),
            # Senders write intake without transactions, and an intruder's open transaction would stall a
            # read_committed reader.
            "isolation.level": "read_uncommitted",
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.partition.eof": self.assigned is not None,  # for `streams.worker.naps`
            "topic.metadata.refresh.interval.ms": 5000,
            "session.timeout.ms": self.session_timeout_ms,
            "fetch.wait.max.ms": 100,
            # All partitions share one queue, and while it is full the client fetches nothing. With a short back-off
            # one busy tenant does not delay the others by the client's usual second.
            "queued.min.messages": 2000,
            "fetch.queue.backoff.ms": 5,
            # A broker sends a larger batch only in an answer of its own, and its partition would wait for the others.
            "max.partition.fetch.bytes": limits.INTAKE_MESSAGE_BYTES_MAX + FETCH_OVERHEAD_BYTES,
        }

    def producer(self, lane: int = 0) -> dict[str, Any]:
        return {
            **self.security,
            "bootstrap.servers": self.bootstrap,
            "transactional.id": f"{self.transactional_id}.{lane}",
            "transaction.timeout.ms": limits.TRANSACTION_TIMEOUT_MS,
            "retry.backoff.ms": 1,
            "linger.ms": 0,
            "compression.type": "none",
            "message.max.bytes": limits.OUTPUT_MESSAGE_BYTES_MAX,
            # The batch bounds a transaction already. A second bound here would break valid ones: one revocation may
            # end 10,000 sessions.
            "queue.buffering.max.messages": 0,
            "log_level": 2,
        }
