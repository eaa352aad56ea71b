"""The reader of every tenant's decisions, beside the Faust application.

**Not a Faust agent.** Faust subscribes to topics by name: a topic of a new tenant is asked for after up to 45 seconds,
and then the whole process joins its group again and recovers every table. This reader assigns partitions itself, so a
new tenant costs nothing. It joins no group and commits nothing.

**Where it begins.** Counts are not stored. Once the table of sessions is complete, the reader begins at the opening of
the oldest session that the table shows, so a start reads no more than the shown sessions need. If the topic begins
later, because retention has removed decisions, the counts say since when they are complete.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError  # type: ignore[import-untyped]
from aiokafka.structs import ConsumerRecord, TopicPartition  # type: ignore[import-untyped]
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from producers.home.clock import clock_ms
from producers.home.security import UNSECURED, Security
from schemas.codec import SchemaError
from schemas.topics import DECISIONS, KEYED_PARTITIONS, is_tenant_id
from streams.views.committed import ISOLATION, mend
from streams.views.counting.counts import Counts
from streams.views.credentials import credentials_of
from streams.views.progress import AS_OF_MS_MAX, Phase, Progress
from streams.views.sessions import SESSIONS
from streams.views.view import row_key

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # between two listings of topics
SWEEP_SECONDS = 10.0
ANSWER_SECONDS = 15.0
WAIT_MS = 250
RETRY_SECONDS = 1.0
WARN_SECONDS = 10.0
BATCH_RECORDS = 250  # folded in one go: other tasks of the loop wait for about 10 ms
FETCH_BYTES_MAX = 8 * 1024 * 1024
CLOCKS_MS = 600_000  # brokers' clocks may differ by this
POISON_LOGGED_MAX = 100

Place = tuple[str, int]  # a tenant, and a partition of its decisions


@dataclass(slots=True)
class _Reading:
    """The next offset to read of a partition, and the offset from which on it counts as current; None once it is."""

    next: int
    target: int | None


class DecisionsReader:
    """Counts the decisions of every tenant, as far as it may read them, into `counts`."""

    def __init__(
        self,
        bootstrap: str,
        counts: Counts,
        rows: Mapping[bytes, bytes],
        progress: Progress,
        *,
        security: Security = UNSECURED,
        clock_ms: Callable[[], int] = clock_ms,
    ) -> None:
        """`rows` is the table of sessions, and `progress` tells whether it is complete."""
        self._bootstrap, self._security = bootstrap, security
        self._counts, self._rows, self._progress, self._clock_ms = counts, rows, progress, clock_ms
        self._readings: dict[Place, _Reading] = {}
        self._look_at = self._sweep_at = self._warn_at = 0.0
        self._poison = 0

    async def run(self) -> None:
        """Count for ever. While the brokers do not answer, it tries again."""
        while True:
            # With a new consumer every tenant is counted anew: no position is trusted after an error.
            for tenant in {tenant for tenant, _ in self._readings}:
                self._forget(tenant)
            consumer = self._consumer()
            try:
                await consumer.start()
                mend(consumer)
                while True:
                    await self._turn(consumer)
            except (KafkaError, TimeoutError) as exc:
                self._warn("the decisions of tenants cannot be read: %s: %s; trying again", type(exc).__name__, exc)
            finally:
                await consumer.stop()
            await asyncio.sleep(RETRY_SECONDS)

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level=ISOLATION,
            request_timeout_ms=int(ANSWER_SECONDS * 1000),
            fetch_max_bytes=FETCH_BYTES_MAX,
            **credentials_to_aiokafka_auth(credentials_of(self._security)),
        )

    async def _turn(self, consumer: AIOKafkaConsumer) -> None:
        """Look for tenants, read the records that are there, and drop sessions that have left, each when it is due."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            await self._look(consumer)
        if not self._readings:
            await asyncio.sleep(WAIT_MS / 1000)
            return
        try:
            found = await consumer.getmany(timeout_ms=WAIT_MS, max_records=BATCH_RECORDS)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as exc:
            # The topic was made anew, or retention has overtaken us.
            log.warning("decisions do not go on where they were read: every session is counted anew: %s", exc)
            raise
        for place, records in found.items():
            self._count(_tenant(place.topic), place.partition, records)
        await self._note_positions(consumer)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_SECONDS
            self._sweep()

    # ---- tenants

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        """Begin with tenants that have come, and forget those that have gone."""
        if self._progress.phase is not Phase.FOLLOWING:
            return  # the table does not tell which sessions are shown
        found = _tenants_in(await consumer.topics())
        known = {tenant for tenant, _ in self._readings}
        self._counts.note_listed(found)
        for tenant in known - found:
            self._forget(tenant)
        for tenant in sorted(found - known):
            await self._begin(consumer, tenant)
        if found != known:
            self._assign(consumer)

    async def _begin(self, consumer: AIOKafkaConsumer, tenant: str) -> None:
        wanted = self._oldest(tenant)
        places = [TopicPartition(DECISIONS.of(tenant), number) for number in range(KEYED_PARTITIONS)]
        lows = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        starts = await consumer.offsets_for_times(dict.fromkeys(places, wanted))
        since = {}
        for place in places:
            found = starts.get(place)
            start = ends[place] if found is None else max(found.offset, lows[place])
            since[place.partition] = self._since(wanted, start, lows[place])
            self._readings[tenant, place.partition] = _Reading(start, ends[place])
        self._counts.begin(tenant, since)

    def _since(self, wanted: int, start: int, low: int) -> int:
        """Return the time from which no decision of a partition is missing, if it is read from `start`."""
        if low == 0:
            return 0 if start == 0 else wanted
        # Records were deleted. If reading begins at the first that is left, it is not known which ones are missing.
        return wanted if start > low else self._clock_ms()

    def _oldest(self, tenant: str) -> int:
        """Return the time at which the oldest shown session of a tenant was opened; now without a session."""
        prefix, oldest = row_key(tenant, ""), self._clock_ms()
        for key, value in self._rows.items():
            if key.startswith(prefix) and (row := SESSIONS.read_row(value)) is not None:
                oldest = min(oldest, row.opened_at)
        return max(0, oldest - CLOCKS_MS)

    def _forget(self, tenant: str) -> None:
        for number in range(KEYED_PARTITIONS):
            self._readings.pop((tenant, number), None)
        self._counts.forget(tenant)

    def _assign(self, consumer: AIOKafkaConsumer) -> None:
        # A new assignment forgets every position, so all are set again before the loop goes on.
        places = {TopicPartition(DECISIONS.of(t), number): r for (t, number), r in self._readings.items()}
        if not places:
            consumer.unsubscribe()
            return
        consumer.assign(list(places))
        for place, reading in places.items():
            consumer.seek(place, reading.next)

    # ---- records

    def _count(self, tenant: str, partition: int, records: Iterable[ConsumerRecord]) -> None:
        reading = self._readings[tenant, partition]
        for record in records:
            try:
                self._counts.count(tenant, partition, record.value or b"")
            except SchemaError as exc:
                self._say_poison(record, exc)
            reading.next = record.offset + 1
            if reading.target is None and self._clock_ms() - record.timestamp > AS_OF_MS_MAX:
                reading.target = reading.next  # it lags; `_note_positions` moves the target to the end

    def _say_poison(self, record: ConsumerRecord, exc: SchemaError) -> None:
        self._poison += 1
        self._progress.poison_records += 1
        if self._poison <= POISON_LOGGED_MAX:
            place = f"{record.topic}[{record.partition}]"
            log.error("the record at offset %d of %s is skipped: %s: %s", record.offset, place, exc.code, exc)

    async def _note_positions(self, consumer: AIOKafkaConsumer) -> None:
        """Take note of partitions that are read to their end. A position passes aborted records and markers."""
        for (tenant, number), reading in self._readings.items():
            place = TopicPartition(DECISIONS.of(tenant), number)
            reading.next = max(reading.next, await consumer.position(place))
            if reading.target is not None:
                reading.target = max(reading.target, consumer.last_stable_offset(place) or 0)
                if reading.next >= reading.target:
                    reading.target = None
            self._counts.note_current(tenant, number, is_current=reading.target is None)

    def _warn(self, message: str, *values: object) -> None:
        """Log a warning, seldom: an absent broker is noticed every second."""
        if time.monotonic() >= self._warn_at:
            self._warn_at = time.monotonic() + WARN_SECONDS
            log.warning(message, *values)

    def _sweep(self) -> None:
        now, as_of = self._clock_ms(), self._progress.as_of
        if as_of is None or not self._progress.is_ready(now):
            return
        self._counts.sweep(
            lambda tenant, session_id: row_key(tenant, session_id.hex()) in self._rows,
            reading=self._progress.readings,
            now=now,
            as_of=as_of,
        )


def _tenant(topic: str) -> str:
    return topic.split(".")[1]


def _tenants_in(topics: Iterable[str]) -> set[str]:
    """Return the tenants with readable decisions: the brokers list no topic that is forbidden."""
    parts = (name.split(".") for name in topics)
    tenants = {one[1] for one in parts if len(one) == 3 and is_tenant_id(one[1])}
    return {tenant for tenant in tenants if DECISIONS.of(tenant) in set(topics)}
