"""A tenant whose everybody writes characters that some Unicode knows and another does not.

Two parts: attacks in a row, of one character each, and a babel whose texts have such characters between their letters.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from typing import Any

from processors.intake.identify import Received
from schemas.events.attributes import Attributes
from schemas.events.workflow import ApplicationEventLogged
from schemas.records import Prompt, SessionClosed
from tests.babel import Babel
from tests.builders import invocation, keys_of
from tests.engines import EVERY
from tests.interpreters.answers import NEW
from tests.workflow_world import CHECK, MAIL, PAY, Workflow, attests, declared
from tests.world import HOUR_MS, World

# Of texts that no key and no signature depends on: these members stay as they are, or nothing would be accepted.
_WHOLE = frozenset({"principal_id", "role", "issuer", "what", "outcome", "event_type", "traceparent"})


class HostileBabel(Babel):
    """A babel in which a good part of all texts has a new character behind one of its letters."""

    def record(self, name: str) -> Any:
        """Return a record, mostly of values that mean something."""
        made = super().record(name)
        return self._sown(made) if self.dice.random() < 0.6 else made

    def _sown(self, value: Any, name: str = "") -> Any:
        """Return a record, list or text with new characters in a third of its texts."""
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{one.name: self._sown(getattr(value, one.name), one.name) for one in fields(value)})
        if isinstance(value, tuple):
            return tuple(self._sown(one, name) for one in value)
        if not isinstance(value, str) or name in _WHOLE or self.dice.random() > 0.3:
            return value
        letters = [at for at, c in enumerate(value, 1) if c.isascii() and c.isalpha()]
        if not letters:
            return value
        at = self.dice.choice(letters)
        return value[:at] + self.dice.choice(NEW[:8] + "É\u0301") + value[at:]


def babel(seed: int, records: int) -> World:
    """Return a tenant after everybody has spoken, in texts of all Unicodes."""
    world = HostileBabel(f"hostile babel {seed}", engines=EVERY)
    world.begin(seed)
    for _ in range(records):
        world.say()
    return world


def attacked() -> World:
    """Return a tenant on which each new character was tried in each place that a caller chooses."""
    world = Workflow.opened("hostile")
    carol = world.person("carol", "boss")
    world.require("boss", approval_criteria="role:boss", timeout=60, one_time=True)
    for new in NEW:
        _attack(world, carol, new)
        world.passes(61_000)
    return world


def _attack(world: Workflow, carol: Any, new: str) -> None:
    bot, admin = world.bot, world.admin
    # Names of resources, of principals and of keys in the vault; written, encoded, and after marks.
    for name in (new, f"a{new}", f"{new}/x", f"%{new}", f"É{new}\u0301", "".join(f"%{b:02x}" for b in new.encode())):
        world.call(bot, f"tool:desk/{name}", {"a": new})
        world.put(bot, f"k{name}", {f"m{new}": new})
    world.get(bot, f"k{new}")
    world.keys_in(bot, prefix=f"k{new}")
    for role, name in (("agent", f"n{new}"), ("service", new), ("approver", f"Carol{new}"), ("tool", f"t{new}")):
        world.send(world.registration(role, name, keys=keys_of("hostile", role, name)), admin)
    tools = (declared(f"tool:desk{new}/run{new}", attests=(f"a{new}*",), prompts=(f"p.{new}",)),)
    world.send(world.registration("tool", f"desk{new}", keys=keys_of("hostile", "offers", new), tools=tools), admin)
    session = keys_of("hostile", "person", new)
    said = Attributes(roles=(f"boss{new}", "boss"), user=f"carol{new}", company=f"ACME {new} É", team=new)
    world.send(world.person_session(f"user:carol{new}", keys=session, attributes=said), world.bridge)
    # Policies: names, patterns in both positions, lists, texts of conditions, and RE2's own classes. The answer to the
    # first quotes the character.
    for document in (
        {"policy_id": "tool:x", f"É'{new}": 1},
        {"policy_id": f"tool:desk/check{new}", "resources": [f"**{new}*"]},
        {"policy_id": "tool:desk/mail", "constraints": {"denied_parameters": {"**": {"*": [f"*p{new}W*", f"É{new}"]}}}},
        {"policy_id": "tool:desk", "constraints": {"denied_parameters": {f"*DESK/*É{new}*": {"a": ["*"]}}}},
        {"policy_id": "tool:desk/check", "constraints": {"parameters": {"**": {"a": {"pattern": r"[\p{L}\p{So}]*"}}}}},
        {"policy_id": "tool:bank", "attestations": [f"deny::{{params.to == 'É{new}' or params.to matches /{new}.*/}}"]},
    ):
        world.send(world.publication(document), admin)
    for text in (f"xP{new}wx", f"p{new}w", f"e\u0301{new}", f"E\u0301{new}", "\u0301" * 30 + new + "\u0301" * 30, new):
        world.prompted(bot, text, policy={"constraints": {"denied_parameters": {"**": {"prompt": [f"*{new}É*"]}}}})
        world.call(bot, CHECK, {"a": text, f"n{text}": 1})
        world.call(bot, PAY, {"amount": 1, "to": text})
        world.call(bot, CHECK, f'{{"É{new}": 1, "E\u0301{new}": 2, "a": "{text}"}}')
    intent = json.dumps({"resources": ["**"], "constraints": {"denied_parameters": {"**": {"a": [f"*É{new}*"]}}}})
    world.send(invocation(CHECK, {"a": f"xe\u0301{new}"}, intents=(intent,), idempotency_key=f"i{new}"), bot)
    world.send(invocation(MAIL, {"prompt": new}, prompts=(Prompt(path=f"p{new}", parent=None, policy="{}"),)), bot)
    asked = world.call(bot, PAY, {"amount": 2, "to": new})
    if asked.says[0] == "pending":
        world.send(world.approval(asked, f"boss{new}", reason=new), carol)
        world.send(world.approval(asked, "boss", reason=new), carol)
    # What is said to others, attested and delegated.
    called = world.call(bot, CHECK, {"a": "x"})
    if called.says[0] == "allowed":
        world.report(called.decision_leaf, world.desk, attestations=(attests(f"checked.{new}", new),))
    world.attest(world.bridge, carol, f"k{new}", new)
    world.grant_to(carol, "bot", resources=[f"tool:{new}/**"], operations=[f"É{new}"])
    world.grant_to(carol, f"user:Carol{new}")
    for what, argument in (("attestations", f"k{new}"), ("effective_policy", f"tool:desk/{new}"), ("approvals", new)):
        world.ask(bot, what, argument)
    log = {"event_type": f"e{new}", "source": new, "action": new, "target": new, "outcome": "success", "category": new}
    world.send(ApplicationEventLogged(**log, signed=False, metadata=json.dumps({new: new})), bot)
    ending = world.open_session(world.agent, keys=keys_of("hostile", "ends", new), ttl_ms=HOUR_MS)
    world.send(SessionClosed(reason=new), ending)


def as_request(world: World) -> dict[str, Any]:
    """Return a world's intake as `tests.interpreters.answers` takes it."""
    return {
        "tenant": world.tenant,
        "deployment": world.deployment,
        "genesis": world.genesis.hex(),
        "records": [_written(received) for received in world.records],
    }


def _written(received: Received) -> list[Any]:
    assert received.ruling is None
    value = None if received.value is None else received.value.hex()
    headers = [[name, None if one is None else one.hex()] for name, one in received.headers]
    return [received.partition, received.offset, received.appended_at, value, headers]
