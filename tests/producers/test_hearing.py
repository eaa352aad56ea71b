"""One consumer for many listeners, on a real broker: each hears the records of its keys, all of them and no others."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from producers.kafka import hearing as hearing_module
from producers.kafka.consuming import watermarks
from producers.kafka.hearing import AnswersEndedError, Hearing
from schemas import topics
from schemas.topics import RESULTS
from streams.local.choose import BrokerInfo
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker


class Ear:
    """A listener that believes everything, and waits until it is told how much it has heard enough."""

    def __init__(self, kid: bytes) -> None:
        self.kids = (kid,)
        self.heard: list[bytes] = []
        self.is_waiting = False
        self.why: Exception | None = None

    def take(self, message: Any) -> None:
        assert message.key() == self.kids[0]
        if message.value() == b"broken":
            raise LookupError("no such token")
        self.heard.append(message.value())

    def fail(self, why: Exception) -> None:
        self.why, self.is_waiting = why, False


class Log:
    """The topic of answers, and its writer."""

    def __init__(self, bootstrap: str, tenant: str) -> None:
        self.bootstrap, self.tenant = bootstrap, tenant
        new = NewTopic(RESULTS.of(tenant), num_partitions=RESULTS.partitions, replication_factor=1)
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([new])[new.topic].result(PATIENCE_SECONDS)
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})

    def answer(self, kid: bytes, value: bytes) -> None:
        """Put a record under a key on its partition."""
        self._producer.produce(RESULTS.of(self.tenant), value, kid, topics.keyed_partition(kid))

    def flush(self) -> None:
        assert self._producer.flush(PATIENCE_SECONDS) == 0


@pytest.fixture(scope="module")
def log(broker: BrokerInfo) -> Log:
    return Log(broker.bootstrap, f"h{random.getrandbits(32):x}")


@pytest.fixture
def hearing(log: Log) -> Iterator[Hearing]:
    asking = Consumer({"bootstrap.servers": log.bootstrap, "group.id": "none", "isolation.level": "read_committed"})
    made = Hearing(log.bootstrap, log.tenant, partial(watermarks, asking))
    yield made
    made.close()
    asking.close()


def kid(number: int, partition: int) -> bytes:
    return number.to_bytes(31, "big") + bytes([partition])


def test_listeners_come_and_go_and_no_record_is_lost_or_crosses(log: Log, hearing: Hearing) -> None:
    """In any order; each hears all records to it between its coming and its going, and no others, in order.

    A record that is under way while another listener comes to a new partition, or the last one leaves one, is heard.
    """
    choose = random.Random(15)
    ears, sent, gone = list[Ear](), dict[Ear, list[bytes]](), list[Ear]()
    for step in range(400):
        act = choose.random()
        if act < 0.2 or not ears:
            ear = Ear(kid(step, choose.randrange(RESULTS.partitions)))
            hearing.join(ear)
            ears.append(ear)
            sent[ear] = []
        elif act < 0.35:
            ear = ears.pop(choose.randrange(len(ears)))
            log.flush()
            wait_until(lambda: ear.heard == sent[ear])  # noqa: B023 - it is called at once
            ear.is_waiting = False
            hearing.leave(ear)
            log.answer(ear.kids[0], b"too late")
            gone.append(ear)
        elif act < 0.45:  # one who is answered waits no longer, so at times nobody does
            for ear in ears:
                ear.is_waiting = ear.is_waiting and ear.heard != sent[ear]
        else:
            ear = choose.choice(ears)
            ear.is_waiting = True
            hearing.awaits(ear)
            sent[ear].append(f"{step}".encode())
            log.answer(ear.kids[0], sent[ear][-1])
    log.flush()
    for ear in ears:
        wait_until(lambda: ear.heard == sent[ear])  # noqa: B023 - it is called at once
    assert len(gone) > 30
    assert [one.heard for one in gone] == [sent[one] for one in gone]
    assert hearing.deaf is None


def test_both_listeners_of_one_key_hear_it(log: Log, hearing: Hearing) -> None:
    """Each verifies for itself; one that leaves takes nothing from the other."""
    one, other = Ear(kid(1, 1)), Ear(kid(1, 1))
    for ear in (one, other):
        hearing.join(ear)
        ear.is_waiting = True
        hearing.awaits(ear)
    log.answer(kid(1, 1), b"a")
    wait_until(lambda: one.heard == other.heard == [b"a"])
    hearing.leave(one)
    log.answer(kid(1, 1), b"b")
    wait_until(lambda: other.heard == [b"a", b"b"])
    assert one.heard == [b"a"]


def test_an_answer_that_one_listener_cannot_take_costs_the_others_nothing(log: Log, hearing: Hearing) -> None:
    """A key on a token that was taken away, say."""
    bad, good = Ear(kid(2, 2)), Ear(kid(3, 2))
    for ear in (bad, good):
        hearing.join(ear)
        ear.is_waiting = True
        hearing.awaits(ear)
    log.answer(kid(2, 2), b"broken")
    log.answer(kid(3, 2), b"whole")
    wait_until(lambda: good.heard == [b"whole"])

    assert isinstance(bad.why, AnswersEndedError)
    assert "no such token" in str(bad.why)
    assert hearing.deaf is None
    assert good.why is None


def test_a_long_rest_passes_over_the_answers_to_others(
    log: Log, hearing: Hearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not over one that is asked for while the ends are looked up."""
    monkeypatch.setattr(hearing_module, "SKIP_SECONDS", 0.0)
    monkeypatch.setattr(hearing_module, "REST_SECONDS", 0.01)
    ear = Ear(kid(4, 0))
    hearing.join(ear)
    begin = hearing.reached()[0]
    for _ in range(50):
        log.answer(kid(5, 0), b"to another")
    log.flush()
    wait_until(lambda: hearing.reached()[0] == begin + 50)

    end_of, looked, go_on = hearing._end_of, threading.Event(), threading.Event()

    def slow(partition: int) -> int:
        if ear.heard or looked.is_set():
            return end_of(partition)
        looked.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return end_of(partition)  # behind the record by then

    monkeypatch.setattr(hearing, "_end_of", slow)
    assert looked.wait(PATIENCE_SECONDS)
    ear.is_waiting = True
    hearing.awaits(ear)
    log.answer(kid(4, 0), b"awaited")
    log.flush()
    go_on.set()
    wait_until(lambda: ear.heard == [b"awaited"])
