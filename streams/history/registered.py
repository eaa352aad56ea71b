"""The events on the `registry` topic: a tenant's founding, its keys and its sessions, as they were signed.

Kafka compacts that topic and keeps it for ever, so it still has events that intake has lost: every key's and every
revocation's, and those of sessions that have not left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from processors.intake.identify import Received, read
from processors.state.tables import Tables
from schemas.records import AuditEntry
from streams.history.records import Records, present


class RegisteredEvents:
    """Finds registry events by the leaf that their entry names. Nothing is read before the first question.

    Entries must be asked for in order: the topic has its events in the order of the log, so each is read once more, and
    only places are held in memory.
    """

    def __init__(self, tables: Tables, open_topic: Callable[[], Records]) -> None:
        """`tables` name the tenant and its genesis."""
        self._tables = tables
        self._open = open_topic
        self._topic: Records | None = None
        self._places: dict[bytes, int] = {}
        self._reading: Iterator[Received] | None = None
        self._position = 0

    def of(self, entry: AuditEntry) -> Received | None:
        """Return the event of an entry, None if the topic does not have it. Its signature is left to the verifier."""
        if self._topic is None:
            self._topic = self._open()
            self._places = self._index(self._topic)
        place = self._places.get(entry.event)
        if place is None:
            return None
        if self._reading is None or place < self._position:
            self._reading = present(self._topic.read(place))
        for found in self._reading:
            self._position = found.offset + 1
            if found.offset == place:
                return found
        return None

    def _index(self, topic: Records) -> dict[bytes, int]:
        """Return the first offset of each leaf: a later copy of an event may have other headers."""
        places: dict[bytes, int] = {}
        for record in present(topic.read(topic.low)):
            if record.value is not None:
                places.setdefault(read(self._tables, record).leaf, record.offset)
        return places
