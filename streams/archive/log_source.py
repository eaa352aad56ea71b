"""A tenant's log as an archiver reads it: each audit entry with its intake record and its outputs, up to the end.

The consumers join no group and commit nothing; one set serves all tenants of a process in turn. Intake is read as it
stands, everything else as far as it is committed.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import Consumer, Message, TopicPartition

from processors.effects import EVENT_PROOF_HEADER
from processors.evidence.archive.bodies import kind_of, signed_leaf
from processors.evidence.archive.codes import ArchiveCode, SegmentError
from processors.evidence.archive.contents import ArchiveEnd
from processors.evidence.archive.segment import (
    AUDIT_PLACE,
    INTAKE_PLACE,
    OUTPUT_TOPICS,
    PARTITIONS,
    PLACES,
    BodyKind,
    Owner,
)
from processors.evidence.archive.signers import MonitorKeys
from processors.evidence.archive.writing import LogEnd, LogRecord
from processors.intake.identify import Received
from processors.proof.signing import INTAKE_PARTITION, PROOF_HEADER, Proof
from producers.home.security import UNSECURED, Security
from producers.kafka.consuming import (
    UnreadableBatchError,
    behind_unreadable,
    headers_of,
    read_to,
    watermarks,
)
from schemas import codec
from schemas.errors import StoppedError
from schemas.records import AuditEntry
from schemas.topics import AUDIT, INTAKE
from schemas.words import Outcome
from streams.archive.log_outputs import OutputsReader, proof_in
from streams.archive.registered import RegisteredKeys
from streams.history.partitions import IDLE_SECONDS, reader_settings
from streams.history.records import received_of
from streams.history.set_aside import NOTHING, SetAside, offsets_of

log = logging.getLogger(__name__)

TOLD_MAX = 3  # offsets of foreign records that a message names


class LogLostError(StoppedError):
    """The log on the brokers does not go on where the archive ends; the message names the topic."""

    code = "LOG_LOST"


class Consumers:
    """The consumers for the logs of all tenants: of audit, of intake, of decisions and results, of the registry."""

    def __init__(self, bootstrap: str, tenant: str, *, security: Security = UNSECURED) -> None:
        """`tenant` is any tenant that may be read: the client library looks its reader group up."""
        committed = reader_settings(bootstrap, tenant, committed=True, security=security)
        self.audit, self.outputs, self.registry = (Consumer(committed) for _ in range(3))
        self.intake = Consumer(reader_settings(bootstrap, tenant, committed=False, security=security))

    def close(self) -> None:
        """Close them."""
        for one in (self.audit, self.outputs, self.registry, self.intake):
            one.close()

    def ends(self, tenant: str) -> tuple[tuple[int, int], ...]:
        """Return the first offset and the end of each partition, in the order of a segment's `next_offsets`.

        The audit topic is asked first: when its end stood, the outputs of all its entries were written.
        """
        found = [(0, 0)] * PLACES
        found[AUDIT_PLACE] = watermarks(self.audit, AUDIT.of(tenant))
        found[INTAKE_PLACE] = watermarks(self.intake, INTAKE.of(tenant))
        for (kind, partition), at in PARTITIONS.items():
            found[at] = watermarks(self.outputs, OUTPUT_TOPICS[kind].of(tenant), partition)
        return tuple(found)

    def lag(self, tenant: str, end: ArchiveEnd) -> int:
        """Return how many offsets of the audit topic lie behind the end of the archive; markers count too."""
        _, high = watermarks(self.audit, AUDIT.of(tenant))
        return high - end.next_offsets[AUDIT_PLACE]


class _Read(NamedTuple):
    """A record of intake with its Kafka key."""

    received: Received
    key: bytes | None


class UnknownSignerError(StoppedError):
    """The next entry of the log is signed by a key that the registry does not know as a monitor's."""

    code = "UNKNOWN_SIGNER"


class LogSource:
    """One tenant's log, from the end of its archive on.

    Any writer of the topic can append a monitor's entry again. So only the entry that goes on behind the one before is
    the log's; each other record is foreign, and is left out. A registration that intake no longer has is taken from the
    registry topic.
    """

    def __init__(
        self, consumers: Consumers, owner: Owner, registry: RegisteredKeys, set_aside: SetAside = NOTHING
    ) -> None:
        """Records that are `set_aside` are read past, and count as nothing."""
        self._consumers, self._owner, self._registry = consumers, owner, registry
        self._keys = MonitorKeys(owner, functools.lru_cache(maxsize=64)(self._monitor_key))
        self._set_aside = set_aside
        self._log = LogEnd(0, b"")
        self.foreign = 0  # records of the audit topic that are not this log's
        self.gone = 0  # intake records that retention had removed
        self._unsigned = -1  # the highest index of an entry of this log by an unknown key
        self._apart = -1  # the highest index of an entry that a monitor signed, and that was left out

    def check_left_out(self, next_index: int) -> None:
        """Check the entries that were left out, once all others are archived: none may lie behind the archive.

        Raises:
            SegmentError: OTHER_HEAD; a monitor's key signed one that does not go on where the archive ends.
            UnknownSignerError: a key that is not known signed one.
        """
        if self._apart >= next_index:
            detail = (
                f"a monitor's key signed entry {self._apart}, which does not go on where the archive ends: records of "
                "the log are lost, or a thief of the key wrote some; `macaw audit foreign` names those, see "
                "docs/incidents.md"
            )
            raise SegmentError(ArchiveCode.OTHER_HEAD, detail, index=next_index)
        if self._unsigned >= next_index:
            raise UnknownSignerError(
                f"{UnknownSignerError.code}: entry {next_index} of {self._owner.origin} is signed by a key that the "
                "registry does not know as a monitor's: it is forged, or the registry topic lost the registration"
            )

    def _monitor_key(self, kid: bytes) -> bytes | None:
        return self._registry.monitor_key(self._consumers.registry, kid)

    def records(self, end: ArchiveEnd) -> Iterator[LogRecord]:
        """Yield the committed entries behind the end of the archive.

        Raises:
            LogLostError: the audit topic ends before the archive, or begins behind it.
            ReadTimeoutError, KafkaException: a topic could not be read to its end.
        """
        tenant, consumers = self._owner.tenant, self._consumers
        bounds = consumers.ends(tenant)
        (low, high), start = bounds[AUDIT_PLACE], end.next_offsets[AUDIT_PLACE]
        if not low <= start <= high:
            raise LogLostError(
                f"{LogLostError.code}: {AUDIT.of(tenant)} has offsets {low} to {high}, the archive ends at {start}: "
                "the topic was made again, or lost records; see docs/archive.md"
            )
        starts = [max(first, at) for (first, _), at in zip(bounds, end.next_offsets, strict=True)]
        intake = _IntakeReader(consumers.intake, self._owner, starts[INTAKE_PLACE], bounds[INTAKE_PLACE])
        outputs = OutputsReader(
            consumers.outputs,
            self._owner,
            self._keys,
            starts=starts,
            ends=[last for _, last in bounds],
            set_aside=self._set_aside,
        )
        aside = offsets_of(self._set_aside, AUDIT)
        self._log = LogEnd(end.next_index, end.leaf)
        audit = read_to(consumers.audit, TopicPartition(AUDIT.of(tenant), 0, start), high, idle_seconds=IDLE_SECONDS)
        try:
            for message in audit:
                record = None if message.offset() in aside else self._record(message, intake, outputs)
                if record is not None:
                    yield record
        finally:
            audit.close()
            intake.close()
            outputs.close()

    def _record(self, message: Message, intake: _IntakeReader, outputs: OutputsReader) -> LogRecord | None:
        """Return the next entry with all that belongs to it, None for a record that is not the log's."""
        value = message.value() or b""
        headers = headers_of(message)
        kid, proof = proof_in(headers)
        try:
            entry: AuditEntry = codec.decode_as(AuditEntry, value)
        except codec.SchemaError:
            self._note_foreign(message)
            return None
        if proof is None or entry.origin != self._owner.origin or not self._is_next(entry, value, kid, proof):
            self._note_foreign(message)
            return None
        self._log.take(entry, value)
        sources = dict(headers)
        _, appended = message.timestamp()
        record = LogRecord(
            entry=entry,
            offset=message.offset() or 0,
            time=appended,
            value=value,
            kid=kid,
            proof=sources.get(PROOF_HEADER) or b"",
            event_proof=sources.get(EVENT_PROOF_HEADER),
            outputs=outputs.of(entry, proof.signature),
        )
        self._add_event(record, intake)
        return record

    def _is_next(self, entry: AuditEntry, value: bytes, kid: bytes, proof: Proof) -> bool:
        """Return True if a monitor signed an entry, and it goes on behind the last one."""
        if entry.index < self._log.index:
            return False
        if not self._keys.signed_entry(value, kid, proof):
            self._unsigned = max(self._unsigned, entry.index)
            return False
        if not self._log.is_next(entry):
            self._apart = max(self._apart, entry.index)
            return False
        return True

    def _add_event(self, record: LogRecord, intake: _IntakeReader) -> None:
        """Add the intake record of an entry, and the ruling that it names."""
        entry = record.entry
        if entry.ruling is not None:
            record.ruling = intake.ruling(entry)
        if entry.outcome == Outcome.SKIPPED:
            return
        found = intake.at(entry.offset)
        if found is not None:
            record.received, record.key = found
        elif kind_of(entry) is BodyKind.LASTING:
            record.received = self._of_registry(entry)
        self.gone += record.received is None

    def _of_registry(self, entry: AuditEntry) -> Received | None:
        """Return a registration from the registry topic, as if it stood on intake. Its time is the log time taken."""
        found = self._registry.event(self._consumers.registry, entry.event)
        if found is None:
            return None
        appended_at = entry.now if entry.appended_at is None else entry.appended_at
        return Received(INTAKE_PARTITION, entry.offset, appended_at, found.value, found.headers)

    def _note_foreign(self, message: Message) -> None:
        self.foreign += 1
        if self.foreign <= TOLD_MAX:
            log.warning(
                "%s: the record at offset %d is not the log's next entry, signed by its monitor; it is not archived: "
                "another program writes there, and `macaw topic check` shows the access rules",
                message.topic(),
                message.offset(),
            )


class _IntakeReader:
    """The records of intake by rising offsets, past batches that cannot be read."""

    def __init__(self, consumer: Consumer, owner: Owner, start: int, bounds: tuple[int, int]) -> None:
        self._consumer, self._owner = consumer, owner
        self._topic = INTAKE.of(owner.tenant)
        self._position = start
        self._low, self._high = bounds
        self._reading: Iterator[Message] | None = None
        self._ahead: _Read | None = None
        self._ruling: tuple[bytes, Received | None] = b"", None

    def at(self, offset: int) -> _Read | None:
        """Return the record at an offset, None if it is gone or cannot be read. Offsets must rise."""
        found = self.peek(offset)
        if found is not None:
            self._ahead = None
        return found

    def peek(self, offset: int) -> _Read | None:
        """Return the record at an offset as `at` does, without taking it."""
        while (ahead := self._next()) is not None and ahead.received.offset < offset:
            self._ahead = None
        return ahead if ahead is not None and ahead.received.offset == offset else None

    def ruling(self, entry: AuditEntry) -> Received | None:
        """Return the ruling that an entry names: an event at its own offset or further on."""
        if entry.ruling is not None and self._ruling[0] != entry.ruling:
            self._restart(max(entry.offset, self._low))
            found = None
            while (read := self._next()) is not None:
                if signed_leaf(read.received.value, self._owner) == entry.ruling:
                    found = read.received
                    break
                self._ahead = None
            self._ruling = entry.ruling, found
            self._restart(max(entry.offset, self._low))
        return self._ruling[1]

    def close(self) -> None:
        """End the reading."""
        self._restart(self._high)

    def _restart(self, offset: int) -> None:
        reading, self._reading, self._ahead, self._position = self._reading, None, None, offset
        if reading is not None:
            reading.close()  # type: ignore[attr-defined]

    def _next(self) -> _Read | None:
        while self._ahead is None and self._position < self._high:
            if self._reading is None:
                place = TopicPartition(self._topic, INTAKE_PARTITION, self._position)
                self._reading = read_to(self._consumer, place, self._high, idle_seconds=IDLE_SECONDS)
            try:
                message = next(self._reading, None)
            except UnreadableBatchError as exc:
                place = TopicPartition(self._topic, INTAKE_PARTITION, exc.offset)
                self._restart(behind_unreadable(self._consumer, place, self._high))
                continue
            if message is None:
                self._position = self._high
                return None
            received = received_of(message)
            self._position = received.offset + 1
            self._ahead = _Read(received, message.key())
        return self._ahead
