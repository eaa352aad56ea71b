"""Events and outputs of the fold: one record class for each schema in `avro/`, field for field.

Times are milliseconds since the epoch, digests and kids are 32 bytes, keys 32, event ids 16 (UUIDv7, RFC 9562).
The `doc` of a field in its schema gives its meaning; a test keeps classes and schemas alike. This file has no rules.
"""

from __future__ import annotations

from schemas.events.attributes import ApproverLimits, Attributes
from schemas.events.bodies import BodyReference
from schemas.events.catalogues import CataloguePublished, CatalogueWithdrawn
from schemas.events.enforcement import EnforcementSet
from schemas.events.engines import EngineActivated, EngineData
from schemas.events.keys import AdminAdded, AdminRemoved, KeyOffer, KeyRotated, RootRotated
from schemas.events.logins import LoginEnded, LoginProof, LoginRefused, SessionRenewed
from schemas.events.providers import IdentityProviderDistrusted, IdentityProviderTrusted
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.events.tenancy import LimitsSet
from schemas.events.tools import ToolDeclaration, ToolsOffered
from schemas.events.verdicts import Observed, VerdictReported, VerifierDeclaration, VerifierVerdict
from schemas.events.workflow import (
    ApplicationEventLogged,
    AttestationApproved,
    AttestationDenied,
    AttestationRevoked,
    AttestationSet,
    ContextDeleted,
    ContextListed,
    ContextRead,
    ContextWritten,
    DelegationGranted,
    DelegationRevoked,
    StateQueried,
)
from schemas.record import record


@record
class Header:
    """The fields that every event has: its id, signer, place in the signer's order, time, and links to other events."""

    event_id: bytes
    session_id: bytes | None = None
    principal_id: str
    seq: int
    issued_at: int
    causation_id: bytes | None = None
    on_behalf_of: bytes | None = None
    traceparent: str | None = None
    salt: bytes


@record
class TenantFounded:
    """The founding event of a tenant, at offset 0 of its intake; SHA-256 of the whole datum is the genesis."""

    tenant: str
    deployment: str
    root_keys: tuple[bytes, ...]
    root_threshold: int
    next_root_digests: tuple[bytes, ...]
    admin: KeyOffer
    monitor: KeyOffer
    organisation_key: bytes | None = None
    development: bool
    salt: bytes
    engine: int = 1
    data: tuple[EngineData, ...] = ()


@record
class EnrolmentGrant:
    """The principals that an enrolment key may register: roles, names, number of keys, and their attributes."""

    roles: tuple[str, ...]
    name_pattern: str
    count_max: int
    attributes: Attributes


@record
class PrincipalRegistered:
    """A key of a principal enters the registry."""

    role: str
    key: KeyOffer
    attributes: Attributes
    expires_at: int | None = None
    tools: tuple[ToolDeclaration, ...]
    enrolment: EnrolmentGrant | None = None
    only_within_calls: bool = False
    verifier: VerifierDeclaration | None = None
    approver: ApproverLimits | None = None


@record
class PrincipalRevoked:
    """A key of a principal, or all its keys if `kid` is None, are no longer valid."""

    principal_id: str
    kid: bytes | None = None
    reason: str


@record
class PolicyPublished:
    """Policy documents take effect, all or none."""

    documents: tuple[str, ...]
    previous: tuple[bytes | None, ...]


@record
class PolicyWithdrawn:
    """A policy is no longer in force."""

    policy_id: str
    previous: bytes


@record
class SessionOpened:
    """A session key begins to speak for a principal."""

    principal_id: str
    key: KeyOffer
    ttl_ms: int
    attributes: Attributes | None = None
    issuer: str | None = None
    token_sha256: bytes | None = None
    login_ref: bytes | None = None
    actors: tuple[str, ...] = ()
    subject_ref: bytes | None = None
    methods: tuple[str, ...] = ()
    login: LoginProof | None = None


@record
class Prompt:
    """An authenticated prompt inside an invocation."""

    path: str
    parent: bytes | None = None
    policy: str


@record
class InvocationRequested:
    """A principal asks for an operation."""

    resource: str
    parameters: str
    intents: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    deadline: int | None = None
    begin_by: int | None = None
    idempotency_key: str | None = None
    target: bytes | None = None
    bodies: tuple[BodyReference, ...] = ()
    verdicts: tuple[SignedEvent, ...] = ()


@record
class Attestation:
    """An attestation that a tool makes together with a result."""

    key: str
    value: str
    one_time: bool
    max_uses: int | None = None
    ttl_ms: int | None = None


@record
class ResultReported:
    """A tool's report on the end of an allowed call."""

    decision: bytes
    outcome: str
    body: str
    attestations: tuple[Attestation, ...]
    bodies: tuple[BodyReference, ...] = ()
    stream: BodyReference | None = None
    fingerprints: bytes | None = None


@record
class ClockTicked:
    """Log time has reached a deadline, at which rows may leave. Signed by a monitor."""

    deadline: int


@record
class SessionClosed:
    """A session ends by its own key."""

    reason: str


@record
class SessionRevoked:
    """A bridge or an admin ends a session, and with it every row that depends on it."""

    session: bytes
    reason: str


Body = (
    TenantFounded
    | AdminAdded
    | PrincipalRegistered
    | PrincipalRevoked
    | PolicyPublished
    | SessionOpened
    | InvocationRequested
    | ResultReported
    | ClockTicked
    | PolicyWithdrawn
    | SessionClosed
    | SessionRevoked
    | AttestationSet
    | AttestationApproved
    | AttestationDenied
    | AttestationRevoked
    | ContextWritten
    | ContextRead
    | ContextDeleted
    | ContextListed
    | DelegationGranted
    | DelegationRevoked
    | ApplicationEventLogged
    | StateQueried
    | RecordsSkipped
    | TimeAccepted
    | KeyRotated
    | AdminRemoved
    | RootRotated
    | EngineActivated
    | ToolsOffered
    | IdentityProviderTrusted
    | IdentityProviderDistrusted
    | SessionRenewed
    | LoginRefused
    | LoginEnded
    | LimitsSet
    | VerdictReported
    | CataloguePublished
    | CatalogueWithdrawn
    | EnforcementSet
)


@record
class Event:
    """A record of an intake topic."""

    header: Header
    body: Body


@record
class Change:
    """Values below a path of the tool's declaration are masked: those that a verifier finds."""

    path: str
    verifier: str


@record
class Decision:
    """The one decision on an invocation."""

    origin: str
    audit_index: int
    event: bytes
    event_id: bytes
    session_id: bytes
    principal_id: str
    resource: str
    tool: str | None = None
    outcome: str
    reason: str
    detail: str
    decided_at: int
    execute_before: int | None = None
    parameters_sha256: bytes | None = None
    payload_sha256: bytes | None = None
    policies: tuple[bytes, ...]
    changed: tuple[Change, ...]
    subjects: tuple[str, ...] = ()
    target: bytes | None = None
    verdicts: tuple[VerifierVerdict, ...] = ()
    stamps: str | None = None
    observed: Observed | None = None


@record
class SignedEvent:
    """An event as it stood on intake."""

    event: bytes
    proof: bytes
    kid: bytes


@record
class CallPayload:
    """The call for its tool host, with all that the host checks before it executes it; travels sealed."""

    salt: bytes
    event: bytes
    proof: bytes
    kid: bytes
    parameters: str
    approvals: tuple[SignedEvent, ...] = ()
    session: SignedEvent | None = None
    renewed: SignedEvent | None = None


@record
class Result:
    """The monitor's answer to a signer about one event."""

    origin: str
    audit_index: int
    to: bytes
    event: bytes
    event_id: bytes
    outcome: str
    reason: str
    detail: str
    decision: bytes | None = None
    report: bytes | None = None
    at: int
    payload_sha256: bytes | None = None


@record
class ResultPayload:
    """A tool's signed report as it stood on the log; travels sealed."""

    salt: bytes
    event: bytes
    proof: bytes
    kid: bytes


@record
class ReplyPayload:
    """The answer of the log itself, to an operation of the vault or a question; travels sealed."""

    salt: bytes
    body: str


@record
class AuditEntry:
    """The entry of one intake record in the audit log."""

    origin: str
    index: int
    prev: bytes
    now: int
    partition: int
    offset: int
    event: bytes
    event_kid: bytes | None = None
    event_id: bytes | None = None
    kind: str
    outcome: str
    reason: str
    outputs: bytes
    on_behalf_of: bytes | None = None
    fault: str | None = None
    appended_at: int | None = None
    ruling: bytes | None = None
    observed: str | None = None


@record
class DeadLetter:
    """A record of intake that could not be decoded."""

    partition: int
    offset: int
    audit_index: int
    reason: str
    value: bytes
    size: int
