"""What a view is, and the rules that all of them share: which change wins, how long a row is shown, and one page.

Every rule lives here or in the description of one view, as functions of values; Faust, Kafka, HTTP and clocks never
do. A row is the newest change of its thing, as it stood on the log.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from schemas import limits
from schemas.codec import MalformedRecordError, SchemaError, decode_as
from schemas.topics import Topic, is_tenant_id, keyed_partition

# What has ended stays visible long enough to be seen by who looks why a call was refused; history is the audit's.
SHOWN_AFTER_END_MS = 3_600_000
DROPPED_PER_CHANGE_MAX = 64
ID_BYTES = 32
PAGE_ROWS_MAX = 1000
LOOKED_AT_MAX = 10_000  # rows that one page decodes: a filter that nothing meets must not hold up everybody

JSONRow = dict[str, object]


class ViewChange(Protocol):
    """What a record for the views says, whatever it is about."""

    @property
    def origin(self) -> str: ...
    @property
    def audit_index(self) -> int: ...
    @property
    def tenant(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def at(self) -> int: ...


C = TypeVar("C", bound=ViewChange)


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Generic[C]):
    """One table: where its changes come from, what they are, and until when a row is shown.

    `id_of` returns the 32 bytes under which a thing stands in its tenant. `check` raises MalformedRecordError for a
    change that the monitor would not have written.
    """

    name: str
    source: Topic
    changelog: Topic
    record: type[C]
    statuses: frozenset[str]
    id_of: Callable[[C], bytes]
    shown_until: Callable[[C], int]
    check: Callable[[C], None] = lambda _: None

    @property
    def table(self) -> str:
        """The name of its Faust table."""
        return f"macaw-views-{self.name}"

    @property
    def agent(self) -> str:
        """The name of its Faust agent."""
        return f"macaw-views-fold-{self.name}"

    def key_of(self, change: C) -> bytes:
        """Return the key of a row, tenant first."""
        return row_key(change.tenant, self.id_of(change).hex())

    def partition_of(self, change: C) -> int:
        """Return the partition of a row."""
        return keyed_partition(self.id_of(change))

    def read_change(self, key: bytes | None, value: bytes, partition: int) -> C:
        """Decode a record of the source and check that it stands where its thing belongs.

        Raises:
            SchemaError: it is another record, names no tenant or id, or has another's key, partition or origin.
        """
        change: C = decode_as(self.record, value)
        if not is_tenant_id(change.tenant) or change.origin.rpartition("/")[2] != change.tenant:
            raise MalformedRecordError("want a tenant id, and an origin of that tenant")
        if change.status not in self.statuses:
            raise MalformedRecordError(f"got status {change.status[:16]!r}, want one of {sorted(self.statuses)}")
        self.check(change)
        if len(self.id_of(change)) != ID_BYTES:
            raise MalformedRecordError(f"want an id of {ID_BYTES} bytes")
        if key != self.key_of(change) or partition != self.partition_of(change):
            raise MalformedRecordError("the record stands under the key or in the partition of another")
        return change

    def read_row(self, stored: bytes | None) -> C | None:
        """Read a row. None for no row, and for one that a damaged changelog left: the source sets it right."""
        try:
            return None if stored is None else decode_as(self.record, stored)
        except SchemaError:
            return None


def row_key(tenant: str, row_id: str) -> bytes:
    """Return the key of a row, tenant first."""
    return f"{tenant}/{row_id}".encode()


def fold_change(current: C | None, change: C) -> C:
    """Return the row after `change`: on one log the higher audit index wins, and of equal ones the later record.

    An equal index is the same record read again; feeds of older versions hold several records of one entry. A log that
    was founded anew under the tenant's name counts from 0 again, so between two logs the later time wins.
    """
    if current is None:
        return change
    if current.origin == change.origin:
        return change if change.audit_index >= current.audit_index else current
    return change if change.at > current.at else current


def shown_after(end: int) -> int:
    """Return until when something that ends at `end` is shown."""
    return min(end + SHOWN_AFTER_END_MS, limits.FOR_EVER_MS)


# ---- pages


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """One page that somebody asks for. `after` is the `next` of the page before, or empty.

    Only rows that hold `needle` are looked at: a fast way to pass over most of them, never the whole condition.
    """

    tenant: str
    after: str = ""
    limit: int = 100
    needle: bytes = b""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in the order of their ids; `next` is what to ask `after`, or None where there are no more."""

    rows: tuple[JSONRow, ...]
    next: str | None


def select_page(
    view: View[C],
    rows: Mapping[bytes, bytes],
    question: PageQuery,
    now: int,
    describe: Callable[[C, int], JSONRow | None],
) -> Page:
    """Return a page of a tenant's rows at `now`: those that `describe` describes, where None leaves one out.

    It is bounded by what is looked at too, so a page may be short, or empty, and still name a next one.
    Requires 0 < limit <= PAGE_ROWS_MAX.
    """
    found: list[JSONRow] = []
    last = ""
    for looked_at, (row_id, row) in enumerate(live_rows(view, rows, question, now)):
        described = None if row is None else describe(row, now)
        full = len(found) == question.limit and described is not None
        if full or looked_at == LOOKED_AT_MAX:
            return Page(tuple(found), last)
        last = row_id
        if described is not None:
            found.append(described)
    return Page(tuple(found), None)


def live_rows(
    view: View[C], rows: Mapping[bytes, bytes], question: PageQuery, now: int
) -> Iterator[tuple[str, C | None]]:
    """Yield the ids of a tenant's rows in order, each with its row, or None where that is not shown."""
    # INVARIANT: the prefix ends in a slash, which no tenant id has: a tenant never sees rows of one it is a prefix of.
    prefix, first = row_key(question.tenant, ""), row_key(question.tenant, question.after)
    needle = question.needle
    for key in sorted(k for k, v in rows.items() if k.startswith(prefix) and k > first and needle in v):
        row = view.read_row(rows[key])
        yield key[len(prefix) :].decode(), None if row is None or now >= view.shown_until(row) else row


# ---- when rows go


class Deadlines(Generic[C]):
    """Which rows of one partition are shown no more, soonest first."""

    __slots__ = ("_heap", "_noted", "_view")

    def __init__(self, view: View[C]) -> None:
        self._view = view
        self._heap: list[tuple[int, bytes]] = []
        # One entry for a key, or a key that is written over and over would fill the heap.
        self._noted: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def note(self, key: bytes, row: C) -> None:
        """Remember until when this row is shown."""
        until = self._view.shown_until(row)
        if until < self._noted.get(key, limits.FOR_EVER_MS):
            self._noted[key] = until
            heapq.heappush(self._heap, (until, key))

    def due(self, rows: Mapping[bytes, bytes], now: int) -> Iterator[bytes]:
        """Yield the keys of at most DROPPED_PER_CHANGE_MAX rows that are over; the caller deletes each."""
        for _ in range(DROPPED_PER_CHANGE_MAX):
            if not self._heap or self._heap[0][0] > now:
                return
            until, key = heapq.heappop(self._heap)
            if self._noted.get(key) == until:
                del self._noted[key]
            row = self._view.read_row(rows.get(key))
            if row is not None and self._view.shown_until(row) <= now:
                yield key
            elif row is not None:
                self.note(key, row)  # it lasts longer by now
