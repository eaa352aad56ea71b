"""Records for the views: one flat record for each change of a row that they show. No rule reads them."""

from __future__ import annotations

from schemas.record import record


@record
class SessionChanged:
    """For the views: a session was opened or has ended."""

    origin: str
    audit_index: int
    tenant: str
    session_id: bytes
    principal_id: str
    role: str
    status: str
    opened_at: int
    expires_at: int
    at: int


@record
class AttestationChanged:
    """For the views: an attestation, an approval or a grant was made, used, or has ended."""

    origin: str
    audit_index: int
    tenant: str
    id: bytes
    kind: str
    key: str
    session_id: bytes
    principal_id: str
    resource: str
    status: str
    criteria: tuple[str, ...]
    quorum: int
    approved_by: tuple[str, ...]
    uses: int
    uses_max: int | None = None
    ends_at: int | None = None
    at: int


@record
class ContextChanged:
    """For the views: a key of the vault was written, deleted, or has ended. Values are never shown."""

    origin: str
    audit_index: int
    tenant: str
    scope: str
    key: str
    status: str
    version: int
    principal_id: str
    ends_at: int | None = None
    at: int


@record
class DelegationChanged:
    """For the views: a delegation was granted, revoked, or has ended."""

    origin: str
    audit_index: int
    tenant: str
    delegation: bytes
    parent: bytes | None = None
    delegator: str
    delegate: str
    scope: str
    purpose: str
    status: str
    expires_at: int
    at: int
