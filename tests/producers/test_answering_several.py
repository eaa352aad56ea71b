"""Several answers at once, from a client's side: bounded, one outcome for each, and silence ends them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from producers.client import NoAnswerError, ParametersChangedError, ScopeError
from producers.client.approvals import REQUESTS_AT_ONCE_MAX, answer_each
from producers.kafka.appending import PublishError


def listed(count: int) -> list[dict[str, Any]]:
    """Return so many requests as a list has them."""
    return [{"request": f"{n:064x}", "key": "manager"} for n in range(count)]


def test_one_that_fails_stops_no_other() -> None:
    def answer(one: Mapping[str, Any]) -> None:
        if one["request"].endswith("1"):
            raise ParametersChangedError("other parameters")

    found = answer_each(listed(3), answer)
    assert [(one.is_on_log, one.problem) for one in found] == [(True, ""), (False, "other parameters"), (True, "")]
    assert [one.request for one in found] == [one["request"] for one in listed(3)]


@pytest.mark.parametrize("silence", [NoAnswerError("no answer"), PublishError("no broker")])
def test_where_the_log_is_silent_the_others_are_not_signed(silence: Exception) -> None:
    """It is not known what became of the one; of those behind it, it is."""
    signed = []

    def answer(one: Mapping[str, Any]) -> None:
        signed.append(one)
        if len(signed) == 2:
            raise silence

    found = answer_each(listed(4), answer)
    assert len(signed) == 2
    assert [one.is_on_log for one in found] == [True, False, False, False]
    assert [one.problem.startswith("not signed") for one in found] == [False, False, True, True]


@pytest.mark.parametrize("requests", [listed(REQUESTS_AT_ONCE_MAX + 1), [*listed(2), *listed(1)]])
def test_too_many_or_one_twice_signs_nothing(requests: list[dict[str, Any]]) -> None:
    signed: list[Mapping[str, Any]] = []

    with pytest.raises(ScopeError):
        answer_each(requests, signed.append)
    assert signed == []
