"""The registry for others: clients, tool hosts and offline verifiers fold the same signed events by the same rules.

The `registry` topic, or `registry.bin` of an export, carries the founding, registration, revocation and session events
as they were signed. Following them from the pinned genesis needs no trust in the monitor that copied them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processors.identity import registry, roots, rotation, sessions
from processors.intake.authority import check_may_sign
from processors.intake.identify import Claim, Received, Signer, check_names, identify, read
from processors.intake.unsupported import check_supported
from processors.proof.signing import VerifiedHeads
from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import codec, limits
from schemas.events.keys import AdminAdded, AdminRemoved, KeyRotated, RootRotated
from schemas.reasons import Reason
from schemas.records import (
    Body,
    PrincipalRegistered,
    PrincipalRevoked,
    SessionClosed,
    SessionOpened,
    SessionRevoked,
    TenantFounded,
)


def follow(tables: Tables, received: Received, heads: VerifiedHeads, *, now: int | None = None) -> Body:
    """Fold one registry record into `tables` and return the body of its event.

    `now` is log time, if an audit entry gives it. Without it three times are tried until one fits: the signer's own
    clock, then the last and the first time at which the log would have taken the event. The log may have judged keys
    that were about to expire at any of these times.

    Raises:
        Refusal: the event does not belong in a registry or does not hold; `tables` is unchanged.
    """
    claim = read(tables, received)
    if now is not None or claim.event is None:
        return _follow(tables, received, claim, heads, now or 0)
    issued_at = claim.event.header.issued_at
    why: Refusal | None = None
    for at in (issued_at, issued_at + limits.ISSUED_BEHIND_MS_MAX, issued_at - limits.ISSUED_AHEAD_MS_MAX):
        try:
            return _follow(tables, received, claim, heads, at)
        except Refusal as refusal:
            why = why or refusal
    assert why is not None
    raise why


def _follow(tables: Tables, received: Received, claim: Claim, heads: VerifiedHeads, now: int) -> Body:
    mark, before = tables.savepoint(), tables.now
    try:
        tables.now = now
        event, signer = identify(tables, claim, heads)
        check_names(event, signer)
        check_may_sign(signer.role, event.body)
        check_supported(event.body)
        change = _CHANGES.get(type(event.body))
        if change is None:
            raise Refusal(Reason.WRONG_ROLE, f"{claim.kind} does not belong in a registry")  # noqa: TRY301
        change(tables, signer, event.body, received)
    except Refusal:
        tables.undo_to(mark)
        tables.now = before
        raise
    tables.commit()
    return event.body


def _found(tables: Tables, _: Signer, body: TenantFounded, received: Received) -> None:
    assert received.value is not None
    roots.found(tables, body, received.value[codec.FRAME_BYTES :], 0)


def _remove_admin(tables: Tables, _: Signer, body: AdminRemoved, __: Received) -> None:
    sessions.end_sessions(tables, roots.remove_admin(tables, body))


def _revoke(tables: Tables, signer: Signer, body: PrincipalRevoked, _: Received) -> None:
    sessions.end_sessions(tables, registry.revoke(tables, signer, body))


# INVARIANT: the kinds of `evidence/folder_format.REGISTRY_KINDS`; `tests/processors/test_evidence_monitor.py` compares.
_CHANGES: dict[type, Callable[[Tables, Signer, Any, Received], object]] = {
    TenantFounded: _found,
    AdminAdded: lambda tables, _, body, __: roots.add_admin(tables, body),
    AdminRemoved: _remove_admin,
    RootRotated: lambda tables, _, body, __: roots.rotate_roots(tables, body),
    KeyRotated: lambda tables, signer, body, _: rotation.rotate(tables, signer, body),
    PrincipalRegistered: lambda tables, signer, body, _: registry.register(tables, signer, body),
    PrincipalRevoked: _revoke,
    SessionOpened: lambda tables, signer, body, _: sessions.open_session(tables, signer, body),
    SessionClosed: lambda tables, signer, _, __: sessions.close(tables, signer),
    SessionRevoked: lambda tables, signer, body, _: sessions.revoke(tables, signer, body),
}
