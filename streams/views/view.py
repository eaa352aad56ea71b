"""The description of a view, and the rules of all views: the winning change, the end of a row, and one page.

Every rule is here or in the description of one view, as functions of values, without Faust, Kafka, HTTP or clocks. A
row is the newest change of its thing (a session, a key, a delegation), with the bytes of the log.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from schemas import limits
from schemas.codec import MalformedRecordError, SchemaError, decode_as
from schemas.topics import Topic, is_tenant_id, keyed_partition

# A thing that has ended stays visible for an hour, to explain a refused call. Older history is in the audit log.
SHOWN_AFTER_END_MS = 3_600_000
DROPPED_PER_CHANGE_MAX = 64
ID_BYTES = 32
PAGE_ROWS_MAX = 1000
LOOKED_AT_MAX = 10_000  # rows that one page decodes: a filter without a match must not delay other requests

JSONRow = dict[str, object]


class ViewChange(Protocol):
    """The members that all records for the views have. `at` is a time in ms."""

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
    """The description of one table: its topics, its records, and the time until which a row is shown.

    `id_of` returns the id of a thing in its tenant, 32 bytes. `check` raises MalformedRecordError for a change that the
    monitor would not have written.
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
        """Decode a record of the source and check that key, partition and origin belong to it.

        Raises:
            SchemaError: it is a record of another kind, lacks a tenant or an id, or has a key, a partition or an origin
                of another.
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
        """Decode a row. None without a row, and for a damaged row of the changelog, which the source corrects."""
        try:
            return None if stored is None else decode_as(self.record, stored)
        except SchemaError:
            return None


def row_key(tenant: str, row_id: str) -> bytes:
    """Return the key of a row, tenant first."""
    return f"{tenant}/{row_id}".encode()


def fold_change(current: C | None, change: C) -> C:
    """Return the row after `change`: the one with the higher audit index, and `change` if the indexes are equal.

    An equal index is the same record read again; feeds of older versions hold several records of one entry. A log that
    was founded again under the same tenant id counts from 0 again, so between two logs the later time wins.
    """
    if current is None:
        return change
    if current.origin == change.origin:
        return change if change.audit_index >= current.audit_index else current
    return change if change.at > current.at else current


def shown_after(end: int) -> int:
    """Return the time in ms until which a thing that ends at `end` is shown."""
    return min(end + SHOWN_AFTER_END_MS, limits.FOR_EVER_MS)


# ---- pages


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """A request for one page. `after` is the `next` of the page before, or empty.

    Only rows with the bytes `needle` are decoded. This passes over most rows fast; it is not the whole condition.
    """

    tenant: str
    after: str = ""
    limit: int = 100
    needle: bytes = b""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in the order of their ids. `next` is the value of `after` for the next page, None at the end."""

    rows: tuple[JSONRow, ...]
    next: str | None


def select_page(
    view: View[C],
    rows: Mapping[bytes, bytes],
    question: PageQuery,
    now: int,
    describe: Callable[[C, int], JSONRow | None],
) -> Page:
    """Return a page of a tenant's rows at `now`. `describe` returns the form of a row, or None to leave it out.

    At most LOOKED_AT_MAX rows are decoded, so a page may be short or empty and still have a `next`.
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
    """Yield the ids of a tenant's rows in order, each with its row, or with None if it is no longer shown."""
    # INVARIANT: the prefix ends in a slash, which no tenant id has: a tenant never sees rows of one it is a prefix of.
    prefix, first = row_key(question.tenant, ""), row_key(question.tenant, question.after)
    needle = question.needle
    for key in sorted(k for k, v in rows.items() if k.startswith(prefix) and k > first and needle in v):
        row = view.read_row(rows[key])
        yield key[len(prefix) :].decode(), None if row is None or now >= view.shown_until(row) else row


# ---- when rows go


class Deadlines(Generic[C]):
    """The times at which rows of one partition are no longer shown, the soonest first."""

    __slots__ = ("_heap", "_noted", "_view")

    def __init__(self, view: View[C]) -> None:
        self._view = view
        self._heap: list[tuple[int, bytes]] = []
        # A key has one entry. With more, a key that is written again and again would fill the heap.
        self._noted: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def note(self, key: bytes, row: C) -> None:
        """Remember the time until which this row is shown."""
        until = self._view.shown_until(row)
        if until < self._noted.get(key, limits.FOR_EVER_MS):
            self._noted[key] = until
            heapq.heappush(self._heap, (until, key))

    def due(self, rows: Mapping[bytes, bytes], now: int) -> Iterator[bytes]:
        """Yield the keys of at most DROPPED_PER_CHANGE_MAX rows past their time; the caller deletes each."""
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
                self.note(key, row)  # the row has a later deadline now
