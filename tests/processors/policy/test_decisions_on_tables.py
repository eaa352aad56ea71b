"""What a decision learns of a session from the tables, and what it leaves in them, within bounds."""

import json
from dataclasses import replace
from typing import Any

import pytest

from processors.calls.judge import charge, decide_call, detail_of, settle, told_of, views_of
from processors.policy.amounts import NOTHING
from processors.policy.evaluation import Cell
from processors.policy.sequences import Mark, Write
from processors.policy.verdict import Consequences, Verdict
from processors.refusal import Refusal
from processors.state.bounds import TenantLimits
from schemas import limits
from schemas.records import PolicyPublished
from schemas.rows import PolicyRow, RuleCellRow
from schemas.words import Outcome
from tests.builders import Actor, tool
from tests.workflow_world import ANYTHING, CHECK, PAY, Workflow
from tests.world import Office

MINUTE_MS = 60_000
FULL = RuleCellRow(window=0, calls=1, total="0", at=0, until=2**60)


@pytest.fixture
def office() -> Office:
    """A tenant at work."""
    return Office.opened()


@pytest.fixture
def world() -> Workflow:
    """A tenant where alice and her agent may do anything."""
    world = Workflow.opened()
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    return world


def after(resource: str, **more: Any) -> dict[str, Any]:
    return {"id": "r", "when": "tool:calc/run", "after": {"resource": resource, **more}}


# ---- what it learns


def test_a_call_may_be_decided_without_a_chain(office: Office) -> None:
    """Then the session acts for itself."""
    office.world.publish_policy(
        {"policy_id": office.resource, "attestations": ["deny::{context.delegation_depth != 0}"]}
    )
    row = office.world.tables.sessions.rows[office.session.kid]

    assert decide_call(office.world.tables, row, office.resource, {}).outcome == "allowed"
    assert decide_call(office.world.tables, row, "data:x", {}).reason == "RESOURCE_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("denied", "alone", "for_alice", "alice"),
    [
        ("context.is_delegated", "", "CONDITION_DENIED", ""),
        ("NOT context.is_delegated", "CONDITION_DENIED", "", "CONDITION_DENIED"),
        ("context.delegation_depth != 0", "", "CONDITION_DENIED", ""),
        ("context.delegation_depth != 1", "CONDITION_DENIED", "", "CONDITION_DENIED"),
        ("context.app != 'bot'", "", "", "CONDITION_DENIED"),
        ("context.source_agent != 'bot'", "", "", "CONDITION_DENIED"),
    ],
)
def test_a_condition_sees_who_signed_and_for_whom(
    world: Workflow, denied: str, alone: str, for_alice: str, alice: str
) -> None:
    """An agent for itself, on a person's behalf, and the person, who is no application."""
    person = world.person("alice", "payer")
    leaf = world.grant_to(person, "bot").entry.event
    world.publish_policy({"policy_id": PAY, "attestations": [f"deny::{{{denied}}}"]})

    assert world.pay().says[1] == alone
    assert world.pay(on_behalf_of=leaf).says[1] == for_alice
    assert world.pay(by=person).says[1] == alice


def test_a_taint_goes_with_a_delegation(world: Workflow) -> None:
    """What the delegator's session has seen, the delegate's call has seen; not what it does for itself."""
    person = world.person("alice", "payer")
    leaf = world.grant_to(person, "bot").entry.event
    world.publish_policy({"policy_id": PAY, "sequence": [{"id": "t", "when": PAY, "tainted_by": CHECK}]})
    assert world.pay(on_behalf_of=leaf).says == ("allowed", "")
    assert world.call(person, CHECK).says == ("allowed", "")

    assert world.pay(on_behalf_of=leaf).says == ("denied", "SEQUENCE_TAINT")
    assert world.pay().says == ("allowed", "")


def test_a_row_past_its_end_reads_as_if_it_had_left(office: Office) -> None:
    """Not all of them leave at their millisecond."""
    tables = office.world.tables
    tables.cells.rows |= {b"over": replace(FULL, until=tables.now), b"last": replace(FULL, until=tables.now + 1)}
    cells = views_of(tables).cells

    assert cells(b"over") is None
    assert cells(b"last") == Cell(0, 1, NOTHING, 0, tables.now + 1)


# ---- what it says


def test_what_broke_is_told_with_the_document_it_broke_in() -> None:
    """To the log, and no more of it to the caller."""
    broken = Verdict(Outcome.DENIED, "INTERNAL_ERROR", "KeyError")

    assert detail_of(broken) == "KeyError"
    assert detail_of(broken._replace(deciding=b"\xab" * 2)) == "KeyError in abab"
    assert detail_of(broken._replace(reason="PARAM_TYPE", deciding=b"\xab" * 2)) == "KeyError"
    assert told_of(broken) == ""


def test_a_caller_is_told_when_to_try_again_or_which_parameter(office: Office) -> None:
    """And nothing else of the policy."""
    specs = {"rate_limit": 1, "parameters": {"n": [1]}}
    office.world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "constraints": specs})
    row = office.world.tables.sessions.rows[office.session.kid]

    def told(value: int) -> str:
        verdict = decide_call(office.world.tables, row, office.resource, {"n": value})
        charge(office.world.tables, verdict, office.session.kid, row.payer)
        return told_of(verdict)

    assert [told(2), told(1), told(1)] == ["parameter n", "", "retry_after_ms=60000"]


# ---- what it leaves


def test_what_must_have_ended_well_is_remembered_as_long_as_a_rule_asks(office: Office) -> None:
    """Until the session ends, or as long as `within` says, each rule for itself."""
    world = office.world
    rules = [after("tool:calc/run") | {"id": "ever"}, after("tool:calc/run", within=60) | {"id": "soon"}]
    world.publish_policy({"policy_id": "tool:elsewhere", "sequence": rules})
    world.publish_policy(
        {"policy_id": "tool:calc", "extends": "tool:elsewhere"}, {"policy_id": "agent:bot", **ANYTHING}
    )
    world.withdraw_policy("tool:calc")
    called = office.call()
    assert called.says == ("allowed", "")
    world.report(called.decision_leaf, office.tool)

    ends = world.tables.sessions.rows[office.session.kid].expires_at
    assert [row.until for row in world.tables.cells.rows.values()] == [ends, world.now + MINUTE_MS]


def test_a_result_for_a_session_that_is_over_is_taken_and_remembered_for_nobody(office: Office) -> None:
    """The report of a slow tool is no fault, though nothing can come after it."""
    world = office.world
    slow = world.register("tool", "slow", tools=(tool("tool:slow/run", timeout_ms=limits.TOOL_TIMEOUT_MS_MAX),))
    world.publish_policy({"policy_id": "tool:calc", "sequence": [after("tool:slow/run")]})
    session = world.open_session(office.agent, ttl_ms=MINUTE_MS)
    called = world.call(session, "tool:slow/run")
    world.advance(MINUTE_MS + limits.SESSION_LINGER_MS)
    world.tick()
    assert session.kid not in world.tables.sessions.rows

    assert world.report(called.decision_leaf, slow).says == ("accepted", "")
    assert not world.tables.cells.rows


@pytest.mark.parametrize(("cells", "remembered"), [(4, True), (0, False)])
def test_a_result_is_taken_though_there_is_no_room_to_remember_it(cells: int, remembered: bool) -> None:
    """A rule that asks for it will not find it: that denies, and never the other way round."""
    office = Office.opened(bounds=TenantLimits(cells=cells))
    world = office.world
    world.publish_policy({"policy_id": "tool:pay", "sequence": [after("tool:calc/run") | {"when": "tool:pay"}]})
    called = office.call()

    assert world.report(called.decision_leaf, office.tool).says == ("accepted", "")
    assert bool(world.tables.cells.rows) is remembered


def test_rates_and_rules_remember_as_much_as_they_may() -> None:
    """The last row of a share has room, the next one none; somebody else's has."""
    office = Office.opened(bounds=TenantLimits(buckets=8, cells=8))
    tables, cell = office.world.tables, Cell(0, 1, NOTHING, 0, 1)

    def allowed(name: bytes, payer: str = "bot\n\n", **effects: Any) -> None:
        charged: dict[str, Any] = {"buckets": ((name, 1),), "cells": (Write(name, cell),)}
        verdict = Verdict(Outcome.ALLOWED, effects=Consequences(**(effects or charged)))
        charge(tables, verdict, office.session.kid, payer)

    allowed(b"bot\0first")
    allowed(b"bot\0last")
    with pytest.raises(Refusal, match="the share of bot is full: at most 2 rows of buckets"):
        allowed(b"bot\0more", buckets=((b"bot\0more", 1),))
    with pytest.raises(Refusal, match="the share of bot is full: at most 2 rows of cells"):
        allowed(b"bot\0more", cells=(Write(b"more", cell),))
    allowed(b"other\0first", "other\n\n")


def test_a_call_matters_to_so_many_rules_at_most(office: Office) -> None:
    """What it leaves for them stands in its row until it ends."""

    def marks(count: int) -> bytes | None:
        left = tuple(Mark(bytes([at]) * 32, None if at % 2 else at) for at in range(count))
        verdict = Verdict(Outcome.ALLOWED, effects=Consequences(marks=left))
        return settle(office.world.tables, verdict, office.session.kid, "bot\n\n")

    assert marks(0) is None
    assert len(marks(limits.MARKS_PER_CALL_MAX) or b"") == 40 * limits.MARKS_PER_CALL_MAX
    with pytest.raises(Refusal, match=f"at most {limits.MARKS_PER_CALL_MAX} sequence rules"):
        marks(limits.MARKS_PER_CALL_MAX + 1)


# ---- publications


def test_a_publication_has_so_many_documents_and_as_many_previous_digests(office: Office) -> None:
    """None is no publication; all of them, or none, are put into force."""

    def said(count: int, previous: int, by: Actor = office.world.admin) -> str:
        texts = tuple(json.dumps({"policy_id": f"tool:n{at}"}) for at in range(count))
        return office.world.send(PolicyPublished(documents=texts, previous=(None,) * previous), by).says[1]

    most = limits.DOCUMENTS_PER_EVENT_MAX
    assert [said(0, 0), said(most + 1, most + 1), said(2, 1), said(1, 2)] == ["LIMIT_EXCEEDED"] * 4
    assert set(office.world.tables.policies.rows) == {b"agent:bot"}
    assert (said(1, 1), said(most, most)) == ("", "E_CONFLICT")
    office.world.withdraw_policy("tool:n0")
    assert said(most, most) == ""


def test_a_tenant_has_as_many_policies_as_it_may() -> None:
    """The last has room; a publication that goes beyond puts none into force."""
    office = Office.opened(bounds=TenantLimits(policies=2))
    world = office.world

    world.publish_policy({"policy_id": "tool:a"})
    refused = world.send(world.publication({"policy_id": "tool:b"}), world.admin)

    assert refused.says == ("refused", "LIMIT_EXCEEDED")
    assert set(world.tables.policies.rows) == {b"agent:bot", b"tool:a"}
    assert isinstance(world.tables.policies.rows[b"tool:a"], PolicyRow)
