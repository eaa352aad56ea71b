"""A mark between two records, to take back the records since."""

from __future__ import annotations

from typing import NamedTuple, Self

from processors.state.tables import Tables


class RecordMark(NamedTuple):
    """The place of some tables between two records. `Tables.undo_to` takes back a part of one record."""

    savepoint: int
    next_index: int
    prev: bytes
    now: int

    @classmethod
    def of(cls, tables: Tables) -> Self:
        """Return the present place."""
        return cls(tables.savepoint(), tables.next_index, tables.prev, tables.now)

    def go_back(self, tables: Tables) -> None:
        """Take back every record since, with its place in the log. Requires that none was committed."""
        tables.undo_to(self.savepoint)
        tables.next_index, tables.prev, tables.now = self.next_index, self.prev, self.now
