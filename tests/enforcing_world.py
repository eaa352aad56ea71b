"""A workflow tenant of the newest engine whose administrator observes, freezes and breaks glass."""

from __future__ import annotations

from typing import Any

from schemas.events.enforcement import EnforcementSet
from schemas.records import Decision
from tests.builders import Actor, Folded
from tests.engines import NEWEST
from tests.workflow_world import Workflow

MINUTE_MS = 60_000
ANN, BEN = "user:ann", "user:ben"


def set_on(kind: str, scope: str = "tenant", name: str = "", **more: Any) -> EnforcementSet:
    """Return an administrator's event that begins an exception from enforcement."""
    return EnforcementSet(**{"kind": kind, "scope": scope, "name": name, "on": True, "reason": "a drill", **more})


class Enforcing(Workflow):
    """The workflow world with the words of this part."""

    @classmethod
    def now(cls, name: str = "enforcing") -> Enforcing:
        """Return a world of the newest engine."""
        world = cls.opened(name, **NEWEST)
        assert isinstance(world, Enforcing)
        return world

    def sets(self, kind: str, scope: str = "tenant", name: str = "", **more: Any) -> Folded:
        """Let the administrator begin an exception, or end it with `on=False`."""
        folded = self.send(set_on(kind, scope, name, **more), self.admin)
        assert folded.says == ("accepted", ""), folded.results
        return folded

    def refused_setting(self, kind: str, scope: str = "tenant", name: str = "", **more: Any) -> str:
        """Expect a refusal of the administrator's event; return reason and detail."""
        before = self.rows(without=["sequences"])
        folded = self.send(set_on(kind, scope, name, **more), self.admin)
        assert folded.entry.outcome == "refused"
        assert self.rows(without=["sequences"]) == before
        return f"{folded.entry.reason} {folded.results[0].detail}"

    def opens(self, resource: str, person: str, minutes: int = 5) -> Folded:
        """Break the glass of a resource for a person."""
        return self.sets("break-glass", "resource", resource, person=person, lasts_ms=minutes * MINUTE_MS)


def seen(folded: Folded) -> tuple[str, str, tuple[str, str] | None]:
    """Return outcome and reason of the one decision, with the outcome and reason that enforcement would have given."""
    (decision,) = folded.decisions
    return told(decision)


def told(decision: Decision) -> tuple[str, str, tuple[str, str] | None]:
    """Return a decision as `seen` does."""
    one = decision.observed
    return decision.outcome, decision.reason, None if one is None else (one.outcome, one.reason)


def told_observed(folded: Folded) -> tuple[str, str]:
    """Return the outcome and reason that enforcement would have given to a call that was allowed."""
    outcome, reason, observed = seen(folded)
    assert (outcome, reason, folded.entry.reason) == ("allowed", "", "")
    assert observed is not None
    assert folded.entry.observed == observed[1]
    return observed


def is_enforced(folded: Folded) -> bool:
    """Return whether a decision says nothing of observing."""
    return folded.decisions[0].observed is None and folded.entry.observed is None


__all__ = ["ANN", "BEN", "MINUTE_MS", "Actor", "Enforcing", "is_enforced", "seen", "set_on", "told", "told_observed"]
