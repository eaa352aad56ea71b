"""Bodies of `Event` about the state of workflows: attestations, approvals, the vault, delegations, questions.

`records` holds the other bodies. This file has no rules.
"""

from __future__ import annotations

from schemas.events.bodies import BodyReference
from schemas.record import record


@record
class AttestationSet:
    """A tool, a bridge or an attester attests that `key` has this value in one session."""

    session: bytes
    key: str
    value: str
    one_time: bool
    max_uses: int | None = None
    ttl_ms: int | None = None
    decision: bytes | None = None


@record
class AttestationApproved:
    """A person approves one call with these parameters, for one key that its policies require.

    `once`, `for_ms` and `uses` narrow an approval that would serve later calls. `said_by` is the person that a
    registered approver speaks for.
    """

    request: bytes
    key: str
    parameters_sha256: bytes
    reason: str
    once: bool = False
    for_ms: int | None = None
    uses: int | None = None
    said_by: str | None = None


@record
class AttestationDenied:
    """A person denies one call its approval."""

    request: bytes
    key: str
    parameters_sha256: bytes
    reason: str
    said_by: str | None = None


@record
class AttestationRevoked:
    """An attestation, or a grant, no longer counts."""

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
    bodies: tuple[BodyReference, ...] = ()


@record
class ContextRead:
    """A session asks for a value of the vault."""

    scope: str
    key: str


@record
class ContextDeleted:
    """A value is deleted from the vault."""

    scope: str
    key: str
    expected: int | None = None


@record
class ContextListed:
    """A session asks for a page of a scope's keys."""

    scope: str
    prefix: str
    after: str
    limit: int


@record
class DelegationGranted:
    """A principal lets another act on its behalf, within a scope and until a time (ms)."""

    delegate: str
    parent: bytes | None = None
    scope: str
    expires_at: int
    purpose: str


@record
class DelegationRevoked:
    """A delegation, and every delegation under it, no longer counts."""

    delegation: bytes
    reason: str


@record
class ApplicationEventLogged:
    """An application writes an event of its own to the audit log."""

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
    """A session asks a question about the state of the log; nothing changes."""

    what: str
    argument: str
