"""The verdict on an archive: every segment, every record, every signature, judged by the registry that it holds itself.

`ArchiveWalk` takes the segments in order. Beside the checks of every reader (`contents`) each entry is judged as in an
export (`processors.evidence.entry`): the monitor's key must have been valid at that entry, by the registrations that
stand in the archive itself, followed from the pinned genesis.

Absent records are counted. Where the event that opened a session is absent, events of unknown keys within the longest
life of a session cannot be checked: they are counted as unproven, and the monitor's word stands for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from processors.evidence.archive.bodies import Absent, BodyKeys
from processors.evidence.archive.codes import ArchiveCode, SegmentError
from processors.evidence.archive.contents import (
    Archived,
    ArchiveEnd,
    beginning,
    end_of,
    entries_of,
    open_segment,
)
from processors.evidence.archive.segment import NO_SEGMENT, BodyKind, OutputsKind, Owner, SegmentHeader
from processors.evidence.audit_log import entry_bytes, read_entry
from processors.evidence.entry import EntryProgress, Judge, Schemas
from processors.evidence.folder_format import (
    EvidenceEvent,
    RegistryEvent,
    Source,
    event_record,
    is_registry_entry,
    read_event,
)
from processors.evidence.items import Fault, Item, VerdictCode
from processors.evidence.known_keys import SESSION_KINDS
from processors.intake.identify import Claim, Received
from processors.policy.errors import RULE_ERRORS
from processors.proof import merkle
from processors.proof.signing import length_prefixed
from processors.state.engines import EngineMissingError
from processors.state.tables import Tables
from schemas import codec, limits
from schemas.events.logins import SessionRenewed
from schemas.reasons import Reason
from schemas.records import AuditEntry

# Rows of sessions leave some time after their end, 64 with each record: for so long their keys may have been known.
UNPROVEN_MS = limits.SESSION_TTL_MS_MAX + limits.SESSION_LINGER_MS + 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveVerdict:
    """The finding about an archive, and the part of it that held.

    `segments` and `entries` held before the finding; `next_offset` is the intake offset behind them. `segment` and
    `index` name the place of a fault, or are "" and None. Of the entries that held, `absent` came without their intake
    record, `shredded` of these because its key was destroyed; `unproven` have an event by an unknown key, and
    `outputs_absent` lack their decisions and results. `last_gone` is the last intake offset of a record that the
    archive never had, though it could be read, or -1; `sha256` is that of the last segment that held.
    """

    code: ArchiveCode | VerdictCode
    detail: str
    segment: str = ""
    index: int | None = None
    segments: int = 0
    entries: int = 0
    next_offset: int = 0
    absent: int = 0
    shredded: int = 0
    unproven: int = 0
    outputs_absent: int = 0
    last_gone: int = -1
    sha256: bytes = NO_SEGMENT


class ArchiveWalk:
    """One pass over the segments of an archive, in order. `ahead` gives the same segments a second time.

    A key may sign entries before the event that registers it, so the registrations ahead are looked at (`signers`).
    """

    def __init__(self, owner: Owner, keys: BodyKeys, ahead: Iterable[tuple[str, bytes]]) -> None:
        self._owner, self._keys = owner, keys
        self._ahead = _Registrations(owner, keys, ahead)
        self._judge = _ArchiveJudge(owner, self._ahead)
        self.end: ArchiveEnd = beginning(owner)
        self.last: SegmentHeader | None = None
        self.segments = 0
        self._shredded = self._outputs_absent = 0
        self._last_gone = -1

    @property
    def broken_ahead(self) -> SegmentError | None:
        """The fault that ended the look ahead, if it was not the archive's end."""
        return self._ahead.broken

    @property
    def judged(self) -> int:
        """The number of entries that held, those of a segment under way included."""
        return self._judge.progress.size

    def add(self, name: str, data: bytes) -> SegmentHeader:
        """Judge the next segment and return its header.

        Raises:
            SegmentError, Fault: it does not hold.
            EngineMissingError: an engine of the log is not held here, so the entries behind it cannot be judged.
        """
        segment = open_segment(name, data, self._owner, self.end)
        for archived in entries_of(segment, self._owner, self._keys):
            self._judge.judge(archived)
            if isinstance(body := archived.body, Absent):
                self._shredded += body.was_shredded
                if not body.was_shredded and body.kind is not BodyKind.UNREADABLE:
                    self._last_gone = body.offset
            self._outputs_absent += archived.frame.outputs_kind is OutputsKind.GONE
        self.end, self.last = end_of(segment), segment.header
        self.segments += 1
        return segment.header

    def verdict(
        self, code: ArchiveCode | VerdictCode, detail: str, *, segment: str = "", index: int | None = None
    ) -> ArchiveVerdict:
        """Return a verdict with the counts of all that has held so far."""
        return ArchiveVerdict(
            code=code,
            detail=detail,
            segment=segment,
            index=index,
            segments=self.segments,
            entries=self.end.next_index,
            next_offset=0 if self.last is None else self.last.last_offset + 1,
            absent=self._judge.progress.events_absent,
            shredded=self._shredded,
            unproven=self._judge.unproven,
            outputs_absent=self._outputs_absent,
            last_gone=self._last_gone,
            sha256=self.end.sha256,
        )


def verify_archive(
    segments: Callable[[], Iterable[tuple[str, bytes]]],
    owner: Owner,
    keys: BodyKeys,
    *,
    on_segment: Callable[[SegmentHeader], None] = lambda _: None,
) -> ArchiveVerdict:
    """Return the verdict on segments in the order of their names. `segments` is called twice, and read side by side.

    `on_segment` is called for each one that held. Never raises for their contents, nor for a SegmentError of the
    iterator; its other errors pass through.
    """
    walk = ArchiveWalk(owner, keys, segments())
    name = ""
    try:
        for name, data in segments():
            on_segment(walk.add(name, data))
    except SegmentError as exc:
        return walk.verdict(exc.code, exc.detail, segment=exc.segment or name, index=exc.index)
    except Fault as fault:
        if (broken := walk.broken_ahead) is not None:  # it may have hidden a registration that the entry needs
            return walk.verdict(broken.code, broken.detail, segment=broken.segment, index=broken.index)
        return walk.verdict(fault.code, fault.detail, segment=name, index=fault.index)
    except EngineMissingError as exc:
        return walk.verdict(VerdictCode.ENGINE_MISSING, str(exc), segment=name, index=walk.judged)
    except RULE_ERRORS as exc:  # here as in the fold, bytes that break a rule are refused, never passed
        detail = f"a check could not be made: {type(exc).__name__}"
        return walk.verdict(ArchiveCode.MALFORMED, detail, segment=name)
    whole = ArchiveCode.WHOLE, "every record is the one that a signed entry names"
    return walk.verdict(*(whole if walk.segments else (ArchiveCode.EMPTY, "there is no segment")))


class _Registrations:
    """The registry events of an archive as the bytes of a `registry.bin`, read no further than they are asked for."""

    def __init__(self, owner: Owner, keys: BodyKeys, segments: Iterable[tuple[str, bytes]]) -> None:
        self._owner, self._keys, self._segments = owner, keys, segments
        self.broken: SegmentError | None = None

    def __iter__(self) -> Iterator[bytes]:
        end = beginning(self._owner)
        try:
            for name, data in self._segments:
                segment = open_segment(name, data, self._owner, end)
                for archived in entries_of(segment, self._owner, self._keys):
                    found = _event_of(archived) if is_registry_entry(archived.entry) else None
                    if found is not None:
                        yield length_prefixed(RegistryEvent(archived.entry.index, found).encode())
                end = end_of(segment)
        except SegmentError as exc:
            self.broken = exc  # the walk itself comes to it, and says so


def _event_of(archived: Archived) -> EvidenceEvent | None:
    """Return the signed event of an entry, of a skipped one its ruling; None if it is absent or not signed."""
    received = _received_of(archived)
    found = None if received is None else read_event(archived.entry, received)
    return None if found is None else found[0]


def _received_of(archived: Archived) -> Received | None:
    received = archived.received
    return received.ruling if isinstance(received, Absent) else received


class _ArchiveJudge(Judge):
    """Judges the entries of an archive. Sessions may be absent from it, with their month's key."""

    def __init__(self, owner: Owner, registrations: Iterable[bytes]) -> None:
        deployment = owner.origin.removesuffix(f"/{owner.tenant}")
        tables = Tables(tenant=owner.tenant, deployment=deployment, genesis=owner.genesis)
        self.progress = EntryProgress()
        super().__init__(tables, Schemas(frozenset(codec.by_digest())), Source(registrations), self.progress)
        self.unproven = 0
        self._unproven_until = self._renewed_until = -1

    def judge(self, archived: Archived) -> None:
        """Judge one entry. Raises Fault."""
        frame, index = archived.frame, archived.entry.index
        schema, datum = codec.unframe(frame.value)
        data = entry_bytes(schema.sha256, datum)
        entry, why = read_entry(data)
        found = _event_of(archived)
        record = event_record(found, _received_of(archived))
        self.settle(Item(index, data, merkle.leaf_hash(data), entry, why, frame.kid + frame.proof, record))

    def _check_registry(self, item: Item, entry: AuditEntry, signed: EvidenceEvent | None) -> None:
        is_session = is_registry_entry(entry) and entry.kind in SESSION_KINDS
        if is_session and signed is None:
            self._unproven_until = entry.now + UNPROVEN_MS
            if entry.kind == SessionRenewed.__name__:
                self._renewed_until = self._unproven_until
            return
        try:
            super()._check_registry(item, entry, signed)
        except Fault as fault:
            if not (is_session and fault.code is VerdictCode.KEY_NOT_VALID and self._is_unproven(entry)):
                raise
            self._registry.take()  # it is about a session whose opening, or earlier renewal, is absent

    def _is_excused(self, entry: AuditEntry, claim: Claim, reason: str | None) -> bool:
        is_session = claim.event is not None and claim.kid is not None and claim.event.header.session_id == claim.kid
        row = None if claim.signer is None else claim.signer.session
        has_run_out = row is not None and row.expires_at <= entry.now < self._renewed_until  # or it was renewed
        is_unknown = reason == Reason.UNKNOWN_KEY and self._is_unproven(entry)
        excused = is_session and (is_unknown or (reason is None and has_run_out))
        self.unproven += excused
        return excused

    def _is_unproven(self, entry: AuditEntry) -> bool:
        return entry.now < self._unproven_until
