"""An idle worker on the embedded broker naps, and misses nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streams.local.embedded import EmbeddedBroker
from streams.views import committed
from streams.worker.naps import Naps
from tests.waiting import PATIENCE_SECONDS, wait_until


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded broker, whatever other tests run on: no other one answers empty fetches at once."""
    with EmbeddedBroker(tmp_path_factory.mktemp("naps")) as broker:
        yield broker.info.bootstrap


class Counting(Consumer):  # type: ignore[misc]
    """A consumer that remembers what it was told."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.told: list[tuple[str, tuple[str, ...]]] = []

    def pause(self, places: list[TopicPartition]) -> None:
        self.told.append(("pause", tuple(place.topic for place in places)))
        super().pause(places)

    def resume(self, places: list[TopicPartition]) -> None:
        self.told.append(("resume", tuple(place.topic for place in places)))
        super().resume(places)


class Reading:
    """Two topics and a consumer of them that naps."""

    def __init__(self, bootstrap: str, unique: str) -> None:
        self.topics = [f"{unique}.a", f"{unique}.b"]
        admin = AdminClient({"bootstrap.servers": bootstrap})
        for future in admin.create_topics([NewTopic(t, 1, 1) for t in self.topics]).values():
            future.result()
        self.producer = Producer({"bootstrap.servers": bootstrap})
        settings = {"bootstrap.servers": bootstrap, "group.id": unique, "enable.partition.eof": True}
        self.consumer = Counting(settings)
        self.consumer.assign([TopicPartition(t, 0, 0) for t in self.topics])
        self.naps = Naps(self.consumer)
        self.awake = list(self.topics)
        self.values: list[bytes | None] = []

    def write(self, topic: str, value: bytes) -> None:
        self.producer.produce(topic, value)
        assert self.producer.flush(PATIENCE_SECONDS) == 0

    def turn(self) -> None:
        message = self.consumer.poll(self.naps.nap(0.1, self.awake))
        if message is None:
            return
        if message.error() is not None:
            assert message.error().name() == "_PARTITION_EOF"
            self.naps.note_end(message.topic())
        else:
            self.naps.note_record(message.topic())
            self.values.append(message.value())

    def until(self, condition: Any) -> None:
        wait_until(condition, pause=0, meanwhile=self.turn)


@pytest.fixture
def reading(bootstrap: str, unique: str) -> Iterator[Reading]:
    one = Reading(bootstrap, unique)
    yield one
    one.consumer.close()


def test_an_idle_consumer_naps_again_and_again_and_reads_what_comes_between(reading: Reading) -> None:
    told = reading.consumer.told
    for number in range(4):
        naps = len(told)
        reading.until(lambda naps=naps: len(told) >= naps + 4)
        value = b"%d" % number
        reading.write(reading.topics[number % 2], value)
        reading.until(lambda value=value: value in reading.values)

    assert reading.values == [b"0", b"1", b"2", b"3"]
    kinds = [kind for kind, _ in told]
    assert kinds == ["pause", "resume"] * (len(kinds) // 2) + ["pause"] * (len(kinds) % 2)


def test_what_is_paused_for_another_reason_stays_so(reading: Reading) -> None:
    told, (first, second) = reading.consumer.told, reading.topics
    reading.until(lambda: any(kind == "pause" and len(topics) == 2 for kind, topics in told))
    reading.awake.remove(first)
    reading.until(lambda: len(told) >= 6)

    both = next(n for n, (kind, topics) in enumerate(told) if kind == "pause" and len(topics) == 2)
    assert all(topics == (second,) for _, topics in told[both + 1 :])


def test_no_nap_while_records_come(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.worker.naps.QUIET_SECONDS", 2 * PATIENCE_SECONDS)
    for topic in reading.topics:
        reading.write(topic, b"x")
    reading.until(lambda: len(reading.values) == 2)
    before = len(reading.consumer.told)
    for _ in range(20):
        reading.turn()

    assert [kind for kind, _ in reading.consumer.told[before:]] in ([], ["resume"])


class TestFetchesOfTheViews:
    def test_one_that_brings_nothing_takes_its_time(self) -> None:
        async def nothing() -> bool:
            return False

        began = time.monotonic()
        assert asyncio.run(committed.unhurried(nothing)()) is False  # type: ignore[arg-type]
        assert time.monotonic() - began >= committed.EMPTY_SECONDS * 0.9

    def test_one_that_brings_records_is_handed_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(committed, "EMPTY_SECONDS", 10 * PATIENCE_SECONDS)

        async def records() -> bool:
            return True

        assert asyncio.run(committed.unhurried(records)()) is True  # type: ignore[arg-type]

    def test_one_that_is_given_up_ends_as_an_empty_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As aiokafka's own does: its caller would take the cancellation for its own."""
        monkeypatch.setattr(committed, "EMPTY_SECONDS", 10 * PATIENCE_SECONDS)

        async def nothing() -> bool:
            return False

        async def cancelled() -> bool:
            fetch = asyncio.ensure_future(committed.unhurried(nothing)())
            await asyncio.sleep(0)
            fetch.cancel()
            return await fetch

        assert asyncio.run(cancelled()) is False
