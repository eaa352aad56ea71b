"""The cases to either side of each bound, `edges.jsonl`, before the engine; the reference plays them elsewhere."""

from pathlib import Path

import pytest

from processors.policy.errors import PolicyError
from tests.mapl_cases import Case, Played, published, read_cases

EDGES = read_cases(Path(__file__).parents[2] / "vectors" / "mapl" / "edges.jsonl")

# Where the engine, or what plays a case before it, says something else than the reference. Each line is to go.
OPEN = {
    "EL2": "playing: a malformed scope cannot be handed to the engine, which reads scopes before a hop is one",
    "EQ10": "playing: an earlier call with a name that is no resource cannot have been allowed",
}


def played(case: Case) -> bool:
    """Return whether a case comes out as it says."""
    if "resource" not in case:
        return published(EDGES, case) == case["expect"]
    try:
        one = Played(EDGES, case)
        return one.outcomes() == one.expected()
    except (PolicyError, AssertionError):  # the case's own past, or its scope, cannot be made
        return False


@pytest.mark.parametrize("case", [case for case in EDGES.cases if case["id"] not in OPEN], ids=lambda case: case["id"])
def test_a_case_at_a_bound_comes_out_as_written(case: Case) -> None:
    assert played(case), case.get("note", "")


def test_what_is_said_to_differ_still_does() -> None:
    """A line that is not true any more leaves the list."""
    assert [case["id"] for case in EDGES.cases if case["id"] in OPEN and played(case)] == []
    assert set(OPEN) <= {case["id"] for case in EDGES.cases}
