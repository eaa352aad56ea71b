"""The cases to either side of each bound, `edges.jsonl`, before the engine; the reference plays them elsewhere."""

from pathlib import Path

import pytest

from macaw.policies.case_files import Case, read_case_file
from macaw.policies.cases import play_case

EDGES = read_case_file(Path(__file__).parents[2] / "vectors" / "mapl" / "edges.jsonl")
CASES = [case for _, case in EDGES.cases]

# Where the engine, or what plays a case before it, says something else than the reference. Each line is to go.
OPEN = {
    "EQ10": "playing: an earlier call with a name that is not a resource cannot have been allowed",
}


@pytest.mark.parametrize("case", [case for case in CASES if case["id"] not in OPEN], ids=lambda case: case["id"])
def test_a_case_at_a_bound_comes_out_as_written(case: Case) -> None:
    assert play_case(EDGES, case).found == case["expect"], case.get("note", "")


def test_what_is_said_to_differ_still_does() -> None:
    """A line that is not true any more leaves the list."""
    assert [case["id"] for case in CASES if case["id"] in OPEN and play_case(EDGES, case).passed] == []
    assert set(OPEN) <= {case["id"] for case in CASES}
