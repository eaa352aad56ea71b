"""What hangs on a session ends with it, and what was said with a revoked key counts no more."""

import random
from typing import Any

import pytest

from processors.state.bounds import TenantLimits
from processors.state.groups import DECISION_KEYS, OPEN, SWEEPING
from processors.state.table import Table
from processors.state.tables import Tables
from schemas import codec, limits
from schemas.events.attributes import NONE, Attributes
from schemas.topics import OPS_ATTESTATIONS, OPS_CONTEXT
from tests.builders import Actor, keys_of
from tests.workflow_world import ANYTHING, CHECK, PAY, Workflow, attests, declared, reply, told
from tests.world import HOUR_MS

CHECKED_FIRST = {"id": "first", "when": PAY, "after": {"resource": CHECK}}
SCREENED = ["kyc_ok::{tool.id == 'tool:bank/pay'}"]


@pytest.fixture
def world(request) -> Workflow:
    return Workflow.opened(request.node.name)


def lives_fully(world: Workflow, session: Actor) -> None:
    """Let a session leave a row in every table that names sessions."""
    rules = [{"id": "mine", "when": "**", "at_most": 9, "per": "session"}, CHECKED_FIRST]
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "sequence": rules})
    world.ran(session, CHECK, attests("checked"))
    world.put(session, "note", "mine")
    assert world.prompted(session, "a text").says == ("allowed", "")


def hanging(tables: Tables, session_id: bytes) -> dict[str, int]:
    """Return how many rows of each table hang on a session."""
    found: dict[str, Table] = {"attestations": tables.attestations, "prompts": tables.prompts, "cells": tables.cells}
    counts = {name: len(table.of(session_id)) for name, table in found.items()}
    own = f"session:{session_id.hex()}"
    counts["vault"] = len(tables.vault.of(own))
    counts["scopes"] = sum(row.name == own for row in tables.scopes.rows.values())
    return counts


ENDINGS = {
    "closed": lambda world, session: world.close(session),
    "revoked": lambda world, session: world.revoke_session(session),
    "its key revoked": lambda world, session: world.revoke("bot"),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_what_hangs_on_a_session_leaves_with_it(world, how):
    """However it is ended; the call that is open stays, and gets its outcome."""
    lives_fully(world, world.bot)
    assert all(hanging(world.tables, world.bot.kid).values())
    open_calls = len(world.tables.calls)

    folded = ENDINGS[how](world, world.bot)

    assert set(hanging(world.tables, world.bot.kid).values()) == {0}
    assert len(world.tables.calls) == open_calls == 1
    assert {one.value is None for one in folded.of(OPS_CONTEXT)} == {True}
    assert None in {one.value for one in folded.of(OPS_ATTESTATIONS)}
    [decision] = world.tables.calls.rows
    assert world.report(decision, world.desk).says == ("accepted", "")
    assert not world.tables.cells.rows


def test_a_session_that_runs_out_leaves_nothing(world):
    """In its time each row leaves by its own deadline, which is no later than the session's."""
    lives_fully(world, world.bot)
    world.passes(HOUR_MS)

    assert set(hanging(world.tables, world.bot.kid).values()) == {0}


@pytest.mark.parametrize("first", ["closed", "revoked"])
def test_a_session_key_that_is_used_again_inherits_nothing(world, first):
    """Neither what was attested, nor memory, nor what rules have seen, nor prompts; until all is gone it is taken."""
    keys = keys_of("used", "twice")
    one = world.open_session(world.agent, keys=keys)
    lives_fully(world, one)
    ENDINGS[first](world, one)
    assert world.send(world.session_of(world.agent, keys=keys), world.agent).says == ("refused", "KEY_TAKEN")
    world.passes(limits.SESSION_LINGER_MS)
    again = world.open_session(world.agent, keys=keys)

    assert reply(world.ask(again, "attestations"))["attestations"] == []
    assert reply(world.get(again, "note"))["n"] == 0
    assert world.call(again, PAY).says == ("denied", "SEQUENCE_MISSING")
    assert set(hanging(world.tables, again.kid).values()) <= {0, 1}


def test_a_call_of_an_earlier_session_of_the_same_key_says_nothing_of_the_later_one(world):
    """A slow tool reports, and attests, when the key has come back: into the session that called, which is no more."""
    slow = world.register("tool", "slow", tools=(slow_tool(),))
    rule = CHECKED_FIRST | {"after": {"resource": SLOW}}
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "sequence": [rule]})
    keys = keys_of("slow", "again")
    one = world.open_session(world.agent, keys=keys)
    called = world.call(one, SLOW)
    world.close(one)
    world.passes(limits.SESSION_LINGER_MS)
    again = world.open_session(world.agent, keys=keys)

    said = world.attest(slow, again, "done", decision=called.decision_leaf)
    assert said.says == ("refused", "ATTESTATION_SESSION")
    assert world.report(called.decision_leaf, slow, attestations=(attests("done"),)).says == ("accepted", "")
    assert not world.tables.attestations.rows
    assert world.call(again, PAY).says == ("denied", "SEQUENCE_MISSING")


SLOW = "tool:slow/run"


def slow_tool() -> Any:
    return declared(SLOW, attests=("done",), timeout_ms=HOUR_MS)


@pytest.mark.parametrize("count", [62, 64, 127, 300])
def test_a_session_with_many_rows_is_swept_a_few_with_each_record(world, count):
    """Until then its row stays, and its key is taken; replayed, and restored half way, it goes on alike."""
    keys = keys_of("many", "rows")
    one = world.open_session(world.agent, keys=keys)
    for n in range(count):
        world.put(one, f"k{n:03}", n)
    world.close(one)
    replica = restored(world)
    swept = []
    while world.tables.sessions.of(SWEEPING):
        before = len(world.tables.vault)
        world.tick()
        swept.append(before - len(world.tables.vault))
    assert max(swept, default=0) <= limits.EXPIRED_PER_EVENT_MAX
    assert hanging(world.tables, one.kid) == dict.fromkeys(hanging(world.tables, one.kid), 0)
    for received in world.records[len(world.records) - len(swept) :]:
        world.fold_into(replica, received)
    assert {n: t.rows for n, t in replica.by_name.items()} == {n: t.rows for n, t in world.tables.by_name.items()}
    world.passes(limits.SESSION_LINGER_MS)
    assert world.send(world.session_of(world.agent, keys=keys), world.agent).says == ("accepted", "")


def restored(world: Workflow) -> Tables:
    """Return the tables of a worker that starts from the changelog, its rows in any order."""
    rows = [(name, key, row) for name, table in world.tables.by_name.items() for key, row in table.rows.items()]
    random.Random(len(rows)).shuffle(rows)
    found = world.fresh_tables()
    for name, key, row in rows:
        found.by_name[name].restore(key, codec.decode_as(type(row), codec.frame(row)))
    found.resume_at(next_index=world.tables.next_index, prev=world.tables.prev, now=world.tables.now)
    return found


def test_while_it_is_swept_a_session_lingers_however_long_that_takes(world):
    """Nothing is heard for an hour: its key is taken all the same, because rows name it."""
    keys = keys_of("long", "sweep")
    one = world.open_session(world.agent, keys=keys)
    for n in range(300):
        world.put(one, f"k{n:03}", n)
    world.close(one)
    world.advance(HOUR_MS)

    assert world.send(world.session_of(world.agent, keys=keys), world.agent).says == ("refused", "KEY_TAKEN")


def test_a_prompt_of_an_ended_session_is_no_parent_any_more(world):
    """The tool that executes its call can derive nothing from it."""
    world.publish_policy({"policy_id": "agent:tool:desk", **ANYTHING})
    called = world.prompted(world.bot, "a text")
    [(key, row)] = world.tables.prompts.rows.items()
    worker = world.open_session(world.desk)
    derived = {"parent": row.root, "causation_id": called.entry.event}
    assert world.prompted(worker, "derived", **derived).says == ("allowed", "")
    for n in range(200):
        world.put(world.bot, f"k{n}", n)
    world.close(world.bot)
    assert world.tables.prompts.get(key) is not None  # it has not been swept yet

    assert world.prompted(worker, "more", **derived).says == ("denied", "PARENT_CALL")


def test_what_a_revoked_session_asked_for_is_asked_no_more(world):
    """A grant for later calls that a stolen session had asked for; one that is closed asks on."""
    world.require("boss", approval_criteria="role:manager", timeout=0, one_time=False)
    carol = world.person("carol", "manager")
    closed, revoked = (world.open_session(world.agent) for _ in range(2))
    asked = [world.pay(by=one) for one in (closed, revoked)]
    world.close(closed)
    world.revoke_session(revoked)

    assert world.approve(carol, asked[1], "boss").says == ("refused", "APPROVAL_CLOSED")
    assert world.approve(carol, asked[0], "boss").says == ("accepted", "")


# ---- revoked keys


def attester(world: Workflow, **body: Any) -> Actor:
    return world.register("attester", "kyc", attributes=Attributes(attests=("kyc_ok",), subjects=("**",)), **body)


def test_what_a_revoked_attester_said_counts_no_more(world):
    """And the views are told."""
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "attestations": SCREENED})
    kyc = attester(world)
    world.attest(kyc, world.bot, "kyc_ok")
    assert world.pay().says == ("allowed", "")
    revoked = world.revoke("kyc")

    assert [one.status for one in told(revoked, OPS_ATTESTATIONS)] == ["revoked"]
    assert world.pay().says == ("denied", "ATTESTATION_REVOKED")


@pytest.mark.parametrize("by", ["name", "kid"])
def test_a_key_that_has_expired_can_be_revoked_and_takes_back_what_it_said(world, by):
    """It was stolen, used, ran out, and its owner has another by now."""
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "attestations": SCREENED})
    stolen = attester(world, expires_at=world.now + 1000)
    world.attest(stolen, world.bot, "kyc_ok")
    world.passes(1000)
    attester(world)
    assert world.pay().says == ("allowed", "")
    assert world.revoke("kyc", kid=stolen.kid if by == "kid" else None).says == ("accepted", "")

    assert world.pay().says == ("denied", "ATTESTATION_REVOKED")


def test_one_instance_of_a_tool_is_revoked_and_what_the_other_said_stands(world):
    """By key, not by name."""
    world.require("checked")
    world.ran(world.bot, CHECK, attests("checked"))
    tools = world.tables.principals.rows[b"desk"].tools
    second = world.register("tool", "desk", tools=tools)
    world.revoke("desk", kid=second.kid)
    assert world.pay().says == ("allowed", "")
    world.revoke("desk", kid=world.desk.kid)

    assert world.pay().says == ("denied", "ATTESTATION_REVOKED")


def test_what_a_revoked_tool_reported_as_done_is_not_done(world):
    """A rule that asks for an earlier call finds none that a tool with a good key has reported."""
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "sequence": [CHECKED_FIRST]})
    world.ran(world.bot, CHECK)
    assert world.pay().says == ("allowed", "")
    world.revoke("desk")

    assert world.pay().says == ("denied", "SEQUENCE_MISSING")


def test_much_that_a_revoked_key_said_is_taken_back_a_little_with_each_record(world):
    """It counts no more from the first moment; rows follow."""
    kyc = world.register("attester", "kyc", attributes=Attributes(attests=("**",), subjects=("**",)))
    for n in range(150):
        world.attest(kyc, world.bot, f"k{n}")
    world.attest(kyc, world.bot, "zz")
    world.require("zz")
    world.revoke("kyc")

    assert world.pay().says == ("denied", "ATTESTATION_REVOKED")
    left = [row for row in world.tables.attestations.rows.values() if not row.revoked]
    assert 0 < len(left) < 150
    for _ in range(3):
        world.tick()
    assert all(row.revoked for row in world.tables.attestations.rows.values())
    assert not world.tables.keys.of(SWEEPING)


def test_a_stolen_bridges_many_persons_are_unknown_at_once(world):
    """Their rows follow, a few with each record."""
    stolen = world.register("bridge", "stolen")
    for n in range(100):
        world.person(f"p{n}", by=stolen)
    world.person("carol", by=world.bridge)
    world.person("carol", "admin", by=stolen)
    world.revoke("stolen")
    assert 1 < len(world.tables.persons) < 101
    for _ in range(3):
        world.tick()

    assert [row.opened_by for row in world.tables.persons.rows.values()] == [world.bridge.kid]


# ---- keys


def test_a_spent_key_counts_for_nobody_and_never_comes_back():
    """Expired or revoked; what is kept of it is small."""
    world = Workflow.opened("pods", bounds=TenantLimits(keys=32))
    for n in range(60):
        ends = world.now + 1000
        pod = world.register(
            "agent", "pod", keys=keys_of("pod", n), attributes=Attributes(roles=("r",)), expires_at=ends
        )
        world.passes(1000)
    row = world.tables.keys.rows[pod.kid]
    assert (row.spent, row.attributes, row.payer) == (True, NONE, "pod\n\n")
    assert pod.kid not in world.tables.sequences.rows

    again = world.registration("agent", "pod", keys=keys_of("pod", 3))
    world.refuses("KEY_TAKEN", again, world.admin)


@pytest.mark.parametrize("name", ["sweeping", "open", "over", "decision keys"])
def test_no_name_of_a_principal_stands_for_a_group_of_the_tables(world, name):
    """A principal of that name would have every record swept for it, and nobody else's rows would ever leave."""
    program = world.register("agent", name)
    before = world.open_session(world.agent)
    world.put(before, "k", 1)
    world.close(before)
    while world.tables.vault.of(f"session:{before.kid.hex()}"):
        world.tick()

    assert not world.tables.keys.of(SWEEPING)
    assert tuple(world.tables.keys.of(name)) == (program.kid,)
    assert not world.tables.requests.of(OPEN)
    assert [world.tables.keys.rows[kid].role for kid in world.tables.keys.of(DECISION_KEYS)] == ["monitor"]
