"""Long lists from a client's side: asked page by page, of the real rules, without a broker between."""

from __future__ import annotations

from typing import Any

import pytest

from processors.calls.attestations import record_id
from producers.client import approvals, delegations
from producers.kafka import connection
from producers.kafka.outcomes import MalformedReplyError, RefusedError
from schemas import limits
from tests.builders import Actor
from tests.producers.asking import Asking
from tests.workflow_world import CHECK, Workflow, attests
from tests.world import HOUR_MS

PAGE = limits.QUERY_DELEGATIONS_MAX


@pytest.fixture
def world() -> Workflow:
    return Workflow.opened()


@pytest.fixture
def alice(world: Workflow) -> Actor:
    return world.person("alice", ttl_ms=20 * HOUR_MS)


def granted(world: Workflow, by: Actor, count: int, **how: Any) -> list[str]:
    return sorted(world.grant_to(by, "bot", **how).entry.event.hex() for _ in range(count))


def test_all_delegations_are_listed_however_many(world: Workflow, alice: Actor) -> None:
    """Both lists, each row once, for who granted and for who received."""
    given = granted(world, alice, 2 * PAGE + 1)

    listed = delegations.list_delegations(Asking(world, alice))
    assert ([one["delegation"] for one in listed["granted"]], listed["received"]) == (given, [])
    listed = delegations.list_delegations(Asking(world, world.bot))
    assert ([one["delegation"] for one in listed["received"]], listed["granted"]) == (given, [])


def test_all_attestations_of_a_session_are_listed(world: Workflow) -> None:
    """In as many pages as it takes."""
    for begin in range(0, 112, limits.ATTESTATIONS_PER_REPORT_MAX):
        some = range(begin, begin + limits.ATTESTATIONS_PER_REPORT_MAX)
        world.ran(world.bot, CHECK, *(attests(f"checked.{n}") for n in some))

    listed = approvals.own_attestations(Asking(world, world.bot))

    assert len(listed) == 112
    assert {one["id"] for one in listed} == {record_id(world.bot.kid, f"checked.{n}", CHECK).hex() for n in range(112)}


def test_a_list_of_which_a_pages_end_leaves_is_read_again(world: Workflow, alice: Actor) -> None:
    """Nothing of the first reading is told, and nothing twice."""
    granted(world, alice, PAGE + 1, life_ms=1_000)
    lasting: list[str] = []

    def leave(asked: int) -> None:
        if asked == 1:
            world.advance(HOUR_MS)
            while any(row.until <= world.now for row in world.tables.delegations.rows.values()):
                world.tick()
            lasting.extend(granted(world, alice, PAGE + 1, life_ms=10 * HOUR_MS))

    listed = delegations.list_delegations(Asking(world, alice, before=leave))

    assert [one["delegation"] for one in listed["granted"]] == lasting


def test_a_question_that_is_refused_at_once_is_not_asked_again(world: Workflow, alice: Actor) -> None:
    """Only a place in a list may have left."""
    asking = Asking(world, alice)
    with pytest.raises(RefusedError) as refused:
        asking.pages("secrets")

    assert refused.value.reason == "QUERY_INVALID"
    assert world.log[-2].entry.kind != "StateQueried"


def test_pages_that_go_in_a_circle_end(world: Workflow, alice: Actor) -> None:
    """Whoever answers cannot keep a client busy: neither with the same place, nor with new ones for ever."""
    places = granted(world, alice, 3)

    def circle(asked: int, told: Any) -> Any:
        return {**told, "next": places[asked % 2]}

    with pytest.raises(MalformedReplyError, match="do not go on"):
        delegations.list_delegations(Asking(world, alice, answer=circle))


def test_pages_without_an_end_end(world: Workflow, alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many questions."""
    monkeypatch.setattr(connection, "PAGES_MAX", 5)
    places = granted(world, alice, 9)
    with pytest.raises(MalformedReplyError, match="within 5 questions"):
        delegations.list_delegations(Asking(world, alice, answer=lambda asked, told: {**told, "next": places[asked]}))


@pytest.mark.parametrize("rows", [None, {}, "x", [1], [None]])
def test_a_page_that_holds_no_rows_is_malformed(world: Workflow, alice: Actor, rows: object) -> None:
    """Whatever stands there instead."""
    with pytest.raises(MalformedReplyError, match="holds no list 'received'"):
        delegations.list_delegations(Asking(world, alice, answer=lambda _, told: {**told, "received": rows}))
