"""A tenant's log as it is kept: in an archive up to where the brokers begin, and from there on the brokers.

The brokers are the truth about every record that they still have. The archive counts for the records before, and only
if nothing is missing between the two, and both have the same records where they overlap.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

from processors.intake.identify import Received
from producers.home.security import UNSECURED, Security
from producers.kafka.consuming import UnreadableBatchError
from schemas.errors import EvidenceError, StoppedError
from schemas.records import AuditEntry, Decision, Result
from schemas.topics import AUDIT, INTAKE, Topic
from streams.history.partitions import whole_partition
from streams.history.records import Gone, Records, entry_in, present, record_in
from streams.history.set_aside import NOTHING, SetAside, without

OpenLive = Callable[[Topic, int], Records]


class TrimmedError(StoppedError):
    """The brokers have removed the first records of a topic, and no archive has them."""

    code = "TRIMMED"


class ArchiveGapError(StoppedError):
    """The archive lacks records that the brokers do not have any more."""

    code = "ARCHIVE_GAP"


class ArchiveDiffersError(EvidenceError):
    """The archive and the brokers have different records at one offset."""

    code = "ARCHIVE_DIFFERS"


class Archive(Protocol):
    """The archived partitions of one tenant."""

    @property
    def next_index(self) -> int:
        """The audit index behind the last archived entry."""
        ...

    @property
    def next_audit_offset(self) -> int:
        """The offset of the audit topic behind the last archived entry."""
        ...

    def partition(self, topic: Topic, partition: int) -> Records | None:
        """Return the archived records of a partition, None if the archive keeps none of it."""
        ...


OpenArchive = Callable[[], AbstractContextManager[Archive | None]]  # None where the installation has no archive


class JoinedRecords:
    """One partition: `archived` up to the first offset of `live`, then `live`. The offsets of `gap` are gone.

    `seam` are the audit indices of decisions or results that may be missing between the two: nothing tells how many the
    brokers have removed since the archive was written.
    """

    def __init__(self, name: str, archived: Records, live: Records, *, gap: range, seam: range, exactly: bool) -> None:
        """With `exactly` also the times and headers of records must agree, which the fold uses.

        Raises:
            ArchiveDiffersError: the first or the last record that both have is not the same, or the archive is longer.
        """
        self._name, self._archived, self._live, self._is_exact = name, archived, live, exactly
        self.low, self.high, self.gap, self.seam = min(archived.low, live.low), live.high, gap, seam
        if archived.high > live.high:
            raise ArchiveDiffersError(
                f"{ArchiveDiffersError.code}: the archive has {name} up to offset {archived.high}, and the brokers "
                f"only up to {live.high}: the topic was created again, or lost its end; see docs/incidents.md"
            )
        if live.low < archived.high:
            for offset in dict.fromkeys((live.low, archived.high - 1)):
                self._check_same(offset)

    def _check_same(self, offset: int) -> None:
        ours = next(self._archived.read(offset), None)
        try:
            theirs = next(self._live.read(offset), None)
        except UnreadableBatchError:
            return  # the archive may have read it while it could be read; the brokers' answer counts
        if isinstance(ours, Gone) or self._told(ours) == self._told(theirs):
            return
        if not self._is_exact and (ours is None or theirs is None or ours.offset != theirs.offset):
            return  # another program wrote there: an archive keeps only records that the monitor signed
        raise ArchiveDiffersError(
            f"{ArchiveDiffersError.code}: {self._name} has another record at offset {offset} than the archive: one of "
            "the two was changed, or the archive belongs to another log; see docs/incidents.md"
        )

    def _told(self, one: Received | Gone | None) -> object:
        if not isinstance(one, Received):
            return one
        place = one.partition, one.offset, one.value
        return (*place, one.appended_at, [*one.headers]) if self._is_exact else place

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
                f"{ArchiveGapError.code}: the archive says that it has {self._name} up to {self._archived.high}, and "
                f"its records end at offset {position}; see docs/incidents.md"
            )
        yield from (Gone(offset) for offset in self.gap if offset >= position)

    def behind(self, offset: int) -> int:
        """Return the first offset after a batch that cannot be read."""
        return self._live.behind(offset)


class KeptLog:
    """The partitions of one tenant up to their present ends, each from archive and brokers."""

    def __init__(
        self, tenant: str, live: OpenLive, archive: Callable[[], Archive | None], set_aside: SetAside = NOTHING
    ) -> None:
        """`live` opens a partition as the brokers have it: of intake all records, of others the committed ones.

        `archive` gives the archive. It is asked for once, and only if the brokers have removed records. Records that
        are set aside are read past.
        """
        self.live: OpenLive = lambda topic, partition: without(live(topic, partition), set_aside, topic, partition)
        self._tenant, self._archive = tenant, functools.cache(archive)

    def whole(self, topic: Topic, partition: int = 0) -> Records:
        """Return a partition from its first record on, without a hole.

        Raises:
            TrimmedError: the brokers have removed the beginning, and no archive has it.
            ArchiveGapError, ArchiveDiffersError: archive and brokers do not fit.
        """
        found = self.as_kept(topic, partition)
        name = topic.of(self._tenant)
        if found.low > 0:
            raise TrimmedError(
                f"{TrimmedError.code}: {name} begins at offset {found.low}: its retention has removed the records "
                "before, and this installation has no archive of them; see docs/incidents.md"
            )
        if isinstance(found, JoinedRecords) and found.gap:
            raise _gap_error(name, found.gap)
        return found

    def as_kept(self, topic: Topic, partition: int = 0) -> Records:
        """Return as much of a partition as there is; its `low` is above 0 if no archive has the beginning.

        Raises:
            ArchiveDiffersError: the archive is not of this log.
        """
        live = self.live(topic, partition)
        archive = self._archive() if live.low > 0 else None
        archived = None if archive is None else archive.partition(topic, partition)
        if archive is None or archived is None:
            return live
        gap = seam = range(0)
        if archived.high < live.low and topic is INTAKE:
            gap = self._gap(live, archive)
        elif archived.high < live.low:
            first = next(present(live.read(live.low)), None)
            seam = range(archive.next_index, sys.maxsize if first is None else index_of(first.value))
            gap = range(archived.high, live.low) if topic is AUDIT and seam and first is not None else gap
        name = topic.of(self._tenant)
        return JoinedRecords(name, archived, live, gap=gap, seam=seam, exactly=topic is INTAKE)

    def _gap(self, live: Records, archive: Archive) -> range:
        """Return the offsets of intake that neither has. Markers of transactions take offsets too, and are no gap."""
        audit = self.live(AUDIT, 0)
        later = (entry_in(one.value) for one in present(audit.read(max(audit.low, archive.next_audit_offset))))
        offsets = (entry.offset for entry in later if entry is not None and entry.index >= archive.next_index)
        return range(min(next(offsets, live.low), live.low), live.low)


def index_of(value: bytes | None) -> int:
    """Return the audit index that an entry, a decision or a result names; 0 for any other value."""
    match record_in(value):
        case AuditEntry() as entry:
            return entry.index
        case Decision() | Result() as output:
            return output.audit_index
        case None:
            return 0


def _gap_error(name: str, gap: range) -> ArchiveGapError:
    return ArchiveGapError(
        f"{ArchiveGapError.code}: neither the archive nor the brokers have offsets {gap.start} to {gap.stop - 1} of "
        f"{name}; look for a copy of the archive that has them, and see docs/incidents.md"
    )


@contextmanager
def kept_log(
    bootstrap: str,
    tenant: str,
    *,
    archive: OpenArchive | None = None,
    security: Security = UNSECURED,
    set_aside: SetAside = NOTHING,
) -> Iterator[KeptLog]:
    """Give a tenant's log for reading; its consumers and its archive are closed with the block."""
    with ExitStack() as stack:

        def live(topic: Topic, partition: int) -> Records:
            name, committed = topic.of(tenant), topic is not INTAKE
            return stack.enter_context(
                whole_partition(bootstrap, name, partition, committed=committed, security=security)
            )

        yield KeptLog(tenant, live, lambda: None if archive is None else stack.enter_context(archive()), set_aside)
