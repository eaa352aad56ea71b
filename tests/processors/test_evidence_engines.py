"""What a verifier says of an export with two engines: a verdict where it holds both, never a wrong one where not."""

from __future__ import annotations

import pytest

from processors.evidence.archive.codes import segment_name
from processors.evidence.folder_format import EVENTS, REGISTRY
from processors.evidence.verdict import verify
from processors.state.engines import Engines
from tests.archives import owner_of, records_of, segments_of, verdict_on
from tests.engines import DATA_LATER, ONLY_LATER, WITH_LATER, activation
from tests.reference.evidence_reference import verdict_of
from tests.reference.folder_changes import bit_in
from tests.reference.log_builder import FolderInMemory, SmallLog
from tests.reference.registry_engines import FIRST, Held
from tests.world import Office

HELD: Held = {**FIRST, 3: {one.name: one.sha256.hex() for one in DATA_LATER}}


def two_engines() -> tuple[SmallLog, int]:
    """Return a log and the index of its activation."""
    office = Office.opened("two engines in evidence", engines=WITH_LATER)
    office.call({"n": 1})
    at = office.world.send(activation(), office.world.admin).entry.index
    office.call({"n": 2})
    office.world.register("agent", "late")
    return SmallLog.of(office.world), at


LOG, AT = two_engines()
FOLDER = LOG.folder()


def said(folder: FolderInMemory, engines: Engines | None = None, held: Held = FIRST) -> tuple[str, int | None]:
    """Return the verdict, once the product and the reference have given the same."""
    found = verify(folder, genesis=LOG.world.genesis, engines=engines)
    assert verdict_of(folder.files, LOG.world.genesis, held) == (found.code, found.index)
    return found.code, found.index


def cut(count: int) -> FolderInMemory:
    """Return an export that was made when the log had so many entries."""
    log = SmallLog(LOG.world, LOG.pairs[:count], LOG.entries[:count])
    return log.folder()


def test_with_both_engines_it_is_whole() -> None:
    assert said(FOLDER, WITH_LATER, HELD) == ("UNWITNESSED", None)


def test_without_the_later_engine_the_verdict_says_so() -> None:
    """At the first entry that it decided; the entries before it hold, the activation's own among them."""
    verdict = verify(FOLDER, genesis=LOG.world.genesis)

    assert said(FOLDER) == ("ENGINE_MISSING", AT + 1)
    assert verdict.size == AT + 1
    assert "install a version of macaw that holds engine 3" in verdict.detail


def test_without_the_first_engine_nothing_is_judged() -> None:
    """Neither passed nor called forged."""
    assert said(FOLDER, ONLY_LATER, {3: HELD[3]}) == ("ENGINE_MISSING", 0)


def test_other_data_under_the_same_number_are_another_engine() -> None:
    other = {**HELD, 3: {**HELD[3], "unicode-99": "00" * 32}}
    verdict = verdict_of(FOLDER.files, LOG.world.genesis, other)

    assert verdict == ("ENGINE_MISSING", AT + 1)


@pytest.mark.parametrize("engines", [None, WITH_LATER])
def test_an_export_that_was_cut_behind_the_activation_needs_no_later_engine(engines: Engines | None) -> None:
    """The activation is decided by the engine before it."""
    assert said(cut(AT + 1), engines, FIRST if engines is None else HELD) == ("UNWITNESSED", None)
    assert said(cut(AT), engines, FIRST if engines is None else HELD) == ("UNWITNESSED", None)


def test_a_file_that_was_cut_there_is_told_first_where_it_can_be_judged() -> None:
    """Entries that are promised and missing; without the engine, only the entries before count."""
    short = cut(AT + 2).remade(size=len(LOG.entries))
    assert said(short, WITH_LATER, HELD) == ("TRUNCATED", AT + 2)
    assert said(short) == ("ENGINE_MISSING", AT + 1)


def test_the_activation_cannot_be_left_out_of_the_registry() -> None:
    """Or a reader would go on by the wrong rules."""
    index = AT.to_bytes(8, "big")
    without = FOLDER.put(REGISTRY, [one for one in FOLDER.items(REGISTRY) if one[:8] != index])
    assert said(without, WITH_LATER, HELD) == said(without) == ("PAYLOAD_MISSING", AT)

    changed = bit_in(EVENTS, AT, -1)(FOLDER)
    assert said(changed, WITH_LATER, HELD) == said(changed) == ("BAD_SIG", AT)


def test_a_monitor_cannot_accept_what_the_rules_refuse() -> None:
    """A lower number that it says to be accepted is found."""
    office = Office.opened("a lie", engines=WITH_LATER)
    at = office.world.send(activation(1), office.world.admin).entry.index
    log = SmallLog.of(office.world).resign(at, outcome="accepted", reason="")
    verdict = verify(log.folder(), genesis=office.world.genesis)

    assert (verdict.code, verdict.index) == ("KEY_NOT_VALID", at)
    assert verdict_of(log.folder().files, office.world.genesis) == ("KEY_NOT_VALID", at)


def test_an_archive_with_an_engine_that_is_not_here_is_not_called_whole() -> None:
    """So nothing of it is trimmed; the entries before hold."""
    owner = owner_of(LOG)
    segments = segments_of(records_of(LOG), owner, cuts=[4, AT + 3])
    verdict = verdict_on(segments, owner)

    assert (verdict.code, verdict.index) == ("ENGINE_MISSING", AT + 1)
    assert verdict.segment == segment_name(4)
    assert verdict_on(segments_of(records_of(LOG)[: AT + 1], owner), owner).code == "WHOLE"
