"""Measures of rows: deadlines, weights in bytes, and the shares that a row counts for.

Each is a function of the row alone; `processors.state.table` follows it with every write and every undo.
"""

from __future__ import annotations

from collections.abc import Sequence

from processors.state.groups import OVER
from processors.state.shares import shares_of
from processors.state.table import Shares
from schemas import limits
from schemas.events.attributes import weight_of
from schemas.rows import ApprovalGiven, AttestationRow, KeyRow, RequestRow, SessionRow, VaultRow


def session_leaves_at(row: SessionRow) -> int:
    """Return the log time (ms) at which the row of a session leaves."""
    # Its key must not be registered again while rows name it.
    return limits.FOR_EVER_MS if row.sweeping else row.expires_at + limits.SESSION_LINGER_MS


def key_ends_at(row: KeyRow) -> int:
    """Return the log time (ms) at which a key ends; its row stays."""
    return limits.FOR_EVER_MS if row.spent or row.expires_at is None else row.expires_at


def weight_of_request(row: RequestRow) -> int:
    """Return the bytes of a request: its call, the opening of its session, and its approvals."""
    opened = 0 if row.opened is None else len(row.opened.event)
    return len(row.call.event) + opened + weight_of_given(row.approvals)


def shares_of_request(row: RequestRow) -> Shares:
    """Return the shares of a request. A closed one has shares of its own, and takes no room from open ones."""
    shares = shares_of(row.payer)
    return tuple((f"{OVER} {share}", part) for share, part in shares) if row.closed else shares


def shares_of_attestation(row: AttestationRow) -> Shares:
    """Return the shares of an attestation. A tool is a guest of its caller; a bridge is not a guest of its persons."""
    return shares_of(row.payer, "" if row.setter.startswith("bridge:") else row.by)


def weight_of_given(given: Sequence[ApprovalGiven]) -> int:
    """Return the bytes of approvals."""
    return sum(len(one.signed.event) + weight_of(one.attributes) for one in given)


def weight_of_value(row: VaultRow) -> int:
    """Return the bytes of a vault value and of the signed events that prove it."""
    signed = (one for one in (row.written, row.opened) if one is not None)
    return len(row.value.encode()) + sum(len(one.event) + len(one.proof) for one in signed)
