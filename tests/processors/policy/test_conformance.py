"""The cases of docs/mapl.md 15, the table of its section 2, and the readings written beside the reference evaluator."""

from pathlib import Path

import pytest

from processors.policy.errors import ResourceInvalidError
from processors.policy.patterns import PatternPosition, matches, resource_name
from processors.policy.text import nfc
from tests.mapl_cases import Played, published, read_cases

VECTORS = Path(__file__).parents[2] / "vectors" / "mapl"
FILES = {name: read_cases(VECTORS / f"{name}.jsonl") for name in ("conformance", "readings", "refusals")}
ROWS = [(name, case) for name, file in FILES.items() for case in file.cases]
DECIDED = [(name, case) for name, case in ROWS if "resource" in case]
OFFERED = [(name, case) for name, case in ROWS if "resource" not in case]
PATTERNS = read_cases(VECTORS / "patterns.jsonl").cases


@pytest.mark.parametrize(("name", "case"), DECIDED, ids=[case["id"] for _, case in DECIDED])
def test_a_call_of_a_case_is_decided_as_the_case_says(name, case):
    """Outcome and reason of every call, the repeated ones on shared tables."""
    played = Played(FILES[name], case)

    assert played.outcomes() == played.expected(), case.get("note", "")


@pytest.mark.parametrize(("name", "case"), OFFERED, ids=[case["id"] for _, case in OFFERED])
def test_a_document_of_a_case_is_taken_or_refused_as_the_case_says(name, case):
    """Publications and withdrawals, each with its one code."""
    assert published(FILES[name], case) == case["expect"], case.get("note", "")


@pytest.mark.parametrize("case", PATTERNS, ids=[case["id"] for case in PATTERNS])
def test_a_pattern_of_the_table_meets_what_the_table_says(case):
    """The table of section 2, in both positions."""
    try:
        name = resource_name(case["resource"])
    except ResourceInvalidError:
        assert case["expect"] == ["refused", "RESOURCE_INVALID"]
        return

    found = [
        matches(nfc(case["pattern"]), name, position)
        for position in (PatternPosition.GRANT, PatternPosition.RESTRICTION)
    ]
    assert ["yes" if one else "no" for one in found] == case["expect"]


def test_no_case_is_left_out():
    """Every line with an id is played by one of the tests above."""
    assert len(DECIDED) + len(OFFERED) == len(ROWS)
    assert {name for name, _ in ROWS} == set(FILES)
