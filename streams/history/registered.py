"""The events on the topics `registry` and `sessions`: a tenant's founding, its keys and sessions, as they were signed.

Kafka compacts these topics, so they still have events that intake has lost: every key's and every revocation's, and
those of sessions that have not left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from processors.intake.identify import Received, read
from processors.state.tables import Tables
from schemas.records import AuditEntry
from streams.history.records import Records, present


class RegisteredEvents:
    """Finds registry events by the leaf that their entry names. Nothing is read before the first question.

    Entries must be asked for in order: a partition has its events in the order of the log, so each is read once more,
    and only places are held in memory.
    """

    def __init__(self, tables: Tables, open_partitions: Callable[[], Sequence[Records]]) -> None:
        """`tables` name the tenant and its genesis."""
        self._tables = tables
        self._open = open_partitions
        self._partitions: list[_Partition] | None = None

    def of(self, entry: AuditEntry) -> Received | None:
        """Return the event of an entry, None if no topic has it. Its signature is left to the verifier."""
        if self._partitions is None:
            self._partitions = [_Partition(self._tables, records) for records in self._open()]
        return next((found for one in self._partitions if (found := one.of(entry.event)) is not None), None)


class _Partition:
    """One partition with the first offset of each leaf: a later copy of an event may have other headers."""

    def __init__(self, tables: Tables, records: Records) -> None:
        self._records = records
        self._reading: Iterator[Received] | None = None
        self._position = 0
        self._places: dict[bytes, int] = {}
        for record in present(records.read(records.low)):
            if record.value is not None:
                self._places.setdefault(read(tables, record).leaf, record.offset)

    def of(self, leaf: bytes) -> Received | None:
        place = self._places.get(leaf)
        if place is None:
            return None
        if self._reading is None or place < self._position:
            self._reading = present(self._records.read(place))
        for found in self._reading:
            self._position = found.offset + 1
            if found.offset == place:
                return found
        return None
