"""A tenant where people, agents and tools work together: what they say, and what became of it, in few words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from processors.calls.attestations import record_id
from processors.calls.standing import grant_id
from processors.identity.attributes import attributes_from
from processors.proof import jcs
from schemas import codec, topics
from schemas.changes import AttestationChanged, ContextChanged, DelegationChanged
from schemas.events.workflow import (
    AttestationApproved,
    AttestationDenied,
    AttestationRevoked,
    AttestationSet,
    ContextDeleted,
    ContextListed,
    ContextRead,
    ContextWritten,
    DelegationGranted,
    DelegationRevoked,
    StateQueried,
)
from schemas.records import Attestation, Body, Decision, Event, Prompt, ReplyPayload, SessionClosed, SessionRevoked
from tests.builders import Actor, Folded, invocation, keys_of, tool
from tests.world import HOUR_MS, Headers, World

PAY, CHECK, MAIL = "tool:bank/pay", "tool:desk/check", "tool:desk/mail"
ANYTHING = {"resources": ["**"]}


def declared(
    resource: str, *, attests: Sequence[str] = (), prompts: Sequence[str] = (), timeout_ms: int = 5_000, **more: Any
) -> Any:
    """Return the declaration of one operation, with what it attests and which parameters are prompts."""
    plain = tool(resource, timeout_ms=timeout_ms)
    return type(plain)(
        resource=resource,
        description="",
        timeout_ms=timeout_ms,
        idempotent=False,
        attests=tuple(attests),
        prompts=tuple(prompts),
        **more,
    )


def attests(key: str, value: object = True, **more: Any) -> Attestation:
    """Return what a tool says with a result."""
    return Attestation(**{"key": key, "value": json.dumps(value), "one_time": False, **more})


class Workflow(World):
    """A founded world with a bank, a desk, an agent that may do anything, and people whom a bridge knows.

    `log` is everything that was folded, so that a test can count decisions.
    """

    log: list[Folded]

    @classmethod
    def opened(cls, name: str = "workflow", **how: Any) -> Workflow:
        """Return a world where `bot` may call anything."""
        world = cls(name, **how)
        world.log = []
        assert world.found().says == ("accepted", "")
        world.bridge = world.register("bridge", "bridge")
        world.bank = world.register("tool", "bank", tools=(declared(PAY), declared("tool:bank/refund")))
        desk = (
            declared(CHECK, attests=("checked", "checked.*", "shared")),
            declared(MAIL, attests=("mailed", "shared"), prompts=("prompt",), body_paths=("body",)),
        )
        world.desk = world.register("tool", "desk", tools=desk)
        world.agent = world.register("agent", "bot")
        world.bot = world.open_session(world.agent)
        world.publish_policy({"policy_id": "agent:bot", **ANYTHING})
        return world

    bridge: Actor
    bank: Actor
    desk: Actor
    agent: Actor
    bot: Actor

    def fold(self, value: bytes | None, headers: Headers, **where: int) -> Folded:
        """Append a record and fold it, and remember what it caused."""
        folded = super().fold(value, headers, **where)
        self.log.append(folded)
        return folded

    # --- who takes part

    def person(
        self, name: str, *roles: str, ttl_ms: int = HOUR_MS, user: str | None = "", by: Actor | None = None, **more: Any
    ) -> Actor:
        """Open a session of a person. `user` of None leaves that attribute out."""
        keys = keys_of(self.name, "person", name, self.draw())
        called = {} if user is None else {"user": user or name}
        attributes = attributes_from({"roles": roles, **called, **more})
        body = self.person_session(f"user:{name}", keys=keys, attributes=attributes, ttl_ms=ttl_ms)
        folded = self.send(body, by or self.bridge)
        assert folded.says == ("accepted", ""), folded.results
        return Actor("session", f"user:{name}", keys)

    def require(self, key: str, *, who: str = "agent:bot", resource: str = PAY, **meta: Any) -> None:
        """Put it into force that a resource needs something attested, where `who` calls it."""
        said = {"constraints": {"attestations": {key: meta}}} if meta else {}
        needed = [f"{key}::{{tool.id == '{resource}'}}"]
        self.publish_policy({"policy_id": who, **ANYTHING, "attestations": needed, **said})

    def pay(self, amount: float = 10, by: Actor | None = None, **header: Any) -> Folded:
        """Ask the bank to pay."""
        return self.call(by or self.bot, PAY, {"amount": amount, "to": "bob"}, **header)

    def ran(self, session: Actor, resource: str, *said: Attestation, parameters: Any = None, **report: Any) -> Folded:
        """Call a tool, and let it report well and attest."""
        called = self.call(session, resource, parameters)
        assert called.says == ("allowed", ""), called.results
        by = {"bank": self.bank, "desk": self.desk}[resource.split(":")[1].split("/", maxsplit=1)[0]]
        return self.report(called.decision_leaf, by, attestations=said, **report)

    # --- what they say

    def approval(self, asked: Folded, key: str, **other: Any) -> AttestationApproved:
        """Return a yes to what a call asked for."""
        return AttestationApproved(**self._answer(asked, key, other))

    def denial(self, asked: Folded, key: str, **other: Any) -> AttestationDenied:
        """Return a no to what a call asked for."""
        return AttestationDenied(**self._answer(asked, key, other))

    def _answer(self, asked: Folded, key: str, other: dict[str, Any]) -> dict[str, Any]:
        shown = self.event_of(asked).body.parameters
        digest = sha256(jcs.canonical(jcs.parse_strict(shown.encode()))).digest()
        return {"request": asked.entry.event, "key": key, "parameters_sha256": digest, "reason": "", **other}

    @staticmethod
    def event_of(folded: Folded) -> Any:
        """Return the event of a record."""
        return codec.decode_as(Event, folded.received.value or b"")

    def approve(self, by: Actor, asked: Folded, key: str, **other: Any) -> Folded:
        """Let somebody say yes."""
        return self.send(self.approval(asked, key, **other), by)

    def deny(self, by: Actor, asked: Folded, key: str, **other: Any) -> Folded:
        """Let somebody say no."""
        return self.send(self.denial(asked, key, **other), by)

    def attest(self, by: Actor, into: Actor, key: str, value: object = True, **more: Any) -> Folded:
        """Set an attestation into a session."""
        body = {"session": into.kid, "key": key, "value": json.dumps(value), "one_time": False, **more}
        return self.send(AttestationSet(**body), by)

    def take_back(self, by: Actor, session: Actor, key: str, setter: str) -> Folded:
        """Revoke an attestation."""
        return self.send(AttestationRevoked(record=record_id(session.kid, key, setter), reason=""), by)

    def revoke_grant(self, by: Actor, key: str, root: str = "bot", acting: str = "bot") -> Folded:
        """Revoke a grant."""
        return self.send(AttestationRevoked(record=grant_id(root, acting, key), reason=""), by)

    def grant_to(
        self, by: Actor, to: str, *, parent: bytes | None = None, life_ms: int = HOUR_MS, **scope: Any
    ) -> Folded:
        """Delegate; the id is the leaf of the event."""
        text = json.dumps(scope or {"resources": ["**"]})
        ends = self.now + life_ms
        return self.send(DelegationGranted(delegate=to, parent=parent, scope=text, expires_at=ends, purpose="t"), by)

    def revoke_delegation(self, by: Actor, leaf: bytes) -> Folded:
        """Revoke a delegation."""
        return self.send(DelegationRevoked(delegation=leaf, reason=""), by)

    def put(self, by: Actor, key: str, value: object, scope: str = "session", **more: Any) -> Folded:
        """Write to the vault."""
        header = {"on_behalf_of": more.pop("on_behalf_of")} if "on_behalf_of" in more else {}
        return self.send(ContextWritten(scope=scope, key=key, value=json.dumps(value), **more), by, **header)

    def get(self, by: Actor, key: str, scope: str = "session") -> Folded:
        """Read from the vault."""
        return self.send(ContextRead(scope=scope, key=key), by)

    def drop(self, by: Actor, key: str, scope: str = "session", **more: Any) -> Folded:
        """Delete from the vault."""
        return self.send(ContextDeleted(scope=scope, key=key, **more), by)

    def keys_in(self, by: Actor, scope: str = "session", prefix: str = "", after: str = "", limit: int = 100) -> Folded:
        """List keys of the vault."""
        return self.send(ContextListed(scope=scope, prefix=prefix, after=after, limit=limit), by)

    def ask(self, by: Actor, what: str, argument: object = None) -> Folded:
        """Ask what the log knows."""
        return self.send(StateQueried(what=what, argument=json.dumps(argument)), by)

    def close(self, session: Actor) -> Folded:
        """Let a session end itself."""
        return self.send(SessionClosed(reason=""), session)

    def revoke_session(self, session: Actor, by: Actor | None = None) -> Folded:
        """End a session from outside."""
        return self.send(SessionRevoked(session=session.kid, reason=""), by or self.admin)

    def prompted(
        self, by: Actor, text: str, *, parent: bytes | None = None, policy: Any = None, **header: Any
    ) -> Folded:
        """Call the mailer with an authenticated prompt."""
        prompt = Prompt(path="prompt", parent=parent, policy=json.dumps(policy or {}))
        return self.send(invocation(MAIL, {"prompt": text}, prompts=(prompt,)), by, **header)

    # --- what became of it

    def passes(self, ms: int) -> Folded:
        """Let time pass and everything that is due expire."""
        self.advance(ms)
        ticked = self.tick()
        assert (self.tables.next_deadline() or self.now + 1) > self.now  # more than 64 rows at once are another test
        return ticked

    def finals(self, leaf: bytes) -> list[Decision]:
        """Return the final decisions of a call."""
        found = [one for folded in self.log for one in folded.decisions if one.event == leaf]
        return [one for one in found if one.outcome != "pending"]

    def final(self, asked: Folded) -> Decision:
        """Return the one final decision of a call."""
        (decision,) = self.finals(asked.entry.event)
        return decision

    def state(self) -> dict[str, dict[bytes, Any]]:
        """Return all rows but the sequences, which every good signature moves, and what work has cost."""
        return self.rows(without=["sequences", "work"])

    def nothing_changes(self, act: Callable[[], Folded]) -> Folded:
        """Do something and look that no row has changed, and that it has its entry."""
        before, index = self.state(), self.tables.next_index
        folded = act()
        assert self.state() == before
        assert folded.entry.index == index
        assert self.tables.next_index == index + 1
        return folded

    def refuses(self, reason: str, body: Body, by: Actor, **header: Any) -> Folded:
        """Send what must be refused: with its reason in entry and answer, and nothing changed."""
        return self.is_refused(reason, lambda: self.send(body, by, **header))

    def is_refused(self, reason: str, act: Callable[[], Folded]) -> Folded:
        """Do what must be refused."""
        folded = self.nothing_changes(act)
        assert folded.says == ("refused", reason), folded.results
        (result,) = folded.results
        assert (result.outcome, result.reason) == ("refused", reason)
        assert folded.decisions == []
        assert {output.topic for output in folded.outputs} == {topics.RESULTS, topics.AUDIT}
        return folded

    def is_denied(self, reason: str, act: Callable[[], Folded]) -> Decision:
        """Do what must be denied at once: one decision, and nothing changed."""
        folded = self.nothing_changes(act)
        assert folded.says == ("denied", reason), folded.results
        (decision,) = folded.decisions
        assert (decision.outcome, decision.reason) == ("denied", reason)
        return decision


def reply(folded: Folded) -> Any:
    """Return what one signer was told, sealed to it."""
    assert folded.says == ("accepted", ""), folded.results
    (output,) = folded.of(topics.RESULTS)
    assert output.payload is not None
    payload: ReplyPayload = codec.decode(codec.current("ReplyPayload"), output.payload)
    return json.loads(payload.body)


def told(folded: Folded, topic: topics.Topic) -> list[Any]:
    """Return what the views are told on a topic."""
    kinds: dict[topics.Topic, Any] = {
        topics.OPS_ATTESTATIONS: AttestationChanged,
        topics.OPS_DELEGATIONS: DelegationChanged,
        topics.OPS_CONTEXT: ContextChanged,
    }
    return [codec.decode_as(kinds[topic], one.value) for one in folded.of(topic) if one.value is not None]


def forgotten(folded: Folded, topic: topics.Topic) -> list[str]:
    """Return the keys that the views are told to forget."""
    return [(one.key or b"").decode().rpartition("/")[2] for one in folded.of(topic) if one.value is None]
