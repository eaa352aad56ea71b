"""Delegations from a client's side. An id is the hex digest of the event that granted one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from processors.policy.delegation import parse_scope
from processors.proof import jcs
from producers.control import Speaker, rows_in
from producers.outcomes import digest_of, milliseconds
from schemas import limits
from schemas.workflow import DelegationGranted, DelegationRevoked


def delegation_id(text: str) -> bytes:
    """Return the bytes of a delegation's id. Raises MalformedIdError."""
    return digest_of(text, "a delegation's id")


def scope_text(resources: Sequence[str], operations: Sequence[str], conditions: Mapping[str, Any] | None) -> str:
    """Return a scope as the log takes it. Raises PolicyError, for what the log would refuse."""
    scope: dict[str, Any] = {}
    if resources:
        scope["resources"] = list(resources)
    if operations:
        scope["operations"] = list(operations)
    if conditions:
        scope["conditions"] = dict(conditions)
    text = jcs.canonical(scope)
    parse_scope(text)
    return text.decode()


def grant(speaker: Speaker, to: str, scope: str, *, expires_in: float, purpose: str, parent: str | None) -> str:
    """Let another principal do some of what the speaker may, and return the delegation's id.

    Raises:
        MalformedTimeError: nothing was sent.
        RefusedError: DELEGATION_SELF, _CYCLE, _DEPTH, _EXPIRED, _PARENT, UNKNOWN_PRINCIPAL or LIMIT_EXCEEDED.
    """
    life_ms = milliseconds(expires_in, at_most=limits.DELEGATION_MS_MAX, what="a delegation")
    body = DelegationGranted(
        delegate=to,
        parent=None if parent is None else delegation_id(parent),
        scope=scope,
        expires_at=time.time_ns() // 1_000_000 + life_ms,
        purpose=purpose,
    )
    return speaker.tell(body).result.event.hex()


def revoke(speaker: Speaker, delegation: str, reason: str) -> None:
    """End a delegation, and every one under it. Raises RefusedError DELEGATION_UNKNOWN, WRONG_PRINCIPAL."""
    speaker.tell(DelegationRevoked(delegation=delegation_id(delegation), reason=reason))


def listed(speaker: Speaker) -> dict[str, list[dict[str, Any]]]:
    """Return all delegations that the speaker has `granted` and `received`. Raises as `Speaker.question`."""
    pages = speaker.pages("delegations")
    return {name: rows_in(pages, name) for name in ("granted", "received")}
