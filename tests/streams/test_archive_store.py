"""Segments on a disk: stored once, read back, and nothing else is read."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from processors.evidence.archive.bodies import Absent, month_of
from processors.evidence.archive.codes import SegmentError, segment_name
from processors.evidence.archive.segment import SEGMENT_BYTES_MAX
from schemas.topics import DECISIONS, RESULTS
from streams.archive.keyring import ArchiveKeyError, Keyring
from streams.archive.reading import ArchivedLog, Span
from streams.archive.store import FolderStore, StoreError
from tests.archives import KeysInMemory, owner_of, records_of, segments_of
from tests.reference.log_builder import build_log
from tests.waiting import PATIENCE_SECONDS

LOG = build_log()
OWNER = owner_of(LOG)
RECORDS = records_of(LOG)
ARCHIVE = segments_of(RECORDS, OWNER, cuts=(5, 9, 20))
NAMES = sorted(ARCHIVE)
NAME = segment_name(0)


def filled(path: Path, segments: dict[str, bytes] = ARCHIVE) -> FolderStore:
    store = FolderStore(path)
    for name, data in segments.items():
        assert store.put(name, data)
    return store


# --- the folder


def test_a_segment_is_stored_once_for_its_owner_only(tmp_path: Path) -> None:
    store = filled(tmp_path / "archive")

    assert store.names() == NAMES
    assert store.get(NAME) == ARCHIVE[NAME]
    assert store.put(NAME, b"another") is False
    assert store.get(NAME) == ARCHIVE[NAME]
    assert store.sizes() == sum(map(len, ARCHIVE.values()))
    assert stat.S_IMODE((tmp_path / "archive").stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "archive").iterdir()} == {0o600}


def test_of_many_that_store_one_name_at_once_one_wins(tmp_path: Path) -> None:
    stores = [FolderStore(tmp_path) for _ in range(8)]
    ready, won = threading.Barrier(8), []

    def put(number: int) -> None:
        ready.wait()
        won.append((stores[number].put(NAME, bytes([number]) * 1000), number))

    threads = [threading.Thread(target=put, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (winner,) = [number for did, number in won if did]
    assert stores[0].get(NAME) == bytes([winner]) * 1000
    assert [p.name for p in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("name", ["../evil.segment", "notes.txt", "..", NAME + "/x", "/tmp/" + NAME, ""])
def test_no_other_name_is_written_or_read(tmp_path: Path, name: str) -> None:
    store = FolderStore(tmp_path / "archive")
    for act in (lambda: store.put(name, b""), lambda: store.get(name), lambda: store.start(name)):
        with pytest.raises(SegmentError, match="BAD_NAME"):
            act()
    assert list(tmp_path.rglob("*")) == [tmp_path / "archive"]


def test_a_file_that_does_not_belong_there_is_named(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SegmentError, match=r"BAD_NAME.*notes\.txt"):
        store.names()


def test_links_pipes_folders_and_devices_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(ARCHIVE[NAME])
    for number, make in enumerate((lambda p: p.symlink_to(tmp_path / "elsewhere"), os.mkfifo, os.mkdir)):
        store = FolderStore(tmp_path / str(number))
        make(tmp_path / str(number) / NAME)
        for read in (store.get, store.start):
            with pytest.raises(SegmentError, match=f"NOT_A_SEGMENT.*{NAME}") as caught:
                read(NAME)
            assert caught.value.segment == NAME
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "0")
    with pytest.raises(StoreError, match="cannot be opened"):
        FolderStore(link)


def test_ten_gigabytes_are_not_read(tmp_path: Path) -> None:
    """The file is sparse: it claims its size and takes no room."""
    store = FolderStore(tmp_path)
    with (tmp_path / NAME).open("wb") as file:
        file.truncate(10 * 10**9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SegmentError, match="TOO_LARGE"):
        store.get(NAME)
    assert len(store.start(NAME)) == 1024
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < SEGMENT_BYTES_MAX // 1024


FULL = """
import resource, signal, sys
from pathlib import Path
from streams.archive.store import FolderStore, StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = FolderStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    store.put(sys.argv[2], bytes(100_000))
except StoreError as exc:
    print(exc.is_full, exc, store.names(), sorted(p.name for p in Path(sys.argv[1]).iterdir()))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(store.put(sys.argv[2], bytes(100_000)), store.names())
"""


def test_a_disk_without_room_takes_nothing_and_says_so(tmp_path: Path) -> None:
    """The kernel itself refuses the write, in a process of its own: half a segment never stands under a name."""
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), NAME],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    full, later = ran.stdout.splitlines()
    assert full.startswith("True ")
    assert "make room" in full
    assert full.endswith("[] []")
    assert later == f"True ['{NAME}']"


def test_what_was_begun_and_not_finished_is_no_segment_and_leaves(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    left = tmp_path / f".{NAME}.0123456789abcdef"
    left.write_bytes(b"half")
    assert store.names() == []
    FolderStore(tmp_path)
    assert left.exists()  # another archiver may be writing it
    os.utime(left, (0, 0))
    FolderStore(tmp_path)
    assert not left.exists()


# --- reading back


def test_a_log_comes_back_from_any_place_on(tmp_path: Path) -> None:
    log = ArchivedLog(filled(tmp_path), OWNER, KeysInMemory())

    assert log.span == Span(len(RECORDS), RECORDS[-1].entry.offset + 1, len(NAMES), log.span.next_offsets)
    assert len(log.span.next_offsets) == 10
    for start in range(len(RECORDS) + 1):
        want = [r.entry.offset for r in RECORDS if r.entry.offset >= start]
        assert [one.offset for one in log.intake(start)] == want
        audit = list(log.audit(start))
        assert [a.record.value for a in audit] == [r.value for r in RECORDS[start:]]
    for topic, kind in ((DECISIONS, 0), (RESULTS, 1)):
        for partition in range(4):
            whole = [o for r in RECORDS for o in r.outputs or () if (o.topic, o.partition) == (kind, partition)]
            for start in range(len(whole) + 1):
                found = list(log.outputs(topic, partition, start))
                assert [(o.offset, o.value) for o in found] == [(o.offset, o.value) for o in whole[start:]]


def test_an_empty_archive_has_no_span(tmp_path: Path) -> None:
    log = ArchivedLog(FolderStore(tmp_path), OWNER, KeysInMemory())
    assert log.span == Span()
    assert list(log.intake()) == []


def test_a_record_without_its_bytes_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    month = month_of(RECORDS[0].entry.now)
    log = ArchivedLog(filled(tmp_path), OWNER, KeysInMemory(destroyed={month}))

    found = list(log.intake())
    assert [one.offset for one in found] == [r.entry.offset for r in RECORDS]
    absent = [one for one in found if isinstance(one, Absent)]
    assert [one.leaf for one in absent] == [RECORDS[one.offset].entry.event for one in absent]
    assert all(one.was_shredded for one in absent)
    assert 0 < len(absent) < len(found)


def test_a_reader_comes_no_further_than_the_archive_holds(tmp_path: Path) -> None:
    lost = filled(tmp_path / "lost", {n: d for n, d in ARCHIVE.items() if n != NAMES[1]})
    log = ArchivedLog(lost, OWNER, KeysInMemory())
    with pytest.raises(SegmentError, match="LOST_SEGMENT at entry 5"):
        list(log.intake())
    edited = filled(tmp_path / "edited", {**ARCHIVE, NAMES[1]: ARCHIVE[NAMES[1]][:-100] + bytes(100)})
    seen = []
    with pytest.raises(SegmentError, match=f"EDITED: {NAMES[1]}"):
        seen.extend(ArchivedLog(edited, OWNER, KeysInMemory()).intake())
    assert [one.offset for one in seen] == [0, 1, 2, 3, 4]
    with pytest.raises(SegmentError, match="LOST_SEGMENT at entry 0"):
        ArchivedLog(filled(tmp_path / "headless", {n: ARCHIVE[n] for n in NAMES[1:]}), OWNER, KeysInMemory())


# --- the keys


def test_keys_are_made_once_and_read_again(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    with pytest.raises(ArchiveKeyError, match="no archive key"):
        _ = ring.lasting
    lasting, month = ring.make_lasting(), ring.make_month(24_322)

    again = Keyring(tmp_path)
    assert (again.lasting, again.of_month(24_322)) == (lasting, month)
    assert again.make_month(24_322) == month
    assert again.months() == [24_322]
    assert {stat.S_IMODE(p.stat().st_mode) for p in ring.path.iterdir()} == {0o600}
    assert sorted(p.name for p in ring.path.iterdir()) == ["2026-11.key", "lasting.key"]
    assert lasting.hex() not in repr(ring)


def test_a_missing_key_is_not_a_destroyed_one(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    ring.make_month(24_322)
    with pytest.raises(SegmentError, match="WRONG_KEY"):
        ring.of_month(24_321)
    ring.destroy(24_322, b"{}")
    assert ring.of_month(24_322) is None
    assert Keyring(tmp_path).of_month(24_322) is None
    assert ring.months() == []
    with pytest.raises(ArchiveKeyError, match="2026-11 was destroyed"):
        ring.make_month(24_322)


def test_a_key_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    ring.make_lasting()
    file = ring.path / "lasting.key"
    file.chmod(0o640)
    with pytest.raises(ArchiveKeyError, match="chmod 600"):
        _ = Keyring(tmp_path).lasting
    file.chmod(0o600)
    file.write_text("no key")
    with pytest.raises(ArchiveKeyError, match="64 hex digits") as caught:
        _ = Keyring(tmp_path).lasting
    assert "no key" not in str(caught.value)
