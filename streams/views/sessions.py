"""The view of sessions: the principal of each, its role, its start and its end."""

from __future__ import annotations

import enum

from schemas.changes import SessionChanged
from schemas.topics import OPS_SESSIONS, OPS_SESSIONS_CHANGELOG
from streams.views.view import JSONRow, View, shown_after


class SessionStatus(enum.Enum):
    """The status of a session."""

    OPEN = "open"
    ENDED = "ended"


def status_of(row: SessionChanged, now: int) -> SessionStatus:
    """Return the status of the session at `now`. A session past its expiry has ended even before an event says so."""
    return (
        SessionStatus.OPEN if row.status == SessionStatus.OPEN.value and now < row.expires_at else SessionStatus.ENDED
    )


def shown_until(row: SessionChanged) -> int:
    """Return the time in ms from which the row is no longer shown."""
    return shown_after(row.expires_at if row.status == SessionStatus.OPEN.value else min(row.expires_at, row.at))


def describe(row: SessionChanged, now: int) -> JSONRow:
    """Return a session as the query API writes it. Times are milliseconds since the epoch."""
    return {
        "session_id": row.session_id.hex(),
        "principal_id": row.principal_id,
        "role": row.role,
        "status": status_of(row, now).value,
        "opened_at": row.opened_at,
        "expires_at": row.expires_at,
        "audit_index": row.audit_index,
    }


SESSIONS = View(
    name="sessions",
    source=OPS_SESSIONS,
    changelog=OPS_SESSIONS_CHANGELOG,
    record=SessionChanged,
    statuses=frozenset(status.value for status in SessionStatus),
    id_of=lambda change: change.session_id,
    shown_until=shown_until,
)
