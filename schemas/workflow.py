"""What is said about the state of workflows: attestations, approvals, the vault, delegations, questions.

Bodies of `Event`, as in `records`; no rule lives here.
"""

from __future__ import annotations

from schemas.record import record


@record
class AttestationSet:
    """Somebody who may say so says that something holds, into one session."""

    session: bytes
    key: str
    value: str
    one_time: bool
    max_uses: int | None = None
    ttl_ms: int | None = None
    decision: bytes | None = None


@record
class AttestationApproved:
    """A person approves one call, as it was shown."""

    request: bytes
    key: str
    parameters_sha256: bytes
    reason: str


@record
class AttestationDenied:
    """A person refuses one call."""

    request: bytes
    key: str
    parameters_sha256: bytes
    reason: str


@record
class AttestationRevoked:
    """An attestation, or a grant, counts no more."""

    record: bytes
    reason: str


@record
class ContextWritten:
    """A value is put into the vault."""

    scope: str
    key: str
    value: str
    ttl_ms: int | None = None
    expected: int | None = None


@record
class ContextRead:
    """A value of the vault is asked for."""

    scope: str
    key: str


@record
class ContextDeleted:
    """A value leaves the vault."""

    scope: str
    key: str
    expected: int | None = None


@record
class ContextListed:
    """Keys of a scope are asked for."""

    scope: str
    prefix: str
    after: str
    limit: int


@record
class DelegationGranted:
    """A principal lets another do some of what it may."""

    delegate: str
    parent: bytes | None = None
    scope: str
    expires_at: int
    purpose: str


@record
class DelegationRevoked:
    """A delegation, and every one under it, counts no more."""

    delegation: bytes
    reason: str


@record
class ApplicationEventLogged:
    """An application notes what happened."""

    event_type: str
    source: str
    action: str
    target: str
    outcome: str
    category: str
    signed: bool
    metadata: str


@record
class StateQueried:
    """A session asks what the log knows; nothing changes."""

    what: str
    argument: str
