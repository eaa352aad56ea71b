"""Intake as it was folded: with the rulings that the audit log names, past batches that cannot be read.

Rebuilding, replay and export read a log in this way after a worker has folded it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace

from processors.intake.identify import Received, Ruling, read
from processors.proof.signing import INTAKE_PARTITION
from processors.state.tables import Tables
from producers.kafka.consuming import UnreadableBatchError
from schemas.errors import StoppedError
from schemas.records import AuditEntry
from schemas.words import Outcome
from streams.history.records import Gone, Records, present


class ShreddedError(StoppedError):
    """The bytes of a record are kept nowhere any more, so the log cannot be folded on from its entry, `index`."""

    code = "SHREDDED"

    def __init__(self, index: int, offset: int) -> None:
        super().__init__(
            f"{self.code}: the event of audit entry {index}, at intake offset {offset}, is kept nowhere any more: its "
            "archive key was destroyed, or the archive came without it; the log cannot be folded from there on, see "
            "docs/incidents.md"
        )
        self.index, self.offset = index, offset


class RuledIntake:
    """The records of an intake in order, each with the ruling that its audit entry names."""

    def __init__(self, intake: Records, tables: Tables, *, start: int = 0) -> None:
        """`tables` name the tenant and its genesis; nothing is read from their rows."""
        self._intake = intake
        self._tables = tables
        self._position = start
        self._reading: Iterator[Received | Gone] | None = None
        self._ahead: Received | Gone | None = None
        self._unreadable = range(0)  # the offsets of the last batch that could not be read
        self._ruling: Ruling | None = None

    def take(self, entry: AuditEntry | None) -> Received | None:
        """Return the next record as it was folded for this entry, or as it stands if `entry` is None; None at the end.

        An entry of a skipped record counts only if it names the next offset.

        Raises:
            UnreadableBatchError: the record cannot be read, and the entry does not say that it was skipped.
            ShreddedError: the bytes of the record are gone, and the entry does not say that it was skipped.
        """
        is_skip = entry is not None and entry.outcome == Outcome.SKIPPED
        try:
            found = self.peek()
        except UnreadableBatchError:
            if entry is None or not is_skip or entry.offset != max(self._position, self._unreadable.start):
                raise
            found = Gone(entry.offset)
        if found is None:
            return None
        names_it = entry is not None and entry.offset == found.offset
        if isinstance(found, Gone):
            if not (is_skip and names_it):
                raise ShreddedError(self._tables.next_index if entry is None else entry.index, found.offset)
            found = Received(INTAKE_PARTITION, found.offset, 0, None, ())
        self._position, self._ahead = found.offset + 1, None
        if entry is None or entry.ruling is None or not names_it:
            return found
        ruling = self.ruling_of(entry)
        if is_skip:
            return Received(INTAKE_PARTITION, entry.offset, 0, None, (), ruling)
        found.ruling = ruling
        return found

    def give_back(self, received: Received) -> None:
        """Make the record that was taken last the next one again, as it stands on intake."""
        self._position, self._ahead = received.offset, replace(received, ruling=None)

    def peek(self) -> Received | Gone | None:
        """Return the next record as it stands, without taking it; None at the end. Raises UnreadableBatchError."""
        if self._ahead is None:
            self._check_readable(self._position)
            if self._reading is None:
                self._reading = self._intake.read(self._position)
            try:
                self._ahead = next(self._reading, None)
            except UnreadableBatchError as exc:
                self._reading = None
                self._unreadable = range(exc.offset, self._intake.behind(exc.offset))
                raise
        return self._ahead

    def go_on(self) -> None:
        """Go on after the record that `peek` returned, as it stands. Requires that it returned one."""
        assert self._ahead is not None
        self._position, self._ahead = self._ahead.offset + 1, None

    def go_behind(self) -> None:
        """Go on after the batch that could not be read."""
        self._position = max(self._position, self._unreadable.stop)

    def _check_readable(self, offset: int) -> None:
        if offset in self._unreadable:
            raise UnreadableBatchError("intake", offset, f"up to offset {self._unreadable.stop - 1}")

    def ruling_of(self, entry: AuditEntry) -> Ruling | None:
        """Return the ruling that an entry names, None if intake no longer has it."""
        if entry.ruling is not None and (self._ruling is None or self._ruling.leaf != entry.ruling):
            self._reading = self._ahead = None
            records = readable(self._intake, entry.offset)
            found = (one for one in records if read(self._tables, one).leaf == entry.ruling)
            self._ruling = next((Ruling(entry.ruling, one) for one in found), None)
            records.close()
        return self._ruling


def readable(intake: Records, start: int) -> Generator[Received]:
    """Yield the records that can be read and are still kept, from an offset on."""
    while True:
        try:
            yield from present(intake.read(start))
        except UnreadableBatchError as exc:
            start = intake.behind(exc.offset)
        else:
            return
