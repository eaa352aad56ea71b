"""Who approves is bound by policies too: they need not grant `attestation:<key>`, and may forbid it in every way."""

import pytest

from schemas.events.attributes import Attributes
from tests.processors.workflow.test_bad_approvals import KEY, both
from tests.workflow_world import Actor, Workflow


@pytest.fixture
def world() -> Workflow:
    world = Workflow.opened()
    world.require(KEY, approval_criteria="role:manager", timeout=300)
    return world


@pytest.fixture
def carol(world) -> Actor:
    return world.person("carol", "manager")


def test_an_approvers_own_policies_may_forbid_it(world):
    """`attestation:<key>` is a resource: denied to an intern, and by a policy whose time is over."""
    world.publish_policy({"policy_id": "role:intern", "denied_resources": [f"attestation:{KEY}"]})
    world.publish_policy({"policy_id": "role:past", "validity": {"not_after": "2020-01-01T00:00:00Z"}})
    world.publish_policy({"policy_id": "role:now", "validity": {"not_before": "2020-01-01T00:00:00Z"}})
    intern, past, now = (world.person(name, name, "manager") for name in ("intern", "past", "now"))
    asked = world.pay()

    both(world, "APPROVER_NOT_AUTHORIZED", asked, intern)
    both(world, "APPROVER_NOT_AUTHORIZED", asked, past)
    world.approve(now, asked, KEY)
    assert world.final(asked).outcome == "allowed"


def test_every_way_to_forbid_counts_in_an_approvers_own_policies(world, carol):
    """A condition; an approval, or a login, that is wanted first."""
    forbidding = {
        "bare": {"attestations": ["deny::{tool.domain == 'attestation'}"]},
        "second": {
            "resources": ["attestation:**"],
            "attestations": ["board"],
            "constraints": {"attestations": {"board": {"approval_criteria": "role:board", "timeout": 60}}},
        },
        "login": {"resources": ["attestation:**"], "attestations": ["phishing_resistant"]},
    }
    for name, document in forbidding.items():
        world.publish_policy({"policy_id": f"role:{name}", **document})
    asked = world.pay()

    for name in forbidding:
        both(world, "APPROVER_NOT_AUTHORIZED", asked, world.person(name, name, "manager"))
    world.approve(carol, asked, KEY)
    assert world.final(asked).outcome == "allowed"


def test_what_an_approvers_policies_ask_for_is_looked_for_in_the_approvers_session(world):
    """A policy that wants a fresh login of who approves is met by one, and by nobody else's."""
    world.publish_policy(
        {"policy_id": "role:login", "resources": ["attestation:**"], "attestations": ["phishing_resistant"]}
    )
    pat, sue = (world.person(name, "login", "manager") for name in ("pat", "sue"))
    world.attest(world.bridge, sue, "phishing_resistant")
    asked = world.pay()

    both(world, "APPROVER_NOT_AUTHORIZED", asked, pat)
    world.approve(sue, asked, KEY)
    assert world.final(asked).outcome == "allowed"


def test_a_policy_of_other_resources_forbids_no_approval(world):
    """What it wants of its tools it does not want of a yes."""
    document = {"resources": ["tool:bank/*"], "attestations": ["deny::{tool.domain == 'attestation'}", "board"]}
    meta = {"board": {"approval_criteria": "role:board", "timeout": 60}}
    world.publish_policy({"policy_id": "role:clerk", **document, "constraints": {"attestations": meta}})
    asked = world.pay()

    world.approve(world.person("kim", "clerk", "manager"), asked, KEY)
    assert world.final(asked).outcome == "allowed"


def test_a_registered_approver_is_bound_too(world):
    """By the attributes of its registration; it has no session that a login could be asked of."""
    world.publish_policy({"policy_id": "role:off", "attestations": ["deny::{tool.domain == 'attestation'}"]})
    off, on = (
        world.register("approver", f"desk-{name}", attributes=Attributes(roles=("manager", name), user=name))
        for name in ("off", "on")
    )
    asked = world.pay()

    both(world, "APPROVER_NOT_AUTHORIZED", asked, off)
    world.approve(on, asked, KEY)
    assert world.final(asked).outcome == "allowed"
