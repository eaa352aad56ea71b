"""State rows: the rows of the fold's tables, one record class for each schema named `*Row` in `avro/`.

Rows are a cache of the log. They travel on the `state` topic so that a worker can restart quickly, and they
are never evidence.
"""

from __future__ import annotations

from schemas.events.attributes import Attributes, RequiredBy
from schemas.events.engines import EngineData
from schemas.events.tools import ToolDeclaration
from schemas.record import record
from schemas.records import EnrolmentGrant, SignedEvent


@record
class TenantRow:
    """State: the tenant, as its founding event describes it."""

    genesis: bytes
    tenant: str
    deployment: str
    root_keys: tuple[bytes, ...]
    root_threshold: int
    next_root_digests: tuple[bytes, ...]
    root_epoch: int
    organisation_key: bytes | None = None
    development: bool
    engine: int = 1
    data: tuple[EngineData, ...] = ()


@record
class EngineDataRow:
    """State: data that an engine of this tenant reads or has read. Its name never stands for other data."""

    sha256: bytes
    since: int


@record
class ProviderRow:
    """State: an identity provider that the tenant trusts, or has trusted."""

    kind: str
    namespace: str | None = None
    subjects: str
    name_pattern: str
    attributes: Attributes
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]
    private_hosts: tuple[str, ...]
    trusted_at: int
    ended_at: int | None = None
    sessions_ended_at: int | None = None


@record
class KeyRow:
    """State: a registered key."""

    role: str
    principal_id: str
    ed25519: bytes
    x25519: bytes
    attributes: Attributes
    registered_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    enrolment: EnrolmentGrant | None = None
    enrolled: int
    payer: str = ""
    spent: bool = False
    sweeping: bool = False
    enrolled_bytes: int = 0


@record
class PrincipalRow:
    """State: a principal and its keys."""

    role: str
    registered_by: bytes
    kids: tuple[bytes, ...]
    tools: tuple[ToolDeclaration, ...]


@record
class ResourceRow:
    """State: a resource, with the tool that owns it."""

    principal_id: str
    timeout_ms: int
    idempotent: bool
    attests: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    payer: str = ""


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
    attributes: Attributes
    opened_at: int
    expires_at: int
    revoked: bool = False
    opened: SignedEvent | None = None
    payer: str = ""
    sweeping: bool = False
    issuer: str = ""


@record
class PersonRow:
    """State: a person's attributes at the newest login; keyed by the person's name."""

    session_id: bytes
    opened_by: bytes
    attributes: Attributes
    opened_at: int
    until: int


@record
class SequenceRow:
    """State: the sequence number and leaf of a key's last event; keyed by the kid."""

    seq: int
    leaf: bytes


@record
class CallRow:
    """State: an allowed call without a known outcome yet; keyed by the leaf of its decision."""

    session_id: bytes
    caller_x25519: bytes
    tool: str
    event: bytes
    event_id: bytes
    resource: str
    unknown_at: int
    marks: bytes | None = None
    prompts: tuple[bytes, ...] = ()
    payer: str = ""
    session_opened_at: int = 0


@record
class IdempotencyRow:
    """State: the call that used up an idempotency key; keyed by the digest of principal and key."""

    principal_id: str
    content: bytes
    event: bytes
    event_id: bytes
    outcome: str
    until: int
    payer: str = ""


@record
class RateBucketRow:
    """State: a rate limit of one policy for one principal."""

    policy_id: str
    arrival: int
    until: int = 0
    payer: str = ""


@record
class WorkRow:
    """State: the work that a principal has spent on costly calls; keyed by its name."""

    arrival: int
    until: int


@record
class RuleCellRow:
    """State: the calls of one session or user that a sequence rule has counted."""

    window: int
    calls: int
    total: str
    at: int
    until: int
    payer: str = ""
    session_id: bytes | None = None
    reported_by: bytes | None = None


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


@record
class PendingRow:
    """State: a call that is waiting for approvals; keyed by the leaf of its event."""

    call: SignedEvent
    event_id: bytes
    session_id: bytes
    principal_id: str
    resource: str
    subjects: tuple[str, ...]
    keys: tuple[str, ...]
    deadline: int
    payer: str = ""


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


@record
class PromptRow:
    """State: an authenticated prompt; keyed by the digest of session and prompt id."""

    session_id: bytes
    root: bytes
    parent: bytes | None = None
    depth: int
    policies: tuple[str, ...]
    until: int
    payer: str = ""


@record
class RulingRow:
    """State: an admin's ruling on offsets that was followed, until its own event is folded; keyed by its leaf."""

    by: str
    until: int


@record
class StateHead:
    """State: the one row that each transaction writes over all others: the audit index and a keyed hash of the rows."""

    audit_index: int
    mac: bytes
