"""Where a worker resumes, and with which state: the log wins.

The last audit entry says which intake record was folded last; the committed offset is only compared with it. State
comes from the changelog if its head fits that entry, else from folding the log again, loudly. All of this runs on a
thread beside the loop: it may be long, and may have to wait for the transaction of a worker that died.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from processors import signing
from processors.audit import log_leaf
from processors.intake import PROOF_HEADER, Received
from processors.refusal import Refusal
from processors.signing import MalformedProofError, Place, Proof, SignatureError
from processors.step import step
from producers.consuming import METADATA_SECONDS, ReadTimeoutError, headers_of, read_to, watermarks
from schemas import codec, limits
from schemas.records import AuditEntry
from schemas.rows import StateHead
from schemas.topics import AUDIT, INTAKE, STATE, Topic, tenant_of
from streams.fold import TenantFold
from streams.state_head import HEAD_KEY

log = logging.getLogger(__name__)

TAIL_OFFSETS = 4096  # how far back the last entry may lie; markers of transactions take offsets too
READ_SECONDS_MAX = limits.TRANSACTION_TIMEOUT_MS / 1000 + 5
STOP_SECONDS = 1.0  # how soon a restoration that is no longer wanted ends


class ResumeError(RuntimeError):
    """The partition cannot be resumed; it stays paused. One that may pass is tried again."""

    code = "RESUME_FAILED"
    is_passing = True


class NotConfiguredError(ResumeError):
    """The tenant has no keys on this worker, or they cannot be read."""

    code = "NOT_CONFIGURED"


class ResumeMismatchError(ResumeError):
    """Intake and the log do not meet: records were consumed that the log does not hold, or were lost unread."""

    code = "RESUME_MISMATCH"
    is_passing = False


class LogMismatchError(ResumeError):
    """Folding intake again does not give the audit log: one of the two was changed."""

    code = "LOG_MISMATCH"
    is_passing = False


class StateMismatchError(ResumeError):
    """The changelog does not give the state of the last audit entry, and nothing else does either."""

    code = "STATE_MISMATCH"
    is_passing = False


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
    headers: Any = headers_of(message)
    return Received(message.partition() or 0, message.offset() or 0, appended_at, message.value(), headers)


class Reader:
    """Reads whole topics for a restart, with consumers of the worker's own group that never join it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        # The last offset of a transactional topic is a marker: its end shows only in an answer without records.
        shared = {**settings, "enable.partition.eof": True, "fetch.wait.max.ms": 20}
        self._committed = Consumer({**shared, "isolation.level": "read_committed"})
        self._appended = Consumer({**shared, "isolation.level": "read_uncommitted"})
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End what is being read, from another thread, with a ResumeError there."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    def close(self) -> None:
        self._committed.close()
        self._appended.close()

    def committed(self, topic: str) -> int | None:
        """Return the committed offset of intake, or None. Waits out an open transaction that holds the offset.

        Raises:
            ResumeError: it stays open for longer than the transaction timeout and 5 s.
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
            self._check(until, f"no committed offset of {topic}: {why}")

    def end(self, topic: str) -> tuple[int, int]:
        """Return (first offset, high watermark), which counts what is not committed yet.

        A read_committed consumer would be told the last stable offset, and a transaction that is still open, or whose
        markers are on their way, would be missed.
        """
        return watermarks(self._appended, topic)

    def read(self, topic: str, start: int, end: int) -> Iterator[Message]:
        """Yield committed records from `start` until the position reaches `end`.

        Raises:
            ResumeError: it does not within the transaction timeout and 5 s without progress.
        """
        return self._read(self._committed, topic, start, end)

    def read_appended(self, topic: str, start: int, end: int) -> Iterator[Message]:
        """Yield records as `read`, committed or not: the loop takes intake like that, an intruder's included."""
        return self._read(self._appended, topic, start, end)

    def _read(self, consumer: Consumer, topic: str, start: int, end: int) -> Iterator[Message]:
        # Metadata first: a consumer that must look for a topic's leader while it reads does so once a second only.
        consumer.list_topics(topic, timeout=METADATA_SECONDS)
        until = time.monotonic() + READ_SECONDS_MAX
        while True:
            try:
                for message in read_to(consumer, TopicPartition(topic, 0, start), end, idle_seconds=STOP_SECONDS):
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


class Restoration:
    """One partition's fold on its way to the end of its log, on a thread of its own."""

    def __init__(self, topic: str, open_fold: Callable[[str], TenantFold | None], reader: Reader) -> None:
        self.reader = reader
        self._topic = topic
        self._open_fold = open_fold
        self._future: Future[tuple[TenantFold, int]] = Future()
        threading.Thread(target=self._run, name=f"restore {topic}", daemon=True).start()

    @property
    def is_done(self) -> bool:
        return self._future.done()

    def result(self) -> tuple[TenantFold, int]:
        """Return the restored fold and the intake offset to go on at. Raises ResumeError. Requires `is_done`."""
        return self._future.result(0)

    def stop(self) -> None:
        """Give it up: its thread ends within about a second, and closes the reader."""
        self.reader.stop()

    def _run(self) -> None:
        try:
            self._future.set_result(self._restored())
        except ResumeError as exc:
            self._future.set_exception(exc)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is this tenant's; the loop reports it
            failed = ResumeError(f"{type(exc).__name__}: {exc}")
            failed.__cause__ = exc
            self._future.set_exception(failed)
        if self.reader.is_stopped:
            self.reader.close()

    def _restored(self) -> tuple[TenantFold, int]:
        try:
            fold = self._open_fold(tenant_of(self._topic))
        except (OSError, ValueError) as exc:
            raise NotConfiguredError(str(exc)) from exc
        if fold is None:
            raise NotConfiguredError("the tenant is not configured on this worker")
        return fold, resume(fold, self.reader)


def resume(fold: TenantFold, reader: Reader) -> int:
    """Bring `fold` to the state of its last audit entry and return the intake offset to go on at.

    Raises:
        ResumeError: RESUME_MISMATCH, LOG_MISMATCH, STATE_MISMATCH, or a topic that cannot be read.
    """
    tenant = fold.tables.tenant_id
    # First: once it answers, no transaction of an earlier owner is open that could still move the log.
    committed = reader.committed(INTAKE.of(tenant))
    tail = _tail(fold, reader, AUDIT.of(tenant))
    position = tail.offset + 1 if tail else 0
    if committed is not None and committed > position:
        raise ResumeMismatchError(f"{tenant}: committed offset {committed} is above the log's {position}")
    low, high = reader.end(INTAKE.of(tenant))
    if not low <= position <= high:
        raise ResumeMismatchError(f"{tenant}: the log goes on at {position}, but intake holds {low} to {high}")
    if tail is None:
        return 0
    rows = _latest_rows(reader, _topic(fold, STATE))
    try:
        _restore(fold, rows, tail)
    except (StateMismatchError, codec.SchemaError) as exc:
        log.warning("%s: %s; folding the log again from its start", tenant, exc)
        _rebuild(fold, reader, tail, low)
        fold.state.reset_to(fold.tables, rows)
    return position


def _tail(fold: TenantFold, reader: Reader, topic: str) -> Tail | None:
    low, high = reader.end(topic)
    reach = TAIL_OFFSETS
    while True:
        start = max(low, high - reach)
        before, last = None, None
        for message in reader.read(topic, start, high):
            before, last = last, message
        if last is not None:
            return _tail_of(fold, last, before)
        if start <= low:
            return None
        reach *= 4


def _tail_of(fold: TenantFold, message: Message, before: Message | None) -> Tail:
    """Read the last entry.

    Raises:
        LogMismatchError: it is not signed by the decision key, or does not link to the one before (where at hand).
    """
    _check_signature(fold, message)
    entry, leaf = _entry(message)
    if before is not None and entry.prev != _entry(before)[1]:
        raise LogMismatchError(f"the last audit entry, at offset {message.offset()}, does not follow the one before")
    return Tail(entry.index, leaf, entry.now, entry.offset)


def _check_signature(fold: TenantFold, message: Message) -> None:
    """Whoever may write to the audit topic could else say where the worker goes on."""
    received = received_of(message)
    tables = fold.tables
    try:
        schema, body = codec.unframe(received.value or b"")
        place = Place.of(signing.AUDIT_TAG, tables.genesis, AUDIT.of(tables.tenant_id), 0, schema.sha256)
        proof = Proof.parse(received.header(PROOF_HEADER))
        head = proof.head(place.leaf(body))
        signing.verify_signature(fold.signing.public, head, proof.signature)
    except (Refusal, codec.SchemaError, MalformedProofError, SignatureError) as exc:
        raise LogMismatchError(f"the last audit entry, at offset {message.offset()}, is not the monitor's") from exc


def _entry(message: Message) -> tuple[AuditEntry, bytes]:
    value = message.value() or b""
    try:
        entry: AuditEntry = codec.decode_as(AuditEntry, value)
    except codec.SchemaError as exc:
        raise LogMismatchError(f"no audit entry at offset {message.offset()}: {exc}") from exc
    schema, body = codec.unframe(value)
    return entry, log_leaf(schema.sha256, body)


def _latest_rows(reader: Reader, topic: str) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    low, high = reader.end(topic)
    for message in reader.read(topic, low, high):
        key, value = message.key() or b"", message.value()
        rows.pop(key, None)  # a rewritten row moves to the end
        if value is not None:
            rows[key] = value
    return rows


def _restore(fold: TenantFold, stored: Mapping[bytes, bytes], tail: Tail) -> None:
    """Take the rows of the changelog. Raises StateMismatchError unless their head is that of the last entry."""
    if HEAD_KEY not in stored:
        raise StateMismatchError("STATE_MISMATCH: the changelog has no head")
    head: StateHead = codec.decode_as(StateHead, stored[HEAD_KEY])
    if head.audit_index != tail.index:
        raise StateMismatchError(f"STATE_MISMATCH: the head is of audit index {head.audit_index}, want {tail.index}")
    rows = [(full, value) for full, value in stored.items() if full != HEAD_KEY]
    for full, value in rows:
        fold.state.restore(full, value)
    if not fold.state.matches(head):
        raise StateMismatchError("STATE_MISMATCH: the rows do not match their head")
    tables = fold.tables.by_name
    decoded = [(*full.partition(b"/")[::2], codec.decode(*codec.unframe(value))) for full, value in rows]
    if unknown := {name.decode() for name, _, _ in decoded} - tables.keys():
        raise StateMismatchError(f"STATE_MISMATCH: rows of tables that are no longer kept: {sorted(unknown)}")
    for name, key, row in decoded:
        tables[name.decode()].restore(key, row)
    fold.tables.resume_at(next_index=tail.index + 1, prev=tail.leaf, now=tail.now)


def _rebuild(fold: TenantFold, reader: Reader, tail: Tail, low: int) -> None:
    """Fold intake again up to the last entry.

    Raises:
        StateMismatchError: intake no longer begins with the founding event.
        LogMismatchError: the log does not come out the same.
    """
    if low > 0:
        raise StateMismatchError(f"the log cannot be folded again: intake begins at offset {low}")
    for message in reader.read_appended(_topic(fold, INTAKE), 0, tail.offset + 1):
        step(fold.tables, received_of(message), fold.heads)
        fold.tables.commit()
    if fold.tables.prev != tail.leaf:
        raise LogMismatchError(f"{fold.tables.tenant_id}: intake does not give audit entry {tail.index}")


def _topic(fold: TenantFold, topic: Topic) -> str:
    return topic.of(fold.tables.tenant_id)
