"""Docker is a choice of the tests only where it can be used; everywhere else it costs a line, not a run.

What needs an engine is in `tests/containers/engine_checks.py`.
"""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.local.choose import BrokerKind, BrokerUnavailableError, EmbeddedBroker
from streams.local.jars import KAFKA_VERSION
from tests.docker_broker import IMAGE, NAME, DockerBroker, _variables, choose_test_broker

ROOT = Path(__file__).parents[1]
EMBEDDED = (BrokerKind.ENVIRONMENT, BrokerKind.EMBEDDED)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The address of an engine that is not there."""
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    return path


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


def answer_once(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(answer)


@pytest.mark.usefixtures("nowhere")
def test_without_an_engine_the_next_kind_is_taken_and_the_reason_told(tmp_path: Path) -> None:
    """One line says why docker was passed over."""
    broker, why = choose_test_broker(tmp_path / "data", kinds=EMBEDDED, environ={})

    with broker:
        assert broker.info.kind == BrokerKind.EMBEDDED
    assert why == "no docker engine answers: No such file or directory"


def test_an_engine_that_is_silent_is_passed_over(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and says nothing: a run does not wait for it."""
    monkeypatch.setattr("tests.docker_broker.ENGINE_SECONDS", 0.2)

    with listening(nowhere), pytest.raises(BrokerUnavailableError, match="no docker engine answers: timed out"):
        DockerBroker().start()


def test_what_answers_and_is_no_engine_is_passed_over(nowhere: Path) -> None:
    """Its first line is quoted, and no more of it is read."""
    with listening(nowhere) as listener:
        answering = threading.Thread(target=answer_once, args=(listener, b"x" * 1000))
        answering.start()
        with pytest.raises(BrokerUnavailableError, match=r"no docker engine answers: it says b'x{100}") as raised:
            DockerBroker().start()
        answering.join()

    assert len(str(raised.value)) < 300


def test_an_engine_that_is_forced_is_never_replaced(nowhere: Path, tmp_path: Path) -> None:
    """Who asks for docker gets docker or an error."""
    assert not nowhere.exists()
    with pytest.raises(BrokerUnavailableError, match="no docker engine answers"):
        choose_test_broker(tmp_path, prefer=NAME, environ={})


def test_an_engine_on_another_machine_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not even asked: its ports would have to be open to a network, and the broker asks nobody who they are."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")

    with pytest.raises(BrokerUnavailableError, match=r"192\.0\.2\.1:2375 is not on a socket of this machine"):
        DockerBroker().start()


def test_a_named_broker_and_a_forced_kind_come_first(nowhere: Path, tmp_path: Path) -> None:
    """Docker is not even asked: a connection to it would be waiting."""
    with listening(nowhere) as listener, EmbeddedBroker(tmp_path / "named") as named:
        environ = {"MACAW_BOOTSTRAP_SERVERS": named.info.bootstrap}
        by_name = choose_test_broker(tmp_path / "unused", environ=environ)
        forced = choose_test_broker(tmp_path / "forced", prefer="embedded", environ={})
        listener.setblocking(False)

        with forced[0]:
            assert (by_name[0].info.kind, by_name[1]) == (BrokerKind.ENVIRONMENT, "")
            assert (forced[0].info.kind, forced[1]) == (BrokerKind.EMBEDDED, "")
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_settings_become_the_variables_that_the_image_turns_back() -> None:
    """The broker in a container has the settings of the one from jars."""
    variables = _variables(20_001)

    assert variables["KAFKA_TRANSACTION_MAX_TIMEOUT_MS"] == "15000"
    assert variables["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://127.0.0.1:20001"
    assert variables["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_one_version_of_kafka_is_named_everywhere() -> None:
    """The compose file, the stand-in and the tests' broker are the version whose jars the other tests run."""
    compose, fetching, building = (
        (ROOT / path).read_text("utf-8")
        for path in ("docker-compose.yml", "tests/containers/run.sh", "tests/containers/inside.sh")
    )

    assert f"apache/kafka:{KAFKA_VERSION}" == IMAGE
    assert re.findall(r"apache/kafka:\S+", compose + building) == [IMAGE] * 2
    assert re.findall(r"kafka-tools:(\S+):jar", fetching) == [KAFKA_VERSION]


def test_no_port_of_the_compose_file_is_open_to_a_network() -> None:
    """Its broker and its registry ask nobody who they are."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    ports = re.findall(r"^ +ports:(.*)$", text, re.MULTILINE)

    assert len(ports) == 2
    assert all(re.fullmatch(r' \["127\.0\.0\.1:[^"]+"\]', port) for port in ports)
