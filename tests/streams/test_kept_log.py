"""One log from an archive and the brokers: every record once, in order, or a named error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.intake.identify import Received
from producers.kafka.consuming import UnreadableBatchError
from schemas import codec
from schemas.errors import MacawError
from schemas.records import AuditEntry
from schemas.topics import AUDIT, DECISIONS, INTAKE, RESULTS, Topic
from streams.history.folded import RuledIntake, ShreddedError, readable
from streams.history.kept_log import (
    ArchiveDiffersError,
    ArchiveGapError,
    JoinedRecords,
    KeptLog,
    TrimmedError,
    index_of,
)
from streams.history.records import Gone, Records
from streams.history.replay import Place, Replayed, Values, compare, places
from tests.reference.log_builder import build_world
from tests.streams.test_export_replay import stored_of
from tests.world import World

KINDS = ("value", "header", "time")
WORLD = build_world("kept")
STORED = stored_of(WORLD)
ENTRIES: list[AuditEntry] = [codec.decode_as(AuditEntry, value or b"") for value in STORED[AUDIT, 0]]
SIZE = len(ENTRIES)


@dataclass
class Kept:
    """Records at offsets `low` to `high` - 1, held in memory."""

    low: int
    high: int
    records: dict[int, Received | Gone] = field(default_factory=dict)
    unreadable: int | None = None

    def read(self, start: int) -> Iterator[Received | Gone]:
        assert start >= self.low
        for offset in sorted(self.records):
            if offset >= start:
                if offset == self.unreadable:
                    raise UnreadableBatchError("intake", offset, "damaged")
                yield self.records[offset]

    def behind(self, offset: int) -> int:
        return offset + 1


@dataclass
class Shelf:
    """An archive of the first `next_index` entries."""

    next_index: int
    partitions: dict[tuple[Topic, int], Records]

    @property
    def next_audit_offset(self) -> int:
        return 2 * self.next_index

    def partition(self, topic: Topic, partition: int) -> Records | None:
        return self.partitions.get((topic, partition))


def record(offset: int) -> Received:
    return WORLD.records[offset]


def kept(low: int, high: int, *, end: int | None = None) -> Kept:
    """Return intake from `low` to `high`; `end` is the brokers' end if markers of transactions follow."""
    return Kept(low, end or high, {offset: replace(record(offset)) for offset in range(low, high)})


def audit() -> Kept:
    """Return the audit topic; each entry is followed by the marker of its transaction."""
    return Kept(0, 2 * SIZE, {2 * n: Received(0, 2 * n, 0, v, ()) for n, v in enumerate(STORED[AUDIT, 0])})


def log_of(archived: Records | None, live: Records, *, index: int | None = None) -> KeptLog:
    shelf = None if archived is None else Shelf(archived.high if index is None else index, {(INTAKE, 0): archived})
    return KeptLog("acme", lambda topic, _: live if topic is INTAKE else audit(), lambda: shelf)


def joined(archived: Records, live: Records) -> Records:
    return log_of(archived, live).whole(INTAKE)


def changed(one: Received, what: str) -> Received:
    if what == "value":
        return replace(one, value=b"other")
    return replace(one, headers=[("macaw-kid", b"other")]) if what == "header" else replace(one, appended_at=7)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), end=st.integers(1, SIZE))
def test_every_record_comes_once_and_in_order(data: st.DataObject, end: int) -> None:
    """Wherever the brokers begin and the archive ends, from whatever offset one reads."""
    low = data.draw(st.integers(0, end))
    archived = data.draw(st.integers(low, end))
    found = joined(kept(0, archived), kept(low, end))
    start = data.draw(st.integers(0, end))

    want = WORLD.records[start:end]
    assert list(found.read(start)) == want
    assert list(readable(found, start)) == want
    assert (found.low, found.high) == (0, end)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), end=st.integers(2, SIZE))
def test_an_archive_that_ends_before_the_brokers_begin_is_refused(data: st.DataObject, end: int) -> None:
    """Also by one record. Where holes may be told, they stand as gone, at their own offsets."""
    low = data.draw(st.integers(1, end))
    archived = data.draw(st.integers(0, low - 1))
    log = log_of(kept(0, archived), kept(low, end))

    with pytest.raises(ArchiveGapError, match=f"have offsets {archived} to {low - 1} of macaw.acme.intake"):
        log.whole(INTAKE)
    want: list[Received | Gone] = [*WORLD.records[:end]]
    want[archived:low] = [Gone(offset) for offset in range(archived, low)]
    start = data.draw(st.integers(0, end))
    assert list(log.as_kept(INTAKE).read(start)) == want[start:]


def test_markers_behind_the_archive_are_no_gap() -> None:
    """Somebody's transaction on intake takes offsets that no entry names."""
    whole = log_of(kept(0, SIZE), Kept(SIZE + 3, SIZE + 3)).whole(INTAKE)
    assert list(whole.read(0)) == WORLD.records


def test_without_an_archive_the_beginning_is_missing() -> None:
    with pytest.raises(TrimmedError, match=r"macaw\.acme\.intake begins at offset 4"):
        log_of(None, kept(4, 9)).whole(INTAKE)
    assert log_of(None, kept(4, 9)).as_kept(INTAKE).low == 4
    assert log_of(None, kept(0, 9)).whole(INTAKE).low == 0


def test_an_archive_that_ends_sooner_than_it_says_is_refused() -> None:
    """A segment was lost, and the archive did not see it."""
    short = kept(0, 6)
    del short.records[5]

    with pytest.raises(ArchiveGapError, match="end at offset 5"):
        list(joined(short, kept(6, 9)).read(0))


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("at", [4, 7])
def test_an_archive_with_another_record_than_the_brokers_is_refused(at: int, what: str) -> None:
    """At both ends of what both have; the record itself, its headers, and its time, which the fold uses."""
    other = kept(0, 8)
    other.records[at] = changed(record(at), what)

    with pytest.raises(ArchiveDiffersError, match=f"at offset {at} "):
        joined(other, kept(4, 9))


def test_an_archive_that_is_longer_than_the_brokers_log_is_refused() -> None:
    """Intake lost its end, or was made again."""
    with pytest.raises(ArchiveDiffersError, match="only up to 6"):
        joined(kept(0, 8), kept(4, 6))


def test_where_the_brokers_cannot_read_a_batch_the_archive_does_not_stand_in() -> None:
    """The log says whether it was skipped; RuledIntake asks it."""
    live = kept(4, 9)
    live.unreadable = 4
    found = joined(kept(0, 8), live)

    reading = found.read(0)
    assert [next(reading).offset for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(UnreadableBatchError):
        next(reading)
    assert found.behind(4) == 5


def compared(
    found: Records, outputs: dict[Place, Sequence[bytes | None]], trimmed: dict[Place, range] | None = None
) -> Replayed:
    tables = WORLD.fresh_tables()
    stored = {place: Values(values) for place, values in outputs.items()}
    return compare(tables, RuledIntake(found, tables).take, stored, trimmed)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_fold_gives_the_log_or_an_error(data: st.DataObject) -> None:
    """Whatever the archive holds: it is folded to the log's own bytes, or told. No third thing."""
    low = data.draw(st.integers(0, SIZE))
    archive = kept(0, SIZE)
    at = data.draw(st.integers(0, SIZE - 1))
    how = data.draw(st.sampled_from(["none", "drop", "gone", "swap", *KINDS]))
    old = record(at)
    if how == "drop":
        del archive.records[at]
    elif how == "gone":
        archive.records[at] = Gone(at)
    elif how == "swap":
        archive.records[at] = replace(record((at + 1) % SIZE), offset=at)
    elif how != "none":
        archive.records[at] = changed(old, how)
    told: object = None
    try:
        report = compared(joined(archive, kept(low, SIZE)), STORED)  # type: ignore[arg-type]
    except MacawError as exc:
        told = exc
    else:
        told = report.difference if report.shredded is None else report.shredded
        assert report.shredded in {None, *([at] if how == "gone" else [])}
    is_skipped = ENTRIES[at].outcome == "skipped"  # the log says that its bytes do not count
    # Nobody looked at its headers, or they were no proof before either.
    is_noise = how == "header" and (ENTRIES[at].kind == "Undecodable" or ENTRIES[at].reason == "MALFORMED_PROOF")
    assert not (told is not None and how == "none"), told
    assert told is not None or how == "none" or is_skipped or is_noise or at >= low  # else nobody asked the archive


def test_a_record_whose_bytes_are_gone_stops_the_fold_at_its_entry() -> None:
    """Before it every byte was compared; a skipped record has no bytes to miss."""
    archive = kept(0, SIZE)
    archive.records[9] = Gone(9)
    intake = RuledIntake(archive, WORLD.fresh_tables())
    for entry in ENTRIES[:9]:
        assert intake.take(entry) == record(entry.index)
    for _ in range(2):
        with pytest.raises(ShreddedError, match="audit entry 9, at intake offset 9"):
            intake.take(ENTRIES[9])
    skipped = intake.take(replace(ENTRIES[9], outcome="skipped"))
    assert skipped is not None
    assert (skipped.offset, skipped.value, skipped.ruling) == (9, None, None)
    report = compared(archive, STORED)  # type: ignore[arg-type]
    assert (report.shredded, report.entries, report.difference) == (9, 9, None)


# --- decisions and results


OUTPUTS = [place for place in places() if place[0] in {DECISIONS, RESULTS} and len(STORED[place]) > 1]


@pytest.mark.parametrize("place", OUTPUTS, ids=str)
def test_the_first_outputs_may_be_gone_and_no_others(place: Place) -> None:
    """Their retention is over. The entries that name their digests were compared all the same."""
    values = STORED[place]
    for count in range(len(values) + 1):
        less = {**STORED, place: values[count:]}
        report = compared(kept(0, SIZE), less, {place: range(0)})  # type: ignore[arg-type]
        assert (report.difference, report.unkept) == (None, count)
        assert report.compared == sum(map(len, less.values()))
        if count:
            assert compared(kept(0, SIZE), less).difference is not None  # type: ignore[arg-type]
    holed = {**STORED, place: [values[0], *values[2:]]}
    assert compared(kept(0, SIZE), holed, {place: range(0)}).difference is not None  # type: ignore[arg-type]
    forged = {**STORED, place: [b"forged", *values]}
    assert compared(kept(0, SIZE), forged, {place: range(0)}).difference is not None  # type: ignore[arg-type]


def outputs_of(place: Place) -> Kept:
    topic, partition = place
    found = enumerate(STORED[topic, partition])
    rows: dict[int, Received | Gone] = {3 * n: Received(partition, 3 * n, 0, v, ()) for n, v in found}
    return Kept(0, 3 * len(rows), rows)


@pytest.mark.parametrize("place", OUTPUTS, ids=str)
def test_outputs_are_joined_by_the_entries_that_they_belong_to(place: Place) -> None:
    """Offsets of markers lie between them; only an entry that neither side has is a gap."""
    whole = outputs_of(place)
    indexes = [index for index in range(SIZE) if any(index_of(v) == index for v in STORED[place])]
    for at in range(1, len(whole.records)):
        live = Kept(3 * at, whole.high, {o: r for o, r in whole.records.items() if o >= 3 * at})
        before: dict[int, Received | Gone] = {o: r for o, r in whole.records.items() if o < 3 * at}
        archived = Kept(0, 3 * at - 2, before)

        def log(index: int, archived: Kept = archived, live: Kept = live) -> KeptLog:
            return KeptLog("acme", lambda *_: live, lambda: Shelf(index, {place: archived}))

        assert list(log(indexes[at]).as_kept(*place).read(0)) == list(whole.records.values())
        found = log(indexes[at - 1] + 1).as_kept(*place)
        assert isinstance(found, JoinedRecords)
        assert found.seam == range(indexes[at - 1] + 1, indexes[at])


@pytest.mark.parametrize("place", OUTPUTS, ids=str)
def test_outputs_may_be_missing_at_the_seam_and_nowhere_else(place: Place) -> None:
    """Those that the brokers removed before they were archived; a hole at another entry is a difference."""
    values = [*STORED[place]]
    indexes = [index_of(value) for value in values]
    for at in range(1, len(values) - 1):
        holed = {**STORED, place: values[:at] + values[at + 1 :]}
        seam, other = range(indexes[at], indexes[at] + 1), range(indexes[at] + 1, SIZE)
        report = compared(kept(0, SIZE), holed, {place: seam})  # type: ignore[arg-type]
        assert (report.difference, report.unkept) == (None, 1)
        assert compared(kept(0, SIZE), holed, {place: other}).difference is not None  # type: ignore[arg-type]


def test_foreign_records_beside_outputs_are_no_difference() -> None:
    """Anybody may have written there, and the archive keeps nothing of it; a changed decision is another matter."""
    place = OUTPUTS[0]
    whole = outputs_of(place)
    foreign: dict[int, Received | Gone] = {**whole.records, 1: Received(place[1], 1, 0, b"foreign", ())}
    live = Kept(1, whole.high, {o: r for o, r in foreign.items() if o >= 1})
    log = KeptLog("acme", lambda *_: live, lambda: Shelf(SIZE, {place: whole}))
    assert [one.offset for one in log.as_kept(*place).read(0)] == sorted(foreign)

    last = whole.high - 3
    live.records[last] = Received(place[1], last, 0, b"changed", ())
    archived = Kept(0, last + 1, whole.records)
    with pytest.raises(ArchiveDiffersError):
        KeptLog("acme", lambda *_: live, lambda: Shelf(SIZE, {place: archived})).as_kept(*place)


def test_the_world_says_enough() -> None:
    """Else the tests above would pass over nothing."""
    assert isinstance(WORLD, World)
    assert len(OUTPUTS) >= 2
    assert any(entry.outcome == "skipped" for entry in ENTRIES)
