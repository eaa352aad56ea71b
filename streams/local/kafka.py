"""Apache Kafka itself: one KRaft node on loopback, run from jars on a local Java.

`macaw up` uses it and keeps its data. Tests use it where this project claims guarantees, so that such
a test can fail. Its settings are those of a small machine; for production see `docker-compose.yml`.

For tests that kill or pause it (seen with 4.3.1): one node is its own controller. After a kill, or a
pause longer than `broker.session.timeout.ms` (9 s), that controller first takes the broker for dead,
so a restart takes that much longer. In that moment a transaction can lose its marker, if its commit
was answered before the marker was in the partition: the coordinator takes the leaderless partition
for a deleted one. The records then stay behind the last stable offset, and the next transaction of
the same producer decides on them: if it aborts, they are gone. A test that reads the records with
`read_committed` before the kill knows that the marker is there.
"""

import base64
import os
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

from streams.local.class_archive import ClassArchive
from streams.local.info import APACHE_KAFKA, BrokerInfo, BrokerKind, BrokerStartError
from streams.local.jars import KAFKA_VERSION, choose_cache, fetch_jars, find_java
from streams.local.probe import LOOPBACK, find_free_port
from streams.local.process import LocalBroker

FORMAT_SECONDS_MAX: Final = 60.0
HEAP_MIB: Final = 512
FIRST_COMPILER: Final = "-XX:TieredStopAtLevel=1"  # in a broker's first minute the second one costs more than it saves
TRANSACTION_TIMEOUT_MS_MAX: Final = 15_000
"""The longest `transaction.timeout.ms` that a producer may ask for; the clients' default is longer and is refused."""

LOG4J: Final = """\
status = error
appender.file.type = File
appender.file.name = file
appender.file.fileName = {log}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %c: %m%n
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
"""


class KafkaBroker(LocalBroker):
    """An Apache Kafka on loopback; its data is in `data_dir`/kafka. `extra` overrides its settings.

    One that `stays_up` compiles what is hot a second time: after its first minute it answers with half the CPU.
    """

    name: ClassVar[str] = "kafka"
    start_seconds: ClassVar[float] = 90.0
    stop_seconds: ClassVar[float] = 30.0
    # It ends in order, so that no marker of a transaction is lost (see above).
    death_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        *,
        extra: Mapping[str, str] | None = None,
        cache: Path | None = None,
        die_with_parent: bool = True,
        stays_up: bool = False,
    ) -> None:
        super().__init__(data_dir, port, die_with_parent=die_with_parent)
        self._extra = dict(extra or {})
        self._stays_up = stays_up
        self._cache = cache or choose_cache(os.environ)
        self._java = ""
        self._classes: ClassArchive | None = None

    @property
    def store(self) -> Path:
        """The directory of the logs."""
        return self.data_dir / "kafka"

    @property
    def server_log_path(self) -> Path:
        """The file of the broker's warnings."""
        return self.data_dir / "kafka-server.log"

    def _check(self) -> None:
        """Find Java and the jars; the first time, Maven fetches the jars.

        Raises:
            KafkaJarsError: there is no Java, or the jars cannot be fetched.
        """
        self._java = find_java()
        fetch_jars(self._cache)
        self._classes = ClassArchive.of(self._cache, self._java)

    def _command(self, port: int) -> Sequence[str]:
        self._settings_path.write_text(_properties(self._settings(port)))
        self._log4j_path.write_text(LOG4J.format(log=self.server_log_path.name))
        if not (self.store / "meta.properties").exists():
            self._format()
        return self._run("kafka.Kafka", self._settings_path.name, both_compilers=self._stays_up)

    def _answered(self, bootstrap: str) -> BrokerInfo:
        return BrokerInfo(bootstrap=bootstrap, kind=BrokerKind.KAFKA, version=KAFKA_VERSION, capabilities=APACHE_KAFKA)

    @property
    def _settings_path(self) -> Path:
        return self.data_dir / "server.properties"

    @property
    def _log4j_path(self) -> Path:
        return self.data_dir / "log4j2.properties"

    def _run(self, main_class: str, *arguments: str, both_compilers: bool = False) -> list[str]:
        """Return a command that runs in `data_dir`, and names the files there without their folder.

        A settings file of Java is Latin-1 with backslash escapes, `log.dirs` splits at commas, and arguments depend on
        the locale: a path like `/home/jürgen` would lead to another folder.
        """
        return [
            self._java,
            f"-Xmx{HEAP_MIB}m",
            "-XX:+UseSerialGC",  # for two cores; its pauses are short on a small heap
            *([] if both_compilers else [FIRST_COMPILER]),
            *(self._classes.options() if self._classes else []),
            f"-Dlog4j2.configurationFile={self._log4j_path.name}",
            "-cp",
            f"{self._cache / 'libs'}/*",
            main_class,
            *arguments,
        ]

    def _format(self) -> None:
        # A cluster id that begins with a dash would be taken for an option.
        cluster = base64.urlsafe_b64encode(b"m" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        java, *command = self._run("kafka.tools.StorageTool", "format", "-t", cluster, "-c", self._settings_path.name)
        assert self._classes is not None, "check first"
        command = [java, *self._classes.making_options(), *command]
        try:
            subprocess.run(  # noqa: S603 - a list, built by this class
                command, cwd=self.data_dir, capture_output=True, text=True, timeout=FORMAT_SECONDS_MAX, check=True
            )
            self._classes.keep()
        except subprocess.SubprocessError as error:
            self._classes.drop()
            told = getattr(error, "stderr", None) or error
            raise BrokerStartError(
                f"Kafka could not format its storage in {self.store}: check the disk, or delete the folder; Kafka "
                f"said: {told}"
            ) from error

    def _settings(self, port: int) -> dict[str, str]:
        controller = find_free_port()
        return _FIXED | {
            "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
            "log.dirs": self.store.name,
            **self._extra,
        }


_FIXED: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # The inner topics have few partitions, because the first client waits for the directory of each.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "transaction.max.timeout.ms": str(TRANSACTION_TIMEOUT_MS_MAX),
    # By default Kafka looks for transactions past their time-out only every ten seconds.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": str(16 << 20),
}


def _properties(settings: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in settings.items())
