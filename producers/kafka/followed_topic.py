"""A topic as one process follows it: read on to its present end again and again, and never from an older log."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from producers.home.process import OfOneProcess
from producers.home.security import Security
from producers.kafka.consuming import LogSetBackError, ReadPosition, ReadTimeoutError, read_to, take, watermarks
from schemas.errors import EvidenceError
from schemas.topics import Topic, reader_group

T = TypeVar("T")

CATCH_UP_SECONDS = 10.0
FRESH_SECONDS = 2.0  # for so long a running process may not see a revocation, or the end of a session
TAKEN_AT_ONCE = 500
# Hosts and clients are small processes: a follower waits for the broker rather than hold what it cannot read yet. A
# full queue is looked at again at once: by default no partition is fetched for a second after that. An answer of the
# broker may be larger where one batch is.
BOUNDS: Mapping[str, Any] = {
    "fetch.max.bytes": 1024 * 1024,
    "max.partition.fetch.bytes": 256 * 1024,
    "receive.message.max.bytes": 16 * 1024 * 1024,
    "queued.max.messages.kbytes": 1024,
    "fetch.queue.backoff.ms": 5,
}


class RegistryError(EvidenceError):
    """The registry or the sessions cannot be read, or the registry does not begin with the pinned genesis."""


class FollowedTopic(OfOneProcess):
    """Every partition of one topic of a tenant, followed from its first record. Thread-safe.

    `fold` gets each committed record once, in the order of its partition, while the topic is locked.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: Topic,
        tenant: str,
        fold: Callable[[Message], None],
        security: Security,
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`check` is called at each end that was reached; an error from it keeps the topic from counting as read."""
        self.name, self._fold, self._check = topic.of(tenant), fold, check
        self._lock = threading.Lock()
        self._positions = [ReadPosition(0) for _ in range(topic.partitions)]
        self.is_set_back = False  # its end lay before the position up to which it was read
        self._current_at = -math.inf  # by time.monotonic: all that was committed then has been read
        self._consumer = Consumer(
            {
                **security,
                **BOUNDS,
                "bootstrap.servers": bootstrap,
                "group.id": reader_group(tenant),
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
                "log_level": 2,
            }
        )

    def close(self) -> None:
        """End the connection."""
        if not self.is_elsewhere:
            self._consumer.close()

    def refresh(self, *, seconds: float = CATCH_UP_SECONDS) -> None:
        """Read every committed record, however many there are, as long as `seconds` never pass without one.

        Raises:
            RegistryError: the broker fails, or no record comes in time.
            LogSetBackError: the end lies before the position up to which was read.
            ForkedError: this is another process than the one that made the view.
        """
        self.check_process()
        with self._lock:
            self._guarded(self._catch_up, seconds)

    def freshen(self) -> None:
        """Refresh, unless all that was committed FRESH_SECONDS ago has been read. Raises as `refresh`."""
        if time.monotonic() - self._current_at > FRESH_SECONDS:
            self.refresh()

    def ends(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (first offset, end of the committed records) of a partition of any topic. Raises KafkaException."""
        self.check_process()
        with self._lock:
            return watermarks(self._consumer, topic, partition)

    def last_of(self, partition: int, keys: Collection[bytes], *, seconds: float) -> dict[bytes, Message]:
        """Return the last committed record of each of these keys on one partition. The whole partition is read for it.

        Raises:
            RegistryError: the broker fails, no record comes for CATCH_UP_SECONDS, or all together take too long.
            ForkedError: this is another process than the one that made the view.
        """
        self.check_process()
        with self._lock:
            return self._guarded(self._search, partition, keys, seconds)

    def _guarded(self, act: Callable[..., T], *of: Any) -> T:
        try:
            return act(*of)
        except (KafkaException, ReadTimeoutError) as exc:
            raise RegistryError(f"cannot read {self.name}: {exc}; see `macaw topic check`") from exc

    def _catch_up(self, seconds: float) -> None:
        # The time before the ends are asked for: records that are committed while we read are not promised.
        asked_at = time.monotonic()
        ends = [watermarks(self._consumer, self.name, partition)[1] for partition in range(len(self._positions))]
        for position, end in zip(self._positions, ends, strict=True):
            if end < position.offset:
                self.is_set_back = True
                # Reading on would skip the records up to here; reading anew could trust a key that was revoked.
                raise LogSetBackError(
                    f"{self.name} ends at {end} and was read to {position.offset}: the brokers came back with an "
                    "older log; connect or start again to go on with the present one"
                )
        behind = {i: end for i, end in enumerate(ends) if self._positions[i].offset < end}
        if behind:
            # Assigned only while it reads: an idle view asks the broker for nothing.
            self._consumer.assign([TopicPartition(self.name, i, self._positions[i].offset) for i in behind])
            try:
                self._read_to(behind, seconds)
            finally:
                self._consumer.unassign()
        self._check()
        self._current_at = asked_at

    def _read_to(self, ends: Mapping[int, int], seconds: float) -> None:
        until = time.monotonic() + seconds
        while any(self._positions[i].offset < end for i, end in ends.items()):
            if time.monotonic() > until:
                raise ReadTimeoutError(f"nothing came within {seconds:g} s, and its end is not reached")
            for message in take(self._consumer, TAKEN_AT_ONCE, 0.05):
                if self._positions[message.partition() or 0].note(message):
                    self._fold(message)
                    until = time.monotonic() + seconds

    def _search(self, partition: int, keys: Collection[bytes], seconds: float) -> dict[bytes, Message]:
        until, found = time.monotonic() + seconds, dict[bytes, Message]()
        low, end = watermarks(self._consumer, self.name, partition)
        place = TopicPartition(self.name, partition, low)
        for message in read_to(self._consumer, place, end, idle_seconds=CATCH_UP_SECONDS):
            key = message.key()
            if key is not None and key in keys:
                found[key] = message
            if time.monotonic() > until:
                raise ReadTimeoutError(f"partition {partition} was not read to its end within {seconds:g} s")
        return found
