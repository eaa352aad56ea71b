"""The view of the vault: its keys, with scope and version. Neither the view nor its topic has values."""

from __future__ import annotations

import enum
from hashlib import sha256

from schemas import limits
from schemas.changes import ContextChanged
from schemas.topics import OPS_CONTEXT, OPS_CONTEXT_CHANGELOG
from streams.views.view import JSONRow, View, shown_after


class VaultStatus(enum.Enum):
    """The status of a key."""

    SET = "set"
    DELETED = "deleted"
    ENDED = "ended"


def status_of(row: ContextChanged, now: int) -> VaultStatus:
    """Return the status of the key at `now`. A key past its end is empty even before an event says so."""
    over = row.status == VaultStatus.SET.value and row.ends_at is not None and now >= row.ends_at
    return VaultStatus.ENDED if over else VaultStatus(row.status)


def shown_until(row: ContextChanged) -> int:
    """Return the time in ms from which the row is no longer shown."""
    if row.status != VaultStatus.SET.value:
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
        "status": status_of(row, now).value,
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
    statuses=frozenset(status.value for status in VaultStatus),
    id_of=id_of,
    shown_until=shown_until,
)
