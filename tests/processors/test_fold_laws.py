"""What holds of the fold for every log: the same bytes again, nothing half done, nothing twice.

Each law is shown on scripts of some sixty records, good and bad, made from a seed that a failure prints.
"""

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
from processors.evidence import audit_log
from processors.identity.keys import decision_keys
from processors.intake.identify import Received
from processors.proof.signing import VerifiedHeads
from processors.state.tables import Tables
from processors.step import step
from producers.home.keys import KeyPair
from schemas import codec, topics
from schemas.events.keys import KeyRotated
from schemas.records import AuditEntry, PrincipalRevoked
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


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed-{seed}")
def script(request) -> Script:
    return script_of(request.param)


def state(tables: Tables) -> dict[str, Any]:
    """Return everything that the next record can depend on."""
    rows: dict[str, Any] = {name: dict(table.rows) for name, table in tables.by_name.items()}
    return {**rows, "tail": (tables.next_index, tables.prev, tables.now), "deadline": tables.next_deadline()}


@dataclass
class Replica:
    """Another monitor of the same tenant, with a memory of its own."""

    script: Script
    tables: Tables = field(init=False)
    heads: VerifiedHeads = field(default_factory=VerifiedHeads)

    def __post_init__(self) -> None:
        self.tables = self.script.world.fresh_tables()

    def fold(self, start: int, end: int) -> list[list[Output]]:
        return [step(self.tables, received, self.heads) for received in self.script.records[start:end]]


def batches(seed: int, total: int) -> list[tuple[int, int]]:
    """Return batches of 1 to 9 records that cover a log."""
    ends = sorted({*random.Random(f"batches {seed}").sample(range(1, total), total // 5), total})
    return list(zip([0, *ends], ends, strict=False))


def test_the_scripts_meet_every_kind_of_outcome():
    """The laws below would mean little if the scripts were tame: they meet most reasons and every outcome."""
    seen = {folded.says for seed in SEEDS for folded in script_of(seed).folded}
    kinds = {folded.entry.kind for seed in SEEDS for folded in script_of(seed).folded}

    assert {outcome for outcome, _ in seen} == {"accepted", "allowed", "denied", "refused"}
    assert {
        "BAD_SIGNATURE", "DUPLICATE", "REPLAYED", "UNKNOWN_KEY", "EXPIRED_SESSION", "WRONG_ROLE", "WRONG_PRINCIPAL",
        "FUTURE", "UNDECODABLE", "MALFORMED_PARAMETERS", "NO_POLICY", "TOOL_UNAVAILABLE", "LATE_RESULT", "NOT_THE_TOOL",
        "BAD_ROOT_SIGNATURES", "REVOKED_KEY", "MALFORMED_RESULT", "REGISTRATION_CONFLICT",
    } <= {reason for _, reason in seen}  # fmt: skip
    assert {"Undecodable", "AdminAdded", "PrincipalRevoked", "SessionOpened", "KeyRotated", "RootRotated"} <= kinds
    results = [result for seed in SEEDS for folded in script_of(seed).folded for result in folded.results]
    assert {"ok", "failed", "unknown", "denied", "refused"} <= {result.outcome for result in results}


def test_folding_again_from_offset_zero_gives_the_same_bytes_and_the_same_tables(script):
    """A replay, on another machine and with nothing remembered, is byte for byte what was written."""
    replica = Replica(script)

    assert replica.fold(0, len(script.records)) == script.outputs
    assert state(replica.tables) == state(script.world.tables)


def test_what_a_monitor_remembers_of_signatures_changes_nothing(script):
    """Without a memory of verified heads every record comes out alike."""
    tables = script.world.fresh_tables()

    assert [step(tables, received, VerifiedHeads(0)) for received in script.records] == script.outputs


def test_an_aborted_transaction_leaves_no_trace(script):
    """After a rollback the tables are as they were, and what follows is as if the batch had never been folded."""
    replica = Replica(script)
    dice = random.Random(f"aborts {script.world.name}")
    for start, end in batches(1, len(script.records)):
        before = state(replica.tables)
        for _ in range(dice.randrange(3)):
            replica.fold(start, dice.randrange(start, end) + 1)
            replica.tables.rollback()
            assert state(replica.tables) == before
            assert list(replica.tables.changes()) == []
        assert replica.fold(start, end) == script.outputs[start:end]
        replica.tables.commit()

    assert state(replica.tables) == state(script.world.tables)


def test_an_abort_of_a_batch_far_in_the_future_leaves_no_trace(script):
    """Also where everything had expired in the batch that was taken back."""
    replica = Replica(script)
    middle = len(script.records) // 2
    replica.fold(0, middle)
    replica.tables.commit()
    before = state(replica.tables)
    late = Received(0, middle, script.records[middle].appended_at + 50 * HOUR_MS, b"", [])
    for _ in range(3):
        step(replica.tables, late, replica.heads)
    assert not replica.tables.sessions.rows
    replica.tables.rollback()

    assert state(replica.tables) == before
    assert replica.fold(middle, len(script.records)) == script.outputs[middle:]


def test_the_stream_of_changes_rebuilds_the_tables(script):
    """Each change names a row once, with the value it has now; together they are the tables, at every commit."""
    replica = Replica(script)
    mirror: dict[tuple[str, bytes], Any] = {}
    for start, end in batches(2, len(script.records)):
        before = {(name, key): row for name, t in replica.tables.by_name.items() for key, row in t.rows.items()}
        replica.fold(start, end)
        after = {(name, key): row for name, t in replica.tables.by_name.items() for key, row in t.rows.items()}
        changes = {(name, key): row for name, key, row in replica.tables.changes()}
        assert len(list(replica.tables.changes())) == len(changes)
        assert {at for at in before.keys() | after.keys() if before.get(at) != after.get(at)} <= changes.keys()
        assert all(after.get(at) == row for at, row in changes.items())
        replica.tables.commit()
        assert list(replica.tables.changes()) == []
        mirror = {at: row for at, row in {**mirror, **changes}.items() if row is not None}
        assert mirror == after


@pytest.mark.parametrize("order", ["as-written", "by-key", "shuffled"])
def test_a_restart_from_the_changes_goes_on_byte_for_byte(script, order):
    """Tables restored from the changelog, in whatever order it comes, decide like those that never fell."""
    middle = len(script.records) * 2 // 3
    replica = Replica(script)
    replica.fold(0, middle)
    rows = [(name, key, row) for name, table in replica.tables.by_name.items() for key, row in table.rows.items()]
    if order == "by-key":
        rows.sort(key=lambda item: item[:2])
    elif order == "shuffled":
        random.Random(7).shuffle(rows)

    restored = Replica(script)
    for name, key, row in rows:
        again = codec.decode_as(type(row), codec.frame(row))  # as it travels on the state topic
        restored.tables.by_name[name].restore(key, again)
    tail = replica.tables
    restored.tables.resume_at(next_index=tail.next_index, prev=tail.prev, now=tail.now)

    assert state(restored.tables) == state(replica.tables)
    assert restored.fold(middle, len(script.records)) == script.outputs[middle:]


def test_the_same_record_twice_in_a_row_changes_nothing_the_second_time(script):
    """At whatever point of a log: a redelivered record is refused, moves no row, and decides nothing."""
    replica = Replica(script)
    for received in script.records:
        step(replica.tables, received, replica.heads)
        replica.tables.commit()
        before = state(replica.tables)
        outputs = step(replica.tables, received, replica.heads)
        entry = codec.decode_as(AuditEntry, outputs[-1].value or b"")

        assert entry.outcome == "refused"
        assert {output.topic for output in outputs} <= {topics.RESULTS, topics.AUDIT, topics.DEAD_LETTERS}
        replica.tables.rollback()
        assert state(replica.tables) == before
        step(replica.tables, received, replica.heads)
        assert list(replica.tables.changes()) == []
        replica.tables.rollback()


def test_nothing_that_was_heard_is_ever_heard_again(script):
    """At the end of a log each of its accepted records, sent once more, is refused."""
    replica = Replica(script)
    replica.fold(0, len(script.records))
    rows = {name: dict(table.rows) for name, table in replica.tables.by_name.items()}
    for folded in script.folded:
        if folded.entry.outcome != "refused":
            again = Received(
                0, folded.received.offset, script.world.now, folded.received.value, folded.received.headers
            )
            outputs = step(replica.tables, again, replica.heads)
            entry = codec.decode_as(AuditEntry, outputs[-1].value or b"")
            assert entry.outcome == "refused", entry

    assert {name: dict(table.rows) for name, table in replica.tables.by_name.items()} == rows


def test_every_record_has_one_entry_and_the_entries_are_a_chain(script):
    """Entry i names record i, links to the log leaf of entry i - 1, and time never runs backwards."""
    prev = sha256(b"macaw/audit/v1\n" + script.world.genesis).digest()
    now = 0
    digest = codec.current("AuditEntry").sha256
    for index, folded in enumerate(script.folded):
        entry = folded.entry
        assert (entry.index, entry.offset, entry.prev) == (index, index, prev)
        assert entry.now >= now
        assert [output.topic for output in folded.outputs].count(topics.AUDIT) == 1
        now = entry.now
        prev = audit_log.log_leaf(digest, (folded.outputs[-1].value or b"")[codec.FRAME_BYTES :])


def test_sessions_end_in_an_order_that_an_abort_does_not_change():
    """Rows come back from an abort in another order of memory; what their end writes is in the order of the log."""
    world = World.founded("order")
    bot = world.register("agent", "bot")
    for _ in range(6):
        world.open_session(bot)
    value, headers = world.signed(PrincipalRevoked(principal_id="bot", kid=None, reason="lost"), world.admin)
    world.tables.commit()
    expected = world.attempt(value, headers).outputs
    world.attempt(b"", [], appended_at=world.now + 50 * HOUR_MS)

    assert world.attempt(value, headers).outputs == expected


def digest_of_all_outputs(seeds: int) -> str:
    """Return one digest over everything that some scripts cause."""
    total = sha256()
    for seed in range(seeds):
        script = script_of(seed)
        for output in (output for outputs in script.outputs for output in outputs):
            row = (output.topic.name, output.partition, output.key, output.value, output.leaf, output.headers)
            total.update(repr((*row, output.payload, output.recipients)).encode())
        total.update(repr(state(script.world.tables)).encode())
    return total.hexdigest()


def test_outputs_do_not_depend_on_the_interpreters_hash_seed():
    """Another process with another order of sets makes the same bytes, and the same tables in the same order."""
    program = f"from {__name__} import digest_of_all_outputs; print(digest_of_all_outputs(4))"
    root = Path(__file__).parents[2]
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        run = subprocess.run(
            [sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True, check=True
        )
        digests.add(run.stdout.strip())

    assert digests == {digest_of_all_outputs(4)}
