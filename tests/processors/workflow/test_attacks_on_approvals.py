"""Attacks on the limits, the counting and the narrowing of approvals: each got further than an approver had said."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.approver_world import KEY, Desk
from tests.workflow_world import ANYTHING

MINUTE_MS = 60_000
ALIASES = ("user:12345", "user:cc", "user:carol@x.example", "user:CC", "user:\uff43c")


@pytest.fixture
def world() -> Desk:
    return Desk.with_policy("attacks")


@pytest.mark.parametrize("order", list(itertools.permutations(ALIASES, 2)), ids=" then ".join)
def test_two_names_of_one_person_are_no_quorum(world: Desk, order: tuple[str, str]) -> None:
    """A login has told the log that the two names are one person's; no one of them is the principal's own."""
    world.needs(quorum=2)
    world.person("12345", user="cc", email="carol@x.example")
    slack, asked = world.service(speaks_for=("**",)), world.pay()
    world.approve(slack, asked, KEY, said_by=order[0])

    world.is_refused("APPROVER_DUPLICATE", lambda: world.approve(slack, asked, KEY, said_by=order[1]))


def test_a_login_between_and_after_two_answers_makes_one_person_of_two_names(world: Desk) -> None:
    """The log learns after both answers, and before the decision, that they are one person's."""
    metas = {key: {"approval_criteria": f"role:{key}", "timeout": 300, "quorum": 2} for key in (KEY,)}
    metas["board"] = {"approval_criteria": "role:board", "timeout": 300}
    world.publish_policy(
        {"policy_id": "agent:bot", **ANYTHING, "attestations": [*metas], "constraints": {"attestations": metas}}
    )
    slack, asked, ben = world.service(speaks_for=("**",)), world.pay(), world.person("ben", "board")
    for name in ("user:cc", "user:carol@x.example"):
        assert world.approve(slack, asked, KEY, said_by=name).says == ("accepted", "")
    world.person("12345", user="cc", email="carol@x.example")

    world.approve(ben, asked, "board")
    assert not world.is_allowed(asked)


def test_two_persons_who_share_no_name_stay_two(world: Desk) -> None:
    """Names that are only known to be of somebody else make no duplicate."""
    world.needs(quorum=2)
    world.person("12345", user="cc", email="carol@x.example")
    world.person("67890", user="dd", email="dave@x.example")
    slack, asked = world.service(speaks_for=("**",)), world.pay()
    for name in ("user:cc", "user:dave@x.example"):
        world.approve(slack, asked, KEY, said_by=name)

    assert world.is_allowed(asked)


@pytest.mark.parametrize("late", [{}, {"uses": 1}, {"for_ms": 5 * MINUTE_MS}], ids=str)
def test_a_further_yes_gives_a_shorter_one_no_more_time(world: Desk, late: dict[str, Any]) -> None:
    """The time runs from the moment at which the quorum is complete, also for the call that still waits."""
    metas = {key: {"approval_criteria": f"role:{key}", "timeout": 600, "one_time": False} for key in (KEY, "board")}
    world.publish_policy(
        {"policy_id": "agent:bot", **ANYTHING, "attestations": [*metas], "constraints": {"attestations": metas}}
    )
    mia, zoe, ben = world.person("mia", KEY), world.person("zoe", KEY), world.person("ben", "board")
    asked = world.pay()
    world.approve(mia, asked, KEY, for_ms=MINUTE_MS)
    world.passes(MINUTE_MS - 1)
    world.approve(zoe, asked, KEY, **late)
    world.passes(2)
    world.approve(ben, asked, "board")

    assert (world.final(asked).outcome, world.final(asked).reason) == ("denied", "APPROVAL_EXPIRED")


def test_a_name_of_very_many_persons_answers_for_none(world: Desk) -> None:
    """To look all of them up for each decision would have no bound; the principals can still be named."""
    slack, asked = world.service(speaks_for=("**",)), world.pay()
    for number in range(17):
        world.person(f"p{number}", email="team@x.example")
    world.is_refused("APPROVER_SAID_BY", lambda: world.approve(slack, asked, KEY, said_by="user:TEAM@x.example"))

    assert world.approve(slack, asked, KEY, said_by="user:p3").says == ("accepted", "")
