"""A tenant whose sessions offer tools, and call each other's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from processors.identity.offers import newest_of
from schemas.events.attributes import Attributes
from schemas.events.tools import ToolDeclaration, ToolsOffered
from schemas.records import Body
from tests.builders import Actor, Folded, invocation, keys_of
from tests.workflow_world import ANYTHING, Workflow, declared, reply

LOOK, SHOUT = "tool:app/look", "tool:app/shout"


class Offers(Workflow):
    """A world with two programs that may offer `tool:app/…` and `tool:other/…`, and may call anything."""

    app: Actor
    other: Actor

    @classmethod
    def opened(cls, name: str = "offers", **how: Any) -> Offers:
        world = super().opened(name, **how)
        assert isinstance(world, Offers)
        for program in ("app", "other"):
            actor = world.register("service", program, attributes=Attributes(offers=(f"tool:{program}/**",)))
            setattr(world, program, actor)
        world.publish_policy(*({"policy_id": f"service:{name}", **ANYTHING} for name in ("app", "other")))
        return world

    def instance(self, program: Actor, *tools: str | ToolDeclaration, **how: Any) -> Instance:
        """Open a session that offers these operations."""
        made = Instance(self, self.open_session(program))
        assert made.offer(*tools, **how).says == ("accepted", "")
        return made

    def tell(self, session: Actor, what: str, argument: Any = None) -> Any:
        """Return the log's answer to a question of a session."""
        return reply(self.ask(session, what, argument))

    def newest(self, resource: str) -> bytes | None:
        """Return the session that a caller finds when it names nobody: the newest that offers a name."""
        return newest_of(self.tables, resource)

    def within(self, outer: Folded, session: Actor, resource: str, parameters: Any = None, **more: Any) -> Folded:
        """Let a session call while it executes a call."""
        body = invocation(resource, parameters, target=more.pop("target", None) or self.newest(resource))
        return self.send(body, session, causation_id=outer.entry.event, **more)


class Instance:
    """A session with the key of what it offers."""

    def __init__(self, world: Offers, session: Actor) -> None:
        self.world, self.session = world, session
        keys = keys_of(world.name, "offer", world.draw())
        self.key = Actor("offer", session.principal_id, keys)

    @property
    def id(self) -> bytes:
        return self.session.kid

    def body(self, *tools: str | ToolDeclaration, keys: Actor | None = None, **more: Any) -> ToolsOffered:
        """Return an offer that is in order unless `more` says otherwise."""
        given = (keys or self.key).keys
        listed = tuple(one if isinstance(one, ToolDeclaration) else declared(one) for one in tools)
        fields = {"tools": listed, "key": self.world.offer(given, "offer", self.session.principal_id), **more}
        return ToolsOffered(**fields)

    def offer(self, *tools: str | ToolDeclaration, **more: Any) -> Folded:
        """Offer these operations in the place of those before."""
        return self.world.send(self.body(*tools, **more), self.session)

    def report(self, decision: bytes, *, by: Actor | None = None, **more: Any) -> Folded:
        """Report a call."""
        return self.world.report(decision, by or self.key, **{"session_id": self.id, **more})

    def send(self, body: Body, **header: Any) -> Folded:
        """Sign an event with the key of the offer."""
        return self.world.send(body, self.key, **{"session_id": self.id, **header})


def call_of(world: Offers, by: Actor, resource: str, *, target: bytes | None = None, **more: Any) -> Folded:
    """Ask for an operation: of one session, or of the newest that offers it, as a client does."""
    body = invocation(resource, more.pop("parameters", None), target=target or world.newest(resource))
    return world.send(body, by, **more)


def names(told: Sequence[dict[str, Any]]) -> list[str]:
    """Return the session ids in a page of agents."""
    return [one["session"] for one in told]
