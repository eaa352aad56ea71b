"""Foreign records: those on a tenant's topics that its intake has not caused.

Intake is folded again from its first record, and every other topic is compared with the outputs. A record is the log's
if it has the very bytes, in order, and if a decision key that was valid for its audit entry signed it: the key of that
entry for decisions and results. Everything else is foreign, and was written by a thief of a decision key, or by another
program. A thief's entry with the very bytes that the log needed is foreign too, if its key was not valid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import NamedTuple

from processors.effects import Output
from processors.evidence.audit_log import entry_place
from processors.identity.keys import decision_keys, is_live
from processors.intake.identify import Received
from processors.proof.signing import (
    KID_HEADER,
    PROOF_HEADER,
    MalformedProofError,
    Proof,
    SignatureError,
    VerifiedHeads,
)
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.step import step
from producers.home.security import UNSECURED, Security
from schemas import codec
from schemas.records import AuditEntry, Decision, Result
from schemas.topics import AUDIT, DEAD_LETTERS, DECISIONS, INTAKE, REGISTRY, RESULTS, Topic
from streams.history.folded import RuledIntake
from streams.history.kept_log import OpenArchive, index_of, kept_log
from streams.history.records import Records, entry_in, present, record_in

LOOKED_AHEAD = 1024  # foreign records in a row that are passed to find the next of the log's own
ORDERED = (DECISIONS, RESULTS, DEAD_LETTERS)


class Foreign(NamedTuple):
    """A record that is not the log's: its place, the kid that it names, empty for none, and its claim in words."""

    topic: str
    partition: int
    offset: int
    kid: bytes
    claim: str


def find_foreign(
    bootstrap: str,
    *,
    tenant: str,
    deployment: str,
    genesis: bytes,
    archive: OpenArchive | None = None,
    security: Security = UNSECURED,
) -> list[Foreign]:
    """Return the foreign records of a tenant's audit, decisions, results, dead-letters and registry topics.

    Raises:
        TrimmedError, ArchiveGapError, ArchiveDiffersError, ShreddedError: intake or the log is not whole.
        ReadTimeoutError: a topic could not be read to its end.
    """
    with kept_log(bootstrap, tenant, archive=archive, security=security) as kept:
        audit = kept.whole(AUDIT)
        ordered = {(t, p): kept.as_kept(t, p) for t in ORDERED for p in range(t.partitions)}
        registry = kept.live(REGISTRY, 0)
        tables = Tables(tenant=tenant, deployment=deployment, genesis=genesis)
        search = _Search(tables, RuledIntake(kept.whole(INTAKE), tables), ordered)
        for record in present(audit.read(audit.low)):
            search.audit(record)
        return [*search.found, *search.rest(), *search.registry(registry)]


def places_of(found: list[Foreign]) -> dict[str, frozenset[int]]:
    """Return the offsets of foreign records by TOPIC/PARTITION, as they are set aside."""
    places: dict[str, set[int]] = {}
    for one in found:
        places.setdefault(f"{one.topic.rpartition('.')[2]}/{one.partition}", set()).add(one.offset)
    return {place: frozenset(offsets) for place, offsets in places.items()}


@dataclass(slots=True)
class _Ahead:
    """A partition that is read in step with the fold, some records ahead."""

    records: Iterator[Received]
    held: deque[Received] = field(default_factory=deque)

    def upto(self, count: int) -> bool:
        """Hold at least `count` records; return False if there are not so many."""
        while len(self.held) < count:
            one = next(self.records, None)
            if one is None:
                return False
            self.held.append(one)
        return True


class _Search:
    """The fold of the log, and the foreign records that were passed."""

    def __init__(self, tables: Tables, intake: RuledIntake, ordered: dict[tuple[Topic, int], Records]) -> None:
        self._tables, self._intake, self._heads = tables, intake, VerifiedHeads()
        self._ordered = {place: _Ahead(present(found.read(found.low))) for place, found in ordered.items()}
        self._trimmed = {place for place, found in ordered.items() if found.low > 0}
        self._next: list[Output] | None = None  # the outputs of the next record of intake, folded and not compared yet
        self._live: Sequence[bytes] = ()  # the kids of the decision keys before that record
        self._registered: set[bytes] = set()
        self.found: list[Foreign] = []

    def audit(self, record: Received) -> None:
        """Take a record of the audit topic: the next entry of the log, or a foreign one."""
        entry = entry_in(record.value)
        if self._next is None and entry is not None and self._links(entry) and self._may_rule(entry, record):
            self._fold(entry)
        if self._next is None or record.value != self._next[-1].value or not self._is_signed(record):
            self._tell(AUDIT, record)
            return
        kid = _kid(record)
        for output in self._next[:-1]:
            self._compare(output, kid)
        self._next = None

    def _links(self, entry: AuditEntry) -> bool:
        return (entry.index, entry.prev) == (self._tables.next_index, self._tables.prev)

    def _fold(self, entry: AuditEntry) -> None:
        self._live = decision_keys(self._tables)
        received = self._intake.take(entry)
        if received is None:
            return
        try:
            self._next = step(self._tables, received, self._heads)
        except Refusal:  # a ruling that is not valid: the entry is not the log's
            self._intake.give_back(received)
            return
        self._tables.commit()

    def _may_rule(self, entry: AuditEntry, record: Received) -> bool:
        """Return True if an entry names no ruling, or may name one: its record is folded otherwise because of it.

        In a stretch without a live key the signer is not known yet, and is believed.
        """
        if entry.ruling is None or not (live := decision_keys(self._tables)):
            return True
        row = self._tables.keys.get(_kid(record)) if _kid(record) in live else None
        return row is not None and self._is_signed_with(record, row.ed25519)

    def _is_signed(self, record: Received) -> bool:
        """Return True if a key that may sign the entry has signed it; see `processors.evidence.signers`."""
        tables, kid = self._tables, _kid(record)
        row = tables.keys.get(kid)
        if row is None:
            return not self._live and bool(len(tables.tenant))  # in a stretch: its key comes later
        was_live = kid in self._live and is_live(replace(row, revoked_at=None), tables.now)
        return (was_live or kid in decision_keys(tables)) and self._is_signed_with(record, row.ed25519)

    def _is_signed_with(self, record: Received, ed25519: bytes) -> bool:
        tables = self._tables
        try:
            schema, body = codec.unframe(record.value or b"")
            place = entry_place(tables.tenant_id, tables.genesis, schema.sha256)
            proof = Proof.parse(record.header(PROOF_HEADER))
            self._heads.verify(ed25519, proof.head(place.leaf(body)), proof.signature)
        except (codec.SchemaError, Refusal, MalformedProofError, SignatureError):
            return False
        return True

    def _compare(self, output: Output, kid: bytes) -> None:
        """Pass the foreign records before an output on its partition."""
        if output.topic is REGISTRY:
            self._registered.add(_digest(output.value))
        place = output.topic, output.partition
        ahead = self._ordered.get(place)
        if ahead is None:
            return
        if place in self._trimmed:
            if not ahead.upto(1) or index_of(ahead.held[0].value) >= self._tables.next_index:
                return
            self._trimmed.discard(place)
        for at in range(LOOKED_AHEAD):
            if not ahead.upto(at + 1):
                return
            one = ahead.held[at]
            if one.value == output.value and (output.leaf is None or _kid(one) == kid):
                for _ in range(at):
                    self._tell(output.topic, ahead.held.popleft())
                ahead.held.popleft()
                return

    def rest(self) -> list[Foreign]:
        """Return the records behind the last outputs. Requires that the whole audit topic was taken.

        Records of entries that were written meanwhile are not counted: they name a later audit index and a live key.
        """
        live = set(decision_keys(self._tables))
        rest = []
        for (topic, _), ahead in self._ordered.items():
            for one in (*ahead.held, *ahead.records):
                is_later = index_of(one.value) >= self._tables.next_index and _kid(one) in live
                if topic is not DEAD_LETTERS and not is_later:
                    rest.append(_foreign(self._tables, topic, one))
        return rest

    def registry(self, records: Records) -> list[Foreign]:
        """Return the records of the registry that no event of intake put there; one without a value cannot be told."""
        every = present(records.read(records.low))
        strange = (one for one in every if one.value is not None and _digest(one.value) not in self._registered)
        return [_foreign(self._tables, REGISTRY, one) for one in strange]

    def _tell(self, topic: Topic, record: Received) -> None:
        self.found.append(_foreign(self._tables, topic, record))


def _foreign(tables: Tables, topic: Topic, record: Received) -> Foreign:
    return Foreign(topic.of(tables.tenant_id), record.partition, record.offset, _kid(record), _claim(record.value))


def _kid(record: Received) -> bytes:
    try:
        return record.header(KID_HEADER)
    except Refusal:
        return b""


def _claim(value: bytes | None) -> str:
    """Return the claim of a record in words; texts in it are the writer's and are shown quoted."""
    match record_in(value):
        case AuditEntry() as entry:
            said = f"{entry.outcome} {entry.reason}".strip()
            return f"audit entry {entry.index}: {entry.kind!r} at intake offset {entry.offset}: {said!r}"
        case Decision() as decision:
            return f"decision: {decision.principal_id!r} on {decision.resource!r}: {decision.outcome!r}"
        case Result() as result:
            return f"result: {result.outcome!r} to {result.to.hex()[:16]} about the event {result.event.hex()[:16]}"
        case None:
            return f"{len(value or b'')} bytes that are not a record of this log"


def _digest(value: bytes | None) -> bytes:
    return sha256(value or b"").digest()
