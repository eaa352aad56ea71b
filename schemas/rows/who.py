"""Rows of the tenant itself: its principals, keys, sessions and policies, and the tail of the log."""

from __future__ import annotations

from schemas.events.attributes import ApproverLimits, Attributes
from schemas.events.catalogues import CatalogueRule
from schemas.events.engines import EngineData
from schemas.events.tenancy import TenantLimit, TenantSetting
from schemas.events.tools import ToolDeclaration
from schemas.events.verdicts import VerifierDeclaration
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
    limits: tuple[TenantLimit, ...] = ()
    settings: tuple[TenantSetting, ...] = ()


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
    only_within_calls: bool = False
    approver: ApproverLimits | None = None


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
    by_sessions: bool = False
    body_paths: tuple[str, ...] = ()
    opaque_paths: tuple[str, ...] = ()
    input_schema: str | None = None
    output_schema: str | None = None
    maskable_paths: tuple[str, ...] = ()


@record
class OfferRow:
    """State: the tools that a session offers, with the key of that instance; keyed by the session id."""

    principal_id: str
    kid: bytes
    ed25519: bytes
    x25519: bytes
    tools: tuple[ToolDeclaration, ...]
    label: str
    offered: SignedEvent
    since: int
    payer: str = ""


@record
class PresenceRow:
    """State: an instance lives, until `until` without another sign of life; keyed by the session id."""

    until: int


@record
class PolicyRow:
    """State: the policy document in force under an id."""

    document: str
    digest: bytes
    extends: str | None = None


@record
class EnforcementRow:
    """State: a thing that is observed or frozen, or open for one person; keyed by kind, scope, name and person."""

    kind: str
    scope: str
    name: str
    person: str
    since: int
    until: int
    event: bytes
    by: str
    reason: str


@record
class CatalogueRow:
    """State: rules of the tenant that a verifier of texts matches, under the catalogue's name."""

    verifier: str
    rules: tuple[CatalogueRule, ...]
    digest: bytes
    since: int


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
    login_ref: bytes | None = None
    subject_ref: bytes | None = None
    actors: tuple[str, ...] = ()
    renewed: SignedEvent | None = None


@record
class PersonRow:
    """State: a person's attributes at the newest login; keyed by the person's name."""

    session_id: bytes
    opened_by: bytes
    attributes: Attributes
    opened_at: int
    until: int
    sponsor: bytes | None = None


@record
class VerifierRow:
    """State: a verifier outside; keyed by its principal's name."""

    declared: VerifierDeclaration
    since: int


@record
class SequenceRow:
    """State: the sequence number and leaf of a key's last event; keyed by the kid."""

    seq: int
    leaf: bytes


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
