"""A connection that cannot be made leaves nothing open, and one that hears no more says so."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from producers.home.home import Home
from producers.home.keys import KeyPair
from producers.kafka import followed_topic
from producers.kafka.answers import Answers, AnswersEndedError
from producers.kafka.connection import Connection
from producers.kafka.publisher import Publisher
from schemas.errors import UnavailableError
from tests.waiting import PATIENCE_SECONDS

NOBODY = "127.0.0.1:1"


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A connection that is told the ends of its partitions, and then finds no broker."""
    monkeypatch.setattr(followed_topic, "watermarks", lambda *_: (0, 0))
    home = Home.create(tmp_path, {"bootstrap": NOBODY})
    folder = home.tenant("acme")
    folder.path.mkdir(parents=True)
    (folder.path / "genesis").write_text("a" * 64)
    with Connection(home, folder, KeyPair.generate(), "shopper") as made:
        yield made


def test_a_connection_that_finds_no_broker_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent tries again and again while the brokers are away."""

    def no_broker(*_: object) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    monkeypatch.setattr(followed_topic, "watermarks", no_broker)
    home = Home.create(tmp_path, {"bootstrap": NOBODY})
    folder = home.tenant("acme")
    folder.path.mkdir(parents=True)
    (folder.path / "genesis").write_text("a" * 64)
    key, others = KeyPair.generate(), set(threading.enumerate())
    for _ in range(2):
        with pytest.raises(UnavailableError, match="do not say where the answers of acme end"):
            Connection(home, folder, key, "shopper")

    left = set(threading.enumerate()) - others
    assert [one.name for one in left if one.name in {"publish-acme", "answers"}] == []


def test_what_fails_to_close_keeps_nothing_else_open(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    def closing(_: Answers) -> None:
        closed.append("answers")

    def failing(_: Publisher) -> None:
        raise KafkaException("it cannot be closed")

    with monkeypatch.context() as patched:
        patched.setattr(Answers, "close", closing)
        patched.setattr(Publisher, "close", failing)
        with pytest.raises(KafkaException):
            connection.close()
    assert closed == ["answers"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_waits_is_told_when_no_answer_is_heard_any_more(connection: Connection) -> None:
    """Somebody's tool may end the threads of its process: a future of `submit` has no other end."""
    answers = connection.answers
    waiting = answers.expect(b"1" * 32)
    time.sleep(0.1)
    ended = ctypes.c_ulong(answers._hearing._thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ended, ctypes.py_object(SystemExit))

    for future in (waiting, answers.expect(b"2" * 32)):
        assert isinstance(told := future.exception(PATIENCE_SECONDS), AnswersEndedError)
        assert "the thread that hears the answers was ended" in str(told)
        assert not told.never_sent
