"""Rows of workflow state: attestations, approvals, grants, delegations and the vault."""

from __future__ import annotations

from schemas.events.attributes import Attributes, RequiredBy
from schemas.record import record
from schemas.records import SignedEvent


@record
class AttestationRow:
    """State: an attestation about a session, by a tool, a bridge or an attester."""

    session_id: bytes
    key: str
    setter: str
    by: str
    value: str
    position: int
    set_at: int
    expires_at: int | None = None
    max_uses: int | None = None
    one_time: bool
    uses: int
    revoked: bool
    until: int
    payer: str = ""
    set_with: bytes | None = None


@record
class ApprovalGiven:
    """State: one person's approval, with the person's attributes at that time. Part of a row."""

    principal_id: str
    session_id: bytes
    role: str
    attributes: Attributes
    at: int
    signed: SignedEvent
    opened_by: bytes | None = None
    once: bool = False
    for_ms: int | None = None
    uses: int | None = None
    said_by: str | None = None


@record
class RequestRow:
    """State: a request for an approval; keyed by the digest of the call and the attestation key."""

    event: bytes
    key: str
    requester: bytes
    root: str
    acting: str
    chain: tuple[str, ...]
    session_id: bytes
    resource: str
    parameters_sha256: bytes
    required_by: tuple[RequiredBy, ...]
    asked_at: int
    open_until: int
    waits: bool
    approvals: tuple[ApprovalGiven, ...]
    call: SignedEvent
    closed: str
    until: int
    payer: str = ""
    opened: SignedEvent | None = None
    masked: str | None = None


@record
class GrantRow:
    """State: an approval that serves later calls; keyed by the digest of requester and key."""

    root: str
    acting: str
    key: str
    position: int
    at: int
    expires_at: int | None = None
    max_uses: int | None = None
    uses: int
    revoked: bool
    approvals: tuple[ApprovalGiven, ...]
    until: int
    payer: str = ""


@record
class DelegationRow:
    """State: a delegation; keyed by the leaf of its grant."""

    delegator: str
    delegator_session: bytes
    role: str
    attributes: Attributes
    phishing_resistant: bool
    delegate: str
    parent: bytes | None = None
    depth: int
    scope: str
    purpose: str
    granted_at: int
    expires_at: int
    revoked: bool
    until: int
    opened_by: bytes | None = None
    login_at: int | None = None
    payer: str = ""


@record
class VaultScopeRow:
    """State: a scope of the vault: the number and the hash of its last change."""

    name: str
    n: int
    h: bytes
    until: int
    payer: str = ""


@record
class VaultRow:
    """State: a value of the vault; keyed by the digest of its scope, then its key."""

    scope: str
    key: str
    value: str
    version: int
    set_at: int
    author: str
    until: int
    written: SignedEvent | None = None
    opened: SignedEvent | None = None
    before: bytes | None = None
    payer: str = ""
