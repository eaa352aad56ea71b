"""The view of the vault: its keys, with scope and version. Neither the view nor its topic has values."""

from __future__ import annotations

from hashlib import sha256

from schemas import limits
from schemas.changes import ContextChanged
from schemas.topics import OPS_CONTEXT, OPS_CONTEXT_CHANGELOG
from schemas.words import Status
from streams.views.view import JSONRow, View, shown_after

OF_KEYS = (Status.SET, Status.DELETED, Status.ENDED)


def status_of(row: ContextChanged, now: int) -> Status:
    """Return the status of the key at `now`. A key past its end is empty even before an event says so."""
    over = row.status == Status.SET and row.ends_at is not None and now >= row.ends_at
    return Status.ENDED if over else Status(row.status)


def shown_until(row: ContextChanged) -> int:
    """Return the time in ms from which the row is no longer shown."""
    if row.status != Status.SET:
        return shown_after(row.at)
    return limits.FOR_EVER_MS if row.ends_at is None else shown_after(row.ends_at)


def id_of(change: ContextChanged) -> bytes:
    """Return the id of a key of a scope."""
    scope, key = change.scope.encode(), change.key.encode("utf-8", "surrogatepass")
    return sha256(sha256(scope).digest() + key).digest()


def session_scope(session_id: str) -> str:
    """Return the name of a session's own scope."""
    return f"session:{session_id}"


def describe(row: ContextChanged, now: int) -> JSONRow:
    """Return a key as the query API writes it."""
    return {
        "id": id_of(row).hex(),
        "scope": row.scope,
        "key": row.key,
        "status": str(status_of(row, now)),
        "version": row.version,
        "principal_id": row.principal_id,
        "ends_at": row.ends_at,
        "changed_at": row.at,
        "audit_index": row.audit_index,
    }


CONTEXT = View(
    name="context",
    source=OPS_CONTEXT,
    changelog=OPS_CONTEXT_CHANGELOG,
    record=ContextChanged,
    statuses=frozenset(OF_KEYS),
    id_of=id_of,
    shown_until=shown_until,
)
