"""Writing the folder in which evidence travels: a stream of (file name, piece) from audit records and their events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256

from processors.evidence.audit_log import entry_bytes
from processors.evidence.folder_format import (
    DATA_FILES,
    ENTRIES,
    EVENTS,
    MANIFEST,
    PROOFS,
    REGISTRY,
    AuditRecord,
    Manifest,
    RegistryEvent,
    acts_of,
    event_record,
    is_registry_entry,
    read_event,
    schema_file,
)
from processors.evidence.known_keys import SESSION_KINDS, KnownKeys
from processors.intake.identify import Received
from processors.proof.merkle import leaf_hash
from processors.proof.signing import KEY_BYTES, length_prefixed
from schemas import codec
from schemas.errors import EvidenceError
from schemas.events.logins import SessionRenewed
from schemas.records import AuditEntry, Event


class PackError(EvidenceError):
    """The records do not make a folder that could verify; the message names the first that is wrong or missing."""


def pack(
    records: Iterable[tuple[AuditRecord, Received | None]], *, origin: str, tenant: str, genesis: bytes
) -> Iterator[tuple[str, bytes]]:
    """Yield a folder as (file name, piece) from audit records, each with its intake record, or None if that is gone.

    The manifest comes last, so a folder without one was not finished. One record at a time is held in memory.

    Raises:
        PackError: there is no record, a record is not an audit entry, or the event that brought or ended a key is gone.
    """
    packer = _Packer()
    for record, received in records:
        yield from packer.add(record, received)
    if not packer.size:
        raise PackError("there is no audit entry: the tenant was not founded, or no monitor has run")
    yield from packer.schema_texts()
    files = {name: digest.digest() for name, digest in packer.digests.items()}
    yield (
        MANIFEST,
        Manifest(
            origin=origin, tenant=tenant, genesis=genesis, size=packer.size, last=packer.last, files=files
        ).encode(),
    )


class _Packer:
    """The state of `pack` between records: digests, schemas, and the end of the log so far."""

    def __init__(self) -> None:
        self.digests = {name: sha256() for name in DATA_FILES}
        self.size = 0
        self.last = b""
        self._schemas: dict[bytes, codec.Schema] = {}
        self._known = KnownKeys()

    def add(self, record: AuditRecord, received: Received | None) -> Iterator[tuple[str, bytes]]:
        """Yield the pieces of one entry."""
        try:
            schema, body = codec.unframe(record.value)
            entry: AuditEntry = codec.decode(schema, body)
        except codec.SchemaError as exc:
            raise PackError(f"audit record {self.size}: {exc}") from exc
        if not isinstance(entry, AuditEntry):
            raise PackError(f"audit record {self.size} is a {schema.name}, want AuditEntry")
        self._schemas[schema.sha256] = schema
        data = entry_bytes(schema.sha256, body)
        kid = record.kid if len(record.kid) == KEY_BYTES else bytes(KEY_BYTES)
        yield self._piece(ENTRIES, length_prefixed(data))
        yield self._piece(PROOFS, length_prefixed(kid + record.proof))
        is_registered = is_registry_entry(entry) and entry.index == self.size  # a copy is not part of the chain
        signed, event = (None if received is None else read_event(entry, received)) or (None, None)
        is_gone = event is None
        if signed is not None and event is not None and not self._known.can_check(entry, event):
            signed, event, received = None, None, None
        if event is not None and received is not None:
            self._use_schemas(received, event)
        yield self._piece(EVENTS, length_prefixed(event_record(signed, received)))
        if is_registered and signed is not None and event is not None:
            self._known.learn(event)
            yield self._piece(REGISTRY, length_prefixed(RegistryEvent(self.size, signed).encode()))
        elif is_registered and entry.kind in SESSION_KINDS:
            self._known.lose(is_renewal_gone=is_gone and entry.kind == SessionRenewed.__name__)
        elif is_registered:
            raise PackError(
                f"the {entry.kind} of entry {self.size} is kept nowhere any more, and without it no key can be checked:"
                " no folder can be made; see docs/incidents.md"
            )
        self.last = leaf_hash(data)
        self.size += 1

    def schema_texts(self) -> Iterator[tuple[str, bytes]]:
        """Yield the schemas that were used."""
        for digest, schema in sorted(self._schemas.items()):
            self.digests[schema_file(digest)] = sha256()
            yield self._piece(schema_file(digest), schema.text.encode())

    def _piece(self, name: str, data: bytes) -> tuple[str, bytes]:
        self.digests[name].update(data)
        return name, data

    def _use_schemas(self, received: Received, event: Event) -> None:
        schema, _ = codec.unframe(received.value or b"")
        for digest in (schema.sha256, *acts_of(event)):
            self._schemas |= {k: s for k, s in codec.by_digest().items() if k == digest}
