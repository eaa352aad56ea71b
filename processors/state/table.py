"""One table: rows by key, with an undo journal, deadlines, groups to find rows by, and the shares of payers."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from schemas import limits

R = TypeVar("R")
Undo = tuple["Table[Any]", bytes, Any]
Groups = Callable[[R], tuple[Hashable, ...]]
# The shares that a row counts for, as (name, divisor); divisor 4 stands for a quarter of the table.
Shares = tuple[tuple[str, int], ...]
Members = (
    tuple[bytes] | list[bytes]
)  # one key, or several in order: most groups have one, and a list takes 40 bytes more


class Room(NamedTuple):
    """The bounds of a table: number of rows and, if it is bounded by bytes, the sum of the rows' weights in bytes."""

    rows: int = limits.FOR_EVER_MS
    size: int = limits.FOR_EVER_MS


UNBOUNDED = Room()


class Table(Generic[R]):
    """Rows of one kind by key. A row with a deadline leaves when log time reaches it.

    A row can be found by its groups; a group lists the keys of its rows in order. `weight` is the sum of the rows'
    weights. If rows have payers, `counts` and `weights` hold the number and the weight of the rows of each share. All
    of these follow every write and every undo, so they are never stored. `lean`, if there is one, makes an equal row
    that takes less memory, and that one is kept.
    """

    __slots__ = (
        "_deadline",
        "_deadlines",
        "_follows",
        "_groups",
        "_groups_of",
        "_journal",
        "_lean",
        "_least",
        "_payers",
        "_told",
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
        lean: Callable[[R], R] | None = None,
        told: Callable[[R | None], None] | None = None,
        follow: Callable[[bytes, R | None, R | None], None] | None = None,
    ) -> None:
        """`told` is called with each row after it was written or an undo wrote it, and with None for one that left.

        `follow` is called with the key, the row before and the row after each write and each undo; it never raises.
        """
        self.name = name
        self.set_room(UNBOUNDED)
        self.rows: dict[bytes, R] = {}
        self.version = 0  # rises with every write, undone ones included: shows that a derived value is stale
        self._journal = journal
        self._deadlines = deadlines
        self._deadline = deadline
        self._groups_of = groups
        self._groups: dict[Hashable, Members] = {}
        self._lean = lean
        self._payers = payers
        self._weigh = weigh
        self._told = told
        self._follows = follow
        self.counts: dict[str, int] = {}  # rows by share
        self.weights: dict[str, int] = {}  # weight of the rows, by share
        self.counted = 0  # rows that count for a share
        self.weight = 0

    def set_room(self, room: Room) -> None:
        """Bound the table anew. Rows above the bound stay."""
        self.room = room
        self._least = room.rows // limits.SHARE_PARTS_MAX

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, key: bytes) -> R | None:
        return self.rows.get(key)

    def of(self, group: Hashable) -> Sequence[bytes]:
        """Return the keys of a group's rows, in order. Requires that the caller writes nothing while it reads."""
        return self._groups.get(group, ())

    def groups(self) -> Iterable[Hashable]:
        """Return every group that has a row."""
        return self._groups.keys()

    def shares_of(self, row: R) -> Shares:
        """Return the shares that a row counts for."""
        return () if self._payers is None else self._payers(row)

    def full_for(self, row: R) -> tuple[str, int] | None:
        """Return the first share over its bound after `row` was put, as (name, divisor); ("", 1) is the whole table.

        A row that was there, for the same payer and as heavy, is never too much: after its limit was lowered, a table
        may hold more than it has room for.
        """
        rows, size = self.room
        if self.counted <= self._least and self.weight <= size // limits.SHARE_PARTS_MAX:
            return None  # the usual case: all rows together are fewer than the smallest share may have
        if self.counted > rows or self.weight > size:
            return None if self._was_there(row) else ("", 1)
        counts, weights = self.counts, self.weights
        for share, part in self.shares_of(row):
            if counts.get(share, 0) > (rows // part or 1) or weights.get(share, 0) > size // part:
                return None if self._was_there(row) else (share, part)
        return None

    def _was_there(self, row: R) -> bool:
        """Return True if the last write put `row` in the place of one for the same payer that weighed as much."""
        table, key, before = self._journal[-1] if self._journal else (None, b"", None)
        if table is not self or before is None or self.rows.get(key) != row:
            return False
        grew = self._weigh is not None and self._weigh(row) > self._weigh(before)
        return not grew and self.shares_of(before) == self.shares_of(row)

    def put(self, key: bytes, row: R) -> None:
        self._journal.append((self, key, self.rows.get(key)))
        self._set(key, row)

    def delete(self, key: bytes) -> None:
        self._journal.append((self, key, self.rows[key]))
        self._remove(key)

    def restore(self, key: bytes, row: R | None) -> None:
        """Set a row, or remove it for None, without a journal entry: to undo, and to restart from the changelog."""
        if row is None:
            self._remove(key)
        else:
            self._set(key, row)

    def deadline_of(self, key: bytes) -> int | None:
        """Return the log time (ms) at which the row leaves; None if there is no such row, or it has no deadline."""
        row = self.rows.get(key)
        return None if row is None or self._deadline is None else self._deadline(row)

    def _set(self, key: bytes, row: R) -> None:
        if self._lean is not None:
            row = self._lean(row)
        before = self.rows.get(key)
        self._follow(key, before, row)
        self.rows[key] = row
        self.version += 1
        # Only a new deadline enters the heap: else each use of a row that lasts a day would leave an entry for a day.
        if self._deadline is not None and (before is None or self._deadline(before) != self._deadline(row)):
            deadline = self._deadline(row)
            if deadline < limits.FOR_EVER_MS:
                heapq.heappush(self._deadlines, (deadline, self.name, key))
        if self._told is not None:
            self._told(row)

    def _remove(self, key: bytes) -> None:
        row = self.rows.pop(key, None)
        self.version += 1
        self._follow(key, row, None)
        if self._told is not None:
            self._told(None)

    def _follow(self, key: bytes, before: R | None, after: R | None) -> None:
        """Update groups, shares and weights after a row's change.

        Every function of the row is called before anything is written: if one raises, no half of the change is left.
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
        if self._follows is not None:
            self._follows(key, before, after)

    def _regroup(self, key: bytes, old: tuple[Hashable, ...], new: tuple[Hashable, ...]) -> None:
        groups = self._groups
        for group in old:
            keys = groups[group]
            if isinstance(keys, tuple):
                del groups[group]
                continue
            del keys[bisect.bisect_left(keys, key)]
            if len(keys) == 1:
                groups[group] = (keys[0],)
        for group in new:
            known = groups.get(group)
            if known is None:
                groups[group] = (key,)
            elif isinstance(known, tuple):
                groups[group] = sorted((known[0], key))
            else:
                bisect.insort(known, key)

    def _recount(self, old: Shares, new: Shares, lighter: int, heavier: int) -> None:
        """Move a row from its old shares to its new ones: a few additions, however many rows there are."""
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
