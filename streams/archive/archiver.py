"""Archiving one tenant: entries behind the last segment become further segments, each read back once it is stored.

An archiver keeps nothing between two rounds but the end of the archive, which it takes from the store: killed at any
instant, it goes on with the next start. Two archivers of one store meet at the name of a segment: the second one takes
over the segment of the first one, if that holds, and goes on behind it.
"""

from __future__ import annotations

import logging
import os

from processors.evidence.archive.bodies import month_of
from processors.evidence.archive.codes import ArchiveCode, SegmentError, segment_name
from processors.evidence.archive.contents import ArchiveEnd, beginning, end_of, entries_of, open_segment
from processors.evidence.archive.segment import INTAKE_PLACE, SALT_BYTES, Owner
from processors.evidence.archive.writing import SEGMENT_BYTES, SEGMENT_ENTRIES, LogRecord, SegmentWriter
from producers.home.clock import clock_ms
from streams.archive.keyring import Keyring
from streams.archive.log_source import Consumers, LogSource
from streams.archive.marks import STORED, ArchiveMark, check_not_shorter
from streams.archive.registered import RegisteredKeys
from streams.archive.store import Store
from streams.history.set_aside import NOTHING, SetAside

log = logging.getLogger(__name__)


class Archiver:
    """Writes the archive of one tenant."""

    def __init__(
        self,
        store: Store,
        owner: Owner,
        keyring: Keyring,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        segment_entries: int = SEGMENT_ENTRIES,
    ) -> None:
        """Find the end of the archive.

        Raises:
            SegmentError: the last segment does not hold, or the store has another name than those of segments.
            StoreError: the store does not answer.
        """
        self._store, self.owner, self._keyring = store, owner, keyring
        self._registry = RegisteredKeys(owner)
        self._bounds = {"bytes_max": segment_bytes, "entries_max": segment_entries}
        self.end = self._stored_end()

    def run_once(self, consumers: Consumers, set_aside: SetAside = NOTHING) -> int:
        """Archive all committed entries behind the end of the archive, but those `set_aside`; return how many.

        Raises:
            SegmentError: a monitor's entry does not continue the archive, or a segment does not read back as stored.
            StoreError: the store does not take a segment; those before stay.
            LogLostError, UnknownSignerError, ReadTimeoutError, KafkaException: the log cannot be read on.
        """
        before = self.end.next_index
        source = LogSource(consumers, self.owner, self._registry, set_aside)
        writer = None
        records = source.records(self.end)
        try:
            for record in records:
                if writer is not None and not writer.fits(record.entry, **self._bounds):
                    if not self._store_segment(writer):
                        return self.end.next_index - before
                    writer = None
                if writer is None:
                    writer = self._writer(record)
                writer.add(record)
        finally:
            records.close()  # type: ignore[attr-defined]
        if writer is not None:
            self._store_segment(writer)
        self._mark()
        source.check_left_out(self.end.next_index)
        if source.gone:
            log.warning(
                "%s: %d records of intake were gone before they were archived; their leaves are kept, and what they "
                "said is lost: keep intake for longer (`macaw topic apply`)",
                self.owner.tenant,
                source.gone,
            )
        return self.end.next_index - before

    def _writer(self, record: LogRecord) -> SegmentWriter:
        month = month_of(record.entry.now)
        keys = self._keyring.lasting, self._keyring.make_month(month)
        return SegmentWriter(self.owner, self.end, month=month, keys=keys, salt=os.urandom(SALT_BYTES))

    def _store_segment(self, writer: SegmentWriter) -> bool:
        """Store a segment and read it back; return False if another archiver stored one there before.

        Raises:
            SegmentError, StoreError: the archive ends as it did before.
        """
        data = writer.encode()
        name = segment_name(self.end.next_index)
        is_ours = self._store.put(name, data)
        back = self._store.get(name)
        if is_ours and back != data:
            raise SegmentError(ArchiveCode.EDITED, "it does not read back as it was stored", segment=name)
        if is_ours:
            self.end = writer.end(data)
            return True
        segment = open_segment(name, back, self.owner, self.end)
        for _ in entries_of(segment, self.owner, self._keyring):
            pass  # the other archiver's segment counts only if it holds
        log.info("%s: another archiver stored %s; going on behind it", self.owner.tenant, name)
        self.end = end_of(segment)
        return False

    def _stored_end(self) -> ArchiveEnd:
        names = self._store.names()
        end = beginning(self.owner)
        if names:
            end = end_of(open_segment(names[-1], self._store.get(names[-1]), self.owner, None))
        check_not_shorter(self._keyring.path, end.next_index)
        return end

    def _mark(self) -> None:
        """Note the end of the archive beside the keys."""
        end = self.end
        offset = end.next_offsets[INTAKE_PLACE]
        mark = ArchiveMark(next_index=end.next_index, next_offset=offset, sha256=end.sha256.hex(), at=clock_ms())
        mark.save(self._keyring.path, STORED)
