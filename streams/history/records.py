"""The records of one partition as readers of history take them, from brokers and archives alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import Message

from processors.intake.identify import Received
from producers.kafka.consuming import headers_of
from schemas import codec
from schemas.records import AuditEntry, Decision, Result


@dataclass(frozen=True, slots=True)
class Gone:
    """The place of a record of intake; its bytes are kept nowhere any more."""

    offset: int


class Records(Protocol):
    """A partition at offsets `low` <= offset < `high`; `high` does not move. Each new reading ends the one before."""

    @property
    def low(self) -> int:
        """The first offset."""
        ...

    @property
    def high(self) -> int:
        """The offset behind the last record."""
        ...

    def read(self, start: int) -> Iterator[Received | Gone]:
        """Yield the records from an offset on; the bytes of some may be gone from intake.

        Raises:
            UnreadableBatchError: the next batch cannot be read.
        """
        ...

    def behind(self, offset: int) -> int:
        """Return the first offset after a batch that cannot be read. Ends a reading that is under way."""
        ...


def present(records: Iterable[Received | Gone]) -> Iterator[Received]:
    """Yield the records that are still kept."""
    return (one for one in records if isinstance(one, Received))


def received_of(message: Message) -> Received:
    """Return a message as the record that the step takes."""
    _, appended_at = message.timestamp()
    return Received(message.partition() or 0, message.offset() or 0, appended_at, message.value(), headers_of(message))


def entry_in(value: bytes | None) -> AuditEntry | None:
    """Return the audit entry in a record of the audit topic, None if the record is not an entry."""
    try:
        entry: AuditEntry = codec.decode_as(AuditEntry, value or b"")
    except codec.SchemaError:
        return None
    return entry


def record_in(value: bytes | None) -> AuditEntry | Decision | Result | None:
    """Return the audit entry, decision or result in a record, None if it is another one."""
    for kind in (AuditEntry, Decision, Result):
        try:
            found: AuditEntry | Decision | Result = codec.decode_as(kind, value or b"")
        except codec.SchemaError:
            continue
        return found
    return None
