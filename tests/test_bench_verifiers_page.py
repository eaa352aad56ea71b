"""The table of figures in docs/verifiers.md: made of counts, and put between its two marks."""

import pytest

from bench.quality.rows import Row
from bench.verifiers_page import BEGIN, END, PAGE, table_of, with_table

FOUND = {"secrets": [Row("shell", "benign commands", 0, 50), Row("user", "attacks", 1, 2)]}


def test_a_line_has_the_counts_and_the_interval() -> None:
    first, second = table_of(FOUND).splitlines()[2:]

    assert first == "| secrets | shell | benign commands | 0 | 50 | 0.0 % [0.0 to 7.1] |"
    assert second == "| secrets | user | attacks | 1 | 2 | 50.0 % [9.5 to 90.5] |"


def test_a_table_replaces_the_one_before_and_nothing_else() -> None:
    page = f"before\n{BEGIN}\nold\n\n{END}after\n"

    once = with_table(page, table_of(FOUND))

    assert "old" not in once
    assert once.startswith(f"before\n{BEGIN}")
    assert once.endswith(f"{END}after\n")
    assert with_table(once, table_of(FOUND)) == once


@pytest.mark.parametrize("page", ["", BEGIN, END + BEGIN])
def test_a_page_without_both_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="lacks"):
        with_table(page, "")


def test_the_page_has_its_table() -> None:
    text = PAGE.read_text("utf-8")

    assert with_table(text, "x") != text
    assert text.count("| injection |") > 10
