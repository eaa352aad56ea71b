"""The contents of a segment: whether it continues the one before, and each record is the one that its entry names.

These checks need no signature: a reader makes them on every segment. `judge` adds the signatures and the registry.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from processors.evidence.archive.bodies import Absent, Body, BodyKeys, BodySealer, event_leaf, keys_for, kind_of
from processors.evidence.archive.bodies import month_of as month_of_log_time
from processors.evidence.archive.codes import ArchiveCode, SegmentError, first_of
from processors.evidence.archive.segment import (
    NO_SEGMENT,
    OUTPUT_TOPICS,
    PLACES,
    BodyKind,
    Frame,
    OutputsKind,
    Owner,
    Segment,
    SegmentHeader,
    StoredOutput,
    parse_segment,
)
from processors.evidence.audit_log import AUDIT_ENTRY, log_leaf
from processors.intake.identify import Received
from processors.proof import merkle
from processors.proof.signing import DECISION_TAG, INTAKE_PARTITION, RESULT_TAG, Place
from processors.state.tables import Tables
from schemas import codec
from schemas.records import AuditEntry
from schemas.words import Outcome

_TAGS = (DECISION_TAG, RESULT_TAG)  # as OUTPUT_TOPICS


class ArchiveEnd(NamedTuple):
    """The end of an archive, which the next segment must continue.

    `leaf` is the log leaf of the last entry, `sha256` that of the last segment, `next_offsets` as in its header.
    """

    next_index: int
    leaf: bytes
    sha256: bytes
    next_offsets: tuple[int, ...]


class Archived(NamedTuple):
    """One entry as the archive has it. `body` is its intake record: for a skipped one, Absent."""

    frame: Frame
    entry: AuditEntry
    body: Body | Absent

    @property
    def received(self) -> Received | Absent:
        """The intake record as the step takes it, or Absent."""
        body, frame = self.body, self.frame
        if isinstance(body, Absent):
            return body
        return Received(INTAKE_PARTITION, self.entry.offset, frame.appended_at, body.value, body.headers)


def beginning(owner: Owner) -> ArchiveEnd:
    """Return the end of an archive without segments."""
    origin = owner.origin.removesuffix(f"/{owner.tenant}")
    tables = Tables(tenant=owner.tenant, deployment=origin, genesis=owner.genesis)
    return ArchiveEnd(0, tables.prev, NO_SEGMENT, (0,) * PLACES)


def end_of(segment: Segment) -> ArchiveEnd:
    """Return the end of an archive with this last segment."""
    schema, datum = _unframed(segment.frames[-1], segment.header.last)
    header = segment.header
    return ArchiveEnd(header.last + 1, log_leaf(schema.sha256, datum), segment.sha256, header.next_offsets)


def open_segment(name: str, data: bytes, owner: Owner, end: ArchiveEnd | None) -> Segment:
    """Return the segment that is stored under a name, if it continues `end`; None asks for no continuation.

    Raises:
        SegmentError: it is not whole, not this owner's, stands under another's name, or does not continue the archive.
    """
    try:
        segment = parse_segment(data, owner)
        check_place(name, segment.header, end)
    except SegmentError as exc:
        raise exc.within(name) from exc
    return segment


def check_place(name: str, header: SegmentHeader, end: ArchiveEnd | None) -> None:
    """Raise SegmentError unless a segment has its own name and begins where the archive ends."""
    if header.first != first_of(name):
        raise SegmentError(ArchiveCode.SWAPPED, f"it holds entries from {header.first} on, which is another segment")
    if end is None:
        return
    if header.first > end.next_index:
        detail = f"the segment with entry {end.next_index} is missing"
        raise SegmentError(ArchiveCode.LOST_SEGMENT, detail, index=end.next_index)
    if header.first < end.next_index or (header.prev, header.before) != (end.leaf, end.sha256):
        detail = "it does not continue the segment before it: one of the two is of another history"
        raise SegmentError(ArchiveCode.OTHER_HEAD, detail, index=header.first)


def entries_of(
    segment: Segment, owner: Owner, keys: BodyKeys, *, start: int = 0, outputs: bool = True
) -> Iterator[Archived]:
    """Yield the entries of a segment from an audit index on, each compared with its records and the entry before.

    Without `outputs` its decisions and results are not compared: for readers of intake, which do not need them.

    Raises:
        SegmentError: EVENT_MISMATCH, OUTPUTS_MISMATCH, MALFORMED, or WRONG_KEY.
    """
    header = segment.header
    try:
        sealer = BodySealer(owner.genesis, header.salt, keys_for(header, keys))
        prev = header.prev
        for index, frame in enumerate(segment.frames, header.first):
            entry, leaf = _entry(frame, index)
            _check_entry(entry, frame, header, prev)
            prev = leaf
            if index >= start:
                yield Archived(frame, entry, _body(entry, frame, sealer, owner))
                if outputs:
                    check_outputs(entry, frame, owner)
    except SegmentError as exc:
        raise exc.within(header.name) from exc


def _entry(frame: Frame, index: int) -> tuple[AuditEntry, bytes]:
    """Return the entry of a frame and its log leaf. Raises SegmentError MALFORMED."""
    schema, datum = _unframed(frame, index)
    try:
        entry: AuditEntry = codec.decode(schema, datum)
    except codec.SchemaError as exc:
        raise SegmentError(ArchiveCode.MALFORMED, "its audit record does not decode", index=index) from exc
    return entry, log_leaf(schema.sha256, datum)


def _unframed(frame: Frame, index: int) -> tuple[codec.Schema, bytes]:
    try:
        schema, datum = codec.unframe(frame.value)
    except codec.SchemaError as exc:
        raise SegmentError(ArchiveCode.MALFORMED, "its audit record is not framed", index=index) from exc
    if schema.name != AUDIT_ENTRY:
        raise SegmentError(ArchiveCode.MALFORMED, f"its audit record is a {schema.name}", index=index)
    return schema, datum


def _check_entry(entry: AuditEntry, frame: Frame, header: SegmentHeader, prev: bytes) -> None:
    """Raise SegmentError unless an entry stands at its place in the segment, and its frame has the form of its kind."""
    index = entry.index
    first, last = index == header.first, index == header.last
    fits = (
        entry.prev == prev
        and entry.origin == header.origin
        and header.first <= index <= header.last
        and month_of_log_time(entry.now) == header.month
        and (not first or entry.offset == header.first_offset)
        and (not last or (entry.offset, frame.offset) == (header.last_offset, header.next_offsets[0] - 1))
    )
    if not fits:
        raise SegmentError(ArchiveCode.OTHER_HEAD, "it does not continue the entry before it", index=index)
    kind = kind_of(entry)
    allowed: set[BodyKind] = {kind} if kind is BodyKind.UNREADABLE else {kind, BodyKind.GONE}
    if entry.outcome == Outcome.REFUSED:
        allowed.add(BodyKind.OVERSIZED)
    if frame.body not in allowed or (frame.ruling is not None and entry.ruling is None):
        raise SegmentError(ArchiveCode.MALFORMED, f"its body is of kind {frame.body.name}", index=index)


def _body(entry: AuditEntry, frame: Frame, sealer: BodySealer, owner: Owner) -> Body | Absent:
    """Return the intake record of an entry. Raises SegmentError EVENT_MISMATCH unless its leaf is the entry's."""
    body = sealer.open(entry, frame)
    if body is not None and event_leaf(entry, body.value, owner) != entry.event:
        raise SegmentError(ArchiveCode.EVENT_MISMATCH, "its event is not the one that it names", index=entry.index)
    if body is not None and frame.body is not BodyKind.UNREADABLE:
        return body
    was_shredded = body is None and frame.sealed is not None
    ruling = None
    if body is not None and frame.ruling is not None:
        ruling = Received(INTAKE_PARTITION, frame.ruling, frame.appended_at, body.value, body.headers)
    return Absent(entry.offset, entry.event, frame.body, was_shredded, ruling)


# --- decisions and results


@functools.lru_cache(maxsize=1024)
def _place(owner: tuple[str, bytes], topic: int, partition: int, schema_sha256: bytes) -> Place:
    tenant, genesis = owner
    return Place.of(_TAGS[topic], genesis, OUTPUT_TOPICS[topic].of(tenant), partition, schema_sha256)


def output_leaf(output: StoredOutput, owner: Owner) -> bytes | None:
    """Return the signing leaf of a decision or result, None for bytes that are not framed."""
    try:
        schema, datum = codec.unframe(output.value)
    except codec.SchemaError:
        return None
    return _place((owner.tenant, owner.genesis), output.topic, output.partition, schema.sha256).leaf(datum)


def outputs_root(outputs: Sequence[StoredOutput], owner: Owner) -> bytes | None:
    """Return the root over the leaves of outputs in their order, None if one of them has no leaf."""
    leaves = [output_leaf(one, owner) for one in outputs]
    known = [leaf for leaf in leaves if leaf is not None]
    return merkle.root(known) if len(known) == len(leaves) else None


def check_outputs(entry: AuditEntry, frame: Frame, owner: Owner) -> None:
    """Raise SegmentError OUTPUTS_MISMATCH unless the root over an entry's decisions and results is the one it names."""
    if frame.outputs_kind is OutputsKind.WHOLE:
        fits = outputs_root(frame.outputs, owner) == entry.outputs
    else:
        fits = not frame.outputs
    if not fits:
        detail = "its decisions and results are not those that it names"
        raise SegmentError(ArchiveCode.OUTPUTS_MISMATCH, detail, index=entry.index)
