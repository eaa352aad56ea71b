"""The project tests its own manners: sizes, names, and that what the documents name is there."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import house
from tests.house import ROOT, sources
from tests.rows import every

PACKAGES = (*house.PACKAGES, "examples", "bench")
BANNED_MODULES = {"utils", "helpers", "common", "base", "manager", "misc"}
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def test_a_file_and_each_of_its_functions_fit_their_bounds() -> None:
    """A file has at most 400 lines, a function at most 70."""

    def holds(path: Path) -> None:
        text = path.read_text("utf-8")
        long = [
            f"{f.name}: {f.end_lineno - f.lineno + 1}"
            for f in functions(ast.parse(text))
            if f.end_lineno is not None and f.end_lineno - f.lineno + 1 > FUNCTION_LINES_MAX
        ]

        assert len(text.splitlines()) <= FILE_LINES_MAX
        assert long == []

    every(sources(*PACKAGES, "tests"), lambda p: str(p.relative_to(ROOT)), holds)


def test_no_module_has_a_name_that_says_nothing() -> None:
    """Modules are called after concepts."""

    def holds(path: Path) -> None:
        assert path.stem not in BANNED_MODULES

    every(sources(*PACKAGES), lambda p: str(p.relative_to(ROOT)), holds)


def test_the_core_is_never_async_and_catches_broadly_once() -> None:
    """A core function that is async is a design error; only three modules may catch Exception.

    The codec raises it again as its own; the step makes an entry of it, in one place, so that nothing else need. A
    panic of the library behind schemas has a class that cannot be imported: all else is raised again there.
    """
    broadly = {"schemas/codec.py", "processors/step.py", "processors/content/parameter_schemas.py"}

    def holds(path: Path) -> None:
        tree = ast.parse(path.read_text("utf-8"))
        broad = [n for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler) and _names_exception(n)]

        assert not any(isinstance(f, ast.AsyncFunctionDef) for f in functions(tree))
        assert len(broad) <= (path.relative_to(ROOT).as_posix() in broadly)

    every(sources("processors", "schemas"), lambda p: str(p.relative_to(ROOT)), holds)


def _names_exception(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or (
        isinstance(handler.type, ast.Name) and handler.type.id in {"Exception", "BaseException"}
    )


@pytest.mark.parametrize("page", ["features.md", "threat-model.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    """A page that says what holds names the test that shows it."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / page).read_text("utf-8")))
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in _read(ROOT / path)]

    assert named
    assert missing == []


def test_no_example_is_in_the_wheel() -> None:
    """An installation has the program; demos, policies and recorded attacks stay in the checkout."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert wheel.keys() == {"packages"}
    assert sorted(wheel["packages"]) == sorted(house.PACKAGES)
    assert not (ROOT / "macaw" / "demo").exists()


def test_every_row_of_the_threat_model_names_its_test() -> None:
    """Its last column is never empty, in the tables that say what a key or a place gives."""
    page = (ROOT / "docs" / "threat-model.md").read_text("utf-8").partition("## Not defended")[0]
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| who ")]

    assert len(rows) > 20
    assert [row for row in rows if "::" not in row.rsplit("|", 2)[1]] == []


def _read(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def test_every_relative_link_in_the_documents_leads_somewhere() -> None:
    """A link in a page of this project is a file of this project."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]

    assert broken == []
