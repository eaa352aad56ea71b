"""Nothing in the repository cites a file, a decision, a section or a heading that is not in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.citations import Citations, texts

ROOT = Path(__file__).resolve().parents[1]
OURS = Path(__file__).relative_to(ROOT).as_posix()  # it plants citations that lead nowhere


@pytest.fixture(scope="module")
def citations() -> Citations:
    return Citations(ROOT)


def test_every_citation_leads_somewhere(citations: Citations) -> None:
    """Code, tests, pages and examples cite only what a reader of the repository can open."""
    pages = {path.relative_to(ROOT).as_posix(): path for path in texts(ROOT)}
    del pages[OURS]

    broken = [one for place, path in pages.items() for one in citations.broken(path.read_text("utf-8"), place)]

    assert {"README.md", "Makefile", "processors/step.py", "docs/mapl.md", "examples/fintech/README.md"} <= pages.keys()
    assert broken == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("See docs/gone.md.", "docs/gone.md"),
        ("as `processors/gone/rule.py` has it", "processors/gone/rule.py"),
        ("| a claim | `tests/processors/test_gone_*.py` |", "tests/processors/test_gone_*.py"),
        ("the table in `gone.py`", "gone.py"),
        ("what a pattern is (MAPL.md 2)", "MAPL.md"),
        ("a tenant id (DESIGN 2)", "DESIGN"),
        ("the organisation key (DESIGN.md 4)", "DESIGN.md"),
        ("decided in ADR 9999", "ADR 9999"),
        ("decided in docs/adr/9999", "ADR 9999"),
        ("the rule of docs/mapl.md 16", "docs/mapl.md 16"),
        ("the rules of docs/mapl.md 1, 12 and 99, at once", "docs/mapl.md 99"),
        ("`docs/wire.md` sections 2, 3 and 77 alone", "docs/wire.md 77"),
        ("section 99 of [wire.md](wire.md) narrows it", "docs/wire.md 99"),
    ],
)
def test_a_citation_that_leads_nowhere_is_found_with_its_line(citations: Citations, text: str, found: str) -> None:
    """Each kind of citation, planted in the second line of a module."""
    broken = citations.broken(f'"""A module.\n{text}\n"""\n', "processors/step.py")

    assert f"processors/step.py:2: {found}" in broken


@pytest.mark.parametrize("place", ["docs/wire.md", "docs/mapl.md"])
def test_a_page_with_numbers_is_held_to_its_own(citations: Citations, place: str) -> None:
    """Within such a page a section is cited without the page's name."""
    assert citations.broken("as §77 has it, and section 88", place) == [
        f"{place}:1: {place} 77",
        f"{place}:1: {place} 88",
    ]


def test_a_citation_is_found_across_the_end_of_a_line(citations: Citations) -> None:
    """Docstrings and comments are wrapped wherever a line ends."""
    text = "# the prices are those of docs/mapl.md\n# 99, and of docs/mapl.md 1 and\n# 98\n"

    assert citations.broken(text, "processors/step.py") == [
        "processors/step.py:1: docs/mapl.md 99",
        "processors/step.py:2: docs/mapl.md 98",
    ]


@pytest.mark.parametrize("link", ["[x](mapl.md#99-gone)", "[x](gone.md#1-documents)", "[x](#gone)"])
def test_a_link_to_a_heading_that_is_not_there_is_found(citations: Citations, link: str) -> None:
    """The part behind `#` counts too."""
    assert citations.broken(f"# A page\n\n{link}\n", "docs/policy.md") == [f"docs/policy.md:3: {link[4:-1]}"]


def test_a_citation_that_leads_somewhere_is_none_of_them(citations: Citations) -> None:
    """Files, patterns of files, decisions, sections, headings, and addresses elsewhere."""
    text = """
        `processors/step.py`, tests/processors/test_evidence*.py, `step.py`, ADR 0012, docs/adr/0016, README.md,
        docs/mapl.md 1, 12 and 14, docs/wire.md 4, [x](../docs/mapl.md#15-conformance-cases), [y](#here),
        https://example.org/docs/gone.md, ./.macaw/access.json, macaw/pop/v1, bench/out/latest.json
    """

    assert citations.broken(f"# Here\n{text}", "examples/README.md") == []
