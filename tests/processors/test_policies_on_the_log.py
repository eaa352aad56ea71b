"""Policies as events: put into force and out of it, and what decisions by them leave in the tables, exactly once."""

import json

import pytest

from processors.state.bounds import TenantLimits
from processors.state.tables import Tables
from schemas import codec, topics
from schemas.records import PolicyWithdrawn
from tests.builders import Folded, invocation, noise
from tests.world import Office, World

MINUTE_MS = 60_000


@pytest.fixture
def office() -> Office:
    """A tenant at work."""
    return Office.opened()


def said(folded: Folded) -> str:
    """Return the reason of a refusal, having looked that nothing else came of it."""
    assert folded.entry.outcome == "refused"
    assert {output.topic for output in folded.outputs} <= {topics.RESULTS, topics.AUDIT}
    return folded.entry.reason


def agents(**more: object) -> dict[str, object]:
    return {"policy_id": "agent:bot", "resources": ["tool:**"], **more}


def restored(tables: Tables, world: World) -> Tables:
    """Return tables as a worker has them that restarts from the changelog."""
    fresh = world.fresh_tables()
    for name, table in tables.by_name.items():
        for key, row in table.rows.items():
            fresh.by_name[name].restore(key, codec.decode_as(type(row), codec.frame(row)))
    fresh.resume_at(next_index=tables.next_index, prev=tables.prev, now=tables.now)
    return fresh


# ---- into force and out of it


def test_documents_of_one_event_may_extend_each_other_in_any_order(office):
    """All of them take effect, or none; the child's grant needs what its parent lists."""
    child, parent = agents(extends="skill:sums"), {"policy_id": "skill:sums", "resources": ["tool:calc/*"]}
    orphan = {"policy_id": "user:x", "extends": "gone"}

    assert said(office.world.send(office.world.publication(child, parent, orphan), office.world.admin)) == (
        "E_EXTENDS_UNKNOWN"
    )
    assert b"skill:sums" not in office.world.tables.policies.rows
    office.world.publish_policy(child, parent)
    assert office.call().says == ("allowed", "")
    assert len(office.call().decisions[0].policies) == 2
    assert office.world.call(office.session, "tool:other/run").says == ("denied", "RESOURCE_NOT_ALLOWED")


def test_a_new_version_of_a_parent_cannot_break_the_chains_that_end_in_it(office):
    """A circle and a chain of seventeen are refused wherever in the chain the new version stands."""
    world = office.world
    chain = [{"policy_id": "s:0"}, *({"policy_id": f"s:{at}", "extends": f"s:{at - 1}"} for at in range(1, 16))]
    world.publish_policy(*chain)

    def refused(*documents: dict[str, object]) -> str:
        return said(world.send(world.publication(*documents), world.admin))

    assert refused({"policy_id": "s:16", "extends": "s:15"}) == "E_EXTENDS_DEPTH"
    assert refused({"policy_id": "s:0", "extends": "s:15"}) == "E_EXTENDS_CYCLE"
    assert refused({"policy_id": "s:0", "extends": "s:0"}) == "E_EXTENDS_CYCLE"
    assert refused({"policy_id": "s:0", "extends": "t"}, {"policy_id": "t"}) == "E_EXTENDS_DEPTH"
    assert len(world.tables.policies.rows) == 17


def test_a_withdrawn_policy_judges_no_more(office):
    """From the next record on; who depends on it goes first; another version is not withdrawn by mistake."""
    world = office.world
    world.publish_policy({"policy_id": "skill:a", "resources": ["tool:**"]})
    world.publish_policy({"policy_id": "user:x", "extends": "skill:a"})
    stale = PolicyWithdrawn(policy_id="agent:bot", previous=noise("another version"))

    assert said(world.send(stale, world.admin)) == "E_CONFLICT"
    assert said(world.send(PolicyWithdrawn(policy_id="gone", previous=bytes(32)), world.admin)) == "E_CONFLICT"
    digest = world.tables.policies.rows[b"skill:a"].digest
    assert said(world.send(PolicyWithdrawn(policy_id="skill:a", previous=digest), world.admin)) == "E_DEPENDENTS"
    assert said(world.send(PolicyWithdrawn(policy_id="org:x", previous=digest), world.admin)) == "E_PREFIX_RESERVED"
    assert office.call().says == ("allowed", "")
    world.withdraw_policy("agent:bot")
    assert office.call().says == ("denied", "NO_POLICY")
    world.withdraw_policy("user:x")
    world.withdraw_policy("skill:a")
    assert not world.tables.policies.rows


def test_two_admins_at_once_lose_nothing(office):
    """Who comes second with what the first replaced is told so, and nothing of his event takes effect."""
    world = office.world
    mine, yours = world.publication(agents(name="mine")), world.publication(agents(name="yours"))

    assert world.send(mine, world.admin).says == ("accepted", "")
    assert said(world.send(yours, world.admin)) == "E_CONFLICT"
    assert json.loads(world.tables.policies.rows[b"agent:bot"].document)["name"] == "mine"


# ---- what comes with a call


def test_an_intent_narrows_its_call_and_never_grants(office):
    """It applies to this call only, with everything that the language has."""

    def call(*intents: dict[str, object] | str, resource: str = office.resource) -> tuple[str, str]:
        texts = [one if isinstance(one, str) else json.dumps(one) for one in intents]
        return office.world.send(invocation(resource, {"n": 5}, intents=texts), office.session).says

    assert call({"resources": ["tool:calc/*"], "purpose": "adding up"}) == ("allowed", "")
    assert call({"resources": ["tool:other/*"]}) == ("denied", "RESOURCE_NOT_ALLOWED")
    assert call({"constraints": {"parameters": {"n": {"max": 4}}}}) == ("denied", "PARAM_OUT_OF_RANGE")
    assert call({}, {"denied_resources": ["TOOL:CALC/*"]}) == ("denied", "RESOURCE_DENIED")
    assert call({"resources": ["**"]}, resource="data:x") == ("denied", "RESOURCE_NOT_ALLOWED")
    assert office.call().says == ("allowed", "")
    office.world.withdraw_policy("agent:bot")
    assert call({"resources": ["**"]}) == ("denied", "NO_POLICY")


@pytest.mark.parametrize(
    "intents",
    [
        ["read only"],
        ["{}", '{"resorces": []}'],
        ['{"extends": "skill:gone"}'],
        ["{}", "{}", "{}"],
        [json.dumps({"description": "x" * 9000})],
        [json.dumps({"resources": ["a"] * 40}), json.dumps({"resources": ["a"] * 40})],
        [json.dumps({"constraints": {"parameters": {"n": {"pattern": "a" * 129}}}})],
        [json.dumps({"constraints": {"parameters": {f"n{at}": {"pattern": "a"} for at in range(9)}}})],
    ],
    ids=["no JSON", "unknown member", "unknown parent", "three", "9 KB", "80 patterns", "long regex", "nine regexes"],
)
def test_a_faulty_intent_denies_its_call(office, intents):
    """What narrows and cannot be honoured is never dropped."""
    folded = office.world.send(invocation(office.resource, intents=intents), office.session)

    assert folded.says == ("denied", "POLICY_BROKEN")
    assert not office.world.tables.calls.rows


def test_an_intent_cannot_stand_for_a_published_policy(office):
    """Worded like the policy of another, id and all, it is still an intent: it does not grant, and has its own rate."""
    world = office.world
    world.publish_policy(agents(constraints={"rate_limit": 1}))
    text = world.tables.policies.rows[b"agent:bot"].document
    other = world.open_session(world.register("agent", "eve"))

    folded = world.send(invocation(office.resource, intents=[text]), other)
    assert folded.says == ("denied", "NO_POLICY")
    assert not world.tables.buckets.rows


def test_intents_share_a_bucket_at_the_lowest_of_their_rates(office):
    """The bucket is the session's, whichever intent comes first and whatever else they say."""
    rates = [json.dumps({"constraints": {"rate_limit": rate}}) for rate in (1000, 1)]

    for intents in (rates, rates[::-1]):
        office.world.advance(2 * MINUTE_MS)
        calls = [office.world.send(invocation(office.resource, intents=intents), office.session) for _ in range(2)]
        assert [folded.says for folded in calls] == [("allowed", ""), ("denied", "RATE_LIMITED")]
        assert len(office.world.tables.buckets.rows) == 1
    assert office.call().says == ("allowed", "")


# ---- rates


def test_a_rate_limit_runs_on_log_time(office):
    """Two at once, then one each half minute; the denial says when to try again."""
    office.world.publish_policy(agents(constraints={"rate_limit": 2}))

    assert [office.call().says[0] for _ in range(3)] == ["allowed", "allowed", "denied"]
    office.world.advance(29_999)
    folded = office.call()
    assert folded.says == ("denied", "RATE_LIMITED")
    assert folded.decisions[0].detail == "/constraints/rate_limit retry_after_ms=1"
    office.world.advance(1)
    assert [office.call().says[0] for _ in range(2)] == ["allowed", "denied"]


def test_a_denied_call_costs_nothing(office):
    """Whatever denies it, also after the rate was looked at: a tool that is gone, a bound that is reached."""
    world = office.world
    world.publish_policy(agents(constraints={"rate_limit": 1, "parameters": {"n": [1]}}))

    assert office.call({"n": 2}).says == ("denied", "PARAM_NOT_ALLOWED")
    assert world.call(office.session, "tool:gone/run").says == ("denied", "TOOL_UNAVAILABLE")
    assert not world.tables.buckets.rows
    assert office.call({"n": 1}).says == ("allowed", "")
    assert len(world.tables.buckets.rows) == 1


def test_each_principal_has_a_bucket_and_a_new_version_or_session_does_not_reset_it(office):
    """Whoever has spent the rate has spent it, under any session, until log time gives it back."""
    world = office.world
    world.publish_policy(agents(), {"policy_id": "tool:calc", "constraints": {"rate_limit": 1}})
    eve = world.register("agent", "eve")
    world.publish_policy({"policy_id": "agent:eve", "resources": ["**"]})

    assert office.call().says == ("allowed", "")
    assert world.call(world.open_session(eve), office.resource).says == ("allowed", "")
    world.publish_policy({"policy_id": "tool:calc", "name": "anew", "constraints": {"rate_limit": 1}})
    assert world.call(world.open_session(office.agent), office.resource).says == ("denied", "RATE_LIMITED")


def test_an_aborted_transaction_and_a_restart_charge_exactly_once(office):
    """What was folded twice was charged once; a worker that restarts from the changelog goes on where it was."""
    world = office.world
    world.publish_policy(agents(constraints={"rate_limit": 3}))
    office.call()
    world.tables.commit()
    before = world.rows()
    value, headers = world.signed(invocation(office.resource), office.session)

    for _ in range(3):
        assert world.attempt(value, headers).says == ("allowed", "")
        assert world.rows() == before
    assert world.fold(value, headers).says == ("allowed", "")
    again = restored(world.tables, world)
    for tables in (world.tables, again):
        outcomes = [world.fold_into(tables, r).says for r in world.records[-1:]]
        assert outcomes == [("refused", "DUPLICATE")]
    assert again.buckets.rows == world.tables.buckets.rows
    third, fourth = (world.signed(invocation(office.resource), office.session) for _ in range(2))
    for tables in (world.tables, again):
        world.offset += 1
        assert world.fold_into(tables, world.receive(*third)).says == ("allowed", "")
        assert world.fold_into(tables, world.receive(*fourth)).says == ("denied", "RATE_LIMITED")


def test_a_bucket_at_rest_leaves(office):
    """Within two minutes of the last call nothing is left of its rate."""
    office.world.publish_policy(agents(constraints={"rate_limit": 1}))
    office.call()
    assert office.world.tables.buckets.rows

    office.world.advance(2 * MINUTE_MS)
    office.world.tick()
    assert not office.world.tables.buckets.rows
    assert office.call().says == ("allowed", "")


@pytest.mark.parametrize("bounds", [{"buckets": 0}, {"cells": 0}], ids=["rates", "rules"])
def test_what_policies_remember_is_bounded(bounds):
    """Above the bounds calls that would add to it are denied, and leave nothing."""
    office = Office.opened(bounds=TenantLimits(**bounds))
    rules = [{"id": "once", "when": "**", "at_most": 1, "per": "user"}]
    office.world.publish_policy(agents(constraints={"rate_limit": 1}, sequence=rules))

    assert office.call().says == ("denied", "LIMIT_EXCEEDED")
    assert (len(office.world.tables.buckets), len(office.world.tables.cells)) == (0, 0)


# ---- sequences


PAYING = {
    "policy_id": "tool:pay",
    "sequence": [
        {"id": "checked", "when": "tool:pay/**", "after": {"resource": "tool:calc/run", "same": [["to",
        "who"]], "within": 60}},
        {"id": "sum", "when": "tool:pay/**", "sum": "amount", "max": 100, "per": "user", "window": "day"},
        {"id": "clean", "when": "tool:pay/**", "tainted_by": "tool:web/*"},
    ],
}  # fmt: skip


def test_a_call_may_have_to_come_after_another_that_ended_well(office):
    """The other must have been reported ok, in this session, about the same person, not too long ago."""
    world = office.world
    world.register("tool", "pay")
    world.publish_policy(PAYING)

    def pay(to: str = "bob", amount: object = 10) -> tuple[str, str]:
        return world.call(office.session, "tool:pay/run", {"to": to, "amount": amount}).says

    assert pay() == ("denied", "SEQUENCE_MISSING")
    checked = office.call({"who": "bob"})
    assert pay() == ("denied", "SEQUENCE_MISSING")
    world.report(checked.decision_leaf, office.tool)
    assert pay("eve") == ("denied", "SEQUENCE_MISSING")
    assert pay() == ("allowed", "")
    assert pay(amount=91) == ("denied", "SEQUENCE_TOTAL")
    assert pay(amount="90") == ("denied", "SEQUENCE_TOTAL")
    assert pay(amount=90) == ("allowed", "")
    failed = office.call({"who": "eve"})
    world.report(failed.decision_leaf, office.tool, outcome="failed")
    assert pay("eve", 0) == ("denied", "SEQUENCE_MISSING")
    world.advance(MINUTE_MS)
    assert pay(amount=0) == ("denied", "SEQUENCE_MISSING")


def test_a_session_is_tainted_once_a_tainting_call_was_allowed(office):
    """Whatever became of it; other sessions are clean, and it is not forgotten when a worker restarts."""
    world = office.world
    web = world.register("tool", "web")
    world.register("tool", "pay")
    world.publish_policy({"policy_id": "tool:pay", "sequence": [PAYING["sequence"][2]]})

    assert world.call(office.session, "tool:pay/run").says == ("allowed", "")
    folded = world.call(office.session, "tool:web/run")
    world.report(folded.decision_leaf, web, outcome="failed")
    assert world.call(office.session, "tool:pay/run").says == ("denied", "SEQUENCE_TAINT")
    assert world.call(world.open_session(office.agent), "tool:pay/run").says == ("allowed", "")
    again = restored(world.tables, world)
    value, headers = world.signed(invocation("tool:pay/run"), office.session)
    assert world.fold_into(again, world.receive(value, headers)).says == ("denied", "SEQUENCE_TAINT")


def test_a_rule_that_can_never_judge_a_caller_remembers_nothing_of_him(office):
    """Rules of others' policies leave no rows behind; those that a resource's policies lead to do."""
    rules = {"sequence": [{"id": "t", "when": "**", "tainted_by": "**"}]}
    office.world.publish_policy({"policy_id": "user:other", **rules}, {"policy_id": "team:x", **rules})
    office.call()
    assert not office.world.tables.cells.rows

    office.world.publish_policy({"policy_id": "tool:elsewhere", "extends": "team:x"})
    office.call()
    assert len(office.world.tables.cells.rows) == 1


# ---- what nobody can give yet


def test_a_call_that_people_must_approve_waits_and_is_charged(office):
    """A request costs, or approvers could be flooded; what is missing without people denies."""
    office.world.publish_policy(agents(constraints={"require_approval": True, "rate_limit": 1}))

    assert office.call().says == ("pending", "APPROVAL_PENDING")
    assert len(office.world.tables.buckets.rows) == len(office.world.tables.pending.rows) == 1
    assert office.call().says == ("denied", "RATE_LIMITED")
    office.world.publish_policy(agents(attestations=["scanned"]))
    assert office.call().says == ("denied", "ATTESTATION_MISSING")


def test_a_bad_name_is_told_before_bad_parameters(office):
    """The earlier code wins (docs/mapl.md 12)."""
    assert office.world.call(office.session, "tool:a/../b", "{").says == ("denied", "RESOURCE_INVALID")
