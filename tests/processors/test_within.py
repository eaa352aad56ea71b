"""Calls within calls: an inner call has at most the rights of everybody around it together."""

import pytest

from schemas import limits
from schemas.events.attributes import Attributes
from tests.offers_world import LOOK, Offers, call_of
from tests.workflow_world import ANYTHING, PAY


@pytest.fixture
def world() -> Offers:
    return Offers.opened()


def test_everybody_around_a_call_must_be_allowed_it(world):
    """The bot may look but not pay; the app, which may pay, does not pay for it."""
    one = world.instance(world.app, LOOK)
    outer = call_of(world, world.bot, LOOK)
    assert world.within(outer, one.session, PAY, {"amount": 1}).says == ("allowed", "")
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "denied_resources": [PAY]})
    inner = world.within(outer, one.session, PAY, {"amount": 1})
    assert inner.says == ("denied", "RESOURCE_DENIED")
    assert world.call(one.session, PAY, {"amount": 1}).says == ("allowed", "")  # in its own name, as the log shows


def test_the_decision_names_everybody_around(world):
    one = world.instance(world.app, LOOK)
    outer = call_of(world, world.bot, LOOK)
    (decision,) = world.within(outer, one.session, PAY, {"amount": 1}).decisions
    assert decision.subjects == ("app", "bot")


def test_a_person_behind_the_outer_call_binds_the_inner_one(world):
    """Through a delegation too: what was delegated to the caller bounds the tool's own calls."""
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    alice = world.person("alice", "payer")
    leaf = world.grant_to(alice, "bot", resources=[LOOK]).entry.event
    one = world.instance(world.app, LOOK)
    outer = call_of(world, world.bot, LOOK, on_behalf_of=leaf)
    assert outer.says == ("allowed", "")
    assert world.within(outer, one.session, PAY, {"amount": 1}).says == ("denied", "DELEGATION_SCOPE")
    wide = world.grant_to(alice, "bot", resources=["**"]).entry.event
    outer = call_of(world, world.bot, LOOK, on_behalf_of=wide)
    (decision,) = world.within(outer, one.session, PAY, {"amount": 1}).decisions
    assert (decision.outcome, set(decision.subjects)) == ("allowed", {"app", "user:alice", "bot"})


def test_whoever_is_around_a_call_does_not_approve_it(world):
    """Separation of duties counts everybody behind the call."""
    world.publish_policy(
        {"policy_id": "role:manager", **ANYTHING},
        {"policy_id": "service:app", **ANYTHING, "attestations": [f"ok::{{tool.id == '{PAY}'}}"],
         "constraints": {"attestations": {"ok": {"approval_criteria": ["role:manager"], "timeout": 600}}}},
    )  # fmt: skip
    mallory = world.person("mallory", "manager")
    one = world.instance(world.app, LOOK)
    outer = call_of(world, mallory, LOOK)
    inner = world.within(outer, one.session, PAY, {"amount": 1})
    assert inner.says == ("pending", "APPROVAL_PENDING")
    assert world.approve(mallory, inner, "ok").says == ("refused", "APPROVER_IS_REQUESTER")


def test_a_cause_that_does_not_hold_denies(world):
    """Without it the call would have more rights than its caller: a stranger's call, an ended one, a denied one."""
    one, twin = world.instance(world.app, LOOK), world.instance(world.app, LOOK)
    outer = call_of(world, world.bot, LOOK, target=one.id)
    assert world.within(outer, twin.session, PAY, {"amount": 1}).says == ("denied", "PARENT_CALL")
    assert world.within(outer, world.bot, PAY, {"amount": 1}).says == ("denied", "PARENT_CALL")
    one.report(outer.decision_leaf)
    assert world.within(outer, one.session, PAY, {"amount": 1}).says == ("denied", "PARENT_CALL")
    denied = call_of(world, world.bot, LOOK, target=bytes(32))
    assert world.within(denied, one.session, PAY, {"amount": 1}).says == ("denied", "PARENT_CALL")


def test_a_caller_that_has_gone_ends_the_calls_within_its_own(world):
    one = world.instance(world.app, LOOK)
    outer = call_of(world, world.bot, LOOK)
    world.close(world.bot)
    assert world.within(outer, one.session, PAY, {"amount": 1}).says == ("denied", "PARENT_CALL")


def test_a_registered_tools_session_calls_within_its_calls_too(world):
    world.publish_policy({"policy_id": "app:tool/bank", **ANYTHING}, {"policy_id": "agent:tool/bank", **ANYTHING})
    session = world.open_session(world.bank)
    outer = world.pay()
    world.instance(world.app, LOOK)
    inner = world.within(outer, session, LOOK)
    assert inner.decisions[0].subjects == ("bank", "bot")
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "denied_resources": [LOOK]})
    assert world.within(outer, session, LOOK).says == ("denied", "RESOURCE_DENIED")


def test_calls_stand_around_each_other_up_to_the_bound(world):
    """24 and more; then a clear refusal, so that a loop of agents ends."""
    one, two = world.instance(world.app, LOOK), world.instance(world.other, "tool:other/x")
    outer, depth = call_of(world, world.bot, LOOK), 1
    while True:
        by, resource = (one, "tool:other/x") if depth % 2 else (two, LOOK)
        inner = world.within(outer, by.session, resource)
        if inner.says[0] != "allowed":
            break
        outer, depth = inner, depth + 1
    assert inner.says == ("denied", "LIMIT_EXCEEDED")
    assert depth == limits.CALLERS_MAX >= 24


def test_a_principal_bound_to_calls_calls_nowhere_else(world):
    bound = world.register("service", "bound", only_within_calls=True, attributes=Attributes(offers=("tool:bound/*",)))
    world.publish_policy({"policy_id": "service:bound", **ANYTHING})
    one = world.instance(bound, "tool:bound/x")
    assert world.call(one.session, PAY, {"amount": 1}).says == ("denied", "ONLY_WITHIN_CALLS")
    outer = call_of(world, world.bot, "tool:bound/x")
    assert world.within(outer, one.session, PAY, {"amount": 1}).says == ("allowed", "")


@pytest.mark.parametrize("role", ["approver", "bridge", "enrolment", "monitor", "attester"])
def test_a_role_that_never_calls_is_not_bound_to_calls(world, role):
    body = world.registration(role, "x", only_within_calls=True)
    assert world.send(body, world.admin).says == ("refused", "NOT_SUPPORTED")


def test_a_report_of_the_inner_call_goes_to_the_instance_that_asked(world):
    one, two = world.instance(world.app, LOOK), world.instance(world.other, "tool:other/x")
    outer = call_of(world, world.bot, LOOK)
    inner = world.within(outer, one.session, "tool:other/x")
    (result,) = two.report(inner.decision_leaf).results
    assert result.to == one.id
    (result,) = one.report(outer.decision_leaf).results
    assert result.to == world.bot.kid
