"""Requests for approval: what they ask of whom, and how they end.

Each is closed once, and for a while it is remembered how.
"""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from typing import Any

from processors.calls.standing import request_id, standing
from processors.policy.documents import INTENT_ID
from processors.state.tables import OVER, Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import SignedEvent
from schemas.rows import RequestRow

NOBODY = SignedEvent(event=b"", proof=b"", kid=b"")


@functools.lru_cache(maxsize=1024)
def required_by(text: str) -> tuple[dict[str, Any], ...]:
    """Return what the policies said of a key when it was asked for."""
    return tuple(json.loads(text))


def quorum_of(row: RequestRow) -> int:
    """Return how many people must approve."""
    return max(int(one["quorum"]) for one in required_by(row.required_by))


def criteria_asked(row: RequestRow) -> tuple[str, ...]:
    """Return who may approve: anybody who meets one of these."""
    return tuple(dict.fromkeys(name for one in required_by(row.required_by) for name in one["criteria"]))


def lasting_for(row: RequestRow) -> list[dict[str, Any]]:
    """Return what lets an approval serve later calls: what policies in force say, not what the call brought along.

    Else a caller could have a policy's key approved with a call of its own choice.
    """
    return [one for one in required_by(row.required_by) if not one["one_time"] and one["policy"] != INTENT_ID]


def asked_by(tables: Tables, event: bytes) -> list[RequestRow]:
    """Return what a call that waits has asked for, closed requests included; nothing where it does not wait."""
    pending = tables.pending.get(event)
    found = (tables.requests.get(request_id(event, key)) for key in pending.keys) if pending is not None else ()
    return [row for row in found if row is not None]


def close(tables: Tables, row: RequestRow, how: str) -> None:
    """Close a request; for a while it is remembered how, without what it held, unless its share is full of such."""
    ended = replace(
        row, closed=how, call=NOBODY, opened=None, approvals=(), until=tables.now + limits.CLOSED_REQUEST_MS
    )
    tables.requests.put(key := request_id(row.event, row.key), ended)
    if tables.requests.full_for(ended) is not None:
        tables.requests.delete(key)


def close_all(tables: Tables, event: bytes, how: str) -> None:
    """Close every open request of a call that waits no more, and forget that it waited."""
    for row in asked_by(tables, event):
        if not row.closed:
            close(tables, row, how)
    tables.pending.delete(event)


def note_outcome(tables: Tables, event: bytes, outcome: str) -> None:
    """Keep with what a call has asked for how it ended: who asked may have lost the key that could open the result."""
    for key in list(tables.requests.of((OVER, event))):
        row = tables.requests.rows[key]
        if row.waits and row.closed == "approved":
            tables.requests.put(key, replace(row, closed=outcome))


def given_for(tables: Tables, event: bytes) -> tuple[SignedEvent, ...]:
    """Return what people signed for a call that waits."""
    return tuple(one.signed for row in asked_by(tables, event) for one in row.approvals)


def is_cancelled(tables: Tables, event: bytes) -> bool:
    """Whether a waiting call is over before the time that was set for it: its session was ended."""
    deadline = tables.pending.rows[event].deadline
    return any(deadline < row.open_until for row in asked_by(tables, event))


def timeout_reason(tables: Tables, event: bytes) -> Reason:
    """Return why a call that waited is over: nobody has approved, or too few."""
    stand = any(
        not one.meets.isdisjoint(criteria_asked(row))
        for row in asked_by(tables, event)
        for one in standing(tables, row.approvals)
    )
    return Reason.APPROVAL_QUORUM if stand else Reason.APPROVAL_TIMEOUT


def request_due(tables: Tables, key: bytes) -> None:
    """Let a request that has run out close, or one that was closed long ago leave."""
    row = tables.requests.rows[key]
    if row.closed:
        tables.requests.delete(key)
    else:
        close(tables, row, "timeout")
