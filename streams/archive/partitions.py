"""An archive as readers of history take it: its partitions, record by record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from processors.evidence.archive.segment import AUDIT_PLACE, OUTPUT_TOPICS, PARTITIONS
from processors.intake.identify import Received
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from schemas.topics import AUDIT, INTAKE, Topic
from streams.archive.reading import Absent, ArchivedAudit, ArchivedLog
from streams.history.records import Gone, Records


class ArchivedPartitions:
    """The archived partitions of one tenant, as `streams.history.kept_log` asks for them."""

    def __init__(self, log: ArchivedLog) -> None:
        self._log = log

    @property
    def next_index(self) -> int:
        """The audit index behind the last archived entry."""
        return self._log.span.next_index

    @property
    def next_audit_offset(self) -> int:
        """The offset of the audit topic behind the last archived entry."""
        return self._log.span.next_audit_offset

    def partition(self, topic: Topic, partition: int) -> Records | None:
        """Return the archived records of a partition, None if the archive is empty or keeps none of the topic."""
        log, nexts = self._log, self._log.span.next_offsets
        if not log.span.segments:
            return None
        if topic is INTAKE:
            return _Archived(0, log.span.next_offset, lambda start: map(_received, log.intake(start)))
        if topic is AUDIT:
            return _Archived(0, nexts[AUDIT_PLACE], lambda start: _audit(log, start))
        if topic in OUTPUT_TOPICS:
            high = nexts[PARTITIONS[OUTPUT_TOPICS.index(topic), partition]]
            return _Archived(0, high, lambda start: _outputs(log, topic, partition, start))
        return None


@dataclass(frozen=True, slots=True)
class _Archived:
    """One archived partition at offsets `low` to `high` - 1."""

    low: int
    high: int
    from_offset: Callable[[int], Iterator[Received | Gone]]

    def read(self, start: int) -> Iterator[Received | Gone]:
        """Yield the records from an offset on. Raises SegmentError, StoreError."""
        return self.from_offset(start)

    def behind(self, offset: int) -> int:
        """Return the offset behind one record: an archive has no batches."""
        return offset + 1


def _received(one: Received | Absent) -> Received | Gone:
    return Gone(one.offset) if isinstance(one, Absent) else one


def _audit(log: ArchivedLog, start: int) -> Iterator[Received]:
    return (_audit_record(one) for one in log.audit() if one.offset >= start)


def _audit_record(one: ArchivedAudit) -> Received:
    headers = ((PROOF_HEADER, one.record.proof), (KID_HEADER, one.record.kid))
    return Received(0, one.offset, one.time, one.record.value, headers)


def _outputs(log: ArchivedLog, topic: Topic, partition: int, start: int) -> Iterator[Received]:
    return (Received(partition, one.offset, 0, one.value, ()) for one in log.outputs(topic, partition, start))
