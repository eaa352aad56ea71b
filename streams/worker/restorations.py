"""The partitions that a worker is restoring: a few at a time, each on its own thread with its own reader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from streams.worker.fold import TenantFold
from streams.worker.lanes import Lanes
from streams.worker.partition import Partition
from streams.worker.restart_reading import RestartReader
from streams.worker.resume import Restoration
from streams.worker.settings import LoopSettings

RESTORING_MAX = 4  # each has connections of its own
RETRY_SECONDS = 5.0  # before a failed restoration is tried again
KEY_SECONDS = 1.0  # the same where only a key is missing: nothing is read then but the key files and new records


class Restorations:
    """The restorations of one worker. A long one delays neither the others nor the group."""

    def __init__(self, settings: LoopSettings, open_fold: Callable[[str], TenantFold | None]) -> None:
        self._settings = settings
        self._open_fold = open_fold
        self._pending: list[Partition] = []
        self._readers = [RestartReader(settings.consumer())]  # idle; the first connects while the worker joins
        self._busy = 0

    @property
    def are_under_way(self) -> bool:
        return self._busy > 0

    def add(self, partition: Partition) -> None:
        """Queue a partition for restoring."""
        self._pending.append(partition)

    def add_again(self, partition: Partition, pause: float) -> None:
        """Queue a partition again after a failure that may pass; it is tried after `pause` seconds."""
        partition.restore_at = time.monotonic() + pause
        self._pending.append(partition)

    def ended(self, owned: Mapping[str, Partition], lanes: Lanes) -> Iterator[tuple[Partition, Restoration]]:
        """Begin queued restorations, yield those that have ended, and stop those of partitions that are not `owned`.

        INVARIANT: none begins while one of these lanes commits for the same partition. A restoration waits for another
        worker's transaction by the offset that it holds; one of our own may not have sent its offset yet, and the log
        would be read without it.
        """
        pending, self._pending = self._pending, []
        for partition in pending:
            restoration = partition.restoration
            if owned.get(partition.topic) is not partition:
                self._stop(partition)
            elif restoration is not None and restoration.is_done:
                partition.restoration = None
                self._readers.append(restoration.reader)
                self._busy -= 1
                yield partition, restoration
            else:
                if restoration is None and lanes.of(partition.topic) is None:
                    self._begin(partition)
                self._pending.append(partition)

    def _begin(self, partition: Partition) -> None:
        if self._busy < RESTORING_MAX and time.monotonic() >= partition.restore_at:
            reader = self._readers.pop() if self._readers else RestartReader(self._settings.consumer())
            partition.restoration = Restoration(partition.topic, self._open_fold, reader, partition.wait)
            self._busy += 1

    def _stop(self, partition: Partition) -> None:
        if partition.restoration is not None:
            partition.restoration.stop()
            partition.restoration = None
            self._busy -= 1

    def close(self) -> None:
        """Stop all restorations and release the connections."""
        for partition in self._pending:
            self._stop(partition)
        for reader in self._readers:
            reader.close()
