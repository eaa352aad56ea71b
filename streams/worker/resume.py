"""Where a worker resumes, and with which state: the log wins.

The last audit entry names the intake record that was folded last; the committed offset is only compared with it. State
comes from the changelog if its head fits that entry; if not, the worker logs a warning and folds intake again. All of
this runs on a thread beside the loop: it may take long, and may have to wait for the transaction of a dead worker.

    audit log    last entry: index 41, intake offset 41
    intake       first record: the founding event; the record at offset 41 has the hash that entry 41 names
    changelog    head of audit index 41 with a MAC over that entry: its rows are the state, and folding goes on at 42
    audit log    the signature of entry 41, under a decision key that was valid for it, as that state has the keys

Until the last step nothing but the founding event is trusted. The last entry is believed because a MAC that only the
tenant's workers can make covers its leaf, or because folding intake again gives that leaf; and then a decision key of
the tenant must have signed it, this worker's or another's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import dataclass

from processors.calls.verifiers.loading import load, wanted
from processors.evidence.audit_log import entry_place
from processors.identity.keys import has_decision_key
from processors.intake.identify import Claim, Received, read
from processors.proof import signing
from processors.proof.signing import KID_HEADER, PROOF_HEADER, MalformedProofError, Proof, SignatureError
from processors.refusal import Refusal
from processors.state.engines import EngineMissingError
from processors.state.tables import Tables
from producers.kafka.consuming import UnreadableBatchError
from schemas import codec
from schemas.errors import InstallationError
from schemas.records import AuditEntry, PrincipalRevoked
from schemas.rows import StateHead
from schemas.topics import AUDIT, INTAKE, STATE, Topic, tenant_of
from schemas.words import Outcome, Role
from streams.history.kept_log import KeptLog
from streams.history.records import received_of
from streams.history.set_aside import offsets_of
from streams.history.state_rows import UnknownTableError, restore_rows
from streams.worker.fold import TenantFold
from streams.worker.rebuild import entry_of, rebuild
from streams.worker.restart_reading import RestartReader, RestartRecords
from streams.worker.resume_errors import (
    LogMismatchError,
    NoEngineError,
    NotConfiguredError,
    ResumeError,
    ResumeMismatchError,
    StateMismatchError,
    WaitError,
)
from streams.worker.signing.decision_keys import DecisionKeyError, MissingKeyError
from streams.worker.signing.stretch import LookAhead, Wait, WantedKeys, check_next
from streams.worker.state_head import HEAD_KEY

log = logging.getLogger(__name__)

TAIL_OFFSETS = 4096  # read first to find the last entry; markers of transactions take offsets too
MADE_AGAIN = "intake lost records that were folded, or was created again; see docs/incidents.md"


@dataclass(frozen=True, slots=True)
class Tail:
    """The last audit entry."""

    index: int
    leaf: bytes
    entry: AuditEntry
    record: Received

    @property
    def offset(self) -> int:
        """The offset of the intake record that was folded last."""
        return self.entry.offset


class Restoration:
    """Brings one partition's fold to the end of its log, on a thread of its own."""

    def __init__(
        self, topic: str, open_fold: Callable[[str], TenantFold | None], reader: RestartReader, wait: Wait | None = None
    ) -> None:
        """`wait` is left over from the last attempt; it is asked before anything is read."""
        self.reader = reader
        self._wait = wait
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
        """Stop restoring: the thread ends within about a second and closes the reader."""
        self.reader.stop()

    def _run(self) -> None:
        try:
            self._future.set_result(self._restored())
        except ResumeError as exc:
            self._future.set_exception(exc)
        except EngineMissingError as exc:
            self._future.set_exception(NoEngineError(exc.told))
        except Exception as exc:  # noqa: BLE001 - the fault of one tenant; the loop reports it and others go on
            failed = ResumeError(f"{type(exc).__name__}: {exc}")
            failed.__cause__ = exc
            self._future.set_exception(failed)
        if self.reader.is_stopped:
            self.reader.close()

    def _restored(self) -> tuple[TenantFold, int]:
        """Restore a fold that can sign for the next record. A key that it waits for may be there at once."""
        wait = self._wait
        while True:
            try:
                return self._restored_after(wait)
            except DecisionKeyError as exc:
                if not (wait is None or isinstance(wait, LookAhead)):
                    raise WaitError(exc.code, str(exc), exc.wait) from exc
                wait = exc.wait

    def _restored_after(self, wait: Wait | None) -> tuple[TenantFold, int]:
        fold = self._opened()
        if wait is not None:
            with closing(RestartRecords(self.reader, INTAKE, tenant_of(self._topic))) as intake:
                wait.check(fold.signatory, intake)
        position = resume(fold, self.reader)
        load(wanted(fold.tables))  # now, on this thread: else its first call would wait, and all tenants with it
        check_next(fold.tables, fold.signatory, position, wait)
        return fold, position

    def _opened(self) -> TenantFold:
        try:
            fold = self._open_fold(tenant_of(self._topic))
        except (OSError, ValueError, InstallationError) as exc:
            raise NotConfiguredError(str(exc)) from exc
        if fold is None:
            raise NotConfiguredError("the tenant is not configured on this worker")
        return fold


def resume(fold: TenantFold, reader: RestartReader) -> int:
    """Bring `fold` to the state of its last audit entry and return the intake offset to go on at.

    Raises:
        ResumeError: ResumeMismatchError, LogMismatchError, StateMismatchError, or a topic cannot be read.
        MissingKeyError: a key that is not on this worker signed the last entry, in a stretch without a live one.
        EngineMissingError: the engine of the next record, or of one that is folded again, is not installed here.
    """
    tenant = fold.tables.tenant_id
    # This is asked first: once it answers, no open transaction of an earlier owner can still append to the log.
    committed = reader.committed(INTAKE.of(tenant))
    tail = _tail(reader, AUDIT.of(tenant), offsets_of(fold.set_aside, AUDIT))
    position = tail.offset + 1 if tail else 0
    if committed is not None and committed > position:
        raise ResumeMismatchError(
            f"the committed offset {committed} is above offset {position}, where the audit log ends: records were "
            "consumed that the log does not hold; see docs/incidents.md"
        )
    with closing(RestartRecords(reader, INTAKE, tenant)) as intake:
        if not intake.low <= position <= intake.high:
            raise ResumeMismatchError(
                f"the audit log goes on at intake offset {position}, but intake holds offsets {intake.low} to "
                f"{intake.high}: intake lost records or was created again; see docs/incidents.md"
            )
        if tail is None:
            return 0
        _check_intake(fold, intake, tail)
        rows: dict[bytes, bytes] = {}
        try:
            _read_latest(reader, _topic(fold, STATE), rows)
            _restore(fold, rows, tail)
        except (StateMismatchError, codec.SchemaError, UnreadableBatchError) as exc:
            log.warning("%s: %s: %s; folding intake again from its start", tenant, exc.code, exc)
            _fold_again(fold, reader, intake, tail)
            fold.state.reset_to(fold.tables, rows)
    _check_signature(fold, tail)
    fold.tables.check_decides()
    return position


def _check_intake(fold: TenantFold, intake: RestartRecords, tail: Tail) -> None:
    """Check that intake is still the one that was folded. It may have lost records and then received new ones.

    Raises:
        ResumeMismatchError: the first record is not the founding event, or the record that the last entry names is
            another one now.
    """
    tables, low = fold.tables, intake.low
    if low == 0 and (first := _claimed(tables, intake, 0)) is not None and first.datum_sha256 != tables.genesis:
        raise ResumeMismatchError(f"intake does not begin with the founding event: {MADE_AGAIN}")
    if low <= tail.offset and tail.entry.outcome != Outcome.SKIPPED:
        last = _claimed(tables, intake, tail.offset)
        if last is not None and last.leaf != tail.entry.event:
            raise ResumeMismatchError(
                f"the record at intake offset {tail.offset} is not the one that was folded: {MADE_AGAIN}"
            )


def _claimed(tables: Tables, intake: RestartRecords, offset: int) -> Claim | None:
    """Return the claim of the record at an offset: an empty claim without a record, None if it cannot be read."""
    try:
        found = next(intake.read(offset), None)
    except UnreadableBatchError as exc:
        log.warning("%s: offset %d of intake is not compared with the log: %s", tables.tenant_id, offset, exc)
        return None
    return read(tables, found) if found is not None and found.offset == offset else Claim(leaf=b"")


def _tail(reader: RestartReader, topic: str, set_aside: frozenset[int]) -> Tail | None:
    """Return the last audit entry, None without one. Raises LogMismatchError if those read before it do not chain.

    A lone broker that was killed may forget a commit that it has answered, and keep later ones: then the log misses
    entries in its midst (ADR 0011), and nothing is built upon it.
    """
    low, high = reader.end(topic)
    reach = TAIL_OFFSETS
    while True:
        start = max(low, high - reach)
        tail = None
        for record in map(received_of, reader.read(topic, start, high)):
            if record.offset not in set_aside:
                tail = _next_of(tail, record)
        if tail is not None:
            return tail
        if start <= low:
            return None
        reach *= 4


def _next_of(before: Tail | None, record: Received) -> Tail:
    """Return the entry in a record that stands behind another one.

    Raises:
        LogMismatchError: it is not an audit entry, or does not link to `before`.
    """
    entry, leaf = entry_of(record)
    if before is not None and entry.prev != before.leaf:
        raise LogMismatchError(
            f"the audit entry {entry.index}, at offset {record.offset}, does not link to the entry before it, "
            f"{before.index}: the log was changed, or the brokers lost a part of it; see docs/incidents.md"
        )
    return Tail(entry.index, leaf, entry, record)


def _check_signature(fold: TenantFold, tail: Tail) -> None:
    """Check that a decision key that was valid for the last entry signed it.

    Requires that the state was restored, so that the tables have the keys as of that entry.

    Raises:
        LogMismatchError: none did.
        MissingKeyError: in a stretch without a live key, a key that is not on this worker signed it.
    """
    tables = fold.tables
    try:
        schema, body = codec.unframe(tail.record.value or b"")
        place = entry_place(tables.tenant_id, tables.genesis, schema.sha256)
        proof = Proof.parse(tail.record.header(PROOF_HEADER))
        public = _signer_of(fold, tail.entry, tail.record.header(KID_HEADER))
        signing.verify_signature(public, proof.head(place.leaf(body)), proof.signature)
    except (Refusal, codec.SchemaError, MalformedProofError, SignatureError) as exc:
        raise LogMismatchError(
            f"the last audit entry, at offset {tail.record.offset}, is not signed by a decision key that was valid "
            f"for it: {exc}; see docs/incidents.md"
        ) from exc


def _signer_of(fold: TenantFold, entry: AuditEntry, kid: bytes) -> bytes:
    """Return the public key of a decision key that may have signed an entry. Raises SignatureError, MissingKeyError."""
    tables, keys = fold.tables, fold.signatory.keys
    row = tables.keys.get(kid)
    if row is not None:
        # A key signs the entry of its own revocation; the entry of its rotation is its successor's.
        was_revoked = row.revoked_at is not None and (row.revoked_at < entry.now or not _is_revocation(entry))
        was_past = row.expires_at is not None and entry.now >= row.expires_at
        if row.role == Role.MONITOR and not was_revoked and not was_past:
            return row.ed25519
    # Before the founding, or in a stretch without a live key: the key that is registered later, which is here.
    elif not has_decision_key(tables):
        if (key := keys.get(kid)) is not None:
            return key.signing.public
        if len(tables.tenant):
            why = "; its owner signed the last audit entry, a stranger if none of you has it: see docs/incidents.md"
            raise MissingKeyError(frozenset({kid}), keys.kids, why, WantedKeys(frozenset({kid})))
    raise SignatureError(f"the key {kid.hex()[:16]}… is not a decision key that was valid then")


def _is_revocation(entry: AuditEntry) -> bool:
    return entry.kind == PrincipalRevoked.__name__ and entry.outcome == Outcome.ACCEPTED


def _read_latest(reader: RestartReader, topic: str, rows: dict[bytes, bytes]) -> None:
    """Fill `rows` with the latest row of each key.

    Raises:
        UnreadableBatchError: a batch cannot be read; `rows` then has the rows before it.
    """
    low, high = reader.end(topic)
    for message in reader.read(topic, low, high):
        key, value = message.key() or b"", message.value()
        rows.pop(key, None)  # a rewritten row moves to the end
        if value is not None:
            rows[key] = value


def _restore(fold: TenantFold, stored: Mapping[bytes, bytes], tail: Tail) -> None:
    """Load the rows of the changelog. Raises StateMismatchError unless their head is that of the last entry."""
    if HEAD_KEY not in stored:
        raise StateMismatchError("the changelog has no head")
    head: StateHead = codec.decode_as(StateHead, stored[HEAD_KEY])
    if head.audit_index != tail.index:
        raise StateMismatchError(
            f"the changelog's head is of audit index {head.audit_index}, and the last entry has index {tail.index}"
        )
    rows = [(full, value) for full, value in stored.items() if full != HEAD_KEY]
    for full, value in rows:
        fold.state.restore(full, value)
    if not fold.state.matches(head, tail.leaf):
        raise StateMismatchError("the rows of the changelog do not match their head")
    try:
        restore_rows(fold.tables, rows)
    except UnknownTableError as exc:
        raise StateMismatchError(f"the changelog has {exc}") from exc
    fold.tables.resume_at(next_index=tail.index + 1, prev=tail.leaf, now=tail.entry.now)


def _fold_again(fold: TenantFold, reader: RestartReader, intake: RestartRecords, tail: Tail) -> None:
    """Fold the log again up to its last entry, records that the brokers have removed from the tenant's archive.

    Raises:
        ResumeError: as `rebuild`.
    """
    tenant, archive = fold.tables.tenant_id, fold.archive
    with closing(RestartRecords(reader, AUDIT, tenant)) as audit, ExitStack() as stack:
        opened = {INTAKE: intake, AUDIT: audit}
        kept = KeptLog(
            tenant,
            lambda topic, _: opened[topic],
            lambda: None if archive is None else stack.enter_context(archive()),
            fold.set_aside,
        )
        rebuild(fold.tables, fold.heads, kept, tail.leaf)


def _topic(fold: TenantFold, topic: Topic) -> str:
    return topic.of(fold.tables.tenant_id)
