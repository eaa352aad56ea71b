"""Whose approvals stand is looked up once for a decision, however many documents and roles ask for them."""

from __future__ import annotations

import pytest

from processors.calls import standing
from tests.workflow_world import ANYTHING, PAY, Workflow


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
