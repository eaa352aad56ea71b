"""The archive of a tenant of this installation, as exports, replays, explanations and workers read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from producers.home.home import Home, TenantHome
from streams.archive.partitions import ArchivedPartitions
from streams.archive.places import archived_log
from streams.history.kept_log import Archive, OpenArchive


def archive_of(home: Home, folder: TenantHome) -> OpenArchive:
    """Return a function that opens the archive of a tenant, None if this installation has none; nothing is read yet.

    The function raises ArchiveKeyError, ArchivePlaceError, StoreError or SegmentError for an archive that cannot be
    read.
    """

    @contextmanager
    def opened() -> Iterator[Archive | None]:
        with archived_log(home, folder) as log:
            yield None if log is None else ArchivedPartitions(log)

    return opened
