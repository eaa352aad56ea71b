"""The view of sessions: the principal of each, its issuer, role, attributes, start and end, and its calls."""

from __future__ import annotations

from schemas.changes import SessionChanged
from schemas.events.attributes import READ_BY_POLICIES, Attributes
from schemas.topics import OPS_SESSIONS, OPS_SESSIONS_CHANGELOG
from schemas.words import Status
from streams.views.view import JSONRow, View, shown_after

OF_SESSIONS = (Status.OPEN, Status.ENDED)


def status_of(row: SessionChanged, now: int) -> Status:
    """Return the status of the session at `now`. A session past its expiry has ended even before an event says so."""
    return Status.OPEN if row.status == Status.OPEN and now < row.expires_at else Status.ENDED


def shown_until(row: SessionChanged) -> int:
    """Return the time in ms from which the row is no longer shown."""
    return shown_after(row.expires_at if row.status == Status.OPEN else min(row.expires_at, row.at))


def describe(row: SessionChanged, now: int) -> JSONRow:
    """Return a session as the query API writes it. Times are milliseconds since the epoch."""
    return {
        "session_id": row.session_id.hex(),
        "principal_id": row.principal_id,
        "role": row.role,
        "status": str(status_of(row, now)),
        "issuer": row.issuer,
        "opened_by": None if row.opened_by is None else row.opened_by.hex(),
        "actors": list(row.actors),
        "attributes": None if row.attributes is None else attributes_shown(row.attributes),
        "opened_at": row.opened_at,
        "expires_at": row.expires_at,
        "audit_index": row.audit_index,
    }


def attributes_shown(attributes: Attributes) -> JSONRow:
    """Return the attributes that policies read, those that the session has."""
    found = {name: getattr(attributes, name) for name in READ_BY_POLICIES}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items() if v not in (None, ())}


SESSIONS = View(
    name="sessions",
    source=OPS_SESSIONS,
    changelog=OPS_SESSIONS_CHANGELOG,
    record=SessionChanged,
    statuses=frozenset(OF_SESSIONS),
    id_of=lambda change: change.session_id,
    shown_until=shown_until,
)
