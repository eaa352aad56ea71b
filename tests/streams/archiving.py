"""An archive of a tenant on a broker, written in one go from what its topics hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from processors.evidence.archive.bodies import month_of
from processors.evidence.archive.contents import beginning, end_of
from processors.evidence.archive.segment import OUTPUT_TOPICS, StoredOutput, parse_segment
from processors.evidence.archive.writing import LogRecord, SegmentWriter
from processors.intake.identify import Received
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.home.home import Home, TenantHome
from schemas.topics import AUDIT, INTAKE
from streams.archive.keyring import Keyring
from streams.archive.partitions import ArchivedPartitions
from streams.archive.reading import ArchivedLog
from streams.archive.store import FolderStore
from streams.history.kept_log import index_of, kept_log
from streams.history.records import Records, entry_in, present
from tests.builders import noise

SEGMENT_ENTRIES = 16


def archive(home: Home, folder: TenantHome, target: Path, *, entries: int | None = None) -> None:
    """Archive the first entries of a log, or all that there are, in segments of SEGMENT_ENTRIES."""
    keys, store = Keyring(folder.path), FolderStore(target)
    keys.make_lasting()
    owner = keys.owner(folder.tenant, home.deployment, folder.genesis)
    end, salts = beginning(owner), 0
    records = list(log_records(home, folder))[:entries]
    for at in range(0, len(records), SEGMENT_ENTRIES):
        month = month_of(records[at].entry.now)
        pair = keys.make_lasting(), keys.make_month(month)
        writer = SegmentWriter(owner, end, month=month, keys=pair, salt=noise("salt", salts)[:16])
        for record in records[at : at + SEGMENT_ENTRIES]:
            writer.add(record)
        data, salts = writer.encode(), salts + 1
        segment = parse_segment(data, owner)
        assert store.put(segment.header.name, data)
        end = end_of(segment)


def log_records(home: Home, folder: TenantHome) -> Iterator[LogRecord]:
    """Yield what an archiver keeps of each entry."""
    with kept_log(home.bootstrap, folder.tenant) as kept:
        intake = {one.offset: one for one in everything(kept.whole(INTAKE))}
        outputs: dict[int, list[tuple[bytes, StoredOutput]]] = {}
        for number, topic in enumerate(OUTPUT_TOPICS):
            for partition in range(topic.partitions):
                for one in everything(kept.whole(topic, partition)):
                    stored = StoredOutput(number, partition, one.offset, one.value or b"")
                    outputs.setdefault(index_of(one.value), []).append((one.value or b"", stored))
        for one in everything(kept.whole(AUDIT)):
            entry = entry_in(one.value)
            assert entry is not None
            found = outputs.get(entry.index, [])
            yield LogRecord(
                entry=entry, offset=one.offset, time=one.appended_at, value=one.value or b"",
                kid=one.header(KID_HEADER), proof=one.header(PROOF_HEADER), received=intake[entry.offset],
                outputs=tuple(stored for _, stored in found) if len(found) < 2 else None,
            )  # fmt: skip


def everything(records: Records) -> Sequence[Received]:
    return list(present(records.read(records.low)))


@contextmanager
def opened(home: Home, folder: TenantHome, target: Path) -> Iterator[ArchivedPartitions]:
    """Open an archive as a worker or a command does."""
    keys, store = Keyring(folder.path), FolderStore(target)
    try:
        owner = keys.owner(folder.tenant, home.deployment, folder.genesis)
        yield ArchivedPartitions(ArchivedLog(store, owner, keys))
    finally:
        store.close()
