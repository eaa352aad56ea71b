"""The cases of docs/mapl.md 15, the table of its section 2, and the readings written beside the reference evaluator."""

from pathlib import Path
from typing import Any

from macaw.policies.case_files import read_case_file
from macaw.policies.cases import play_case
from tests.rows import every

VECTORS = Path(__file__).parents[2] / "vectors" / "mapl"
FILES = {
    name: read_case_file(VECTORS / f"{name}.jsonl") for name in ("conformance", "readings", "refusals", "patterns")
}
ROWS = [(name, case) for name, file in FILES.items() for _, case in file.cases]


def test_a_case_comes_out_as_written() -> None:
    """Outcome and reason of every call, the repeated ones on shared tables; the one code of a document; a pattern."""

    def holds(row: tuple[str, dict[str, Any]]) -> None:
        name, case = row
        played = play_case(FILES[name], case)

        assert played.found == case["expect"], case.get("note", "")

    every(ROWS, lambda row: row[1]["id"], holds)


def test_every_line_of_the_files_is_played():
    """A line is a case that is played here, or defines names."""
    lines = [line for name in FILES for line in (VECTORS / f"{name}.jsonl").read_text("utf-8").splitlines()]
    assert len(ROWS) == sum('"expect"' in line for line in lines) >= 350
