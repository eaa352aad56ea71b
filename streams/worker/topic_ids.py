"""Notices that a topic was deleted and made again while a consumer reads it: the client itself reads on silently.

Kafka gives each topic an id of its own, whatever its name. Asking takes one question for all topics, and nobody waits
for the answer.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

ASK_SECONDS = 5.0  # how often
ANSWER_SECONDS = 10.0


class TopicIds:
    """The ids of the topics that a worker reads, asked again and again."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._admin: AdminClient | None = None
        self._known: dict[str, str] = {}
        self._asked: dict[str, Future[Any]] = {}
        self._ask_at = 0.0

    def changed(self, topics: Collection[str]) -> list[str]:
        """Return which of these topics are others than before under the same name. Each change is told once."""
        if self._asked:
            return self._compared() if all(answer.done() for answer in self._asked.values()) else []
        if topics and time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + ASK_SECONDS
            self._known = {topic: known for topic, known in self._known.items() if topic in topics}
            self._admin = self._admin or AdminClient(dict(self._settings))
            asked = TopicCollection(list(topics))
            self._asked = self._admin.describe_topics(asked, request_timeout=ANSWER_SECONDS)
        return []

    def _compared(self) -> list[str]:
        answers, self._asked, changed = self._asked, {}, []
        for topic, answer in answers.items():
            try:
                found = str(answer.result().topic_id)
            except KafkaException:
                continue  # it is away, or the brokers are: asked again
            if self._known.setdefault(topic, found) != found:
                self._known[topic] = found
                changed.append(topic)
        return changed
