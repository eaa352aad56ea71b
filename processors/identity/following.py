"""The registry for others: clients, tool hosts and offline verifiers fold the same signed events by the same rules.

The `registry` topic carries the founding, registration and revocation events as they were signed, and `registry.bin` of
an export those and the events of sessions. Following them from the pinned genesis needs no trust in the monitor that
copied them. A single session is judged by its own events, under the keys that were followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from processors.identity import registry, sessions
from processors.intake.authority import check_may_sign
from processors.intake.identify import Claim, Received, Signer, check_names, identify, read
from processors.intake.unsupported import check_supported
from processors.proof.signing import VerifiedHeads
from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import codec, limits
from schemas.events.keys import AdminAdded
from schemas.reasons import Reason
from schemas.records import (
    PrincipalRegistered,
    PrincipalRevoked,
    SessionClosed,
    SessionOpened,
    SessionRevoked,
    TenantFounded,
)
from schemas.rows import SessionRow

Rules = Mapping[type, Callable[[Tables, Signer, Any, bytes], object]]  # by body; they get tables, signer, body, datum

_PRINCIPALS: Rules = {
    TenantFounded: lambda tables, _, body, datum: registry.found(tables, body, datum, 0),
    AdminAdded: lambda tables, _, body, __: registry.add_admin(tables, body),
    PrincipalRegistered: lambda tables, signer, body, _: registry.register(tables, signer, body),
    PrincipalRevoked: lambda tables, signer, body, _: sessions.end_sessions(
        tables, registry.revoke(tables, signer, body)
    ),
}
_OPENING: Rules = {SessionOpened: lambda tables, signer, body, _: sessions.open_session(tables, signer, body)}
_ENDS: Rules = {
    SessionClosed: lambda tables, signer, _, __: sessions.close(tables, signer),
    SessionRevoked: lambda tables, signer, body, _: sessions.revoke(tables, signer, body),
}
_ALL: Rules = {**_PRINCIPALS, **_OPENING, **_ENDS}


def follow(tables: Tables, received: Received, heads: VerifiedHeads, *, now: int | None = None) -> None:
    """Fold one record of an export's registry into `tables`.

    `now` is log time, if an audit entry gives it. Without it three times are tried until one fits: the signer's own
    clock, then the last and the first time at which the log would have taken the event. The log may have judged keys
    that were about to expire at any of these times.

    Raises:
        Refusal: the event does not belong in a registry or does not hold; `tables` is unchanged.
    """
    _fold(tables, received, heads, _ALL, now)
    tables.commit()


def follow_principals(tables: Tables, received: Received, heads: VerifiedHeads) -> None:
    """Fold one record of the `registry` topic into `tables`, where events of sessions do not belong.

    Raises:
        Refusal: as `follow`, and WRONG_ROLE for an event of a session.
    """
    _fold(tables, received, heads, _PRINCIPALS, None)
    tables.commit()


def judge_session(
    tables: Tables, heads: VerifiedHeads, opened: Received, ended: Received | None = None
) -> tuple[bytes, SessionRow]:
    """Return the id of the session that `opened` opens, and its row, as `ended` has left it. `tables` stay as they are.

    Requires tables that hold no sessions, and no uncommitted change. An end that does not hold counts as a revocation:
    whoever put it in the place of the session's end may have hidden one.

    Raises:
        Refusal: `opened` does not open a session, its opener is not registered or is revoked, or its signature or
            content does not hold.
    """
    mark, before = tables.savepoint(), tables.now
    try:
        _fold(tables, opened, heads, _OPENING, None)
        [(session_id, row)] = tables.sessions.rows.items()
        if ended is not None:
            try:
                _fold(tables, ended, heads, _ENDS, None)
                row = tables.sessions.rows[session_id]
            except Refusal:
                row = replace(row, revoked=True)
        return session_id, row
    finally:
        tables.undo_to(mark)
        tables.now = before
        tables.commit()  # of nothing: it lets the heap of deadlines forget this session


def _fold(tables: Tables, received: Received, heads: VerifiedHeads, rules: Rules, now: int | None) -> None:
    """Fold one record without committing it. Raises Refusal, `tables` unchanged."""
    claim = read(tables, received)
    if now is not None or claim.event is None:
        _fold_at(tables, received, claim, heads, rules, now or 0)
        return
    issued_at = claim.event.header.issued_at
    why: Refusal | None = None
    for at in (issued_at, issued_at + limits.ISSUED_BEHIND_MS_MAX, issued_at - limits.ISSUED_AHEAD_MS_MAX):
        try:
            _fold_at(tables, received, claim, heads, rules, at)
        except Refusal as refusal:
            why = why or refusal
        else:
            return
    assert why is not None
    raise why


def _fold_at(tables: Tables, received: Received, claim: Claim, heads: VerifiedHeads, rules: Rules, now: int) -> None:
    if claim.event is not None and type(claim.event.body) not in rules:
        raise Refusal(Reason.WRONG_ROLE, f"{claim.kind} does not belong here")
    mark, before = tables.savepoint(), tables.now
    try:
        tables.now = now
        event, signer = identify(tables, claim, heads)
        check_names(event, signer)
        check_may_sign(signer.role, event.body)
        check_supported(event.body)
        rules[type(event.body)](tables, signer, event.body, (received.value or b"")[codec.FRAME_BYTES :])
    except Refusal:
        tables.undo_to(mark)
        tables.now = before
        raise
