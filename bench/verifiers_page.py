"""`python -m bench.verifiers_page --corpora DIR`: measure the detectors, and write the table of docs/verifiers.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

PAGE = Path(__file__).resolve().parents[1] / "docs" / "verifiers.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
_HEAD = "| detector | surface | texts | hits | of | share |\n|---|---|---|---:|---:|---|\n"


class Figure(Protocol):
    """One line of the table: `hits` of `of` texts of a surface, and the interval of their share (0 to 1)."""

    @property
    def surface(self) -> str:
        """The place that the texts stand in."""
        ...

    @property
    def what(self) -> str:
        """The texts, and the rules that count."""
        ...

    @property
    def hits(self) -> int:
        """How many texts were met."""
        ...

    @property
    def of(self) -> int:
        """How many texts there are."""
        ...

    @property
    def share(self) -> float:
        """The share of hits."""
        ...

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end."""
        ...


def table_of(found: Mapping[str, Iterable[Figure]]) -> str:
    """Return the table of figures in Markdown, by detector."""
    return _HEAD + "".join(_line(detector, one) for detector, rows in found.items() for one in rows)


def _line(detector: str, one: Figure) -> str:
    low, high = (100 * end for end in one.interval)
    share = f"{100 * one.share:.1f} % [{low:.1f} to {high:.1f}]"
    return f"| {detector} | {one.surface} | {one.what} | {one.hits} | {one.of} | {share} |\n"


def with_table(page: str, table: str) -> str:
    """Return the page's text with the table between its two marks. Raises ValueError if it has not both of them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f"the page lacks `{BEGIN.strip()}` or, behind it, `{END.strip()}`: write both on lines of their own"
        )
    return f"{before}{begin}\n{table}\n{end}{after}"


def main() -> None:
    """Measure, and write the page."""
    from bench.verifiers import quality

    parser = argparse.ArgumentParser(prog="python -m bench.verifiers_page")
    parser.add_argument("--corpora", type=Path, required=True, help="the folder with the sets")
    found = quality(parser.parse_args().corpora)
    PAGE.write_text(with_table(PAGE.read_text("utf-8"), table_of(found)), "utf-8")


if __name__ == "__main__":
    main()
