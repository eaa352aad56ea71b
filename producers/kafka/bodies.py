"""Bodies on their way: published in sealed chunks before the record that names them, and fetched by its readers.

Neither side is trusted by the other. A reader accepts a body only if the named sender has sealed each chunk to the
reader's own key and the whole has the digest and size that a signed record names. Any other record on the topic is
passed over: its writer can make a reader read more, and nothing else.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from processors.proof import sealing
from processors.proof.sealing import SealingError
from producers.home.keys import KeyPair
from producers.home.process import OfOneProcess
from producers.home.security import UNSECURED, Security
from producers.kafka.appending import PublishError
from producers.kafka.body_records import ChunkSealer, Gathering, Outgoing, Recipients, opened_chunk
from producers.kafka.consuming import (
    FETCH_BOUNDS,
    ReadPosition,
    ReadTimeoutError,
    UnreadableBatchError,
    patiently,
    read_to,
    take,
    watermarks,
)
from schemas import limits, topics
from schemas.errors import UnavailableError
from schemas.events.bodies import BodyReference
from schemas.topics import BODIES

SEND_SECONDS = limits.BODY_UPLOAD_MS / 1000 - 15  # then a call could come too late for its readers to look back so far
WARM_UP_SECONDS = 5.0
QUEUED_KBYTES = 16 * 1024  # of chunks that wait to be sent, for all bodies of a process together
IDLE_SECONDS = 5.0  # without a record, while the end of the topic is not reached
CONSUMERS_KEPT = 4
NEAR_LOOKS = 2
FOLLOWED_MAX = 64  # records at once
# A broker of Kafka keeps to `fetch.max.bytes`; the embedded one answers with everything behind an offset, in one piece.
RECEIVED_BYTES_MAX = 512 * 1024 * 1024
LOOK_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # between looks for a body that has not come


class BodyMissingError(UnavailableError):
    """A body that a signed record names is not there, or not as the record names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Bodies that a signed record names: sealed by `sender` (X25519) to `key`, and published before it.

    `since_ms` is when the record was issued: chunks are looked for from BODY_UPLOAD_MS before it.
    """

    references: tuple[BodyReference, ...]
    key: KeyPair
    sender: bytes
    since_ms: int


class Bodies(OfOneProcess):
    """Sends and fetches the bodies of one tenant. Thread-safe; connects when the first body is sent or fetched."""

    def __init__(self, bootstrap: str, *, tenant: str, security: Security = UNSECURED) -> None:
        self._topic, self._group = BODIES.of(tenant), topics.reader_group(tenant)
        self._settings = {**security, "bootstrap.servers": bootstrap, "log_level": 2}
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._consumers: queue.SimpleQueue[Consumer] = queue.SimpleQueue()
        self._is_closed = False

    def close(self) -> None:
        """End the connections; a body that is under way fails."""
        if self.is_elsewhere:
            return
        with self._lock:
            self._is_closed, producer, self._producer = True, self._producer, None
        if producer is not None:
            with suppress(KafkaException, SystemError):
                producer.purge()
                producer.flush(1.0)
        with suppress(queue.Empty):
            while True:
                self._consumers.get_nowait().close()

    # ---- sending

    def send(
        self, bodies: Iterable[Outgoing], key: KeyPair, recipients: Recipients, *, seconds: float = SEND_SECONDS
    ) -> None:
        """Publish bodies, sealed by `key` to the recipients, and wait until the brokers have all chunks.

        Raises:
            PublishError: they were not taken in time; no record names them yet, so nothing has happened.
            ForkedError.
        """
        try:
            sealer = ChunkSealer(key, recipients)
            with self.appending(seconds) as appending:
                for one in bodies:
                    for value, header in sealer.records(one):
                        appending.put(one.reference.digest, value, header)
        except SealingError as exc:
            raise PublishError(f"the body cannot be sealed to its readers: {exc}", never_sent=True) from exc

    @contextmanager
    def appending(self, seconds: float) -> Iterator[Upload]:
        """Append the chunks that a block puts, and wait for all of them at its end.

        Raises:
            PublishError: one of them was not taken within `seconds` from the beginning.
            ForkedError.
        """
        self.check_process()
        appended = Upload(self._connected(), self._topic, time.monotonic() + seconds)
        try:
            yield appended
            appended.wait()
        except (KafkaException, SystemError) as exc:  # the producer may have died: the next one makes its own
            self._drop(appended.producer)
            raise PublishError(f"the brokers did not take the body: {exc}", never_sent=True) from exc

    def _connected(self) -> Producer:
        with self._lock:
            if self._is_closed:
                raise PublishError("the connection is closed: nothing was sent", never_sent=True)
            if self._producer is None:
                producer = Producer(
                    {
                        **self._settings,
                        "enable.idempotence": True,
                        "acks": "all",
                        "linger.ms": 0,
                        "message.timeout.ms": int(SEND_SECONDS * 1000),
                        "message.max.bytes": limits.BODY_MESSAGE_BYTES_MAX,
                        "queue.buffering.max.kbytes": QUEUED_KBYTES,
                    }
                )
                # An idempotent producer without a connection asks for its id only twice a second.
                with suppress(KafkaException):
                    producer.list_topics(self._topic, timeout=WARM_UP_SECONDS)
                self._producer = producer
            return self._producer

    def _drop(self, producer: Producer) -> None:
        with self._lock:
            if self._producer is producer:
                self._producer = None

    # ---- fetching

    def fetch(self, wanted: Wanted, *, seconds: float) -> dict[bytes, bytes]:
        """Return the content of every body by its digest, waiting up to `seconds` for those that have not come.

        After two looks all of the topic is read.

        Raises:
            BodyMissingError: one of them is not there, or does not have the digest or the size that was signed.
            ForkedError.
        """
        until, looks = time.monotonic() + seconds, 0
        while True:
            # A report that was kept for hours names a body that was sent before it was made.
            found = self.look(wanted if looks < NEAR_LOOKS else replace(wanted, since_ms=0), until=until)
            missing = [one for one in wanted.references if one.digest not in found]
            if not missing:
                return found
            del found
            pause, looks = LOOK_SECONDS[min(looks, len(LOOK_SECONDS) - 1)], looks + 1
            if time.monotonic() + pause > until:
                raise BodyMissingError(f"the body {missing[0].digest.hex()} is not there, or not as it was named")
            time.sleep(pause)

    def look(self, wanted: Wanted, *, until: float) -> dict[bytes, bytes]:
        """Return the bodies that are there now, by digest: the topic is read to its end of this moment, at most.

        It stops at `until` (of `time.monotonic`). Raises BodyMissingError where the brokers do not answer, ForkedError.
        """
        self.check_process()
        found: dict[bytes, bytes] = {}
        try:
            with self._consumer() as consumer:
                for partition in {topics.keyed_partition(one.digest) for one in wanted.references}:
                    found |= self._of_partition(consumer, partition, wanted, until)
        except (KafkaException, ReadTimeoutError, UnreadableBatchError) as exc:
            raise BodyMissingError(f"{self._topic} cannot be read: {exc}") from exc
        return found

    def _of_partition(self, consumer: Consumer, partition: int, wanted: Wanted, until: float) -> dict[bytes, bytes]:
        gathered = {
            one.digest: Gathering(one) for one in wanted.references if topics.keyed_partition(one.digest) == partition
        }
        start, end = self._bounds(consumer, partition, wanted.since_ms - limits.BODY_UPLOAD_MS)
        found: dict[bytes, bytes] = {}
        place = TopicPartition(self._topic, partition, start)
        with closing(read_to(consumer, place, end, idle_seconds=IDLE_SECONDS)) as messages:
            for message in messages:
                if time.monotonic() > until:
                    break
                digest = message.key() or b""
                gathering = gathered.get(digest)
                chunk = opened_chunk(message, digest, wanted.key, wanted.sender) if gathering is not None else None
                if gathering is None or chunk is None:
                    continue
                gathering.take(chunk)
                if gathering.is_whole:
                    del gathered[digest]
                    content = gathering.content()
                    if content is not None:
                        found[digest] = content
                    if not gathered:
                        break
        return found

    @contextmanager
    def following(self, body: bytes, since_ms: int) -> Iterator[Following]:
        """Read the records of one body, from the append time `since_ms` on, for as long as a block lasts.

        Raises:
            KafkaException: the brokers do not say where to begin.
            ForkedError.
        """
        self.check_process()
        partition = topics.keyed_partition(body)
        with self._consumer() as consumer:
            start, _ = self._bounds(consumer, partition, since_ms)
            consumer.assign([TopicPartition(self._topic, partition, start)])
            try:
                yield Following(consumer, body, start)
            finally:
                consumer.unassign()

    def _bounds(self, consumer: Consumer, partition: int, since_ms: int) -> tuple[int, int]:
        """Return where to begin and to end, by the append times of the brokers. Raises KafkaException."""
        low, end = watermarks(consumer, self._topic, partition)
        asked = TopicPartition(self._topic, partition, max(since_ms, 0))
        (place,) = patiently(lambda: consumer.offsets_for_times([asked], timeout=10))
        if place.error is not None:
            raise KafkaException(place.error)
        return max(low, place.offset) if place.offset >= 0 else end, end

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        try:
            consumer = self._consumers.get_nowait()
        except queue.Empty:
            consumer = Consumer(
                {
                    **self._settings,
                    **FETCH_BOUNDS,
                    "receive.message.max.bytes": RECEIVED_BYTES_MAX,
                    "group.id": self._group,
                    "enable.auto.commit": False,
                    "auto.offset.reset": "error",
                    "isolation.level": "read_uncommitted",  # or a transaction left open would hold every reader back
                    "enable.partition.eof": True,
                    "fetch.wait.max.ms": 20,
                }
            )
        is_kept = False
        try:
            yield consumer
            is_kept = not self._is_closed and self._consumers.qsize() < CONSUMERS_KEPT
        finally:
            if is_kept:
                self._consumers.put(consumer)
            else:
                consumer.close()


class Following:
    """The records under the key of one body, as they come."""

    def __init__(self, consumer: Consumer, body: bytes, start: int) -> None:
        self._consumer, self._body, self._position = consumer, body, ReadPosition(start)

    def take(self, seconds: float) -> list[Any]:
        """Return the records that are there, waiting up to `seconds` for a first record of any body.

        Raises:
            UnreadableBatchError, KafkaException: the partition cannot be read on.
        """
        taken = take(self._consumer, FOLLOWED_MAX, seconds)
        return [one for one in taken if self._position.note(one) and one.key() == self._body]


class Upload:
    """Chunks of one sender, until the brokers have answered for each."""

    def __init__(self, producer: Producer, topic: str, until: float) -> None:
        self.producer, self._topic, self._until = producer, topic, until
        self._left, self._failed = 0, ""
        self._lock = threading.Lock()  # another thread's poll may call back

    def put(self, body: bytes, value: bytes, header: bytes) -> None:
        """Queue a chunk, waiting while others fill the queue. Raises KafkaException, PublishError."""
        with self._lock:
            self._left += 1
        while True:
            self._check()
            try:
                self.producer.produce(
                    self._topic,
                    value,
                    key=body,
                    partition=topics.keyed_partition(body),
                    headers=[(sealing.PAYLOAD_HEADER, header)],
                    on_delivery=self._told,
                )
            except BufferError:
                self.producer.poll(0.05)
            else:
                self.producer.poll(0)
                return

    def wait(self) -> None:
        """Wait until every chunk is appended. Raises KafkaException, PublishError."""
        while self._left:
            self._check()
            self.producer.poll(0.02)
        self._check()

    def _check(self) -> None:
        if self._failed:
            raise PublishError(f"the brokers did not take the body: {self._failed}", never_sent=True)
        if time.monotonic() > self._until:
            raise PublishError("the brokers did not take the body in time", never_sent=True)

    def _told(self, error: KafkaError | None, _: Any) -> None:
        with self._lock:
            self._left -= 1
            if error is not None:
                self._failed = str(error)
