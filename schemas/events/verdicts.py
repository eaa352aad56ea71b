"""Verdicts of verifiers on a call, verifiers outside, and the outcome that observe mode did not enforce."""

from __future__ import annotations

from schemas.record import record


@record
class VerifierFinding:
    """A place in a text at which a verifier found something: kind, path, first character and the one after the last."""

    kind: str
    path: str
    start: int
    end: int


@record
class VerifierVerdict:
    """The verdict of one verifier: pass, deny or ask, with its reason code, findings, and work units."""

    verifier: str
    priority: int
    surface: str
    outcome: str
    reason: str
    catalogue: bytes | None = None
    findings: tuple[VerifierFinding, ...]
    work: int


@record
class Observed:
    """The outcome, reason and detail that enforcement would have given to a call that observe mode allowed."""

    outcome: str
    reason: str
    detail: str


@record
class StampDeclaration:
    """A stamp that a verifier sets: name, type, and the value that stands where no verdict counts, as JSON."""

    name: str
    type: str
    worst: str


@record
class VerifierDeclaration:
    """The calls that a verifier outside judges, its stamps, and the life of its verdicts."""

    prefix: str
    priority: int
    surfaces: tuple[str, ...]
    resources: tuple[str, ...]
    stamps: tuple[StampDeclaration, ...]
    catalogue: bytes
    max_age_ms: int
    required: bool


@record
class VerdictReported:
    """A verifier's verdict on one call: bound to it by id, session, resource, parameters and surface."""

    call: bytes
    session: bytes
    resource: str
    parameters_sha256: bytes
    surface: str
    catalogue: bytes
    expires_at: int
    outcome: str
    stamps: str
    findings: tuple[VerifierFinding, ...]
