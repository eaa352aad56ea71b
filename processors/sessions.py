"""Sessions: a fresh key that speaks for a principal for a while. Its kid is the session id.

An agent or service opens its own session with its registered key; the attributes that policies read are those of its
registration, never what the event claims.
"""

from __future__ import annotations

from dataclasses import replace

from processors import registry
from processors.intake import SESSION_ROLE, Signer
from processors.outputs import Effects
from processors.refusal import Refusal
from processors.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import SessionOpened
from schemas.rows import SessionRow


def open_session(tables: Tables, signer: Signer, body: SessionOpened) -> bytes:
    """Open a session for the signer itself and return its id.

    Raises:
        Refusal: it is for somebody else, brings attributes or a token of its own, its key is bad or taken, its life is
            out of bounds, or the tenant has too many.
    """
    if body.principal_id != signer.principal_id or body.key.principal_id != signer.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, "an agent or service opens sessions for itself only")
    if body.attributes is not None or body.issuer is not None or body.token_sha256 is not None:
        raise Refusal(Reason.WRONG_ROLE, "only a bridge sets attributes or names a token")
    if not 0 < body.ttl_ms <= limits.SESSION_TTL_MS_MAX:
        raise Refusal(Reason.SESSION_TTL)
    if len(tables.sessions) >= tables.limits.sessions:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a tenant has at most {tables.limits.sessions} sessions")
    registry.check_offer(body.key, SESSION_ROLE, tables.genesis)
    session_id = registry.check_free(tables, body.key.ed25519)
    owner = tables.keys.rows[signer.kid]
    expires_at = tables.now + body.ttl_ms
    row = SessionRow(
        principal_id=signer.principal_id,
        role=signer.role,
        opened_by=signer.kid,
        ed25519=body.key.ed25519,
        x25519=body.key.x25519,
        attributes=owner.attributes,
        opened_at=tables.now,
        expires_at=expires_at if owner.expires_at is None else min(expires_at, owner.expires_at),
    )
    tables.sessions.put(session_id, row)
    return session_id


def end_sessions(tables: Tables, kids: tuple[bytes, ...]) -> list[bytes]:
    """End every session that one of these keys opened, now, and return their ids."""
    # Sorted: the order of rows in memory is not the log's, it changes with an aborted transaction and with a restart.
    ended = sorted(i for i, s in tables.sessions.rows.items() if s.opened_by in kids and s.expires_at > tables.now)
    for session_id in ended:
        tables.sessions.put(session_id, replace(tables.sessions.rows[session_id], expires_at=tables.now))
    return ended


def remove(tables: Tables, effects: Effects, session_id: bytes) -> None:
    """Forget a session whose last event would be stale by now, with its sequence."""
    effects.session_changed(session_id, tables.sessions.rows[session_id], "ended")
    effects.leave_registry("session", session_id)
    tables.sessions.delete(session_id)
    if tables.sequences.get(session_id) is not None:
        tables.sequences.delete(session_id)
