"""One thread and one consumer of a process: they hear the answers to every key that asks in one tenant.

Only the partitions of keys that ask are read, and nothing while no answer is awaited. Each record goes to the listeners
of its key alone; they verify it (`answers`). An end of the hearing, and a log that was set back, are told to all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processors.state.engines import EngineMissingError
from producers.home.process import OfOneProcess
from producers.home.security import UNSECURED, Security
from producers.kafka.appending import PublishError
from producers.kafka.consuming import LogSetBackError, take
from schemas import topics
from schemas.topics import RESULTS

log = logging.getLogger(__name__)

REST_SECONDS = 0.5
SKIP_SECONDS = 10.0  # of rest, after which the answers to others are passed over
LOOK_SECONDS = 2.0

SET_BACK = (
    "the answers end before the position that was read: the brokers came back with an older log, or deleted answers"
    " that were not read yet. Whether the call took effect is not known here: connect again, and look before you ask"
    " again"
)
ENDED = (
    "the thread that hears the answers was ended, or failed: whether the call took effect is not known here; connect"
    " again, and look before you ask again"
)


class AnswersEndedError(PublishError):
    """No answer is heard any more in this process, whether the event was appended or not."""


Ends = Callable[[str, int], tuple[int, int]]  # of a topic and a partition: its first offset, and its end
Deaf = LogSetBackError | AnswersEndedError | EngineMissingError


class Listener(Protocol):
    """Hears the answers to some keys. Its methods return soon, and `take` is called in the thread that hears."""

    @property
    def kids(self) -> Iterable[bytes]:
        """The keys."""

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is awaited."""

    def take(self, message: Any) -> None:
        """Take a record that is addressed to one of the keys, as its writer says."""

    def fail(self, why: Deaf) -> None:
        """Take note that no further answer is heard."""


def live_settings(bootstrap: str, tenant: str, security: Security) -> dict[str, Any]:
    """Return the settings of a consumer that hears committed records as they come, and keeps no place in a group."""
    return {
        **security,
        "bootstrap.servers": bootstrap,
        "group.id": topics.reader_group(tenant),
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 20,
        "log_level": 2,
    }


class Hearing(OfOneProcess):
    """Reads `results` for any number of listeners, which come and go. Thread-safe."""

    deaf: Deaf | None = None  # the reason why no further answer is heard

    def __init__(
        self,
        bootstrap: str,
        tenant: str,
        ends: Ends,
        *,
        security: Security = UNSECURED,
        start: Mapping[int, int] | None = None,
    ) -> None:
        """Hear from the moment at which a listener joins; `start` gives an earlier offset to read from, by partition.

        `ends` tells the bounds of a partition, from another consumer than this one: the library may never answer a
        question that is asked in one thread while another one reads. No broker is asked yet.
        """
        self._topic, self._start, self._ends = RESULTS.of(tenant), dict(start or {}), ends
        self._lock = threading.Lock()
        self._stop, self._wake = threading.Event(), threading.Event()
        self._listeners: dict[bytes, tuple[Listener, ...]] = {}  # by kid
        self._waiting: set[Listener] = set()
        self._awaits = 0  # how often an answer was asked for
        self._places: dict[int, int] = {}  # the next offset, by partition
        self._are_new = False  # other places than those that are read
        self._consumer = Consumer(live_settings(bootstrap, tenant, security))
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)
        self._thread.start()

    # --- listeners

    def join(self, listener: Listener) -> None:
        """Hear for a listener too, from now on: an answer cannot come before its question.

        The brokers are asked for the end of a partition that no other listener has.

        Raises:
            KafkaException: they do not say it. The listener has not joined then.
            ForkedError: this is another process.
        """
        self.check_process()
        needed, found = {topics.keyed_partition(kid) for kid in listener.kids}, dict[int, int]()
        while missing := self._added(listener, needed, found):
            for partition in missing:
                low, high = self._ends(self._topic, partition)
                # Answers that were deleted meanwhile cannot be read; a later one may still be there.
                found[partition] = max(low, min(self._start.get(partition, high), high))

    def _added(self, listener: Listener, needed: set[int], found: Mapping[int, int]) -> list[int]:
        """Add a listener unless the place of a partition is missing; return the missing ones."""
        with self._lock:
            missing = sorted(needed - self._places.keys() - found.keys())
            if missing:
                return missing
            for partition in needed - self._places.keys():
                self._places[partition] = found[partition]
                self._are_new = True
            for kid in listener.kids:
                self._listeners[kid] = (*self._listeners.get(kid, ()), listener)
            return []

    def leave(self, listener: Listener) -> None:
        """Hear for a listener no longer."""
        with self._lock:
            for kid in listener.kids:
                others = tuple(one for one in self._listeners.get(kid, ()) if one is not listener)
                if others:
                    self._listeners[kid] = others
                else:
                    self._listeners.pop(kid, None)
            self._waiting.discard(listener)
            needed = {topics.keyed_partition(kid) for kid in self._listeners}
            for partition in self._places.keys() - needed:
                del self._places[partition]
                self._are_new = True

    def awaits(self, listener: Listener) -> None:
        """Take note that a listener awaits an answer; it fails at once where none is heard any more."""
        with self._lock:
            self._waiting.add(listener)
            self._awaits += 1
            deaf = self.deaf
        if deaf is not None:
            listener.fail(deaf)
        self._wake.set()

    def reached(self) -> dict[int, int]:
        """Return, by partition, the first offset at which an answer to an event that is sent from now on can stand."""
        with self._lock:
            return dict(self._places)

    def fail(self, why: Deaf) -> None:
        """Tell every listener, present and later ones, that no further answer is heard here."""
        with self._lock:
            self.deaf, listeners = why, {one for some in self._listeners.values() for one in some}
        for listener in listeners:
            listener.fail(why)

    @property
    def is_closing(self) -> bool:
        """Whether `close` was called."""
        return self._stop.is_set()

    def close(self) -> None:
        """End the thread and the connection. In another process, after a fork, there is nothing to close."""
        if self.is_elsewhere:
            return
        self._stop.set()
        self._wake.set()
        self._thread.join(5)
        self._consumer.close()

    # --- the thread

    def _run(self) -> None:
        try:
            self._listen()
        finally:
            if not self._stop.is_set():
                self.fail(AnswersEndedError(ENDED))

    def _warm_up(self) -> None:
        """Connect before the first answer, which may otherwise wait a second. An error here comes again with it."""
        with suppress(KafkaException):
            self._end_of(0)

    def _listen(self) -> None:
        self._warm_up()
        while not self._stop.is_set():
            if not self._is_awaited():
                self._rest()
                continue
            if self._are_new:
                self._assign()
            for message in take(self._consumer, 256, 0.1):
                self._hear(message)

    def _is_awaited(self) -> bool:
        with self._lock:
            self._waiting = {one for one in self._waiting if one.is_waiting}
            return bool(self._waiting)

    def _assign(self) -> None:
        with self._lock:
            places = [TopicPartition(self._topic, *place) for place in self._places.items()]
            self._are_new = False
        self._consumer.assign(places)

    def _hear(self, message: Any) -> None:
        if (error := message.error()) is not None:
            log.warning("results: %s", error)
            if error.name() == "_AUTO_OFFSET_RESET":
                self.fail(LogSetBackError(SET_BACK))
            return
        self._note(message.partition() or 0, (message.offset() or 0) + 1)
        for listener in self._listeners.get(message.key() or b"", ()):
            try:
                listener.take(message)
            except Exception as exc:  # a key whose token was taken away, say: it must not cost the other listeners
                log.exception("an answer could not be taken")
                listener.fail(AnswersEndedError(f"an answer could not be taken: {exc}; {ENDED}"))

    def _note(self, partition: int, offset: int) -> None:
        with self._lock:
            if partition in self._places:  # a record of a partition that was left may still come
                self._places[partition] = max(self._places[partition], offset)

    def _rest(self) -> None:
        """Fetch nothing until an answer is awaited; then go on from the position before.

        The embedded broker answers empty requests at once, so an idle consumer would keep both busy. Pausing does not
        help: a consumer that is resumed may sleep on for a second.
        """
        for read in self._consumer.position(self._consumer.assignment()):
            if read.offset >= 0:
                self._note(read.partition, read.offset)
        self._consumer.unassign()
        skipped_at = time.monotonic()
        while not self._stop.is_set() and not self._is_awaited():
            self._wake.wait(REST_SECONDS)
            self._wake.clear()
            if time.monotonic() - skipped_at > SKIP_SECONDS:
                self._skip()
                skipped_at = time.monotonic()
        self._are_new = True

    def _skip(self) -> None:
        """Go on from the present ends: no answer that stands before them is awaited here.

        Otherwise a first call after a long rest would read all answers to others since then. If an answer was asked
        for meanwhile, its event may be older than the ends, so they are not used. An end before the present place is
        not believed either: reading on from there says better whether the log was set back.
        """
        with self._lock:
            awaits, partitions = self._awaits, list(self._places)
        try:
            ends = {one: self._end_of(one) for one in partitions}
        except KafkaException:
            return  # looked for again later
        with self._lock:
            if self._awaits != awaits:
                return
            for partition in self._places.keys() & ends.keys():
                self._places[partition] = max(self._places[partition], ends[partition])

    def _end_of(self, partition: int) -> int:
        place = TopicPartition(self._topic, partition)
        return int(self._consumer.get_watermark_offsets(place, timeout=LOOK_SECONDS)[1])
