"""A bank, a web, and a verifier of results: a payment to an account from a page passes once the page was cleared."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from schemas import codec
from schemas.events.verdicts import VerdictReported
from schemas.records import Event, ResultReported
from tests.builders import CATALOGUE, WORST, Actor, Folded, declaration
from tests.provenance_world import WEB, Bank
from tests.world import HOUR_MS

DAY_MS = 24 * HOUR_MS
MILD = {"level": 1, "kind": "select", "opaque": False, "tables": ["a"]}
assert MILD.keys() == WORST.keys()


class Marked(Bank):
    """A bank's world with a verifier `judge` of what the web tells, and the rule that its `pass` clears."""

    judge: Actor

    @classmethod
    def opened(cls, name: str = "marked", *, rule: dict[str, Any] | None = None, **how: Any) -> Marked:
        """Return a world with the rule in force. `how` may have `declared`: changes of the declaration."""
        declared = how.pop("declared", {})
        named = {"unless_cleared_by": "verifier:judge", **(rule or {})}
        world = super().opened(name, rule=named, **how)
        assert isinstance(world, Marked)
        world.judge = world.verifier("judge", **declared)
        return world

    def verifier(self, name: str, **declared: Any) -> Actor:
        """Register a verifier of results of the web, whose prefix is its name."""
        fields = {"surfaces": ("result",), "required": False, "resources": ("tool:web/**",), "max_age_ms": DAY_MS}
        return self.register("verifier", name, verifier=declaration(**{"prefix": name, **fields, **declared}))

    def verdict(self, reported: Folded, **other: Any) -> VerdictReported:
        """Return a good verdict on a result that was reported, with some fields replaced."""
        event: Event = codec.decode_as(Event, reported.received.value or b"")
        assert isinstance(event.body, ResultReported)
        (result,) = reported.results
        fields = {
            "call": result.event_id,
            "session": result.to,
            "resource": WEB,
            "parameters_sha256": sha256(event.body.body.encode()).digest(),
            "surface": "result",
            "catalogue": CATALOGUE,
            "expires_at": self.now + HOUR_MS,
            "outcome": "pass",
            "stamps": json.dumps(MILD),
            "findings": (),
            **other,
        }
        return VerdictReported(**fields)

    def judged(self, reported: Folded, by: Actor | None = None, **other: Any) -> tuple[str, str]:
        """Let a verifier report on a result. `header` replaces header fields, such as the cause."""
        header = {"causation_id": reported.entry.event, **other.pop("header", {})}
        return self.send(self.verdict(reported, **other), by or self.judge, **header).says
