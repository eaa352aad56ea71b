"""The embedded broker: `noida-db`, one small program that speaks Kafka's protocol.

It serves a first look, a laptop and most tests: transactions, aborts hidden from `read_committed`,
producer fencing, `LogAppendTime`, compaction and consumer groups work. It lacks four things:

- **generation fencing**: a member of an old generation can still commit in a transaction;
- **transaction time-out**: an open transaction holds `read_committed` readers back until a
  producer with the same `transactional.id` starts again, so that id must be stable;
- **fail-over**: a killed group member blocks its group for a minute or more, and a second member
  that uses aiokafka never joins at all: one Faust worker a group; the consumer group protocol of
  Kafka 4 (`group.protocol=consumer`) is not spoken;
- **durability**: records are in memory, and one snapshot file is rewritten whole, seconds later;
  topic ids are all zero.

Because of the last point a start after an unclean stop is refused: the audit log could lack
acknowledged records without a sign of it.
"""

import shutil
import signal
from collections.abc import Sequence
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar, Final

from streams.local.info import COMPACTION, BrokerInfo, BrokerKind, BrokerUnavailableError, UncleanStopError
from streams.local.probe import LOOPBACK, disable_topic_creation
from streams.local.process import LocalBroker

PACKAGE: Final = "noida_db"
DISTRIBUTION: Final = "noida-db"
CAPABILITIES: Final = frozenset({COMPACTION})


class EmbeddedBroker(LocalBroker):
    """A `noida-db` on loopback; its data is in `data_dir`/embedded.

    `discard` deletes that data first, but only when the last stop was not clean.
    """

    name: ClassVar[str] = "embedded"
    start_seconds: ClassVar[float] = 15.0
    # The snapshot is written on SIGTERM: a full broker of 200,000 records takes seconds.
    stop_seconds: ClassVar[float] = 30.0
    death_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, data_dir: Path, port: int = 0, *, discard: bool = False, die_with_parent: bool = True) -> None:
        super().__init__(data_dir, port, die_with_parent=die_with_parent)
        self._discard = discard

    @property
    def store(self) -> Path:
        """The directory that only the broker uses."""
        return self.data_dir / "embedded"

    @property
    def marker(self) -> Path:
        """A file that exists from a start to the next clean stop."""
        return self.data_dir / "embedded.running"

    def _check(self) -> None:
        """Check that the last stop was clean. If it was not, delete the data with `discard`.

        Raises:
            BrokerUnavailableError: the wheel is not installed.
            UncleanStopError: the last stop was not clean, and `discard` is not set.
        """
        find_program()
        if not self.marker.exists():
            return
        if not self._discard:
            raise UncleanStopError(
                f"the embedded broker in {self.data_dir} was not stopped cleanly and may lack its last "
                "records: delete all its data and start again with `macaw up --discard`"
            )
        shutil.rmtree(self.store, ignore_errors=True)
        self.marker.unlink()

    def _command(self, port: int) -> Sequence[str]:
        program = find_program()
        self.marker.touch()
        place = ["--data-dir", str(self.store), "--host", LOOPBACK]
        return [str(program), "start", "--only", "kafka", "--kafka-port", str(port), *place]

    def _answered(self, bootstrap: str) -> BrokerInfo:
        disable_topic_creation(bootstrap)
        return BrokerInfo(
            bootstrap=bootstrap,
            kind=BrokerKind.EMBEDDED,
            version=version(DISTRIBUTION),
            capabilities=CAPABILITIES,
        )

    def _stopped(self, *, clean: bool) -> None:
        if clean:
            self.marker.unlink(missing_ok=True)


def find_program() -> Path:
    """Return the broker's program itself, because the wheel's Python wrapper does not pass signals on.

    Raises:
        BrokerUnavailableError: the wheel is not installed.
    """
    try:
        version(DISTRIBUTION)
        program = Path(str(resources.files(PACKAGE))) / "noida-db"
    except (PackageNotFoundError, ModuleNotFoundError) as error:
        raise BrokerUnavailableError(
            "the embedded broker is not installed: pip install 'macaw-streams[server]', "
            "or name a running one in MACAW_BOOTSTRAP_SERVERS"
        ) from error
    program.chmod(0o755)  # some installers drop the bit; the wrapper sets it too
    return program
