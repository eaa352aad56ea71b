"""Registered keys while they live and afterwards: who pays for them, which are valid now, and what is kept of one."""

from __future__ import annotations

from dataclasses import replace

from processors.state.shares import check_room, payer
from processors.state.tables import Tables
from schemas.attributes import NONE
from schemas.words import Role


def admit(tables: Tables, principal_id: str, kid: bytes | None) -> None:
    """Let a key that was just registered count, if there is one, with what is offered. Raises Refusal LIMIT_EXCEEDED.

    It is for the monitor: who only follows the registry takes what it let in.
    """
    if kid is not None:
        check_room(tables.keys, tables.keys.rows[kid])
    for declared in tables.principals.rows[principal_id.encode()].tools:
        check_room(tables.resources, tables.resources.rows[declared.resource.encode("utf-8", "surrogatepass")])


def payer_of(tables: Tables, principal_id: str) -> str:
    """Return who pays for what a program does: itself, vouched for by the enrolment key that registered it, if any."""
    principal = tables.principals.get(principal_id.encode())
    by = None if principal is None else tables.keys.get(principal.registered_by)
    if principal is None or by is None or by.role != Role.ENROLMENT:
        return payer(principal_id)
    return payer(principal_id, principal.registered_by)


def is_revoked(tables: Tables, kid: bytes | None) -> bool:
    """Whether somebody has revoked a key: what was said with it counts no more, whenever it was said."""
    row = None if kid is None else tables.keys.get(kid)
    return row is not None and row.revoked_at is not None


def spend(tables: Tables, kid: bytes) -> None:
    """Keep of a key that is over, revoked or expired, what says that it was there: it can never be registered again.

    It counts for nobody from now on. Who registers keys for others can do so a limited number of times.
    """
    row = tables.keys.rows[kid]
    # What an approver is now may still be asked (`approved`).
    attributes = row.attributes if row.role == Role.APPROVER else NONE
    tables.keys.put(kid, replace(row, spent=True, attributes=attributes, enrolment=None))
    if tables.sequences.get(kid) is not None:
        tables.sequences.delete(kid)


def live_keys(tables: Tables, principal_id: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return (kid, X25519 key) of each key of a principal that is valid now."""
    principal, found = tables.principals.get(principal_id.encode()), []
    for kid in principal.kids if principal is not None else ():
        row = tables.keys.rows[kid]
        if row.expires_at is None or tables.now < row.expires_at:
            found.append((kid, row.x25519))
    return tuple(found)
