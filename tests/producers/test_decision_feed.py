"""What a feed makes of rebalances and refused commits, at a consumer that does as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from producers.home.security import UNSECURED
from producers.tools import decision_feed
from producers.tools.commitments import Ownership
from producers.tools.decision_feed import DecisionFeed, Taken

TOPIC = "macaw.acme.decisions"


class Message:
    """A record as a consumer hands it over."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def error(self) -> None:
        return None

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset


class Broker:
    """A consumer of one partition with three records, and the group's offset in it."""

    def __init__(self) -> None:
        self.committed_at = TopicPartition(TOPIC, 0, -1001)
        self.position = 0
        self.starts: list[int] = []
        self.refuses: KafkaError | None = None
        self.refuses_place: KafkaError | None = None
        self.during_poll: Callable[[], None] = lambda: None

    def poll(self, _seconds: float) -> Any:
        self.during_poll()
        return self._next()

    def consume(self, _count: int, _seconds: float) -> list[Any]:
        return [m for _ in range(3) if (m := self._next()) is not None]

    def _next(self) -> Message | None:
        if self.position >= 3:
            return None
        self.position += 1
        return Message(self.position - 1)

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, 0)]

    def assign(self, places: list[TopicPartition]) -> None:
        self.starts += [place.offset for place in places]
        self.position = places[0].offset

    def committed(self, _places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [self.committed_at]

    def get_watermark_offsets(self, _place: TopicPartition, timeout: float) -> tuple[int, int]:
        return 0, 3

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[Any]:
        if self.refuses is not None:
            raise KafkaException(self.refuses)
        if self.refuses_place is None:
            [self.committed_at] = offsets
        return [Answer(self.refuses_place)]

    def close(self) -> None:
        self.position = 3


class Answer:
    """What the broker says of one partition of a commit."""

    def __init__(self, error: KafkaError | None) -> None:
        self.error = error


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(decision_feed, "Consumer", lambda _settings: Broker())
    monkeypatch.setattr(decision_feed, "PAUSE_SECONDS", 0)
    made: Any = DecisionFeed(
        "nowhere",
        tenant="acme",
        group="g",
        group_managed=True,
        session_timeout_ms=6000,
        security=UNSECURED,
        stop=threading.Event(),
    )
    made._on_assign(made._consumer, [])
    made.go_back()
    return made


def offsets(batch: list[Taken]) -> list[int]:
    return [taken.offset for taken in batch]


def test_a_rebalance_inside_a_read_drops_what_was_read(feed: Any) -> None:
    """Nothing of it is served; the next read starts at the committed offset."""
    feed._consumer.during_poll = lambda: feed._on_lost(feed._consumer, [])
    assert feed.take() == []

    feed._consumer.during_poll = lambda: None
    assert offsets(feed.take()) == [0, 1, 2]
    assert feed._consumer.starts == [0, 0]


@pytest.mark.parametrize("how", ["refuses", "refuses_place"])
def test_a_refused_commit_is_read_again(feed: Any, how: str) -> None:
    """As a whole, or for one partition: nothing may be executed, and nothing is passed over."""
    batch = feed.take()
    setattr(feed._consumer, how, KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
    assert not feed.commit(batch, [])

    setattr(feed._consumer, how, None)
    batch = feed.take()
    assert offsets(batch) == [0, 1, 2]
    assert feed.commit(batch, [])
    assert feed._consumer.committed_at.offset == 3


def test_calls_that_end_are_said_to_have_ended(feed: Any) -> None:
    """With the next quiet read, when the partition is given back, or at the end; not once it is lost."""
    batch = feed.take()
    assert feed.commit(batch, batch)
    assert feed._consumer.committed_at.metadata == "1 0 0,1,2"

    feed.finished(batch[0])
    assert feed.take() == []
    assert feed._consumer.committed_at.metadata == "1 0 1,2"
    feed.finished(batch[1])
    feed._on_revoke(feed._consumer, [])
    assert feed._consumer.committed_at.metadata == "1 0 2"
    feed.finished(batch[2])
    feed.close()
    assert feed._consumer.committed_at.metadata == "1 0 2"


def test_records_before_the_committed_offset_are_not_committed_again(feed: Any) -> None:
    """Another instance has gone on to 2, and left one call unfinished."""
    feed._consumer.committed_at = TopicPartition(TOPIC, 0, 2, "1 0 1")
    feed.go_back()
    batch = feed.take()

    assert [taken.ownership for taken in batch] == [Ownership.PAST, Ownership.AGAIN, Ownership.NEW]
    assert feed.commit(batch[:2], [batch[1]])
    assert feed._consumer.committed_at.offset == 2
    assert feed.commit(batch[2:], [])
    assert (feed._consumer.committed_at.offset, feed._consumer.committed_at.metadata) == (3, "1 0 1")


def test_a_committed_offset_above_the_log_executes_nothing_and_says_so(
    feed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Records were lost: what stands there now may have been executed."""
    feed._consumer.committed_at = TopicPartition(TOPIC, 0, 7, "1 0 ")
    feed.go_back()

    assert {taken.ownership for taken in feed.take()} == {Ownership.PAST}
    assert "the log ends at 3" in caplog.text
