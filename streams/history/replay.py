"""Replay: fold intake again from its first record and compare every output, byte for byte, with the log.

Nothing is written. The comparison ends with the audit log; records that a monitor has not folded yet are not compared.
A difference has one of three causes: a rule is not pure, the monitor ran another version, or the log was changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from processors.intake.identify import Received
from processors.refusal import Refusal
from processors.state.engines import EngineMissingError, Engines
from processors.state.tables import Tables
from producers.home.security import UNSECURED, Security
from schemas import codec
from schemas.errors import StoppedError
from schemas.records import AuditEntry, Decision, Result
from schemas.topics import AUDIT, DECISIONS, INTAKE, RESULTS, Topic
from streams.history.deciding import Commands, Decider
from streams.history.folded import RuledIntake, ShreddedError
from streams.history.kept_log import JoinedRecords, OpenArchive, index_of, kept_log
from streams.history.records import entry_in, present
from streams.history.set_aside import NOTHING, SetAside

COMPARED: Mapping[Topic, type] = {DECISIONS: Decision, RESULTS: Result, AUDIT: AuditEntry}
_BY_NAME = {topic.name: topic for topic in COMPARED}
Place = tuple[Topic, int]
Take = Callable[[AuditEntry | None], Received | None]


class ReplayError(StoppedError):
    """The log cannot be replayed from its start, so replay says nothing about it."""


class MissingEngineError(ReplayError):
    """The engine of the entry at `index` is not installed here: nothing is said of it, nor of what follows."""

    code = "ENGINE_MISSING"

    def __init__(self, index: int, missing: EngineMissingError) -> None:
        self.index, self.engine, self.detail = index, missing.number, missing.told
        super().__init__(
            f"{self.code} at entry {index}: {self.detail}; or name a Python that holds it with --engine "
            f"{self.engine}=PYTHON"
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference: the record at `position`, counted from 0, in one partition. `what` describes it."""

    topic: str
    partition: int
    position: int
    what: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a replay. `beyond` counts records of entries written meanwhile; those were not compared.

    `unkept` counts decisions and results of the beginning that are kept nowhere any more, and so were not compared
    themselves. The audit entries, which were compared, name a digest of each.

    `shredded` is the first entry without its event, None if there is none: the event is kept nowhere any more, and the
    entries from there on were not decided again. All records before it were compared.
    """

    entries: int
    counts: Mapping[str, int]
    beyond: int
    difference: Difference | None
    shredded: int | None = None
    unkept: int = 0

    @property
    def compared(self) -> int:
        """The number of equal records."""
        return sum(self.counts.values())


class Stored(Protocol):
    """The values of one partition, in order."""

    def peek(self) -> bytes | None:
        """Return the next value without taking it, or None at the end."""
        ...

    def take(self) -> bytes | None:
        """Return the next value, or None at the end."""
        ...


class Values:
    """`Stored` over an iterator of values; a record without a value counts as an empty one."""

    def __init__(self, values: Iterable[bytes | None]) -> None:
        self._values = iter(values)
        self._ahead: list[bytes] = []

    def peek(self) -> bytes | None:
        """Return the next value without taking it, or None at the end."""
        if not self._ahead:
            self._ahead = [value or b"" for value in _up_to_one(self._values)]
        return self._ahead[0] if self._ahead else None

    def take(self) -> bytes | None:
        """Return the next value, or None at the end."""
        value = self.peek()
        self._ahead.clear()
        return value


def _up_to_one(values: Iterator[bytes | None]) -> Iterator[bytes | None]:
    for value in values:
        yield value
        return


def places() -> list[Place]:
    """Return every partition that is compared."""
    return [(topic, partition) for topic in COMPARED for partition in range(topic.partitions)]


@dataclass(slots=True)
class _Comparison:
    tables: Tables  # empty: they name the log
    decider: Decider
    stored: Mapping[Place, Stored]
    counts: Counter[str] = field(default_factory=Counter)
    positions: Counter[Place] = field(default_factory=Counter)
    beyond: int = 0
    trimmed: dict[Place, range] = field(default_factory=dict)  # whose records may be missing, and at which entries
    begun: set[Place] = field(default_factory=set)  # of which a record was compared
    unkept: int = 0

    def fold(self, received: Received) -> Difference | None:
        """Fold one record and compare its outputs; return the first difference, if any."""
        index = self.decider.next_index
        try:
            outputs = self.decider.fold(received)
        except Refusal as refusal:
            return self._difference((AUDIT, 0), f"the ruling that it names is not valid: {refusal.reason}")
        for output in outputs:
            topic = _BY_NAME.get(output.topic)
            if topic is None:
                continue
            place = topic, output.partition
            if self._is_trimmed(place, index):
                self.positions[place] += 1
                self.unkept += 1
                continue
            stored = self.stored[place].take()
            if stored != output.value:
                return self._difference(place, "missing" if stored is None else "other bytes")
            self.positions[place] += 1
            self.counts[output.topic] += 1
            self.begun.add(place)
        return None

    def _is_trimmed(self, place: Place, index: int) -> bool:
        """True if an output of the entry at `index` may have been removed, and is not there.

        Records may be missing before the first that is kept, and between archive and brokers.
        """
        if place not in self.trimmed:
            return False
        following = self.stored[place].peek()
        is_there = following is not None and index_of(following) <= index
        return not is_there and (place not in self.begun or index in self.trimmed[place])

    def rest(self) -> Difference | None:
        """Return the first record of the log that no record of intake caused, if any."""
        for place, stored in self.stored.items():
            while (value := stored.peek()) is not None:
                if not self._is_later(place, value):
                    return self._difference(place, "not caused by any record of intake")
                self.beyond += 1
                stored.take()
        return None

    def _is_later(self, place: Place, value: bytes) -> bool:
        """True if a record belongs to an entry after the last compared one."""
        topic, _ = place
        if topic is AUDIT:
            return False  # all entries were compared
        try:
            record: Decision | Result = codec.decode_as(COMPARED[topic], value)
        except codec.SchemaError:
            return False
        return record.audit_index >= self.decider.next_index

    def result(self, difference: Difference | None, *, shredded: int | None = None) -> Replayed:
        """Return the result so far."""
        counts = dict(self.counts)
        return Replayed(self.decider.next_index, counts, self.beyond, difference, shredded, self.unkept)

    def _difference(self, place: Place, what: str) -> Difference:
        topic, partition = place
        return Difference(topic.of(self.tables.tenant_id), partition, self.positions[place], what)


def compare(
    tables: Tables,
    take: Take,
    stored: Mapping[Place, Stored],
    trimmed: Mapping[Place, range] | None = None,
    elsewhere: Commands | None = None,
) -> Replayed:
    """Fold intake into empty tables and compare with `stored`, for as many records as the audit log has entries.

    `take` returns the next record of intake, as the given entry says that it was folded. Nothing else of a stored
    entry is used. `trimmed` names the partitions that may have lost their first records, with the audit indices at
    which others may be missing. `elsewhere` gives the commands of hosts for engines that are not installed here.

    Raises:
        MissingEngineError: the engine of an entry is neither here nor in `elsewhere`.
        HandoverError: a host cannot do its part.
    """
    with Decider(tables, elsewhere) as decider:
        comparison = _Comparison(tables, decider, stored, trimmed={**(trimmed or {})})
        audit = stored[AUDIT, 0]
        difference: Difference | None = None
        try:
            while difference is None and (entry := audit.peek()) is not None and (received := take(entry_in(entry))):
                difference = comparison.fold(received)
        except ShreddedError as exc:
            return comparison.result(None, shredded=exc.index)
        except EngineMissingError as exc:
            raise MissingEngineError(decider.next_index, exc) from exc
        if difference is None:
            difference = comparison.rest()
        return comparison.result(difference)


def replay(
    bootstrap: str,
    *,
    tenant: str,
    deployment: str,
    genesis: bytes,
    archive: OpenArchive | None = None,
    security: Security = UNSECURED,
    elsewhere: Commands | None = None,
    engines: Engines | None = None,
    set_aside: SetAside = NOTHING,
) -> Replayed:
    """Replay a tenant's log, from the archive and the brokers, and compare.

    Without `engines`, those of this installation decide here.

    Raises:
        MissingEngineError, HandoverError: see `compare`.
        ReplayError: the tenant has no log.
        TrimmedError: retention has removed the start of intake or of the audit log, and no archive has it.
        ArchiveGapError, ArchiveDiffersError: archive and brokers do not fit.
        ReadTimeoutError: a topic could not be read to its end.
        UnreadableBatchError: a batch of intake cannot be read, and the log does not say that it was skipped.
    """
    with kept_log(bootstrap, tenant, archive=archive, security=security, set_aside=set_aside) as kept:
        # Audit first: at the time of its end, the decisions and results of all its entries were written.
        ordered = sorted(places(), key=lambda place: place[0] is not AUDIT)
        # An entry names a digest of its decisions and results, so those that are kept nowhere do not end a replay.
        read = {place: kept.whole(*place) if place[0] is AUDIT else kept.as_kept(*place) for place in ordered}
        stored = {place: Values(one.value for one in present(found.read(found.low))) for place, found in read.items()}
        trimmed = {place: range(0) for place, found in read.items() if found.low > 0}
        trimmed |= {place: found.seam for place, found in read.items() if isinstance(found, JoinedRecords)}
        if stored[AUDIT, 0].peek() is None:
            raise ReplayError(
                f"tenant {tenant!r} has no audit entry on {AUDIT.of(tenant)}: run a monitor, or check the tenant's name"
            )
        tables = Tables(tenant=tenant, deployment=deployment, genesis=genesis, engines=engines)
        return compare(tables, RuledIntake(kept.whole(INTAKE), tables).take, stored, trimmed, elsewhere)
