"""Rows of calls: those under way, and the counts that rules keep of them."""

from __future__ import annotations

from schemas.record import record
from schemas.records import SignedEvent


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
    target: bytes | None = None
    callers: tuple[bytes, ...] = ()
    observed: bool = False


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
class PendingRow:
    """State: a call that waits for approvals or verdicts; keyed by the leaf of its event."""

    call: SignedEvent
    event_id: bytes
    session_id: bytes
    principal_id: str
    resource: str
    subjects: tuple[str, ...]
    keys: tuple[str, ...]
    deadline: int
    payer: str = ""
    awaits: tuple[str, ...] = ()
    verdicts: tuple[SignedEvent, ...] = ()


@record
class ResultVerdict:
    """A verdict of a verifier outside on a result, by its name, and the time until which it counts."""

    verifier: str
    kid: bytes
    outcome: str
    catalogue: bytes
    until: int


@record
class JudgedRow:
    """State: a result that verifiers outside were shown, with their verdicts; keyed by the leaf of its report."""

    session_id: bytes
    event_id: bytes
    resource: str
    body_sha256: bytes
    own: bool
    asked: tuple[str, ...]
    verdicts: tuple[ResultVerdict, ...] = ()
    kept: int
    until: int
    payer: str = ""


@record
class HeardRow:
    """State: texts that reached a session, or that a person said in one, as keyed fingerprints of 8 bytes each."""

    owner: str
    session_id: bytes
    resource: str
    source: bytes
    reported: bool
    complete: bool
    fingerprints: bytes
    at: int
    until: int
    payer: str = ""
