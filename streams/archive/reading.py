"""Reading an archive back, one segment in memory at a time.

Each segment that is read is compared with its digest, its seal and the segment before, and each record with its audit
entry (`processors.evidence.archive.contents`). The seal is the installation's own, so a store that somebody else can
write gives the segments that were put there, or a SegmentError. The monitor's signatures are not checked again here:
`macaw archive verify` does that, as it takes as long as folding the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from processors.evidence.archive.bodies import Absent, BodyKeys
from processors.evidence.archive.codes import ArchiveCode, SegmentError, first_of
from processors.evidence.archive.contents import Archived, ArchiveEnd, beginning, end_of, entries_of, open_segment
from processors.evidence.archive.segment import (
    AUDIT_PLACE,
    OUTPUT_TOPICS,
    PARTITIONS,
    Owner,
    Segment,
    SegmentHeader,
    parse_header,
)
from processors.evidence.folder_format import AuditRecord
from processors.intake.identify import Received
from schemas.topics import Topic
from streams.archive.store import Store

__all__ = ["Absent", "ArchivedAudit", "ArchivedLog", "ArchivedOutput", "Span"]


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a log that an archive has: audit indices and intake offsets, from 0 up to but without these.

    `next_offsets` are the Kafka offsets behind the archive, as in the last segment's header.
    """

    next_index: int = 0
    next_offset: int = 0
    segments: int = 0
    next_offsets: tuple[int, ...] = ()

    @property
    def next_audit_offset(self) -> int:
        """The offset of the audit topic behind the last archived entry."""
        return self.next_offsets[AUDIT_PLACE] if self.next_offsets else 0


class ArchivedAudit(NamedTuple):
    """A record of the audit topic: its Kafka offset, its timestamp in ms, and its value with kid and proof."""

    offset: int
    time: int
    record: AuditRecord
    event_proof: bytes | None


class ArchivedOutput(NamedTuple):
    """The value of a decision or result at its Kafka offset. Its headers are not archived."""

    offset: int
    value: bytes


class ArchivedLog:
    """One tenant's archive, as it was when it was opened."""

    def __init__(self, store: Store, owner: Owner, keys: BodyKeys) -> None:
        """Find the end of the archive.

        Raises:
            SegmentError: the store has another name than those of segments, or its first or last segment is not whole.
            StoreError: the store does not answer.
        """
        self._store, self.owner, self._keys = store, owner, keys
        self._names = store.names()
        self._headers: dict[str, SegmentHeader] = {}
        self.span = Span()
        if self._names:
            self._open(self._names[0], beginning(owner))
            last = self._open(self._names[-1], None).header
            self.span = Span(last.last + 1, last.last_offset + 1, len(self._names), last.next_offsets)

    def intake(self, start: int = 0) -> Iterator[Received | Absent]:
        """Yield the intake records from an offset on, in order; Absent where the bytes of one are not there.

        A record that is missing without an audit entry is no record: offsets of markers are left out.

        Raises:
            SegmentError, StoreError: the archive does not hold from there on.
        """
        at = self._at(lambda position: self._header(position).first_offset <= start)
        for archived in self._from(at, outputs=False):
            if archived.entry.offset >= start:
                yield archived.received

    def entries(self, start: int = 0) -> Iterator[Archived]:
        """Yield everything that the archive has of each entry, from an audit index on. Raises as `intake`."""
        for archived in self._from(self._at(lambda position: first_of(self._names[position]) <= start)):
            if archived.entry.index >= start:
                yield archived

    def audit(self, start: int = 0) -> Iterator[ArchivedAudit]:
        """Yield the audit records from an index on. Raises as `intake`."""
        for archived in self.entries(start):
            frame = archived.frame
            record = AuditRecord(frame.value, frame.kid, frame.proof)
            yield ArchivedAudit(frame.offset, frame.time, record, frame.event_proof)

    def outputs(self, topic: Topic, partition: int, start: int = 0) -> Iterator[ArchivedOutput]:
        """Yield the decisions or results of one partition from a Kafka offset on. Raises as `intake`.

        Those that Kafka had removed before they were archived are left out; `Frame.outputs_kind` tells their entries.
        """
        kind = OUTPUT_TOPICS.index(topic)
        place = PARTITIONS[kind, partition]
        at = self._at(lambda position: self._header(position - 1).next_offsets[place] <= start)
        for archived in self._from(at):
            for one in archived.frame.outputs:
                if (one.topic, one.partition) == (kind, partition) and one.offset >= start:
                    yield ArchivedOutput(one.offset, one.value)

    def last_offset_of(self, month: int) -> int | None:
        """Return the last intake offset up to the end of a month, None if the archive has none.

        The segment that has it and the next one are read whole: a header alone is not sealed.

        Raises:
            SegmentError, StoreError: one of the two does not hold.
        """
        if not self._names:
            return None
        at = self._at(lambda position: self._header(position).month <= month)
        found = self._open(self._names[at], beginning(self.owner) if at == 0 else None)
        later = [self._open(name, end_of(found)) for name in self._names[at + 1 : at + 2]]
        if (at and found.header.month > month) or any(one.header.month <= month for one in later):
            detail = "the headers of the segments are not those that were sealed: run `macaw archive verify`"
            raise SegmentError(ArchiveCode.EDITED, detail)
        return found.header.last_offset if found.header.month <= month else None

    def _from(self, at: int, *, outputs: bool = True) -> Iterator[Archived]:
        """Yield the entries of the segments from the one at a position on. Each must continue the one before."""
        end: ArchiveEnd | None = beginning(self.owner) if at == 0 else None
        for name in self._names[at:]:
            segment = self._open(name, end)
            yield from entries_of(segment, self.owner, self._keys, outputs=outputs)
            end = end_of(segment)

    def _open(self, name: str, end: ArchiveEnd | None) -> Segment:
        return open_segment(name, self._store.get(name), self.owner, end)

    def _at(self, begins_before: Callable[[int], bool]) -> int:
        """Return the last position for which the question is answered with yes; 0 if there is none, unasked."""
        low, high = 0, len(self._names)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if begins_before(middle) else (low, middle)
        return low

    def _header(self, at: int) -> SegmentHeader:
        name = self._names[at]
        if name not in self._headers:
            try:
                found = parse_header(self._store.start(name))
            except SegmentError as exc:
                raise exc.within(name) from exc
            if found.name != name:
                raise SegmentError(ArchiveCode.SWAPPED, "it holds another segment", segment=name)
            self._headers[name] = found
        return self._headers[name]
