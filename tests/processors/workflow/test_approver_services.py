"""Approver services: a registered approver within its limits, and the persons that it speaks for."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest

from schemas.events.attributes import ApproverLimits, Attributes
from schemas.events.keys import KeyRotated
from tests.approver_world import KEY, Desk, limits
from tests.builders import Actor, keys_of
from tests.masking_world import MAIL, NOTE, Crm, canonical
from tests.workflow_world import ANYTHING, PAY, Workflow, reply

MASKED = "[masked:email]"
REFUND = "tool:bank/refund"
LASTING = {"approval_criteria": "role:manager", "timeout": 300, "one_time": False}


@pytest.fixture
def world() -> Desk:
    return Desk.with_policy()


# ---- the limits of a service


@pytest.mark.parametrize(
    "most",
    [
        {"scope": {"resources": ["tool:desk/*"]}},
        {"scope": {"operations": ["refund"]}},
        {"scope": {"resources": ["**"], "conditions": {"max_amount": 9}}},
        {"scope": {"resources": ["**"], "conditions": {"ticket_ids": ["T-1"]}}},
        {
            "scope": {
                "resources": ["**"],
                "conditions": {"time_window": {"start": "2000-01-01T00:00:00Z", "end": "2000-01-02T00:00:00Z"}},
            }
        },
        {"keys": ("board", "manager.*")},
    ],
)
def test_outside_its_limits_a_service_sees_and_answers_nothing(world: Desk, most: dict[str, Any]) -> None:
    """Neither a yes nor a no; it is not told of the call either. Within them it may."""
    slack, wide = world.service(**most), world.service("wide")
    asked = world.pay(10)

    assert world.listed(slack) == []
    assert world.ask(slack, "invocation", asked.entry.event.hex()).says == ("refused", "APPROVAL_UNKNOWN")
    world.is_refused("APPROVER_LIMITED", lambda: world.approve(slack, asked, KEY))
    world.is_refused("APPROVER_LIMITED", lambda: world.deny(slack, asked, KEY))
    assert [one["resource"] for one in world.listed(wide)] == [PAY]
    assert world.approve(wide, asked, KEY).says == ("accepted", "")
    assert world.is_allowed(asked)


def test_within_its_limits_a_service_approves(world: Desk) -> None:
    """Every bound holds at once."""
    window = {"start": "2000-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z"}
    scope = {"resources": ["tool:bank/*"], "operations": ["pay"]}
    slack = world.service(scope=scope | {"conditions": {"max_amount": 10, "time_window": window}}, keys=("man*",))
    asked = world.pay(10)

    assert world.approve(slack, asked, KEY).says == ("accepted", "")
    assert world.is_allowed(asked)


@pytest.mark.parametrize(
    ("resource", "amount", "goes_on"), [(PAY, 10, True), (PAY, 11, False), (REFUND, 10, False), (REFUND, 11, False)]
)
def test_a_lasting_yes_serves_no_call_outside_the_limits(
    world: Desk, resource: str, amount: int, goes_on: bool
) -> None:
    """The limits are judged again with the very call that the approval would serve."""
    world.needs((PAY, REFUND), one_time=False)
    slack = world.service(scope={"resources": [PAY], "conditions": {"max_amount": 10}})
    asked = world.pay(5)
    world.approve(slack, asked, KEY)
    assert world.is_allowed(asked)

    later = world.call(world.bot, resource, {"amount": amount, "to": "bob"})
    assert (later.says[0] == "allowed") is goes_on


def test_a_window_that_closes_while_the_call_waits_closes_the_approval(world: Desk) -> None:
    """The right is judged at the approval, and again at the decision."""
    metas = {key: {"approval_criteria": f"role:{key}", "timeout": 300} for key in (KEY, "board")}
    world.publish_policy(
        {"policy_id": "agent:bot", **ANYTHING, "attestations": [*metas], "constraints": {"attestations": metas}}
    )
    start, end = world.now, world.now + 60_000
    window = {"start": iso(start), "end": iso(end)}
    slack = world.service(scope={"resources": ["**"], "conditions": {"time_window": window}})
    board = world.person("ben", "board")
    asked = world.pay()
    world.approve(slack, asked, KEY)
    world.passes(end - world.now)

    world.approve(board, asked, "board")
    assert not world.is_allowed(asked)


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_service_that_may_approve_once_leaves_nothing_for_later_calls(world: Desk) -> None:
    """Although the policy lets an approval serve every later call, and the service asks for no narrower one."""
    world.needs(one_time=False)
    slack = world.service(once_only=True)
    asked = world.pay()
    [row] = world.listed(slack)
    assert row["scopes"] == {"once": True}
    world.is_refused("APPROVAL_SCOPE", lambda: world.approve(slack, asked, KEY, uses=1))
    world.approve(slack, asked, KEY)

    assert world.is_allowed(asked)
    assert len(world.tables.grants) == 0
    assert world.pay().says == ("pending", "APPROVAL_PENDING")


def test_a_service_that_may_approve_once_answers_no_request_for_later_calls(world: Desk) -> None:
    """A call that does not wait asks for later ones alone."""
    world.needs(one_time=False, timeout=0)
    slack = world.service(once_only=True)
    asked = world.pay()
    assert asked.says == ("denied", "APPROVAL_REQUIRED")

    world.is_refused("APPROVER_LIMITED", lambda: world.approve(slack, asked, KEY))
    assert world.deny(slack, asked, KEY).says == ("accepted", "")


def test_the_limits_stay_through_a_rotation_of_the_key(world: Desk) -> None:
    """A new key that is offered for the old one has no more rights."""
    slack = world.service(scope={"resources": ["tool:desk/*"]})
    keys = keys_of("the next key of slack")
    body = KeyRotated(kid=slack.kid, key=world.offer(keys, "approver", "slack"), reason="r")
    assert world.send(body, world.admin).says == ("accepted", "")

    asked = world.pay()
    world.is_refused("APPROVER_LIMITED", lambda: world.approve(Actor("approver", "slack", keys), asked, KEY))


@pytest.mark.parametrize(
    "most",
    [
        limits(keys=()),
        limits(keys=("x" * 5000,)),
        limits(keys=tuple(f"{n}{'x' * 500}" for n in range(40))),
        limits(keys=tuple(f"k{n}" for n in range(65))),
        limits(speaks_for=("*",)),
        limits(speaks_for=("tool:*",)),
        limits(scope={}),
        limits(scope={"resources": []}),
        limits(scope={"resources": ["**"], "conditions": {"max_amount": "9"}}),
        limits(scope={"resources": ["**"], "once": True}),
    ],
)
def test_malformed_limits_are_refused(world: Desk, most: ApproverLimits) -> None:
    """An approver whose limits cannot be read is not registered: it would have none."""
    manager = Attributes(roles=("manager",))
    world.refuses(
        "APPROVER_LIMITS_FORM", world.registration("approver", "new", attributes=manager, approver=most), world.admin
    )


def test_limits_are_an_approvers_alone(world: Desk) -> None:
    """An agent with them would seem bounded, and is not."""
    body = world.registration("agent", "other", approver=limits())
    world.refuses("APPROVER_LIMITS_FORM", body, world.admin)


def test_the_first_engine_has_no_limits_and_says_so() -> None:
    """A limit that nobody would honour is refused by name, and so is each new field of an answer."""
    world = Workflow.opened("first")
    world.require(KEY, **LASTING)
    carol, asked = world.person("carol", KEY), world.pay()

    assert world.send(world.registration("approver", "s", approver=limits()), world.admin).says[1] == "NOT_SUPPORTED"
    for more in ({"once": True}, {"for_ms": 1}, {"uses": 1}, {"said_by": "user:dave"}):
        world.is_refused("NOT_SUPPORTED", lambda more=more: world.approve(carol, asked, KEY, **more))
    [row] = reply(world.ask(carol, "approvals"))["requests"]
    assert "scopes" not in row


def test_a_masked_call_is_judged_by_its_masked_form() -> None:
    """People are asked about the form that the tool gets: the limits of a service hold for that one."""
    world = Crm.founded_with("ticket_id", maskable_paths=("ticket_id",))
    world.require(KEY, resource=NOTE, approval_criteria="role:manager", timeout=300)
    manager = Attributes(roles=("manager",))
    bounds = {
        name: limits(scope={"resources": ["**"], "conditions": {"ticket_ids": [text]}})
        for name, text in {"as-signed": MAIL, "as-masked": MASKED}.items()
    }
    plain, shown = (world.register("approver", name, attributes=manager, approver=one) for name, one in bounds.items())
    asked = world.note({"ticket_id": MAIL})
    digest = sha256(canonical({"ticket_id": MASKED})).digest()

    world.is_refused("APPROVER_LIMITED", lambda: world.approve(plain, asked, KEY, parameters_sha256=digest))
    assert world.approve(shown, asked, KEY, parameters_sha256=digest).says == ("accepted", "")
    assert world.final(asked).outcome == "allowed"
