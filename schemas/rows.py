"""State rows: what the tables of the fold hold, one record for each schema named `*Row` in `avro/`.

Rows are a cache of the log. They travel on the `state` topic so that a worker can restart quickly, and they
are never evidence.
"""

from __future__ import annotations

from schemas.record import record
from schemas.records import EnrolmentGrant, ToolDeclaration


@record
class TenantRow:
    """State: the founding facts."""

    genesis: bytes
    tenant: str
    deployment: str
    root_keys: tuple[bytes, ...]
    root_threshold: int
    next_root_digests: tuple[bytes, ...]
    root_epoch: int
    organisation_key: bytes | None = None
    development: bool


@record
class KeyRow:
    """State: a registered key."""

    role: str
    principal_id: str
    ed25519: bytes
    x25519: bytes
    attributes: str
    registered_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    enrolment: EnrolmentGrant | None = None
    enrolled: int


@record
class PrincipalRow:
    """State: a principal and its keys."""

    role: str
    registered_by: bytes
    kids: tuple[bytes, ...]
    tools: tuple[ToolDeclaration, ...]


@record
class ResourceRow:
    """State: which tool owns a resource."""

    principal_id: str
    timeout_ms: int
    idempotent: bool


@record
class PolicyRow:
    """State: the policy document in force under an id."""

    document: str
    digest: bytes
    extends: str | None = None


@record
class SessionRow:
    """State: a session."""

    principal_id: str
    role: str
    opened_by: bytes
    ed25519: bytes
    x25519: bytes
    attributes: str
    opened_at: int
    expires_at: int


@record
class SequenceRow:
    """State: the last event of a key."""

    seq: int
    leaf: bytes


@record
class CallRow:
    """State: an allowed call whose outcome is not known yet; keyed by the leaf of its decision."""

    session_id: bytes
    caller_x25519: bytes
    tool: str
    event: bytes
    event_id: bytes
    resource: str
    unknown_at: int
    marks: bytes | None = None


@record
class RateBucketRow:
    """State: a rate limit of one policy for one principal."""

    policy_id: str
    arrival: int


@record
class RuleCellRow:
    """State: what a sequence rule has seen of one session or user."""

    window: int
    calls: int
    total: str
    at: int
    until: int


@record
class StateHead:
    """State: one row a transaction, over all the others."""

    audit_index: int
    mac: bytes
