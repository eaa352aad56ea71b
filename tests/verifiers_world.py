"""A tenant with verifiers outside: they are registered, judge calls that wait, and staple verdicts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from processors.proof import jcs
from schemas.events.verdicts import VerdictReported
from schemas.records import SignedEvent
from tests.builders import CATALOGUE, Actor, Folded, declaration, invocation
from tests.engines import NEWEST
from tests.workflow_world import ANYTHING, PAY, Workflow

MILD = {"level": 1, "kind": "select", "opaque": False, "tables": ["a"]}
REFUND = "tool:bank/refund"
ASKED = {"amount": 10, "to": "bob"}


class Judging(Workflow):
    """A workflow world of the newest engine, with one required verifier `judge` of the bank."""

    judge: Actor

    @classmethod
    def with_judge(cls, name: str = "judging", **declared: Any) -> Judging:
        """Return the world with its verifier."""
        world = cls.opened(name, **NEWEST)
        assert isinstance(world, Judging)
        world.judge = world.verifier("judge", **declared)
        return world

    def verifier(self, name: str, **declared: Any) -> Actor:
        """Register a verifier whose prefix is its name."""
        return self.register("verifier", name, verifier=declaration(**{"prefix": name, **declared}))

    def only_mild(self) -> None:
        """Put it into force that the bot pays only where the judge stamps `select`."""
        rule = f"deny::{{tool.id == '{PAY}' AND params.stamps.judge.kind != 'select'}}"
        self.publish_policy({"policy_id": "agent:bot", **ANYTHING, "attestations": [rule]})

    def verdict(self, asked: Folded, **other: Any) -> VerdictReported:
        """Return a good verdict on a call that waits, with some fields replaced."""
        event = self.event_of(asked)
        return self.verdict_on(event.header.event_id, event.body.parameters, **other)

    def verdict_on(self, event_id: bytes, parameters: str, **other: Any) -> VerdictReported:
        """Return a good verdict on a call of the bot."""
        fields = {
            "call": event_id,
            "session": self.bot.kid,
            "resource": PAY,
            "parameters_sha256": sha256(jcs.canonical(jcs.parse_strict(parameters.encode()))).digest(),
            "surface": "arguments",
            "catalogue": CATALOGUE,
            "expires_at": self.now + 20_000,
            "outcome": "pass",
            "stamps": json.dumps(MILD),
            "findings": (),
            **other,
        }
        return VerdictReported(**fields)

    def judged(self, asked: Folded, by: Actor | None = None, **other: Any) -> Folded:
        """Let a verifier report on a call that waits."""
        return self.send(self.verdict(asked, **other), by or self.judge, causation_id=asked.entry.event)

    def refuses_verdict(self, reason: str, asked: Folded, by: Actor | None = None, **other: Any) -> None:
        """Expect that a verdict on a call is refused."""
        self.refuses(reason, self.verdict(asked, **other), by or self.judge, causation_id=asked.entry.event)

    def staple(self, event_id: bytes, by: Actor | None = None, header: Any = None, **other: Any) -> SignedEvent:
        """Return a signed verdict on a call that the bot is about to make."""
        actor = by or self.judge
        body = self.verdict_on(event_id, json.dumps(ASKED), **other)
        value, headers = self.signed(body, actor, **(header or {}))
        proof = dict(headers)["macaw-proof"]
        assert proof is not None
        return SignedEvent(event=value, proof=proof, kid=actor.kid)

    def pay_with(self, event_id: bytes, verdicts: Sequence[SignedEvent], **more: Any) -> Folded:
        """Ask the bank to pay, with verdicts stapled."""
        body = invocation(PAY, ASKED, verdicts=tuple(verdicts))
        return self.send(body, self.bot, event_id=event_id, **more)
