"""The journal of a tenant's tables: each write since the last commit, with what it replaced.

It serves three readers. A refused record and an aborted transaction are undone from it, the changelog gets each row
that changed, and the views' feed is derived from the writes (`processors/feed.py`).
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any, NamedTuple

from processors.state.table import Undo

Change = tuple[str, bytes, Any]


class RowWrite(NamedTuple):
    """One write to a row: the row before and after it, None for no row, and the audit entry of the record behind it.

    `at` is the log time of that entry in ms.
    """

    table: str
    key: bytes
    before: Any
    after: Any
    audit_index: int
    at: int


class Journal:
    """Writes that are not committed yet, oldest first. Tables append to `entries`; nothing else does."""

    __slots__ = ("_ends", "_prepared", "entries")

    def __init__(self) -> None:
        self.entries: list[Undo] = []
        self._prepared = 0  # how many entries belong to the transaction that is being committed
        self._ends: list[tuple[int, int, int]] = []  # of each record: the entries up to its end, audit index, log time

    def undo_to(self, mark: int) -> None:
        """Take back every entry from `mark` on, newest first."""
        entries, ends = self.entries, self._ends
        while len(entries) > mark:
            table, key, before = entries.pop()
            table.restore(key, before)
        while ends and ends[-1][0] > mark:
            ends.pop()

    def rollback(self) -> None:
        """Take back every entry, those of an aborted transaction included."""
        self.undo_to(0)
        self._prepared = 0
        self._ends.clear()

    def end_record(self, audit_index: int, now: int) -> None:
        """Note that the writes of one intake record end here, and under which audit index and log time it stands."""
        self._ends.append((len(self.entries), audit_index, now))

    def prepare(self) -> None:
        """Give the entries up to now to one transaction. Later ones belong to the next."""
        self._prepared = len(self.entries)

    def commit_prepared(self) -> None:
        """Forget the entries of the transaction that was committed."""
        gone = self._prepared
        del self.entries[:gone]
        self._prepared = 0
        self._ends = [(end - gone, index, now) for end, index, now in self._ends if end > gone]

    def changes(self) -> Iterator[Change]:
        """Yield (table, key, row or None) once for each row changed since the last `prepare` or `commit_prepared`."""
        seen: set[tuple[str, bytes]] = set()
        for table, key, _ in self.entries[self._prepared :]:
            if (table.name, key) not in seen:
                seen.add((table.name, key))
                yield table.name, key, table.rows.get(key)

    def writes(self, tables: Container[str], since: int | None = None) -> Iterator[RowWrite]:
        """Yield the writes to some tables, newest first: those since `since`, else as in `changes`.

        Requires that the record behind each of them has ended.
        """
        entries, ends, at = self.entries, self._ends, len(self._ends) - 1
        after: dict[tuple[str, bytes], Any] = {}  # of rows that were written later too: what the write at hand left
        for place in range(len(entries) - 1, (self._prepared if since is None else since) - 1, -1):
            table, key, before = entries[place]
            if table.name not in tables:
                continue
            while at > 0 and ends[at - 1][0] > place:
                at -= 1
            row, (_, index, now) = (table.name, key), ends[at]
            yield RowWrite(table.name, key, before, after[row] if row in after else table.rows.get(key), index, now)
            after[row] = before
