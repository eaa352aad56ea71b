"""Naps: what keeps an idle worker from spinning on a broker that answers empty fetches at once.

Apache Kafka holds an empty fetch until records come or its time is over; the embedded broker does not, so the client's
own threads ask it again and again, and both take half a core. A partition that is read to its end and has been quiet
for a while is therefore paused for a moment, again and again, until a record comes. Only for workers without a group.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaException, TopicPartition

QUIET_SECONDS = 0.25  # after a record another one may follow soon: a conversation is not slowed down
NAP_SECONDS = 0.04
WAKE_SECONDS = 0.5


def wake(consumer: Consumer, resumed: TopicPartition) -> None:
    """Let the client fetch at once what was just resumed: by itself it looks around once a second.

    Any question to the leader wakes the thread that fetches.
    """
    with contextlib.suppress(KafkaException):  # the answer is of no use, and that there is none is told elsewhere
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
        """A record of this topic has come."""
        self._at_end.discard(topic)
        self._quiet_from[topic] = time.monotonic() + QUIET_SECONDS

    def note_end(self, topic: str) -> None:
        """The topic was read to its end."""
        self._at_end.add(topic)

    def nap(self, timeout: float, awake: Iterable[str]) -> float:
        """Let quiet partitions among `awake` nap, wake those whose nap is over; return how long to wait for a record.

        Call before each wait. `awake` are the topics that are read now: what is paused for another reason stays so.
        """
        now = time.monotonic()
        reading = set(awake)
        if self._napping and now >= self._wake_at:
            woken = self._napping & reading
            self._napping.clear()
            self._consumer.resume(places := [TopicPartition(topic, 0) for topic in woken])
            if places:
                wake(self._consumer, places[0])
            return timeout  # the end is told again, once, before they may nap again
        quiet = {t for t in self._at_end & reading if now >= self._quiet_from.get(t, 0.0)}
        if not self._napping and quiet:
            self._consumer.pause([TopicPartition(topic, 0) for topic in quiet])
            self._at_end -= quiet
            self._napping = quiet
            self._wake_at = now + NAP_SECONDS
        return min(timeout, max(0.0, self._wake_at - now)) if self._napping else timeout
