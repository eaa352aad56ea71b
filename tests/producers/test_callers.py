"""One caller cannot take all the calls that an instance may run."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from producers.agent.callers import Callers
from producers.agent.threads import BusyError


def test_a_caller_has_its_share_and_others_have_theirs() -> None:
    callers = Callers(2, own="app")
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(callers.one_more("eve"))
        with pytest.raises(BusyError, match="2 calls of this caller"), callers.one_more("eve"):
            pass
        with callers.one_more("ann"):
            pass
        for _ in range(5):  # calls to itself, from within calls of others
            held.enter_context(callers.one_more("app"))
    with callers.one_more("eve"), callers.one_more("eve"):
        pass
    assert not callers._running


def test_a_call_that_fails_gives_its_place_back() -> None:
    callers = Callers(1, own="app")
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), callers.one_more("ann"):
            raise ZeroDivisionError
