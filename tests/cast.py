"""A tenant with one actor of every role, for tables of who may say what."""

from __future__ import annotations

from typing import Any

from processors.state.engine import DETECTING
from tests.builders import keys_of
from tests.world import World


class Cast:
    """A tenant with one actor of every role that its engine has."""

    def __init__(self, name: str = "cast", **how: Any) -> None:
        shared = keys_of(name, "organisation").signing.public
        self.world = World.founded(name, **{"organisation_key": shared, **how})
        world = self.world
        self.actors = {
            "root": world.roots[0],
            "admin": world.admin,
            "monitor": world.monitor,
            "organisation": world.organisation,
            **{
                role: world.register(role, f"the-{role}")
                for role in ("enrolment", "bridge", "approver", "attester", "verifier", "agent", "service", "tool")
                if role != "verifier" or world.tables.engine.number >= DETECTING
            },
        }
        self.actors["session"] = world.open_session(self.actors["agent"])
