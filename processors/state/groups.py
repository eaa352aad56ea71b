"""Groups of rows: the keys under which a table finds rows together, such as all sessions of a principal."""

from __future__ import annotations

from collections.abc import Hashable

from processors.policy.names import known_as
from schemas.rows import AttestationRow, KeyRow, PendingRow, PersonRow, PromptRow, RequestRow, RuleCellRow, SessionRow
from schemas.words import Role

# Groups beside those of a principal. They are tuples, so that no principal's name is one of them.
ALL = ("all",)  # the group of all rows: their keys in order, without sorting them after each write
OPEN = ("open",)  # the group of all requests that may still be approved
OVER = "over"  # with an event's leaf: the group of the closed requests of that event
DECISION_KEYS = ("decision keys",)  # the group of the monitors' keys that are not spent
SWEEPING = ("sweeping",)  # the group of ended sessions and keys while rows that depend on them are leaving


def groups_of_person(row: PersonRow) -> tuple[Hashable, ...]:
    """Return the groups of a person: the key that opened the session, and the other names that its login told."""
    names = {known_as(name): None for name in (row.attributes.user, row.attributes.email) if name}
    return (row.opened_by, *map(person_known_as, names))


def person_known_as(name: str) -> Hashable:
    """Return the group of the persons whose logins tell a name, in one spelling (`known_as`)."""
    return "person known as", name


def groups_of_session(row: SessionRow) -> tuple[Hashable, ...]:
    """Return the groups of a session: its principal, and its login and subject at its provider."""
    found = (row.principal_id, *groups_of_login(row))
    return (*found, SWEEPING) if row.sweeping else found


def groups_of_login(row: SessionRow) -> tuple[Hashable, ...]:
    """Return the groups of a session by which a logout finds it: its login and its subject at its provider."""
    login = () if row.login_ref is None else (login_group(row.issuer, row.login_ref),)
    return login if row.subject_ref is None else (*login, subject_group(row.issuer, row.subject_ref))


def login_group(issuer: str, ref: bytes) -> Hashable:
    """Return the group of all sessions of one login at a provider."""
    return "login", issuer, ref


def subject_group(issuer: str, ref: bytes) -> Hashable:
    """Return the group of all sessions of one subject of a provider."""
    return "subject", issuer, ref


def groups_of_key(row: KeyRow) -> tuple[Hashable, ...]:
    """Return the groups of a key: its principal, the names that could be taken for it, and that of live monitors."""
    found: tuple[Hashable, ...] = (row.principal_id, ("known as", known_as(row.principal_id)))
    if row.role == Role.MONITOR and not row.spent:
        found = (*found, DECISION_KEYS)
    return (*found, SWEEPING) if row.sweeping else found


def groups_of_request(row: RequestRow) -> tuple[Hashable, ...]:
    """Return the groups of a request for an approval."""
    if row.closed:
        return ((OVER, row.event),)
    found = (OPEN, row.requester, row.event)
    return found if row.waits else (*found, ("by", row.session_id))


def groups_of_pending(row: PendingRow) -> tuple[Hashable, ...]:
    """Return the groups of a waiting call: its session, and the pair by which a verdict names it."""
    return (row.session_id, waiting_call(row.session_id, row.event_id))


def waiting_call(session_id: bytes, event_id: bytes) -> Hashable:
    """Return the group of the waiting calls of a session with one event id; mostly one."""
    return "call", session_id, event_id


def groups_of_attestation(row: AttestationRow) -> tuple[Hashable, ...]:
    """Return the groups of an attestation: its session, its key there, and the key that set it."""
    found = (row.session_id, (row.session_id, row.key))
    return found if row.revoked else (*found, ("set with", row.set_with))


def groups_by_session(row: PromptRow | RuleCellRow) -> tuple[Hashable, ...]:
    """Return the group of a row that belongs to a session."""
    return () if row.session_id is None else (row.session_id,)
