"""Where a worker resumes, and with which state: the log wins.

The last audit entry says which intake record was folded last; the committed offset is only compared with it. State
comes from the changelog if its head fits that entry, else from folding the log again, loudly.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from processors.audit import log_leaf
from processors.intake import Received
from processors.step import step
from producers.consuming import ReadTimeoutError, patiently, read_to, watermarks
from schemas import codec, limits
from schemas.records import AuditEntry
from schemas.rows import StateHead
from schemas.topics import AUDIT, INTAKE, STATE, Topic
from streams.fold import TenantFold
from streams.state_head import HEAD_KEY

log = logging.getLogger(__name__)

TAIL_OFFSETS = 4096  # how far back the last entry may lie; markers of transactions take offsets too
READ_SECONDS_MAX = limits.TRANSACTION_TIMEOUT_MS / 1000 + 5


class ResumeError(RuntimeError):
    """The partition cannot be resumed safely; it stays paused."""

    code = "RESUME_FAILED"


class ResumeMismatchError(ResumeError):
    """A committed offset lies above the log: records were consumed that the log does not hold."""

    code = "RESUME_MISMATCH"


class LogMismatchError(ResumeError):
    """Folding intake again does not give the audit log: one of the two was changed."""

    code = "LOG_MISMATCH"


class StateMismatchError(ResumeError):
    """The changelog does not give the state of the last audit entry."""

    code = "STATE_MISMATCH"


@dataclass(frozen=True, slots=True)
class Tail:
    """The last audit entry."""

    index: int
    leaf: bytes
    now: int
    offset: int


def received_of(message: Message) -> Received:
    """Return an intake record as the fold takes it."""
    _, appended_at = message.timestamp()
    headers: Any = message.headers() or ()
    return Received(message.partition() or 0, message.offset() or 0, appended_at, message.value(), headers)


class Reader:
    """Reads whole topics for a restart, with a `read_committed` consumer of the worker's own group."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._consumer = Consumer({**settings, "isolation.level": "read_committed", "enable.partition.eof": True})

    def close(self) -> None:
        self._consumer.close()

    def committed(self, topic: str) -> int | None:
        """Return the committed offset of intake, or None. Waits out an open transaction that holds the offset."""
        place = TopicPartition(topic, 0)
        [position] = patiently(lambda: self._consumer.committed([place], timeout=READ_SECONDS_MAX))
        return position.offset if position.offset >= 0 else None

    def end(self, topic: str) -> tuple[int, int]:
        """Return (first offset, high watermark), which counts what is not committed yet."""
        return watermarks(self._consumer, topic)

    def read(self, topic: str, start: int, end: int) -> Iterator[Message]:
        """Yield committed records from `start` until the position reaches `end`.

        Raises:
            ResumeError: it does not within the transaction timeout and 5 s without progress.
        """
        try:
            yield from read_to(self._consumer, TopicPartition(topic, 0, start), end, idle_seconds=READ_SECONDS_MAX)
        except ReadTimeoutError as exc:
            raise ResumeError(str(exc)) from exc


def resume(fold: TenantFold, reader: Reader) -> int:
    """Bring `fold` to the state of its last audit entry and return the intake offset to go on at.

    Raises:
        ResumeError: RESUME_MISMATCH, LOG_MISMATCH, or a topic that cannot be read.
    """
    tenant = fold.tables.tenant_id
    committed = reader.committed(INTAKE.of(tenant))
    tail = _tail(reader, AUDIT.of(tenant))
    position = tail.offset + 1 if tail else 0
    if committed is not None and committed > position:
        raise ResumeMismatchError(f"{tenant}: committed offset {committed} is above the log's {position}")
    if tail is None:
        return 0
    try:
        _restore(fold, reader, tail)
    except (StateMismatchError, codec.SchemaError) as exc:
        log.warning("%s: %s; folding the log again from its start", tenant, exc)
        _rebuild(fold, reader, tail)
    return position


def _tail(reader: Reader, topic: str) -> Tail | None:
    low, high = reader.end(topic)
    reach = TAIL_OFFSETS
    while True:
        start = max(low, high - reach)
        last = None
        for message in reader.read(topic, start, high):
            last = message
        if last is not None:
            return _tail_of(last)
        if start <= low:
            return None
        reach *= 4


def _tail_of(message: Message) -> Tail:
    value = message.value() or b""
    schema, body = codec.unframe(value)
    entry: AuditEntry = codec.decode(schema, body)
    return Tail(entry.index, log_leaf(schema.sha256, body), entry.now, entry.offset)


def _restore(fold: TenantFold, reader: Reader, tail: Tail) -> None:
    """Take the rows of the changelog. Raises StateMismatchError unless their head is that of the last entry."""
    rows, head = _latest_rows(reader, _topic(fold, STATE))
    if head is None or head.audit_index != tail.index:
        raise StateMismatchError(f"STATE_MISMATCH: head {head and head.audit_index}, want {tail.index}")
    for full, value in rows.items():
        fold.state.restore(full, value)
    if not fold.state.matches(head):
        raise StateMismatchError("STATE_MISMATCH: the rows do not match their head")
    decoded = [(*full.partition(b"/")[::2], codec.decode(*codec.unframe(value))) for full, value in rows.items()]
    for name, key, row in decoded:
        fold.tables.by_name[name.decode()].restore(key, row)
    fold.tables.resume_at(next_index=tail.index + 1, prev=tail.leaf, now=tail.now)


def _latest_rows(reader: Reader, topic: str) -> tuple[dict[bytes, bytes], StateHead | None]:
    rows: dict[bytes, bytes] = {}
    low, high = reader.end(topic)
    for message in reader.read(topic, low, high):
        key, value = message.key() or b"", message.value()
        rows.pop(key, None)  # a rewritten row moves to the end
        if value is not None:
            rows[key] = value
    head = rows.pop(HEAD_KEY, None)
    return rows, codec.decode_as(StateHead, head) if head is not None else None


def _rebuild(fold: TenantFold, reader: Reader, tail: Tail) -> None:
    """Fold intake again up to the last entry. Raises LogMismatchError unless the log comes out the same."""
    for message in reader.read(_topic(fold, INTAKE), 0, tail.offset + 1):
        step(fold.tables, received_of(message), fold.heads)
        fold.tables.commit()
        if fold.tables.next_index > tail.index:
            break
    if fold.tables.prev != tail.leaf:
        raise LogMismatchError(f"{fold.tables.tenant_id}: LOG_MISMATCH at audit index {tail.index}")
    fold.state.reset_to(fold.tables)


def _topic(fold: TenantFold, topic: Topic) -> str:
    return topic.of(fold.tables.tenant_id)
