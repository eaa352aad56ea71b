"""Intake is trimmed only where the archive has the very records that would go."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from processors.evidence.archive.bodies import Body, BodySealer, SegmentKeys, kind_of, month_of
from processors.evidence.archive.codes import ArchiveCode
from processors.evidence.archive.segment import BODY_BYTES_MAX, BodyKind, OutputsKind, encode_segment, parse_segment
from processors.intake.identify import Received
from schemas.words import Outcome
from streams.archive.health import verify
from streams.archive.keyring import Keyring
from streams.archive.marks import STORED, VERIFIED, ArchiveMark
from streams.archive.places import TenantArchive
from streams.archive.store import FolderStore
from streams.archive.trimming import TrimError, Trimmed, trim
from streams.history.kept_log import ArchiveDiffersError
from tests.archives import records_of, segments_of
from tests.reference.log_builder import build_log


@dataclass
class Intake:
    """Intake and the admin client that deletes from it."""

    records: list[Received]
    deleted: list[int] = field(default_factory=list)

    def first(self, offset: int) -> Received | None:
        return next((one for one in self.records if one.offset >= offset), None)

    def delete_records(self, places: list[Any], **_: Any) -> dict[int, Future[Any]]:
        self.deleted.append(places[0].offset)
        done: Future[Any] = Future()
        done.set_result(SimpleNamespace(low_watermark=places[0].offset))
        return {0: done}

    def trim(self, archive: TenantArchive, *, to: int | None = None, low: int = 0) -> Trimmed:
        return trim(self, archive, verify(archive), on_intake=self.first, low=low, to=to)  # type: ignore[arg-type]


@pytest.fixture
def archived(tmp_path: Path) -> tuple[TenantArchive, Intake]:
    """An archive of one month, and the intake that it was made of."""
    log = build_log()
    ring = Keyring(tmp_path)
    ring.make_lasting()
    ring.make_month(month_of(log.entries[0].now))
    owner = ring.owner(log.world.tenant, log.world.deployment, log.world.genesis)
    store = FolderStore(tmp_path / "archive")
    for name, data in segments_of(records_of(log), owner, ring, cuts=[20]).items():  # type: ignore[arg-type]
        assert store.put(name, data)
    archive = TenantArchive(store, ring, owner)
    return archive, Intake([one for one in archive.read().intake() if isinstance(one, Received)])


def test_what_the_archive_has_goes_but_its_last_record(archived: tuple[TenantArchive, Intake]) -> None:
    archive, intake = archived
    last = archive.read().span.next_offset - 1
    assert intake.trim(archive, to=3) == Trimmed(0, 3)
    assert intake.trim(archive, low=3) == Trimmed(3, last)
    assert intake.deleted == [3, last]


def test_an_intake_that_was_made_again_keeps_its_records(archived: tuple[TenantArchive, Intake]) -> None:
    """It may be longer than the archive, and begin with the same record."""
    archive, intake = archived
    for at in (0, -2):
        for other in (
            replace_at(intake, at, value=b"other"),
            replace_at(intake, at, appended_at=1),
            replace_at(intake, at, headers=[("x", b"y")]),
            replace_at(intake, at, offset=intake.records[at].offset + 1),
        ):
            with pytest.raises(ArchiveDiffersError, match=r"ARCHIVE_DIFFERS.*nothing was deleted"):
                other.trim(archive)
            assert not other.deleted
    empty = Intake([])
    with pytest.raises(ArchiveDiffersError):
        empty.trim(archive)
    assert not empty.deleted


def test_a_record_that_nobody_can_read_is_passed_over(archived: tuple[TenantArchive, Intake]) -> None:
    """The next one that can be read is compared in its place."""
    archive, intake = archived
    skipped = [one.entry.offset for one in archive.read().entries() if one.entry.outcome == Outcome.SKIPPED]
    after = skipped[-1] + 1
    at = next(i for i, one in enumerate(intake.records) if one.offset == after)
    with pytest.raises(ArchiveDiffersError):
        replace_at(intake, at, value=b"other").trim(archive, to=after)
    assert intake.trim(archive, low=skipped[0], to=after) == Trimmed(skipped[0], after)


def test_a_shredded_record_is_compared_by_its_leaf(archived: tuple[TenantArchive, Intake]) -> None:
    archive, intake = archived
    [month] = archive.keyring.months()
    archive.keyring.destroy(month, b"{}")
    at = len(intake.records) - 2
    assert verify(archive).code is ArchiveCode.WHOLE
    with pytest.raises(ArchiveDiffersError):
        replace_at(intake, at, value=b"other").trim(archive)
    assert intake.trim(archive).after == intake.records[-1].offset


@pytest.mark.parametrize("kind", [BodyKind.GONE, BodyKind.OVERSIZED])
@pytest.mark.parametrize("is_refused", [True, False])
def test_no_record_goes_that_a_holder_of_the_keys_left_out(
    archived: tuple[TenantArchive, Intake], kind: BodyKind, is_refused: bool
) -> None:
    """Only a refused record can be too large for an archive, and it also stays on intake."""
    archive, intake = archived
    at = next(
        one.entry.index
        for one in archive.read().entries(20)
        if (one.entry.outcome == Outcome.REFUSED) is is_refused and kind_of(one.entry) is BodyKind.MONTHLY
    )
    name = archive.store.names()[-1]
    whole = parse_segment(archive.store.get(name), archive.owner)
    frames = [
        (frame._replace(body=kind, sealed=None, appended_at=0) if index == at else frame).encode()
        for index, frame in enumerate(whole.frames, whole.header.first)
    ]
    (archive.keyring.path.parent / "archive" / name).write_bytes(encode_segment(whole.header, frames, archive.owner))

    found = verify(archive)

    fits = is_refused or kind is BodyKind.GONE
    assert (found.code, found.last_gone) == ((ArchiveCode.WHOLE, at) if fits else (ArchiveCode.MALFORMED, -1))
    with pytest.raises(TrimError, match="TRIM_REFUSED"):
        intake.trim(archive)
    assert not intake.deleted


def test_an_accepted_record_that_no_segment_holds_counts_as_gone() -> None:
    """Its value is bounded when it is accepted, its headers by the topic alone, which counts compressed bytes."""
    log = build_log()
    keys = SegmentKeys(b"l" * 32, b"m" * 32)
    sealer = BodySealer(log.world.genesis, b"s" * 16, keys)
    body = Body(None, b"", [("x", bytes(BODY_BYTES_MAX))])
    for entry in log.entries:
        kind = {Outcome.REFUSED: BodyKind.OVERSIZED, Outcome.SKIPPED: BodyKind.UNREADABLE}
        assert sealer.seal(entry, body, 1) == (kind.get(Outcome(entry.outcome), BodyKind.GONE), None)


def blanked(archive: TenantArchive, name: str) -> None:
    """Write a segment anew without its decisions and results, as only a holder of the keys can."""
    whole = parse_segment(archive.store.get(name), archive.owner)
    frames = [frame._replace(outputs_kind=OutputsKind.GONE, outputs=()).encode() for frame in whole.frames]
    (archive.keyring.path.parent / "archive" / name).write_bytes(encode_segment(whole.header, frames, archive.owner))


@pytest.mark.parametrize("name", [STORED, VERIFIED])
def test_a_segment_that_was_made_anew_is_not_the_one_that_was_noted(
    archived: tuple[TenantArchive, Intake], name: str
) -> None:
    archive, intake = archived
    keys = archive.keyring.path
    assert (verify(archive).code, verify(archive).outputs_absent) == (ArchiveCode.WHOLE, 0)
    mark = (keys / VERIFIED).read_text()
    (keys / VERIFIED).rename(keys / name)
    blanked(archive, archive.store.names()[-1])

    found = verify(archive)

    assert (found.code, found.index) == (ArchiveCode.EXCHANGED, found.entries)
    assert name in found.detail
    assert (keys / name).read_text() == mark
    with pytest.raises(TrimError, match="EXCHANGED"):
        intake.trim(archive)
    (keys / name).unlink()
    assert verify(archive).outputs_absent


def test_a_mark_in_the_middle_of_an_archive_counts(archived: tuple[TenantArchive, Intake]) -> None:
    archive, _ = archived
    [first, _] = archive.store.names()
    sha256 = parse_segment(archive.store.get(first), archive.owner).sha256.hex()
    for index, digest, code in ((20, sha256, "WHOLE"), (20, "00" * 32, "EXCHANGED"), (19, sha256, "EXCHANGED")):
        ArchiveMark(next_index=index, next_offset=index, sha256=digest, at=1).save(archive.keyring.path, STORED)
        assert verify(archive).code == code


def replace_at(intake: Intake, at: int, **changed: Any) -> Intake:
    records = list(intake.records)
    records[at] = replace(records[at], **changed)
    return Intake(records)
