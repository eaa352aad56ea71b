"""How one entry of an exported log is judged: its signature and key, its event, and what it changes in the registry.

The registry is folded from the exported events, entry by entry, at the log time that the entries say; nothing that a
monitor claims about a key is believed. The order in which entries are judged stands in `processors.evidence.verdict`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum

from processors.evidence.audit_log import ENTRY_MAGIC
from processors.evidence.folder_format import (
    ABSENT,
    EVENT_RECORD_BYTES_MAX,
    RAW,
    SIGNED,
    UNDECODABLE_KIND,
    EvidenceEvent,
    FormatError,
    Manifest,
    RegistryEvent,
    Source,
    acts_of,
    is_registry_entry,
)
from processors.evidence.rulings import skips
from processors.identity.following import follow
from processors.identity.keys import spend
from processors.intake.identify import Claim, Received, check_names, identify, raw_digest, read
from processors.proof import merkle, signing
from processors.proof.signing import (
    INTAKE_PARTITION,
    KID_HEADER,
    PROOF_HEADER,
    MalformedProofError,
    Place,
    Proof,
    SignatureError,
    VerifiedHeads,
)
from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import codec, limits
from schemas.reasons import Reason
from schemas.records import AuditEntry, Event
from schemas.rows import KeyRow, SessionRow
from schemas.topics import AUDIT
from schemas.words import Outcome, Role

ABSENT_RANGES_MAX = 10_000  # that a verdict lists: a log may be longer than memory
# Why a record that shows no signature of its own may have been refused: all that is judged before one is checked.
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


class VerdictCode(StrEnum):
    """What is said of a folder. The first code that is not UNWITNESSED names what is wrong; there is no other yes."""

    OK = "OK"  # never said yet: it needs a checkpoint and a witness
    UNWITNESSED = "UNWITNESSED"
    TRUNCATED = "TRUNCATED"
    GAP = "GAP"
    FORK = "FORK"
    BAD_LINK = "BAD_LINK"
    BAD_SIG = "BAD_SIG"
    KEY_NOT_VALID = "KEY_NOT_VALID"
    SPLICE = "SPLICE"
    PAYLOAD_MISSING = "PAYLOAD_MISSING"
    SCHEMA_UNKNOWN = "SCHEMA_UNKNOWN"
    MALFORMED = "MALFORMED"  # a file does not have its form, or is not the one that the manifest names


class Fault(Exception):  # noqa: N818 - a verdict on its way up
    """A folder fails, for this reason, at this index."""

    def __init__(self, code: VerdictCode, index: int | None, detail: str) -> None:
        super().__init__(code, index, detail)
        self.code, self.index, self.detail = code, index, detail


@dataclass(frozen=True, slots=True)
class Item:
    """What the files hold at one position. `entry` is None where the bytes are no entry, and `why` says why."""

    index: int
    data: bytes
    leaf: bytes
    entry: AuditEntry | None
    why: str
    seal: bytes | None
    event: bytes | None

    @property
    def digest(self) -> bytes:
        """The schema digest that the entry names."""
        return self.data[4:36]

    @property
    def is_entry_like(self) -> bool:
        """Whether the bytes begin as an entry does; the magic is not under the monitor's signature."""
        return len(self.data) >= 36 and self.data[:4] == ENTRY_MAGIC


@dataclass(slots=True)
class EntryProgress:
    """How much of the log held so far."""

    size: int = 0
    frontier: tuple[bytes, ...] = ()
    events_absent: int = 0
    absent: list[tuple[int, int]] = field(default_factory=list)  # (first, last) of entries without their event

    def note_absent(self, index: int) -> None:
        """Note that an entry came without its event. Requires that indices rise."""
        self.events_absent += 1
        if self.absent and self.absent[-1][1] == index - 1:
            self.absent[-1] = self.absent[-1][0], index
        elif len(self.absent) < ABSENT_RANGES_MAX:
            self.absent.append((index, index))


@dataclass(slots=True)
class Schemas:
    """The schemas that the folder brings, byte for byte as they were published, and which of them were used."""

    held: frozenset[bytes]
    used: set[bytes] = field(default_factory=set)

    def use(self, digest: bytes, index: int) -> codec.Schema:
        """Return a schema. Raises Fault SCHEMA_UNKNOWN where the folder does not bring it, or nobody published it."""
        if digest not in self.held:
            raise Fault(VerdictCode.SCHEMA_UNKNOWN, index, f"schema {digest.hex()[:16]} is not in the folder")
        self.used.add(digest)
        return codec.by_digest()[digest]


class Judge:
    """Settles entries in order. `settle` may be called for index 0, 1, 2, … only."""

    def __init__(self, manifest: Manifest, schemas: Schemas, registry: Source, progress: EntryProgress) -> None:
        self._tables = Tables(tenant=manifest.tenant, deployment=manifest.deployment, genesis=manifest.genesis)
        self._topic = AUDIT.of(manifest.tenant)
        self._heads = VerifiedHeads()
        self._schemas = schemas
        self._registry = registry
        self._registry_broken = ""
        self._progress = progress
        self._last = (0, -1)  # log time and intake offset of the entry before
        self._departed: OrderedDict[bytes, SessionRow] = OrderedDict()
        self._next = self._read_registry()

    # --- one entry ---

    def settle(self, item: Item) -> None:
        """Judge an entry whose place in the chain holds, and make what it changes in the registry count.

        Raises:
            Fault: with the entry's index.
        """
        entry = item.entry
        if entry is None:
            self.check_signature(item)
            raise Fault(VerdictCode.MALFORMED, item.index, f"the monitor signed an entry that {item.why}")
        self._advance(entry)
        if item.index == 0:
            self._found(entry)
        self.check_signature(item)
        self.check_key(item, entry)
        self._check_order(item, entry)
        self._check_registry(item, entry, self._check_event(item, entry))
        self._progress.frontier = merkle.append(self._progress.frontier, self._progress.size, item.leaf)
        self._progress.size += 1

    def check_signature(self, item: Item) -> None:
        """Raise Fault BAD_SIG unless a registered key signed this entry for this log."""
        if not item.is_entry_like:
            raise Fault(VerdictCode.BAD_SIG, item.index, "the bytes are no entry, so nobody signed them as one")
        if item.seal is None:
            raise Fault(VerdictCode.BAD_SIG, item.index, "proofs.bin has no signature for this entry")
        row = self._key(item.seal[:32])
        if row is None:
            raise Fault(VerdictCode.BAD_SIG, item.index, "no key that is registered by then has the kid of the proof")
        place = Place.of(signing.AUDIT_TAG, self._tables.genesis, self._topic, 0, item.digest)
        try:
            proof = Proof.parse(item.seal[32:])
            self._heads.verify(row.ed25519, proof.head(place.leaf(item.data[36:])), proof.signature)
        except (MalformedProofError, SignatureError) as exc:
            raise Fault(VerdictCode.BAD_SIG, item.index, f"the monitor's signature: {exc}") from exc

    def check_key(self, item: Item, entry: AuditEntry) -> None:
        """Raise Fault KEY_NOT_VALID unless the key that signed is a live monitor key. Requires `check_signature`."""
        assert item.seal is not None
        row = self._key(item.seal[:32])
        if not isinstance(row, KeyRow) or row.role != Role.MONITOR:
            raise Fault(VerdictCode.KEY_NOT_VALID, item.index, "the key that signed is no monitor's")
        if row.revoked_at is not None:
            raise Fault(VerdictCode.KEY_NOT_VALID, item.index, "the monitor's key was revoked before")
        if row.expires_at is not None and entry.now >= row.expires_at:
            raise Fault(VerdictCode.KEY_NOT_VALID, item.index, "the monitor's key had expired")

    def _key(self, kid: bytes) -> KeyRow | SessionRow | None:
        return self._tables.keys.get(kid) or self._tables.sessions.get(kid)

    def _check_order(self, item: Item, entry: AuditEntry) -> None:
        """One intake record makes one entry and log time never falls: an honest monitor cannot sign anything else."""
        now, offset = self._last
        follows = entry.now >= now and (entry.offset > offset if item.index else entry.offset == 0)
        if not follows or entry.partition != INTAKE_PARTITION:
            raise Fault(
                VerdictCode.BAD_LINK, item.index, "log time or intake position does not follow the entry before"
            )
        self._last = (entry.now, entry.offset)

    # --- its event ---

    def _check_event(self, item: Item, entry: AuditEntry) -> EvidenceEvent | None:
        """Check that the event is the one that the entry names, and signed as the entry says; return it if signed."""
        record = item.event
        if record is None:
            raise Fault(VerdictCode.PAYLOAD_MISSING, item.index, "events.bin has no whole record for this entry")
        kind, rest = record[:1], record[1:]
        if kind == bytes([ABSENT]) and not rest:
            self._progress.note_absent(item.index)
            return None
        if kind == bytes([RAW]):
            self._check_raw(item, entry, rest)
            return None
        if kind != bytes([SIGNED]):
            raise Fault(VerdictCode.BAD_SIG, item.index, "the record in events.bin is of no known kind")
        try:
            signed = EvidenceEvent.parse(rest)
        except FormatError as exc:
            raise Fault(VerdictCode.BAD_SIG, item.index, f"the event's record: {exc}") from exc
        self._check_signed(item, entry, signed)
        return signed

    def _check_raw(self, item: Item, entry: AuditEntry, value: bytes) -> None:
        """A record without a proof of its own may only have been refused, for a reason that needs none."""
        if entry.kind == UNDECODABLE_KIND:
            same = raw_digest(value) == entry.event
        else:
            claim, _ = self._identify(item, entry, value, ())
            same = (claim.leaf, claim.kind, claim.event_id) == (entry.event, entry.kind, entry.event_id)
        if not same:
            raise Fault(VerdictCode.BAD_SIG, item.index, "events.bin holds another record than the entry names")
        if entry.outcome != Outcome.REFUSED or entry.reason not in _UNPROVEN:
            raise Fault(VerdictCode.BAD_SIG, item.index, "the entry says more than a record without a proof can show")

    def _check_signed(self, item: Item, entry: AuditEntry, signed: EvidenceEvent) -> None:
        value = self._schemas.use(signed.schema_sha256, item.index).prefix + signed.body
        claim, reason = self._identify(item, entry, value, _headers(signed))
        found = (claim.leaf, claim.kind, claim.kid, claim.event_id)
        if found != (entry.event, entry.kind, entry.event_kid, entry.event_id):
            raise Fault(VerdictCode.BAD_SIG, item.index, "events.bin holds another event than the entry names")
        # The step may break at any place.
        may_say = {(Outcome.REFUSED, reason), (Outcome.REFUSED, str(Reason.INTERNAL_ERROR))}
        if reason is not None and (entry.outcome, entry.reason) not in may_say:
            raise Fault(
                VerdictCode.BAD_SIG, item.index, f"the entry says {entry.outcome}, the event's signature {reason}"
            )
        if entry.outcome != Outcome.REFUSED:
            self._check_names(item, entry, claim)
        if entry.outcome == Outcome.SKIPPED and not skips(claim, entry):
            raise Fault(VerdictCode.BAD_SIG, item.index, "no ruling of an admin skips this record")
        session = claim.signer.session if claim.signer else None
        if session is not None and entry.now >= session.expires_at and entry.outcome != Outcome.REFUSED:
            raise Fault(VerdictCode.KEY_NOT_VALID, item.index, "the session that signed the event had ended")

    @staticmethod
    def _check_names(item: Item, entry: AuditEntry, claim: Claim) -> None:
        """An event that was not refused speaks for its own signer; a refused one may have failed before its names."""
        assert claim.event is not None
        assert claim.signer is not None
        try:
            check_names(claim.event, claim.signer)
        except Refusal as refusal:
            raise Fault(
                VerdictCode.BAD_SIG, item.index, f"the entry says {entry.outcome}, the event's names {refusal.reason}"
            ) from refusal

    def _identify(
        self, item: Item, entry: AuditEntry, value: bytes, headers: tuple[tuple[str, bytes], ...]
    ) -> tuple[Claim, str | None]:
        """Ask the monitor's own rule who signed; return what it found, and why it would refuse."""
        received = Received(entry.partition, entry.offset, entry.now, value, headers)
        claim, reason = self._ask(received)
        kid = claim.kid or b""
        if reason == Reason.UNKNOWN_KEY and kid in self._departed:
            # The monitor lets at most 64 rows of all tables leave for each record; it may still have known this one.
            self._tables.sessions.restore(kid, self._departed[kid])
            claim, reason = self._ask(received)
            self._tables.sessions.restore(kid, None)
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
        """Move log time, and let sessions leave as the fold does: their keys may be registered again."""
        tables = self._tables
        tables.now = max(tables.now, entry.now)
        for name, key in tables.due():
            if name == tables.keys.name:
                spend(tables, key)
                continue
            if name == tables.sessions.name:
                self._departed[key] = tables.sessions.rows[key]
            tables.by_name[name].delete(key)
        while len(self._departed) > limits.SESSIONS_MAX:
            self._departed.popitem(last=False)
        tables.commit()

    def _found(self, entry: AuditEntry) -> None:
        """Fold the founding event before its entry is judged: it brings the monitor's key."""
        if self._next is not None and self._next.index == 0:
            try:
                self._fold(entry, self._next.event)
            except Refusal:
                return  # no key is registered then, and the signature of the entry fails

    def _check_registry(self, item: Item, entry: AuditEntry, signed: EvidenceEvent | None) -> None:
        """The entries that change the registry, and no others, have their event in registry.bin, in order."""
        found, index = self._next, item.index
        needed = is_registry_entry(entry)
        if found is not None and (found.index < index or (found.index == index and not needed)):
            raise Fault(VerdictCode.SPLICE, index, "registry.bin holds an event that the log does not have there")
        if not needed:
            return
        if found is None or found.index != index or signed is None:
            raise Fault(VerdictCode.PAYLOAD_MISSING, index, f"the event of this {entry.kind} is missing")
        if found.event != signed:
            raise Fault(VerdictCode.BAD_SIG, index, "registry.bin holds another event than the entry names")
        if index:
            try:
                self._fold(entry, signed)
            except Refusal as refusal:
                raise Fault(
                    VerdictCode.KEY_NOT_VALID, index, f"accepted, but its signer may not: {refusal.reason}"
                ) from refusal
        self._next = self._read_registry()

    def _fold(self, entry: AuditEntry, signed: EvidenceEvent) -> None:
        """Fold one registry event. Raises Refusal."""
        schema = codec.by_digest().get(signed.schema_sha256)
        if schema is None:
            raise Refusal(Reason.UNKNOWN_SCHEMA)
        received = Received(entry.partition, entry.offset, entry.now, schema.prefix + signed.body, _headers(signed))
        follow(self._tables, received, self._heads, now=entry.now)

    def _read_registry(self) -> RegistryEvent | None:
        """Return the next registry event; None at the end, and where the file is broken, which `finish` will say."""
        try:
            record = self._registry.record(EVENT_RECORD_BYTES_MAX)
            return None if record is None else RegistryEvent.parse(record)
        except (EOFError, FormatError) as exc:
            self._registry_broken = str(exc)
            return None

    def finish(self) -> None:
        """Raise Fault unless the registry ended, whole, with the log."""
        size = self._progress.size
        if self._registry_broken:
            raise Fault(VerdictCode.MALFORMED, size, f"registry.bin: {self._registry_broken}")
        if self._next is not None:
            code = VerdictCode.TRUNCATED if self._next.index >= size else VerdictCode.SPLICE
            raise Fault(code, size, f"registry.bin goes on to entry {self._next.index}, the log ends at {size}")


def _headers(signed: EvidenceEvent) -> tuple[tuple[str, bytes], ...]:
    return (PROOF_HEADER, signed.proof), (KID_HEADER, signed.kid)
