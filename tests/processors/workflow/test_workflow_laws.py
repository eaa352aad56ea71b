"""The laws of the fold, on scripts of workflow events: the same bytes again, and nothing half done."""

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from processors.effects import Output
from processors.intake.identify import Received
from processors.proof.signing import VerifiedHeads
from processors.state.tables import Tables
from processors.step import step
from schemas import codec
from schemas.records import AuditEntry, Prompt
from tests.builders import Actor, Folded, invocation
from tests.processors.derived import derived_again, state
from tests.workflow_world import ANYTHING, CHECK, MAIL, PAY, Workflow, attests
from tests.world import HOUR_MS

SEEDS = range(8)
RECORDS = 130
REFUND = "tool:bank/refund"
KEYS = ("boss", "board", "loan")


def conditions(dice: random.Random) -> dict[str, Any]:
    """Return what a policy asks for: steps, one approval, two, and one that lasts."""
    metas = {
        "boss": {"approval_criteria": "role:manager", "timeout": dice.choice([0, 30, 300])},
        "board": {"approval_criteria": ["role:manager", "team:board"], "quorum": 2, "timeout": 600},
        "loan": {"approval_criteria": "role:manager", "timeout": dice.choice([0, 60]), "max_uses": 2},
        "checked": {"max_uses": 3},
    }
    needed = [
        f"boss::{{tool.id == '{PAY}' AND params.amount > 8}}",
        f"board::{{tool.id == '{PAY}' AND params.amount > 6}}",
        f"loan::{{tool.id == '{REFUND}'}}",
        f"checked::{{tool.id == '{PAY}'}}",
    ]
    some = dice.sample(needed, dice.randrange(1, 5))
    return {**ANYTHING, "attestations": some, "constraints": {"attestations": metas, "rate_limit": 20}}


class Script:
    """A workflow at random: steps, approvals, memory, rights handed on, and their ends, good and bad."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(f"workflow {seed}")
        self.world = world = Workflow.opened(f"law-{seed}")
        self.people: list[Actor] = []
        self.sessions = [world.bot]
        self.asked: list[Folded] = []
        self.open: list[Folded] = []
        self.delegations: list[bytes] = [bytes(32)]
        self.opening()
        self.policy()
        acts = [
            *[self.call] * 8, *[self.report] * 6, *[self.answer] * 16, *[self.vault] * 6, *[self.delegate] * 3,
            self.policy,
            *[self.enter] * 2, self.end, self.end_person, *[self.take_back] * 2, *[self.wait] * 4, self.query,
            self.again, *[self.prompt] * 2, self.undelegate,
        ]  # fmt: skip
        while len(world.log) < RECORDS:
            self.dice.choice(acts)()

    def opening(self) -> None:
        """Play what chance seldom does: a use that is spent twice, a person who approves twice, rights taken back."""
        world = self.world
        self.people = [world.person("carol", "manager"), world.person("dave", "manager")]
        world.require("checked")
        world.ran(world.bot, CHECK, attests("checked", one_time=True))
        world.pay()
        world.pay()
        world.require("board", approval_criteria="role:manager", quorum=2, timeout=600)
        self.asked += [world.pay(), world.pay()]
        for by in (self.people[0], self.people[0], self.people[self.dice.randrange(2)]):
            world.approve(by, self.asked[0], "board")
        leaf = world.grant_to(self.people[0], "bot").entry.event
        world.revoke_delegation(self.people[0], leaf)
        world.pay(on_behalf_of=leaf)
        self.delegations.append(leaf)

    @property
    def records(self) -> list[Received]:
        return self.world.records

    @property
    def outputs(self) -> list[list[Output]]:
        return [folded.outputs for folded in self.world.log]

    def anybody(self) -> Actor:
        return self.dice.choice([*self.sessions[-3:], *self.people[-4:], self.world.bot])

    def policy(self) -> None:
        world = self.world
        who = self.dice.choice(["agent:bot", "agent:bot", "role:manager"])
        world.send(world.publication({"policy_id": who, **conditions(self.dice)}), world.admin)

    def enter(self) -> None:
        if self.dice.random() < 0.3:
            self.sessions.append(self.world.open_session(self.world.agent, ttl_ms=self.dice.choice([60_000, HOUR_MS])))
            return
        name = self.dice.choice(["carol", "dave", "erin", "frank"])
        roles = () if name == "frank" else ("manager",)
        self.people.append(self.world.person(name, *roles, ttl_ms=self.dice.choice([60_000, HOUR_MS])))

    def call(self) -> None:
        resource = self.dice.choice([PAY, PAY, REFUND, CHECK, CHECK, MAIL])
        header = {"on_behalf_of": self.dice.choice(self.delegations)} if self.dice.random() < 0.3 else {}
        self.note(self.world.call(self.anybody(), resource, {"amount": self.dice.randrange(12)}, **header))

    def prompt(self) -> None:
        prompt = Prompt(path="prompt", parent=None, policy=json.dumps({"resources": ["tool:desk/*"]}))
        self.note(self.world.send(invocation(MAIL, {"prompt": "x"}, prompts=(prompt,)), self.anybody()))

    def note(self, folded: Folded) -> None:
        if folded.entry.outcome == "pending" or folded.entry.reason == "APPROVAL_REQUIRED":
            self.asked.append(folded)
        if folded.entry.outcome == "allowed":
            self.open.append(folded)

    def report(self) -> None:
        if not self.open:
            return
        folded = self.dice.choice(self.open[-5:])
        call = self.world.tables.calls.get(folded.decision_leaf)
        by = self.world.desk if call is None or call.tool == "desk" else self.world.bank
        said = (attests("checked", one_time=self.dice.random() < 0.5),) if self.dice.random() < 0.8 else ()
        outcome = self.dice.choice(["ok", "ok", "ok", "failed"])
        self.world.report(folded.decision_leaf, by, outcome=outcome, attestations=said)

    def answer(self) -> None:
        if not self.asked or not self.people:
            return
        by, known = self.dice.choice(self.people[-5:]), list(self.world.tables.requests.rows.values())
        asked, key = self.dice.choice(self.asked[-4:]), self.dice.choice(KEYS)
        mine = [one.key for one in known if one.event == asked.entry.event and not one.closed]
        if mine and self.dice.random() < 0.8:
            key = self.dice.choice(mine)
        say = self.world.deny if self.dice.random() < 0.15 else self.world.approve
        self.note(say(by, asked, key))

    def vault(self) -> None:
        by, key, scope = self.anybody(), self.dice.choice("abc"), self.dice.choice(["session", "session", "team"])
        match self.dice.randrange(5):
            case 0 | 1:
                self.world.put(by, key, self.dice.random(), scope, ttl_ms=self.dice.choice([None, 5_000]))
            case 2:
                self.world.put(by, key, 1, scope, expected=self.dice.randrange(3))
            case 3:
                self.world.drop(by, key, scope)
            case 4:
                self.world.keys_in(by, scope)

    def delegate(self) -> None:
        by = self.anybody()
        to = self.dice.choice(["bot", "user:carol", "user:dave", "desk"])
        parent = self.dice.choice([None, None, *self.delegations])
        life_ms = self.dice.choice([20_000, HOUR_MS])
        folded = self.world.grant_to(by, to, parent=parent, life_ms=life_ms, resources=["tool:**"])
        if folded.entry.outcome == "accepted":
            self.delegations.append(folded.entry.event)

    def undelegate(self) -> None:
        self.world.revoke_delegation(
            self.dice.choice([self.anybody(), self.world.admin]), self.dice.choice(self.delegations)
        )

    def end(self) -> None:
        session = self.dice.choice(self.sessions)
        self.dice.choice([self.world.close, self.world.revoke_session])(session)

    def end_person(self) -> None:
        if self.people:
            self.dice.choice([self.world.close, self.world.revoke_session])(self.dice.choice(self.people))

    def take_back(self) -> None:
        by = self.dice.choice([self.world.admin, self.world.desk, self.anybody()])
        if self.dice.random() < 0.5:
            self.world.take_back(by, self.dice.choice(self.sessions), "checked", CHECK)
        else:
            self.world.revoke_grant(by, self.dice.choice(KEYS))

    def wait(self) -> None:
        self.world.advance(self.dice.randrange(self.dice.choice([10, 10_000, 90_000, 90_000, 2 * HOUR_MS])))
        self.world.tick()

    def query(self) -> None:
        self.world.ask(self.anybody(), self.dice.choice(["attestations", "approvals", "delegations"]))

    def again(self) -> None:
        old = self.dice.choice(self.records)
        self.world.fold(old.value, old.headers)


_SCRIPTS: dict[int, Script] = {}


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed-{seed}")
def script(request) -> Script:
    if request.param not in _SCRIPTS:
        _SCRIPTS[request.param] = Script(request.param)
    return _SCRIPTS[request.param]


@dataclass
class Replica:
    """Another monitor of the same tenant."""

    script: Script
    tables: Tables = field(init=False)
    heads: VerifiedHeads = field(default_factory=VerifiedHeads)

    def __post_init__(self) -> None:
        self.tables = self.script.world.fresh_tables()

    def fold(self, start: int, end: int) -> list[list[Output]]:
        return [step(self.tables, received, self.heads) for received in self.script.records[start:end]]


def test_the_scripts_meet_what_workflows_meet():
    """The laws would mean little if the scripts were tame."""
    says = {folded.says for seed in SEEDS for folded in _SCRIPTS.setdefault(seed, Script(seed)).world.log}
    kinds = {folded.entry.kind for seed in SEEDS for folded in _SCRIPTS[seed].world.log}

    assert {outcome for outcome, _ in says} == {"accepted", "allowed", "denied", "pending", "refused"}
    assert {
        "APPROVAL_PENDING", "APPROVAL_REQUIRED", "APPROVAL_CLOSED", "APPROVAL_UNKNOWN", "APPROVER_NOT_AUTHORIZED",
        "APPROVER_DUPLICATE", "ATTESTATION_MISSING", "ATTESTATION_CONSUMED", "DELEGATION_BROKEN", "DELEGATION_REVOKED",
        "DELEGATION_SELF", "DELEGATION_PARENT", "VERSION_CONFLICT", "VAULT_ABSENT", "EXPIRED_SESSION", "DUPLICATE",
    } <= {reason for _, reason in says}  # fmt: skip
    assert {"AttestationDenied", "AttestationRevoked", "ContextListed", "DelegationRevoked", "SessionRevoked"} <= kinds
    finals = [one for seed in SEEDS for folded in _SCRIPTS[seed].world.log for one in folded.decisions]
    assert {"APPROVAL_TIMEOUT", "APPROVAL_DENIED", "APPROVAL_QUORUM", "EXPIRED_SESSION"} <= {
        one.reason for one in finals
    }
    assert any(_SCRIPTS[seed].world.tables.grants.rows for seed in SEEDS)


def test_folding_again_gives_the_same_bytes_rows_groups_and_weights(script):
    """A replay with nothing remembered."""
    replica = Replica(script)

    assert replica.fold(0, len(script.records)) == script.outputs
    assert state(replica.tables) == state(script.world.tables)


def test_groups_and_weights_follow_from_the_rows_alone(script):
    """After every record, and after every record that was taken back."""
    replica = Replica(script)
    for at in range(len(script.records)):
        before = state(replica.tables)
        replica.fold(at, at + 1)
        replica.tables.rollback()
        assert state(replica.tables) == before
        replica.fold(at, at + 1)
        replica.tables.commit()
        now = state(replica.tables)
        assert derived_again(replica.tables).items() <= now.items()


def test_an_aborted_transaction_leaves_no_trace(script):
    """Batches folded, taken back and folded again."""
    replica = Replica(script)
    dice = random.Random(f"aborts {script.world.name}")
    at = 0
    while at < len(script.records):
        end = min(len(script.records), at + dice.randrange(1, 12))
        before = state(replica.tables)
        replica.fold(at, dice.randrange(at, end) + 1)
        replica.tables.rollback()
        assert state(replica.tables) == before
        assert replica.fold(at, end) == script.outputs[at:end]
        replica.tables.commit()
        at = end

    assert state(replica.tables) == state(script.world.tables)


@pytest.mark.parametrize("part", [3, 5, 8])
def test_a_restart_from_the_changelog_goes_on_byte_for_byte(script, part):
    """Rows as they travel on the state topic, in any order: groups and weights are made again."""
    middle = len(script.records) * part // 10
    replica = Replica(script)
    replica.fold(0, middle)
    rows = [(name, key, row) for name, table in replica.tables.by_name.items() for key, row in table.rows.items()]
    random.Random(part).shuffle(rows)
    restored = Replica(script)
    for name, key, row in rows:
        restored.tables.by_name[name].restore(key, codec.decode_as(type(row), codec.frame(row)))
    tail = replica.tables
    restored.tables.resume_at(next_index=tail.next_index, prev=tail.prev, now=tail.now)

    assert state(restored.tables) == state(replica.tables)
    assert restored.fold(middle, len(script.records)) == script.outputs[middle:]


def test_a_call_has_at_most_one_final_decision(script):
    """However it ended; and one that is over waits no more."""
    finals: dict[bytes, int] = {}
    waited: set[bytes] = set()
    for folded in script.world.log:
        for decision in folded.decisions:
            if decision.outcome == "pending":
                waited.add(decision.event)
            else:
                finals[decision.event] = finals.get(decision.event, 0) + 1
    assert set(finals.values()) == {1}
    assert waited - finals.keys() == set(script.world.tables.pending.rows)


def test_a_refused_record_moves_nothing_but_its_sequence(script):
    """Expiry aside, which belongs to time: folded at a moment when nothing is due."""
    replica = Replica(script)
    for at, folded in enumerate(script.world.log):
        now = max(replica.tables.now, folded.received.appended_at)
        due = replica.tables.next_deadline()
        before = {name: dict(table.rows) for name, table in replica.tables.by_name.items() if name != "sequences"}
        replica.fold(at, at + 1)
        replica.tables.commit()
        if folded.entry.outcome == "refused" and (due is None or due > now):
            after = {name: dict(table.rows) for name, table in replica.tables.by_name.items() if name != "sequences"}
            assert after == before, folded.entry


def test_at_the_end_of_time_nothing_is_left_that_ends(script):
    """Whatever has a deadline leaves; only what ends by somebody's word stays."""
    replica = Replica(script)
    replica.fold(0, len(script.records))
    for i in range(1, 60):
        late = Received(0, len(script.records) + i, script.world.now + (400 * 24 + i) * HOUR_MS, b"", [])
        outputs = step(replica.tables, late, replica.heads)
        assert codec.decode_as(AuditEntry, outputs[-1].value or b"").outcome == "refused"
    tables = replica.tables

    for name in ("sessions", "calls", "attestations", "requests", "pending", "delegations", "prompts", "buckets"):
        assert not tables.by_name[name].rows, name
    assert not tables.persons.rows
    assert {row.scope for row in tables.vault.rows.values()} <= {"team"}
    assert tables.requests.weight == tables.pending.weight == 0


def digest_of_all_outputs(seeds: int) -> str:
    """Return one digest over everything that some scripts cause, and over what is left."""
    total = sha256()
    for seed in range(seeds):
        script = Script(seed)
        total.update(repr([tuple(output) for outputs in script.outputs for output in outputs]).encode())
        total.update(repr({name: sorted(table.rows.items()) for name, table in _tables(script)}).encode())
    return total.hexdigest()


def _tables(script: Script) -> list[tuple[str, Any]]:
    return sorted(script.world.tables.by_name.items())


def test_outputs_do_not_depend_on_the_interpreters_hash_seed():
    """Another process with another order of sets makes the same bytes."""
    program = f"from {__name__} import digest_of_all_outputs; print(digest_of_all_outputs(2))"
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(root)}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == digest_of_all_outputs(2)
