"""Approvals that nobody may give: each refused by its own reason, the request stays open, and nothing changes."""

import pytest

from processors.state.bounds import TenantLimits
from schemas import codec, limits
from schemas.events.attributes import Attributes
from schemas.events.workflow import AttestationApproved, AttestationDenied
from schemas.records import CallPayload
from schemas.topics import DECISIONS
from tests.builders import Actor, payload_of
from tests.workflow_world import ANYTHING, PAY, Workflow
from tests.world import HOUR_MS

KEY = "manager"


@pytest.fixture
def world() -> Workflow:
    world = Workflow.opened()
    world.require(KEY, approval_criteria="role:manager", timeout=300)
    return world


@pytest.fixture
def carol(world) -> Actor:
    return world.person("carol", "manager")


def both(world, refused: str, asked, by: Actor, key: str = KEY, **other):
    """Neither a yes nor a no is heard; afterwards the request is as open as it was."""
    for say in (world.approve, world.deny):
        world.is_refused(refused, lambda say=say: say(by, asked, key, **other))
    assert world.finals(asked.entry.event) == []


def test_a_stranger_is_not_heard(world, carol):
    """Neither of another role, nor of a role that only sounds alike, nor with no attribute at all."""
    strangers = [world.person("eve", "intern"), world.person("mal", "Manager"), world.person("nil", user=None)]
    asked = world.pay()
    for stranger in strangers:
        both(world, "APPROVER_NOT_AUTHORIZED", asked, stranger)

    world.approve(carol, asked, KEY)
    assert world.final(asked).outcome == "allowed"


def test_a_programs_session_is_not_heard(world, carol):
    """Agents and services approve nothing, whatever attributes they are registered with."""
    attributes = Attributes(roles=("manager",), user="carol")
    programs = [
        world.open_session(world.register(role, f"a-{role}", attributes=attributes)) for role in ("agent", "service")
    ]
    asked = world.pay()
    for program in programs:
        both(world, "APPROVER_NOT_AUTHORIZED", asked, program)


def test_no_tool_bridge_or_admin_is_heard(world):
    """People approve; those who run the system do not."""
    asked = world.pay()
    for by in (world.bank, world.bridge, world.admin, world.monitor, world.agent):
        both(world, "WRONG_ROLE", asked, by)


def test_nobody_approves_a_call_of_their_own(world):
    """The person who asks; in whose name an agent asks; whose user an agent is registered for; any hop between."""
    alice = world.person("alice", "manager", "payer")
    world.require(KEY, who="role:payer", approval_criteria="role:manager", timeout=300)
    world.publish_policy({"policy_id": "agent:planner", **ANYTHING})
    owned = world.open_session(world.register("agent", "owned", attributes=Attributes(user="alice")))
    mailed = world.open_session(world.register("agent", "mailed", attributes=Attributes(email="alice@x.example")))
    world.require(KEY, who="agent:mailed", approval_criteria="role:manager", timeout=300)
    world.require(KEY, who="agent:owned", approval_criteria="role:manager", timeout=300)
    planner = world.open_session(world.register("agent", "planner", attributes=Attributes(user="dave")))
    first = world.grant_to(alice, "planner").entry.event
    second = world.grant_to(planner, "bot", parent=first).entry.event
    nameless = world.person("alice", "manager", "payer", user=None)
    again = world.person("alice", "manager", "payer")
    dave = world.person("dave", "manager")
    by_mail = world.person("al", "manager", email="alice@x.example")

    both(world, "APPROVER_IS_REQUESTER", world.pay(by=mailed), by_mail)
    for asked in (world.pay(by=alice), world.pay(by=owned), world.pay(on_behalf_of=second)):
        assert asked.says == ("pending", "APPROVAL_PENDING")
        for session in (alice, again, nameless):
            both(world, "APPROVER_IS_REQUESTER", asked, session)
    both(world, "APPROVER_IS_REQUESTER", asked, dave)


def test_the_user_of_a_bound_service_does_not_approve(world):
    """The user signs, the service acts: both are the requester."""
    alice = world.person("alice", "manager", "payer")
    world.publish_policy({"policy_id": "service:shop", **ANYTHING}, {"policy_id": "role:payer", **ANYTHING})
    world.require(KEY, who="service:shop", approval_criteria="role:manager", timeout=300)
    world.register("service", "shop", attributes=Attributes(user="dave"))
    asked = world.pay(by=alice, on_behalf_of=world.grant_to(alice, "shop").entry.event)
    dave = world.person("dave", "manager")

    for session in (alice, dave):
        both(world, "APPROVER_IS_REQUESTER", asked, session)


def test_one_person_is_one_of_a_quorum(world, carol):
    """Twice in one session, from a second one, without the user's name, or with a registered approver's key."""
    world.require(KEY, approval_criteria="role:manager", quorum=2, timeout=300)
    again = [
        carol,
        world.person("carol", "manager"),
        world.person("carol", "manager", user=None),
        world.person("carol", "manager", user="caroline"),
        world.person("caz", "manager", user="carol"),
        world.register("approver", "kiosk", attributes=Attributes(roles=("manager",), user="carol")),
    ]
    dave = world.person("dave", "manager")
    asked = world.pay()
    world.approve(carol, asked, KEY)
    for same in again:
        world.is_refused("APPROVER_DUPLICATE", lambda same=same: world.approve(same, asked, KEY))

    world.approve(dave, asked, KEY)
    assert world.final(asked).outcome == "allowed"


def test_an_approval_names_the_parameters_that_were_shown(world, carol):
    """Another digest, of the same call or of another one, is APPROVAL_MISMATCH."""
    asked, other = world.pay(10), world.pay(9_999)
    for shown in (bytes(32), other.decisions[0].parameters_sha256, b""):
        both(world, "APPROVAL_MISMATCH", asked, carol, parameters_sha256=shown)


def test_an_approval_of_one_call_is_no_approval_of_another(world, carol):
    """The same parameters again are another call; an unknown one, or another key, is APPROVAL_UNKNOWN."""
    asked = world.pay()
    world.approve(carol, asked, KEY)
    again = world.pay()

    assert again.says == ("pending", "APPROVAL_PENDING")
    both(world, "APPROVAL_UNKNOWN", again, carol, key="other")
    both(world, "APPROVAL_UNKNOWN", again, carol, request=bytes(32))
    both(world, "APPROVAL_UNKNOWN", again, carol, request=asked.decisions[0].event_id * 2)
    assert world.finals(again.entry.event) == []


def test_after_the_deadline_nothing_is_heard(world, carol):
    """Log order decides: at its deadline a request is closed, also while its row is still here."""
    asked = world.pay()
    world.advance(300_000)

    assert world.approve(carol, asked, KEY).says == ("refused", "APPROVAL_CLOSED")
    assert world.final(asked).reason == "APPROVAL_TIMEOUT"
    world.is_refused("APPROVAL_CLOSED", lambda: world.approve(carol, asked, KEY))
    world.passes(HOUR_MS)
    again = world.person("dora", "manager")
    world.is_refused("APPROVAL_UNKNOWN", lambda: world.approve(again, asked, KEY))
    world.final(asked)


def test_a_yes_that_is_late_because_much_was_due_is_not_heard(world, carol):
    """With more than 64 rows due at once some are still here: the deadline counts, not the row."""
    asked = [world.pay(i) for i in range(70)]
    world.advance(300_000)
    last = max(world.tables.pending.rows)
    (open_one,) = [one for one in asked if one.entry.event == last]

    assert world.approve(carol, open_one, KEY).says == ("refused", "APPROVAL_CLOSED")
    assert last in world.tables.pending.rows
    for _ in range(3):
        world.tick()
    assert {world.final(one).reason for one in asked} == {"APPROVAL_TIMEOUT"}


def test_a_session_that_ended_cannot_approve(world):
    """Run out, closed or revoked: the key of the approver is dead."""
    short = world.person("carol", "manager", ttl_ms=1_000)
    closed, revoked = world.person("dave", "manager"), world.person("erin", "manager")
    asked = world.pay()
    world.close(closed)
    world.revoke_session(revoked)
    world.advance(1_000)
    for session in (short, closed, revoked):
        both(world, "EXPIRED_SESSION", asked, session)


def test_an_approval_cannot_be_delegated(world, carol):
    """Approvals are given in one's own name: a header that says otherwise is refused, not ignored."""
    eve = world.person("eve")
    leaf = world.grant_to(carol, "user:eve").entry.event
    asked = world.pay()
    for by in (eve, carol):
        body = world.approval(asked, KEY)
        folded = world.nothing_changes(lambda by=by, body=body: world.send(body, by, on_behalf_of=leaf))
        assert folded.says == ("refused", "NOT_SUPPORTED")


def test_who_lost_the_right_meanwhile_is_not_counted(world):
    """Two approved; one of them is a manager no more when the second comes: the call waits for a third."""
    world.require(KEY, approval_criteria="role:manager", quorum=2, timeout=300)
    carol, dave, erin = (world.person(name, "manager") for name in ("carol", "dave", "erin"))
    asked = world.pay()
    world.approve(carol, asked, KEY)
    world.advance(1)
    world.person("carol", "intern")
    world.approve(dave, asked, KEY)
    assert world.finals(asked.entry.event) == []

    world.approve(erin, asked, KEY)
    assert world.final(asked).outcome == "allowed"


@pytest.mark.parametrize("say", [AttestationApproved, AttestationDenied])
def test_a_reason_is_short(world, carol, say):
    """What people give as their reason is bounded."""
    asked = world.pay()
    both(world, "LIMIT_EXCEEDED", asked, carol, reason="x" * (limits.REASON_CHARS_MAX + 1))
    send = world.approve if say is AttestationApproved else world.deny
    assert send(carol, asked, KEY, reason="x" * limits.REASON_CHARS_MAX).says == ("accepted", "")


def test_the_same_yes_again_is_a_duplicate(world, carol):
    """Bytes that were heard are not heard again: neither for this call nor to count twice."""
    world.require(KEY, approval_criteria="role:manager", quorum=2, timeout=300)
    asked = world.pay()
    yes = world.approve(carol, asked, KEY)

    again = world.nothing_changes(lambda: world.fold(yes.received.value, yes.received.headers))
    assert again.says == ("refused", "DUPLICATE")
    assert world.finals(asked.entry.event) == []


def test_an_approval_used_by_another_call_while_this_one_waits_is_used_up(world):
    """A grant of one use, made by the first of two approvals a call needs, and spent by a sibling: not spent again."""
    metas = {
        "a": {"approval_criteria": "role:manager", "timeout": 300, "max_uses": 1},
        "b": {"approval_criteria": "role:board", "timeout": 300},
    }
    needed = ["a", f"b::{{tool.id == '{PAY}' AND params.amount > 100}}"]
    world.publish_policy(
        {"policy_id": "agent:bot", **ANYTHING, "attestations": needed, "constraints": {"attestations": metas}}
    )
    carol, dora, erin = world.person("carol", "manager"), world.person("dora", "board"), world.person("erin", "manager")
    asked = world.pay(500)
    world.approve(carol, asked, "a")
    assert world.pay(5).says == ("allowed", "")  # spends the grant
    world.approve(erin, asked, "a")  # one more person adds no use
    assert world.pay(6).says == ("pending", "APPROVAL_PENDING")
    world.approve(dora, asked, "b")

    assert (world.final(asked).outcome, world.final(asked).reason) == ("denied", "APPROVAL_CONSUMED")


def test_a_grant_that_was_revoked_while_the_call_waits_serves_it_not(world):
    """Who takes back what was approved takes it back for the waiting call too."""
    metas = {
        "a": {"approval_criteria": "role:manager", "timeout": 300, "one_time": False},
        "b": {"approval_criteria": "role:board", "timeout": 300},
    }
    world.publish_policy(
        {"policy_id": "agent:bot", **ANYTHING, "attestations": ["a", "b"], "constraints": {"attestations": metas}}
    )
    carol, dora = world.person("carol", "manager"), world.person("dora", "board")
    asked = world.pay()
    world.approve(carol, asked, "a")
    world.revoke_grant(carol, "a")
    world.approve(dora, asked, "b")
    assert world.finals(asked.entry.event) == []

    world.passes(300_000)
    assert world.final(asked).outcome == "denied"


def test_a_grant_does_not_serve_a_chain_in_which_its_giver_stands(world, carol):
    """Approved for bot on behalf of alice; with carol as a hop between them, carol's own yes counts for nothing."""
    world.publish_policy({"policy_id": "role:payer", **ANYTHING}, {"policy_id": "role:manager", **ANYTHING})
    world.require(KEY, approval_criteria="role:manager", timeout=300, one_time=False)
    alice = world.person("alice", "payer")
    direct = world.grant_to(alice, "bot").entry.event
    world.approve(carol, world.pay(on_behalf_of=direct), KEY)
    assert world.pay(on_behalf_of=direct).says == ("allowed", "")

    between = world.grant_to(carol, "bot", parent=world.grant_to(alice, "user:carol").entry.event).entry.event
    assert world.pay(on_behalf_of=between).says == ("pending", "APPROVAL_PENDING")


@pytest.mark.parametrize("revoked", [False, True])
def test_a_grant_lives_on_after_its_givers_session_unless_that_was_revoked(world, revoked):
    """For good: also after the row of the revoked session has left."""
    world.require(KEY, approval_criteria="role:manager", timeout=300, one_time=False)
    carol = world.person("carol", "manager", ttl_ms=60_000)
    session = world.open_session(world.agent, ttl_ms=20 * HOUR_MS)
    world.approve(carol, world.pay(by=session), KEY)
    if revoked:
        world.revoke_session(carol)
    world.passes(HOUR_MS)
    assert carol.kid not in world.tables.sessions.rows

    expected = ("pending", "APPROVAL_PENDING") if revoked else ("allowed", "")
    assert world.pay(by=session).says == expected


def test_an_approval_given_through_a_bridge_that_was_revoked_counts_for_nothing(world):
    """Sessions that it opened are revoked with it, and what they approved."""
    world.require(KEY, approval_criteria="role:manager", quorum=2, timeout=7200)
    other = world.register("bridge", "second-bridge")
    carol, dave = world.person("carol", "manager", by=other), world.person("dave", "manager")
    asked = world.pay()
    world.approve(carol, asked, KEY)
    world.revoke("second-bridge")
    world.passes(HOUR_MS // 2)
    world.approve(dave, asked, KEY)

    assert world.finals(asked.entry.event) == []


def test_what_waits_is_bounded(world):
    """A requester has at most 100 requests open; the tenant so many bytes. Beyond: denied, and nothing is opened."""
    for i in range(100):
        assert world.pay(i).says[0] == "pending"
    world.is_denied("LIMIT_EXCEEDED", world.pay)

    row = next(iter(world.tables.requests.rows.values()))
    size = len(row.call.event) + len(row.opened.event)  # as it was signed, and who let its signer speak
    small = Workflow.opened("small", bounds=TenantLimits(pending_bytes=4 * size + 64))
    small.require(KEY, approval_criteria="role:manager", timeout=300)
    assert small.pay().says[0] == "pending"
    small.is_denied("LIMIT_EXCEEDED", small.pay)
    assert (len(small.tables.requests), len(small.tables.pending)) == (1, 1)


def test_a_tenant_has_room_for_so_many_grants():
    """Beyond it the approval is refused whole, and the call waits on."""
    world = Workflow.opened("small", bounds=TenantLimits(grants=0))
    world.require(KEY, approval_criteria="role:manager", timeout=300, one_time=False)
    carol = world.person("carol", "manager")
    asked = world.pay()

    world.is_refused("LIMIT_EXCEEDED", lambda: world.approve(carol, asked, KEY))
    assert world.finals(asked.entry.event) == []


def test_an_approved_call_that_finds_no_room_is_denied_once(world, carol):
    """Too many open calls at the approval: a final decision all the same, and the approval is spent with it."""
    tight = Workflow.opened("tight", bounds=TenantLimits(pending_calls=1))
    tight.require(KEY, approval_criteria="role:manager", timeout=300)
    manager = tight.person("carol", "manager")
    asked = tight.pay()
    tight.call(tight.bot, "tool:desk/check")
    tight.approve(manager, asked, KEY)

    assert tight.final(asked).reason == "LIMIT_EXCEEDED"
    tight.is_refused("APPROVAL_CLOSED", lambda: tight.approve(manager, asked, KEY))


def test_what_is_executed_is_what_was_shown(world, carol):
    """The parameters in the tool's payload are the JCS bytes whose digest people signed."""
    text = '{"to":"bob","amount":1.50, "z": [1,2], "a":"\\u0041"}'
    asked = world.call(world.bot, PAY, text)
    yes = world.approve(carol, asked, KEY)

    payload: CallPayload = codec.decode(codec.current("CallPayload"), payload_of(yes, DECISIONS))
    assert payload.parameters == '{"a":"A","amount":1.5,"to":"bob","z":[1,2]}'
