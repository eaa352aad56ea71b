"""Producers that die, events that are none, ends with something in hand: each caller is told, what can go on does."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import Producer

from producers.home.keys import KeyPair
from producers.kafka import publisher as publishing
from producers.kafka import sending
from producers.kafka.intake import Author, Intake
from producers.kafka.publisher import Publisher, PublishError
from schemas.records import ResultReported
from tests.producers.dying import kill
from tests.waiting import PATIENCE_SECONDS, wait_until

MOCK: Any = {"test.mock.num.brokers": 1}  # a cluster of the library's own, in this process


def made(security: Any = MOCK) -> Publisher:
    intake = Intake("127.0.0.1:1", tenant="acme", genesis=bytes(32), security=security)
    return Publisher(intake, Author(KeyPair.generate(), "bank"))


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    running = made()
    yield running
    running.close()
    running._intake.close()


def report(body: str = "1") -> ResultReported:
    return ResultReported(decision=bytes(32), outcome="ok", body=body, attestations=())


def offsets(futures: list[Future[int]]) -> list[int]:
    return [future.result(PATIENCE_SECONDS) for future in futures]


@pytest.mark.parametrize("before", [0, 300])  # calls that are hot are specialised, and must see the error all the same
def test_what_a_dying_producer_had_in_hand_is_sent_by_a_new_one(publisher: Publisher, before: int) -> None:
    """No caller sees it, neither of those that wait nor of those that come later."""
    offsets([publisher.publish(report()) for _ in range(before)])
    producer = publisher._intake._sender._producer

    waiting = []
    for n in range(40):
        waiting.append(publisher.publish(report()))
        if n == 20:
            kill(producer)

    offsets(waiting)
    assert publisher._intake._sender._producer is not producer
    assert publisher.publish(report()).result(PATIENCE_SECONDS) >= 0


@pytest.mark.parametrize("idle", [0, 300])
def test_a_producer_that_dies_while_nothing_is_sent_is_replaced(publisher: Publisher, idle: int) -> None:
    """The thread that publishes outlives it, however often it has looked before."""
    publisher.publish(report()).result(PATIENCE_SECONDS)
    for _ in range(idle):
        publisher._intake._sender.idle()
    producer = publisher._intake._sender._producer
    kill(producer)

    wait_until(lambda: publisher._intake._sender._producer is not producer, "a new producer")
    assert publisher.publish(report()).result(PATIENCE_SECONDS) >= 0


class DeadAtBirth(Producer):
    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        kill(self)


def test_producers_that_die_one_after_the_other_end_in_an_error_that_names_why(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up, not tried for ever; and told in words, not as the library's own confusion."""
    publisher.publish(report()).result(PATIENCE_SECONDS)
    monkeypatch.setattr(sending, "Producer", DeadAtBirth)
    kill(publisher._intake._sender._producer)

    with pytest.raises(PublishError, match=r"did not take the event: .*(Fatal|Purged)"):
        publisher.publish(report()).result(PATIENCE_SECONDS)

    monkeypatch.undo()
    assert publisher.publish(report()).result(PATIENCE_SECONDS) >= 0


def test_what_is_no_event_costs_those_beside_it_nothing(publisher: Publisher) -> None:
    """Each is drafted for itself; so is each told of its own."""
    told = []

    def deaf(_draft: object) -> None:
        raise LookupError("nobody waits")

    good = [publisher.publish(report(), on_drafted=told.append) for _ in range(3)]
    bad = publisher.publish(report("\ud800"))
    unheard = publisher.publish(report(), on_drafted=deaf)
    good += [publisher.publish(report(), on_drafted=told.append) for _ in range(3)]

    offsets(good)
    assert len(told) == 6
    for future, why in ((bad, "surrogates"), (unheard, "nobody waits")):
        with pytest.raises(PublishError, match=f"cannot sign the event: .*{why}"):
            future.result(PATIENCE_SECONDS)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_publisher_whose_thread_was_ended_says_so(publisher: Publisher) -> None:
    """Somebody's tool may do that to its process."""
    publisher.publish(report()).result(PATIENCE_SECONDS)
    ended = ctypes.c_ulong(publisher._intake._thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ended, ctypes.py_object(SystemExit))
    publisher._intake._thread.join(PATIENCE_SECONDS)

    assert not publisher.is_running
    with pytest.raises(PublishError, match="the thread that publishes was ended"):
        publisher.publish(report())


def test_the_brokers_clock_is_compared_with_ones_own(publisher: Publisher) -> None:
    """The library's own cluster lives in the year 1970."""
    assert publisher.ahead_ms is None
    publisher.publish(report()).result(PATIENCE_SECONDS)

    assert publisher.ahead_ms is not None
    assert abs(publisher.ahead_ms - time.time() * 1000) < 3_600_000


UNREACHABLE: Any = {"socket.connection.setup.timeout.ms": 1000}


def test_an_event_that_is_taken_back_while_it_is_queued_is_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gave up need not fear that it comes later."""
    monkeypatch.setattr(sending, "WARM_UP_SECONDS", 0.5)
    monkeypatch.setattr(publishing, "CLOSE_SECONDS", 0.1)
    unreachable = made(UNREACHABLE)  # it is busy looking for its broker
    drafted: list[object] = []
    future = unreachable.publish(report(), on_drafted=drafted.append)
    behind = unreachable.publish(report())

    assert future.cancel()
    unreachable.close()
    unreachable._intake.close()

    assert drafted == []
    assert isinstance(behind.exception(PATIENCE_SECONDS), PublishError)


def test_an_end_without_a_broker_is_bounded_and_tells_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is queued, what is in the library's hands, and what comes too late."""
    monkeypatch.setattr(sending, "WARM_UP_SECONDS", 0.1)
    monkeypatch.setattr(publishing, "CLOSE_SECONDS", 0.5)
    unreachable = made(UNREACHABLE)
    time.sleep(0.4)
    waiting = [unreachable.publish(report()) for _ in range(3)]

    unreachable.close()
    unreachable._intake.close()

    assert [type(future.exception(PATIENCE_SECONDS)) for future in waiting] == [PublishError] * 3
    assert not unreachable._intake._thread.is_alive()
    with pytest.raises(PublishError, match="closed"):
        unreachable.publish(report())
