"""Each framework has a file of tests, pins of its own, an extra and an adapter: none is tried half."""

import re
import tomllib

import pytest

from tests.adapters.test_adapters_table import FILE, rows
from tests.frameworks import run
from tests.frameworks.conftest import MODULES
from tests.frameworks.run import NAMES, constraints_of
from tests.house import ROOT

MODELS = ("openai", "anthropic")
HERE = ROOT / "tests" / "frameworks"


@pytest.mark.parametrize("name", NAMES)
def test_a_framework_is_pinned_and_tried(name: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    package = extras[name][0].partition(">")[0]
    pins = constraints_of(name).read_text().splitlines()

    assert any(line.startswith(f"{package}==") for line in pins)
    assert all("==" in line for line in pins)
    assert run.tests_of(name).name in MODULES
    assert (ROOT / "macaw" / "adapters" / f"{name.replace('-', '_')}.py").exists()


def test_no_framework_is_forgotten() -> None:
    assert {run.tests_of(name).name for name in NAMES} == set(MODULES)


def table_of_tests() -> tuple[list[str], list[list[str]]]:
    """Return the columns of the table in docs/adapters.md, and its rows without their first cell."""
    page = (ROOT / "docs" / "adapters.md").read_text("utf-8").partition("## Each adapter's tests")[2]
    lines = [line for line in page.partition("\n## ")[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    return cells[0][1:], [row[1:] for row in cells[2:]]


def test_each_framework_has_a_row_in_the_table_of_features() -> None:
    listed = {place for row in rows() for place in FILE.findall(row[0])}
    assert {f"tests/frameworks/{run.tests_of(name).name}" for name in NAMES} <= listed


def test_each_cell_of_the_page_names_a_test() -> None:
    columns, rows = table_of_tests()
    assert columns == [name.replace("-", "_") for name in ("langchain", "openai-agents", "pydantic-ai", *MODELS)]
    assert len(rows) > 10
    for at, column in enumerate(columns):
        files = [f"test_{column}.py", *(["model_scenarios.py"] if column in MODELS else [])]
        found = {name for file in files for name in re.findall(r"def (test_\w+)", (HERE / file).read_text("utf-8"))}
        named = {row[at] for row in rows if row[at] != "—"}
        assert named <= found, column
        assert named
