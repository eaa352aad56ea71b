"""A session is followed by the next one before it ends, and closed once its calls cannot run any more."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaException

from macaw.gateway.inside import InsideCall
from macaw.gateway.upstream import UpstreamLostError
from producers.agent.lasting import LastingAgent
from producers.agent.running import RunningCall, executing
from producers.client import succession
from producers.client.succession import Succession
from producers.home.clock import clock_ms
from producers.kafka.connection import ConnectError
from tests.waiting import wait_until

LIFE_MS = 400


class Session:
    """A session of a short life, with the time of its end."""

    def __init__(self, life_ms: int = LIFE_MS) -> None:
        self.expires_at: int | None = clock_ms() + life_ms
        self.closed_at: int | None = None

    def close(self) -> None:
        self.closed_at = clock_ms()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(succession, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(succession, "LOOK_SECONDS", 0.05)


def test_the_next_session_is_there_before_the_present_one_ends() -> None:
    opened: list[tuple[int, Session]] = []

    def connect() -> Session:
        found = Session()
        opened.append((clock_ms(), found))
        return found

    told: list[Session] = []
    first = Session()
    running = Succession(first, connect, told.append)
    wait_until(lambda: len(opened) > 2)
    at, second = opened[0]
    assert first.expires_at is not None
    assert second.expires_at is not None
    assert at >= first.expires_at - LIFE_MS // 2 - 5, "not before its time"
    wait_until(lambda: first.closed_at is not None)
    assert first.closed_at is not None
    assert first.closed_at >= first.expires_at, "its calls had all of its time"
    running.close()
    assert told == [one for _, one in opened]
    assert all(one.closed_at is not None for _, one in opened)


def test_a_session_that_cannot_be_opened_is_tried_again() -> None:
    attempts: list[int] = []

    def connect() -> Session:
        attempts.append(1)
        if len(attempts) < 4:
            raise ConnectError("no broker answers")
        return Session(3_600_000)

    first = Session(20)
    running = Succession(first, connect)
    wait_until(lambda: running.current is not first)
    running.close()
    assert len(attempts) == 4


def test_no_session_follows_while_the_present_one_is_held() -> None:
    first = Session(200)
    running = Succession(first, lambda: Session(3_600_000))
    with running.changing:
        threading.Event().wait(0.3)
        assert running.current is first
    wait_until(lambda: running.current is not first)
    running.close()


def test_a_session_without_a_known_end_is_followed_by_none() -> None:
    only = Session()
    only.expires_at = None
    running = Succession(only, Session)
    threading.Event().wait(0.2)
    assert running.current is only
    running.close()
    assert only.closed_at is not None


def test_an_error_of_a_broker_or_a_disk_does_not_end_the_successions() -> None:
    errors: list[Exception] = [KafkaException(), OSError("the disk is full"), RuntimeError("no thread")]
    attempts: list[int] = []

    def connect() -> Session:
        attempts.append(1)
        if len(attempts) <= len(errors):
            raise errors[len(attempts) - 1]
        return Session(3_600_000)

    class Stubborn(Session):
        def close(self) -> None:
            super().close()
            raise OSError("the connection is gone")

    first = Stubborn(20)
    running = Succession(first, connect)
    wait_until(lambda: first.closed_at is not None)
    assert running.current is not first
    assert running._thread.is_alive()
    running.close()


def test_a_handler_finds_the_agent_of_the_session_that_executes_its_call() -> None:
    """An agent of a later session would call without naming the call that it executes: for nobody behind it."""
    made: list[Any] = []

    def connect(_: object) -> Any:
        made.append(Session(3_600_000))
        made[-1].session_id = b"second"
        return made[-1]

    first: Any = Session(400)
    first.session_id = b"first"
    lasting = LastingAgent(first, connect)
    wait_until(lambda: bool(made) and lasting.agent is made[0])
    assert (lasting.in_session(b"first"), lasting.in_session(b"second")) == (first, made[0])
    links: Any = SimpleNamespace(agent=lasting, functions=None)
    running = RunningCall(b"e" * 32, b"first", b"s" * 32, "user:ann", "tool:x/y", ())
    assert InsideCall(running, links, links, None).agent is first
    with executing(running):
        assert lasting.agent is first
        assert lasting.session_id == b"second", "others call the newest"
    wait_until(lambda: first.closed_at is not None)
    wait_until(lambda: lasting.in_session(b"first") is None)
    with pytest.raises(UpstreamLostError, match="has ended"):
        InsideCall(running, links, links, None)
    lasting.close()
