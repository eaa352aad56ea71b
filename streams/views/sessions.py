"""What the sessions view shows: which change wins, until when a row is shown, and one page of a tenant's rows.

Every rule of the view lives here, as functions of values; Faust, Kafka, HTTP and clocks never do. A row is the newest
change of its session, as it stood on the log.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypedDict

from schemas.codec import MalformedRecordError, SchemaError, decode_as
from schemas.records import SessionChanged
from schemas.topics import is_tenant_id, keyed_partition

# An ended session stays visible long enough to be seen by who looks why a call was refused; history is the audit's.
SHOWN_AFTER_END_MS = 3_600_000
DROPPED_PER_CHANGE_MAX = 64
SESSION_ID_BYTES = 32
PAGE_ROWS_MAX = 1000


class Status(enum.Enum):
    """What a session is at a moment."""

    OPEN = "open"
    ENDED = "ended"


class SessionJSON(TypedDict):
    """A session as the query API writes it. Times are milliseconds since the epoch."""

    session_id: str
    principal_id: str
    role: str
    status: str
    opened_at: int
    expires_at: int
    audit_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One page that somebody asks for. `after` is the last session id of the page before, or empty."""

    tenant: str
    status: Status | None = None
    after: str = ""
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Sessions in the order of their ids; `next` is what to ask `after`, or None where there are no more."""

    sessions: tuple[SessionJSON, ...]
    next: str | None


def fold_session(current: SessionChanged | None, change: SessionChanged) -> SessionChanged:
    """Return the row after `change`: on one log the higher audit index, whatever order they come in.

    A log that was founded anew under the tenant's name counts from 0 again, so between two logs the later time wins.
    """
    if current is None:
        return change
    if current.origin == change.origin:
        return change if change.audit_index > current.audit_index else current
    return change if change.at > current.at else current


def status_of(row: SessionChanged, now: int) -> Status:
    """Return what the session is at `now`: past its expiry it has ended, although no event says so yet."""
    return Status.OPEN if row.status == Status.OPEN.value and now < row.expires_at else Status.ENDED


def shown_until(row: SessionChanged) -> int:
    """Return the time from which the row is shown no more."""
    ended_at = row.expires_at if row.status == Status.OPEN.value else min(row.expires_at, row.at)
    return ended_at + SHOWN_AFTER_END_MS


def row_key(tenant: str, session_id: str) -> bytes:
    """Return the key of a row, tenant first."""
    return f"{tenant}/{session_id}".encode()


def read_change(key: bytes | None, value: bytes, partition: int) -> SessionChanged:
    """Decode a record of the sessions topic and check that it stands where its session belongs.

    Raises:
        SchemaError: it is no SessionChanged, names no tenant or session, or has another's key or partition.
    """
    change: SessionChanged = decode_as(SessionChanged, value)
    if not is_tenant_id(change.tenant) or len(change.session_id) != SESSION_ID_BYTES:
        raise MalformedRecordError("want a tenant id and a session id of 32 bytes")
    if change.status not in {s.value for s in Status}:
        raise MalformedRecordError(f"got status {change.status[:16]!r}, want open or ended")
    if key != row_key(change.tenant, change.session_id.hex()) or partition != keyed_partition(change.session_id):
        raise MalformedRecordError("the record stands under the key or in the partition of another session")
    return change


def read_row(stored: bytes | None) -> SessionChanged | None:
    """Read a row of the table. None for no row, and for one that a damaged changelog left: the source sets it right."""
    try:
        return None if stored is None else decode_as(SessionChanged, stored)
    except SchemaError:
        return None


def select_page(rows: Mapping[bytes, bytes], question: Question, now: int) -> Page:
    """Return the page of a tenant's rows at `now`. Requires 0 < limit <= PAGE_ROWS_MAX."""
    found: list[SessionJSON] = []
    for row in _rows_after(rows, question):
        status = status_of(row, now)
        if now >= shown_until(row) or question.status not in {None, status}:
            continue
        if len(found) == question.limit:
            return Page(tuple(found), found[-1]["session_id"])
        found.append(_describe(row, status))
    return Page(tuple(found), None)


def _rows_after(rows: Mapping[bytes, bytes], question: Question) -> Iterator[SessionChanged]:
    first = row_key(question.tenant, question.after)
    # INVARIANT: the prefix ends in a slash, which no tenant id has: a tenant never sees rows of one it is a prefix of.
    prefix = row_key(question.tenant, "")
    for key in sorted(key for key in rows if key.startswith(prefix) and key > first):
        row = read_row(rows[key])
        if row is not None:
            yield row


def _describe(row: SessionChanged, status: Status) -> SessionJSON:
    return SessionJSON(
        session_id=row.session_id.hex(),
        principal_id=row.principal_id,
        role=row.role,
        status=status.value,
        opened_at=row.opened_at,
        expires_at=row.expires_at,
        audit_index=row.audit_index,
    )


class Deadlines:
    """Which rows of one partition are shown no more, soonest first."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []

    def note(self, key: bytes, row: SessionChanged) -> None:
        """Remember until when this row is shown."""
        heapq.heappush(self._heap, (shown_until(row), key))

    def due(self, rows: Mapping[bytes, bytes], now: int) -> Iterator[bytes]:
        """Yield the keys of at most DROPPED_PER_CHANGE_MAX rows that are over; the caller deletes each."""
        for _ in range(DROPPED_PER_CHANGE_MAX):
            if not self._heap or self._heap[0][0] > now:
                return
            _, key = heapq.heappop(self._heap)
            # A session that was prolonged since has a later entry of its own.
            row = read_row(rows.get(key))
            if row is not None and shown_until(row) <= now:
                yield key
