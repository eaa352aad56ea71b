"""The state of an archive beside the log: how far it lags, and whether all of it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from confluent_kafka import Consumer, Message, TopicPartition

from processors.evidence.archive.bodies import month_of
from processors.evidence.archive.codes import ArchiveCode, SegmentError
from processors.evidence.archive.contents import beginning
from processors.evidence.archive.segment import Owner, SegmentHeader
from processors.evidence.archive.verdict import ArchiveVerdict, verify_archive
from processors.intake.identify import Received
from processors.proof.signing import INTAKE_PARTITION
from producers.home.clock import clock_ms
from producers.home.home import Home
from producers.kafka.consuming import read_to, watermarks
from schemas.topics import AUDIT, INTAKE
from streams.archive.log_source import Consumers
from streams.archive.marks import VERIFIED, ArchiveMark, check_not_shorter, check_same_segments, marks_in
from streams.archive.places import TenantArchive
from streams.archive.process import SEGMENT_SECONDS
from streams.archive.reading import Span
from streams.history.partitions import IDLE_SECONDS
from streams.history.records import entry_in, received_of

LAG_SECONDS = 3 * SEGMENT_SECONDS  # one round that failed is no lag yet


@dataclass(frozen=True, slots=True)
class Brokers:
    """The log on the brokers beside an archive.

    `low` and `high` bound intake; `lag` counts its records behind the archive, and `age_ms` is the age of the first
    audit entry behind it, 0 if there is none.
    """

    low: int
    high: int
    lag: int
    age_ms: int


@contextmanager
def connected(home: Home, tenant: str) -> Iterator[Consumers]:
    """Give the consumers of a tenant's log until the block ends."""
    consumers = Consumers(home.bootstrap, tenant, security=home.security)
    try:
        yield consumers
    finally:
        consumers.close()


def compare(consumers: Consumers, tenant: str, span: Span) -> Brokers:
    """Return the log on the brokers beside the part of it that is archived. Raises KafkaException, ReadTimeoutError."""
    low, high = watermarks(consumers.intake, INTAKE.of(tenant))
    _, audit_high = watermarks(consumers.audit, AUDIT.of(tenant))
    first = _first(consumers.audit, TopicPartition(AUDIT.of(tenant), 0, span.next_audit_offset), audit_high)
    age = 0 if first is None else max(clock_ms() - first.timestamp()[1], 0)
    return Brokers(low, high, max(high - span.next_offset, 0), age)


def oldest_month_behind(consumers: Consumers, owner: Owner, span: Span) -> int | None:
    """Return the oldest month of the audit entries behind the archive, None if there is none.

    All of them are read, and none is verified: a forged one can only make the month older.

    Raises:
        SegmentError: an entry has no log time of a month.
        KafkaException, ReadTimeoutError: the audit topic could not be read, as where it begins behind the archive.
    """
    topic = AUDIT.of(owner.tenant)
    _, high = watermarks(consumers.audit, topic)
    place = TopicPartition(topic, 0, span.next_audit_offset)
    with closing(read_to(consumers.audit, place, high, idle_seconds=IDLE_SECONDS)) as reading:
        entries = (entry_in(message.value()) for message in reading)
        return min(
            (month_of(one.now) for one in entries if one is not None and one.origin == owner.origin), default=None
        )


def first_on_intake(consumers: Consumers, tenant: str, offset: int) -> Received | None:
    """Return the first record of intake at or behind an offset, None if there is none.

    Raises:
        UnreadableBatchError: it cannot be read.
        KafkaException, ReadTimeoutError.
    """
    _, high = watermarks(consumers.intake, INTAKE.of(tenant))
    message = _first(consumers.intake, TopicPartition(INTAKE.of(tenant), INTAKE_PARTITION, offset), high)
    return None if message is None else received_of(message)


def _first(consumer: Consumer, place: TopicPartition, high: int) -> Message | None:
    """Return the first message from a place on and before the offset `high`, None if there is none."""
    with closing(read_to(consumer, place, high, idle_seconds=IDLE_SECONDS)) as reading:
        return next(reading, None)


def verify(
    archive: TenantArchive,
    *,
    brokers: Callable[[Span], Brokers] | None = None,
    lag_seconds: float = LAG_SECONDS,
    on_segment: Callable[[SegmentHeader], None] = lambda _: None,
) -> ArchiveVerdict:
    """Read and judge a whole archive, and how it stands beside the brokers, if `brokers` tells that.

    The verified range is noted beside the keys. Raises StoreError, ArchiveKeyError, MarkError; those of `brokers` pass.
    """
    store = archive.store
    last: list[SegmentHeader] = []
    marks = marks_in(archive.keyring.path)
    ends = {mark.next_index: b"" for mark in marks.values()}

    def note(header: SegmentHeader) -> None:
        last[:] = [header]
        if header.first in ends:
            ends[header.first] = header.before
        on_segment(header)

    def segments() -> Iterator[tuple[str, bytes]]:
        for name in store.names():
            yield name, store.get(name)

    verdict = verify_archive(segments, archive.owner, archive.keyring, on_segment=note)
    if verdict.code not in {ArchiveCode.WHOLE, ArchiveCode.EMPTY}:
        return verdict
    try:
        check_not_shorter(archive.keyring.path, verdict.entries)
        check_same_segments(archive.keyring.path, marks, {**ends, verdict.entries: verdict.sha256})
    except SegmentError as exc:
        return replace(verdict, code=exc.code, detail=exc.detail, index=exc.index)
    if verdict.code is ArchiveCode.WHOLE:
        at = clock_ms()
        mark = ArchiveMark(
            next_index=verdict.entries, next_offset=verdict.next_offset, sha256=verdict.sha256.hex(), at=at
        )
        mark.save(archive.keyring.path, VERIFIED)
    if brokers is None:
        return verdict
    offsets = last[0].next_offsets if last else beginning(archive.owner).next_offsets
    found = brokers(Span(verdict.entries, verdict.next_offset, verdict.segments, offsets))
    return _beside(verdict, found, lag_seconds)


def _beside(verdict: ArchiveVerdict, found: Brokers, lag_seconds: float) -> ArchiveVerdict:
    """Return the verdict on an archive that holds, beside the log on the brokers."""
    if found.low > verdict.next_offset:
        detail = (
            f"the archive ends at intake offset {verdict.next_offset} and the brokers begin at {found.low}: "
            "the records between are lost, or segments that had them are"
        )
        return replace(verdict, code=ArchiveCode.LOST_SEGMENT, detail=detail, index=verdict.entries)
    if found.high < verdict.next_offset:
        detail = (
            f"the archive has intake up to offset {verdict.next_offset}, and the brokers only up to {found.high}: the "
            "topic was made again, or lost its end"
        )
        return replace(verdict, code=ArchiveCode.OTHER_HEAD, detail=detail, index=verdict.entries)
    if found.age_ms > lag_seconds * 1000:
        detail = (
            f"{found.lag} records are not archived, the first for {found.age_ms // 1000} s, want at most "
            f"{lag_seconds:g} s: see whether `macaw archive run` is running, and its messages"
        )
        return replace(verdict, code=ArchiveCode.LAGS, detail=detail, index=verdict.entries)
    return verdict
