"""A tenant's life at random, for laws that hold of every log: some sixty records from a seed, good and bad."""

import random

from processors.effects import Output
from processors.identity.keys import decision_keys
from processors.intake.identify import Received
from producers.home.keys import KeyPair
from schemas import topics
from schemas.events.keys import KeyRotated
from tests.builders import Actor, Folded, invocation, keys_of, tool
from tests.world import HOUR_MS, World

SEEDS = range(12)
RECORDS = 60
ONCE = {"id": "once", "when": "**", "at_most": 1, "per": "session", "window": 60}


class Script:
    """A tenant's life at random: everybody acts, some badly, and the broker's clock jumps."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World(f"script-{seed}")
        self.folded: list[Folded] = [self.world.found()]
        self.agents: list[Actor] = []
        self.tools: list[Actor] = []
        self.sessions: list[Actor] = []
        self.decisions: list[bytes] = [bytes(32)]
        self.note(
            self.world.send(self.world.publication({"policy_id": "agent:a0", "resources": ["**"]}), self.world.admin)
        )
        self.register("agent", "a0")
        self.register("tool", "t0")
        self.open_session()
        acts = [
            *[self.call] * 8, *[self.report] * 5, *[self.open_session] * 3, self.register_agent,
            *[self.register_tool] * 2, self.revoke, self.publish, self.tick, self.garbage, self.flip, self.again,
            self.add_admin, self.rotate_roots, self.rotate, self.burst, *[self.wait] * 3, self.two_bad_signers,
        ]  # fmt: skip
        while len(self.folded) < RECORDS:
            self.dice.choice(acts)()

    @property
    def records(self) -> list[Received]:
        return self.world.records

    @property
    def outputs(self) -> list[list[Output]]:
        return [folded.outputs for folded in self.folded]

    def note(self, folded: Folded) -> Folded:
        self.folded.append(folded)
        self.decisions += [o.leaf or b"" for o in folded.of(topics.DECISIONS)]
        return folded

    def signer(self, fitting: list[Actor]) -> Actor:
        """Return somebody, most of the time somebody who may."""
        everybody = [*self.agents, *self.tools, *self.sessions, *self.world.roots, self.world.admin, self.world.monitor]
        return self.dice.choice(fitting if fitting and self.dice.random() < 0.9 else everybody)

    # --- acts

    def register(self, role: str, name: str) -> None:
        by, keys = self.signer([self.world.admin]), self.new_keys()
        expires_at = self.dice.choice([None, None, self.world.now + 2 * HOUR_MS])
        tools = tuple(tool(f"tool:{name}/{i}") for i in range(2)) if role == "tool" else ()
        body = self.world.registration(role, name, keys=keys, expires_at=expires_at, tools=tools)
        if self.note(self.world.send(body, by)).entry.outcome == "accepted":
            (self.agents if role == "agent" else self.tools).append(Actor(role, name, keys))

    def new_keys(self) -> KeyPair:
        return keys_of(self.world.name, "script", self.dice.random())

    def register_agent(self) -> None:
        self.register("agent", f"a{self.dice.randrange(3)}")

    def register_tool(self) -> None:
        self.register("tool", self.dice.choice(["t0", "t1", "t1", "a0"]))

    def open_session(self) -> None:
        by, keys = self.signer(self.agents), self.new_keys()
        ttl_ms = self.dice.choice([1000, HOUR_MS, 24 * HOUR_MS])
        if (
            self.note(self.world.send(self.world.session_of(by, keys=keys, ttl_ms=ttl_ms), by)).entry.outcome
            == "accepted"
        ):
            self.sessions.append(Actor("session", by.principal_id, keys))

    def call(self) -> None:
        resource = self.dice.choice(["tool:t0/0", "tool:t0/0", "tool:t1/1", "data:x", "tool:*"])
        parameters = self.dice.choice([{"n": self.dice.random()}, {}, "[]", '{"a":1,"a":2}'])
        self.note(self.world.call(self.signer(self.sessions), resource, parameters))

    def report(self) -> None:
        outcome = self.dice.choice(["ok", "done", "failed", "done"])
        decision = self.dice.choice(self.decisions[-6:])
        self.note(self.world.report(decision, self.signer(self.tools), outcome=outcome))

    def revoke(self) -> None:
        victim = self.dice.choice([*self.agents, *self.tools, self.world.monitor])
        kid = self.dice.choice([None, victim.kid])
        self.note(self.world.revoke(victim.principal_id, by=self.signer([self.world.admin, victim]), kid=kid))
        if not decision_keys(self.world.tables):
            self.call()
            registration = self.world.registration("monitor", "monitor", keys=self.new_keys())
            self.note(self.world.send(registration, self.world.admin))

    def rotate(self) -> None:
        old = self.dice.choice([self.world.monitor, *self.agents, *self.tools])
        offer = self.world.offer(self.new_keys(), old.role, old.principal_id)
        body = KeyRotated(kid=old.kid, key=offer, reason="at random")
        self.note(self.world.send(body, self.signer([self.world.admin, old])))

    def rotate_roots(self) -> None:
        new = self.dice.choice([[], [self.new_keys()]])
        present = self.world.roots[: self.dice.randrange(4)]
        epoch = self.dice.choice([0, 0, 1])
        keys = [*(root.keys for root in self.world.roots), *new]
        body = self.world.root_rotation(keys, present, threshold=2, epoch=epoch)
        self.note(self.world.send(body, self.signer(self.world.roots)))

    def publish(self) -> None:
        resources = self.dice.choice([["**"], ["tool:t0/*"], ["data:*"]])
        more = self.dice.choice([{}, {"constraints": {"rate_limit": 2}}, {"sequence": [ONCE]}])
        document = {"policy_id": f"agent:a{self.dice.randrange(2)}", "resources": resources, **more}
        publication = self.world.publication(document)
        self.note(self.world.send(publication, self.signer([self.world.admin])))

    def tick(self) -> None:
        self.note(self.world.tick())

    def wait(self) -> None:
        longest = self.dice.choice([10, 10, 2_000, 90_000, 3 * HOUR_MS])
        self.world.advance(self.dice.randrange(longest))

    def garbage(self) -> None:
        self.note(self.world.fold(self.dice.randbytes(self.dice.randrange(60)), []))

    def flip(self) -> None:
        value, headers = self.world.signed(invocation("tool:t0/0"), self.signer(self.sessions))
        at = self.dice.randrange(5, len(value))
        self.note(
            self.world.fold(value[:at] + bytes([value[at] ^ 1 << self.dice.randrange(8)]) + value[at + 1 :], headers)
        )

    def again(self) -> None:
        old = self.dice.choice(self.records)
        self.note(self.world.fold(old.value, old.headers))

    def add_admin(self) -> None:
        consents = self.world.roots[: self.dice.randrange(4)]
        body = self.world.admin_addition(self.world.offer(self.new_keys(), "admin", "extra"), consents)
        self.note(self.world.send(body, self.signer(self.world.roots)))

    def burst(self) -> None:
        by = self.signer(self.sessions)
        drafts = [self.world.draft(invocation("tool:t0/1", {"i": i}), by) for i in range(self.dice.randrange(2, 7))]
        for draft, headers in zip(drafts, self.world.sign(drafts, by), strict=True):
            self.note(self.world.fold(draft.value, headers))

    def two_bad_signers(self) -> None:
        by = self.signer(self.sessions)
        self.note(self.world.call(by, "tool:t0/0", principal_id="root"))
        self.note(self.world.call(by, "tool:t0/0", issued_at=self.world.now + HOUR_MS))


_SCRIPTS: dict[int, Script] = {}


def script_of(seed: int) -> Script:
    if seed not in _SCRIPTS:
        _SCRIPTS[seed] = Script(seed)
    return _SCRIPTS[seed]
