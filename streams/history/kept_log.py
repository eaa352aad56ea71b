"""A tenant's log as it is kept: in an archive up to where the brokers begin, and from there on the brokers.

The brokers are the truth about every record that they still have. The archive counts for the records before, and only
if it reaches the brokers' first offset and has the same records as they where both have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol, Self

from processors.intake.identify import Received
from producers.home.security import UNSECURED, Security
from producers.kafka.consuming import UnreadableBatchError
from schemas.errors import EvidenceError, StoppedError
from schemas.topics import INTAKE, Topic
from streams.history.partitions import Whole, whole_partition
from streams.history.records import Gone, Records


class TrimmedError(StoppedError):
    """The brokers have removed the first records of a topic, and no archive has them."""

    code = "TRIMMED"


class ArchiveGapError(StoppedError):
    """The archive ends before the first record that the brokers have."""

    code = "ARCHIVE_GAP"


class ArchiveDiffersError(EvidenceError):
    """The archive and the brokers have different records at one offset."""

    code = "ARCHIVE_DIFFERS"


class Archive(Protocol):
    """The archived partitions of one tenant."""

    def partition(self, topic: Topic, partition: int) -> Records | None:
        """Return the archived records of a partition, None if the archive keeps none of it."""
        ...


OpenArchive = Callable[[], AbstractContextManager[Archive]]


class JoinedRecords:
    """One partition: `archived` up to the first offset of `live`, then `live`.

    Raises:
        ArchiveGapError: the archive begins too late, or ends too early.
        ArchiveDiffersError: the first or the last record that both have is not the same.
    """

    def __init__(self, name: str, archived: Records, live: Records, *, may_have_gap: bool = False) -> None:
        """With `may_have_gap` the offsets that neither has are read as gone."""
        self._name, self._archived, self._live = name, archived, live
        self.low, self.high = min(archived.low, live.low), live.high
        self.gap = range(archived.high, live.low)
        if archived.low > 0 or (self.gap and not may_have_gap):
            raise ArchiveGapError(
                f"{ArchiveGapError.code}: the archive has offsets {archived.low} to {archived.high} of {name}, and the "
                f"brokers have it from offset {live.low} on: the records between are lost; look for a copy of the "
                "archive that has them, and see docs/incidents.md"
            )
        if archived.high > live.high:
            raise ArchiveDiffersError(
                f"{ArchiveDiffersError.code}: the archive has offsets up to {archived.high} of {name}, and the brokers "
                f"only up to {live.high}: the topic was created again, or lost its end; see docs/incidents.md"
            )
        if live.low < archived.high:
            for offset in dict.fromkeys((live.low, archived.high - 1)):
                self._check_same(name, offset)

    def _check_same(self, name: str, offset: int) -> None:
        ours = next(self._archived.read(offset), None)
        try:
            theirs = next(self._live.read(offset), None)
        except UnreadableBatchError:
            return  # the archive may have read it while it could be read; the brokers' answer counts
        if isinstance(ours, Gone) or ours == theirs:
            return
        raise ArchiveDiffersError(
            f"{ArchiveDiffersError.code}: {name} has another record at offset {offset} than the archive: one of the "
            "two was changed, or the archive belongs to another log; see docs/incidents.md"
        )

    def read(self, start: int) -> Iterator[Received | Gone]:
        """Yield the records from an offset on.

        Raises:
            UnreadableBatchError: the brokers cannot read their next batch.
            ArchiveGapError: the archive has fewer records than it said. It also raises its own errors.
        """
        if start < self._live.low:
            yield from self._read_archived(start)
        yield from self._live.read(max(start, self._live.low))

    def _read_archived(self, start: int) -> Iterator[Received | Gone]:
        position = start
        for one in self._archived.read(start):
            if one.offset >= self._live.low:
                return
            position = one.offset + 1
            yield one
        if position < self._archived.high:
            raise ArchiveGapError(
                f"{ArchiveGapError.code}: the archive says that it has {self._name} up to {self._archived.high}, "
                f"and its records end at offset {position}; see docs/incidents.md"
            )
        yield from (Gone(offset) for offset in self.gap if offset >= position)

    def behind(self, offset: int) -> int:
        """Return the first offset after a batch that cannot be read."""
        return self._live.behind(offset)


class KeptLog(AbstractContextManager["KeptLog"]):
    """The partitions of one tenant up to their present ends, each from archive and brokers."""

    def __init__(
        self, bootstrap: str, tenant: str, *, archive: Archive | None = None, security: Security = UNSECURED
    ) -> None:
        self._bootstrap, self._tenant, self._security = bootstrap, tenant, security
        self._archive = archive
        self._stack = ExitStack()

    def live(self, topic: Topic, partition: int = 0) -> Whole:
        """Return a partition as the brokers have it: of intake all records, of others the committed ones."""
        return self._stack.enter_context(
            whole_partition(
                self._bootstrap,
                topic.of(self._tenant),
                partition,
                committed=topic is not INTAKE,
                security=self._security,
            )
        )

    def whole(self, topic: Topic, partition: int = 0) -> Records:
        """Return a partition from its first record on.

        Raises:
            TrimmedError: the brokers have removed the beginning, and the archive has nothing of this partition.
            ArchiveGapError, ArchiveDiffersError: archive and brokers do not fit.
        """
        live = self.live(topic, partition)
        return live if live.low == 0 else self._before(live, topic, partition)

    def with_gaps(self, topic: Topic, partition: int = 0) -> Records:
        """Return a partition as `whole` does, or as much of it as there is. Raises ArchiveDiffersError."""
        live = self.live(topic, partition)
        archived = None if live.low == 0 else self._archived(topic, partition)
        if archived is None:
            return live
        return JoinedRecords(topic.of(self._tenant), archived, live, may_have_gap=True)

    def _before(self, live: Whole, topic: Topic, partition: int) -> JoinedRecords:
        name = topic.of(self._tenant)
        archived = self._archived(topic, partition)
        if archived is None:
            raise TrimmedError(
                f"{TrimmedError.code}: {name} begins at offset {live.low}: its retention has removed the records "
                "before, and this installation has no archive of them; see docs/incidents.md"
            )
        return JoinedRecords(name, archived, live)

    def _archived(self, topic: Topic, partition: int) -> Records | None:
        return None if self._archive is None else self._archive.partition(topic, partition)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
