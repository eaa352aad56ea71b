"""Folding a log again from its first record, where the state of its end is damaged.

The log comes from the brokers, and records that they have removed come from the tenant's archive. The result counts
only if it ends in the very entry that the log ends in.
"""

from __future__ import annotations

from processors.evidence.archive.codes import SegmentError
from processors.evidence.audit_log import entry_with_leaf
from processors.intake.identify import Received
from processors.proof.signing import VerifiedHeads
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.step import step
from schemas import codec
from schemas.records import AuditEntry
from schemas.topics import AUDIT, INTAKE
from streams.history.folded import RuledIntake, ShreddedError
from streams.history.kept_log import ArchiveDiffersError, ArchiveGapError, KeptLog, TrimmedError
from streams.history.records import present
from streams.worker.resume_errors import ArchiveUnfitError, LogMismatchError, StateMismatchError


def rebuild(tables: Tables, heads: VerifiedHeads, kept: KeptLog, end: bytes) -> None:
    """Fold a whole log into empty tables, with the rulings that its entries name. `end` is the last entry's log leaf.

    Raises:
        StateMismatchError: the brokers have removed the log's beginning, and the worker has no archive of it.
        ArchiveUnfitError: the archive is damaged, of another log, or lacks records that the brokers have removed.
        LogMismatchError: folding gives another log.
    """
    try:
        _fold(tables, heads, kept)
    except TrimmedError as exc:
        raise StateMismatchError(f"the log cannot be folded again: {exc}") from exc
    except (ArchiveGapError, ArchiveDiffersError, ShreddedError, SegmentError) as exc:
        raise ArchiveUnfitError(str(exc.code), f"the log cannot be folded again: {exc}") from exc
    if tables.prev != end:
        raise LogMismatchError(
            f"folding intake again up to entry {tables.next_index - 1} does not give the last audit entry: intake, its "
            "archive or the log was changed, or another version decided; run `macaw replay`"
        )


def _fold(tables: Tables, heads: VerifiedHeads, kept: KeptLog) -> None:
    audit, intake = kept.whole(AUDIT), RuledIntake(kept.whole(INTAKE), tables)
    for record in present(audit.read(audit.low)):
        received = intake.take(entry_of(record)[0])
        if received is None:
            break
        try:
            step(tables, received, heads)
        except Refusal as exc:
            raise LogMismatchError(f"a ruling that the audit log names is not valid: {exc.reason}") from exc
        tables.commit()


def entry_of(record: Received) -> tuple[AuditEntry, bytes]:
    """Return the entry in a record of the audit topic, and its log leaf. Raises LogMismatchError if it is not one."""
    try:
        return entry_with_leaf(record.value or b"")
    except codec.SchemaError as exc:
        raise LogMismatchError(f"the record at offset {record.offset} is not an audit entry: {exc}") from exc
