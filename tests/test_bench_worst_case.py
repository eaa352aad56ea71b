"""What `python -m bench.worst_case` measures: documents that the log would take, and records that break no rule."""

from __future__ import annotations

import json

import pytest

from bench import worst_case as bench
from processors.policy import limits
from processors.policy.decide import inline_documents


@pytest.mark.parametrize("name", bench.made_documents())
def test_every_slow_document_may_come_with_a_call(name: str) -> None:
    """Or its row would say how fast it is refused."""
    text = json.dumps({**bench.made_documents()[name], "purpose": "12345"}, separators=(",", ":"))

    assert len(inline_documents((text,))) == 1


def test_made_up_documents_are_the_same_in_every_run() -> None:
    """What a search has found can be found again."""
    assert list(bench.made_up(5)) == list(bench.made_up(5))


def test_a_case_that_meets_the_limit_is_counted_to_its_end() -> None:
    """Units are those of the decision, and the reason says whether the limit was met."""
    case = bench.Case("", bench.made_documents()["denied: short items"], bench.made_parameters()["plain, many"])
    seconds, units, reason = bench.judged(case)

    assert (units > limits.WORK_UNITS_MAX, reason) == (True, "LIMIT_EXCEEDED")
    assert seconds > 0
