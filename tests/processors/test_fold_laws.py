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
from processors.intake.identify import Received
from processors.proof.signing import VerifiedHeads
from processors.state.tables import Tables
from processors.step import step
from schemas import codec, topics
from schemas.records import AuditEntry, PrincipalRevoked
from tests.script import SEEDS, Script, script_of
from tests.world import HOUR_MS, World


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
