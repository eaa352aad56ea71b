"""The work of approvals: each key is looked up once for a decision, and a question has one budget and pays for it."""

from __future__ import annotations

import pytest

from processors.calls import standing
from processors.policy import limits
from schemas import limits as system
from schemas.events.workflow import StateQueried
from tests.builders import Actor
from tests.workflow_world import ANYTHING, PAY, Workflow, reply


def test_the_approvals_of_a_key_are_looked_up_once_in_a_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Workflow.opened("once")
    carol = world.person("carol", "manager")
    meta = {"approval_criteria": "role:manager", "timeout": 300, "one_time": False}
    asking = {**ANYTHING, "attestations": ["often"], "constraints": {"attestations": {"often": meta}}}
    world.publish_policy(*({"policy_id": one, **asking} for one in ("agent:bot", "tool:bank", PAY)))
    assert world.approve(carol, world.pay(), "often").says == ("accepted", "")
    looked_up = []

    def counted(*of: object) -> object:
        looked_up.append(of)
        return stand(*of)

    stand = standing.standing
    monkeypatch.setattr(standing, "standing", counted)

    assert world.pay().says == ("allowed", "")
    assert len(looked_up) == 1


def asking(*keys: str) -> tuple[Workflow, Actor]:
    """Return a world in which calls wait for each of some keys, and a person whose own policies take work to ask."""
    world = Workflow.opened("asking")
    carol = world.person("carol", "manager")
    meta = {"approval_criteria": "role:manager", "timeout": 300}
    needed = {"attestations": list(keys), "constraints": {"attestations": dict.fromkeys(keys, meta)}}
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, **needed})
    never = [f"deny::{{principal.has_role('r{at}')}}" for at in range(60)]
    world.publish_policy({"policy_id": "user:carol", **ANYTHING, "attestations": never})
    assert world.pay().says == ("pending", "APPROVAL_PENDING")
    return world, carol


def test_a_page_of_requests_ends_where_its_work_is_spent_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question of a hundred bytes had a budget for each of a hundred requests, and paid for none of it."""
    world, carol = asking("a", "b", "c", "d", "e")
    whole = reply(world.send(StateQueried(what="approvals", argument="null"), carol))
    assert (len(whole["requests"]), whole["next"]) == (5, None)
    monkeypatch.setattr(limits, "WORK_UNITS_MAX", 40_000)  # two of the five

    found, argument, pages = [], "null", 0
    while argument != "null" or not pages:
        page = reply(world.send(StateQueried(what="approvals", argument=argument), carol))
        found, pages = [*found, *page["requests"]], pages + 1
        argument = "null" if page["next"] is None else f'"{page["next"]}"'

    assert pages == 3
    assert found == whole["requests"]


def test_a_question_pays_for_the_work_of_its_asker_s_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    world, carol = asking("a")
    monkeypatch.setattr(system, "WORK_FREE_UNITS", 0)

    world.send(StateQueried(what="approvals", argument="null"), carol)

    row = world.tables.work.get(b"user:carol")
    assert row is not None
    assert row.arrival - world.tables.appended * 1000 > 60 * limits.ITEM_UNITS
