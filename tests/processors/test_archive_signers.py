"""An archive is judged as an export of the same log is, whoever signed its entries and however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.evidence.archive.codes import ArchiveCode
from processors.evidence.verdict import verify
from tests.archives import owner_of, records_of, segments_of, verdict_on
from tests.processors.test_evidence_keys import ALL, NEW, OLD, STRANGER, rotated, signed, stretch
from tests.reference.log_builder import SmallLog

ROTATED, STRETCH = rotated(), stretch()


def told(log: SmallLog, *, cuts: list[int]) -> tuple[str, int | None]:
    owner = owner_of(log)
    verdict = verdict_on(segments_of(records_of(log), owner, cuts=cuts), owner)
    return ("UNWITNESSED", None) if verdict.code is ArchiveCode.WHOLE else (verdict.code, verdict.index)


def exported(log: SmallLog) -> tuple[str, int | None]:
    verdict = verify(log.folder(), genesis=log.world.genesis)
    return verdict.code, verdict.index


@pytest.mark.parametrize(("log", "names"), [(ROTATED, (OLD, OLD, NEW, NEW)), (STRETCH, ALL)], ids=["rotation", "theft"])
def test_a_key_may_sign_before_the_segment_that_registers_it(log: SmallLog, names: tuple[str, ...]) -> None:
    whole = signed(log, *names)
    assert told(whole, cuts=list(range(len(whole.entries)))) == ("UNWITNESSED", None)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([ROTATED, STRETCH]),
    st.lists(st.sampled_from([OLD, NEW, STRANGER]), min_size=8, max_size=8),
    st.lists(st.integers(1, 8), max_size=8),
)
def test_an_archive_and_an_export_of_one_log_have_one_verdict(log: SmallLog, names: list[str], cuts: list[int]) -> None:
    said = signed(log, *names)
    assert told(said, cuts=cuts) == exported(said)
