"""How a worker reaches its brokers: the settings of its consumer and of its transactional producers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas import limits, topics

LANES = 4  # transactions that one worker may have under way, each of another tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How a worker reaches its brokers, and which intakes its group serves.

    `assigned` lists topics where no group can be relied on (embedded broker).
    """

    bootstrap: str
    security: Mapping[str, str] = field(default_factory=dict)
    pattern: str = topics.INTAKE_PATTERN
    group: str = "macaw.monitor"
    transactional_id: str
    assigned: Callable[[], Iterable[str]] | None = None
    session_timeout_ms: int = 10_000
    lanes: int = LANES

    def consumer(self) -> dict[str, Any]:
        return {
            **self.security,
            "bootstrap.servers": self.bootstrap,
            "group.id": self.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "check.crcs": True,
            "log_level": 2,
        }

    def intake(self) -> dict[str, Any]:
        return {
            **self.consumer(),
            # An appended signed event is a fact; nobody writes intake in a transaction, and an intruder's open
            # transaction would stall a read_committed reader.
            "isolation.level": "read_uncommitted",
            "partition.assignment.strategy": "cooperative-sticky",
            "topic.metadata.refresh.interval.ms": 5000,
            "session.timeout.ms": self.session_timeout_ms,
            "fetch.wait.max.ms": 100,
            # What is fetched of one tenant stands before the next one's records, so it is little.
            "queued.min.messages": 500,
            "max.partition.fetch.bytes": 512 * 1024,
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
            # A transaction is bounded by what the step makes of its records; a second bound would only break it:
            # one revocation may end 10,000 sessions.
            "queue.buffering.max.messages": 0,
            "log_level": 2,
        }
