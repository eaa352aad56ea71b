"""State rows: what the tables of the fold hold, one record for each schema named `*Row` in `avro/`.

Rows are a cache of the log. They travel on the `state` topic so that a worker can restart quickly, and they
are never evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.records import EnrolmentGrant, ToolDeclaration


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalRow:
    """State: a principal and its keys."""

    role: str
    registered_by: bytes
    kids: tuple[bytes, ...]
    tools: tuple[ToolDeclaration, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRow:
    """State: which tool owns a resource."""

    principal_id: str
    timeout_ms: int
    idempotent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """State: the policy document in force under an id."""

    document: str
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRow:
    """State: the last event of a key."""

    seq: int
    leaf: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """State: an allowed call whose outcome is not known yet; keyed by the leaf of its decision."""

    session_id: bytes
    caller_x25519: bytes
    tool: str
    event: bytes
    event_id: bytes
    resource: str
    unknown_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateHead:
    """State: one row a transaction, over all the others."""

    audit_index: int
    mac: bytes
