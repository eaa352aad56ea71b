"""Approvals: a call waits until the people who must agree have agreed to exactly it, or until its time is over."""

from hashlib import sha256

import pytest

from processors.calls.standing import request_id
from schemas import codec, topics
from schemas.events.attributes import Attributes
from schemas.records import CallPayload
from tests.builders import payload_of
from tests.workflow_world import ANYTHING, PAY, Workflow, reply, told
from tests.world import HOUR_MS

KEY = "manager"
MINUTE_MS = 60_000


@pytest.fixture
def world() -> Workflow:
    world = Workflow.opened()
    world.require(KEY, approval_criteria="role:manager", timeout=300)
    return world


def test_a_call_waits_is_approved_and_is_decided_once(world):
    """One pending decision with no payload; then one final decision, sealed to the tool, with the approval inside."""
    carol = world.person("carol", "manager")
    asked = world.pay()

    assert asked.says == ("pending", "APPROVAL_PENDING")
    [pending] = asked.decisions
    assert (pending.outcome, pending.reason, pending.payload_sha256) == ("pending", "APPROVAL_PENDING", None)
    assert (pending.tool, pending.execute_before) == (None, None)
    [result] = asked.results
    assert (result.outcome, result.to) == ("pending", world.bot.kid)
    assert result.detail == f"until={world.now + 300_000}"
    assert world.finals(asked.entry.event) == []

    yes = world.approve(carol, asked, KEY)

    assert yes.says == ("accepted", "")
    final = world.final(asked)
    assert (final.outcome, final.reason, final.tool) == ("allowed", "", "bank")
    assert (final.event, final.event_id) == (asked.entry.event, pending.event_id)
    assert (final.parameters_sha256, final.policies) == (pending.parameters_sha256, pending.policies)
    payload: CallPayload = codec.decode(codec.current("CallPayload"), payload_of(yes, topics.DECISIONS))
    assert payload.event == asked.received.value
    [given] = payload.approvals
    assert (given.event, given.kid) == (yes.received.value, carol.kid)
    assert len(world.tables.pending) == 0
    assert world.report(yes.decision_leaf, world.bank).says == ("accepted", "")


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [("ok", "ok"), ("failed", "failed"), ("silence", "unknown"), ("denial", "denied"), ("timeout", "timeout")],
)
def test_who_has_asked_can_ask_from_a_new_session_how_it_ended(world, ends, outcome):
    """The key that could open the result may be lost: what became of the call is told all the same, to nobody else."""
    world.require(KEY, approval_criteria="role:manager", timeout=60)
    carol, asked = world.person("carol", "manager"), world.pay()
    if ends == "timeout":
        world.passes(60_000)
    elif ends == "denial":
        world.deny(carol, asked, KEY)
    else:
        yes = world.approve(carol, asked, KEY)
        world.passes(120_000) if ends == "silence" else world.report(yes.decision_leaf, world.bank, outcome=ends)
    again, leaf = world.open_session(world.agent), asked.entry.event.hex()

    assert reply(world.ask(again, "invocation", leaf)) == {"event": leaf, "resource": PAY, "outcome": outcome}
    assert world.ask(carol, "invocation", leaf).says == ("refused", "APPROVAL_UNKNOWN")


def test_a_quorum_is_of_distinct_people(world):
    """Two are asked for: one is not enough, and the second decides."""
    world.require(KEY, approval_criteria=["role:manager", "user:dave"], quorum=2, timeout=300)
    carol, dave = world.person("carol", "manager"), world.person("dave")
    asked = world.pay()

    first = world.approve(carol, asked, KEY)
    assert (first.says, first.decisions) == (("accepted", ""), [])
    assert world.finals(asked.entry.event) == []
    [change] = told(first, topics.OPS_ATTESTATIONS)
    assert (change.kind, change.status, change.quorum, change.approved_by) == ("request", "pending", 2, ("user:carol",))

    world.approve(dave, asked, KEY)
    assert world.final(asked).outcome == "allowed"


@pytest.mark.parametrize(
    ("criterion", "attributes"),
    [
        ("team:ops", {"team": "ops"}),
        ("group:board", {"groups": ["board"]}),
        ("user:carol", {}),
        ("user:carol@x.example", {"email": "carol@x.example"}),
    ],
)
def test_every_kind_of_criterion_is_met_by_ones_own_attributes(world, criterion, attributes):
    """Role, team, group and user; somebody without it is not heard."""
    world.require(KEY, approval_criteria=criterion, timeout=300)
    eve, carol = world.person("eve"), world.person("carol", **attributes)
    asked = world.pay()
    world.is_refused("APPROVER_NOT_AUTHORIZED", lambda: world.approve(eve, asked, KEY))

    world.approve(carol, asked, KEY)
    assert world.final(asked).outcome == "allowed"


def test_a_registered_approver_approves_with_its_key(world):
    """An approver without a session; when its key is revoked it approves no more."""
    kiosk = world.register("approver", "kiosk", attributes=Attributes(roles=("manager",), user="karl"))
    asked = world.pay()
    assert world.approve(kiosk, asked, KEY).says == ("accepted", "")
    assert world.final(asked).outcome == "allowed"

    again = world.pay()
    world.revoke("kiosk")
    assert world.approve(kiosk, again, KEY).says == ("refused", "REVOKED_KEY")
    assert world.finals(again.entry.event) == []


def test_one_authorised_no_ends_it(world):
    """Denied at once and for good: a yes that comes later finds it closed."""
    carol, dave = world.person("carol", "manager"), world.person("dave", "manager")
    asked = world.pay()

    assert world.deny(carol, asked, KEY).says == ("accepted", "")

    final = world.final(asked)
    assert (final.outcome, final.reason, final.payload_sha256) == ("denied", "APPROVAL_DENIED", None)
    world.is_refused("APPROVAL_CLOSED", lambda: world.approve(dave, asked, KEY))
    assert world.final(asked) == final


@pytest.mark.parametrize(("quorum", "given", "reason"), [(1, 0, "TIMEOUT"), (2, 0, "TIMEOUT"), (2, 1, "QUORUM")])
def test_the_deadline_ends_it(world, quorum, given, reason):
    """Nobody: APPROVAL_TIMEOUT; some, but too few: APPROVAL_QUORUM. Not a millisecond early."""
    world.require(KEY, approval_criteria="role:manager", quorum=quorum, timeout=300)
    carol, dave = world.person("carol", "manager"), world.person("dave", "manager")
    asked = world.pay()
    if given:
        world.approve(carol, asked, KEY)

    world.passes(299_999)
    assert world.finals(asked.entry.event) == []
    ended = world.passes(1)
    final = world.final(asked)
    assert (final.outcome, final.reason) == ("denied", f"APPROVAL_{reason}")
    [result] = ended.results
    assert (result.to, result.outcome) == (world.bot.kid, "denied")
    world.is_refused("APPROVAL_CLOSED", lambda: world.approve(dave, asked, KEY))


def test_too_few_that_stand_are_told_as_nobody_where_none_stands(world):
    """The one approval was by a session that was revoked since: at the deadline nobody has approved."""
    world.require(KEY, approval_criteria="role:manager", quorum=2, timeout=300)
    carol, dave = world.person("carol", "manager"), world.person("dave", "manager")
    asked, other = world.pay(), world.pay(11)
    world.approve(carol, asked, KEY)
    world.approve(dave, other, KEY)
    world.revoke_session(carol)
    world.advance(1)
    world.person("dave", "intern")  # the newest session says what dave is now
    world.passes(300_000)

    assert world.final(asked).reason == "APPROVAL_TIMEOUT"
    assert world.final(other).reason == "APPROVAL_TIMEOUT"


def test_it_is_decided_by_what_is_in_force_at_the_approval(world):
    """A policy that was changed while people thought: the approved call is denied by the new one."""
    carol = world.person("carol", "manager")
    asked = world.pay(50)
    limit = {"parameters": {PAY: {"amount": {"max": 20}}}, "attestations": {KEY: {"approval_criteria": "role:manager"}}}
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "attestations": [KEY], "constraints": limit})

    assert world.approve(carol, asked, KEY).says == ("accepted", "")
    assert (world.final(asked).outcome, world.final(asked).reason) == ("denied", "PARAM_OUT_OF_RANGE")


def test_what_became_necessary_while_it_waited_was_not_asked_for(world):
    """A requirement that is new on resumption denies: its approval was never requested."""
    carol = world.person("carol", "manager")
    asked = world.pay()
    metas = {KEY: {"approval_criteria": "role:manager", "timeout": 300}}
    metas["board"] = {"approval_criteria": "role:manager", "timeout": 300}
    world.publish_policy(
        {"policy_id": "agent:bot", **ANYTHING, "attestations": [KEY, "board"], "constraints": {"attestations": metas}}
    )

    world.approve(carol, asked, KEY)
    assert world.final(asked).reason == "APPROVAL_REQUIRED"


@pytest.mark.parametrize("end", ["close", "revoke_session"])
def test_a_call_whose_session_ends_is_over(world, end):
    """Closed or revoked meanwhile: one final decision, EXPIRED_SESSION, and the approval comes too late."""
    carol = world.person("carol", "manager")
    asked = world.pay()
    getattr(world, end)(world.bot)

    assert world.approve(carol, asked, KEY).says == ("refused", "APPROVAL_CLOSED")  # the next record ends the call
    world.is_refused("APPROVAL_CLOSED", lambda: world.approve(carol, asked, KEY))
    assert (world.final(asked).outcome, world.final(asked).reason) == ("denied", "EXPIRED_SESSION")


def test_a_grant_serves_later_calls_of_the_same_requester(world):
    """`one_time: false`: the approval of one call is worth others, with other parameters, until its life is over."""
    world.require(KEY, approval_criteria="role:manager", timeout=300, one_time=False, time_to_live=600)
    carol = world.person("carol", "manager")
    asked = world.pay(10)
    granted = world.approve(carol, asked, KEY)
    assert {one.kind for one in told(granted, topics.OPS_ATTESTATIONS)} == {"request", "grant"}

    world.advance(599_999)
    assert world.pay(9999).says == ("allowed", "")
    world.advance(1)
    assert world.pay(9999).says == ("pending", "APPROVAL_PENDING")


def test_a_grant_is_one_requesters_alone(world):
    """Another agent, though the policy is the same, has to be approved for itself."""
    world.require(KEY, approval_criteria="role:manager", timeout=300, one_time=False)
    world.require(KEY, who="agent:other", approval_criteria="role:manager", timeout=300, one_time=False)
    other = world.open_session(world.register("agent", "other"))
    world.approve(world.person("carol", "manager"), world.pay(), KEY)

    assert world.pay(by=world.open_session(world.agent)).says == ("allowed", "")
    assert world.pay(by=other).says == ("pending", "APPROVAL_PENDING")


@pytest.mark.parametrize("by", ["carol", "admin"])
def test_a_grant_is_revoked_by_who_gave_it_or_an_admin(world, by):
    """After that the next call asks again."""
    world.require(KEY, approval_criteria="role:manager", timeout=300, one_time=False)
    carol = world.person("carol", "manager")
    world.approve(carol, world.pay(), KEY)
    assert world.pay().says == ("allowed", "")

    assert world.revoke_grant(world.admin if by == "admin" else carol, KEY).says == ("accepted", "")
    assert world.pay().says == ("pending", "APPROVAL_PENDING")


def test_a_call_that_will_not_wait_leaves_a_request_for_a_grant(world):
    """Timeout 0: denied at once with APPROVAL_REQUIRED; the request stays for an hour, and a later call can use it."""
    world.require(KEY, approval_criteria="role:manager", timeout=0, one_time=False)
    carol = world.person("carol", "manager")
    asked = world.pay()

    assert asked.says == ("denied", "APPROVAL_REQUIRED")
    assert world.final(asked).outcome == "denied"
    row = world.tables.requests.rows[request_id(asked.entry.event, KEY)]
    assert (row.waits, row.open_until) == (False, world.now + HOUR_MS)
    yes = world.approve(carol, asked, KEY)
    assert (yes.says, yes.decisions) == (("accepted", ""), [])
    assert world.final(asked).reason == "APPROVAL_REQUIRED"
    assert world.pay().says == ("allowed", "")


def test_a_call_that_will_not_wait_and_needs_its_own_approval_leaves_nothing(world):
    """Timeout 0 and one_time: nothing is opened, for a repeated call is another one."""
    world.require(KEY, approval_criteria="role:manager", timeout=0)

    world.is_denied("APPROVAL_REQUIRED", world.pay)
    assert len(world.tables.requests) == 0


def test_two_members_of_a_chain_that_need_one_key_ask_once_for_both(world):
    """Each by its own policies and criteria: the call waits until both are met, and until the earlier deadline."""
    alice = world.person("alice", "payer")
    world.require(KEY, approval_criteria="role:manager", timeout=300)
    world.require(KEY, who="role:payer", approval_criteria="role:board", timeout=60)
    leaf = world.grant_to(alice, "bot").entry.event
    asked = world.pay(on_behalf_of=leaf)

    [row] = world.tables.requests.rows.values()
    assert {c for one in row.required_by for c in one.criteria} == {"role:manager", "role:board"}
    assert row.open_until == world.now + MINUTE_MS == world.tables.pending.rows[asked.entry.event].deadline
    world.approve(world.person("carol", "manager"), asked, KEY)
    assert world.finals(asked.entry.event) == []
    world.approve(world.person("dave", "board"), asked, KEY)

    final = world.final(asked)
    assert (final.outcome, final.subjects) == ("allowed", ("user:alice", "bot"))


def test_a_call_of_two_requests_that_runs_out_is_a_timeout(world):
    """Also where the policies of two members name different deadlines, nobody cancelled anything."""
    alice = world.person("alice", "payer")
    world.require("a", approval_criteria="role:manager", timeout=300)
    world.require("b", who="role:payer", approval_criteria="role:manager", timeout=60)
    asked = world.pay(on_behalf_of=world.grant_to(alice, "bot").entry.event)
    world.passes(MINUTE_MS)

    assert (world.final(asked).reason, world.final(asked).subjects) == ("APPROVAL_TIMEOUT", ("user:alice", "bot"))


def test_the_rate_is_charged_when_the_call_is_asked_and_not_again(world):
    """An approval request costs, or approvers could be flooded; the resumed call costs nothing more."""
    meta = {"attestations": {KEY: {"approval_criteria": "role:manager", "timeout": 300}}, "rate_limit": 2}
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "attestations": [KEY], "constraints": meta})
    carol = world.person("carol", "manager")
    asked = world.pay()
    world.approve(carol, asked, KEY)

    assert world.final(asked).outcome == "allowed"
    assert world.pay().says == ("pending", "APPROVAL_PENDING")
    world.is_denied("RATE_LIMITED", world.pay)


def test_who_may_approve_is_shown_what_is_asked(world):
    """Exact parameters and their digest, for who may answer, and for who asked; for nobody else."""
    carol, eve = world.person("carol", "manager"), world.person("eve", "intern")
    asked = world.pay(12.5)

    [request] = reply(world.nothing_changes(lambda: world.ask(carol, "approvals")))["requests"]
    assert (request["request"], request["key"]) == (asked.entry.event.hex(), KEY)
    assert (request["criteria"], request["quorum"], request["one_time"]) == (["role:manager"], 1, True)
    shown = reply(world.ask(carol, "invocation", request["request"]))
    assert bytes.fromhex(shown["call"]["event"]) == asked.received.value
    exact = sha256(b'{"amount":12.5,"to":"bob"}')
    assert shown["requests"][0]["parameters_sha256"] == exact.hexdigest()
    assert asked.decisions[0].parameters_sha256 != exact.digest()
    assert reply(world.ask(world.bot, "invocation", request["request"])) == shown
    assert reply(world.ask(eve, "approvals"))["requests"] == []
    world.is_refused("APPROVAL_UNKNOWN", lambda: world.ask(eve, "invocation", request["request"]))


def test_an_approval_outlives_the_approvers_session(world):
    """A session that has run out takes nothing back; one that was revoked does, for good."""
    world.require(KEY, approval_criteria="role:manager", quorum=2, timeout=7200)
    carol, dave = world.person("carol", "manager", ttl_ms=1_000), world.person("dave", "manager")
    asked, other = world.pay(), world.pay(11)
    world.approve(carol, asked, KEY)
    world.approve(dave, other, KEY)
    world.revoke_session(dave)
    world.passes(1_800_000)  # the rows of both sessions have left by now
    assert carol.kid not in world.tables.sessions.rows
    assert dave.kid not in world.tables.sessions.rows

    erin = world.person("erin", "manager")
    world.approve(erin, asked, KEY)
    world.approve(erin, other, KEY)
    assert world.final(asked).outcome == "allowed"
    assert world.finals(other.entry.event) == []
