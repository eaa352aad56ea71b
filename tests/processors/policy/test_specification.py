"""`docs/mapl.md` says what the engine does: its tables and lists, held against the code and the cases."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from macaw.policies.case_files import read_case_file
from macaw.policies.cases import NOW, CaseRun, documents_of
from macaw.policies.warnings import WARNINGS
from processors.policy import limits
from processors.policy.call import Circumstances
from processors.policy.insight.explain import explain
from processors.policy.times import parse_time
from tests.reference.mapl.codes import REASONS, REFUSALS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "mapl.md").read_text("utf-8")
VECTORS = ROOT / "tests" / "vectors" / "mapl"
BOUNDS = {name: value for name, value in vars(limits).items() if name.isupper() and not name.startswith("CACHED_")}
# Codes of a decision on the log that no single evaluation gives, and those that have tests of their own.
OTHERS = "INTERNAL_ERROR APPROVAL_QUORUM APPROVAL_TIMEOUT DELEGATION_DEPTH"


def section(number: int) -> str:
    """Return one section of the page."""
    return re.split(r"^## \d+\. .*$", PAGE, flags=re.MULTILINE)[number]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row of the tables in a text."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_sections_have_the_numbers_that_code_and_tests_cite() -> None:
    """They are fifteen, and stay."""
    assert re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE) == [str(number) for number in range(1, 16)]


def test_every_bound_and_price_stands_in_the_page_with_its_value() -> None:
    """The tables of sections 1 and 9 are `processors/policy/limits.py`."""
    told = {cells[0].strip("`"): cells[1] for cells in rows(section(1) + section(9)) if cells[0].strip("`") in BOUNDS}

    assert told == {name: f"{value:,}" for name, value in BOUNDS.items()}


def test_the_table_of_patterns_is_the_file_of_cases() -> None:
    """Section 2 and `patterns.jsonl`, row by row."""
    table = [cells[:4] for cells in rows(section(2))[1:]]
    cases = [case for _, case in read_case_file(VECTORS / "patterns.jsonl").cases]

    expected = [["refused"] * 2 if one["expect"][0] == "refused" else list(one["expect"]) for one in cases]
    assert [(one[0].strip("`"), one[1].strip("`"), one[2:]) for one in table] == [
        (one["pattern"], one["resource"], expect) for one, expect in zip(cases, expected, strict=True)
    ]


@pytest.mark.parametrize(
    ("number", "codes"),
    [(1, REFUSALS), (1, " ".join(WARNINGS)), (12, f"{REASONS} {OTHERS}")],
    ids=["refusals", "warnings", "reasons"],
)
def test_every_code_stands_in_its_section(number: int, codes: str) -> None:
    """No code of a refusal, a warning or a decision is left out."""
    assert [code for code in codes.split() if not re.search(rf"\b{code}\b", section(number))] == []


def test_the_explanation_in_the_page_is_the_engine_s() -> None:
    """Case S02, member by member; only digests are left out."""
    told = json.loads(re.findall(r"```json\n(.*?)```", section(13), re.DOTALL)[0])
    file = read_case_file(VECTORS / "conformance.jsonl")
    case = next(one for _, one in file.cases if one["id"] == "S02")
    run = CaseRun(file, case, documents_of(file, case))
    now = parse_time(NOW, "")

    explained = explain(run.index, run.subjects(), case["resource"], case["params"], Circumstances(now=now))

    hidden = re.sub(r'"sha256": "[0-9a-f]{64}"', '"sha256": "…"', json.dumps({name: explained[name] for name in told}))
    assert json.loads(hidden) == told


def test_the_page_says_how_many_cases_there_are() -> None:
    """Section 15 counts the lines with an id."""
    cases = read_case_file(VECTORS / "conformance.jsonl").cases

    assert f"{len(cases)} lines with an id" in section(15)
