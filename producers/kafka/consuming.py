"""Reading Kafka topics without needless waiting, for clients, hosts and workers."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas import limits
from schemas.errors import EvidenceError, UnavailableError

T = TypeVar("T")

METADATA_SECONDS = 15.0
QUIET_AFTER_SECONDS = 1.0
NAP_SECONDS = 0.03
PEEK_SECONDS = 0.005
WAIT_SECONDS = 0.1
# Answers of a broker that has just made a topic; they pass in a moment.
_PASSING = {
    "NOT_LEADER_FOR_PARTITION",
    "LEADER_NOT_AVAILABLE",
    "UNKNOWN_TOPIC_OR_PART",
    "_UNKNOWN_PARTITION",
    "_TRANSPORT",
}
_FINAL = {"_AUTO_OFFSET_RESET", "_LOG_TRUNCATION", "TOPIC_AUTHORIZATION_FAILED"}  # to read on would wait for ever
FETCHED_BYTES_MAX = 16 * 1024 * 1024
# A bound for the memory of a consumer, for every writer: one answer of a broker, and as much that waits to be taken.
# The client inflates no zstd batch beyond `receive.message.max.bytes`; other codecs only the topic's settings bound.
FETCH_BOUNDS: Mapping[str, Any] = {
    "fetch.max.bytes": FETCHED_BYTES_MAX,
    "receive.message.max.bytes": FETCHED_BYTES_MAX + 64 * 1024,
    "queued.max.messages.kbytes": FETCHED_BYTES_MAX // 1024,
}
# A batch that no attempt will read: it is damaged, inflates beyond what a client takes, or is of an unknown form.
UNREADABLE = frozenset(
    {"_BAD_COMPRESSION", "_BAD_MSG", "_NOT_IMPLEMENTED", "_UNDERFLOW"}
    | {"INVALID_MSG", "INVALID_MSG_SIZE", "MSG_SIZE_TOO_LARGE", "UNSUPPORTED_COMPRESSION_TYPE"}
)


class LogSetBackError(EvidenceError):
    """The brokers came back with an older log than was read here before."""


class ReadTimeoutError(UnavailableError):
    """A topic could not be read to its end in time."""


class UnreadableBatchError(UnavailableError):
    """A batch cannot be read, now or later.

    `offset` is that of its first record, or the offset inside the batch at which reading began.
    """

    code = "UNREADABLE_BATCH"

    def __init__(self, topic: str, offset: int, why: str) -> None:
        super().__init__(f"{self.code}: {topic} cannot be read at offset {offset}: {why}; read docs/incidents.md")
        self.topic, self.offset = topic, offset


# Through a method caller the call is checked every time. A direct one is specialised by the interpreter once it is hot,
# and then the library's own error (an answer *and* an exception set) passes unseen until some later line.
_headers = operator.methodcaller("headers")


def headers_of(message: Any) -> list[tuple[str, bytes | None]]:
    """Return a record's headers; none if there are too many, or if a name is not UTF-8, which the library cannot give.

    Every writer of a topic may send such a name, and it must not stop the readers. Requires that `message.headers` was
    not called before: a second call gives another answer.
    """
    try:
        headers = _headers(message) or []
    except (SystemError, UnicodeError):
        return []
    return headers if len(headers) <= limits.HEADERS_MAX else []


def take(consumer: Consumer, count: int, seconds: float) -> list[Message]:
    """Return the records that are there, at most `count`, waiting up to `seconds` for a first one.

    `Consumer.consume(count, seconds)` alone would wait for its whole time whenever fewer records come.
    """
    first = consumer.poll(seconds)
    return [] if first is None else [first, *consumer.consume(count - 1, 0)]


def patiently(ask: Callable[[], T], seconds: float = METADATA_SECONDS) -> T:
    """Return the broker's answer, asking again while it says that a new topic is not there yet.

    Raises:
        KafkaException: the topic did not appear in `seconds`, or another error occurred.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except KafkaException as exc:
            if exc.args[0].name() not in _PASSING or time.monotonic() > until:
                raise
        time.sleep(0.05)


def watermarks(consumer: Consumer, topic: str, partition: int = 0) -> tuple[int, int]:
    """Return (first offset, end).

    To a `read_committed` consumer the end is the last stable offset; to another one it is the high watermark, which
    counts records that are not committed yet.
    """
    low, high = patiently(lambda: _offsets(consumer, TopicPartition(topic, partition)))
    return low, high


def _offsets(consumer: Consumer, place: TopicPartition) -> tuple[int, int]:
    try:
        found: tuple[int, int] = consumer.get_watermark_offsets(place, timeout=10)
    except KafkaException as exc:
        # A topic that may not be seen looks like one that is not there yet, but does not come.
        if exc.args[0].name() == "_UNKNOWN_PARTITION":
            error = consumer.list_topics(place.topic, timeout=METADATA_SECONDS).topics[place.topic].error
            if error is not None and error.name() in _FINAL:
                raise KafkaException(error) from exc
        raise
    return found


class ReadPosition:
    """The position up to which a partition was read, end marks included.

    Markers of transactions take offsets, but give no record. Needs a consumer with `enable.partition.eof`.
    """

    def __init__(self, start: int) -> None:
        self.offset = start

    def note(self, message: Message) -> bool:
        """Take note of a record or end mark; return True for a record.

        Raises:
            UnreadableBatchError: the batch at this position cannot be read.
            KafkaException: the partition cannot be read on.
        """
        error = message.error()
        if error is None:
            self.offset = (message.offset() or 0) + 1
            return True
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name in this library
            self.offset = max(self.offset, message.offset() or 0)
        elif error.name() in UNREADABLE:
            raise UnreadableBatchError(message.topic() or "", max(message.offset() or 0, self.offset), error.str())
        elif error.fatal() or error.name() in _FINAL:
            raise KafkaException(error)
        return False


def read_to(consumer: Consumer, place: TopicPartition, end: int, *, idle_seconds: float) -> Generator[Message]:
    """Yield the records of one partition from `place` until its position reaches `end`.

    A read_committed consumer stops at the last stable offset, so an open transaction is waited for.

    Raises:
        ReadTimeoutError: no record came for `idle_seconds`.
        UnreadableBatchError: the next batch cannot be read.
    """
    position = ReadPosition(place.offset)
    if position.offset >= end:
        return
    consumer.assign([place])
    try:
        until = time.monotonic() + idle_seconds
        while position.offset < end:
            before = position.offset
            messages = take(consumer, 1024, 0.1)[::-1]
            while messages:
                message = messages.pop()  # a message keeps its parsed headers alive: let each go before the next
                if position.note(message):
                    yield message
            if position.offset > before:
                until = time.monotonic() + idle_seconds
            elif time.monotonic() > until:
                raise ReadTimeoutError(
                    f"{place.topic} was read to offset {position.offset} of {end}: nothing came for {idle_seconds:g} s"
                )
    finally:
        consumer.unassign()


def behind_unreadable(consumer: Consumer, place: TopicPartition, end: int) -> int:
    """Return the offset behind a batch that cannot be read at `place`, at most `end`.

    The client does not say where such a batch ends, but names its first offset for every offset inside it. The consumer
    keeps no assignment.

    Raises:
        ReadTimeoutError: the broker does not answer.
    """

    def is_inside(offset: int) -> bool:
        at = TopicPartition(place.topic, place.partition, offset)
        return _begin_of_unreadable(consumer, at) <= place.offset

    inside, outside = place.offset, place.offset + 1
    while outside < end and is_inside(outside):  # most batches are small: look near before far
        inside, outside = outside, min(place.offset + 2 * (outside - place.offset), end)
    while outside - inside > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if is_inside(middle) else (inside, middle)
    return outside


def _begin_of_unreadable(consumer: Consumer, place: TopicPartition) -> int:
    """Return the first offset of the batch in which `place` lies if it cannot be read, else `place`'s own."""
    consumer.assign([place])
    try:
        until = time.monotonic() + METADATA_SECONDS
        while time.monotonic() < until:
            message = consumer.poll(WAIT_SECONDS)
            error = None if message is None else message.error()
            if message is None or (error is not None and error.name() in _PASSING):
                continue
            unreadable = error is not None and error.name() in UNREADABLE
            offset = message.offset()
            return offset if unreadable and offset is not None and offset >= 0 else place.offset
    finally:
        consumer.unassign()
    raise ReadTimeoutError(f"{place.topic} does not answer at offset {place.offset}")


class Quiet:
    """Spares a broker that answers empty fetches at once, as the embedded one does: each idle consumer would spin.

    After a second without a record the consumer lets go of its partitions for a moment, again and again, until one
    comes. Only for consumers that assign: a consumer group would take that for leaving.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._busy_until = time.monotonic() + QUIET_AFTER_SECONDS

    @property
    def seconds(self) -> float:
        """How long to wait for a record now."""
        return PEEK_SECONDS if time.monotonic() > self._busy_until else WAIT_SECONDS

    def after(self, count: int) -> None:
        """Call after each attempt to read, with how many records came."""
        now = time.monotonic()
        if count:
            self._busy_until = now + QUIET_AFTER_SECONDS
        elif now > self._busy_until:
            assigned = self._consumer.assignment()
            read = self._consumer.position(assigned)
            self._consumer.unassign()
            time.sleep(NAP_SECONDS)
            # A partition of which nothing was read has no position: it keeps the offset at which reading was to begin.
            self._consumer.assign([after if after.offset >= 0 else a for a, after in zip(assigned, read, strict=True)])
