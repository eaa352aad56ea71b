r"""Audit entries: a hash chain that is at the same time an RFC 6962 tree, one log for each tenant.

entry    = "AUD1" ‖ schema_sha256 ‖ Avro body
log leaf = SHA-256(00 ‖ entry);  prev of an entry = log leaf of the one before
prev of the first = SHA-256("macaw/audit/v1\n" ‖ genesis)
"""

from __future__ import annotations

import functools
import json

from processors.effects import Effects
from processors.proof import merkle, signing
from processors.proof.signing import Place
from processors.state.tables import Tables
from schemas import codec
from schemas.codec_fast.writing import Writer, compile_writer
from schemas.records import AuditEntry
from schemas.topics import AUDIT

ENTRY_MAGIC = b"AUD1"
AUDIT_ENTRY = f"{codec.NAMESPACE}.AuditEntry"


def entry_bytes(schema_sha256: bytes, body: bytes) -> bytes:
    """Return the bytes that are hashed into the log."""
    return ENTRY_MAGIC + schema_sha256 + body


def log_leaf(schema_sha256: bytes, body: bytes) -> bytes:
    """Return the RFC 6962 leaf of an entry; it is also the next entry's `prev`."""
    return merkle.leaf_hash(entry_bytes(schema_sha256, body))


def leaf_of(value: bytes) -> bytes:
    """Return the log leaf of a record of the audit topic, its content unseen. Raises SchemaError."""
    schema, body = codec.unframe(value)
    return log_leaf(schema.sha256, body)


def entry_with_leaf(value: bytes) -> tuple[AuditEntry, bytes]:
    """Return the entry in a record of the audit topic, and its log leaf. Raises SchemaError."""
    return codec.decode_as(AuditEntry, value), leaf_of(value)


@functools.lru_cache(maxsize=1024)
def entry_place(tenant: str, genesis: bytes, schema_sha256: bytes) -> Place:
    """Return the place of a tenant's audit entries, for the leaf that its monitor signs."""
    return Place.of(signing.AUDIT_TAG, genesis, AUDIT.of(tenant), 0, schema_sha256)


def append_entry(tables: Tables, effects: Effects, outcome: str, reason: str) -> None:
    """Write the audit entry of the record in `effects` and move the tail of the log."""
    claim, ruling = effects.claim, effects.received.ruling
    entry = AuditEntry(
        origin=tables.origin,
        index=effects.index,
        prev=tables.prev,
        now=tables.now,
        partition=effects.received.partition,
        offset=effects.received.offset,
        event=claim.leaf,
        event_kid=claim.kid,
        event_id=claim.event_id,
        kind=claim.kind,
        outcome=outcome,
        reason=reason,
        outputs=merkle.root(effects.leaves),
        on_behalf_of=None if claim.event is None else claim.event.header.on_behalf_of,
        fault=effects.fault,
        appended_at=None if tables.appended == tables.now else tables.appended,
        ruling=None if ruling is None else ruling.leaf,
        observed=effects.observed,
    )
    body = effects.audit(entry)
    tables.end_record(log_leaf(codec.current("AuditEntry").sha256, body))


@functools.lru_cache(maxsize=64)
def _writer(digest: bytes) -> Writer:
    return compile_writer(json.loads(codec.by_digest()[digest].text))


def read_entry(data: bytes) -> tuple[AuditEntry | None, str]:
    """Return the entry in the bytes that are hashed into the log, or None and the reason why they are not one.

    Only the shortest encoding is an entry.
    """
    schema = codec.by_digest().get(data[4:36])
    if data[:4] != ENTRY_MAGIC or schema is None or schema.name != AUDIT_ENTRY:
        return None, "wrong magic or schema"
    try:
        entry: AuditEntry = codec.decode(schema, data[36:])
    except codec.SchemaError as exc:
        return None, f"it does not decode ({exc.code})"
    if _writer(schema.sha256)(entry) != data[36:]:
        return None, "it is not in Avro's shortest form"
    if len(entry.event) != 32 or len(entry.outputs) != 32:
        return None, "a digest does not have 32 bytes"
    return entry, ""
