"""Features across one another: what one of them keeps to itself must hold when another acts in between."""

import json
from dataclasses import replace

import pytest

from processors.calls.standing import REQUESTER_TAG
from processors.proof.signing import tagged_digest
from processors.state.bounds import TenantLimits
from schemas import codec, limits
from schemas.events.attributes import Attributes
from tests.builders import Actor, invocation
from tests.workflow_world import ANYTHING, CHECK, MAIL, PAY, Workflow, attests, declared, reply
from tests.world import HOUR_MS

REFUND = "tool:bank/refund"
ASKED = {"approval_criteria": "role:manager", "timeout": 300}


@pytest.fixture
def world(request) -> Workflow:
    return Workflow.opened(request.node.name)


def two_approvals(world: Workflow, **meta) -> None:
    """Let the bot's payments need a manager's yes for `a`, and large ones also the board's for `b`."""
    metas = {"a": {**ASKED, **meta}, "b": {"approval_criteria": "role:board", "timeout": 300}}
    needed = ["a", f"b::{{tool.id == '{PAY}' AND params.amount > 100}}"]
    constraints = {"attestations": metas}
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "attestations": needed, "constraints": constraints})


# ---- approvals and grants


@pytest.mark.parametrize("spent", [True, False], ids=["used up", "revoked"])
def test_what_is_over_stays_over_when_another_grant_takes_its_place(world, spent):
    """Carol's one yes is spent, or taken back, while the call waits for dora; erin's yes to another call adds none."""
    two_approvals(world, **({"max_uses": 1} if spent else {"one_time": False}))
    carol, dora, erin = world.person("carol", "manager"), world.person("dora", "board"), world.person("erin", "manager")
    asked = world.pay(500)
    world.approve(carol, asked, "a")
    if spent:
        assert world.pay(5).says == ("allowed", "")
    else:
        world.revoke_grant(carol, "a")
    other = world.pay(6)
    world.approve(erin, other, "a")
    assert world.final(other).outcome == "allowed"
    if not spent:
        world.revoke_grant(erin, "a")

    world.approve(dora, asked, "b")
    assert world.finals(asked.entry.event) == []
    world.approve(carol, asked, "a")  # asked again, she may say yes again
    assert world.final(asked).outcome == "allowed"


def test_two_yeses_in_one_burst_are_two_uses_and_no_third(world):
    """Each call is served by its own approval, and what is left is used up."""
    world.require("boss", max_uses=1, **ASKED)
    carol, dave = world.person("carol", "manager"), world.person("dave", "manager")
    one, other = world.pay(1), world.pay(2)
    world.approve(carol, one, "boss")
    world.approve(carol, other, "boss")
    world.is_refused("APPROVAL_CLOSED", lambda: world.approve(dave, one, "boss"))

    assert [world.final(asked).outcome for asked in (one, other)] == ["allowed", "allowed"]
    assert world.pay(3).says == ("pending", "APPROVAL_PENDING")


def test_a_caller_has_no_policys_key_approved_with_a_call_of_its_own_choice(world):
    """An intent asks for the key on a harmless call, to last: it serves that call, and no payment."""
    world.require("boss", max_uses=3, **ASKED)
    carol = world.person("carol", "manager")
    meta = {**ASKED, "max_uses": 1000}
    intent = json.dumps({"attestations": ["boss"], "constraints": {"attestations": {"boss": meta}}})
    asked = world.send(invocation(CHECK, {"x": 1}, intents=(intent,)), world.bot)
    (shown,) = reply(world.ask(carol, "approvals"))["requests"]
    assert shown["one_time"] is True
    world.approve(carol, asked, "boss")

    assert world.final(asked).outcome == "allowed"
    assert not world.tables.grants.rows
    assert world.pay(10**6).says == ("pending", "APPROVAL_PENDING")


def test_what_was_asked_in_a_name_is_not_given_to_who_bears_it_next(world):
    """A request that stays open for later calls ends with the last key of who asked."""
    world.require("boss", approval_criteria="role:manager", timeout=0, one_time=False)
    carol, asked = world.person("carol", "manager"), world.pay(1)
    assert asked.says == ("denied", "APPROVAL_REQUIRED")
    world.revoke("bot")
    again = world.open_session(world.register("agent", "bot"))

    world.is_refused("APPROVAL_CLOSED", lambda: world.approve(carol, asked, "boss"))
    assert world.pay(by=again).says == ("denied", "APPROVAL_REQUIRED")


def test_a_grant_of_a_name_that_comes_back_is_revoked(world):
    """With a key of its own the new one asks for itself."""
    world.require("boss", one_time=False, **ASKED)
    world.approve(world.person("carol", "manager"), world.pay(1), "boss")
    assert world.pay(2).says == ("allowed", "")
    world.revoke("bot")

    again = world.open_session(world.register("agent", "bot"))
    assert world.pay(by=again).says == ("pending", "APPROVAL_PENDING")


def test_what_was_asked_and_is_over_is_not_remembered_without_bound():
    """Calls that end, however they end, leave no more rows than there is room for."""
    world = Workflow.opened("remembered", bounds=TenantLimits(requests=12))
    two_approvals(world)
    carol = world.person("carol", "manager")
    for n in range(6):
        asked = world.pay(n)
        world.approve(carol, asked, "a")
        assert world.final(asked).outcome == "allowed"
        assert world.report(world.tables.calls.of(asked.entry.event)[0], world.bank).says == ("accepted", "")

    assert len(world.tables.requests) == 3
    left = world.pay(7)
    world.passes(300_000)
    assert world.final(left).reason == "APPROVAL_TIMEOUT"
    assert len(world.tables.requests) == 3
    world.passes(HOUR_MS)
    assert not world.tables.requests.rows


@pytest.mark.parametrize("spent", [True, False], ids=["used up", "revoked"])
def test_a_grant_that_is_over_makes_room_for_others(spent):
    """Not before every call that it had served before has ended; then, without anybody's word."""
    world = Workflow.opened("room", bounds=TenantLimits(grants=1))
    world.require("boss", **ASKED, **({"max_uses": 1} if spent else {"one_time": False}))
    carol, other = world.person("carol", "manager", ttl_ms=24 * HOUR_MS), world.register("agent", "other")
    world.approve(carol, world.pay(), "boss")
    if not spent:
        world.revoke_grant(carol, "boss")
    world.passes(24 * HOUR_MS)
    assert len(world.tables.grants) == 1
    world.passes(HOUR_MS)
    assert len(world.tables.grants) == 0

    world.require("boss", who="agent:other", **ASKED, one_time=False)
    asked = world.pay(by=world.open_session(other))
    world.approve(world.person("dave", "manager"), asked, "boss")
    assert world.final(asked).outcome == "allowed"


def test_an_approval_is_small_however_it_is_padded(world):
    """Sixteen are kept whole in one row of state, which the broker takes up to 4 MiB."""
    two_approvals(world)
    asked = world.pay(500)
    carol = world.person("carol", "manager")
    padded = {"traceparent": "x" * (limits.EVENT_BYTES_MAX - 2000)}
    refused = world.nothing_changes(lambda: world.send(world.approval(asked, "a"), carol, **padded))
    assert refused.says == ("refused", "MALFORMED_HEADER")
    for n in range(limits.APPROVALS_PER_REQUEST_MAX):
        given = world.approve(world.person(f"m{n}", "manager"), asked, "a", reason="ü" * limits.REASON_CHARS_MAX)
        assert given.says == ("accepted", "")

    largest = max(len(codec.frame(row)) for row in world.tables.requests.rows.values())
    assert largest < limits.OUTPUT_MESSAGE_BYTES_MAX // 8


# ---- who may know


def test_a_requesters_id_is_no_calls_id(world):
    """A clerk who may answer one request of an agent is shown that call, and none that the board is asked about."""
    metas = {"big": {"approval_criteria": "role:board", "timeout": 300}, "small": ASKED}
    needed = [f"big::{{tool.id == '{PAY}'}}", f"small::{{tool.id == '{REFUND}'}}"]
    constraints = {"attestations": metas}
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "attestations": needed, "constraints": constraints})
    clerk = world.person("clerk", "manager")
    for amount in range(4):
        world.pay(1000 + amount)
    world.call(world.bot, REFUND, {"amount": 1})
    requester = tagged_digest(REQUESTER_TAG, b"bot", b"bot").hex()

    for by in (clerk, world.bot):
        refused = world.ask(by, "invocation", requester)
        assert refused.says[0] == "refused"
    assert len(reply(world.ask(clerk, "approvals"))["requests"]) == 1


def test_a_stranger_learns_nothing_of_a_guess_at_parameters(world):
    """Right or wrong, the answer is that it is not for them to say."""
    world.require("boss", **ASKED)
    asked, eve = world.pay(10), world.person("eve")
    for guess in ({}, {"parameters_sha256": bytes(32)}):
        world.is_refused("APPROVER_NOT_AUTHORIZED", lambda guess=guess: world.approve(eve, asked, "boss", **guess))


# ---- delegation


@pytest.mark.parametrize(
    ("meanwhile", "ends"),
    [
        (lambda world, alice, leaf: world.revoke_delegation(alice, leaf), ("denied", "DELEGATION_REVOKED")),
        (lambda world, alice, _: world.revoke_session(alice), ("denied", "DELEGATION_REVOKED")),
        (lambda world, *_: world.advance(100_000), ("denied", "DELEGATION_EXPIRED")),
        (lambda world, *_: (world.advance(1), world.person("alice")), ("denied", "NO_POLICY")),
        (lambda world, alice, _: world.close(alice), ("allowed", "")),
    ],
    ids=["revoked", "session revoked", "expired", "role lost", "session closed"],
)
def test_a_delegated_call_that_waits_is_decided_by_what_its_chain_is_then(world, meanwhile, ends):
    """A yes does not bring back what was taken from the chain; and nothing of it is left."""
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    world.require("boss", **ASKED)
    alice, carol = world.person("alice", "payer"), world.person("carol", "manager")
    leaf = world.grant_to(alice, "bot", life_ms=100_000).entry.event
    asked = world.pay(on_behalf_of=leaf)
    assert asked.says == ("pending", "APPROVAL_PENDING")
    meanwhile(world, alice, leaf)
    assert world.approve(carol, asked, "boss").says == ("accepted", "")

    decision = world.final(asked)
    assert (decision.outcome, decision.reason) == ends
    assert decision.subjects == ("user:alice", "bot")
    assert not world.tables.pending.rows
    assert world.tables.requests.weight == 0


def recent_login(world: Workflow, **meta: object) -> Actor:
    """Let alice's calls need a login of the last five minutes, and return her session with such a one."""
    constraints = {"attestations": {"phishing_resistant": {"time_to_live": 300, **meta}}}
    world.publish_policy(
        {"policy_id": "user:alice", **ANYTHING, "attestations": ["phishing_resistant"], "constraints": constraints}
    )
    alice = world.person("alice")
    world.attest(world.bridge, alice, "phishing_resistant")
    return alice


def test_a_login_grows_no_younger_by_being_handed_on(world):
    """Where a policy limits the age of phishing_resistant, a delegation does not begin it anew."""
    alice = recent_login(world)
    assert world.pay(by=alice).says == ("allowed", "")
    world.advance(400_000)
    assert world.pay(by=alice).says == ("denied", "ATTESTATION_EXPIRED")

    leaf = world.grant_to(alice, "bot").entry.event
    assert world.pay(on_behalf_of=leaf).says == ("denied", "ATTESTATION_EXPIRED")


@pytest.mark.parametrize("hops", [1, 2])
def test_a_login_counts_for_a_delegate_while_it_is_young(world, hops):
    """Its age is the login's, not the delegation's, through every hop: the last millisecond counts, the next not."""
    alice = recent_login(world)
    world.advance(100_000)
    planner = world.open_session(world.register("agent", "planner"))
    leaf = world.grant_to(alice, "bot" if hops == 1 else "planner").entry.event
    if hops == 2:
        world.publish_policy({"policy_id": "agent:planner", **ANYTHING})
        world.advance(100_000)
        leaf = world.grant_to(planner, "bot", parent=leaf, life_ms=HOUR_MS // 2).entry.event
    world.advance(300_000 - hops * 100_000 - 1)
    assert world.pay(on_behalf_of=leaf).says == ("allowed", "")

    world.advance(1)
    assert world.pay(on_behalf_of=leaf).says == ("denied", "ATTESTATION_EXPIRED")


def test_a_login_that_is_attested_again_is_young_again(world):
    """For who has it, and for whom it is handed on to from then on."""
    alice = recent_login(world)
    world.advance(200_000)
    world.attest(world.bridge, alice, "phishing_resistant")
    leaf = world.grant_to(alice, "bot").entry.event
    world.advance(200_000)

    assert world.pay(by=alice).says == ("allowed", "")
    assert world.pay(on_behalf_of=leaf).says == ("allowed", "")


def test_a_login_of_which_an_old_row_does_not_say_when_it_was_is_as_old_as_can_be(world):
    """Rows of older versions are read: a policy that limits no age is met, one that does is not."""
    leaf = world.grant_to(recent_login(world), "bot").entry.event
    row = world.tables.delegations.rows[leaf]
    assert (row.phishing_resistant, row.login_at) == (True, world.now)
    world.tables.delegations.put(leaf, replace(row, login_at=None))
    assert world.pay(on_behalf_of=leaf).says == ("denied", "ATTESTATION_EXPIRED")

    world.publish_policy({"policy_id": "user:alice", **ANYTHING, "attestations": ["phishing_resistant"]})
    assert world.pay(on_behalf_of=leaf).says == ("allowed", "")


@pytest.mark.parametrize("meta", [{"max_uses": 5}, {"one_time": True}], ids=str)
def test_how_often_a_login_has_served_is_not_known_to_a_delegate(world, meta):
    """A policy that limits its uses is not met, however young it is."""
    alice = recent_login(world, **meta)
    leaf = world.grant_to(alice, "bot").entry.event

    assert world.pay(on_behalf_of=leaf).says == ("denied", "ATTESTATION_CONSUMED")
    assert world.pay(by=alice).says == ("allowed", "")


@pytest.mark.parametrize("limited", [{"one_time": True}, {"max_uses": 2}, {"ttl_ms": 60_000}], ids=str)
def test_a_login_that_counts_for_little_is_not_handed_on(world, limited):
    """What its setter has limited in number or time is not copied without that limit."""
    world.publish_policy({"policy_id": "user:alice", **ANYTHING, "attestations": ["phishing_resistant"]})
    alice = world.person("alice")
    world.attest(world.bridge, alice, "phishing_resistant", **limited)
    leaf = world.grant_to(alice, "bot", life_ms=HOUR_MS).entry.event

    assert world.pay(on_behalf_of=leaf).says == ("denied", "ATTESTATION_MISSING")
    assert world.pay(by=alice).says == ("allowed", "")


def test_a_bridge_that_is_revoked_takes_back_what_its_closed_sessions_did(world):
    """Whoever stole its key would close its sessions first: their delegations and approvals end all the same."""
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    two_approvals(world)
    stolen, dora = world.register("bridge", "stolen"), world.person("dora", "board")
    alice, mallory = world.person("alice", "payer", by=stolen), world.person("mallory", "manager", by=stolen)
    leaf = world.grant_to(alice, "desk").entry.event
    asked = world.pay(500)
    world.approve(mallory, asked, "a")
    world.close(alice)
    world.close(mallory)
    world.revoke("stolen")

    assert world.tables.delegations.rows[leaf].revoked
    world.approve(dora, asked, "b")
    assert world.finals(asked.entry.event) == []


# ---- attestations, prompts, memory


def test_what_was_used_by_a_call_that_is_then_denied_is_given_back():
    """A record that serves once, the rate and the prompt: all, or nothing."""
    world = Workflow.opened("given-back", bounds=TenantLimits(prompts=1))
    meta = {"attestations": {"checked": {"one_time": True}}, "rate_limit": 60}
    needed = [f"checked::{{tool.id == '{MAIL}'}}"]
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "attestations": needed, "constraints": meta})
    world.ran(world.bot, CHECK, attests("checked", one_time=True))
    assert world.prompted(world.bot, "a").says == ("allowed", "")
    world.ran(world.bot, CHECK, attests("checked", one_time=True))

    world.is_denied("LIMIT_EXCEEDED", lambda: world.prompted(world.bot, "b"))
    assert world.prompted(world.bot, "a").says == ("allowed", "")
    assert world.prompted(world.bot, "a").says == ("denied", "ATTESTATION_CONSUMED")


def test_a_report_whose_second_attestation_finds_no_room_sets_neither():
    """And its call stays open: the tool may report again."""
    world = Workflow.opened("no-room", bounds=TenantLimits(attestations=1))
    called = world.call(world.bot, CHECK, {})
    said = (attests("checked"), attests("shared"))

    world.is_refused("LIMIT_EXCEEDED", lambda: world.report(called.decision_leaf, world.desk, attestations=said))
    assert world.report(called.decision_leaf, world.desk, attestations=said[:1]).says == ("accepted", "")


def test_a_tool_attests_nothing_for_an_operation_that_has_become_anothers(world):
    """Its call is still open; what the new owner declares is not its to say."""
    called = world.call(world.bot, REFUND, {})
    world.revoke("bank", kid=world.bank.kid)
    bank = world.register("tool", "bank", tools=(declared(PAY),))
    world.register("tool", "vip", tools=(declared(REFUND, attests=("vip",)),))

    def report() -> object:
        return world.report(called.decision_leaf, bank, attestations=(attests("vip"),))

    world.is_refused("ATTESTATION_NOT_DECLARED", report)


@pytest.mark.parametrize("listed", ["attests", "prompts"])
def test_a_declaration_lists_so_much(world, listed):
    """Each pattern is held against each key: thousands would stop the tenant for seconds with one report."""
    for n, says in ((512, ("accepted", "")), (513, ("refused", "LIMIT_EXCEEDED"))):
        tools = (declared(f"tool:t{n}/x", **{listed: tuple(f"k{i}" for i in range(n))}),)
        assert world.send(world.registration("tool", f"t{n}", tools=tools), world.admin).says == says


def test_an_attester_lists_so_much(world):
    """As a tool."""
    attributes = Attributes(attests=tuple(f"k{i}" for i in range(513)), subjects=("*",))
    world.refuses("LIMIT_EXCEEDED", world.registration("attester", "notary", attributes=attributes), world.admin)


def test_a_list_goes_on_behind_what_has_just_run_out(world):
    """More values run out at once than leave with a record: a page that finds none says where to go on."""
    for n in range(500):
        world.put(world.bot, f"a{n:03}", 0, ttl_ms=1000)
    world.put(world.bot, "z", 1)
    world.advance(2000)

    first = reply(world.keys_in(world.bot))
    assert (first["keys"], first["more"]) == ([], True)
    second = reply(world.keys_in(world.bot, after=first["next"]))
    assert ([one["key"] for one in second["keys"]], second["more"]) == (["z"], False)
