r"""The intakes that a worker asks for: in a group those of a pattern, without one those of a list.

A worker of a group cannot hand a partition to another worker, it can only ask for fewer topics. So a worker that lacks
a tenant's engine leaves the pattern, asks for the other topics by name from then on, and looks for new ones itself:

    at first            ^macaw\..*\.intake$                   every tenant
    after `leave(b)`    macaw.a.intake, macaw.c.intake        the group gives b to another worker
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Container

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.worker.settings import LoopSettings

log = logging.getLogger(__name__)

DISCOVER_SECONDS = 1.0  # between two listings of topics, without a group
LIST_SECONDS = 5.0  # the same in a group, once a topic was left
ANSWER_SECONDS = 1.0  # for a listing; the loop waits for it
Callback = Callable[[Consumer, list[TopicPartition]], None]


class Subscription:
    """The topics that one consumer asks for. `on_assign` and `on_revoke` take note of its partitions."""

    def __init__(self, settings: LoopSettings, consumer: Consumer, on_assign: Callback, on_revoke: Callback) -> None:
        self._settings = settings
        self._consumer = consumer
        self._on_assign, self._on_revoke = on_assign, on_revoke
        self._left: set[str] = set()
        self._asked: list[str] | None = None  # topics by name, once one was left
        self._look_at = 0.0
        if settings.assigned is None:
            self._subscribe([settings.pattern])

    def _subscribe(self, topics: list[str]) -> None:
        self._consumer.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    def has_left(self, topic: str) -> bool:
        """True if this worker does not serve a topic that matches its pattern."""
        return topic in self._left

    def leave(self, topic: str) -> None:
        """Serve a topic no longer in this process, so that another worker of the group gets it."""
        self._left.add(topic)
        self._look_at = 0.0

    def look(self, known: Container[str]) -> None:
        """Ask for new topics. `known` are the ones that this worker has."""
        if self._settings.assigned is not None:
            if self._is_time(DISCOVER_SECONDS):
                new = [TopicPartition(t, 0) for t in self._settings.assigned() if t not in known]
                if new:
                    self._on_assign(self._consumer, new)
        elif self._left and self._is_time(LIST_SECONDS):
            self._ask_by_name()

    def _is_time(self, pause: float) -> bool:
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + pause
        return True

    def _ask_by_name(self) -> None:
        try:
            found = self._consumer.list_topics(timeout=ANSWER_SECONDS).topics
        except KafkaException as exc:
            log.warning("cannot list topics: %s; trying again", exc)
            return
        wanted = sorted(t for t in found if re.match(self._settings.pattern, t) and t not in self._left)
        if wanted == self._asked:
            return
        self._asked = wanted
        if wanted:
            self._subscribe(wanted)
        else:
            self._consumer.unsubscribe()
