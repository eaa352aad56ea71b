"""The views' feed: one flat record for the newest change of a row that a view shows. No rule reads these.

`audit_index` and `at` are the index and the log time (ms) of the audit entry whose record changed the row.
`processors/feed.py` derives the records from rows, once for each transaction. A record without a value says that the
row has left; a session is told as `ended` instead.
"""

from __future__ import annotations

from schemas.events.attributes import Attributes
from schemas.record import record


@record
class SessionChanged:
    """For the views: a session was opened or has ended. `status` is open or ended.

    `issuer` is empty for a program's own session. `attributes` are those that policies read. The last four members came
    later: a monitor before them told None and nothing else.
    """

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
    issuer: str = ""
    attributes: Attributes | None = None
    opened_by: bytes | None = None
    actors: tuple[str, ...] = ()


@record
class AttestationChanged:
    """For the views: an attestation, a request for approval or a grant was made, used, or has ended.

    `kind` is record, request or grant. `uses` of a record is as of this change: a use that leaves others is not told.
    """

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
    """For the views: a key of the vault was written. Values are never shown."""

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
    """For the views: a delegation was granted or revoked. `status` is active or revoked."""

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
