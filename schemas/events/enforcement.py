"""Exceptions from the enforcement of a tenant: observe mode, freeze and break-glass, as its administrators set them."""

from __future__ import annotations

from schemas.record import record


@record
class EnforcementSet:
    """One thing is observed or frozen, or opened for one person, from the next record on; or not any more."""

    kind: str
    scope: str
    name: str
    on: bool
    person: str | None = None
    lasts_ms: int | None = None
    reason: str
