"""Where a worker resumes, and with which state: the log wins.

The last audit entry says which intake record was folded last; the committed offset is only compared with it. State
comes from the changelog if its head fits that entry, else from folding the log again, loudly. All of this runs on a
thread beside the loop: it may be long, and may have to wait for the transaction of a worker that died.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import Message

from processors.evidence.audit_log import log_leaf
from processors.intake.identify import Claim, read
from processors.proof import signing
from processors.proof.signing import PROOF_HEADER, MalformedProofError, Place, Proof, SignatureError
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.step import step
from producers.kafka.consuming import UnreadableBatchError
from schemas import codec
from schemas.errors import InstallationError
from schemas.records import AuditEntry
from schemas.rows import StateHead
from schemas.topics import AUDIT, INTAKE, STATE, Topic, tenant_of
from schemas.words import Outcome
from streams.history.folded import RuledIntake, received_of
from streams.worker.fold import TenantFold
from streams.worker.restart_reading import AppendedIntake, RestartReader
from streams.worker.resume_errors import (
    LogMismatchError,
    NotConfiguredError,
    ResumeError,
    ResumeMismatchError,
    StateMismatchError,
)
from streams.worker.state_head import HEAD_KEY

log = logging.getLogger(__name__)

TAIL_OFFSETS = 4096  # how far back the last entry may lie; markers of transactions take offsets too
MADE_AGAIN = "it lost what was folded and grew again"


@dataclass(frozen=True, slots=True)
class Tail:
    """The last audit entry."""

    index: int
    leaf: bytes
    entry: AuditEntry

    @property
    def offset(self) -> int:
        """Of the intake record that was folded last."""
        return self.entry.offset


class Restoration:
    """One partition's fold on its way to the end of its log, on a thread of its own."""

    def __init__(self, topic: str, open_fold: Callable[[str], TenantFold | None], reader: RestartReader) -> None:
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
        except (OSError, ValueError, InstallationError) as exc:
            raise NotConfiguredError(str(exc)) from exc
        if fold is None:
            raise NotConfiguredError("the tenant is not configured on this worker")
        return fold, resume(fold, self.reader)


def resume(fold: TenantFold, reader: RestartReader) -> int:
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
    with closing(AppendedIntake(reader, INTAKE.of(tenant), high)) as intake:
        _check_intake(fold, intake, tail, low)
        rows: dict[bytes, bytes] = {}
        try:
            _read_latest(reader, _topic(fold, STATE), rows)
            _restore(fold, rows, tail)
        except (StateMismatchError, codec.SchemaError, UnreadableBatchError) as exc:
            log.warning("%s: %s: %s; folding the log again from its start", tenant, exc.code, exc)
            _rebuild(fold, reader, intake, tail, low)
            fold.state.reset_to(fold.tables, rows)
    return position


def _check_intake(fold: TenantFold, intake: AppendedIntake, tail: Tail, low: int) -> None:
    """Look whether intake is still the one that was folded: an intake that lost its tail, or all, may have grown again.

    Raises:
        ResumeMismatchError: its first record is not the founding event, or its last folded one not the last entry's.
    """
    tables = fold.tables
    if low == 0 and (first := _claimed(tables, intake, 0)) is not None and first.datum_sha256 != tables.genesis:
        raise ResumeMismatchError(f"{tables.tenant_id}: intake does not begin with the founding event: {MADE_AGAIN}")
    if low <= tail.offset and tail.entry.outcome != Outcome.SKIPPED:
        last = _claimed(tables, intake, tail.offset)
        if last is not None and last.leaf != tail.entry.event:
            raise ResumeMismatchError(
                f"{tables.tenant_id}: the record at offset {tail.offset} is not the one that was folded: {MADE_AGAIN}"
            )


def _claimed(tables: Tables, intake: AppendedIntake, offset: int) -> Claim | None:
    """Return what the record at an offset claims, an empty claim where there is none; None where it cannot be read."""
    try:
        message = next(intake.read(offset), None)
    except UnreadableBatchError as exc:
        log.warning("%s: not compared with the log: %s", tables.tenant_id, exc)
        return None
    is_there = message is not None and message.offset() == offset
    return read(tables, received_of(message)) if message is not None and is_there else Claim(leaf=b"")


def _tail(fold: TenantFold, reader: RestartReader, topic: str) -> Tail | None:
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
    return Tail(entry.index, leaf, entry)


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


def _read_latest(reader: RestartReader, topic: str, rows: dict[bytes, bytes]) -> None:
    """Read the latest row of each key. Raises UnreadableBatchError with what stood before it read."""
    low, high = reader.end(topic)
    for message in reader.read(topic, low, high):
        key, value = message.key() or b"", message.value()
        rows.pop(key, None)  # a rewritten row moves to the end
        if value is not None:
            rows[key] = value


def _restore(fold: TenantFold, stored: Mapping[bytes, bytes], tail: Tail) -> None:
    """Take the rows of the changelog. Raises StateMismatchError unless their head is that of the last entry."""
    if HEAD_KEY not in stored:
        raise StateMismatchError("the changelog has no head")
    head: StateHead = codec.decode_as(StateHead, stored[HEAD_KEY])
    if head.audit_index != tail.index:
        raise StateMismatchError(f"the head is of audit index {head.audit_index}, want {tail.index}")
    rows = [(full, value) for full, value in stored.items() if full != HEAD_KEY]
    for full, value in rows:
        fold.state.restore(full, value)
    if not fold.state.matches(head):
        raise StateMismatchError("the rows do not match their head")
    tables = fold.tables.by_name
    decoded = [(*full.partition(b"/")[::2], codec.decode(*codec.unframe(value))) for full, value in rows]
    if unknown := {name.decode() for name, _, _ in decoded} - tables.keys():
        raise StateMismatchError(f"rows of tables that are no longer kept: {sorted(unknown)}")
    for name, key, row in decoded:
        tables[name.decode()].restore(key, row)
    fold.tables.resume_at(next_index=tail.index + 1, prev=tail.leaf, now=tail.entry.now)


def _rebuild(fold: TenantFold, reader: RestartReader, appended: AppendedIntake, tail: Tail, low: int) -> None:
    """Fold intake again up to the last entry, with the rulings that its entries name.

    Raises:
        StateMismatchError: intake no longer begins with the founding event.
        LogMismatchError: the log does not come out the same.
    """
    if low > 0:
        raise StateMismatchError(f"the log cannot be folded again: intake begins at offset {low}")
    intake = RuledIntake(appended, fold.tables)
    for message in reader.read(_topic(fold, AUDIT), *reader.end(_topic(fold, AUDIT))):
        received = intake.take(_entry(message)[0])
        if received is None:
            break
        try:
            step(fold.tables, received, fold.heads)
        except Refusal as exc:
            raise LogMismatchError(f"a ruling that the audit log names does not hold: {exc.reason}") from exc
        fold.tables.commit()
    if fold.tables.prev != tail.leaf:
        raise LogMismatchError(f"{fold.tables.tenant_id}: intake does not give audit entry {tail.index}")


def _topic(fold: TenantFold, topic: Topic) -> str:
    return topic.of(fold.tables.tenant_id)
