"""Answers that an approver service passes on: which persons it may name, and how they count."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from schemas import topics
from schemas.events.attributes import Attributes
from tests.approver_world import KEY, Desk
from tests.enforcing_world import set_on
from tests.workflow_world import ANYTHING, told


@pytest.fixture
def world() -> Desk:
    return Desk.with_policy()


def test_a_service_that_speaks_for_persons_makes_them_count(world: Desk) -> None:
    """Two persons through one key are a quorum of two, because an administrator said so."""
    world.needs(quorum=2)
    slack = world.service(speaks_for=("user:*",))
    asked = world.pay()
    first = world.approve(slack, asked, KEY, said_by="user:carol")

    [change] = told(first, topics.OPS_ATTESTATIONS)
    assert change.approved_by == ("user:carol via slack",)
    assert world.listed(world.person("zoe", "manager"))[0]["approved_by"] == ["user:carol via slack"]
    assert not world.finals(asked.entry.event)
    world.approve(slack, asked, KEY, said_by="user:dave")
    assert world.is_allowed(asked)


@pytest.mark.parametrize(
    "name", ["user:carol", "user:a/b", "user:", "carol", "bot", "slack", "user:*", "USER:carol", ""]
)
def test_only_the_persons_that_it_may_speak_for_are_taken_from_a_service(world: Desk, name: str) -> None:
    """Other names, and names of no person, are refused; so is any name from an approver without that right."""
    asked = world.pay()
    slack, mute = world.service(speaks_for=("user:d*",)), world.service("mute")

    for by in (slack, mute):
        world.is_refused("APPROVER_SAID_BY", lambda by=by: world.approve(by, asked, KEY, said_by=name))
        world.is_refused("APPROVER_SAID_BY", lambda by=by: world.deny(by, asked, KEY, said_by=name))
    world.is_refused("APPROVER_SAID_BY", lambda: world.approve(mute, asked, KEY, said_by="user:dave"))
    carol = world.person("carol", "manager")
    world.is_refused("APPROVER_SAID_BY", lambda: world.approve(carol, asked, KEY, said_by="user:dave"))


@pytest.mark.parametrize(
    "name",
    ["user:carol", "user:CAROL", "user:\uff43arol", "user:carol@x.example", "user:c", "user:bot", "user:Bot"],
)
def test_nobody_of_the_call_is_said_to_have_approved_it(world: Desk, name: str) -> None:
    """Not the person, under any name that the log knows, and not the agent that acts."""
    world.publish_policy({"policy_id": "user:c", **ANYTHING})
    carol = world.person("carol", user="c", email="carol@x.example")
    given = world.grant_to(carol, "bot").entry.event
    slack = world.service(speaks_for=("**",))
    asked = world.pay(on_behalf_of=given)
    assert asked.says == ("pending", "APPROVAL_PENDING")

    world.is_refused("APPROVER_IS_REQUESTER", lambda: world.approve(slack, asked, KEY, said_by=name))
    world.is_refused("APPROVER_IS_REQUESTER", lambda: world.deny(slack, asked, KEY, said_by=name))


def test_a_name_that_the_callers_own_session_leaves_out_is_theirs_all_the_same(world: Desk) -> None:
    """Another login has told it: the service cannot name the caller by it, now or of a later call."""
    world.publish_policy({"policy_id": "user:carol", **ANYTHING})
    world.person("carol", email="carol@x.example")
    given = world.grant_to(world.person("carol"), "bot").entry.event
    slack, asked = world.service(speaks_for=("**",)), world.pay(on_behalf_of=given)

    world.is_refused("APPROVER_IS_REQUESTER", lambda: world.approve(slack, asked, KEY, said_by="user:carol@x.example"))


def test_a_frozen_person_says_yes_through_no_service(world: Desk) -> None:
    """Under none of their names; a no ends a call, and is heard."""
    world.person("carol", email="carol@x.example")
    slack, asked = world.service(speaks_for=("**",)), world.pay()
    world.send(set_on("freeze", "principal", "user:carol"), world.admin)

    for name in ("user:carol", "user:Carol"):
        world.is_refused("FROZEN", lambda name=name: world.approve(slack, asked, KEY, said_by=name))
    assert world.deny(slack, asked, KEY, said_by="user:carol").says == ("accepted", "")


def test_a_login_that_shows_the_person_to_be_of_the_call_undoes_the_answer(world: Desk) -> None:
    """A name that the log could not connect at the approval, and can at the decision."""
    metas = {key: {"approval_criteria": f"role:{key}", "timeout": 300} for key in (KEY, "board")}
    world.publish_policy(
        {"policy_id": "agent:bot", **ANYTHING, "attestations": [*metas], "constraints": {"attestations": metas}}
    )
    world.publish_policy({"policy_id": "user:carol", **ANYTHING})
    carol, ben = world.person("carol"), world.person("ben", "board")
    asked = world.pay(on_behalf_of=world.grant_to(carol, "bot").entry.event)
    slack = world.service(speaks_for=("**",))
    assert world.approve(slack, asked, KEY, said_by="user:cc").says == ("accepted", "")
    world.person("cc", user="carol")

    world.approve(ben, asked, "board")
    assert not world.is_allowed(asked)


def answers_of(world: Desk) -> dict[str, Any]:
    """Return ways in which one yes may come, by name: (signer, said by)."""
    both = world.service(speaks_for=("user:*",))
    return {
        "carol": (world.person("carol", "manager", user="c", email="carol@x.example"), None),
        "carol again": (world.person("carol", "manager", user=None), None),
        "slack for carol": (both, "user:carol"),
        "slack for Carol": (both, "user:\uff23AROL"),
        "slack for her address": (both, "user:carol@x.example"),
        "slack": (both, None),
        "desk for carol": (world.service("desk-2", speaks_for=("user:carol",)), "user:carol"),
        "slack for dave": (both, "user:dave"),
        "dave": (world.person("dave", "manager"), None),
    }


PERSONS = {
    "carol": "carol", "carol again": "carol", "slack for carol": "carol", "slack for Carol": "carol",
    "slack for her address": "carol", "desk for carol": "carol", "slack for dave": "dave", "dave": "dave",
}  # fmt: skip


@pytest.mark.parametrize("order", list(itertools.permutations(sorted(PERSONS), 2)), ids=" then ".join)
def test_a_quorum_is_of_distinct_persons_in_any_order(order: tuple[str, str]) -> None:
    """By a key of their own or through a service, under any known name: one person is one."""
    world = Desk.with_policy("distinct")
    world.needs(quorum=2)
    ways, asked = answers_of(world), world.pay()
    for way in order:
        by, said_by = ways[way]
        world.approve(by, asked, KEY, said_by=said_by)

    assert world.is_allowed(asked) is (PERSONS[order[0]] != PERSONS[order[1]])


@pytest.mark.parametrize("order", list(itertools.permutations(["slack", "slack for carol"])), ids=" then ".join)
def test_a_service_that_does_not_say_who_counts_for_no_second_person(world: Desk, order: tuple[str, str]) -> None:
    """The one that it does not name may be the one that it names."""
    world.needs(quorum=2)
    ways, asked = answers_of(world), world.pay()
    (first, who), (second, other) = (ways[way] for way in order)
    world.approve(first, asked, KEY, said_by=who)

    world.is_refused("APPROVER_DUPLICATE", lambda: world.approve(second, asked, KEY, said_by=other))


def test_a_service_meets_no_criterion_of_a_single_person_by_speaking(world: Desk) -> None:
    """A policy that asks for carol has asked for her own key, and not for a service that may name anybody."""
    world.needs(approval_criteria=["user:carol", "user:karl"])
    slack = world.service(speaks_for=("user:*",), attributes=Attributes(roles=("manager",), user="karl"))
    asked = world.pay()

    for name in ("user:carol", "user:karl", "user:dave"):
        world.is_refused("APPROVER_NOT_AUTHORIZED", lambda name=name: world.approve(slack, asked, KEY, said_by=name))


def test_a_revoked_service_takes_what_it_said_with_it(world: Desk) -> None:
    """As the answers of any approver do."""
    world.needs(one_time=False)
    slack = world.service(speaks_for=("user:*",))
    world.approve(slack, world.pay(), KEY, said_by="user:carol")
    assert world.pay().says == ("allowed", "")
    world.revoke("slack")

    assert world.pay().says == ("pending", "APPROVAL_PENDING")


def test_a_person_takes_back_what_was_said_in_their_name(world: Desk) -> None:
    """The one who is named may revoke the lasting approval; another may not."""
    world.needs(one_time=False)
    slack = world.service(speaks_for=("user:*",))
    world.approve(slack, world.pay(), KEY, said_by="user:carol")
    carol, dave = world.person("carol"), world.person("dave")
    world.is_refused("WRONG_PRINCIPAL", lambda: world.revoke_grant(dave, KEY))

    assert world.revoke_grant(carol, KEY).says == ("accepted", "")
    assert world.pay().says == ("pending", "APPROVAL_PENDING")


def test_a_lasting_answer_serves_no_call_of_the_person_who_is_named(world: Desk) -> None:
    """The chain that uses a grant may have a member that the chain that asked had not."""
    world.needs(one_time=False)
    slack = world.service(speaks_for=("user:*",))
    given: dict[str, Any] = {}
    world.publish_policy({"policy_id": "user:ann", **ANYTHING})
    world.publish_policy({"policy_id": "user:mia", **ANYTHING})
    ann, mia = world.person("ann"), world.person("mia")
    direct = world.grant_to(ann, "bot").entry.event
    over = world.grant_to(mia, "bot", parent=world.grant_to(ann, "user:mia").entry.event).entry.event
    world.approve(slack, world.pay(on_behalf_of=direct), KEY, said_by="user:mia")
    given = {"on_behalf_of": direct}

    assert world.pay(**given).says == ("allowed", "")
    assert world.pay(on_behalf_of=over).says != ("allowed", "")
