"""Folding a log again from its first record, where the state of its end is damaged.

The log comes from the brokers, and what they have removed from the tenant's archive. The result counts only if it ends
in the very entry that the log ends in.
"""

from __future__ import annotations

from contextlib import ExitStack

from processors.evidence.archive.codes import SegmentError
from processors.evidence.audit_log import log_leaf
from processors.intake.identify import Received
from processors.refusal import Refusal
from processors.step import step
from schemas import codec
from schemas.records import AuditEntry
from schemas.topics import AUDIT, INTAKE
from streams.history.folded import RuledIntake, ShreddedError
from streams.history.kept_log import ArchiveDiffersError, ArchiveGapError, KeptLog, TrimmedError
from streams.history.records import present
from streams.worker.fold import TenantFold
from streams.worker.restart_reading import RestartReader, RestartRecords
from streams.worker.resume_errors import ArchiveUnfitError, LogMismatchError, StateMismatchError


def fold_again(fold: TenantFold, reader: RestartReader, intake: RestartRecords, end: bytes) -> None:
    """Fold the log again up to the entry with the log leaf `end`, its last one.

    Raises:
        StateMismatchError: the brokers have removed the log's beginning, and the worker has no archive of it.
        ArchiveUnfitError: the archive is damaged, of another log, or lacks records that the brokers have removed.
        LogMismatchError: folding gives another log.
    """
    tenant = fold.tables.tenant_id
    opened = {INTAKE: intake, AUDIT: RestartRecords(reader, AUDIT, tenant)}
    try:
        with ExitStack() as stack:
            archive = fold.archive
            kept = KeptLog(
                tenant,
                lambda topic, _: opened[topic],
                lambda: None if archive is None else stack.enter_context(archive()),
            )
            rebuild(fold, kept, end)
    except TrimmedError as exc:
        raise StateMismatchError(f"the log cannot be folded again: {exc}") from exc
    except (ArchiveGapError, ArchiveDiffersError, ShreddedError, SegmentError) as exc:
        raise ArchiveUnfitError(str(exc.code), f"the log cannot be folded again: {exc}") from exc
    finally:
        for records in opened.values():
            records.close()


def rebuild(fold: TenantFold, kept: KeptLog, end: bytes) -> None:
    """Fold a whole log into empty tables, with the rulings that its entries name.

    Raises:
        LogMismatchError: folding gives another log.
        TrimmedError, ArchiveGapError, ArchiveDiffersError, ShreddedError, SegmentError: the log is not whole.
    """
    audit, intake = kept.whole(AUDIT), RuledIntake(kept.whole(INTAKE), fold.tables)
    for record in present(audit.read(audit.low)):
        received = intake.take(entry_of(record)[0])
        if received is None:
            break
        try:
            step(fold.tables, received, fold.heads)
        except Refusal as exc:
            raise LogMismatchError(f"a ruling that the audit log names is not valid: {exc.reason}") from exc
        fold.tables.commit()
    if fold.tables.prev != end:
        raise LogMismatchError(
            f"folding intake again up to entry {fold.tables.next_index - 1} does not give the last audit entry: "
            "intake, its archive or the log was changed, or another version decided; run `macaw replay`"
        )


def entry_of(record: Received) -> tuple[AuditEntry, bytes]:
    """Return the entry in a record of the audit topic, and its log leaf. Raises LogMismatchError if it is not one."""
    value = record.value or b""
    try:
        entry: AuditEntry = codec.decode_as(AuditEntry, value)
    except codec.SchemaError as exc:
        raise LogMismatchError(f"the record at offset {record.offset} is not an audit entry: {exc}") from exc
    schema, body = codec.unframe(value)
    return entry, log_leaf(schema.sha256, body)
