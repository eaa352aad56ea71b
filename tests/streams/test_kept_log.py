"""One log from an archive and the brokers: every record once, in order, or a named error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.intake.identify import Received
from producers.kafka.consuming import UnreadableBatchError
from schemas import codec
from schemas.errors import MacawError
from schemas.records import AuditEntry
from schemas.topics import AUDIT
from streams.history.folded import RuledIntake, ShreddedError, readable
from streams.history.kept_log import ArchiveDiffersError, ArchiveGapError, JoinedRecords
from streams.history.records import Gone, Records
from streams.history.replay import Values, compare
from tests.reference.log_builder import build_world
from tests.streams.test_export_replay import stored_of

KINDS = ("value", "header", "time")


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


def record(offset: int) -> Received:
    return Received(0, offset, 1000 + offset, b"%d" % offset, [("macaw-kid", b"k%d" % offset)])


def kept(low: int, high: int) -> Kept:
    return Kept(low, high, {offset: record(offset) for offset in range(low, high)})


def changed(one: Received, what: str) -> Received:
    if what == "value":
        return replace(one, value=b"other")
    return replace(one, headers=[]) if what == "header" else replace(one, appended_at=7)


@settings(max_examples=300)
@given(data=st.data(), end=st.integers(1, 12))
def test_every_record_comes_once_and_in_order(data: st.DataObject, end: int) -> None:
    """Wherever the brokers begin and the archive ends, from whatever offset one reads."""
    low = data.draw(st.integers(0, end))
    archived = data.draw(st.integers(low, end))
    joined = JoinedRecords("intake", kept(0, archived), kept(low, end))
    start = data.draw(st.integers(0, end))

    assert list(joined.read(start)) == [record(offset) for offset in range(start, end)]
    assert list(readable(joined, start)) == [record(offset) for offset in range(start, end)]
    assert (joined.low, joined.high) == (0, end)


@settings(max_examples=200)
@given(data=st.data(), end=st.integers(2, 12))
def test_an_archive_that_ends_before_the_brokers_begin_is_refused(data: st.DataObject, end: int) -> None:
    """Also by one record. Where holes may be told, they stand as gone, at their own offsets."""
    low = data.draw(st.integers(1, end))
    archived = data.draw(st.integers(0, low - 1))

    with pytest.raises(ArchiveGapError, match=f"offsets 0 to {archived} .* from offset {low} on"):
        JoinedRecords("intake", kept(0, archived), kept(low, end))
    holed = JoinedRecords("intake", kept(0, archived), kept(low, end), may_have_gap=True)
    want: list[Received | Gone] = [record(offset) for offset in range(end)]
    want[archived:low] = [Gone(offset) for offset in range(archived, low)]
    start = data.draw(st.integers(0, end))
    assert list(holed.read(start)) == want[start:]
    assert holed.gap == range(archived, low)


def test_an_archive_that_does_not_begin_with_the_log_is_refused() -> None:
    with pytest.raises(ArchiveGapError):
        JoinedRecords("intake", kept(1, 8), kept(4, 9))


def test_an_archive_that_ends_sooner_than_it_says_is_refused() -> None:
    """A segment was lost, and the archive did not see it."""
    short = kept(0, 6)
    del short.records[5]

    with pytest.raises(ArchiveGapError, match="end at offset 5"):
        list(JoinedRecords("intake", short, kept(6, 9)).read(0))


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("at", [4, 7])
def test_an_archive_with_another_record_than_the_brokers_is_refused(at: int, what: str) -> None:
    """At both ends of what both have; the record itself, its headers, and its time, which the fold uses."""
    other = kept(0, 8)
    other.records[at] = changed(record(at), what)

    with pytest.raises(ArchiveDiffersError, match=f"at offset {at} "):
        JoinedRecords("intake", other, kept(4, 9))


def test_an_archive_that_is_longer_than_the_brokers_log_is_refused() -> None:
    """Intake lost its end, or was made again."""
    with pytest.raises(ArchiveDiffersError, match="only up to 6"):
        JoinedRecords("intake", kept(0, 8), kept(4, 6))


def test_where_the_brokers_cannot_read_a_batch_the_archive_does_not_stand_in() -> None:
    """The log says whether it was skipped; RuledIntake asks it."""
    live = kept(4, 9)
    live.unreadable = 4
    joined = JoinedRecords("intake", kept(0, 8), live)

    reading = joined.read(0)
    assert [next(reading).offset for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(UnreadableBatchError):
        next(reading)
    assert joined.behind(4) == 5


@settings(max_examples=100)
@given(data=st.data())
def test_what_comes_out_is_the_log_or_an_error(data: st.DataObject) -> None:
    """Whatever the archive holds: it is folded to the log's own bytes, or told. No third thing."""
    world = build_world("joined")
    end = len(world.records)
    low = data.draw(st.integers(0, end))
    records: dict[int, Received | Gone] = {one.offset: one for one in world.records}
    at = data.draw(st.integers(0, end - 1))
    how = data.draw(st.sampled_from(["none", "drop", "gone", "swap", *KINDS]))
    old = records[at]
    assert isinstance(old, Received)
    if how == "drop":
        del records[at]
    elif how == "gone":
        records[at] = Gone(at)
    elif how == "swap":
        records[at] = replace(world.records[(at + 1) % end], offset=at)
    elif how != "none":
        records[at] = changed(old, how)
    live = Kept(low, end, {one.offset: one for one in world.records[low:]})
    told: str | None = None
    try:
        joined: Records = live if low == 0 else JoinedRecords("intake", Kept(0, end, records), live)
        tables = world.fresh_tables()
        report = compare(
            tables,
            RuledIntake(joined, tables).take,
            {place: Values(v) for place, v in stored_of(world).items()},  # type: ignore[misc]
        )
    except MacawError as exc:
        told = str(exc)
    else:
        told = None if report.difference is None and report.shredded is None else "told"
        assert report.shredded is None or (how, report.shredded) == ("gone", at)
    is_unchanged = how == "none" or (how == "header" and not old.headers)
    assert not (told and is_unchanged), told
    is_skipped = old.value is None and old.ruling is not None  # the log says that its bytes do not count
    assert told or is_unchanged or is_skipped or at >= low  # nobody asked the archive for it


def test_a_record_whose_bytes_are_gone_stops_the_fold_at_its_entry() -> None:
    """Before it every byte was compared; a skipped record has no bytes to miss."""
    world = build_world("gone")
    entries: list[AuditEntry] = [codec.decode_as(AuditEntry, value or b"") for value in stored_of(world)[AUDIT, 0]]
    records: dict[int, Received | Gone] = {one.offset: one for one in world.records}
    records[9] = Gone(9)
    intake = RuledIntake(Kept(0, len(entries), records), world.fresh_tables())
    for entry in entries[:9]:
        assert intake.take(entry) is world.records[entry.index]
    for _ in range(2):
        with pytest.raises(ShreddedError, match="audit entry 9, at intake offset 9"):
            intake.take(entries[9])
    skipped = intake.take(replace(entries[9], outcome="skipped"))
    assert skipped is not None
    assert (skipped.offset, skipped.value, skipped.ruling) == (9, None, None)
