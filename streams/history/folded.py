"""Intake as it was folded: with the rulings that the audit log names, past batches that cannot be read.

Rebuilding, replay and export read a log in this way after a worker has folded it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

from confluent_kafka import Message

from processors.intake.identify import Received, Ruling, read
from processors.proof.signing import INTAKE_PARTITION
from processors.state.tables import Tables
from producers.kafka.consuming import UnreadableBatchError, headers_of
from schemas import codec
from schemas.records import AuditEntry
from schemas.words import Outcome


class Intake(Protocol):
    """An intake topic up to a fixed end. Each new reading ends the one before."""

    def read(self, start: int) -> Iterator[Message]:
        """Yield its records from an offset on. Raises UnreadableBatchError at a batch that cannot be read."""
        ...

    def behind(self, offset: int) -> int:
        """Return the first offset after a batch that cannot be read. Ends a reading that is under way."""
        ...


def received_of(message: Message) -> Received:
    """Return a message of intake as the record that the step takes."""
    _, appended_at = message.timestamp()
    return Received(message.partition() or 0, message.offset() or 0, appended_at, message.value(), headers_of(message))


def entry_in(value: bytes | None) -> AuditEntry | None:
    """Return the audit entry in a record of the audit topic, None if the record is not an entry."""
    try:
        entry: AuditEntry = codec.decode_as(AuditEntry, value or b"")
    except codec.SchemaError:
        return None
    return entry


class RuledIntake:
    """The records of an intake in order, each with the ruling that its audit entry names."""

    def __init__(self, intake: Intake, tables: Tables, *, start: int = 0) -> None:
        """`tables` name the tenant and its genesis; nothing is read from their rows."""
        self._intake = intake
        self._tables = tables
        self._position = start
        self._reading: Iterator[Message] | None = None
        self._ahead: Received | None = None
        self._unreadable = range(0)  # the offsets of the last batch that could not be read
        self._ruling: Ruling | None = None

    def take(self, entry: AuditEntry | None) -> Received | None:
        """Return the next record as it was folded for this entry, or as it stands if `entry` is None; None at the end.

        An entry of a skipped record counts only if it names the next offset.

        Raises:
            UnreadableBatchError: the record cannot be read, and the entry does not say that it was skipped.
        """
        is_skip = entry is not None and entry.outcome == Outcome.SKIPPED
        try:
            received = self.peek()
        except UnreadableBatchError:
            if entry is None or not is_skip or entry.offset != max(self._position, self._unreadable.start):
                raise
            received = Received(INTAKE_PARTITION, entry.offset, 0, None, ())
        if received is None:
            return None
        self._position, self._ahead = received.offset + 1, None
        if entry is None or entry.ruling is None or entry.offset != received.offset:
            return received
        ruling = self.ruling_of(entry)
        if is_skip:
            return Received(INTAKE_PARTITION, entry.offset, 0, None, (), ruling)
        received.ruling = ruling
        return received

    def peek(self) -> Received | None:
        """Return the next record as it stands, without taking it; None at the end. Raises UnreadableBatchError."""
        if self._ahead is None:
            self._check_readable(self._position)
            if self._reading is None:
                self._reading = self._intake.read(self._position)
            try:
                message = next(self._reading, None)
            except UnreadableBatchError as exc:
                self._reading = None
                self._unreadable = range(exc.offset, self._intake.behind(exc.offset))
                raise
            self._ahead = None if message is None else received_of(message)
        return self._ahead

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


def readable(intake: Intake, start: int) -> Generator[Received]:
    """Yield the records that can be read, from an offset on."""
    while True:
        try:
            yield from map(received_of, intake.read(start))
        except UnreadableBatchError as exc:
            start = intake.behind(exc.offset)
        else:
            return
