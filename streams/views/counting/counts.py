"""The calls and denials of each session, counted from a tenant's decisions, as values without Kafka.

A call counts once. A call that waits for people has two decisions, one `pending` and one at its end; both stand in one
partition, because a decision is keyed by the id of its call. A denial counts when a call is denied, at once or after it
has waited.

**Exactly once.** A monitor writes a partition of `decisions` in the order of its audit log. So a partition has one
mark: the audit index of its newest counted decision, with the calls that this entry has decided. A decision below the
mark, or of a call under it, was counted before. Nothing is kept when the process ends: a start counts from nothing.

**Bounds.** A session costs one small object, and each of its waiting calls 32 bytes. `sweep` drops sessions without a
row in the table of sessions, which drops a row an hour after the session's end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from schemas.codec import MalformedRecordError, decode_as
from schemas.records import Decision
from schemas.words import Outcome
from streams.views.view import JSONRow

SessionKey = tuple[str, bytes]  # a tenant, and a session id in it


class Activity(NamedTuple):
    """The decided calls of a session since `since`, and the log time of the newest, None without one; times in ms."""

    calls: int
    denials: int
    last_seen: int | None
    since: int
    observed: int = 0  # calls that were allowed and that enforcement would have denied, or let wait


def describe_activity(row: JSONRow, activity: Activity | None) -> JSONRow:
    """Return the calls of a described session: members that are added to it, all null if nothing is known.

    `counted_since` is the opening of the session, or a later time before which decisions are not kept any more.
    """
    if activity is None:
        return dict.fromkeys(("last_seen", "calls", "denials", "observed", "counted_since"))
    opened_at = row["opened_at"]
    assert isinstance(opened_at, int)
    return {
        "last_seen": activity.last_seen,
        "calls": activity.calls,
        "denials": activity.denials,
        "observed": activity.observed,
        "counted_since": max(opened_at, activity.since),
    }


class Standing(Enum):
    """The knowledge about a tenant's decisions."""

    UNKNOWN = "the decisions of the tenant cannot be read here"
    COUNTING = "the views are counting the calls of sessions"
    CURRENT = "the counts follow the log"


@dataclass(slots=True)
class _Session:
    calls: int = 0
    denials: int = 0
    observed: int = 0
    last_seen: int | None = None
    waiting: set[bytes] = field(default_factory=set)
    missed: tuple[int, int] | None = None  # the reading of the sources, and the time, of a sweep that found no row


@dataclass(slots=True)
class _Partition:
    """One partition of a tenant's decisions: its mark, and how far it is read."""

    since: int
    is_current: bool = False
    index: int = -1
    events: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class _Tenant:
    partitions: dict[int, _Partition]
    sessions: dict[bytes, _Session] = field(default_factory=dict)


class Counts:
    """The counts of every tenant."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Tenant] = {}
        self._listed: frozenset[str] | None = None

    def note_listed(self, tenants: Iterable[str]) -> None:
        """Take note of the tenants with readable decisions; of others nothing is known from now on."""
        self._listed = frozenset(tenants)

    def begin(self, tenant: str, since: dict[int, int]) -> None:
        """Count a tenant from nothing. `since` has the time in ms, by partition, from which no decision is missing."""
        self._tenants[tenant] = _Tenant({number: _Partition(at) for number, at in since.items()})

    def forget(self, tenant: str) -> None:
        """Drop a tenant, because its topic is gone or was made anew."""
        self._tenants.pop(tenant, None)

    def note_current(self, tenant: str, partition: int, *, is_current: bool) -> None:
        """Take note whether a partition is read up to now."""
        if (known := self._tenants.get(tenant)) is not None:
            known.partitions[partition].is_current = is_current

    def count(self, tenant: str, partition: int, value: bytes) -> None:
        """Count one record of a partition, in the order of the log. Requires that the tenant was begun.

        Raises:
            SchemaError: it is no decision, or one of another tenant.
        """
        decision: Decision = decode_as(Decision, value)
        if decision.origin.rpartition("/")[2] != tenant:
            raise MalformedRecordError("the decision is of another tenant")
        known = self._tenants[tenant]
        place = known.partitions[partition]
        if decision.audit_index < place.index or (
            decision.audit_index == place.index and decision.event in place.events
        ):
            return
        if decision.audit_index > place.index:
            place.index, place.events = decision.audit_index, set()
        place.events.add(decision.event)
        _add(known.sessions.setdefault(decision.session_id, _Session()), decision)

    def standing(self, tenant: str) -> Standing:
        """Return the knowledge about a tenant's decisions."""
        known = self._tenants.get(tenant)
        if known is None:
            is_foreign = self._listed is not None and tenant not in self._listed
            return Standing.UNKNOWN if is_foreign else Standing.COUNTING
        return Standing.CURRENT if all(p.is_current for p in known.partitions.values()) else Standing.COUNTING

    def of(self, tenant: str, session_id: bytes) -> Activity | None:
        """Return the activity of a session; None if the tenant's decisions are not read."""
        known = self._tenants.get(tenant)
        if known is None:
            return None
        since = max(place.since for place in known.partitions.values())
        found = known.sessions.get(session_id, _NONE)
        return Activity(found.calls, found.denials, found.last_seen, since, found.observed)

    def __len__(self) -> int:
        """Return the number of sessions that are counted."""
        return sum(len(known.sessions) for known in self._tenants.values())

    def sweep(self, has_row: Callable[[str, bytes], bool], *, reading: int, now: int, as_of: int) -> None:
        """Drop sessions that had no row at two sweeps, in one reading of the sources.

        A row may be younger than the session's first decision here, and a table is empty while Faust recovers it. So a
        session goes only if the table was complete (`as_of`) after the sweep that first missed its row, and was not
        read anew in between (`reading`).
        """
        for tenant, known in self._tenants.items():
            for session_id, found in list(known.sessions.items()):
                if has_row(tenant, session_id):
                    found.missed = None
                elif found.missed is None or found.missed[0] != reading:
                    found.missed = (reading, now)
                elif as_of > found.missed[1]:
                    del known.sessions[session_id]


_NONE = _Session()


def _add(session: _Session, decision: Decision) -> None:
    if decision.event in session.waiting:
        if decision.outcome != Outcome.PENDING:
            session.waiting.remove(decision.event)
    else:
        session.calls += 1
        if decision.outcome == Outcome.PENDING:
            session.waiting.add(decision.event)
    session.denials += decision.outcome == Outcome.DENIED
    session.observed += decision.observed is not None
    session.last_seen = max(decision.decided_at, session.last_seen or 0)
