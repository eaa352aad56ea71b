"""Registered keys, while they live and afterwards: their payer, their validity now, and the rest that stays."""

from __future__ import annotations

from dataclasses import replace

from processors.refusal import Refusal
from processors.state.groups import DECISION_KEYS
from processors.state.shares import check_room, payer
from processors.state.tables import Tables
from schemas import limits
from schemas.events.attributes import NONE
from schemas.events.keys import RootAct
from schemas.reasons import Reason
from schemas.records import Body, PrincipalRegistered
from schemas.rows import KeyRow
from schemas.words import Role


def admit(tables: Tables, principal_id: str, kid: bytes | None) -> None:
    """Check that the tables have room for a new key, if there is one, and for its principal's resources.

    Only the monitor checks this: followers of the registry take over every key that the monitor admitted.

    Raises:
        Refusal: LIMIT_EXCEEDED.
    """
    if kid is not None and tables.keys.rows[kid].role == Role.MONITOR:
        # Without room for the one key that ends a stretch, a thief who filled the table could end the tenant.
        if len(decision_keys(tables)) > limits.DECISION_KEYS_MAX:
            raise Refusal(Reason.LIMIT_EXCEEDED, f"a tenant has at most {limits.DECISION_KEYS_MAX} live decision keys")
    elif kid is not None:
        check_room(tables.keys, tables.keys.rows[kid])
    for declared in tables.principals.rows[principal_id.encode()].tools:
        check_room(tables.resources, tables.resources.rows[declared.resource.encode("utf-8", "surrogatepass")])


def payer_of(tables: Tables, principal_id: str) -> str:
    """Return the payer of a program's rows: itself, with the enrolment key that registered it, if any, as sponsor."""
    principal = tables.principals.get(principal_id.encode())
    by = None if principal is None else tables.keys.get(principal.registered_by)
    if principal is None or by is None or by.role != Role.ENROLMENT:
        return payer(principal_id)
    return payer(principal_id, principal.registered_by)


def is_revoked(tables: Tables, kid: bytes | None) -> bool:
    """Return True if a key was revoked. Statements made with it no longer count, even earlier ones."""
    row = None if kid is None else tables.keys.get(kid)
    return row is not None and row.revoked_at is not None


def spend(tables: Tables, kid: bytes) -> None:
    """Strip the row of a revoked or expired key. The rest stays, so that the key can never be registered again.

    A spent key counts in no share. Their number is bounded, because an enrolment key registers a limited number.
    """
    row = tables.keys.rows[kid]
    # The present attributes of an approver may still be asked for (`calls/standing.py`).
    attributes = row.attributes if row.role == Role.APPROVER else NONE
    tables.keys.put(kid, replace(row, spent=True, attributes=attributes, enrolment=None))
    if tables.sequences.get(kid) is not None:
        tables.sequences.delete(kid)


def live_keys(tables: Tables, principal_id: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return (kid, X25519 key) of each key of a principal that is valid now."""
    principal, found = tables.principals.get(principal_id.encode()), []
    for kid in principal.kids if principal is not None else ():
        row = tables.keys.rows[kid]
        if is_live(row, tables.now):
            found.append((kid, row.x25519))
    return tuple(found)


def is_live(row: KeyRow, now: int) -> bool:
    """Return True if a key is valid at a time in ms since the epoch: neither revoked nor past its end."""
    return row.revoked_at is None and (row.expires_at is None or now < row.expires_at)


def decision_keys(tables: Tables) -> list[bytes]:
    """Return the kids of the keys that may sign decisions now, the one that was registered last at the end."""
    live = [kid for kid in tables.keys.of(DECISION_KEYS) if is_live(tables.keys.rows[kid], tables.now)]
    return sorted(live, key=lambda kid: (tables.keys.rows[kid].registered_at, kid))


def has_decision_key(tables: Tables) -> bool:
    """Return True if a key may sign decisions now."""
    return any(is_live(tables.keys.rows[kid], tables.now) for kid in tables.keys.of(DECISION_KEYS))


def check_decidable(tables: Tables, body: Body) -> None:
    """Raise Refusal NO_DECISION_KEY for most events while the tenant has no live decision key.

    Only root acts, and an admin's registration of a monitor, have an effect then: they bring the next decision key.
    """
    if has_decision_key(tables) or not len(tables.tenant) or is_remedy(body):
        return
    raise Refusal(Reason.NO_DECISION_KEY)


def is_remedy(body: Body) -> bool:
    """Return True for an event that may lead to a live decision key."""
    if isinstance(body, PrincipalRegistered):
        return body.role == Role.MONITOR
    return isinstance(body, RootAct)
