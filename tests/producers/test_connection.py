"""A connection that cannot be made leaves nothing open."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from producers.home.home import Home
from producers.home.keys import KeyPair
from producers.kafka.answers import Answers
from producers.kafka.connection import Connection
from producers.kafka.publisher import Publisher
from schemas.errors import UnavailableError

NOBODY = "127.0.0.1:1"


def test_a_connection_that_finds_no_broker_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent tries again and again while the brokers are away."""

    def no_broker(_: Answers) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    monkeypatch.setattr(Answers, "_assign", no_broker)
    home = Home.create(tmp_path, {"bootstrap": NOBODY})
    folder = home.tenant("acme")
    folder.path.mkdir(parents=True)
    (folder.path / "genesis").write_text("a" * 64)
    key = KeyPair.generate()
    for _ in range(2):
        with pytest.raises(UnavailableError, match="do not say where the answers of acme end"):
            Connection(home, folder, key, "shopper")

    assert [one.name for one in threading.enumerate() if one.name == "publish-shopper"] == []


def test_what_fails_to_close_keeps_nothing_else_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    def closing(_: Answers) -> None:
        closed.append("answers")

    def failing(_: Publisher) -> None:
        raise KafkaException("it cannot be closed")

    monkeypatch.setattr(Answers, "_assign", lambda _: None)
    home = Home.create(tmp_path, {"bootstrap": NOBODY})
    folder = home.tenant("acme")
    folder.path.mkdir(parents=True)
    (folder.path / "genesis").write_text("a" * 64)
    connection = Connection(home, folder, KeyPair.generate(), "shopper")
    connection.answers.close()
    connection.publisher.close()
    monkeypatch.setattr(Answers, "close", closing)
    monkeypatch.setattr(Publisher, "close", failing)

    with pytest.raises(KafkaException):
        connection.close()
    assert closed == ["answers"]
