"""Events that are given up: taken back where they were not sent, told truly where they may have been, and no race."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.home.clock import LogClock
from producers.home.keys import KeyPair
from producers.kafka import publisher as publishing
from producers.kafka.answers import Answer, Answers
from producers.kafka.appending import Appending, Fate, PublishError
from producers.kafka.intake import Author, Intake
from producers.kafka.publisher import Publisher
from producers.kafka.sent import Sent
from schemas import limits
from schemas.records import Result, SessionClosed
from tests.waiting import PATIENCE_SECONDS, wait_until

MOCK: Any = {"test.mock.num.brokers": 1}  # a cluster of the library's own, in this process
BODY = SessionClosed(reason="")


class Cluster:
    """The library's own brokers behind a publisher, which can be away and come back."""

    def __init__(self, publisher: Publisher) -> None:
        [path] = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*")
        self._library = ctypes.CDLL(str(path))
        handle = ctypes.cast(id(publisher._intake._sender._producer) + 16, ctypes.POINTER(ctypes.c_void_p))[0]
        self._library.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
        self._library.rd_kafka_handle_mock_cluster.argtypes = [ctypes.c_void_p]
        self._cluster = self._library.rd_kafka_handle_mock_cluster(handle)

    def away(self, *, away: bool = True) -> None:
        act = self._library.rd_kafka_mock_broker_set_down if away else self._library.rd_kafka_mock_broker_set_up
        act.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        assert act(self._cluster, 1) == 0


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    intake = Intake("127.0.0.1:1", tenant="acme", genesis=bytes(32), security=MOCK)
    made = Publisher(intake, Author(KeyPair.generate(), "p"))
    yield made
    made.close()
    intake.close()


def test_what_is_given_up_while_the_brokers_are_away_is_not_sent_when_they_are_back(publisher: Publisher) -> None:
    """Neither what the library had in hand nor what was queued behind it; what comes later is."""
    assert publisher.publish(BODY).result(PATIENCE_SECONDS) == 0
    cluster = Cluster(publisher)
    cluster.away()
    wait_until(lambda: publisher._intake._sender._producer.flush(0) == 0)
    given_up = [publisher.publish(BODY) for _ in range(5)]
    wait_until(
        lambda: given_up[0].running() and len(publisher._intake._sender._producer) > 0
    )  # the library's own events count too
    given_up += [publisher.publish(BODY) for _ in range(5)]
    for one in given_up:
        one.give_up()
    wait_until(lambda: all(one.done() for one in given_up))
    cluster.away(away=False)

    assert publisher.publish(BODY).result(PATIENCE_SECONDS) == 1
    assert {one.fate for one in given_up} <= {Fate.NEVER_SENT, Fate.UNKNOWN}
    assert given_up[-1].fate is Fate.NEVER_SENT  # it never left our own queue
    in_hand = [one for one in given_up if not one.cancelled()]
    assert in_hand
    assert all("may stand on the log" in str(one.exception()) for one in in_hand)


def test_one_who_gives_up_takes_nothing_from_those_who_wait(publisher: Publisher) -> None:
    """They were handed over together, and the others are sent."""
    publisher.publish(BODY).result(PATIENCE_SECONDS)
    cluster = Cluster(publisher)
    cluster.away()
    events = [publisher.publish(BODY) for _ in range(4)]
    wait_until(lambda: len(publisher._intake._sender._producer) > 0)
    events[0].give_up()
    time.sleep(0.5)  # several looks
    cluster.away(away=False)

    assert [one.result(PATIENCE_SECONDS) > 0 for one in events[1:]] == [True] * 3


def test_a_key_that_closes_takes_its_own_events_back_and_no_others(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two keys share the producer while brokers are away: the end of one is bounded, the other is sent later."""
    monkeypatch.setattr(publishing, "CLOSE_SECONDS", 0.1)
    monkeypatch.setattr(publishing, "SETTLE_SECONDS", 0.3)
    closing = Publisher(publisher._intake, Author(KeyPair.generate(), "q"))
    assert [one.publish(BODY).result(PATIENCE_SECONDS) for one in (publisher, closing)] == [0, 1]
    cluster = Cluster(publisher)
    cluster.away()
    events = {one: [one.publish(BODY)] for one in (publisher, closing)}
    wait_until(lambda: events[publisher][0].running() and len(publisher._intake._sender._producer) > 0)
    for one, sent in events.items():
        sent += [one.publish(BODY) for _ in range(3)]
    began = time.monotonic()
    closing.close()

    assert time.monotonic() - began < 5
    assert {one.fate for one in events[closing]} <= {Fate.NEVER_SENT, Fate.UNKNOWN}
    assert [one.fate for one in events[closing][1:]] == [Fate.NEVER_SENT] * 3  # they never left our own queue
    assert all(isinstance(one.exception(PATIENCE_SECONDS), PublishError) for one in events[closing])
    with pytest.raises(PublishError, match="the connection is closed"):
        closing.publish(BODY)
    cluster.away(away=False)
    assert all(one.result(PATIENCE_SECONDS) > 1 for one in events[publisher])
    assert publisher.publish(BODY).result(PATIENCE_SECONDS) > 1


def test_what_was_appended_says_so_also_when_it_is_given_up_then(publisher: Publisher) -> None:
    """The fate of an event is the log's."""
    event = publisher.publish(BODY)
    event.result(PATIENCE_SECONDS)
    event.give_up()
    assert event.fate is Fate.APPENDED
    assert Appending().fate is Fate.UNKNOWN


# ---- races


class Hearer:
    """No consumer: it notes nothing."""

    def reached(self) -> dict[int, int]:
        return {}

    def awaits(self, _: object) -> None:
        pass


class Quiet(Answers):
    """Who waits, without a consumer: a test says what comes."""

    def __init__(self) -> None:
        self._waiters: dict[bytes, Any] = {}
        self._lock = threading.Lock()
        self._hearing: Any = Hearer()


def answer_to(event: bytes) -> Answer:
    fields = {"origin": "o", "audit_index": 1, "to": b"", "event_id": bytes(16), "reason": "", "detail": "", "at": 1}
    return Answer(Result(event=event, outcome="ok", **fields))  # type: ignore[arg-type]


def comes(waiter: Any, event: bytes, gate: threading.Barrier, raised: list[Exception]) -> None:
    """Answer as the listener does, and note what it would meet."""
    gate.wait()
    try:
        waiter.future.set_result(answer_to(event))
    except InvalidStateError as exc:
        raised.append(exc)


@pytest.mark.parametrize("moment", range(4))
def test_a_caller_that_gives_up_while_its_answer_comes_gets_one_or_the_other(
    caplog: pytest.LogCaptureFixture, moment: int
) -> None:
    """Thousands of times: an answer, or a call that was given up; never an error in the listener's thread."""
    caplog.set_level(logging.DEBUG)
    answers, given = Quiet(), 0
    for n in range(1500):
        event = n.to_bytes(32, "big")
        sent = Sent(answers, "tool:x/y").listen(bytes(16), event)
        waiter = answers._waiters[event]
        gate = threading.Barrier(2)

        raised: list[Exception] = []
        thread = threading.Thread(target=comes, args=(waiter, event, gate, raised))
        thread.start()
        gate.wait()
        for _ in range(moment * 20):
            pass
        gone = sent.give_up()
        thread.join()
        given += gone
        assert gone == sent.answer.cancelled()
        assert gone or sent.answer.result().result.event == event
        assert bool(raised) == gone
        assert event not in answers._waiters
    assert caplog.records == []


def test_an_error_of_the_brokers_and_an_answer_leave_the_first_of_them() -> None:
    """A broker that says no may have taken the event all the same, and its answer may come in between."""
    for first in ("answer", "error"):
        sent = Sent(Quiet(), "tool:x/y").listen(bytes(16), b"e")
        failed: Future[int] = Future()
        failed.set_exception(PublishError("no"))
        if first == "answer":
            sent.answer.set_result(answer_to(b"e"))
        sent._on_appended(failed)
        if first == "answer":
            assert sent.answer.result().result.outcome == "ok"
        else:
            with pytest.raises(PublishError):
                sent.answer.result()


def test_an_event_that_was_given_up_before_it_was_drafted_leaves_nobody_listening() -> None:
    """Whichever of the two comes first."""
    answers = Quiet()
    sent = Sent(answers, "tool:x/y")
    assert sent.give_up()
    sent.listen(bytes(16), b"e")

    assert answers._waiters == {}
    with pytest.raises(CancelledError):
        sent.answer.result()


@pytest.mark.parametrize("which", ["answer", "pending"])
def test_whoever_waits_is_woken_by_the_first_of_both_answers(which: str, caplog: pytest.LogCaptureFixture) -> None:
    """At once if it is there, when it comes, and not at all if none does; the second one disturbs nobody."""
    for delay in (0.0, 0.05):
        sent = Sent(Quiet(), "tool:x/y").listen(bytes(16), b"e")
        coming = threading.Timer(delay, getattr(sent, which).set_result, [answer_to(b"e")])
        coming.start()
        if not delay:
            coming.join()
        sent.await_first(60)
        assert getattr(sent, which).done()
        coming.join()
        sent.await_first(60)
        other = sent.pending if which == "answer" else sent.answer
        other.set_result(answer_to(b"e"))
    assert caplog.records == []


def test_a_wait_without_an_answer_ends_in_time() -> None:
    sent = Sent(Quiet(), "tool:x/y").listen(bytes(16), b"e")
    for seconds in (-1.0, 0.0, 0.1):
        began = time.monotonic()
        sent.await_first(seconds)
        assert seconds <= time.monotonic() - began < 30
        assert not sent.answer.done()


# ---- log time


@given(
    ahead=st.integers(-limits.ISSUED_AHEAD_MS_MAX, limits.ISSUED_BEHIND_MS_MAX),
    trips=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 5_000)), min_size=1, max_size=6),
)
def test_log_time_is_told_from_answers_to_within_their_trips(ahead: int, trips: list[tuple[int, int]]) -> None:
    """However wrong the clock is, and never further off than without."""
    clock, now = LogClock(), 1_000_000
    for there, back in trips:
        clock.note(now, now + there + ahead, now + there + back)
        now += there + back + 1
        off = abs(clock._ahead_ms - ahead)
        assert off <= there + back
        assert off <= abs(ahead)


@given(at=st.integers(-(2**63), 2**63 - 1), sent=st.integers(0, 2**41), took=st.integers(0, 10_000))
def test_no_answer_moves_the_clock_beyond_what_the_log_takes(at: int, sent: int, took: int) -> None:
    """A monitor that lies about the time gains nothing by it."""
    clock = LogClock()
    clock.note(sent, at, sent + took)
    assert -limits.ISSUED_AHEAD_MS_MAX <= clock._ahead_ms <= limits.ISSUED_BEHIND_MS_MAX
