"""Facts of the tables about their rows: the groups to find a row by, its deadline, its weight and its shares.

Each is a function of the row alone; `processors.state.table` follows them with every write and every undo.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from processors.policy.names import known_as
from processors.state.shares import shares_of
from processors.state.table import Shares
from schemas import limits
from schemas.events.attributes import weight_of
from schemas.rows import ApprovalGiven, AttestationRow, KeyRow, PromptRow, RequestRow, RuleCellRow, SessionRow, VaultRow

OPEN = "open"  # the group of all requests that may still be approved
OVER = "over"  # with an event's leaf: the group of the closed requests of that event
SWEEPING = "sweeping"  # the group of ended sessions and keys while rows that depend on them are leaving


def groups_of_session(row: SessionRow) -> tuple[Hashable, ...]:
    """Return the groups of a session: its principal, that name in all its spellings, and SWEEPING while rows leave."""
    found = (row.principal_id, ("known as", known_as(row.principal_id)))
    return (*found, SWEEPING) if row.sweeping else found


def session_leaves_at(row: SessionRow) -> int:
    """Return the log time (ms) at which a session's row leaves."""
    # Its key must not be registered again while rows name it.
    return limits.FOR_EVER_MS if row.sweeping else row.expires_at + limits.SESSION_LINGER_MS


def groups_of_key(row: KeyRow) -> tuple[Hashable, ...]:
    """Return the groups of a key: as for a session."""
    found = (row.principal_id, ("known as", known_as(row.principal_id)))
    return (*found, SWEEPING) if row.sweeping else found


def key_ends_at(row: KeyRow) -> int:
    """Return the log time (ms) at which a key ends; its row stays."""
    return limits.FOR_EVER_MS if row.spent or row.expires_at is None else row.expires_at


def groups_of_request(row: RequestRow) -> tuple[Hashable, ...]:
    """Return the groups of a request: OVER once it is closed, else OPEN, its requester and its event."""
    if row.closed:
        return ((OVER, row.event),)
    found = (OPEN, row.requester, row.event)
    return found if row.waits else (*found, ("by", row.session_id))


def weight_of_request(row: RequestRow) -> int:
    """Return the bytes of a request: its call, the opening of its session, and the approvals so far."""
    opened = 0 if row.opened is None else len(row.opened.event)
    return len(row.call.event) + opened + weight_of_given(row.approvals)


def shares_of_request(row: RequestRow) -> Shares:
    """Return the shares of a request. A closed one has shares of its own, and takes no room from open ones."""
    shares = shares_of(row.payer)
    return tuple((f"{OVER} {share}", part) for share, part in shares) if row.closed else shares


def groups_of_attestation(row: AttestationRow) -> tuple[Hashable, ...]:
    """Return the groups of an attestation: its session, with and without its key, and the key that set it."""
    found = (row.session_id, (row.session_id, row.key))
    return found if row.revoked else (*found, ("set with", row.set_with))


def shares_of_attestation(row: AttestationRow) -> Shares:
    """Return the shares of an attestation. A tool is a guest of its caller; a bridge is not a guest of its persons."""
    return shares_of(row.payer, "" if row.setter.startswith("bridge:") else row.by)


def groups_by_session(row: PromptRow | RuleCellRow) -> tuple[Hashable, ...]:
    """Return the session of a row, if it has one."""
    return () if row.session_id is None else (row.session_id,)


def weight_of_given(given: Sequence[ApprovalGiven]) -> int:
    """Return the bytes of some approvals."""
    return sum(len(one.signed.event) + weight_of(one.attributes) for one in given)


def weight_of_value(row: VaultRow) -> int:
    """Return the bytes of a vault value and of the signed events that prove it."""
    signed = (one for one in (row.written, row.opened) if one is not None)
    return len(row.value.encode()) + sum(len(one.event) + len(one.proof) for one in signed)
