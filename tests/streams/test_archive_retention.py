"""Keys of months are destroyed when all of a month is older than the profile, and never under a legal hold."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from processors.evidence.archive.bodies import Absent, month_end_ms, month_of, month_text
from processors.evidence.archive.codes import ArchiveCode, SegmentError
from processors.evidence.archive.segment import parse_header
from processors.evidence.archive.verdict import verify_archive
from streams.archive.keyring import Keyring
from streams.archive.marks import STORED, ArchiveMark, MarkError, check_not_shorter
from streams.archive.reading import ArchivedLog
from streams.archive.retention import (
    PROFILES,
    HeldError,
    LegalHold,
    NotTrimmedError,
    OnBrokers,
    RetentionError,
    check_no_hold,
    expire,
    expired_months,
    release_hold,
    set_hold,
)
from streams.archive.store import FolderStore
from tests.archives import records_of, segments_of
from tests.reference.log_builder import SmallLog, build_world

MONTH_MS = 31 * 24 * 3600 * 1000


@pytest.fixture
def old(tmp_path: Path) -> tuple[Keyring, ArchivedLog, FolderStore, list[int]]:
    """An archive of four months, with its keys."""
    world = build_world("months")
    for _ in range(3):
        world.advance(MONTH_MS)
        world.publish_policy({"policy_id": "company:x", "resources": ["tool:**"]})
    log = SmallLog.of(world)
    ring = Keyring(tmp_path)
    ring.make_lasting()
    months = sorted({month_of(entry.now) for entry in log.entries})
    for month in months:
        ring.make_month(month)
    owner = ring.owner(world.tenant, world.deployment, world.genesis)
    store = FolderStore(tmp_path / "archive")
    for name, data in segments_of(records_of(log), owner, ring).items():  # type: ignore[arg-type]
        assert store.put(name, data)
    return ring, ArchivedLog(store, owner, ring), store, months


def test_a_destroyed_month_reads_as_absent_and_the_rest_is_whole(
    old: tuple[Keyring, ArchivedLog, FolderStore, list[int]],
) -> None:
    ring, log, store, months = old
    first = log.last_offset_of(months[0])
    assert first is not None
    assert log.last_offset_of(months[0] - 1) is None
    records = list(log.intake())
    now = records[-1].appended_at + 5 * MONTH_MS  # type: ignore[union-attr]
    gone = expired_months(ring, "6-months", now)
    assert gone == months[:2]

    with pytest.raises(NotTrimmedError, match=r"STILL_ON_BROKERS.*trim --to"):
        expire(ring, gone, profile="6-months", now_ms=now, archive=log, brokers=OnBrokers(first, None))
    assert ring.months() == months
    last = log.last_offset_of(gone[-1])
    assert last is not None
    expire(ring, gone, profile="6-months", now_ms=now, archive=log, brokers=OnBrokers(last + 1, None))

    assert ring.months() == months[2:]
    owner = ring.owner("acme", "test", log.owner.genesis)
    fresh = Keyring(ring.path.parent)
    found = list(ArchivedLog(store, owner, fresh).intake())
    absent = [one for one in found if isinstance(one, Absent)]
    assert [one.offset for one in found] == [one.offset for one in records]
    assert all(one.was_shredded for one in absent)
    assert max(one.offset for one in absent) == last
    verdict = verify_archive(lambda: ((n, store.get(n)) for n in store.names()), owner, fresh)
    assert (verdict.code, verdict.shredded) == (ArchiveCode.WHOLE, len(absent))


def test_a_hold_forbids_the_destruction(old: tuple[Keyring, ArchivedLog, FolderStore, list[int]]) -> None:
    ring, log, _, months = old
    set_hold(ring.path, LegalHold(reason="case", since=1))
    with pytest.raises(HeldError, match="LEGAL_HOLD"):
        expire(ring, months, profile="6-months", now_ms=2**43, archive=log, brokers=OnBrokers(2**40, None))
    assert ring.months() == months


Old = tuple[Keyring, ArchivedLog, FolderStore, list[int]]


def expire_at(ring: Keyring, archive: ArchivedLog, month: int, low: int, behind: int | None = None) -> None:
    """Destroy the key of a month while intake begins at an offset."""
    brokers = OnBrokers(low, behind)
    expire(ring, [month], profile="6-months", now_ms=month_end_ms(month + 6), archive=archive, brokers=brokers)


def test_a_header_that_was_edited_does_not_let_a_key_go(old: Old) -> None:
    """A header alone is not sealed: whoever writes the store makes another, of an earlier end or a later month."""
    ring, _, store, months = old
    names = store.names()
    whole = {name: store.get(name) for name in names}
    headers = {name: parse_header(data) for name, data in whole.items()}
    low = headers[names[1]].last_offset
    for changed in (
        {names[1]: {"first_offset": 0, "last_offset": 1}},
        {names[1]: {"month": months[2]}},
        {name: {"month": months[3]} for name in names},
        {names[2]: {"month": months[0]}},
    ):
        for name, fields in changed.items():
            fake = replace(headers[name], **fields).encode()
            (ring.path.parent / "archive" / name).write_bytes(fake + whole[name][len(fake) :])
        with pytest.raises((SegmentError, NotTrimmedError)):
            expire_at(ring, ArchivedLog(store, old[1].owner, ring), months[1], low)
        for name in changed:
            (ring.path.parent / "archive" / name).write_bytes(whole[name])
    assert ring.months() == months
    expire_at(ring, old[1], months[1], low + 1)
    assert months[1] not in ring.months()


def test_an_empty_place_does_not_let_a_key_go(old: Old, tmp_path: Path) -> None:
    """A disk that is not mounted is an empty folder."""
    ring, log, _, months = old
    ArchiveMark(next_index=log.span.next_index, next_offset=1, sha256="", at=1).save(ring.path, STORED)
    with pytest.raises(SegmentError, match="LOST_SEGMENT"):
        expire_at(ring, ArchivedLog(FolderStore(tmp_path / "other"), log.owner, ring), months[0], 0)
    assert ring.months() == months


def test_entries_that_are_not_archived_yet_do_not_let_a_key_go(old: Old) -> None:
    ring, log, _, months = old
    low = log.span.next_offset
    for behind in months[:2]:
        with pytest.raises(NotTrimmedError, match=r"STILL_ON_BROKERS.*not archived"):
            expire_at(ring, log, months[1], low, behind)
    assert ring.months() == months
    expire_at(ring, log, months[1], low, months[2])
    assert ring.months() == [months[0], *months[2:]]


def test_the_record_that_no_trim_deletes_holds_no_key(old: Old) -> None:
    """A tenant that wrote nothing since has its last record on the brokers for ever."""
    ring, log, _, months = old
    last = log.span.next_offset - 1
    with pytest.raises(NotTrimmedError, match=rf"trim --to {last}`"):
        expire_at(ring, log, months[-1], last - 1)
    expire_at(ring, log, months[-1], last)
    assert ring.months() == months[:-1]


def test_a_copy_of_a_key_that_a_crash_left_goes_with_it(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    for month in (2026 * 12, 2026 * 12 + 1):
        ring.make_month(month)
        os.link(ring.path / f"{month_text(month)}.key", ring.path / f".{month_text(month)}.key.0a1b2c3d")
    ring.destroy(2026 * 12, b"{}")
    assert sorted(one.name for one in ring.path.iterdir()) == [
        ".2026-02.key.0a1b2c3d",
        "2026-01.destroyed",
        "2026-02.key",
    ]


def test_which_months_a_profile_lets_go(tmp_path: Path) -> None:
    """A month goes when all of it is older, not a day before."""
    ring = Keyring(tmp_path)
    months = range(2020 * 12, 2026 * 12 + 11)
    for month in months:
        ring.make_month(month)
    now = 1_795_900_000_000  # 2026-11-28
    for profile, last in (("6-months", "2026-04"), ("3-years", "2023-10"), ("6-years", "2020-10")):
        assert month_text(expired_months(ring, profile, now)[-1]) == last
        assert len(expired_months(ring, profile, now)) == len(months) - PROFILES[profile] - 1


def test_a_hold_that_is_damaged_holds(tmp_path: Path) -> None:
    set_hold(tmp_path, LegalHold(reason="case", since=1))
    with pytest.raises(HeldError, match="case"):
        check_no_hold(tmp_path)
    (tmp_path / "hold.json").write_text("{")
    with pytest.raises(RetentionError, match="not a legal hold"):
        check_no_hold(tmp_path)
    assert release_hold(tmp_path)
    check_no_hold(tmp_path)
    assert not release_hold(tmp_path)


def test_an_archive_that_became_shorter_is_noticed(tmp_path: Path) -> None:
    check_not_shorter(tmp_path, 0)
    ArchiveMark(next_index=7, next_offset=9, sha256="", at=1).save(tmp_path, STORED)
    check_not_shorter(tmp_path, 7)
    with pytest.raises(SegmentError, match=r"LOST_SEGMENT at entry 6.*stored\.json"):
        check_not_shorter(tmp_path, 6)
    for text in ("{", "[]", "{}", '{"next_index": -1, "next_offset": 0, "sha256": "", "at": 0}'):
        (tmp_path / STORED).write_text(text)
        with pytest.raises(MarkError):
            check_not_shorter(tmp_path, 7)
