"""Actors of a login and workloads: each actor is a further subject of every call, and a workload is a service."""

from typing import Any

import pytest

from processors.identity.delegations import chain_of
from processors.policy.decide import Circumstances, decide, index_policies
from processors.policy.resolve import Subject
from schemas.events.attributes import NONE, Attributes
from tests.builders import Actor, Folded, keys_of
from tests.processors.test_logins import CI, PARTNER
from tests.processors.test_providers import ACME, distrusted, following, trust, trusted
from tests.workflow_world import ANYTHING, PAY, Workflow, reply
from tests.world import HOUR_MS

ALICE, BUILD, BOT = "user:alice", "workload:ci/build", "workload:ci/bot"
PAYS = {"resources": [PAY]}
KEY = "boss"


@pytest.fixture
def world() -> Workflow:
    """Analysts may call anything, and so may the workload `bot`; the workload `build` may pay."""
    world = Workflow.opened("actors")
    world.gate = trust(world, trusted(), PARTNER, CI)
    world.publish_policy({"policy_id": "role:analyst", **ANYTHING}, {"policy_id": f"service:{BOT}", **ANYTHING})
    world.publish_policy({"policy_id": f"service:{BUILD}", **PAYS})
    return world


def opening(world: Workflow, name: str = ALICE, *actors: str, keys: Any = None, **more: Any) -> Any:
    issuer = CI.issuer if name.startswith("workload:") else ACME
    roles = ("analyst",) if issuer == ACME else ()
    said = {"issuer": issuer, "attributes": Attributes(company="Acme", roles=roles), "actors": actors, **more}
    return world.provided_session(name, world.gate, keys=keys or keys_of("login", world.draw()), **said)


def logs_in(world: Workflow, name: str = ALICE, *actors: str, **more: Any) -> Actor:
    """Open a session of a provider's principal, its login made by `actors`, and return it."""
    keys = keys_of("login", world.draw())
    folded = world.send(opening(world, name, *actors, keys=keys, **more), world.gate)
    assert folded.says == ("accepted", ""), folded.results
    return Actor("session", name, keys)


def said(folded: Folded) -> tuple[str, str, tuple[str, ...]]:
    [decision] = folded.decisions
    return decision.outcome, decision.reason, decision.subjects


# --- actors


def test_each_actor_must_pass_and_stands_in_the_decision(world):
    """The subject first, the nearest actor last; the log shows in whose hands a token was."""
    through = logs_in(world, ALICE, BOT, BUILD)

    assert said(world.pay(by=through)) == ("allowed", "", (ALICE, BUILD, BOT))
    denied = world.call(through, "tool:bank/refund")
    assert said(denied) == ("denied", "RESOURCE_NOT_ALLOWED", (ALICE, BUILD, BOT))
    assert said(world.call(logs_in(world), "tool:bank/refund")) == ("allowed", "", ())
    assert world.tables.sessions.rows[through.kid].actors == (BOT, BUILD)


@pytest.mark.parametrize("denied", [BUILD, BOT])
def test_an_actor_that_is_denied_ends_the_call(world, denied):
    """However far from the subject it stands, and whatever the subject may do."""
    through = logs_in(world, ALICE, BOT, BUILD)
    world.publish_policy({"policy_id": f"service:{denied}", **ANYTHING, "denied_resources": [PAY]})

    assert said(world.pay(by=through))[:2] == ("denied", "RESOURCE_DENIED")
    assert world.pay(by=logs_in(world)).says == ("allowed", "")


def test_a_subject_that_is_denied_gains_nothing_by_its_actors(world):
    """Actors narrow, and never widen."""
    through = logs_in(world, ALICE, BOT, attributes=NONE)
    assert said(world.pay(by=through))[:2] == ("denied", "NO_POLICY")


def test_an_actor_without_policies_may_nothing(world):
    """Empty means no, for each of them."""
    assert said(world.pay(by=logs_in(world, ALICE, "workload:ci/new")))[:2] == ("denied", "NO_POLICY")


def test_a_person_who_acts_is_judged_by_the_newest_login(world):
    """Nothing is known of a person before; then it is the role of today."""
    through = logs_in(world, ALICE, "user:bob")
    assert said(world.pay(by=through))[:2] == ("denied", "NO_POLICY")
    logs_in(world, "user:bob")
    assert said(world.pay(by=through)) == ("allowed", "", (ALICE, "user:bob"))
    logs_in(world, "user:bob", attributes=NONE)
    assert said(world.pay(by=through))[:2] == ("denied", "NO_POLICY")


def test_a_provider_names_no_person_of_another_as_an_actor(world):
    """Each call charges the rates of its actors, so it could keep the people of another company from working."""
    world.refuses("ACTOR_INVALID", opening(world, BUILD, "user:bob"), world.gate)


@pytest.mark.parametrize(
    "actors",
    [
        ("user:partner/bot", "workload:other/bot"),
        ("workload:other/bot",),
        ("bot",),
        ("agent:bot",),
        ("",),
        ("user:",),
        ("user:a\u200b",),
        ("user:" + "x" * 600,),
        (ALICE,),
        ("user:Alice",),
        (BOT, BOT),
        ("user:bob", "user:BOB"),
        tuple(f"workload:ci/{n}" for n in range(9)),
    ],
    ids=lambda actors: str(actors)[:40],
)
def test_actors_are_principals_of_trusted_providers(world, actors):
    """Each once, none of them the subject itself, at most eight, and no registered program."""
    world.refuses("ACTOR_INVALID", opening(world, ALICE, *actors), world.gate)


def test_actors_of_a_provider_that_is_not_trusted_any_more(world):
    """At the login its trust counts, whichever provider vouches for the subject. A host follows that."""
    many = tuple(f"workload:ci/{n}" for n in range(8))
    logs_in(world, ALICE, *many)
    through = world.records[-1]
    assert following(world).session(through)[1].actors == many
    world.advance(HOUR_MS // 4)
    world.send(distrusted(CI.issuer), world.admin)

    world.refuses("ACTOR_INVALID", opening(world, ALICE, BOT), world.gate)
    assert following(world).session(through)[1].actors == many
    world.advance(HOUR_MS // 4)
    world.send(opening(world, ALICE, BOT), world.gate)
    with pytest.raises(Exception, match="ACTOR_INVALID"):
        following(world).session(world.records[-1])


def test_rate_limits_are_charged_for_all(world):
    """As for a chain: the least of them bounds the session, and an actor's own calls count with it."""
    world.publish_policy({"policy_id": f"service:{BOT}", **ANYTHING, "constraints": {"rate_limit": 2}})
    through, own = logs_in(world, ALICE, BOT), logs_in(world, BOT)

    assert [world.pay(by=one).says[0] for one in (through, own)] == ["allowed"] * 2
    for session in (through, own):
        assert world.pay(by=session).says == ("denied", "RATE_LIMITED")
    assert world.pay(by=logs_in(world)).says == ("allowed", "")


def test_a_delegation_is_presented_with_the_actors_behind_its_chain(world):
    """They narrow it further."""
    through = logs_in(world, ALICE, BUILD)
    leaf = world.grant_to(logs_in(world, "user:ann"), ALICE, resources=["tool:**"]).entry.event

    assert said(world.pay(by=through, on_behalf_of=leaf)) == ("allowed", "", ("user:ann", ALICE, BUILD))
    refund = world.call(through, "tool:bank/refund", on_behalf_of=leaf)
    assert said(refund)[:2] == ("denied", "RESOURCE_NOT_ALLOWED")
    assert world.call(logs_in(world), "tool:bank/refund", on_behalf_of=leaf).says == ("allowed", "")
    world.revoke_delegation(world.admin, leaf)
    assert said(world.pay(by=through, on_behalf_of=leaf))[:2] == ("denied", "DELEGATION_REVOKED")


def test_a_bound_service_and_the_actors_of_its_user(world):
    """The service acts; the actor of the login has its say."""
    world.register("service", "mailer")
    world.publish_policy({"policy_id": "service:mailer", **ANYTHING})
    through = logs_in(world, ALICE, BUILD)
    leaf = world.grant_to(logs_in(world), "mailer").entry.event

    assert said(world.pay(by=through, on_behalf_of=leaf)) == ("allowed", "", (ALICE, "mailer", BUILD))
    assert chain_of(world.tables, world.tables.sessions.rows[through.kid], leaf).acting == "mailer"
    assert said(world.call(through, "tool:bank/refund", on_behalf_of=leaf))[:2] == ("denied", "RESOURCE_NOT_ALLOWED")


def test_a_session_with_actors_passes_nothing_on_and_approves_nothing(world):
    """A delegate would not know of the actors, and a person answers in person."""
    through = logs_in(world, ALICE, BOT)
    world.is_refused("NOT_SUPPORTED", lambda: world.grant_to(through, "bot"))
    world.require(KEY, approval_criteria="role:analyst", timeout=300)
    asked = world.pay()
    assert asked.says == ("pending", "APPROVAL_PENDING")
    world.is_refused("APPROVER_NOT_AUTHORIZED", lambda: world.approve(through, asked, KEY))
    world.is_refused("APPROVER_NOT_AUTHORIZED", lambda: world.deny(through, asked, KEY))
    assert world.ask(through, "approvals").says == ("refused", "APPROVER_NOT_AUTHORIZED")
    assert world.approve(logs_in(world), asked, KEY).says == ("accepted", "")
    assert world.final(asked).outcome == "allowed"


def needs_a_yes(world: Workflow) -> None:
    meta = {KEY: {"approval_criteria": "role:analyst", "timeout": 300}}
    wants = {"attestations": [KEY], "constraints": {"attestations": meta}}
    world.publish_policy({"policy_id": f"service:{BOT}", **ANYTHING, **wants})


def test_no_member_of_a_login_approves_its_call(world):
    """Neither the person in whose name it is made, nor a person who acts."""
    needs_a_yes(world)
    through = logs_in(world, ALICE, BOT, "user:bob")
    logs_in(world, "user:bob")
    asked = world.pay(by=through)
    assert asked.says == ("pending", "APPROVAL_PENDING")
    for one in (logs_in(world, ALICE), logs_in(world, "user:bob")):
        world.is_refused("APPROVER_IS_REQUESTER", lambda one=one: world.approve(one, asked, KEY))
    assert world.approve(logs_in(world, "user:carol"), asked, KEY).says == ("accepted", "")
    assert said(world.log[-1]) == ("allowed", "", (ALICE, "user:bob", BOT))


def test_a_waiting_call_is_judged_again_with_its_actors(world):
    """The actor has lost its right in the meantime."""
    needs_a_yes(world)
    asked = world.pay(by=logs_in(world, ALICE, BUILD, BOT))
    world.withdraw_policy(f"service:{BUILD}")
    world.approve(logs_in(world, "user:carol"), asked, KEY)
    assert (world.final(asked).outcome, world.final(asked).reason) == ("denied", "NO_POLICY")


def test_a_session_with_actors_asks_about_its_own_calls_only(world):
    """An agent that got a token of alice's does not read the parameters of her other calls."""
    world.publish_policy({"policy_id": "role:analyst", **ANYTHING, "attestations": [KEY], "constraints": {
        "attestations": {KEY: {"approval_criteria": "role:boss", "timeout": 300}}}})  # fmt: skip
    hers, through = logs_in(world), logs_in(world, ALICE, BOT)
    own, other = world.pay(by=through), world.pay(by=hers)

    for asked in (own, other):
        assert reply(world.ask(hers, "invocation", asked.entry.event.hex()))["resource"] == PAY
    assert reply(world.ask(through, "invocation", own.entry.event.hex()))["resource"] == PAY
    assert world.ask(through, "invocation", other.entry.event.hex()).says[0] == "refused"


def test_the_vault_and_the_policies_that_are_told(world):
    """A shared scope needs every member's grant; the own scope needs none."""
    through, policies = logs_in(world, ALICE, BUILD), "effective_policy"
    assert world.put(through, "k", 1).says == ("accepted", "")
    assert world.put(through, "k", 1, scope="team").says == ("refused", "RESOURCE_NOT_ALLOWED")
    assert world.put(logs_in(world), "k", 1, scope="team").says == ("accepted", "")
    found = reply(world.ask(through, policies, PAY))["policies"]
    assert {one["policy_id"] for one in found} == {"role:analyst", f"service:{BUILD}"}


def test_conditions_see_that_others_act(world):
    """An author can forbid what nobody may do in another's name."""
    only, deep = ({"attestations": [f"deny::{{context.{what}}}"]} for what in ("is_delegated", "delegation_depth > 1"))
    one, two = logs_in(world, ALICE, BOT), logs_in(world, ALICE, BOT, BUILD)
    world.publish_policy({"policy_id": "role:analyst", **ANYTHING, **deep})
    assert [world.pay(by=session).says[0] for session in (one, two)] == ["allowed", "denied"]
    world.publish_policy({"policy_id": "role:analyst", **ANYTHING, **only})
    assert [world.pay(by=session).says[0] for session in (one, logs_in(world))] == ["denied", "allowed"]


@pytest.mark.parametrize("actors", [-1, 0, 2, 3, 9])
def test_a_decision_fails_closed_on_a_wrong_number_of_actors(actors):
    """Subjects that no hop leads to are no chain, and nobody is nobody."""
    index = index_policies({})
    subjects = (Subject(service="a", type="service"), Subject(service="b", type="service"))
    assert decide(index, subjects, PAY, {}, Circumstances(actors=actors)).outcome == "denied"


# --- workloads


def test_a_workload_calls_delegates_and_keeps_values_as_a_service_does(world):
    """By the policies of its name and of its attributes."""
    build = logs_in(world, BUILD)
    assert world.pay(by=build).says == ("allowed", "")
    assert said(world.call(build, "tool:bank/refund"))[:2] == ("denied", "RESOURCE_NOT_ALLOWED")
    assert world.put(build, "k", 1).says == ("accepted", "")
    leaf = world.grant_to(build, "bot", resources=[PAY]).entry.event
    assert said(world.pay(on_behalf_of=leaf)) == ("allowed", "", (BUILD, "bot"))
    world.publish_policy({"policy_id": "team:x", "denied_resources": [PAY]})
    assert world.pay(by=logs_in(world, BUILD, attributes=Attributes(team="x"))).says == ("denied", "RESOURCE_DENIED")
    assert world.revoke_session(build).says == ("accepted", "")
    assert world.pay(on_behalf_of=leaf).says == ("denied", "DELEGATION_REVOKED")
    assert not world.tables.persons.rows


def test_a_workload_approves_nothing(world):
    """Whatever roles its provider gives it: people approve."""
    world.require(KEY, approval_criteria="role:analyst", timeout=300)
    asked = world.pay()
    build = logs_in(world, BUILD, attributes=Attributes(roles=("analyst",)))
    world.is_refused("APPROVER_NOT_AUTHORIZED", lambda: world.approve(build, asked, KEY))
    world.is_refused("APPROVER_NOT_AUTHORIZED", lambda: world.deny(build, asked, KEY))


def test_a_policy_for_a_person_is_not_for_a_workload_of_that_name(world):
    """Nor the other way round."""
    world.publish_policy({"policy_id": "user:ci/alice", **ANYTHING}, {"policy_id": "service:alice", **ANYTHING})
    assert world.pay(by=logs_in(world, "workload:ci/alice")).says == ("denied", "NO_POLICY")
    assert world.pay(by=logs_in(world, ALICE, attributes=NONE)).says == ("denied", "NO_POLICY")
