"""What is said: one frozen record for each schema in `avro/`, field for field.

Times are milliseconds since the epoch, digests and kids are 32 bytes, keys 32, event ids 16 (UUIDv7, RFC 9562).
The schemas hold each field's meaning; a test keeps the two in step. No rule lives here.
"""

from __future__ import annotations

from schemas.attributes import Attributes
from schemas.record import record
from schemas.rulings import RecordsSkipped, TimeAccepted
from schemas.workflow import (
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


@record
class Header:
    """What every event says about itself."""

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
class KeyOffer:
    """A key pair offered for registration, with the proof that its owner holds it."""

    principal_id: str
    ed25519: bytes
    x25519: bytes
    possession: bytes


@record
class RootSignature:
    """One root key's consent to a root act."""

    kid: bytes
    signature: bytes


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


@record
class AdminAddition:
    """The act inside AdminAdded."""

    admin: KeyOffer


@record
class AdminAdded:
    """A further admin key, by a threshold of root keys."""

    act: bytes
    root_signatures: tuple[RootSignature, ...]


@record
class ToolDeclaration:
    """One operation that a tool offers."""

    resource: str
    description: str
    timeout_ms: int
    idempotent: bool
    attests: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()


@record
class EnrolmentGrant:
    """What an enrolment key may register."""

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


@record
class PrincipalRevoked:
    """A key, or all keys of a principal, are valid no more."""

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
    """A policy is in force no more."""

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


@record
class Attestation:
    """What a tool attests together with a result."""

    key: str
    value: str
    one_time: bool
    max_uses: int | None = None
    ttl_ms: int | None = None


@record
class ResultReported:
    """What became of an allowed invocation."""

    decision: bytes
    outcome: str
    body: str
    attestations: tuple[Attestation, ...]


@record
class ClockTicked:
    """Time has passed and a deadline with it."""

    deadline: int


@record
class SessionClosed:
    """A session ends by its own word."""

    reason: str


@record
class SessionRevoked:
    """A session is ended by a bridge or an admin, with all that hangs on it."""

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
)


@record
class Event:
    """Everything that is said on an intake topic."""

    header: Header
    body: Body


@record
class Change:
    """A parameter that a verifier changed."""

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


@record
class SignedEvent:
    """An event as it stood on intake."""

    event: bytes
    proof: bytes
    kid: bytes


@record
class CallPayload:
    """What a tool host needs to check and execute a call; travels sealed."""

    salt: bytes
    event: bytes
    proof: bytes
    kid: bytes
    parameters: str
    approvals: tuple[SignedEvent, ...] = ()


@record
class Result:
    """What a signer is told about an event of theirs."""

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
    """What the log answers to one signer; travels sealed."""

    salt: bytes
    body: str


@record
class AuditEntry:
    """One entry of the audit log per intake record."""

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


@record
class DeadLetter:
    """Bytes that could not be decoded."""

    partition: int
    offset: int
    audit_index: int
    reason: str
    value: bytes
    size: int
