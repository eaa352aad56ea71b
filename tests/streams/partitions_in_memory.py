"""Partitions in memory behind the calls of a Kafka consumer that an archiver makes: to assign, take and pause."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Headers = list[tuple[str, bytes | None]]
Place = tuple[str, int]


@dataclass
class Sent:
    """A record as the client library gives it."""

    of_topic: str
    of_partition: int
    at: int
    data: bytes | None
    fields: Headers
    time: int = 0
    of_key: bytes | None = None

    def topic(self) -> str:
        return self.of_topic

    def partition(self) -> int:
        return self.of_partition

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return self.of_key

    def value(self) -> bytes | None:
        return self.data

    def headers(self) -> Headers:
        return self.fields

    def timestamp(self) -> tuple[int, int]:
        return 2, self.time

    def error(self) -> None:
        return None


class Partitions:
    """Some partitions, and one consumer's position in each. Records come in the order in which they were appended."""

    def __init__(self) -> None:
        self.records: list[Sent] = []
        self.paused: set[Place] = set()
        self._positions: dict[Place, int] = {}

    def append(
        self, topic: str, partition: int, value: bytes | None, headers: Headers, *, offset: int = -1, **more: Any
    ) -> None:
        at = self.high(topic, partition) if offset < 0 else offset
        self.records.append(Sent(topic, partition, at, value, headers, **more))

    def high(self, topic: str, partition: int) -> int:
        return max(
            (one.at + 1 for one in self.records if (one.of_topic, one.of_partition) == (topic, partition)), default=0
        )

    def get_watermark_offsets(self, place: Any, timeout: float) -> tuple[int, int]:
        assert timeout
        return 0, self.high(place.topic, place.partition)

    def assign(self, places: Iterable[Any]) -> None:
        self._positions = {(one.topic, one.partition): one.offset for one in places}
        self.paused.clear()

    def unassign(self) -> None:
        self.assign(())

    def consume(self, count: int, _: float) -> list[Sent]:
        taken = []
        for one in self.records:
            place = one.of_topic, one.of_partition
            if len(taken) < count and place not in self.paused and one.at >= self._positions.get(place, one.at + 1):
                self._positions[place] = one.at + 1
                taken.append(one)
        return taken

    def poll(self, seconds: float) -> Sent | None:
        return next(iter(self.consume(1, seconds)), None)

    def pause(self, places: Iterable[Any]) -> None:
        self.paused |= {(one.topic, one.partition) for one in places}

    def resume(self, places: Iterable[Any]) -> None:
        self.paused -= {(one.topic, one.partition) for one in places}
