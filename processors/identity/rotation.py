"""Rotation: a key ends, and another takes its place. Earlier statements of the old key still count.

An admin rotates keys of monitors, bridges, enrolment, approvers and attesters; the organisation's key rotates itself,
because no admin stands above it. Programs need no rotation: they register
a further instance key and revoke the old one. Every key but a monitor's may replace its own X25519 half, which opens
payloads; a monitor's is part of what its readers check, and changes with the whole key.

A rotation is not a remedy against a thief of the old key: that is revocation, which also undoes its statements.
"""

from __future__ import annotations

from dataclasses import replace

from processors.identity.keys import is_live, spend
from processors.identity.registry import check_free, check_offer
from processors.intake.identify import Signer
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.text.characters import quoted
from schemas.events.keys import KeyRotated
from schemas.reasons import Reason
from schemas.words import Role

ROTATED_BY_ADMIN = frozenset({Role.MONITOR, Role.BRIDGE, Role.ENROLMENT, Role.APPROVER, Role.ATTESTER})


def rotate(tables: Tables, signer: Signer, body: KeyRotated) -> bytes | None:
    """Put a key in the place of another and return its kid, None if only the X25519 half of the signer's key changed.

    Raises:
        Refusal: WRONG_PRINCIPAL for another's key or name, UNKNOWN_KEY, REVOKED_KEY or EXPIRED_KEY for a key that
            cannot end any more, WRONG_ROLE, KEY_TAKEN, BAD_KEY, BAD_POSSESSION, LIMIT_EXCEEDED.
    """
    is_own = signer.kid == body.kid
    if is_own and signer.role != Role.ORGANISATION:
        _rotate_sealing(tables, signer, body)
        return None
    if signer.role != Role.ADMIN and not is_own:
        raise Refusal(Reason.WRONG_PRINCIPAL, "a key replaces its own X25519 half only; an admin rotates other keys")
    old = tables.keys.get(body.kid)
    if old is None:
        raise Refusal(Reason.UNKNOWN_KEY, "no registered key has the `kid` that shall end")
    if old.role not in ROTATED_BY_ADMIN and not is_own:
        want = f"keys of role {quoted(old.role)} are not rotated by an admin; see docs/wire.md 7"
        raise Refusal(Reason.WRONG_ROLE, want)
    if not is_live(old, tables.now):
        raise Refusal(Reason.REVOKED_KEY if old.revoked_at is not None else Reason.EXPIRED_KEY, "the key has ended")
    if body.key.principal_id != old.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, f"the key that ends belongs to {quoted(old.principal_id)}")
    if body.expires_at is not None and body.expires_at <= tables.now:
        raise Refusal(Reason.EXPIRED_KEY, "`expires_at` is not in the future")
    check_offer(body.key, old.role, tables.genesis)
    kid = check_free(tables, body.key.ed25519)
    tables.keys.put(body.kid, replace(old, expires_at=tables.now))
    spend(tables, body.kid)
    follower = replace(
        old,
        ed25519=body.key.ed25519,
        x25519=body.key.x25519,
        registered_at=tables.now,
        expires_at=body.expires_at,
    )
    tables.keys.put(kid, follower)
    name = old.principal_id.encode()
    principal = tables.principals.rows[name]
    kids = tuple(kid if one == body.kid else one for one in principal.kids)
    tables.principals.put(name, replace(principal, kids=kids))
    return kid


def _rotate_sealing(tables: Tables, signer: Signer, body: KeyRotated) -> None:
    """Replace the X25519 half of the signer's own key. Raises Refusal."""
    row = tables.keys.rows[signer.kid]
    if body.key.ed25519 != row.ed25519:
        raise Refusal(Reason.WRONG_PRINCIPAL, "a key replaces its own X25519 half only; an admin rotates the whole key")
    if body.key.principal_id != row.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, f"the key belongs to {quoted(row.principal_id)}")
    if body.expires_at is not None:
        raise Refusal(Reason.NOT_SUPPORTED, "a key cannot change its own end: leave `expires_at` out")
    if body.key.x25519 == row.x25519:
        raise Refusal(Reason.KEY_TAKEN, "the X25519 key is the present one")
    check_offer(body.key, row.role, tables.genesis)
    tables.keys.put(signer.kid, replace(row, x25519=body.key.x25519))
