"""Attacks with calls within calls: rights that were there once, and calls that were left behind."""

import pytest

from schemas import limits
from schemas.events.attributes import Attributes
from tests.offers_world import LOOK, Offers, call_of
from tests.workflow_world import ANYTHING, PAY, declared
from tests.world import HOUR_MS


@pytest.fixture
def world() -> Offers:
    made = Offers.opened()
    made.publish_policy(
        {"policy_id": "role:manager", **ANYTHING},
        {"policy_id": "role:payer", **ANYTHING},
        {"policy_id": "service:app", **ANYTHING, "attestations": [f"ok::{{tool.id == '{PAY}'}}"],
         "constraints": {"attestations": {"ok": {"approval_criteria": ["role:manager"], "timeout": 600}}}},
    )  # fmt: skip
    return made


@pytest.mark.parametrize("way", ["reported", "gone", "caller closed", "silent", "forbidden"])
def test_a_waiting_inner_call_does_not_outlive_what_it_stands_in(world, way):
    """It is approved later, when its outer call, its instance or its caller is gone, or may not do it any more."""
    one = world.instance(world.app, declared(LOOK, timeout_ms=HOUR_MS))
    mia = world.person("mia", "manager")
    outer = call_of(world, world.bot, LOOK)
    inner = world.within(outer, one.session, PAY, {"amount": 1})
    assert inner.says == ("pending", "APPROVAL_PENDING")
    match way:
        case "reported":
            one.report(outer.decision_leaf)
        case "gone":
            world.close(one.session)
        case "caller closed":
            world.close(world.bot)
        case "silent":
            world.advance(limits.PRESENCE_MS)
        case _:
            world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "denied_resources": [PAY]})
    world.approve(mia, inner, "ok")
    world.tick()
    finals = world.finals(inner.entry.event)
    assert [one.outcome for one in finals] == ["denied"]


def test_a_revoked_delegation_of_a_caller_ends_the_calls_within(world):
    alice = world.person("alice", "payer")
    leaf = world.grant_to(alice, "bot", resources=["**"]).entry.event
    one = world.instance(world.other, "tool:other/x")
    outer = call_of(world, world.bot, "tool:other/x", on_behalf_of=leaf)
    assert world.within(outer, one.session, PAY, {"amount": 1}).says == ("allowed", "")
    world.revoke_delegation(alice, leaf)
    assert world.within(outer, one.session, PAY, {"amount": 1}).says == ("denied", "DELEGATION_REVOKED")


def test_a_principal_that_is_bound_to_calls_finds_no_way_around(world):
    """Not by a call of its own, not by an outer call that has ended, not with a delegation."""
    bound = world.register("service", "bound", only_within_calls=True, attributes=Attributes(offers=("tool:bound/*",)))
    world.publish_policy({"policy_id": "service:bound", **ANYTHING})
    one, two = (world.instance(bound, "tool:bound/x") for _ in range(2))
    assert call_of(world, one.session, "tool:bound/x", target=two.id).says == ("denied", "ONLY_WITHIN_CALLS")
    outer = call_of(world, world.bot, "tool:bound/x", target=one.id)
    again = world.within(outer, one.session, "tool:bound/x", target=two.id)
    assert again.decisions[0].subjects == ("bound", "bot")
    one.report(outer.decision_leaf)
    world.close(world.bot)
    assert world.within(outer, one.session, PAY, {"amount": 1}).says == ("denied", "PARENT_CALL")
    assert world.within(again, two.session, PAY, {"amount": 1}).says == ("denied", "PARENT_CALL")
    alice = world.person("alice", "payer")
    leaf = world.grant_to(alice, "bound", resources=["**"]).entry.event
    assert world.call(two.session, PAY, {"amount": 1}, on_behalf_of=leaf).says == ("denied", "ONLY_WITHIN_CALLS")


def test_nobody_between_the_ends_of_a_line_approves_for_a_later_one(world):
    """A grant names the ends alone; who stands between, in the call that uses it, has no part in its approval."""
    world.publish_policy(
        {"policy_id": "service:app", **ANYTHING, "attestations": [f"ok::{{tool.id == '{PAY}'}}"],
         "constraints": {"attestations": {"ok": {"approval_criteria": ["role:manager"], "timeout": 600,
                                                 "one_time": False, "time_to_live": 600}}}},
    )  # fmt: skip
    app = world.instance(world.app, declared(LOOK, timeout_ms=HOUR_MS))
    mia, eve = world.person("mia", "manager"), world.person("eve", "manager")
    first = call_of(world, mia, LOOK)
    asked = world.within(first, app.session, PAY, {"amount": 1})
    assert asked.says[0] == "pending"
    assert world.approve(mia, asked, "ok").says == ("refused", "APPROVER_IS_REQUESTER")
    world.approve(eve, asked, "ok")
    assert [one.outcome for one in world.finals(asked.entry.event)] == ["allowed"]
    mine = call_of(world, eve, LOOK)
    assert world.within(mine, app.session, PAY, {"amount": 2}).says[0] != "allowed"
