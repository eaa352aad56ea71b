"""Reading whole topics for a restart: state, log and intake, on a thread beside the loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from processors.intake.identify import Received
from producers.kafka.consuming import METADATA_SECONDS, ReadTimeoutError, behind_unreadable, read_to, watermarks
from schemas import limits
from schemas.topics import INTAKE, Topic
from streams.history.records import received_of
from streams.worker.resume_errors import ResumeError

READ_SECONDS_MAX = limits.TRANSACTION_TIMEOUT_MS / 1000 + 5
STOP_SECONDS = 1.0  # within which a stopped reading ends


class RestartReader:
    """Reads whole topics for a restart. Its consumers name the worker's group and never join it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        # The last offset of a transactional topic is a marker, so only an empty answer shows that the end is reached.
        shared = {**settings, "enable.partition.eof": True, "fetch.wait.max.ms": 20}
        self._committed = Consumer({**shared, "isolation.level": "read_committed"})
        self._appended = Consumer({**shared, "isolation.level": "read_uncommitted"})
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the reading under way with a ResumeError. Called from another thread."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    def close(self) -> None:
        self._committed.close()
        self._appended.close()

    def committed(self, topic: str) -> int | None:
        """Return the committed offset of intake, or None. Waits for an open transaction that holds the offset.

        Raises:
            ResumeError: the transaction stays open for longer than READ_SECONDS_MAX.
        """
        until = time.monotonic() + READ_SECONDS_MAX
        while True:
            try:
                [place] = self._committed.committed([TopicPartition(topic, 0)], timeout=STOP_SECONDS)
                if place.error is None:
                    return place.offset if place.offset >= 0 else None
                why = str(place.error)
            except KafkaException as exc:
                why = str(exc.args[0])
            self._check(until, f"the group's committed offset of {topic} cannot be read: {why}")

    def end(self, topic: str) -> tuple[int, int]:
        """Return (first offset, high watermark); the watermark counts records that are not committed yet.

        A read_committed consumer would get the last stable offset, and miss a transaction that is open or has no
        marker yet.
        """
        return watermarks(self._appended, topic)

    def read(self, topic: str, start: int, end: int) -> Generator[Message]:
        """Yield committed records from `start` until the position reaches `end`.

        Raises:
            ResumeError: there was no progress for READ_SECONDS_MAX, or the reader was stopped.
        """
        return self._read(self._committed, topic, start, end)

    def read_appended(self, topic: str, start: int, end: int) -> Generator[Message]:
        """Yield records as `read` does, committed or not. The loop reads intake in the same way."""
        return self._read(self._appended, topic, start, end)

    def behind(self, topic: str, offset: int, end: int) -> int:
        """Return the first offset after a batch of intake that cannot be read. Raises ReadTimeoutError."""
        return behind_unreadable(self._appended, TopicPartition(topic, 0, offset), end)

    def _read(self, consumer: Consumer, topic: str, start: int, end: int) -> Generator[Message]:
        # Metadata first: a consumer that does not know a topic's leader looks for it only once a second.
        consumer.list_topics(topic, timeout=METADATA_SECONDS)
        until = time.monotonic() + READ_SECONDS_MAX
        while True:
            try:
                place = TopicPartition(topic, 0, start)
                with closing(read_to(consumer, place, end, idle_seconds=STOP_SECONDS)) as records:
                    for message in records:
                        start, until = (message.offset() or 0) + 1, time.monotonic() + READ_SECONDS_MAX
                        if start > end:
                            return  # more was appended meanwhile
                        yield message
                        self._check(until, topic)
            except ReadTimeoutError as exc:
                self._check(until, str(exc))
            else:
                return

    def _check(self, until: float, why: str) -> None:
        if self._stopped.is_set() or time.monotonic() > until:
            raise ResumeError(why)


class RestartRecords:
    """One topic at offsets `low` to `high` - 1, read by a worker's reader. Each new reading ends the one before.

    Of intake all records are read, of any other topic the committed ones.
    """

    def __init__(self, reader: RestartReader, topic: Topic, tenant: str) -> None:
        self._reader, self._name = reader, topic.of(tenant)
        self._read = reader.read_appended if topic is INTAKE else reader.read
        self.low, self.high = reader.end(self._name)
        self._reading: Generator[Message] | None = None

    def read(self, start: int) -> Iterator[Received]:
        """Yield its records. Raises ResumeError, UnreadableBatchError."""
        self.close()
        self._reading = self._read(self._name, start, self.high)
        return map(received_of, self._reading)

    def behind(self, offset: int) -> int:
        """Return the first offset after a batch of intake that cannot be read. Raises ReadTimeoutError."""
        self.close()
        return self._reader.behind(self._name, offset, self.high)

    def close(self) -> None:
        """End a reading that is under way."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None
