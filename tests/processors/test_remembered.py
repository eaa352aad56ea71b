"""What is kept ready between records stays small, whatever anybody sends, and threads may share it."""

from __future__ import annotations

import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from processors.calls.standing import criteria_of
from processors.identity.attributes import subject_of
from processors.identity.delegations import _scope
from processors.policy.index import Remembered
from processors.policy.patterns import resource_name
from schemas.events.attributes import Attributes

_WIDE = "\U0001f600"  # a text with one such character takes four bytes for each of its characters


@pytest.fixture
def grown() -> Iterator[Callable[[], int]]:
    """Return how many bytes more are held than when it was asked last."""
    tracemalloc.start()
    before = 0

    def more() -> int:
        nonlocal before
        held, _ = tracemalloc.get_traced_memory()
        before, since = held, held - before
        return since

    yield more
    tracemalloc.stop()


def _user(number: int) -> None:
    criteria_of(subject_of(Attributes(user=f"{number}{_WIDE}" + "a" * 16_200), "agent", "bot"))


def _roles(number: int) -> None:
    roles = tuple(f"{number}-{at}{_WIDE}" + "a" * 200 for at in range(64))
    criteria_of(subject_of(Attributes(roles=roles), "agent", "bot"))


def _scopes(number: int) -> None:
    patterns = [f"tool:{number}-{at}/{_WIDE}" + "a" * 100 for at in range(60)]
    scope = _scope(json.dumps({"resources": patterns}, ensure_ascii=False))
    assert not scope.covers(resource_name(f"tool:{number}/{_WIDE}" + "b" * 900))
    assert not scope.covers(resource_name(f"tool:{number}/x"))


@pytest.mark.parametrize(("say", "many"), [(_user, 300), (_roles, 300), (_scopes, 550)])
def test_large_texts_that_differ_with_every_record_take_no_more_memory(
    say: Callable[[int], None], many: int, grown: Callable[[], int]
) -> None:
    for number in range(many):
        say(number)
    grown()
    for number in range(many, 2 * many):
        say(number)
    assert grown() < 4 * 1024 * 1024


def test_threads_that_remember_the_same_things_do_not_trip_over_each_other() -> None:
    remembered, failed = Remembered(8, 40), []

    def run(first: int) -> None:
        try:
            for number in range(20_000):
                remembered.put((number + first) % 23, number, 7)
        except (KeyError, RuntimeError) as exc:
            failed.append(exc)

    threads = [threading.Thread(target=run, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(remembered) == 5  # as many as weigh no more than 40 together, counted right to the end
