"""The table of adapters and features: each cell is a test that exists, or says why there is none."""

from __future__ import annotations

import ast
import re

import pytest

from tests.house import ROOT

HEAD = "| adapter, its tests |"
FILE = re.compile(r"`(tests/[\w/]+\.py)`")
TESTS = re.compile(r"`test_\w+`(?: `test_\w+`)*")


def rows() -> list[list[str]]:
    """Return the cells of each row below the head; all rows have as many as it."""
    lines = (ROOT / "docs" / "adapters.md").read_text("utf-8").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(HEAD))
    found = []
    for line in lines[at:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    head, _, *body = found
    assert {len(row) for row in body} == {len(head)}
    return body


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0].partition(",")[0])
def test_each_cell_names_a_test_or_a_reason(row: list[str]) -> None:
    places = FILE.findall(row[0])
    assert places, row[0]
    trees = [ast.parse((ROOT / place).read_text("utf-8")) for place in places]
    found = [one for tree in trees for one in ast.walk(tree)]
    defined = {one.name for one in found if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}

    for cell in row[1:]:
        if TESTS.fullmatch(cell):
            assert set(re.findall(r"test_\w+", cell)) <= defined
        else:
            assert re.fullmatch(r"no: \S.{5,}", cell), cell
