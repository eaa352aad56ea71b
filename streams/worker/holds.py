"""Partitions that are held: at a batch that cannot be read, or at a record that is ahead of the worker's clock.

Nothing after such a place is folded, because the order of intake decides. A partition goes on when the time has come,
or when an admin's ruling is found later in the same intake (`processors.evidence.rulings`). A thread beside the loop
looks for rulings, with one consumer for all held partitions. For operators: docs/incidents.md.

    intake   offset 40 ok | offsets 41 to 43 cannot be read | 44 a call | 45 RecordsSkipped(first=41, last=43)
    hold     at offset 41; the log says `macaw intake skip 41 43`, and the lookout reads on and finds the ruling at 45
    fold     40, then 41 to 43 as skipped records with that ruling, then 44 and 45 as they stand
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
from schemas import limits
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.topics import tenant_of
from streams.history.records import received_of
from streams.history.ruling_search import body_of

log = logging.getLogger(__name__)

RECORDS_AT_ONCE = 256
CANDIDATES_MAX = 64  # possible rulings that wait for the loop to judge them
PAUSE_SECONDS = 1.0  # before the next attempt, after the brokers did not answer
INCIDENTS = "docs/incidents.md"


@dataclass(slots=True, eq=False)
class Hold:
    """A hold of a partition at an offset, and its reason.

    With `appended_at` (ms) the record at the offset is ahead of the clock; without it the batch cannot be read.
    """

    topic: str
    offset: int
    appended_at: int | None = None
    why: str = ""
    behind: int | None = None  # the first offset after the batch that cannot be read, once it is known
    is_readable: bool = False  # the batch can be read again: a disk was repaired, or another replica leads
    is_told: bool = False  # True once the log names the offsets that cannot be read
    rejected: int = 0  # events that claimed to be a ruling and were not valid
    candidates: deque[Received] = field(default_factory=deque)  # events that claim to be a ruling on the offset

    @property
    def wants(self) -> type[RecordsSkipped | TimeAccepted]:
        return RecordsSkipped if self.appended_at is None else TimeAccepted

    @property
    def is_measured(self) -> bool:
        """True if the end of the batch that cannot be read is known."""
        return self.behind is not None

    def is_over(self, now_ms: int) -> bool:
        """True if the clock has caught up, or the batch can be read again."""
        if self.appended_at is None:
            return self.is_readable
        return self.appended_at <= now_ms + limits.LOG_AHEAD_MS_MAX

    def told(self, now_ms: int) -> str:
        """Return the message for operators: the code, the fault, the offsets and the next command."""
        tenant = tenant_of(self.topic)
        if self.appended_at is not None:
            return (
                f"CLOCK_AHEAD: the broker's append time of the record at offset {self.offset} is "
                f"{_utc(self.appended_at)}, and this worker's clock says {_utc(now_ms)}. Correct the clock that is "
                "wrong: this worker's if all its tenants are held, else the broker's; the partition goes on by itself "
                f"when the time has come. Or accept the time with `macaw intake accept-time {self.offset} --tenant "
                f"{tenant} --reason …`. See {INCIDENTS}"
            )
        if self.behind is None:
            return (
                f"UNREADABLE_BATCH: offset {self.offset} cannot be read: {self.why}. The worker is looking for the "
                "last offset that is affected, and will log the command"
            )
        is_one = self.behind == self.offset + 1
        what = f"offset {self.offset}" if is_one else f"offsets {self.offset} to {self.behind - 1}"
        command = f"{self.offset}" if is_one else f"{self.offset} {self.behind - 1}"
        return (
            f"UNREADABLE_BATCH: {what} cannot be read: {self.why}. Check the broker's disk and the topic; if the "
            f"records are lost, run `macaw intake skip {command} --tenant {tenant} --reason …`. See {INCIDENTS}"
        )

    def place(self, ruling: Ruling) -> Received:
        """Return a placeholder for the held record, with a ruling on it."""
        return Received(INTAKE_PARTITION, self.offset, self.appended_at or 0, None, (), ruling)


def _utc(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError):
        return f"{ms} ms"


class Lookout:
    """Reads ahead of held partitions and collects possible rulings. Its thread runs while there is a hold."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = {**settings, "enable.partition.eof": True, "isolation.level": "read_uncommitted"}
        self._lock = threading.Lock()
        self._positions: dict[Hold, int] = {}
        self._read_for: dict[str, Hold] = {}  # by topic, the hold for which the consumer reads; for the thread only
        self._is_changed = False
        self._thread: threading.Thread | None = None

    def watch(self, hold: Hold) -> None:
        """Look for rulings on a hold, from its offset on."""
        with self._lock:
            self._positions[hold] = hold.offset
            self._is_changed = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)
                self._thread.start()

    def forget(self, hold: Hold) -> None:
        """Stop looking for rulings on a hold."""
        with self._lock:
            self._positions.pop(hold, None)
            self._is_changed = True

    def close(self) -> None:
        """Ask the thread to end. It ends within about a second; this call does not wait for it."""
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
                    log.warning("cannot read ahead of held partitions: %s; trying again", exc)
                    time.sleep(PAUSE_SECONDS)
                    with self._lock:
                        self._is_changed = True  # the consumer may have lost its assignment
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> bool:
        """Assign the consumer to the watched holds; return False if there is none, and the thread ends."""
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
        """Take note of a record or an error; return False if the consumer must be assigned anew.

        A message counts for the hold for which it was read. A newer hold of the same topic has its own offset.
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
    """True if an event claims to be a ruling on a hold. Its signature is not checked here."""
    body = body_of(received, hold.wants)
    return body is not None and body.first <= hold.offset <= body.last
