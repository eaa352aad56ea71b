"""What clients and hosts follow: never older than promised, and closed when it cannot be read."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from producers.kafka import followed_topic
from producers.kafka.consuming import LogSetBackError, ReadPosition
from producers.kafka.followed_topic import FRESH_SECONDS, FollowedTopic, RegistryError
from schemas import topics
from schemas.topics import keyed_partition
from tests.producers.forging import Stored, TwinRegistry
from tests.world import Office


class Reader:
    """A consumer that may be told what to read."""

    def assign(self, _places: list[Any]) -> None:
        """There is nothing to read."""

    def unassign(self) -> None:
        """There was nothing to read."""


@pytest.fixture
def office() -> Office:
    return Office.opened("view")


@pytest.fixture
def view(office: Office) -> Any:
    return TwinRegistry(office)


@pytest.fixture
def topic() -> Any:
    """A topic of two partitions, without a broker."""
    made: Any = object.__new__(FollowedTopic)
    made.name, made._lock, made._current_at = "registry", threading.Lock(), -math.inf
    made._check = lambda: None
    made._positions, made._consumer = [ReadPosition(0), ReadPosition(0)], Reader()
    return made


@pytest.mark.parametrize("value", [None, b"", b"not a record"])
@pytest.mark.parametrize("key", [b"session/zz", b"key/zz", b"\xff\xfe", b"session/\xff", b"ended/", b"", None])
def test_hostile_keys_change_nothing(view: Any, office: Office, key: bytes | None, value: bytes | None) -> None:
    """A record that nobody of ours wrote is passed over, and every key stays live."""
    view._fold(Stored(office.world.followed[0]._replace(key=key, value=value, headers=())))

    assert view.live_key(office.tool.kid, "tool") is not None


def test_tombstones_remove_no_key(view: Any, office: Office) -> None:
    """They are not signed."""
    for output in office.world.followed:
        view._fold(Stored(output._replace(value=None)))

    assert view.live_key(office.tool.kid, "tool") is not None
    assert view.knows("tool:calc/run")


def test_sessions_on_the_registry_are_passed_over(view: Any, office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """They stood there once; a session counts where the sessions stand, under whatever key somebody put it here."""
    [opened] = [o for o in office.world.followed if o.topic is topics.SESSIONS]
    for key in (opened.key, b"key/" + office.session.kid.hex().encode()):
        view._fold(Stored(opened._replace(key=key, partition=0)))

    assert not view.tables.sessions.rows
    assert "passed over" in caplog.text
    assert "WRONG_ROLE" in caplog.text


def test_a_revocation_reaches_a_view_that_knows_the_key(view: Any, office: Office) -> None:
    """A known key is not answered for without asking."""
    assert view.live_key(office.tool.kid, "tool") is not None
    office.world.revoke("calc")

    assert view.live_key(office.tool.kid, "tool") is None


def test_what_is_fresh_asks_nobody_and_what_is_not_asks_of_every_partition(
    topic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For FRESH_SECONDS a running process may not see a revocation, and no longer."""
    asked: list[int] = []
    monkeypatch.setattr(followed_topic, "watermarks", lambda _c, _n, partition: (0, asked.append(partition) or 0))
    topic.freshen()
    topic.freshen()
    assert asked == [0, 1]

    topic._current_at -= FRESH_SECONDS + 1
    topic.freshen()
    assert asked == [0, 1, 0, 1]


def test_a_topic_that_cannot_be_read_fails_closed(topic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before is no answer when the broker is gone; nor is a partition of which nothing comes."""

    def gone(*_: Any) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    monkeypatch.setattr(followed_topic, "watermarks", gone)
    for act in (topic.refresh, topic.freshen, lambda: topic.last_of(0, {b"session/00"}, seconds=1)):
        with pytest.raises(RegistryError, match="macaw topic check"):
            act()

    monkeypatch.setattr(followed_topic, "watermarks", lambda *_: (0, 1))
    monkeypatch.setattr(followed_topic, "take", lambda *_: [])
    with pytest.raises(RegistryError, match="its end is not reached"):
        topic.refresh(seconds=0)


def test_an_older_log_is_never_followed(topic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One partition that was set back is enough."""
    topic._positions[1].offset = 7
    monkeypatch.setattr(followed_topic, "watermarks", lambda *_: (0, 6))

    with pytest.raises(LogSetBackError, match="read to 7"):
        topic.refresh()


def test_the_monitor_writes_a_session_on_its_own_partition(office: Office) -> None:
    """And nothing of sessions on the registry."""
    end = office.world.revoke("bot")
    office.world.advance(3 * 3600 * 1000)
    office.world.tick()
    written = office.world.followed

    assert not end.of(topics.SESSIONS)
    assert {o.key.partition(b"/")[0] for o in written if o.topic is topics.REGISTRY and o.key is not None} <= {
        b"tenant", b"key", b"tools", b"revoked",
    }  # fmt: skip
    of_session = [o for o in written if o.topic is topics.SESSIONS]
    assert [(o.partition, o.value is None) for o in of_session] == [
        (keyed_partition(office.session.kid), gone) for gone in (False, True)
    ]
