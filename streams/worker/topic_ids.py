"""Notices that a topic was deleted and created again while a consumer reads it. The client itself reads on silently.

Kafka gives each created topic a new id, even under an old name. One request asks for the ids of all topics, and the
loop does not wait for its answer.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

ASK_SECONDS = 5.0  # between two requests
ANSWER_SECONDS = 10.0


class TopicIds:
    """The ids of the topics that a worker reads, asked for every ASK_SECONDS."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._admin: AdminClient | None = None
        self._known: dict[str, str] = {}
        self._asked: dict[str, Future[Any]] = {}
        self._ask_at = 0.0

    def changed(self, topics: Collection[str]) -> list[str]:
        """Return those of `topics` that were created again since the last answer. Each change is returned once."""
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
                continue  # the topic or the brokers are away; the next request asks again
            if self._known.setdefault(topic, found) != found:
                self._known[topic] = found
                changed.append(topic)
        return changed
