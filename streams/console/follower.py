"""The console's reader: every decision and outcome of a tenant, each verified here, into the store.

A record counts only if a monitor's key that the registry knows has signed it for its place. Other records are passed
over, counted, and told: the pages show a banner for them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from processors.intake.identify import Received
from processors.proof import signing
from producers.home.clock import clock_ms
from producers.home.home import Home, TenantHome
from producers.kafka.consuming import FETCH_BOUNDS, take, watermarks
from producers.kafka.followed_topic import RegistryError
from producers.kafka.hearing import live_settings
from producers.kafka.registry_view import RegistryView, appended_at
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from schemas.records import Decision, Result
from schemas.topics import DECISIONS, KEYED_PARTITIONS, RESULTS
from streams.console.store import CallStore
from streams.history.records import received_of

log = logging.getLogger(__name__)

BATCH_RECORDS = 1000
WAIT_SECONDS = 0.5
FETCH_WAIT_MS = 500  # nobody waits for an answer here: a quiet log is asked for seldom
AT_END_SECONDS = 5.0  # between two looks at the ends of the topics
RETRY_SECONDS = 2.0
FORGET_SECONDS = 600.0
UNTRUSTED_TOLD = 20  # records in the log of this process, each with a line of its own
UNTRUSTED_TOLD_SECONDS = 60.0  # between two lines after these
KINDS = {DECISIONS: (signing.DECISION_TAG, Decision), RESULTS: (signing.RESULT_TAG, Result)}

Place = tuple[str, int]


@dataclass(slots=True)
class Freshness:
    """How far the store is. `complete_at`: the time (ms) up to which it held the whole log, None before the first.

    `untrusted` counts the records that were not shown since the store was made.
    """

    complete_at: int | None = None
    trouble: str = ""
    untrusted: int = 0
    _told_at: float = field(default=float("-inf"), repr=False)

    def note_untrusted(self, place: str, why: UntrustedRecordError) -> None:
        """Count a record, and tell of the first ones, then of one in a while: whoever forges may forge a million."""
        self.untrusted += 1
        now = time.monotonic()
        if self.untrusted <= UNTRUSTED_TOLD or now - self._told_at >= UNTRUSTED_TOLD_SECONDS:
            self._told_at = now
            log.warning("%s is not shown: %s; %d records are not, so far", place, why, self.untrusted)

    def age_seconds(self) -> float | None:
        """Return how long ago the store held the whole log, None if it never did."""
        return None if self.complete_at is None else max(clock_ms() - self.complete_at, 0) / 1000


class Follower:
    """Follows one tenant's log into a store, on a thread of its own."""

    def __init__(self, home: Home, folder: TenantHome, store: CallStore) -> None:
        """Raises HomeError, SecurityError."""
        self._home, self._store = home, store
        self._registry = RegistryView.of(home, folder)
        self._signed = MonitorSigned(self._registry, tenant=folder.tenant, genesis=folder.genesis)
        self._kinds = {topic.of(folder.tenant): kind for topic, kind in KINDS.items()}
        self._places = [(topic, number) for topic in self._kinds for number in range(KEYED_PARTITIONS)]
        self.freshness = Freshness(untrusted=store.untrusted())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console-follower", daemon=True)
        self._told: list[Callable[[], None]] = []

    def start(self, told: Callable[[], None] = lambda: None) -> None:
        """Begin to follow; `told` is called after each change, on the follower's thread."""
        self._told.append(told)
        self._thread.start()

    def close(self) -> None:
        """End the thread and close the store."""
        self._stop.set()
        self._thread.join()
        self._registry.close()
        self._store.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (KafkaException, RegistryError) as exc:
                why = exc.args[0].str() if isinstance(exc, KafkaException) else str(exc)
                self._say(f"the log cannot be read: {why}")
            except Exception as exc:  # the pages stay, and their banner tells that nothing new comes
                log.exception("the console cannot follow the log")
                self._say(f"the log cannot be followed: {type(exc).__name__}; see the console's own log")
            self._stop.wait(RETRY_SECONDS)

    def _say(self, trouble: str) -> None:
        self.freshness.trouble = trouble
        self._tell()

    def _tell(self) -> None:
        for told in self._told:
            told()

    def _follow(self) -> None:
        """Read from the stored positions until `close`. Raises KafkaException, RegistryError, CallStoreError."""
        self._registry.refresh()
        consumer = Consumer(
            {
                **live_settings(self._home.bootstrap, self._signed.tenant, self._home.security),
                **FETCH_BOUNDS,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": FETCH_WAIT_MS,
            }
        )
        try:
            positions = self._begin(consumer)
            ends: dict[Place, int] = {}
            looked = forgot = float("-inf")
            while not self._stop.is_set():
                messages = _without_ends(take(consumer, BATCH_RECORDS, WAIT_SECONDS), ends)
                self._put(messages, positions)
                now = time.monotonic()
                if now - looked >= AT_END_SECONDS:
                    looked = now
                    self._note_end(ends)
                if now - forgot >= FORGET_SECONDS:
                    forgot = now
                    self._store.forget(clock_ms())
        finally:
            consumer.close()

    def _begin(self, consumer: Consumer) -> dict[Place, int]:
        """Assign every partition at its stored position, at its beginning where that is gone."""
        stored, positions = self._store.positions(), {}
        for topic, number in self._places:
            low, high = watermarks(consumer, topic, number)
            at = stored.get((topic, number), low)
            positions[topic, number] = at if low <= at <= high else low
        consumer.assign([TopicPartition(topic, number, at) for (topic, number), at in positions.items()])
        return positions

    def _put(self, messages: Sequence[Message], positions: dict[Place, int]) -> None:
        """Verify records and store them. A decision comes before its outcome, whichever partition was faster."""
        if not messages:
            return
        records: list[Decision | Result] = []
        for message in messages:
            topic = message.topic() or ""
            tag, kind = self._kinds[topic]
            try:
                record, _, _ = self._signed.verify_kept(topic, received(message), tag, kind)
            except UntrustedRecordError as exc:
                self.freshness.note_untrusted(
                    f"{topic}, partition {message.partition()}, offset {message.offset()}", exc
                )
            else:
                records.append(record)
            positions[topic, message.partition() or 0] = (message.offset() or 0) + 1
        records.sort(key=lambda one: one.audit_index)
        self._store.put(records, positions, self.freshness.untrusted)
        self._tell()

    def _note_end(self, ends: dict[Place, int]) -> None:
        """Take note that the store holds the whole log, if it does. Raises KafkaException while no broker answers."""
        asked = clock_ms()
        if all(ends.get(place, -1) >= self._registry.ends(*place)[1] for place in self._places):
            was_told = self.freshness.complete_at is not None and not self.freshness.trouble
            self.freshness.complete_at, self.freshness.trouble = asked, ""
            if not was_told:
                self._tell()


def received(message: Message) -> Received:
    """Return a message as a record. Where its sender wrote its time, the time of reading stands in its place.

    So the thief of a rotated key cannot date a forgery back, also if the topic is not under append time any more.
    """
    found = received_of(message)
    return found if appended_at(message) is not None else replace(found, appended_at=clock_ms())


def _without_ends(messages: Sequence[Message], ends: dict[Place, int]) -> list[Message]:
    """Return the records among messages, and note the ends that were reached. Raises KafkaException for an error."""
    records = []
    for message in messages:
        error = message.error()
        if error is None:
            records.append(message)
        elif error.name() == "_PARTITION_EOF":
            ends[message.topic() or "", message.partition() or 0] = message.offset() or 0
        elif not error.retriable():
            raise KafkaException(error)
    return records
