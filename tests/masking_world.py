"""A tenant whose policies mask: a desk for customers that lets its notes be masked, and an agent that writes them."""

from __future__ import annotations

import json
from typing import Any

from processors.proof import jcs
from schemas import codec, topics
from schemas.records import CallPayload, Decision, Event
from tests.builders import Actor, Folded, payload_of
from tests.engines import NEWEST
from tests.workflow_world import Workflow, declared

NOTE = "tool:crm/note"
MASKABLE = ("text", "lines[*].text", "customer")
IBAN, MAIL = "DE89370400440532013000", "ann@mail.example.org"
TOKEN = "npm_" + "4eC39HqLyjWD" * 3
NAKED = f"from {IBAN}, {MAIL}"
CLOTHED = "from [masked:iban], [masked:email]"


def masking(*paths: str, resource: str = NOTE, **more: Any) -> dict[str, Any]:
    """Return the part of a document that masks paths of an operation."""
    return {"constraints": {"masked_parameters": {resource: list(paths)}, **more}}


class Crm(Workflow):
    """A workflow world of the newest engine with the desk `crm`; `app:crm` masks `text`."""

    crm: Actor

    @classmethod
    def founded_with(cls, *paths: str, name: str = "masking", **of_tool: Any) -> Crm:
        """Return the world; policies mask these paths."""
        world = cls.opened(name, **NEWEST)
        assert isinstance(world, Crm)
        more: dict[str, Any] = {"maskable_paths": MASKABLE, **of_tool}
        world.crm = world.register("tool", "crm", tools=(declared(NOTE, **more), declared("tool:crm/plain")))
        if paths:
            world.publish_policy({"policy_id": "app:crm", **masking(*paths)})
        return world

    def note(self, parameters: Any, **header: Any) -> Folded:
        """Ask the desk for a note."""
        return self.call(self.bot, NOTE, parameters, **header)

    def denies(self, reason: str, parameters: Any) -> Decision:
        """Expect that a note is denied, and nothing handed out."""
        folded = self.note(parameters)
        assert folded.says == ("denied", reason), folded.decisions
        (decision,) = folded.decisions
        assert (decision.parameters_sha256, decision.payload_sha256, decision.changed) == (None, None, ())
        return decision


def payload(folded: Folded) -> CallPayload:
    """Return the payload for the tool in what a record caused."""
    opened: CallPayload = codec.decode(codec.current("CallPayload"), payload_of(folded, topics.DECISIONS))
    return opened


def executed(folded: Folded) -> Any:
    """Return the parameters that the tool gets."""
    return json.loads(payload(folded).parameters)


def signed(folded: Folded) -> Any:
    """Return the parameters that the caller signed, as they stand in the payload."""
    event = codec.decode_as(Event, payload(folded).event)
    return json.loads(event.body.parameters)


def changes(folded: Folded) -> list[tuple[str, str]]:
    """Return what a decision lists as changed."""
    (decision,) = folded.decisions
    return [(one.path, one.verifier) for one in decision.changed]


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of a value."""
    return jcs.canonical(value)
