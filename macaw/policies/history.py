"""A tenant's log folded again for questions about its policies: from the live topic, or from an export.

The fold is the monitor's own `step`; nothing is written. An event counts as it did then, because its signature, its
session and the policies in force are those of its place in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from processors.effects import Effects, Output
from processors.evidence import folder_format
from processors.evidence.audit_log import leaf_of
from processors.evidence.folder_format import EvidenceEvent, FormatError, Manifest, Source
from processors.intake.identify import Claim, Received, Signer, identify, read
from processors.proof.signing import KID_HEADER, PROOF_HEADER, VerifiedHeads
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.step import expire, step
from producers.home.home import Home, TenantHome
from schemas import codec
from schemas.errors import InputError
from schemas.records import AuditEntry, Decision, Event, InvocationRequested
from schemas.rows import SessionRow
from schemas.topics import AUDIT, DECISIONS, INTAKE
from schemas.words import Outcome
from streams.history.evidence_folder import EvidenceFolder, EvidenceFolderError
from streams.history.folded import RuledIntake, ShreddedError
from streams.history.kept_log import OpenArchive, kept_log
from streams.history.records import Records, entry_in, present

T = TypeVar("T")
ID_HEX_MIN = 8
CANDIDATES_MAX = 20  # events listed for one id; senders may repeat an id without end
_ENTRY_HEAD_BYTES = 36  # magic and the digest of the schema


class HistoryError(InputError):
    """The log cannot be folded from its beginning, or does not hold the event; the message gives the cause."""


class Recorded(NamedTuple):
    """A record of intake, and the log leaf of its entry; None if folding it is not compared with the log."""

    received: Received
    leaf: bytes | None = None


@dataclass(slots=True)
class History:
    """The records of intake, in order. `missing` lists the entries read so far without their event."""

    tenant: str
    deployment: str
    genesis: bytes
    records: Iterator[Recorded]
    missing: list[int] = field(default_factory=list)

    def tables(self) -> Tables:
        """Return the empty tables that the log is folded into."""
        return Tables(tenant=self.tenant, deployment=self.deployment, genesis=self.genesis)


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call on the log, with its caller as the registry knew it then."""

    event: Event
    body: InvocationRequested
    signer: Signer
    leaf: bytes

    @property
    def session_id(self) -> bytes:
        """The session that asks."""
        return self.signer.kid

    @property
    def session(self) -> SessionRow:
        """Its row as the registry had it then."""
        assert self.signer.session is not None  # INVARIANT: sessions alone sign calls
        return self.signer.session

    @property
    def principal_id(self) -> str:
        """Its principal."""
        return self.signer.principal_id


@contextmanager
def live_history(home: Home, folder: TenantHome, archive: OpenArchive | None) -> Iterator[History]:
    """Yield the log as the archive and the brokers have it.

    Raises:
        TrimmedError: retention has removed its beginning, and no archive has it.
        ArchiveGapError, ArchiveDiffersError: archive and brokers do not fit.
        ReadTimeoutError: the topics cannot be read to their ends.
    """
    with kept_log(
        home.bootstrap, folder.tenant, archive=archive, security=home.security, set_aside=folder.set_aside
    ) as kept:
        history = History(folder.tenant, home.deployment, folder.genesis, iter(()))
        audit, intake = kept.whole(AUDIT), kept.whole(INTAKE)
        history.records = _folded(audit, RuledIntake(intake, history.tables()), history.missing)
        yield history


def _folded(audit: Records, intake: RuledIntake, missing: list[int]) -> Iterator[Recorded]:
    """Yield the records that have their entry."""
    for record in present(audit.read(audit.low)):
        try:
            received = intake.take(entry_in(record.value))
        except ShreddedError as exc:
            missing.append(exc.index)
            intake.go_on()
            continue
        if received is None:
            return
        yield Recorded(received, None if missing else _leaf_of(record))


def _leaf_of(record: Received) -> bytes:
    try:
        return leaf_of(record.value or b"")
    except codec.SchemaError:
        return b""  # no entry: folding cannot give it


@contextmanager
def exported_history(directory: Path) -> Iterator[History]:
    """Yield the log in an export. `macaw audit verify` checks whether the export is genuine.

    Raises:
        HistoryError: the folder is not an export.
    """
    try:
        with EvidenceFolder(directory) as folder:
            text = Source(folder.read(folder_format.MANIFEST)).whole(folder_format.MANIFEST_BYTES_MAX)
            manifest = Manifest.parse(text)
            history = History(manifest.tenant, manifest.deployment, manifest.genesis, iter(()))
            history.records = _exported(folder, manifest, history.missing)
            yield history
    except (EvidenceFolderError, FormatError, EOFError) as exc:
        raise HistoryError(
            f"cannot read {directory} as an export: {exc}; write one with `macaw audit export DIR`"
        ) from exc


def _exported(folder: EvidenceFolder, manifest: Manifest, missing: list[int]) -> Iterator[Recorded]:
    entries, events = (Source(folder.read(name)) for name in (folder_format.ENTRIES, folder_format.EVENTS))
    for index in range(manifest.size):
        data = entries.record(folder_format.ENTRY_BYTES_MAX)
        record = events.record(folder_format.EVENT_RECORD_BYTES_MAX)
        if data is None or not record:
            raise FormatError(f"the export ends at entry {index}, but its manifest says {manifest.size}")
        if record[0] == folder_format.ABSENT:
            missing.append(index)
            continue
        entry = _entry(data)
        # An event stands in for a record that was skipped; it is folded at its own place.
        received = _received(entry, record)
        yield Recorded(replace(received, value=None) if entry.outcome == Outcome.SKIPPED else received)


def _entry(data: bytes) -> AuditEntry:
    schema = codec.by_digest().get(data[4:_ENTRY_HEAD_BYTES])
    try:
        entry = codec.decode(schema, data[_ENTRY_HEAD_BYTES:]) if schema else None
    except codec.SchemaError as exc:
        raise FormatError(f"an entry of the log cannot be decoded: {exc.code}") from exc
    if not isinstance(entry, AuditEntry):
        raise FormatError("a record in the place of an entry has another schema")
    return entry


def _received(entry: AuditEntry, record: bytes) -> Received:
    appended_at = entry.now if entry.appended_at is None else entry.appended_at
    if record[0] == folder_format.RAW:
        return Received(entry.partition, entry.offset, appended_at, record[1:], ())
    signed = EvidenceEvent.parse(record[1:])
    schema = codec.by_digest().get(signed.schema_sha256)
    if schema is None:
        raise FormatError("an event is written under a schema that is not published")
    headers = (PROOF_HEADER, signed.proof), (KID_HEADER, signed.kid)
    return Received(entry.partition, entry.offset, appended_at, schema.prefix + signed.body, headers)


# ---- folding


def fold(tables: Tables, received: Received, heads: VerifiedHeads) -> list[Output]:
    """Fold one record for good and return its outputs."""
    outputs = step(tables, received, heads)
    tables.commit()
    return outputs


def fold_recorded(tables: Tables, recorded: Recorded, heads: VerifiedHeads) -> list[Output]:
    """Fold one record as `fold` does. Raises HistoryError if that does not give the entry that stands on the log."""
    outputs = fold(tables, recorded.received, heads)
    if recorded.leaf is not None and tables.prev != recorded.leaf:
        raise HistoryError(
            f"the log cannot be followed: deciding its record at intake offset {recorded.received.offset} again does "
            f"not give audit entry {tables.next_index - 1}; run `macaw replay`, and see docs/incidents.md"
        )
    return outputs


def fold_all(history: History) -> Tables:
    """Return the tables at the end of the log. Raises HistoryError if a record of it is kept nowhere any more."""
    tables, heads = history.tables(), VerifiedHeads()
    for recorded in history.records:
        fold_recorded(tables, recorded, heads)
    _check_whole(history)
    return tables


def _check_whole(history: History) -> None:
    """Raise HistoryError if the records that were read so far are not all."""
    if history.missing:
        raise HistoryError(
            f"SHREDDED: the event of audit entry {history.missing[0]} is kept nowhere any more, so the state behind it "
            "is not known; see docs/incidents.md"
        )


def decisions_of(outputs: list[Output]) -> dict[bytes, tuple[Decision, bytes]]:
    """Return the decisions among some outputs with their leaves, by the leaf of the call that each is on.

    One record may bring several: its own, those of calls that waited for it, and those of calls that expired.
    """
    found: dict[bytes, tuple[Decision, bytes]] = {}
    for output in outputs:
        if output.topic is DECISIONS and output.value is not None and output.leaf is not None:
            decision: Decision = codec.decode_as(Decision, output.value)
            found[decision.event] = decision, output.leaf
    return found


def entry_of(outputs: list[Output]) -> AuditEntry:
    """Return the audit entry among the outputs of one record."""
    value = next(output.value for output in outputs if output.topic is AUDIT)
    assert value is not None
    entry: AuditEntry = codec.decode_as(AuditEntry, value)
    return entry


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A call on the log, the answer about it from the tables of its place, and the decision there."""

    asked: RecordedCall
    answer: T
    decision: Decision
    index: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """An event that an id may mean. Only the leaf is unique; the offset is its place on intake."""

    offset: int
    leaf: bytes
    event_id: bytes
    kind: str
    principal_id: str
    resource: str
    appended_at: int


class AmbiguousIdError(HistoryError):
    """An id, or the beginning of one, stands for several events: senders choose ids, and may choose one twice."""

    def __init__(self, wanted: str, candidates: list[Candidate], count: int) -> None:
        super().__init__(f"{wanted} stands for several events: choose one by its leaf, or with --offset")
        self.candidates, self.count = candidates, count  # the count includes records that are not listed


def at_call(
    history: History, wanted: str, ask: Callable[[Tables, RecordedCall], T], *, offset: int | None = None
) -> Found[T]:
    """Fold up to one call, ask about it with the tables of its decision, and read on for other events with its id.

    `wanted` is the hex of its event id or leaf, or the beginning of it, as `macaw log` shows them; `offset` is its
    place on intake, needed if several events match. Of records with one leaf the decided one counts.

    Raises:
        AmbiguousIdError: several events match.
        HistoryError: no event matches, or it is not a call, or was refused before it could be decided.
    """
    search = _Search(history, wanted, offset)
    found: Found[T] | None = None
    refused: HistoryError | None = None
    for recorded in history.records:
        received = recorded.received
        claim = read(search.tables, received)
        meant = search.means(received, claim)
        if found is not None:
            continue  # the rest is searched only for other events with this id
        if not meant:
            fold_recorded(search.tables, recorded, search.heads)
            continue
        _check_whole(history)
        try:
            found = _ask(search.tables, recorded, search.heads, claim, ask)
        except HistoryError as exc:
            refused = refused or exc
    if len(search.candidates) > 1:
        raise AmbiguousIdError(wanted, search.candidates, search.count)
    if found is not None:
        return found
    where = "" if offset is None else f" at offset {offset}"
    if refused is None:
        _check_whole(history)  # it may be the one that is gone
    raise refused or HistoryError(f"the log holds no event {wanted}{where}: `macaw log` shows the ids")


class _Search:
    """The events of a log that an id may mean."""

    def __init__(self, history: History, wanted: str, offset: int | None) -> None:
        self._text = wanted.lower().replace("-", "").removeprefix("0x")
        if len(self._text) < ID_HEX_MIN or set(self._text) - set("0123456789abcdef"):
            raise HistoryError(f"{wanted!r} is not an id: give at least {ID_HEX_MIN} hex digits of one")
        self._offset = offset
        self.tables, self.heads = history.tables(), VerifiedHeads()
        self.candidates: list[Candidate] = []  # one for each leaf
        self.count = 0

    def means(self, received: Received, claim: Claim) -> bool:
        """Return True if a record matches; its event then is a candidate."""
        if self._offset not in {None, received.offset}:
            return False
        if not ((claim.event_id or b"").hex().startswith(self._text) or claim.leaf.hex().startswith(self._text)):
            return False
        self.count += 1
        known = any(one.leaf == claim.leaf for one in self.candidates)
        if not known and len(self.candidates) < CANDIDATES_MAX:  # a sender may repeat an id without end
            self.candidates.append(_candidate(received, claim))
        return True


def _candidate(received: Received, claim: Claim) -> Candidate:
    event = claim.event
    body = None if event is None else event.body
    return Candidate(
        offset=received.offset,
        leaf=claim.leaf,
        event_id=claim.event_id or b"",
        kind=claim.kind,
        principal_id="" if event is None else event.header.principal_id,
        resource=body.resource if isinstance(body, InvocationRequested) else "",
        appended_at=received.appended_at,
    )


def _ask(
    tables: Tables, recorded: Recorded, heads: VerifiedHeads, claim: Claim, ask: Callable[[Tables, RecordedCall], T]
) -> Found[T]:
    """Ask about a call and fold it. Raises HistoryError after the record was folded all the same."""
    received = recorded.received
    tables.now, tables.appended = max(tables.now, received.appended_at), received.appended_at
    mark = tables.savepoint()
    try:
        expire(tables, Effects(tables, received, claim))  # expired rows leave first, as in the step
        asked, answer = _answered(tables, heads, claim, ask)
    finally:
        tables.undo_to(mark)
        outputs = fold_recorded(tables, recorded, heads)
    entry, decided = entry_of(outputs), decisions_of(outputs).get(claim.leaf)
    if decided is None:
        raise HistoryError(f"the call was refused before it was decided: {entry.reason}")
    return Found(asked, answer, decided[0], entry.index)


def _answered(
    tables: Tables, heads: VerifiedHeads, claim: Claim, ask: Callable[[Tables, RecordedCall], T]
) -> tuple[RecordedCall, T]:
    if claim.event is None or not isinstance(claim.event.body, InvocationRequested):
        raise HistoryError(f"the event {claim.leaf.hex()} is a {claim.kind}: only calls are decided")
    try:
        event, signer = identify(tables, claim, heads)
    except Refusal as refusal:
        raise HistoryError(f"the call was refused before it was decided: {refusal.reason}") from refusal
    if signer.session is None:
        raise HistoryError("the call was refused before it was decided: no session signed it")
    assert isinstance(event.body, InvocationRequested)
    asked = RecordedCall(event, event.body, signer, claim.leaf)
    return asked, ask(tables, asked)
