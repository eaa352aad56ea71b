"""One table: rows by key, with a journal to undo with, deadlines, groups to find rows by, and shares of who pays."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from schemas import limits

R = TypeVar("R")
Undo = tuple["Table[Any]", bytes, Any]
Groups = Callable[[R], tuple[Hashable, ...]]
# Of each share that a row counts for: its name, and which part of the table it is (4 for a quarter).
Shares = tuple[tuple[str, int], ...]


class Room(NamedTuple):
    """How much a table may hold: rows and, where it is bounded by bytes, what they weigh together."""

    rows: int = limits.FOR_EVER_MS
    size: int = limits.FOR_EVER_MS


UNBOUNDED = Room()


class Table(Generic[R]):
    """Rows of one kind by key. A row with a deadline leaves when log time reaches it.

    Rows can be found by the groups they are in, their keys in order. `weight` is the sum of what rows weigh. Where rows
    have payers it is counted how many of them, and how much, each share holds. All follow every write and every
    undoing, so they are never stored.
    """

    __slots__ = (
        "_deadline",
        "_deadlines",
        "_groups",
        "_groups_of",
        "_journal",
        "_least",
        "_payers",
        "_weigh",
        "counted",
        "counts",
        "name",
        "room",
        "rows",
        "version",
        "weight",
        "weights",
    )

    def __init__(
        self,
        name: str,
        journal: list[Undo],
        deadlines: list[tuple[int, str, bytes]],
        deadline: Callable[[R], int] | None = None,
        *,
        groups: Groups[R] | None = None,
        payers: Callable[[R], Shares] | None = None,
        weigh: Callable[[R], int] | None = None,
        room: Room = UNBOUNDED,
    ) -> None:
        self.name = name
        self.room = room
        self._least = room.rows // limits.SHARE_PARTS_MAX
        self.rows: dict[bytes, R] = {}
        self.version = 0  # changes with every write, undone ones included: what is derived from rows goes stale
        self._journal = journal
        self._deadlines = deadlines
        self._deadline = deadline
        self._groups_of = groups
        self._groups: dict[Hashable, list[bytes]] = {}
        self._payers = payers
        self._weigh = weigh
        self.counts: dict[str, int] = {}  # rows by share
        self.weights: dict[str, int] = {}  # what they weigh, by share
        self.counted = 0  # rows that count for somebody
        self.weight = 0

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, key: bytes) -> R | None:
        return self.rows.get(key)

    def of(self, group: Hashable) -> Sequence[bytes]:
        """Return the keys of a group's rows, in order. Requires that the caller writes nothing while it reads."""
        return self._groups.get(group, ())

    def shares_of(self, row: R) -> Shares:
        """Return the shares that a row counts for."""
        return () if self._payers is None else self._payers(row)

    def full_for(self, row: R) -> tuple[str, int] | None:
        """Return what holds more than it may now that `row` is here, as a share ("" is the table) and its part."""
        rows, size = self.room
        if self.counted <= self._least and self.weight <= size // limits.SHARE_PARTS_MAX:
            return None  # the usual case: all rows together are fewer than the smallest share may have
        if self.counted > rows or self.weight > size:
            return "", 1
        counts, weights = self.counts, self.weights
        for share, part in self.shares_of(row):
            if counts.get(share, 0) > (rows // part or 1) or weights.get(share, 0) > size // part:
                return share, part
        return None

    def put(self, key: bytes, row: R) -> None:
        self._journal.append((self, key, self.rows.get(key)))
        self._set(key, row)

    def delete(self, key: bytes) -> None:
        self._journal.append((self, key, self.rows[key]))
        self._remove(key)

    def restore(self, key: bytes, row: R | None) -> None:
        """Set or remove a row without a trace: for undoing, and for a restart from the changelog."""
        if row is None:
            self._remove(key)
        else:
            self._set(key, row)

    def deadline_of(self, key: bytes) -> int | None:
        """Return when the row leaves, or None where there is no such row."""
        row = self.rows.get(key)
        return None if row is None or self._deadline is None else self._deadline(row)

    def _set(self, key: bytes, row: R) -> None:
        before = self.rows.get(key)
        self._follow(key, before, row)
        self.rows[key] = row
        self.version += 1
        # A row that only counts on keeps its place: else each use of what lasts a day would be remembered for a day.
        if self._deadline is not None and (before is None or self._deadline(before) != self._deadline(row)):
            deadline = self._deadline(row)
            if deadline < limits.FOR_EVER_MS:
                heapq.heappush(self._deadlines, (deadline, self.name, key))

    def _remove(self, key: bytes) -> None:
        row = self.rows.pop(key, None)
        self.version += 1
        self._follow(key, row, None)

    def _follow(self, key: bytes, before: R | None, after: R | None) -> None:
        """Let groups, shares and weights follow a row's change.

        All of them are asked first: a row of which one cannot be told must not leave half of it done.
        """
        groups_of, payers, weigh = self._groups_of, self._payers, self._weigh
        if groups_of is not None:
            old = () if before is None else groups_of(before)
            new = () if after is None else groups_of(after)
        if payers is not None or weigh is not None:
            payers = payers or _nobody
            left = () if before is None else payers(before)
            came = () if after is None else payers(after)
            lighter = 0 if before is None or weigh is None else weigh(before)
            heavier = 0 if after is None or weigh is None else weigh(after)
            self._recount(left, came, lighter, heavier)
        if groups_of is not None and old != new:
            self._regroup(key, old, new)

    def _regroup(self, key: bytes, old: tuple[Hashable, ...], new: tuple[Hashable, ...]) -> None:
        for group in old:
            keys = self._groups[group]
            del keys[bisect.bisect_left(keys, key)]
            if not keys:
                del self._groups[group]
        for group in new:
            bisect.insort(self._groups.setdefault(group, []), key)

    def _recount(self, old: Shares, new: Shares, lighter: int, heavier: int) -> None:
        """Count a row for other shares than before: a few additions, however many rows there are."""
        if old is not new and old != new:
            self.counted += bool(new) - bool(old)
            if old:
                _shift(self.counts, old, -1)
            if new:
                _shift(self.counts, new, 1)
        elif lighter == heavier:
            return
        if self._weigh is not None:
            self.weight += heavier - lighter
            _shift(self.weights, old, -lighter)
            _shift(self.weights, new, heavier)


def _nobody(_: object) -> Shares:
    return ()


def _shift(amounts: dict[str, int], shares: Shares, by: int) -> None:
    for share, _ in shares:
        amount = amounts.get(share, 0) + by
        if amount:
            amounts[share] = amount
        else:
            amounts.pop(share, None)
