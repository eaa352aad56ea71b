"""Freeze: from the next record on no call begins, also one that has waited, and an administrator can always thaw."""

from __future__ import annotations

import pytest

from schemas.events.workflow import ContextRead
from schemas.records import SessionClosed
from tests.builders import keys_of
from tests.enforcing_world import Enforcing, seen
from tests.verifiers_world import Judging
from tests.workflow_world import ANYTHING, CHECK, PAY, attests, reply

REFUND = "tool:bank/refund"
FREEZES = [("tenant", ""), ("principal", "bot"), ("principal", "BOT"), ("principal", "bank"), ("resource", PAY)]


@pytest.mark.parametrize(("scope", "name"), [*FREEZES, ("resource", "tool:*/pay"), ("resource", "tool:BANK/**")])
def test_no_call_begins_from_the_next_record_on(scope: str, name: str) -> None:
    world = Enforcing.now("frozen")
    assert seen(world.pay()) == ("allowed", "", None)
    world.sets("freeze", scope, name)
    decision = world.is_denied("FROZEN", world.pay)
    assert decision.observed is None
    world.sets("freeze", scope, name, on=False)
    assert seen(world.pay()) == ("allowed", "", None)


def test_other_principals_and_resources_go_on() -> None:
    world = Enforcing.now("others")
    other = world.register("agent", "other")
    session = world.open_session(other)
    world.publish_policy({"policy_id": "agent:other", **ANYTHING})
    world.sets("freeze", "principal", "other")
    assert seen(world.pay())[0] == "allowed"
    assert seen(world.pay(by=session)) == ("denied", "FROZEN", None)
    world.sets("freeze", "resource", REFUND)
    assert seen(world.pay())[0] == "allowed"
    assert seen(world.call(world.bot, REFUND)) == ("denied", "FROZEN", None)


@pytest.mark.parametrize(("scope", "name"), FREEZES)
def test_freeze_wins_over_observe_and_break_glass(scope: str, name: str) -> None:
    world = Enforcing.now("wins")
    world.sets("observe")
    ann = world.person("ann", "clerk")
    world.opens(PAY, "user:ann")
    world.sets("freeze", scope, name)
    assert seen(world.pay()) == ("denied", "FROZEN", None)
    if name.lower() != "bot":
        assert seen(world.pay(by=ann)) == ("denied", "FROZEN", None)


@pytest.mark.parametrize(("scope", "name"), FREEZES)
def test_an_approval_that_races_a_freeze_begins_nothing(scope: str, name: str) -> None:
    """The order of the log decides: the freeze came first, so the call ends denied, and a later thaw begins nothing."""
    world = Enforcing.now("race")
    world.require("boss", approval_criteria="role:manager", timeout=600)
    carol = world.person("carol", "manager")
    asked = world.pay()
    assert seen(asked)[0] == "pending"
    world.sets("freeze", scope, name)
    approval = world.approve(carol, asked, "boss")
    if scope == "tenant":  # nobody approves in a frozen tenant, and the call waits on
        assert approval.says == ("refused", "FROZEN")
        assert not world.finals(asked.entry.event)
    else:
        assert (world.final(asked).outcome, world.final(asked).reason) == ("denied", "FROZEN")
    assert not world.tables.calls.rows
    world.sets("freeze", scope, name, on=False)
    if scope == "tenant":
        world.approve(carol, asked, "boss")
        assert world.final(asked).outcome == "allowed"
    else:
        assert approval.says == ("accepted", "")
        assert world.approve(carol, asked, "boss").says[0] == "refused"


def test_an_approval_before_the_freeze_has_begun_its_call() -> None:
    world = Enforcing.now("before")
    world.require("boss", approval_criteria="role:manager", timeout=600)
    carol = world.person("carol", "manager")
    asked = world.pay()
    world.approve(carol, asked, "boss")
    world.sets("freeze")
    assert world.final(asked).outcome == "allowed"


def test_a_call_that_waits_for_verdicts_does_not_begin() -> None:
    class Both(Enforcing, Judging):
        pass

    world = Both.with_judge("frozen-judge")
    assert isinstance(world, Enforcing)
    asked = world.pay()
    assert seen(asked)[:2] == ("pending", "VERDICT_PENDING")
    world.sets("freeze", "resource", PAY)
    world.judged(asked)
    assert (world.final(asked).outcome, world.final(asked).reason) == ("denied", "FROZEN")


def test_a_frozen_delegator_and_a_frozen_caller_around_stop_the_call() -> None:
    world = Enforcing.now("around")
    ann = world.person("ann", "clerk")
    world.publish_policy({"policy_id": "user:ann", **ANYTHING}, {"policy_id": "agent:tool:desk", **ANYTHING})
    leaf = world.grant_to(ann, "bot").entry.event
    assert seen(world.pay(on_behalf_of=leaf))[0] == "allowed"
    desk = world.open_session(world.desk)
    outer = world.call(world.bot, CHECK)
    world.sets("freeze", "principal", "user:ann")
    assert seen(world.pay(on_behalf_of=leaf)) == ("denied", "FROZEN", None)
    assert seen(world.pay())[0] == "allowed"
    world.sets("freeze", "principal", "bot")
    assert seen(world.call(desk, PAY, causation_id=outer.entry.event)) == ("denied", "FROZEN", None)
    world.sets("freeze", "principal", "desk")
    assert seen(world.pay(by=desk)) == ("denied", "FROZEN", None)


def test_a_frozen_principal_gives_nothing_to_others() -> None:
    world = Enforcing.now("gives")
    world.require("boss", approval_criteria="role:manager", timeout=600)
    carol = world.person("carol", "manager")
    asked = world.pay()
    world.sets("freeze", "principal", "user:carol")
    world.is_refused("FROZEN", lambda: world.approve(carol, asked, "boss"))
    world.is_refused("FROZEN", lambda: world.grant_to(carol, "bot"))
    world.is_refused("FROZEN", lambda: world.put(carol, "k", 1))
    world.is_refused("FROZEN", lambda: world.get(carol, "k"))
    assert world.send(SessionClosed(reason=""), carol).says == ("accepted", "")


def test_a_frozen_delegator_stops_the_vault_too() -> None:
    world = Enforcing.now("vault-delegator")
    ann = world.person("ann", "clerk")
    world.publish_policy({"policy_id": "user:ann", **ANYTHING})
    leaf = world.grant_to(ann, "bot", resources=["vault:**"]).entry.event
    read = ContextRead(scope="team", key="k")
    reply(world.put(world.bot, "k", 1, scope="team", on_behalf_of=leaf))
    reply(world.send(read, world.bot, on_behalf_of=leaf))
    world.sets("freeze", "principal", "USER:ann")
    world.is_refused("FROZEN", lambda: world.put(world.bot, "k", 2, scope="team", on_behalf_of=leaf))
    world.is_refused("FROZEN", lambda: world.send(read, world.bot, on_behalf_of=leaf))
    assert reply(world.get(world.bot, "k", scope="team"))["value"] == 1


@pytest.mark.parametrize("pattern", ["vault:**", "VAULT:team/**", "vault:team/*/k", "**"])
def test_a_frozen_resource_of_the_vault_is_neither_read_nor_written(pattern: str) -> None:
    world = Enforcing.now("vault")
    reply(world.put(world.bot, "k", 1, scope="team"))
    world.sets("freeze", "resource", pattern)
    for act in (
        lambda: world.put(world.bot, "k", 2, scope="team"),
        lambda: world.get(world.bot, "k", scope="team"),
        lambda: world.drop(world.bot, "k", scope="team"),
    ):
        world.is_refused("FROZEN", act)
    world.sets("freeze", "resource", pattern, on=False)
    assert reply(world.get(world.bot, "k", scope="team"))["value"] == 1


def test_a_call_that_was_allowed_before_ends_by_its_report() -> None:
    """The host may begin it until its `execute_before`; its report counts, so that the log has its outcome."""
    world = Enforcing.now("open")
    call = world.pay()
    (decision,) = call.decisions
    assert decision.execute_before is not None
    assert decision.execute_before - decision.decided_at <= 60_000
    world.sets("freeze")
    assert world.report(call.decision_leaf, world.bank).says == ("accepted", "")


@pytest.mark.parametrize(("scope", "name"), [("principal", "desk"), ("tenant", "")])
def test_a_frozen_tools_report_is_taken_and_attests_nothing(scope: str, name: str) -> None:
    world = Enforcing.now("report")
    call = world.call(world.bot, CHECK)
    world.sets("freeze", scope, name)
    beside = world.attest(world.desk, world.bot, "checked", decision=call.decision_leaf)
    assert beside.says == ("refused", "FROZEN")
    assert world.report(call.decision_leaf, world.desk, attestations=(attests("checked"),)).says == ("accepted", "")
    assert not world.tables.attestations.rows


@pytest.mark.parametrize(("scope", "name"), [("principal", "desk"), ("tenant", "")])
def test_a_frozen_tools_report_satisfies_no_after(scope: str, name: str) -> None:
    world = Enforcing.now("after")
    rule = {"id": "checked", "when": PAY, "after": {"resource": CHECK}}
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "sequence": [rule]})
    call = world.call(world.bot, CHECK)
    world.sets("freeze", scope, name)
    assert world.report(call.decision_leaf, world.desk).says == ("accepted", "")
    world.sets("freeze", scope, name, on=False)
    assert seen(world.pay()) == ("denied", "SEQUENCE_MISSING", None)
    world.report(world.call(world.bot, CHECK).decision_leaf, world.desk)
    assert seen(world.pay())[0] == "allowed"


def test_a_frozen_enrolment_key_bridge_or_verifier_says_nothing_of_others() -> None:
    class Both(Enforcing, Judging):
        pass

    world = Both.with_judge("says-of-others")
    assert isinstance(world, Enforcing)
    enrolment = world.register("enrolment", "enrol")
    asked = world.pay()
    for name in ("enrol", "bridge", "judge", "bot"):
        world.sets("freeze", "principal", name)
    world.refuses("FROZEN", world.registration("agent", "new"), enrolment)
    world.refuses("FROZEN", world.person_session(keys=keys_of("frozen", "person")), world.bridge)
    world.refuses("FROZEN", world.session_of(world.agent, keys=keys_of("frozen", "agent")), world.agent)
    world.refuses_verdict("FROZEN", asked)
    world.register("agent", "by-an-administrator")


def test_programs_log_in_and_register_in_a_frozen_tenant() -> None:
    """So that they are there after the thaw; their calls are denied."""
    world = Enforcing.now("log-in")
    world.sets("freeze")
    session = world.open_session(world.register("agent", "new"))
    world.person("ann", "clerk")
    assert seen(world.pay(by=session)) == ("denied", "FROZEN", None)


def test_an_administrators_events_count_in_a_frozen_tenant() -> None:
    """Also if somebody freezes the administrator's own name."""
    world = Enforcing.now("thaw")
    world.sets("freeze")
    world.sets("freeze", "principal", "admin")
    world.publish_policy({"policy_id": "agent:new", **ANYTHING})
    assert len(reply(world.ask(world.admin, "enforcement"))["enforcement"]) == 2
    world.sets("freeze", on=False)
    assert seen(world.pay())[0] == "allowed"
