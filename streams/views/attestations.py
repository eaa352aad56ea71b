"""The view of attestations and approvals: records of sessions, requests for approval, and grants.

It has no values of attestations: those never leave the tenant's own topics.
"""

from __future__ import annotations

from schemas import limits
from schemas.changes import AttestationChanged
from schemas.codec import MalformedRecordError
from schemas.topics import OPS_ATTESTATIONS, OPS_ATTESTATIONS_CHANGELOG
from schemas.words import AttestationKind, Status
from streams.views.view import ID_BYTES, JSONRow, View, shown_after

# Statuses of requests, then those of records and grants too. There is no event for `expired`: it follows from the time.
OF_REQUESTS = (Status.PENDING, Status.APPROVED, Status.DENIED, Status.TIMEOUT, Status.CANCELLED)
OF_ATTESTATIONS = (*OF_REQUESTS, Status.ACTIVE, Status.CONSUMED, Status.REVOKED, Status.EXPIRED, Status.ENDED)
_SAID = frozenset(OF_ATTESTATIONS) - {Status.EXPIRED}
_LIVE = frozenset({Status.PENDING, Status.ACTIVE})


def status_of(row: AttestationChanged, now: int) -> Status:
    """Return the status at `now`. A row past its end is over even before an event says so."""
    if row.ends_at is not None and now >= row.ends_at:
        if row.status == Status.PENDING:
            return Status.TIMEOUT
        if row.status == Status.ACTIVE:
            return Status.EXPIRED
    return Status(row.status)


def shown_until(row: AttestationChanged) -> int:
    """Return the time in ms from which the row is no longer shown."""
    if row.status not in _LIVE:
        return shown_after(row.at)
    return limits.FOR_EVER_MS if row.ends_at is None else shown_after(row.ends_at)


def check(change: AttestationChanged) -> None:
    """Raise MalformedRecordError if the kind is unknown or the session id does not fit it."""
    if change.kind not in set(AttestationKind):
        raise MalformedRecordError(f"got kind {change.kind[:16]!r}, want record, request or grant")
    if len(change.session_id) != (0 if change.kind == AttestationKind.GRANT else ID_BYTES):
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
        "status": str(status_of(row, now)),
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
    if row.kind != AttestationKind.REQUEST:
        return None
    return {
        "id": row.id.hex(),
        "key": row.key,
        "resource": row.resource,
        "session_id": row.session_id.hex(),
        "for_user": row.principal_id,
        "status": str(status_of(row, now)),
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
