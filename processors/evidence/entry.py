"""The judgement of one entry of an exported log: its signature and key, its event, and its change to the registry.

The registry is folded from the exported events, entry by entry, at the log time that the entries state; no statement of
a monitor about a key is believed. The order in which entries are judged stands in `processors.evidence.verdict`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from processors.evidence.folder_format import (
    ABSENT,
    RAW,
    SIGNED,
    UNDECODABLE_KIND,
    EvidenceEvent,
    FormatError,
    Source,
    acts_of,
    is_registry_entry,
)
from processors.evidence.items import Fault, Item, VerdictCode
from processors.evidence.known_keys import SESSION_KINDS
from processors.evidence.registry_events import RegistryEvents
from processors.evidence.rulings import skips
from processors.evidence.signers import EntrySigners
from processors.identity.following import follow
from processors.identity.keys import spend
from processors.identity.sessions import forget
from processors.intake.identify import Claim, Received, check_names, identify, raw_digest, read
from processors.proof import merkle
from processors.proof.signing import (
    INTAKE_PARTITION,
    KID_HEADER,
    PROOF_HEADER,
    VerifiedHeads,
)
from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import codec, limits
from schemas.reasons import Reason
from schemas.records import AuditEntry, Event, SessionRevoked
from schemas.rows import OfferRow, SessionRow
from schemas.words import Outcome

ABSENT_RANGES_MAX = 10_000  # in the list of a verdict: a log may be longer than memory
# The reasons that need no signature of the record itself: those that are judged before a signature is checked.
_UNPROVEN = frozenset(
    {
        Reason.UNDECODABLE,
        Reason.UNKNOWN_SCHEMA,
        Reason.TRAILING_BYTES,
        Reason.OVERSIZED,
        Reason.MALFORMED_HEADER,
        Reason.NOT_SUPPORTED,
        Reason.MALFORMED_PROOF,
        Reason.INTERNAL_ERROR,  # the step broke before it came to the signature
    }
)


@dataclass(slots=True)
class EntryProgress:
    """The part of the log that has held so far: its size, its tree, and the entries without their event."""

    size: int = 0
    frontier: tuple[bytes, ...] = ()
    events_absent: int = 0
    absent: list[tuple[int, int]] = field(default_factory=list)  # (first, last) of entries without their event

    def note_absent(self, index: int) -> None:
        """Store that the entry at `index` has no event. Requires rising indices."""
        self.events_absent += 1
        if self.absent and self.absent[-1][1] == index - 1:
            self.absent[-1] = self.absent[-1][0], index
        elif len(self.absent) < ABSENT_RANGES_MAX:
            self.absent.append((index, index))


@dataclass(slots=True)
class Schemas:
    """The digests of the folder's schemas that are byte for byte as published, and of those that were used."""

    held: frozenset[bytes]
    used: set[bytes] = field(default_factory=set)

    def use(self, digest: bytes, index: int) -> codec.Schema:
        """Return a schema. Raises Fault SCHEMA_UNKNOWN if the folder lacks it, or it was never published."""
        if digest not in self.held:
            raise Fault(VerdictCode.SCHEMA_UNKNOWN, index, f"the folder has no published schema {digest.hex()[:16]}…")
        self.used.add(digest)
        return codec.by_digest()[digest]


class Judge:
    """Judges entries in order. `settle` must be called for index 0, 1, 2, and so on."""

    def __init__(self, tables: Tables, schemas: Schemas, registry: Source, progress: EntryProgress) -> None:
        """Begin with empty tables, whose tenant and genesis are those of the log."""
        self._tables = tables
        self._heads = VerifiedHeads()
        self._schemas = schemas
        self._registry = RegistryEvents(registry)
        self.signers = EntrySigners(self._tables, self._registry, self._heads)
        self._progress = progress
        self._last = (0, -1)  # log time and intake offset of the entry before
        self._departed: OrderedDict[bytes, SessionRow] = OrderedDict()
        self._departed_offers: OrderedDict[bytes, tuple[bytes, OfferRow]] = OrderedDict()  # by kid

    def _is_excused(self, entry: AuditEntry, claim: Claim, reason: str | None) -> bool:  # noqa: ARG002 - for archives
        """True if the key of an event cannot be known, because the event that opened its session is absent."""
        return False

    # --- one entry ---

    def settle(self, item: Item) -> None:
        """Judge an entry with a correct place in the chain, and apply its change to the registry.

        Raises:
            Fault: the entry fails; `index` is its own.
            EngineMissingError: an entry before it, or the founding itself, names an engine that is not held here.
        """
        entry = item.entry
        if entry is None:
            self.signers.check_signature(item)
            raise Fault(VerdictCode.MALFORMED, item.index, f"the bytes that the monitor signed: {item.why}")
        self._advance(entry)
        if item.index == 0:
            self._found(entry)
        self.signers.check_signature(item)
        self.signers.check_key(item, entry)
        self._check_order(item, entry)
        self._check_registry(item, entry, self._check_event(item, entry))
        self.signers.check_afterwards(item, entry)
        self._progress.frontier = merkle.append(self._progress.frontier, self._progress.size, item.leaf)
        self._progress.size += 1

    def _check_order(self, item: Item, entry: AuditEntry) -> None:
        """Raise Fault BAD_LINK unless log time and intake offset follow the entry before, as in every honest log."""
        now, offset = self._last
        follows = entry.now >= now and (entry.offset > offset if item.index else entry.offset == 0)
        if not follows or entry.partition != INTAKE_PARTITION:
            raise Fault(
                VerdictCode.BAD_LINK, item.index, "log time or intake position does not follow the entry before"
            )
        self._last = (entry.now, entry.offset)

    # --- its event ---

    def _check_event(self, item: Item, entry: AuditEntry) -> EvidenceEvent | None:
        """Check the event against its entry. Return it if it is signed; None if it is absent or has no proof."""
        record = item.event
        if record is None:
            raise Fault(VerdictCode.PAYLOAD_MISSING, item.index, "the entry has no whole record of its event")
        kind, rest = record[:1], record[1:]
        if kind == bytes([ABSENT]) and not rest:
            self._progress.note_absent(item.index)
            return None
        if kind == bytes([RAW]):
            self._check_raw(item, entry, rest)
            return None
        if kind != bytes([SIGNED]):
            raise Fault(VerdictCode.BAD_SIG, item.index, "the record beside it has an unknown kind, want 0, 1 or 2")
        try:
            signed = EvidenceEvent.parse(rest)
        except FormatError as exc:
            raise Fault(VerdictCode.BAD_SIG, item.index, f"the record beside it: {exc}") from exc
        self._check_signed(item, entry, signed)
        return signed

    def _check_raw(self, item: Item, entry: AuditEntry, value: bytes) -> None:
        """Raise Fault BAD_SIG unless a record without a proof is the entry's, refused for a reason that needs none."""
        if entry.kind == UNDECODABLE_KIND:
            same = raw_digest(value) == entry.event
        else:
            claim, _ = self._identify(item, entry, value, ())
            same = (claim.leaf, claim.kind, claim.event_id) == (entry.event, entry.kind, entry.event_id)
        if not same:
            raise Fault(VerdictCode.BAD_SIG, item.index, "the record beside it is not the one that the entry names")
        if entry.outcome != Outcome.REFUSED or entry.reason not in _UNPROVEN:
            detail = "a record without a proof cannot show the entry's outcome and reason"
            raise Fault(VerdictCode.BAD_SIG, item.index, detail)

    def _check_signed(self, item: Item, entry: AuditEntry, signed: EvidenceEvent) -> None:
        value = self._schemas.use(signed.schema_sha256, item.index).prefix + signed.body
        claim, reason = self._identify(item, entry, value, _headers(signed))
        found = (claim.leaf, claim.kind, claim.kid, claim.event_id)
        if found != (entry.event, entry.kind, entry.event_kid, entry.event_id):
            raise Fault(VerdictCode.BAD_SIG, item.index, "the event beside it is not the one that the entry names")
        if self._is_excused(entry, claim, reason):
            return
        may_say = {
            (Outcome.REFUSED, reason),
            (Outcome.REFUSED, str(Reason.INTERNAL_ERROR)),
        }  # the step may break at any place
        if reason is not None and (entry.outcome, entry.reason) not in may_say:
            raise Fault(VerdictCode.BAD_SIG, item.index, f"the entry says {entry.outcome}, its event gives {reason}")
        if entry.outcome != Outcome.REFUSED:
            self._check_names(item, entry, claim)
        if entry.outcome == Outcome.SKIPPED and not skips(claim, entry):
            raise Fault(VerdictCode.BAD_SIG, item.index, "the event is not an admin's ruling that skips this record")
        if entry.outcome != Outcome.REFUSED and self._has_ended(entry, claim):
            raise Fault(VerdictCode.KEY_NOT_VALID, item.index, "the session that signed the event ended before")

    def _has_ended(self, entry: AuditEntry, claim: Claim) -> bool:
        """Whether the session that signed an event, or that offered the key that did, had ended by then."""
        signer = claim.signer
        if signer is None:
            return False
        if signer.offered_by is None:
            return signer.session is not None and entry.now >= signer.session.expires_at
        session = self._tables.sessions.get(signer.offered_by)
        return session is None or entry.now >= session.expires_at

    @staticmethod
    def _check_names(item: Item, entry: AuditEntry, claim: Claim) -> None:
        """Raise Fault BAD_SIG unless the event names its own signer. Not for refused events: they may fail before."""
        assert claim.event is not None
        assert claim.signer is not None
        try:
            check_names(claim.event, claim.signer)
        except Refusal as refusal:
            detail = f"the entry says {entry.outcome}, the event's names give {refusal.reason}"
            raise Fault(VerdictCode.BAD_SIG, item.index, detail) from refusal

    def _identify(
        self, item: Item, entry: AuditEntry, value: bytes, headers: tuple[tuple[str, bytes], ...]
    ) -> tuple[Claim, str | None]:
        """Return the claim of a record as the monitor's own rule reads it, and the reason if that rule refuses it."""
        received = Received(entry.partition, entry.offset, entry.now, value, headers)
        claim, reason = self._ask(received)
        kid = claim.kid or b""
        # The monitor removes at most 64 expired rows for each record; it may still have had this one.
        if reason == Reason.UNKNOWN_KEY and kid in self._departed:
            self._tables.sessions.restore(kid, self._departed[kid])
            claim, reason = self._ask(received)
            self._tables.sessions.restore(kid, None)
        elif reason == Reason.UNKNOWN_KEY and kid in self._departed_offers:
            session_id, offer = self._departed_offers[kid]
            self._tables.offers.restore(session_id, offer)
            claim, reason = self._ask(received)
            self._tables.offers.restore(session_id, None)
        if claim.event is not None:
            self._use_schemas(claim.event, value, item.index)
        return claim, reason

    def _ask(self, received: Received) -> tuple[Claim, str | None]:
        claim = read(self._tables, received)
        try:
            identify(self._tables, claim, self._heads)
        except Refusal as refusal:
            return claim, refusal.reason
        return claim, None

    def _use_schemas(self, event: Event, value: bytes, index: int) -> None:
        schema, _ = codec.unframe(value)
        for digest in (schema.sha256, *(d for d in acts_of(event) if d in codec.by_digest())):
            self._schemas.use(digest, index)

    # --- the registry ---

    def _advance(self, entry: AuditEntry) -> None:
        """Move log time and remove expired rows as the fold does; a key that has left may be registered again."""
        tables = self._tables
        tables.check_engine()
        tables.now = max(tables.now, entry.now)
        for name, key in tables.due():
            if name == tables.keys.name:
                spend(tables, key)
                continue
            if name != tables.sessions.name:
                tables.by_name[name].delete(key)
                continue
            self._departed[key] = tables.sessions.rows[key]
            offer = forget(tables, key)
            if offer is not None:
                self._departed_offers[offer.kid] = key, offer
        for departed in (self._departed, self._departed_offers):
            while len(departed) > limits.LIMIT_CAP_TIMES * limits.SESSIONS_MAX:
                departed.popitem(last=False)
        tables.commit()

    def _found(self, entry: AuditEntry) -> None:
        """Fold the founding event before its entry is judged: it brings the monitor's key."""
        if (first := self._registry.next) is not None and first.index == 0:
            try:
                self._fold(entry, first.event)
            except Refusal:
                return  # no key is registered then, and the signature of the entry fails

    def _check_registry(self, item: Item, entry: AuditEntry, signed: EvidenceEvent | None) -> None:
        """Raise Fault unless registry.bin has the events of exactly the entries that change the registry, in order."""
        found, index = self._registry.next, item.index
        needed = is_registry_entry(entry)
        if found is not None and (found.index < index or (found.index == index and not needed)):
            raise Fault(VerdictCode.SPLICE, index, f"registry.bin names entry {found.index}, which does not change it")
        is_here = found is not None and found.index == index
        if not needed or (signed is None and entry.kind in SESSION_KINDS and not is_here):
            return  # an absent event of a session changes nothing here: its key is unknown, or it ends as it must
        if found is None or found.index != index or signed is None:
            detail = f"registry.bin or events.bin lacks the event of this {entry.kind}"
            raise Fault(VerdictCode.PAYLOAD_MISSING, index, detail)
        if found.event != signed:
            raise Fault(VerdictCode.BAD_SIG, index, "the event in registry.bin is not the one that the entry names")
        if index:
            try:
                self._fold(entry, signed)
            except Refusal as refusal:
                detail = f"the entry says accepted, the rules say {refusal.reason}"
                raise Fault(VerdictCode.KEY_NOT_VALID, index, detail) from refusal
        self._registry.take()

    def _fold(self, entry: AuditEntry, signed: EvidenceEvent) -> None:
        """Fold one registry event. Raises Refusal."""
        schema = codec.by_digest().get(signed.schema_sha256)
        if schema is None:
            raise Refusal(Reason.UNKNOWN_SCHEMA)
        received = Received(entry.partition, entry.offset, entry.now, schema.prefix + signed.body, _headers(signed))
        try:
            follow(self._tables, received, self._heads, now=entry.now)
        except Refusal as refusal:
            claim = read(self._tables, received)
            ended = claim.event.body if claim.event is not None else None
            if refusal.reason != Reason.UNKNOWN_SESSION or not isinstance(ended, SessionRevoked):
                raise
            self._end_departed(received, ended.session, refusal)

    def _end_departed(self, received: Received, session_id: bytes, refusal: Refusal) -> None:
        """Fold the end of a session whose row the monitor may still have had. Raises Refusal."""
        left = self._departed.get(session_id)
        if left is None or left.revoked:
            raise refusal
        sessions = self._tables.sessions
        sessions.restore(session_id, left)
        try:
            follow(self._tables, received, self._heads, now=received.appended_at)
            self._departed[session_id] = sessions.rows[session_id]
        finally:
            sessions.restore(session_id, None)

    def finish(self) -> None:
        """Raise Fault unless registry.bin is whole and ends with the log."""
        size, left = self._progress.size, self._registry.next
        if self._registry.broken:
            raise Fault(VerdictCode.MALFORMED, size, f"registry.bin: {self._registry.broken}")
        if left is not None:
            code = VerdictCode.TRUNCATED if left.index >= size else VerdictCode.SPLICE
            raise Fault(code, size, f"registry.bin names entry {left.index}, but the log has {size} entries")


def _headers(signed: EvidenceEvent) -> tuple[tuple[str, bytes], ...]:
    return (PROOF_HEADER, signed.proof), (KID_HEADER, signed.kid)
