"""Making a segment: one audit entry after the other, each with its intake record and its outputs, until it is full.

A record is compared with its entry before it is taken, so that nothing is kept under a name that it does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from processors.evidence.archive.bodies import (
    Body,
    BodySealer,
    SegmentKeys,
    event_leaf,
    key_id,
    lasting_body_key,
    month_end_ms,
)
from processors.evidence.archive.codes import ArchiveCode, SegmentError
from processors.evidence.archive.contents import ArchiveEnd, outputs_root
from processors.evidence.archive.segment import (
    AUDIT_PLACE,
    ENTRIES_MAX,
    INTAKE_PLACE,
    PARTITIONS,
    BodyKind,
    Frame,
    OutputsKind,
    Owner,
    SegmentHeader,
    StoredOutput,
    encode_segment,
)
from processors.evidence.audit_log import leaf_of
from processors.intake.identify import Received
from schemas.records import AuditEntry
from schemas.words import Outcome

# Large enough that a busy tenant does not fill a store with files, small enough to be held in memory whole.
SEGMENT_BYTES = 16 * 1024 * 1024
SEGMENT_ENTRIES = 16_384


@dataclass(slots=True, kw_only=True)
class LogRecord:
    """One entry of the log as it is archived: its audit record, its intake record, and its outputs in signed order.

    `received` is None if intake no longer has the record, or could not give it; of a skipped record `ruling` is the
    event that skipped it, of another one that which its entry names. `outputs` is None if they are not all there.
    """

    entry: AuditEntry
    offset: int
    time: int
    value: bytes
    kid: bytes
    proof: bytes
    event_proof: bytes | None = None
    received: Received | None = None
    key: bytes | None = None
    ruling: Received | None = None
    outputs: tuple[StoredOutput, ...] | None = None


class LogEnd:
    """The place where a log goes on: the index of its next entry, and the leaf of the entry before it."""

    __slots__ = ("index", "leaf")

    def __init__(self, index: int, leaf: bytes) -> None:
        self.index, self.leaf = index, leaf

    def is_next(self, entry: AuditEntry) -> bool:
        """Return True if an entry goes on here."""
        return (entry.index, entry.prev) == (self.index, self.leaf)

    def take(self, entry: AuditEntry, value: bytes) -> None:
        """Go on behind an entry and its framed record. Raises SchemaError."""
        self.index, self.leaf = entry.index + 1, leaf_of(value)


class SegmentWriter:
    """Collects the records of one segment. `salt` is 16 random bytes; the month is that of the first record."""

    def __init__(self, owner: Owner, end: ArchiveEnd, *, month: int, keys: tuple[bytes, bytes], salt: bytes) -> None:
        """`keys` are the lasting key and the month's key."""
        lasting, monthly = keys
        self._owner, self._begin, self._month, self._salt = owner, end, month, salt
        self._month_end = month_end_ms(month)  # log time never falls
        self._kids = key_id(lasting), key_id(monthly)
        self._sealer = BodySealer(owner.genesis, salt, SegmentKeys(lasting_body_key(lasting), monthly))
        self._frames: list[bytes] = []
        self._size = 0
        self._log = LogEnd(end.next_index, end.leaf)
        self._offsets = [0, 0]  # of the first and last intake record
        self._next_offsets = list(end.next_offsets)

    def __len__(self) -> int:
        return len(self._frames)

    def fits(self, entry: AuditEntry, *, bytes_max: int = SEGMENT_BYTES, entries_max: int = SEGMENT_ENTRIES) -> bool:
        """Return True if an entry belongs into this segment: it is of its month, and the segment is not full."""
        count = len(self._frames)
        return entry.now < self._month_end and count < min(entries_max, ENTRIES_MAX) and self._size < bytes_max

    def add(self, record: LogRecord) -> None:
        """Take the next record.

        Raises:
            SegmentError: OTHER_HEAD, EVENT_MISMATCH or OUTPUTS_MISMATCH; the segment is as it was.
        """
        entry = record.entry
        if entry.origin != self._owner.origin or not self._log.is_next(entry):
            detail = f"the log's entry does not continue the archive, which ends at entry {self._log.index - 1}"
            raise SegmentError(ArchiveCode.OTHER_HEAD, detail, index=self._log.index)
        frame = self._frame(record)
        self._frames.append(frame)
        self._size += len(frame)
        if not len(self._frames) - 1:
            self._offsets[0] = entry.offset
        self._offsets[1] = entry.offset
        self._log.take(entry, record.value)
        self._next_offsets[AUDIT_PLACE] = record.offset + 1
        self._next_offsets[INTAKE_PLACE] = entry.offset + 1
        for one in record.outputs or ():
            self._next_offsets[PARTITIONS[one.topic, one.partition]] = one.offset + 1

    def _frame(self, record: LogRecord) -> bytes:
        entry, outputs, ruling = record.entry, record.outputs, record.ruling
        if outputs is not None and outputs_root(outputs, self._owner) != entry.outputs:
            detail = "the decisions and results of the log are not those that the entry names"
            raise SegmentError(ArchiveCode.OUTPUTS_MISMATCH, detail, index=entry.index)
        body, appended_at, sealed = self._body(record)
        return Frame(
            offset=record.offset,
            time=record.time,
            value=record.value,
            kid=record.kid,
            proof=record.proof,
            event_proof=record.event_proof,
            body=body,
            appended_at=appended_at,
            ruling=None if ruling is None else ruling.offset,
            sealed=sealed,
            outputs_kind=OutputsKind.GONE if outputs is None else OutputsKind.WHOLE,
            outputs=outputs or (),
        ).encode()

    def _body(self, record: LogRecord) -> tuple[BodyKind, int, bytes | None]:
        """Return the kind of an intake record, its append time and its sealed body."""
        entry, is_skip = record.entry, record.entry.outcome == Outcome.SKIPPED
        kept = record.ruling if is_skip else record.received
        if kept is None:
            return (BodyKind.UNREADABLE if is_skip else BodyKind.GONE), 0, None
        if event_leaf(entry, kept.value, self._owner) != entry.event:
            detail = f"intake's record at offset {kept.offset} is not the one that the entry names"
            raise SegmentError(ArchiveCode.EVENT_MISMATCH, detail, index=entry.index)
        body = Body(None if is_skip else record.key, kept.value, kept.headers)
        kind, sealed = self._sealer.seal(entry, body, kept.appended_at)
        return kind, kept.appended_at, sealed

    def end(self, data: bytes) -> ArchiveEnd:
        """Return the end of an archive with this last segment, as `encode` returned it."""
        return ArchiveEnd(self._log.index, self._log.leaf, sha256(data).digest(), tuple(self._next_offsets))

    def encode(self) -> bytes:
        """Return the segment. Requires at least one record."""
        owner, begin = self._owner, self._begin
        assert self._frames
        lasting_kid, month_kid = self._kids
        first_offset, last_offset = self._offsets
        header = SegmentHeader(
            size=0,  # `encode_segment` knows it
            origin=owner.origin,
            tenant=owner.tenant,
            genesis=owner.genesis,
            first=begin.next_index,
            last=self._log.index - 1,
            first_offset=first_offset,
            last_offset=last_offset,
            prev=begin.leaf,
            before=begin.sha256,
            month=self._month,
            month_kid=month_kid,
            lasting_kid=lasting_kid,
            salt=self._salt,
            next_offsets=tuple(self._next_offsets),
        )
        return encode_segment(header, self._frames, owner)
