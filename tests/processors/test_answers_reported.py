"""The report on approvers: who answers how, how soon, and who says yes without reading; by the log alone."""

from __future__ import annotations

import pytest

from macaw.policies.history import History, Recorded
from macaw.policies.traffic.answered import AnswersBy, GivenAnswers, read_answers
from tests.approver_world import KEY, Desk


def answers_in(world: Desk, since: int = 0) -> dict[AnswersBy, GivenAnswers]:
    """Return the answers in a world's log."""
    records = iter([Recorded(one) for one in world.records])
    return read_answers(History(world.tenant, world.deployment, world.genesis, records), since=since)


def test_each_approver_is_counted_with_the_time_from_request_to_answer() -> None:
    """In log time; a refused answer counts for nobody, and a service is told as a whole and by persons."""
    world = Desk.with_policy("reported")
    slack, carol = world.service(speaks_for=("user:m*",)), world.person("carol", KEY)
    for wait, said_by in ((1_000, "user:mia"), (3_000, "user:max"), (5_000, "user:mia")):
        asked = world.pay()
        world.advance(wait)
        assert world.approve(slack, asked, KEY, said_by="user:dave").says == ("refused", "APPROVER_SAID_BY")
        world.approve(slack, asked, KEY, said_by=said_by)
    asked = world.pay()
    world.advance(500)
    world.deny(carol, asked, KEY)
    assert world.approve(carol, asked, KEY).says == ("refused", "APPROVAL_CLOSED")

    found = answers_in(world)
    told = {by: (given.yes, given.no, given.median) for by, given in found.items()}
    assert told == {
        ("slack", ""): (3, 0, 3.0),
        ("slack", "user:mia"): (2, 0, 3.0),
        ("slack", "user:max"): (1, 0, 3.0),
        ("user:carol", ""): (0, 1, 0.5),
    }
    assert next(iter(found)) == ("slack", "")
    assert found[AnswersBy("slack", "")].share_within(3) == pytest.approx(2 / 3)
    assert answers_in(world, since=world.now).keys() == {("user:carol", "")}


@pytest.mark.parametrize(
    ("yes", "no", "seconds", "hasty"),
    [(10, 0, 2.0, True), (9, 0, 1.0, False), (19, 1, 1.0, True), (18, 2, 1.0, False), (10, 0, 2.001, False)],
)
def test_ten_quick_answers_of_which_nearly_all_are_a_yes_are_warned_of(
    yes: int, no: int, seconds: float, hasty: bool
) -> None:
    """At the bounds."""
    given = GivenAnswers()
    for at in range(yes + no):
        given.note(seconds, yes=at < yes)

    assert given.is_hasty(2.0) is hasty


def test_half_of_the_answers_may_be_slow() -> None:
    """The median counts: a few that were read do not hide the others."""
    given = GivenAnswers()
    for seconds in [1.0] * 6 + [600.0] * 5:
        given.note(seconds, yes=True)

    assert given.is_hasty(2.0)
