"""The view of attestations and approvals: records of sessions, requests for approval, and grants.

It has no values of attestations: those never leave the tenant's own topics.
"""

from __future__ import annotations

import enum

from schemas import limits
from schemas.changes import AttestationChanged
from schemas.codec import MalformedRecordError
from schemas.topics import OPS_ATTESTATIONS, OPS_ATTESTATIONS_CHANGELOG
from streams.views.view import ID_BYTES, JSONRow, View, shown_after


class AttestationKind(enum.Enum):
    """The kind of thing that a row describes."""

    RECORD = "record"
    REQUEST = "request"
    GRANT = "grant"


class AttestationStatus(enum.Enum):
    """The status of a row. PENDING and the four after it are statuses of requests, the others of records and grants."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    ACTIVE = "active"
    CONSUMED = "consumed"
    REVOKED = "revoked"
    EXPIRED = "expired"  # there is no event for it; it follows from the time
    ENDED = "ended"


OF_REQUESTS = (
    AttestationStatus.PENDING,
    AttestationStatus.APPROVED,
    AttestationStatus.DENIED,
    AttestationStatus.TIMEOUT,
    AttestationStatus.CANCELLED,
)
_SAID = frozenset(status.value for status in AttestationStatus if status is not AttestationStatus.EXPIRED)
_LIVE = frozenset({AttestationStatus.PENDING.value, AttestationStatus.ACTIVE.value})


def status_of(row: AttestationChanged, now: int) -> AttestationStatus:
    """Return the status at `now`. A row past its end is over even before an event says so."""
    if row.ends_at is not None and now >= row.ends_at:
        if row.status == AttestationStatus.PENDING.value:
            return AttestationStatus.TIMEOUT
        if row.status == AttestationStatus.ACTIVE.value:
            return AttestationStatus.EXPIRED
    return AttestationStatus(row.status)


def shown_until(row: AttestationChanged) -> int:
    """Return the time in ms from which the row is no longer shown."""
    if row.status not in _LIVE:
        return shown_after(row.at)
    return limits.FOR_EVER_MS if row.ends_at is None else shown_after(row.ends_at)


def check(change: AttestationChanged) -> None:
    """Raise MalformedRecordError if the kind is unknown or the session id does not fit it."""
    if change.kind not in {kind.value for kind in AttestationKind}:
        raise MalformedRecordError(f"got kind {change.kind[:16]!r}, want record, request or grant")
    if len(change.session_id) != (0 if change.kind == AttestationKind.GRANT.value else ID_BYTES):
        raise MalformedRecordError(f"the session id must have {ID_BYTES} bytes, or be empty for a grant")


def describe(row: AttestationChanged, now: int) -> JSONRow:
    """Return a record, request or grant as the query API writes it."""
    return {
        "id": row.id.hex(),
        "kind": row.kind,
        "key": row.key,
        "session_id": row.session_id.hex() or None,
        "principal_id": row.principal_id,
        "resource": row.resource,
        "status": status_of(row, now).value,
        "criteria": list(row.criteria),
        "quorum": row.quorum,
        "approved_by": list(row.approved_by),
        "uses": row.uses,
        "uses_max": row.uses_max,
        "ends_at": row.ends_at,
        "changed_at": row.at,
        "audit_index": row.audit_index,
    }


def describe_request(row: AttestationChanged, now: int) -> JSONRow | None:
    """Return a request with its possible approvers, its approvals and its deadline; None for records and grants."""
    if row.kind != AttestationKind.REQUEST.value:
        return None
    return {
        "id": row.id.hex(),
        "key": row.key,
        "resource": row.resource,
        "session_id": row.session_id.hex(),
        "for_user": row.principal_id,
        "status": status_of(row, now).value,
        "may_approve": {"criteria": list(row.criteria), "quorum": row.quorum},
        "approved_by": list(row.approved_by),
        "missing": max(0, row.quorum - len(row.approved_by)),
        "open_until": row.ends_at,
        "changed_at": row.at,
        "audit_index": row.audit_index,
    }


ATTESTATIONS = View(
    name="attestations",
    source=OPS_ATTESTATIONS,
    changelog=OPS_ATTESTATIONS_CHANGELOG,
    record=AttestationChanged,
    statuses=_SAID,
    id_of=lambda change: change.id,
    shown_until=shown_until,
    check=check,
)
