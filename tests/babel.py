"""A tenant where everybody says anything: bodies of every kind, made from the schema with seeded dice.

Values are such as mean something here, the ends of each type, and texts that readers stumble over.
"""

from __future__ import annotations

import json
import random
from typing import Any

from processors.intake.authority import check_may_sign
from processors.refusal import Refusal
from producers.home.keys import KeyPair
from schemas import codec
from schemas.events.attributes import NONE, Attributes
from tests.builders import Actor, keys_of
from tests.schemas.test_codec import CLASSES
from tests.workflow_world import CHECK, MAIL, PAY, Workflow, attests, declared
from tests.world import HOUR_MS

NUMBERS = [sign * 2**power + more for power in (0, 7, 31, 53, 62, 63) for sign in (1, -1) for more in (-1, 0, 1)]
LONGS = [one for one in NUMBERS if -(2**63) <= one < 2**63]
LIVES = [1, 1000, 60_000, 3_600_000]
ODD = [
    "", "\0", "a\0b", "\u202e", "\u200b", "\u0301" * 40, "e\u0301", "\ufdfa" * 40, "\U0001f6dc", "*", "**", "user:",
    "a" * 257, "a" * 1025, "{", "[]", "null", '"\\ud800"', '"\\u0000"', "1e400", "9007199254740993", "-0", "/", "..",
    '{"\u00e9":1,"e\u0301":2}', "NaN", "[" * 40 + "]" * 40, '{"k":' * 33 + "1" + "}" * 33, "a" + "[*]" * 200,
    "a" + ".x" * 700, "a[*]", "a[999999999]", "a[9999999999]", "ok", "team", "macaw.x", '{"a":1,"a":2}',
]  # fmt: skip
BOSS = {"boss": {"approval_criteria": "role:boss", "timeout": 60, "one_time": False}}
DOCUMENTS = [
    {}, {"resources": ["**"]}, {"policy_id": "agent:bot", "resources": ["**"]}, {"extends": "role:x"},
    {"policy_id": "role:x", "attestations": ["boss"], "constraints": {"attestations": BOSS}},
    {"policy_id": "tool:bank", "attestations": ["boss::{amount > 1}"], "constraints": {"attestations": BOSS}},
    {"policy_id": "tool:desk", "sequence": [{"id": "r", "when": "**", "sum": "amount", "max": 1e300, "per": "user"}]},
    {"constraints": {"denied_parameters": {"**": {"*": ["*?a*", "\U0001f600*"]}}}},
    {"constraints": {"parameters": {"**": {"a[*]": {"pattern": "(a|b)*"}}}, "rate_limit": 5}},
]  # fmt: skip
# Of a member with this name, mostly one of these.
FITTING: dict[str, list[Any]] = {
    "resource": [PAY, CHECK, MAIL],
    "what": ["attestations", "approvals", "invocation", "delegations", "effective_policy"],
    "parameters": ['{"amount":1e308}', '{"amount":5}', '{"a":[[0,"x"],{"k":null}]}', '{"a":["text"]}'],
    "argument": ["null", '"checked"', f'"{CHECK}"'], "scope": ["session", "team", '{"resources":["**"]}'],
    "key": ["checked", "boss", "plan"], "value": ["1", '{"a":[1e-7]}'], "metadata": ["{}"], "body": ["{}", "[1]"],
    "documents": [json.dumps(one) for one in DOCUMENTS], "intents": [json.dumps(one) for one in DOCUMENTS],
    "policy": ["{}", '{"resources":["**"]}'], "path": ["a[0]", "amount"], "outcome": ["ok", "failed", "success"],
    "attributes": [NONE, Attributes(roles=("boss",), user="\u00e9")],
    "prefix": ["", "p"], "after": [""], "limit": [1, 100],
    "role": ["agent", "service", "tool", "approver"], "issuer": ["development"], "ttl_ms": LIVES,
    "max_uses": [1, 10**6], "tools": [()], "enrolment": [None], "on_behalf_of": [None], "event_type": ["x"],
    "prompts": [()], "engine": [1, 2, 3], "data": [()],
}  # fmt: skip


class Babel(Workflow):
    """A tenant where everybody says anything."""

    def begin(self, seed: int) -> None:
        """Let the tenant stand, with somebody of each role and something of each kind in its tables."""
        self.log = []
        self.found()
        self.dice = random.Random(f"babel {seed}")
        self.bridge = self.register("bridge", "bridge")
        offers = {
            "bank": (declared(PAY),),
            "desk": (declared(CHECK, attests=("**",)), declared(MAIL, prompts=("a[0]",))),
        }
        self.bank, self.desk = (self.register("tool", name, tools=offered) for name, offered in offers.items())
        self.agent = self.register("agent", "bot")
        self.bot = self.open_session(self.agent)
        self.publish_policy({"policy_id": "agent:bot", "resources": ["**"]})
        others = [self.register(role, f"the-{role}") for role in ("enrolment", "approver", "attester", "service")]
        people = [self.person("bea", "boss"), self.person("carl", "boss")]
        self.actors = [self.admin, self.monitor, *self.roots, self.bridge, self.bank, self.desk, self.agent, *others]
        self.actors += [*people, *[self.bot] * 4, self.open_session(self.desk)]
        self.leaves = [bytes(32)]
        self.ran(self.bot, CHECK, attests("checked"))
        self.publish_policy(
            {"policy_id": "tool:desk/mail", "attestations": ["boss"], "constraints": {"attestations": BOSS}}
        )
        self.leaves.append(self.call(self.bot, MAIL).entry.event)  # it waits for a boss

    def say(self) -> None:
        """Let somebody say something, most of the time somebody who may."""
        ends = self.dice.random() < 0.05  # what takes a key or a session away comes seldom
        body = self.record(self.dice.choice([one for one in _BODIES if ends or one not in _ENDS]))
        may = [one for one in self.actors if self._may(one, body)]
        by: Actor = self.dice.choice(may if may and self.dice.random() < 0.9 else self.actors)
        header: dict[str, Any] = {}
        if self.dice.random() < 0.1:
            header = {self.dice.choice(["causation_id", "on_behalf_of"]): self.dice.choice([*self.leaves, b"x"])}
        elif self.dice.random() < 0.05:
            header = {self.dice.choice(["seq", "issued_at"]): self.dice.choice(LONGS)}
            header.setdefault("event_id", bytes(16))
        folded = self.send(body, by, **header)
        assert folded.entry.fault is None, (folded.entry, body)
        self.leaves += [one.leaf for one in folded.outputs if one.leaf is not None] + [folded.entry.event]
        self.advance(self.dice.choice([0, 1, 50, 500] * 8 + [70_000, HOUR_MS // 2]))

    @staticmethod
    def _may(actor: Actor, body: Any) -> bool:
        try:
            check_may_sign(actor.role, body)
        except Refusal:
            return False
        return True

    def record(self, name: str) -> Any:
        """Return a record, mostly of values that mean something."""
        if name == "KeyOffer" and self.dice.random() < 0.8:
            role, owner = self.dice.choice(["agent", "session", "tool"]), self.dice.choice(self.actors)
            keys: KeyPair = keys_of(self.name, self.dice.random())
            return self.offer(keys, role, owner.principal_id)
        return CLASSES[name](**{field["name"]: self.value(field["type"], field["name"]) for field in _FIELDS[name]})

    def value(self, kind: Any, name: str) -> Any:
        """Return a value of a type, for a member of a name."""
        dice = self.dice
        fits = name in FITTING and (name == "attributes" or not (isinstance(kind, str) and kind in CLASSES))
        if fits and (kind[-1] if isinstance(kind, list) else kind) in ("int", "long"):
            # A limit of a tenant has a number as its `value`, others have texts.
            fits = isinstance(FITTING[name][0], int)
        if fits and dice.random() < 0.8:
            if isinstance(kind, dict) and isinstance(FITTING[name][0], str):
                return (dice.choice(FITTING[name]),)
            return dice.choice(FITTING[name])
        if isinstance(kind, list):
            return None if dice.random() < 0.4 else self.value(kind[1], "")
        if isinstance(kind, dict):
            return tuple(self.value(kind["items"], "") for _ in range(dice.choice([0, 1, 1, 2, 9])))
        return self.primitive(kind) if kind in {"int", "long", "boolean", "bytes", "string"} else self.record(kind)

    def primitive(self, kind: str) -> Any:
        """Return a number, flag, digest or text."""
        bits = {"int": 31, "long": 63}.get(kind)
        names = [one.principal_id for one in self.actors]
        if bits is not None:
            ends = [one for one in NUMBERS if -(2**bits) <= one < 2**bits]
            return self.dice.choice([*ends, *LIVES * 4, *[self.now + 60_000] * (8 if kind == "long" else 0)])
        if kind == "boolean":
            return self.dice.random() < 0.3
        if kind == "bytes":
            known = [one.kid for one in self.actors]
            return self.dice.choice([b"", bytes(16), b"x" * 33, *known, *self.leaves[-12:], *self.tables.calls.rows])
        return self.dice.choice([self.dice.choice(ODD), self.dice.choice(names)])


def _collect(node: Any, found: dict[str, list[Any]]) -> Any:
    """Return a type with records by their short names, whose fields are collected."""
    if isinstance(node, list):
        return [_collect(branch, found) for branch in node]
    if isinstance(node, str):
        return node.rsplit(".", 1)[-1]
    if node["type"] == "array":
        return {"items": _collect(node["items"], found)}
    if node["type"] != "record":
        return node["type"]
    found[node["name"]] = [{"name": f["name"], "type": _collect(f["type"], found)} for f in node["fields"]]
    return node["name"]


_FIELDS: dict[str, list[Any]] = {}
_collect(json.loads(codec.current("Event").text), _FIELDS)
_BODIES: list[str] = _FIELDS["Event"][1]["type"]
_ENDS = {"SessionClosed", "SessionRevoked", "PrincipalRevoked"}
