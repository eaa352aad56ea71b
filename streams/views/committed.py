"""Faust's Kafka consumer, changed to read only committed records, all of them, from the beginning of their topics.

This is the one file that uses the internals of faust-streaming 0.15.3 and aiokafka 0.14.0. Each of the four points is
needed with these versions; ADR 0020 describes the damage without it.

**Isolation level.** Faust has no setting for it outside its exactly-once mode. The writes of that mode have open bugs,
and this read path does not need it.

**Finished aborts.** A fetch response lists aborted transactions as (producer, first offset), and aiokafka drops that
producer's records until it meets the marker of the abort. Apache Kafka lists only aborts that reach into the fetch. The
embedded broker lists every abort since the partition began. `Fetched` remembers the markers and removes aborts with a
marker before the fetch:

    log             10 p1 aborted | 11 p1 abort marker | 12 p1 committed | 13 p1 commit marker
    fetch from 12   aborts listed: (p1, first 10); aiokafka would drop 12, because marker 11 is not in this fetch
    with `Fetched`  marker of p1 seen at 11, and 10 <= 11 < 12: the abort is removed, and record 12 is read

**Pauses.** The embedded broker answers an empty fetch at once where Kafka waits for records, and aiokafka asks again at
once: an idle application took a whole core. Therefore an empty fetch takes at least `EMPTY_SECONDS`.

**Start.** After Faust has recovered its tables from the changelogs, it lets the sources flow, seeks to the committed
offsets, and then clears its queues. Without committed offsets the records that arrived in between are lost. Here the
sources are held until the queues are cleared, and each assignment begins at their first record.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import aiokafka  # type: ignore[import-untyped]
from aiokafka.consumer.fetcher import (  # type: ignore[import-untyped]
    FetchError,
    FetchResult,
    PartitionRecords,
)
from aiokafka.record.default_records import DefaultRecordBatch  # type: ignore[import-untyped]
from aiokafka.structs import TopicPartition  # type: ignore[import-untyped]
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT
from faust.types.transports import ConsumerCallback, ConsumerT
from yarl import URL

from streams.views.progress import Progress

ISOLATION = "read_committed"
HELD_SECONDS = 0.02
EMPTY_SECONDS = 0.1  # a delay that a person does not notice


class CommittedThread(driver.AIOKafkaConsumerThread):
    """The thread in which aiokafka's consumer lives."""

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # `start()` reads this attribute. If it had another name, the views would show aborted records: so crash.
        if getattr(consumer, "_isolation_level", None) != "read_uncommitted":
            raise RuntimeError("this version of aiokafka has no `_isolation_level`: install aiokafka 0.14")
        consumer._isolation_level = ISOLATION  # noqa: SLF001 - it has no setter, and Faust builds the consumer
        return consumer

    async def on_start(self) -> None:
        """Start the consumer. It has no partitions yet, so nothing was fetched."""
        await super().on_start()
        assert self._consumer is not None
        mend(self._consumer)


def mend(consumer: aiokafka.AIOKafkaConsumer) -> None:
    """Let a started consumer without partitions forget finished aborts, and ask an idle broker less often."""
    fetcher = consumer._fetcher  # noqa: SLF001 - it has no other name
    assert not fetcher._records  # noqa: SLF001 - the same
    fetcher._records = Fetched()  # noqa: SLF001 - the same
    fetcher._proc_fetch_request = unhurried(fetcher._proc_fetch_request)  # noqa: SLF001 - the same


def unhurried(fetch: Callable[..., Awaitable[bool]]) -> Callable[..., Awaitable[bool]]:
    """Return a fetch that takes at least `EMPTY_SECONDS` if it brings no records."""

    async def fetch_unhurried(*request: Any) -> bool:  # Any: aiokafka's own arguments
        began = time.monotonic()
        if await fetch(*request):
            return True
        with contextlib.suppress(asyncio.CancelledError):  # aiokafka cancels a fetch that is no longer needed
            await asyncio.sleep(began + EMPTY_SECONDS - time.monotonic())
        return False

    return fetch_unhurried


class Fetched(OrderedDict[TopicPartition, FetchResult | FetchError]):
    """Records that aiokafka has fetched and not yet handed out, by partition.

    Setting an item removes its finished aborts; the module docstring has an example.
    """

    def __init__(self) -> None:
        super().__init__()
        self._marks: defaultdict[TopicPartition, dict[int, int]] = defaultdict(dict)

    def __setitem__(self, place: TopicPartition, result: FetchResult | FetchError) -> None:
        if isinstance(result, FetchResult):
            forget_finished(result._partition_records, self._marks[place])  # noqa: SLF001 - it has no other name
        super().__setitem__(place, result)


def forget_finished(records: PartitionRecords, marks: dict[int, int]) -> None:
    """Remove aborts with a marker before the fetch; update `marks`, the offset of the last marker by producer."""
    start, met = records.next_fetch_offset, records._contains_abort_marker  # noqa: SLF001 - it has no other name
    records._aborted_transactions = [  # noqa: SLF001 - the same
        (producer, first)
        for producer, first in records._aborted_transactions  # noqa: SLF001 - the same
        if not first <= marks.get(producer, -1) < start
    ]

    def remember(batch: DefaultRecordBatch) -> bool:
        is_abort: bool = met(batch)
        if is_abort:
            marks[batch.producer_id] = batch.base_offset
        return is_abort

    records._contains_abort_marker = remember  # noqa: SLF001 - the same


class CommittedConsumer(driver.Consumer):
    """Pulls committed records of the sources, and of the changelogs while tables are recovered."""

    sources: frozenset[str]
    progress: Progress

    def _new_consumer_thread(self) -> CommittedThread:
        return CommittedThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Go back to the beginning of the sources. Faust calls it once its tables are recovered."""
        await super().perform_seek()
        places = [tp for tp in self.assignment() if tp.topic in self.sources]
        await self.seek_wait(await self.earliest_offsets(*places))
        self.progress.begin_anew()

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> RecordMap:  # noqa: ASYNC109
        wanted = active_partitions or set()
        if not self.app.tables.actives_ready:
            wanted = {tp for tp in wanted if tp.topic not in self.sources}
            if not wanted:
                await self.sleep(HELD_SECONDS)
                return {}
        records = await super()._getmany(wanted, timeout)
        for tp, batch in records.items():
            if tp.topic in self.sources:
                self.progress.note_pulled(tp, (record.offset for record in batch))
        return records


class CommittedTransport(driver.Transport):
    """Faust's transport over aiokafka, with CommittedConsumer as its consumer."""

    Consumer = CommittedConsumer

    def __init__(self, url: list[URL], app: AppT, *, sources: frozenset[str], progress: Progress) -> None:
        super().__init__(url, app)
        self._sources = sources
        self._progress = progress

    def create_consumer(self, callback: ConsumerCallback, **kwargs: Any) -> ConsumerT:  # Any: Faust's own arguments
        """Return the consumer of the sources."""
        consumer = super().create_consumer(callback, **kwargs)
        assert isinstance(consumer, CommittedConsumer)
        consumer.sources, consumer.progress = self._sources, self._progress
        return consumer
