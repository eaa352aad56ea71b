"""Requests for approval: their conditions, and their ends.

A request is closed once. Its row then stays for `CLOSED_REQUEST_MS` and shows how it was closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from processors.calls.standing import request_id, standing
from processors.state.groups import OVER
from processors.state.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import SignedEvent
from schemas.rows import ApprovalGiven, RequestRow
from schemas.words import Status

NOBODY = SignedEvent(event=b"", proof=b"", kid=b"")


def quorum_of(row: RequestRow) -> int:
    """Return the number of people that must approve."""
    return max(one.quorum for one in row.required_by)


def criteria_asked(row: RequestRow) -> tuple[str, ...]:
    """Return the criteria for approvers; an approver must meet at least one."""
    return tuple(dict.fromkeys(name for one in row.required_by for name in one.criteria))


def approved_by(given: Sequence[ApprovalGiven]) -> tuple[str, ...]:
    """Return the names of approvers, as views and lists show them: a person's, or `user:carol via slack`."""
    return tuple(one.principal_id if one.said_by is None else f"{one.said_by} via {one.principal_id}" for one in given)


def asked_by(tables: Tables, event: bytes) -> list[RequestRow]:
    """Return the requests of a waiting call, closed ones included; none where the call does not wait."""
    pending = tables.pending.get(event)
    found = (tables.requests.get(request_id(event, key)) for key in pending.keys) if pending is not None else ()
    return [row for row in found if row is not None]


def close(tables: Tables, row: RequestRow, how: str) -> None:
    """Close a request. Its row stays for a while, without call and approvals, if the payer's share has room for it."""
    ended = replace(
        row,
        closed=how,
        call=NOBODY,
        opened=None,
        masked=None,
        approvals=(),
        until=tables.now + limits.CLOSED_REQUEST_MS,
    )
    tables.requests.put(key := request_id(row.event, row.key), ended)
    if tables.requests.full_for(ended) is not None:
        tables.requests.delete(key)


def close_all(tables: Tables, event: bytes, how: str) -> None:
    """Close every open request of a call that no longer waits, and delete its pending row."""
    for row in asked_by(tables, event):
        if not row.closed:
            close(tables, row, how)
    tables.pending.delete(event)


def note_outcome(tables: Tables, event: bytes, outcome: str) -> None:
    """Note the outcome of a call on its requests, for a caller that has lost the key that opens the result."""
    for key in list(tables.requests.of((OVER, event))):
        row = tables.requests.rows[key]
        if row.waits and row.closed == Status.APPROVED:
            tables.requests.put(key, replace(row, closed=outcome))


def given_for(tables: Tables, event: bytes) -> tuple[SignedEvent, ...]:
    """Return the signed approvals of a waiting call."""
    return tuple(one.signed for row in asked_by(tables, event) for one in row.approvals)


def is_cancelled(tables: Tables, event: bytes) -> bool:
    """Return True if a waiting call is over before the deadline of its requests, because its session has ended."""
    deadline = tables.pending.rows[event].deadline
    return any(deadline < row.open_until for row in asked_by(tables, event))


def timeout_reason(tables: Tables, event: bytes) -> Reason:
    """Return why a waiting call timed out: APPROVAL_QUORUM if some approval stands, else APPROVAL_TIMEOUT."""
    stand = any(
        not one.meets.isdisjoint(criteria_asked(row))
        for row in asked_by(tables, event)
        for one in standing(tables, row.approvals, row.key)
    )
    return Reason.APPROVAL_QUORUM if stand else Reason.APPROVAL_TIMEOUT


def request_due(tables: Tables, key: bytes) -> None:
    """Close an open request at its deadline, or delete a closed one at the end of its time."""
    row = tables.requests.rows[key]
    if row.closed:
        tables.requests.delete(key)
    else:
        close(tables, row, Status.TIMEOUT)
