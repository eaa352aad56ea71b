"""Reading what anybody may have written to a topic."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import TopicPartition

from producers.kafka import consuming
from producers.kafka.consuming import Quiet, headers_of
from schemas import limits


class Hostile:
    """A record with a header name that is not UTF-8: the library answers with an error of the interpreter."""

    def headers(self) -> None:
        raise SystemError("returned a result with an exception set") from UnicodeDecodeError(
            "utf-8", b"\xff", 0, 1, "x"
        )


class Plain:
    def __init__(self, headers: list[tuple[str, bytes]] | None) -> None:
        self._headers = headers

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self._headers


def test_a_header_name_that_is_no_text_stops_nobody() -> None:
    """The record counts as one without headers, so without a proof: it is refused like any other."""
    assert headers_of(Hostile()) == []


def test_headers_are_given_as_they_came() -> None:
    """In order, doubled ones included; none is none."""
    assert headers_of(Plain([("a", b"1"), ("a", b"2")])) == [("a", b"1"), ("a", b"2")]
    assert headers_of(Plain(None)) == []
    assert headers_of(Plain([("a", b"1")] * limits.HEADERS_MAX)) == [("a", b"1")] * limits.HEADERS_MAX


@pytest.mark.parametrize("count", [limits.HEADERS_MAX + 1, 300_000])
def test_a_record_with_too_many_headers_counts_as_one_without(count: int) -> None:
    """Each takes a hundred times its bytes in memory: none of them is kept."""
    assert headers_of(Plain([("macaw-proof", b"1")] * count)) == []


class Assigned:
    """A consumer of two partitions that has read one of them."""

    def __init__(self) -> None:
        self.places = [TopicPartition("t", 0, 3), TopicPartition("t", 1, 5)]

    def assignment(self) -> list[TopicPartition]:
        return self.places

    def position(self, _places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition("t", 0, 9), TopicPartition("t", 1)]

    def unassign(self) -> None:
        self.places = []

    def assign(self, places: list[TopicPartition]) -> None:
        self.places = places


def test_a_rest_does_not_move_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on where it was; where it had read nothing yet, there where it was to begin."""
    monkeypatch.setattr(consuming, "QUIET_AFTER_SECONDS", -1)
    consumer: Any = Assigned()

    Quiet(consumer).after(0)

    assert [place.offset for place in consumer.places] == [9, 5]
