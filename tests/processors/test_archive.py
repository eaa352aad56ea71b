"""An archive holds every record under its own name, or says which segment and which entry do not hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.evidence.archive.bodies import keys_for, month_of, month_text
from processors.evidence.archive.codes import ArchiveCode, SegmentError, first_of, segment_name
from processors.evidence.archive.contents import beginning, end_of, entries_of, open_segment
from processors.evidence.archive.segment import (
    SEGMENT_BYTES_MAX,
    BodyKind,
    parse_header,
    parse_segment,
)
from processors.evidence.entry import VerdictCode
from tests.archives import (
    KeysInMemory,
    owner_of,
    records_of,
    redigested,
    resealed,
    segments_of,
    verdict_on,
)
from tests.reference.log_builder import SmallLog, build_log, build_world

LOG = build_log()
OWNER = owner_of(LOG)
RECORDS = records_of(LOG)
CUTS = (5, 9, 20)
ARCHIVE = segments_of(RECORDS, OWNER, cuts=CUTS)
NAMES = sorted(ARCHIVE)
MONTH = month_of(RECORDS[0].entry.now)
GOOD = ArchiveCode.WHOLE
SECOND = NAMES[1]


def changed(name: str, data: bytes) -> dict[str, bytes]:
    return {**ARCHIVE, name: data}


def found(segments: dict[str, bytes], keys: KeysInMemory | None = None) -> tuple[str, str, int | None]:
    verdict = verdict_on(segments, OWNER, keys)
    return verdict.code, verdict.segment, verdict.index


# --- what is whole


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, len(RECORDS) - 1), max_size=8))
def test_an_honest_archive_is_whole_wherever_it_is_cut(cuts: list[int]) -> None:
    verdict = verdict_on(segments_of(RECORDS, OWNER, cuts=cuts), OWNER)

    assert (verdict.code, verdict.entries, verdict.absent) == (GOOD, len(RECORDS), 0)
    assert verdict.segments == len({0, *cuts})
    assert verdict.next_offset == RECORDS[-1].entry.offset + 1


def test_every_record_comes_back_as_it_was() -> None:
    """Values, headers, times and places: a fold of the archive sees what the monitor saw."""
    back = []
    end = beginning(OWNER)
    for name in NAMES:
        segment = open_segment(name, ARCHIVE[name], OWNER, end)
        back += entries_of(segment, OWNER, KeysInMemory())
        end = end_of(segment)
    for record, archived in zip(RECORDS, back, strict=True):
        assert archived.entry == record.entry
        assert (archived.frame.value, archived.frame.kid, archived.frame.proof) == (
            record.value,
            record.kid,
            record.proof,
        )
        assert archived.frame.outputs == record.outputs
        received = archived.received
        if record.entry.outcome == "skipped":
            assert archived.frame.body is BodyKind.UNREADABLE
            assert received.ruling is not None
            assert record.ruling is not None
            assert (received.ruling.value, received.ruling.offset) == (record.ruling.value, record.ruling.offset)
            continue
        assert record.received is not None
        want = record.received
        assert (received.offset, received.appended_at, received.value) == (want.offset, want.appended_at, want.value)
        assert list(received.headers) == list(want.headers)


def test_an_archive_without_a_segment_is_empty_and_not_whole() -> None:
    assert verdict_on({}, OWNER).code == ArchiveCode.EMPTY


# --- what anybody who writes the store can do


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), st.data())
def test_a_flipped_bit_is_found_with_its_segment(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(ARCHIVE[name]) - 1))
    bit = data.draw(st.integers(0, 7))
    bytes_ = bytearray(ARCHIVE[name])
    bytes_[at] ^= 1 << bit

    code, segment, _ = found(changed(name, bytes(bytes_)))
    assert code in set(ArchiveCode) - {GOOD}
    assert segment == name
    if at < len(bytes_) - 64:  # with a digest that fits, the seal still does not
        code, segment, _ = found(changed(name, redigested(bytes(bytes_))))
        assert code in set(ArchiveCode) - {GOOD}
        assert segment == name


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(NAMES), st.data())
def test_a_cut_and_an_addition_are_found(name: str, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(ARCHIVE[name]) - 1))
    assert found(changed(name, ARCHIVE[name][:size]))[:2] == (ArchiveCode.CUT, name)
    more = data.draw(st.binary(min_size=1, max_size=64))
    assert found(changed(name, ARCHIVE[name] + more))[:2] == (ArchiveCode.TRAILING_BYTES, name)


@pytest.mark.parametrize("lost", NAMES[:-1])
def test_a_lost_segment_is_named_by_the_entry_that_is_missing(lost: str) -> None:
    rest = {name: data for name, data in ARCHIVE.items() if name != lost}
    after = NAMES[NAMES.index(lost) + 1]
    assert found(rest) == (ArchiveCode.LOST_SEGMENT, after, first_of(lost))


@settings(max_examples=15, deadline=None)
@given(st.permutations(NAMES))
def test_segments_in_another_order_are_swapped(order: list[str]) -> None:
    shuffled = {name: ARCHIVE[other] for name, other in zip(NAMES, order, strict=True)}
    first = next((name for name, other in zip(NAMES, order, strict=True) if name != other), None)
    code, segment, _ = found(shuffled)
    assert (code, segment) == ((ArchiveCode.SWAPPED, first) if first else (GOOD, ""))


def test_a_segment_of_another_history_is_another_head() -> None:
    """Sealed by this installation, and whole: but what stands before it is not what it was made after."""
    others = segments_of(RECORDS, OWNER, cuts=(3, *CUTS))  # the same entries, cut elsewhere
    assert found(changed(SECOND, others[SECOND])) == (ArchiveCode.OTHER_HEAD, SECOND, first_of(SECOND))
    short = {**ARCHIVE, NAMES[0]: others[NAMES[0]]}
    assert found(short) == (ArchiveCode.LOST_SEGMENT, SECOND, 3)


def test_another_tenants_segment_is_named_so() -> None:
    for other in (build_log("evidence", tenant="umbra"), build_log("evidence", deployment="elsewhere")):
        alien = segments_of(records_of(other), owner_of(other), cuts=CUTS)
        assert found(changed(SECOND, alien[SECOND]))[:2] == (ArchiveCode.OTHER_TENANT, SECOND)
        assert found(alien)[:2] == (ArchiveCode.OTHER_TENANT, NAMES[0])


def test_the_same_tenant_founded_anew_is_another_tenant() -> None:
    other = build_log("another founding")
    assert found(segments_of(records_of(other), owner_of(other)))[0] == ArchiveCode.OTHER_TENANT


def test_an_installation_without_the_keys_says_wrong_key() -> None:
    other = owner_of(LOG, lasting=bytes(32))
    assert verdict_on(ARCHIVE, other, KeysInMemory(bytes(32))).code == ArchiveCode.WRONG_KEY
    assert found(ARCHIVE, KeysInMemory(lost={MONTH}))[:2] == (ArchiveCode.WRONG_KEY, NAMES[0])
    other_month = KeysInMemory(lasting=bytes(32))  # its months' keys are others too
    assert found(ARCHIVE, other_month)[:2] == (ArchiveCode.WRONG_KEY, NAMES[0])


# --- claims of size, and names


def claiming(size: int) -> bytes:
    data = ARCHIVE[SECOND]
    return data[:10] + size.to_bytes(8, "big") + data[18:]


def test_ten_gigabytes_are_refused_before_anything_is_read() -> None:
    for size in (10 * 10**9, SEGMENT_BYTES_MAX + 1, 2**64 - 1):
        assert found(changed(SECOND, claiming(size)))[:2] == (ArchiveCode.TOO_LARGE, SECOND)
        with pytest.raises(SegmentError, match="TOO_LARGE"):
            parse_header(claiming(size)[:1024])


def test_every_length_in_a_segment_is_bounded() -> None:
    """Whatever four bytes of a sealed segment say, no field is longer than what is left."""
    data = ARCHIVE[SECOND]
    before = end_of(open_segment(NAMES[0], ARCHIVE[NAMES[0]], OWNER, beginning(OWNER)))
    refusals: set[str] = set()
    for at in range(len(data) - 64):
        spoiled = resealed(data[:at] + b"\xff\xff\xff\xfe" + data[at + 4 :], OWNER)[: len(data)]
        try:
            list(entries_of(open_segment(SECOND, spoiled, OWNER, before), OWNER, KeysInMemory()))
        except SegmentError as error:
            if str(error) in refusals:  # the whole archive is judged where its reader goes on, and once a refusal
                continue
            refusals.add(str(error))
        code, segment, _ = found(changed(SECOND, spoiled))
        assert code in {*ArchiveCode, *VerdictCode}
        assert segment in {SECOND, NAMES[2], ""}
    assert len(refusals) > 5


@pytest.mark.parametrize(
    "name",
    ["../00000000000000000000.segment", "0.segment", "", ".segment", "00000000000000000000.segment/..", "/etc/passwd",
     "0000000000000000000a.segment", "00000000000000000000.segmenT", "\u0660" * 20 + ".segment",
     "00000000000000000000.segment\n"],
)  # fmt: skip
def test_only_one_form_of_name_is_a_segments(name: str) -> None:
    with pytest.raises(SegmentError) as caught:
        first_of(name)
    assert caught.value.code == ArchiveCode.BAD_NAME
    assert found({name: ARCHIVE[NAMES[0]]})[0] == ArchiveCode.BAD_NAME


def test_a_name_and_its_index_are_each_others() -> None:
    assert [first_of(segment_name(n)) for n in (0, 7, 10**19)] == [0, 7, 10**19]


# --- destroyed keys


def test_a_destroyed_month_leaves_every_signature_to_be_checked() -> None:
    """Bodies are gone, registrations are not: who was who can still be told."""
    verdict = verdict_on(ARCHIVE, OWNER, KeysInMemory(destroyed={MONTH}))

    lasting = sum(f.body is BodyKind.LASTING for d in ARCHIVE.values() for f in parse_segment(d, OWNER).frames)
    assert verdict.code == GOOD
    assert verdict.shredded == verdict.absent == len(RECORDS) - lasting
    assert lasting > 5


def test_events_of_a_session_whose_opening_is_absent_are_told_apart() -> None:
    """Nobody can check them: they count on the monitor's word, and are counted."""
    records = [replace(r, received=None) if r.entry.kind == "SessionOpened" else r for r in RECORDS]
    verdict = verdict_on(segments_of(records, OWNER), OWNER)

    opened = sum(r.entry.kind == "SessionOpened" for r in RECORDS)
    assert (verdict.code, verdict.absent) == (GOOD, opened)
    assert verdict.unproven > 5


@pytest.mark.parametrize("kinds", [("SessionRenewed",), ("LoginEnded",), ("SessionRenewed", "LoginEnded")])
def test_calls_of_a_renewed_session_whose_renewal_is_absent_are_told_apart(kinds: tuple[str, ...]) -> None:
    """An honest archive whose bodies of one month are gone is whole; the calls after the first end are unproven."""
    gone = [r.entry.index for r in RECORDS if r.entry.kind in kinds and r.entry.outcome == "accepted"]
    records = [replace(r, received=None) if r.entry.index in gone else r for r in RECORDS]
    verdict = verdict_on(segments_of(records, OWNER), OWNER)

    assert (verdict.code, verdict.absent) == (GOOD, len(gone))
    assert (verdict.unproven > 0) == ("SessionRenewed" in kinds)


# --- what is not taken


@pytest.mark.parametrize("at", [0, 5, 6])
def test_a_record_that_its_entry_does_not_name_is_never_archived(at: int) -> None:
    other = RECORDS[at + 1]
    for spoiled, code in (
        (replace(RECORDS[at], received=other.received), ArchiveCode.EVENT_MISMATCH),
        (replace(RECORDS[at], outputs=()), ArchiveCode.OUTPUTS_MISMATCH),
        (replace(RECORDS[at], entry=other.entry), ArchiveCode.OTHER_HEAD),
    ):
        with pytest.raises(SegmentError) as caught:
            segments_of([*RECORDS[:at], spoiled], OWNER)
        assert (caught.value.code, caught.value.index) == (code, at)


def test_an_event_larger_than_any_is_absent() -> None:
    """A compressed batch can bring one past the broker."""
    world = build_world("large")
    world.fold(bytes(2_000_000), [])
    log = SmallLog.of(world)
    owner = owner_of(log)
    segments = segments_of(records_of(log), owner)

    verdict = verdict_on(segments, owner)
    assert (verdict.code, verdict.absent) == (GOOD, 1)
    assert sum(map(len, segments.values())) < 200_000


def test_a_segment_ends_with_its_month() -> None:
    """So that destroying a month's key destroys whole segments."""
    world = build_world("months")
    for _ in range(3):
        world.advance(31 * 24 * 3600 * 1000)
        world.tick()
    log = SmallLog.of(world)
    owner = owner_of(log)
    segments = segments_of(records_of(log), owner)

    months = [month_text(parse_header(segments[name]).month) for name in sorted(segments)]
    assert len(months) == 4
    assert months == sorted(set(months))
    assert verdict_on(segments, owner).code == GOOD


def test_a_secret_stands_in_no_repr() -> None:
    for shown in (repr(OWNER), repr(keys_for(parse_header(ARCHIVE[SECOND]), KeysInMemory()))):
        assert OWNER.seal.hex() not in shown
        assert str(OWNER.seal) not in shown
