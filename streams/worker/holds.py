"""Partitions that are held: at a batch that cannot be read, or at a record that is ahead of the worker's clock.

Nothing behind such a place is folded, for the order of intake is what counts. What lets a partition go on is the right
time, or an admin's ruling that stands further on on the same intake (`processors.evidence.rulings`): it is looked for
by a thread beside the loop, with one consumer for all partitions that are held. What to do: docs/incidents.md.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from processors.intake.identify import Received, Ruling
from processors.proof.signing import INTAKE_PARTITION
from producers.kafka.consuming import UNREADABLE, WAIT_SECONDS, behind_unreadable, take, watermarks
from schemas import codec, limits
from schemas.records import Event
from schemas.rulings import RecordsSkipped, TimeAccepted
from schemas.topics import tenant_of
from streams.history.folded import received_of

log = logging.getLogger(__name__)

RECORDS_AT_ONCE = 256
CANDIDATES_MAX = 64  # that wait for the loop to judge them
PAUSE_SECONDS = 1.0  # after the brokers did not answer
INCIDENTS = "docs/incidents.md"


@dataclass(slots=True, eq=False)
class Hold:
    """Why a partition is held at an offset. With `appended_at` it is ahead of the clock, else it cannot be read."""

    topic: str
    offset: int
    appended_at: int | None = None
    why: str = ""
    behind: int | None = None  # of a batch that cannot be read: the offset after it, once that is known
    is_readable: bool = False  # after all: a disk was mended, or another replica leads
    is_told: bool = False  # which offsets those are
    rejected: int = 0  # events that looked like a ruling, and were none
    candidates: deque[Received] = field(default_factory=deque)  # events that say they are a ruling on the offset

    @property
    def wants(self) -> type[RecordsSkipped | TimeAccepted]:
        return RecordsSkipped if self.appended_at is None else TimeAccepted

    @property
    def is_measured(self) -> bool:
        """Whether it is known how far what cannot be read goes."""
        return self.behind is not None

    def is_over(self, now_ms: int) -> bool:
        """Whether the clock has caught up, or what could not be read can be."""
        if self.appended_at is None:
            return self.is_readable
        return self.appended_at <= now_ms + limits.LOG_AHEAD_MS_MAX

    def told(self, now_ms: int) -> str:
        """Say what is wrong, where, and what to do."""
        tenant = tenant_of(self.topic)
        if self.appended_at is not None:
            return (
                f"CLOCK_AHEAD: the broker says that the record at offset {self.offset} was appended at "
                f"{_utc(self.appended_at)}, and here it is {_utc(now_ms)}: set the clock that is wrong, this worker's "
                "if all its tenants are held, and it goes on by itself when the time comes; or `macaw intake "
                f"accept-time {self.offset} --tenant {tenant} --reason …`; read {INCIDENTS}"
            )
        if self.behind is None:
            return f"UNREADABLE_BATCH: offset {self.offset} cannot be read: {self.why}; how far that goes is looked at"
        is_one = self.behind == self.offset + 1
        what = f"offset {self.offset}" if is_one else f"offsets {self.offset} to {self.behind - 1}"
        command = f"{self.offset}" if is_one else f"{self.offset} {self.behind - 1}"
        return (
            f"UNREADABLE_BATCH: {what} cannot be read: {self.why}; look at the broker's disk and topic, and then "
            f"`macaw intake skip {command} --tenant {tenant} --reason …`; read {INCIDENTS}"
        )

    def place(self, ruling: Ruling) -> Received:
        """Return what stands for the record that is held, with a ruling on it."""
        return Received(INTAKE_PARTITION, self.offset, self.appended_at or 0, None, (), ruling)

    def skipped(self, last: int, ruling: Ruling) -> list[Received]:
        """Return what stands for the records that are skipped, up to `last` or to the end of what cannot be read."""
        assert self.behind is not None
        offsets = range(self.offset, min(last + 1, self.behind))
        return [Received(INTAKE_PARTITION, offset, 0, None, (), ruling) for offset in offsets]


def _utc(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError):
        return f"{ms} ms"


class Lookout:
    """Looks ahead of held partitions. The thread and its consumer live as long as something is held."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = {**settings, "enable.partition.eof": True, "isolation.level": "read_uncommitted"}
        self._lock = threading.Lock()
        self._positions: dict[Hold, int] = {}
        self._read_for: dict[str, Hold] = {}  # by topic, what the consumer's assignment was made for; the thread's own
        self._is_changed = False
        self._thread: threading.Thread | None = None

    def watch(self, hold: Hold) -> None:
        """Look for rulings on a place, from there on."""
        with self._lock:
            self._positions[hold] = hold.offset
            self._is_changed = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)
                self._thread.start()

    def forget(self, hold: Hold) -> None:
        """Look no longer."""
        with self._lock:
            self._positions.pop(hold, None)
            self._is_changed = True

    def close(self) -> None:
        """End the thread; it takes a moment."""
        with self._lock:
            self._positions.clear()

    def _run(self) -> None:
        consumer = Consumer(self._settings)
        try:
            while self._assign(consumer):
                try:
                    messages = take(consumer, RECORDS_AT_ONCE, WAIT_SECONDS)[::-1]
                    while messages and self._note(consumer, messages.pop()):
                        pass
                except (KafkaException, RuntimeError) as exc:  # the brokers do not answer
                    log.warning("looking ahead of held partitions: %s", exc)
                    time.sleep(PAUSE_SECONDS)
                    with self._lock:
                        self._is_changed = True  # the consumer may have lost its assignment
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> bool:
        """Follow what is watched; False where that is nothing any more."""
        with self._lock:
            if not self._positions:
                self._thread = None
                return False
            changed, self._is_changed = self._is_changed, False
            positions = dict(self._positions)
        if changed:
            self._read_for = {hold.topic: hold for hold in positions}
            consumer.assign([TopicPartition(hold.topic, 0, at) for hold, at in positions.items()])
        return True

    def _note(self, consumer: Consumer, message: Message) -> bool:
        """Take note of a record or an error; whether the consumer still reads where it did.

        A message belongs to the hold for which it was read: a newer hold of the same topic begins at its own offset.
        """
        hold = self._read_for.get(message.topic() or "")
        with self._lock:
            at = None if hold is None else self._positions.get(hold)
        error = message.error()
        if hold is None or at is None:
            return True
        if error is not None:
            if error.name() not in UNREADABLE:
                return True
            self._pass_unreadable(consumer, hold, at, max(message.offset() or 0, at))
            return False
        offset = message.offset() or 0
        if offset >= at:
            self._move(hold, offset + 1)
            hold.is_readable = hold.is_readable or offset == hold.offset
            received = received_of(message)
            if is_about(received, hold):
                while len(hold.candidates) >= CANDIDATES_MAX and self._is_watched(hold):
                    time.sleep(WAIT_SECONDS)
                hold.candidates.append(received)
        return True

    def _pass_unreadable(self, consumer: Consumer, hold: Hold, at: int, offset: int) -> None:
        _, high = watermarks(consumer, hold.topic)
        behind = behind_unreadable(consumer, TopicPartition(hold.topic, 0, offset), high)
        self._move(hold, behind)
        if at == hold.offset and hold.appended_at is None:
            hold.behind = behind
        with self._lock:
            self._is_changed = True

    def _move(self, hold: Hold, position: int) -> None:
        with self._lock:
            if hold in self._positions:
                self._positions[hold] = position

    def _is_watched(self, hold: Hold) -> bool:
        with self._lock:
            return hold in self._positions


def is_about(received: Received, hold: Hold) -> bool:
    """Whether an event says that it is a ruling on a place; nobody has looked at its signature."""
    try:
        event: Event = codec.decode_as(Event, received.value or b"")
    except codec.SchemaError:
        return False
    body = event.body
    return isinstance(body, hold.wants) and body.first <= hold.offset <= body.last
