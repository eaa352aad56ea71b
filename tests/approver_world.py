"""A tenant of the second engine where a manager must approve payments, and services answer with limits."""

from __future__ import annotations

import json
from typing import Any

from schemas.events.attributes import ApproverLimits, Attributes
from tests.builders import Actor, Folded
from tests.engines import NEWEST
from tests.workflow_world import ANYTHING, PAY, Workflow, reply

KEY = "manager"


def limits(**most: Any) -> ApproverLimits:
    """Return limits: none but those given."""
    scope = most.pop("scope", None)
    fields = {"keys": ("**",), "once_only": False, "speaks_for": (), **most}
    return ApproverLimits(scope=None if scope is None else json.dumps(scope), **fields)


class Desk(Workflow):
    """A tenant of the second engine where a manager must approve payments."""

    @classmethod
    def with_policy(cls, name: str = "services") -> Desk:
        """Return the tenant with its policy in force."""
        world = cls.opened(name, **NEWEST)
        assert isinstance(world, Desk)
        world.needs()
        return world

    def service(self, name: str = "slack", **most: Any) -> Actor:
        """Register an approver with the role of a manager and these limits."""
        attributes = most.pop("attributes", Attributes(roles=("manager",)))
        return self.register("approver", name, attributes=attributes, approver=limits(**most))

    def needs(self, resources: tuple[str, ...] = (PAY,), key: str = KEY, **meta: Any) -> None:
        """Let calls of the agent need an approval of a manager."""
        metas = {key: {"approval_criteria": "role:manager", "timeout": 300, **meta}}
        needed = [f"{key}::{{tool.id == '{one}'}}" for one in resources]
        self.publish_policy(
            {"policy_id": "agent:bot", **ANYTHING, "attestations": needed, "constraints": {"attestations": metas}}
        )

    def listed(self, by: Actor) -> list[Any]:
        """Return the requests that an approver is told of."""
        return list(reply(self.ask(by, "approvals"))["requests"])

    def is_allowed(self, asked: Folded) -> bool:
        """Return whether a call was allowed for good."""
        return [one.outcome for one in self.finals(asked.entry.event)] == ["allowed"]
