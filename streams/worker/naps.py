"""Naps: they keep an idle worker from spinning on a broker that answers empty fetches at once.

Apache Kafka delays the answer to an empty fetch until records come or its time is over. The embedded broker does not,
so the client's threads ask again and again, and client and broker take half a core. Therefore a partition that was read
to its end and has been quiet for a while is paused for moments until a record comes. Only for workers without a group.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaException, TopicPartition

QUIET_SECONDS = 0.25  # without naps after a record, so that the next record of a conversation is not delayed
NAP_SECONDS = 0.04
WAKE_SECONDS = 0.5


def wake(consumer: Consumer, resumed: TopicPartition) -> None:
    """Make the client fetch a resumed partition at once. By itself it looks for resumed partitions once a second.

    Any request to the partition's leader wakes the thread that fetches.
    """
    with contextlib.suppress(KafkaException):  # the answer is not used, and the loop reports brokers that are away
        consumer.get_watermark_offsets(resumed, timeout=WAKE_SECONDS)


class Naps:
    """The partitions of one consumer that nap. Needs `enable.partition.eof`."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._quiet_from: dict[str, float] = {}
        self._at_end: set[str] = set()
        self._napping: set[str] = set()
        self._wake_at = 0.0

    def note_record(self, topic: str) -> None:
        """Take note that a record of this topic has come."""
        self._at_end.discard(topic)
        self._quiet_from[topic] = time.monotonic() + QUIET_SECONDS

    def note_end(self, topic: str) -> None:
        """Take note that the topic was read to its end."""
        self._at_end.add(topic)

    def nap(self, timeout: float, awake: Iterable[str]) -> float:
        """Pause the quiet topics in `awake`, resume those after their nap; return the seconds to wait for a record.

        Call this before each wait. `awake` are the topics that may be read now; a topic that is paused for another
        reason must not be in it, and stays paused.
        """
        now = time.monotonic()
        reading = set(awake)
        if self._napping and now >= self._wake_at:
            woken = self._napping & reading
            self._napping.clear()
            self._consumer.resume(places := [TopicPartition(topic, 0) for topic in woken])
            if places:
                wake(self._consumer, places[0])
            return timeout  # the client reports their end once more before they may nap again
        quiet = {t for t in self._at_end & reading if now >= self._quiet_from.get(t, 0.0)}
        if not self._napping and quiet:
            self._consumer.pause([TopicPartition(topic, 0) for topic in quiet])
            self._at_end -= quiet
            self._napping = quiet
            self._wake_at = now + NAP_SECONDS
        return min(timeout, max(0.0, self._wake_at - now)) if self._napping else timeout
