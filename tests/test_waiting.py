"""The one wait of the tests: it returns the answer, and a wait in vain says what it lacked."""

from __future__ import annotations

import itertools

import pytest

from producers.kafka.connection import Connection
from tests import waiting
from tests.waiting import PATIENCE_SECONDS, wait_until


def test_the_first_true_answer_is_returned_and_the_meanwhile_is_done_before_each_further_question() -> None:
    answers, done = iter([0, "", [7]]), list[str]()

    assert wait_until(lambda: next(answers), pause=0, meanwhile=lambda: done.append("turn")) == [7]
    assert done == ["turn"] * 2


@pytest.mark.parametrize("what", ["rain", lambda: "rain"])
def test_a_wait_in_vain_fails_and_names_the_condition(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.0)
    asked = itertools.count()

    with pytest.raises(AssertionError, match=r"not in 0 s: rain$"):
        wait_until(lambda: next(asked) < 0, what)


def test_a_question_to_the_log_is_waited_for_as_long(request: pytest.FixtureRequest) -> None:
    """And a test ends before its own time-out, so that the wait is what fails."""
    assert Connection.ask.__kwdefaults__["seconds"] == PATIENCE_SECONDS < float(request.config.getini("timeout"))
