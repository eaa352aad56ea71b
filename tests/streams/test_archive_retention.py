"""Keys of months are destroyed when all of a month is older than the profile, and never under a legal hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from processors.evidence.archive.bodies import Absent, month_of, month_text
from processors.evidence.archive.codes import ArchiveCode
from processors.evidence.archive.verdict import verify_archive
from streams.archive.keyring import Keyring
from streams.archive.marks import STORED, ArchiveMark, MarkError, check_not_shorter
from streams.archive.reading import ArchivedLog
from streams.archive.retention import (
    PROFILES,
    HeldError,
    LegalHold,
    NotTrimmedError,
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
        expire(ring, gone, profile="6-months", now_ms=now, archive=log, low=first)
    assert ring.months() == months
    last = log.last_offset_of(gone[-1])
    assert last is not None
    expire(ring, gone, profile="6-months", now_ms=now, archive=log, low=last + 1)

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
        expire(ring, months, profile="6-months", now_ms=2**43, archive=log, low=2**40)
    assert ring.months() == months


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
    from processors.evidence.archive.codes import SegmentError

    check_not_shorter(tmp_path, 0)
    ArchiveMark(next_index=7, next_offset=9, sha256="", at=1).save(tmp_path, STORED)
    check_not_shorter(tmp_path, 7)
    with pytest.raises(SegmentError, match=r"LOST_SEGMENT at entry 6.*stored\.json"):
        check_not_shorter(tmp_path, 6)
    for text in ("{", "[]", "{}", '{"next_index": -1, "next_offset": 0, "sha256": "", "at": 0}'):
        (tmp_path / STORED).write_text(text)
        with pytest.raises(MarkError):
            check_not_shorter(tmp_path, 7)
