"""The theorem of docs/mapl.md 5 over a part of the small universe, with the engine itself; see `universe.py`."""

import unicodedata

import pytest

from processors.policy.decide import decide
from tests.processors.policy import universe as searched
from tests.reference import mapl
from tests.reference.mapl import universe
from tests.reference.mapl.text import UNICODE_VERSION
from tests.reference.mapl.universe_parts import CALLS

BASES = 60


def test_no_extension_of_a_part_of_the_bases_raises_an_outcome() -> None:
    """All extensions and calls of 60 of the 2,100 bases; all of them: `python -m tests.processors.policy.universe`."""
    found = searched.search(searched.spread(BASES))

    assert found.raised == []
    assert found.triples > 50_000
    assert set(found.before) == {"allowed", "pending", "denied"}
    assert found.unpublishable == BASES * len(CALLS)  # the one document with `at_most` of 0


def test_the_bases_that_are_searched_hold_the_whole_universe() -> None:
    """What is decided and what cannot be published are together every triple there is."""
    triples = sum(len(universe.extensions(base)) * len(CALLS) for base in searched.spread())

    assert triples == universe.size() == 2_727_150


def test_the_search_notices_an_engine_that_breaks_the_theorem() -> None:
    """An engine that lets a resource's grant override a denied resource is caught."""

    def lenient(index, subjects, resource, parameters, call):
        verdict = decide(index, subjects, resource, parameters, call)
        if verdict.reason == "RESOURCE_DENIED" and "tool:a" in index.by_id:
            return verdict._replace(outcome=searched.Outcome.ALLOWED, reason="")
        return verdict

    assert searched.search(searched.spread(BASES), lenient).raised != []


@pytest.mark.skipif(
    unicodedata.unidata_version != UNICODE_VERSION, reason="the reference needs the Unicode tables of the specification"
)
def test_the_engine_is_asked_the_same_as_the_reference() -> None:
    """Outcome and reason of a sample, before and after: so it is the same universe that both have searched."""
    compared = 0
    for number in universe.numbers(1500):
        one = universe.triple(number)
        documents = universe.base_documents(one.base)
        index = searched.index_of(documents)
        assert index is not None
        case = CALLS[one.call]
        wider = searched.extended(decide, index, documents, universe.extensions(one.base)[one.extension])
        if wider is None:
            continue
        for ours, asked in (
            (searched.deciding(decide, index)(case), universe.before(one)),
            (wider(case), universe.after(one)),
        ):
            theirs = mapl.evaluate(*asked)
            assert (str(ours.outcome), ours.reason or "ALLOWED") == (theirs.outcome, theirs.reason), one.code
            compared += 1
    assert compared > 2900
