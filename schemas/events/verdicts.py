"""Verdicts of verifiers on a call, and the outcome that observe mode did not enforce."""

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
