"""How a worker reaches its brokers: the settings of its consumer and of its transactional producers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from producers.kafka.consuming import FETCH_BOUNDS
from schemas import limits, topics

FETCH_OVERHEAD_BYTES = 4096  # of a batch around its records, with room
LANES = 4  # transactions that one worker may have under way, each of another tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How a worker reaches its brokers, and which intakes its group serves.

    `assigned` lists topics where no group can be relied on (embedded broker).
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
            # An appended signed event is a fact; nobody writes intake in a transaction, and an intruder's open
            # transaction would stall a read_committed reader.
            "isolation.level": "read_uncommitted",
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.partition.eof": self.assigned is not None,  # for `streams.worker.naps`
            "topic.metadata.refresh.interval.ms": 5000,
            "session.timeout.ms": self.session_timeout_ms,
            "fetch.wait.max.ms": 100,
            # All partitions share one queue, and while it is full nothing is fetched of any: asked again soon, a flood
            # of one tenant does not keep the others waiting for the client's usual second.
            "queued.min.messages": 2000,
            "fetch.queue.backoff.ms": 5,
            # A batch that is larger is sent only to who asks for nothing else: a partition would wait for the others'.
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
            # A transaction is bounded by what the step makes of its records; a second bound would only break it:
            # one revocation may end 10,000 sessions.
            "queue.buffering.max.messages": 0,
            "log_level": 2,
        }
