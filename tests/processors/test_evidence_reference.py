"""`docs/wire.md` is enough: a verifier written from it gives the same verdict, at the same entry, for any folder."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.evidence.folder_format import DATA_FILES, MANIFEST
from processors.evidence.packing import PackError
from schemas.reasons import Reason
from tests.reference.evidence_reference import verdict_of
from tests.reference.folder_changes import FOLDER, GENESIS, LOG, TOOL, flipped, said
from tests.reference.log_builder import FolderInMemory, SmallLog

LAST = len(LOG.entries) - 1
KINDS = sorted({entry.kind for entry in LOG.entries})
OUTCOMES = ["accepted", "refused", "allowed", "denied", "pending"]


def agree(folder: FolderInMemory) -> str:
    """Return the verdict's code, once both have given the same."""
    found = said(folder)
    assert verdict_of(folder.files, GENESIS) == found
    return found[0]


def test_a_whole_log_is_whole_for_both() -> None:
    """With every kind of event in it."""
    assert agree(FOLDER) == "UNWITNESSED"
    assert verdict_of(FOLDER.files, bytes(32)) == ("SPLICE", None)


@pytest.mark.parametrize("name", [*FOLDER.files])
def test_without_any_one_file(name: str) -> None:
    """Named by neither's manifest, or by the old one."""
    gone = FOLDER.with_file(name, None)
    assert agree(gone) != "UNWITNESSED"
    if name != MANIFEST:
        agree(gone.remade())


@st.composite
def records_changed(draw: st.DrawFn, items: list[bytes]) -> list[bytes]:
    """Return the records of a file with one dropped, moved, doubled, replaced, or changed inside."""
    at, other = draw(st.integers(0, len(items) - 1)), draw(st.integers(0, len(items) - 1))
    old = items[at]
    how = draw(st.sampled_from(["drop", "swap", "double", "copy", "flip", "short", "long", "absent", "raw", "none"]))
    if how == "flip" and old:
        where = draw(st.integers(0, len(old) - 1))
        return [*items[:at], flipped(old, where, draw(st.integers(0, 7))), *items[at + 1 :]]
    new = {
        "drop": [], "swap": [items[other]], "double": [old, old], "copy": [old, items[other]], "short": [old[:-1]],
        "long": [old + b"x"], "absent": [b"\0"], "raw": [b"\2" + old[1:]], "none": [b""],
    }.get(how, [old])  # fmt: skip
    changed = [*items[:at], *new, *items[at + 1 :]]
    if how == "swap":
        changed[other] = old
    return changed


@st.composite
def folders(draw: st.DrawFn) -> FolderInMemory:
    """Return the folder with files changed as anybody can change them, with the old manifest or a fresh one."""
    folder = FOLDER
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from([*DATA_FILES, *DATA_FILES, *FOLDER.files]))
        data = folder.files[name]
        whole = name in DATA_FILES and draw(st.booleans())
        items = folder.items(name) if whole else []
        if items:
            folder = folder.put(name, draw(records_changed(items)))
        else:
            start = draw(st.integers(0, len(data)))
            end = draw(st.integers(start, min(len(data), start + 40)))
            folder = folder.with_file(name, data[:start] + draw(st.binary(max_size=40)) + data[end:])
    if draw(st.booleans()):
        with contextlib.suppress(ValueError):  # the manifest itself is spoilt
            folder = folder.remade()
    return folder


@given(folders())
@settings(max_examples=120, deadline=None, derandomize=True)
def test_files_that_anybody_changed(folder: FolderInMemory) -> None:
    """Records and bytes of every file."""
    agree(folder)


def lies(at: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return what a monitor may say instead in one entry."""
    entry = LOG.entries[at]
    other = st.sampled_from(LOG.entries)
    reasons = st.sampled_from([*map(str, Reason), ""])
    return st.one_of(
        st.fixed_dictionaries({"outcome": st.sampled_from(OUTCOMES)}),
        st.fixed_dictionaries({"reason": reasons}),
        st.fixed_dictionaries({"outcome": st.just("refused"), "reason": reasons}),
        st.fixed_dictionaries({"kind": st.sampled_from(KINDS)}),
        other.map(lambda one: {"event": one.event}),
        other.map(lambda one: {"event_kid": one.event_kid}),
        other.map(lambda one: {"event_id": one.event_id}),
        st.sampled_from([-1, 1, 10**6, 10**8, 10**9]).map(lambda more: {"now": max(0, entry.now + more)}),
        st.sampled_from([-1, 1, 50]).map(lambda more: {"offset": max(0, entry.offset + more)}),
        st.sampled_from([{"partition": 1}, {"outputs": b""}, {"origin": "x/y"}, {"prev": bytes(32)}]),
    )


@given(st.data())
@settings(max_examples=120, deadline=None, derandomize=True)
def test_logs_that_a_monitor_lied_in(data: st.DataObject) -> None:
    """Entries signed anew, with links that fit or do not, and with events changed, gone or without their proof."""
    at = data.draw(st.integers(0, LAST))
    log = LOG.resign(at, by=data.draw(st.sampled_from([None, None, TOOL])), **data.draw(lies(at)))
    if at < LAST and data.draw(st.booleans()):
        log = log.relinked(at + 1)
    pairs = [*log.pairs]
    where = data.draw(st.integers(0, LAST))
    record, received = pairs[where]
    if received is not None:
        spoilt = {
            "gone": None,
            "bare": replace(received, headers=()),
            "cut": replace(received, value=(received.value or b"")[:-1]),
            "other": data.draw(st.sampled_from(LOG.pairs))[1],
        }
        pairs[where] = record, data.draw(st.sampled_from([received, *spoilt.values()]))
    with contextlib.suppress(PackError):  # what nobody can pack nobody need judge
        agree(SmallLog(log.world, pairs, log.entries).folder())
