"""Attacks with offers: names that are not one's own, records that cost too much, instances that are gone."""

from dataclasses import replace

import pytest

from processors.calls.bodies import reference_to, written
from schemas import limits
from schemas.events.attributes import Attributes
from schemas.rows import WorkRow
from tests.builders import grant, invocation
from tests.offers_world import LOOK, SHOUT, Instance, Offers, call_of
from tests.workflow_world import ANYTHING, PAY, declared
from tests.world import HOUR_MS

CHECK = "tool:compliance/check"


@pytest.fixture
def world() -> Offers:
    return Offers.opened()


# ---- another's name


def test_nobody_plays_the_step_that_a_rule_asks_for_before_another(world):
    """A person's session may offer any name; its report is no proof that the owner of the name did anything."""
    compliance = world.register("tool", "compliance", tools=(declared(CHECK),))
    after = [{"id": "checked", "when": PAY, "after": {"resource": CHECK}}]
    world.publish_policy({"policy_id": "role:payer", **ANYTHING, "sequence": after})
    mallory = Instance(world, world.person("mallory", "payer"))
    assert mallory.offer(CHECK).says == ("accepted", "")
    played = call_of(world, mallory.session, CHECK, target=mallory.id)
    assert played.says == ("allowed", "")
    assert mallory.report(played.decision_leaf).says == ("accepted", "")
    assert world.call(mallory.session, PAY, {"amount": 1}).says == ("denied", "SEQUENCE_MISSING")
    done = call_of(world, mallory.session, CHECK)
    world.report(done.decision_leaf, compliance)
    assert world.call(mallory.session, PAY, {"amount": 1}).says == ("allowed", "")


@pytest.mark.parametrize("name", ["tool:bank/x:calc/y", "tool:bank/:calc/", "tool:x:calc/y"])
def test_a_name_that_only_holds_the_owners_name_is_under_the_owners_policy(world, name):
    """The app of a name is its first segment; whoever writes its own name further behind stays under its own policy."""
    calc = world.register("service", "calc", attributes=Attributes(offers=("tool:**",)))
    one = Instance(world, world.open_session(calc))
    if one.offer(name).says != ("accepted", ""):
        return
    world.publish_policy({"policy_id": "app:calc", "resources": ["tool:none"]})
    assert call_of(world, world.bot, name).says[0] == "denied"


def test_a_wide_pattern_lets_nobody_offer_under_another_principals_name(world):
    """Callers are granted `tool:bank/*`: a new name there is no stranger's, unless an administrator has said so."""
    wide = world.register("service", "wide", attributes=Attributes(offers=("**", "tool:*")))
    one = Instance(world, world.open_session(wide))
    assert one.offer("tool:bank/new").says == ("refused", "OFFER_NOT_ALLOWED")
    assert one.offer("tool:app/new").says == ("refused", "OFFER_NOT_ALLOWED")
    assert one.offer("tool:wide/x", "tool:free/x", "prompt:x").says == ("accepted", "")
    helper = world.register("service", "helper", attributes=Attributes(offers=("tool:bank/*",)))
    assert Instance(world, world.open_session(helper)).offer("tool:bank/new").says == ("accepted", "")


# ---- calls within calls


def test_a_condition_of_a_callers_delegation_sees_no_body_as_a_value(world):
    """What travels beside the inner call is no ticket, also where the delegation lists an object that looks like it."""
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    alice = world.person("alice", "payer")
    text = reference_to(bytes(16), b"T-1")
    tickets = {"ticket_ids": ["T-1", written(text)]}
    leaf = world.grant_to(alice, "bot", resources=["**"], conditions=tickets).entry.event
    one = world.instance(world.app, LOOK)
    world.instance(world.other, replace(declared("tool:other/x"), body_paths=("ticket_id",)))
    outer = call_of(world, world.bot, LOOK, on_behalf_of=leaf, parameters={"ticket_id": "T-1"})
    assert world.within(outer, one.session, "tool:other/x", {"ticket_id": "T-1"}).says == ("allowed", "")
    body = invocation("tool:other/x", {"ticket_id": written(text)}, bodies=(text,))
    assert world.send(body, one.session, causation_id=outer.entry.event).says == ("denied", "BODY_UNSEEN")


@pytest.mark.parametrize("program", ["app", "bot"])
def test_what_a_session_has_tainted_stays_forbidden_when_a_tool_does_it_for_its_caller(world, program):
    """Also where the tool is another instance of the very caller."""
    taint = [{"id": "web", "when": PAY, "tainted_by": SHOUT}]
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "sequence": taint})
    caller = world.bot
    if program == "bot":
        taint = [{"id": "web", "when": PAY, "tainted_by": SHOUT}]
        world.publish_policy({"policy_id": "service:app", **ANYTHING, "sequence": taint})
        caller = world.open_session(world.app)
    one = world.instance(world.app, LOOK, SHOUT)
    outer = call_of(world, caller, LOOK)
    assert world.within(outer, one.session, PAY, {"amount": 1}).says == ("allowed", "")
    assert call_of(world, caller, SHOUT).says == ("allowed", "")
    assert world.call(caller, PAY, {"amount": 1}).says == ("denied", "SEQUENCE_TAINT")
    assert world.within(outer, one.session, PAY, {"amount": 1}).says == ("denied", "SEQUENCE_TAINT")


# ---- what one record may cost


def test_a_tools_session_offers_no_name_of_others(world):
    """A tool is registered with its operations; its sessions have no patterns."""
    one = Instance(world, world.open_session(world.bank))
    assert one.offer("tool:other/x").says == ("refused", "OFFER_NOT_ALLOWED")


def test_the_paths_of_an_offer_are_bounded_together(world):
    """Each is parsed in the fold: 150 operations with 512 paths each took a second."""
    paths = tuple(f"p{at}" for at in range(limits.DECLARED_PATTERNS_MAX // 8 + 1))
    tools = [replace(declared(f"tool:app/{at}"), body_paths=paths[:512]) for at in range(9)]
    one = Instance(world, world.open_session(world.app))
    assert one.offer(*tools).says == ("refused", "LIMIT_EXCEEDED")


def test_the_calls_to_an_instance_that_is_gone_end_a_few_with_each_record(world):
    """100,000 open calls to one session once ended in one record, which wrote as many rows."""
    one = world.instance(world.app, declared(LOOK, timeout_ms=HOUR_MS))
    asked = [call_of(world, world.bot, LOOK) for _ in range(2 * limits.EXPIRED_PER_EVENT_MAX)]
    mark = world.tables.savepoint()
    world.close(one.session)
    assert world.tables.savepoint() - mark < 20
    outcomes = []
    while world.tables.calls.rows:
        left = len(world.tables.calls)
        ended = world.tick()
        assert 0 < left - len(world.tables.calls) <= limits.EXPIRED_PER_EVENT_MAX
        outcomes += [(result.outcome, result.reason) for result in ended.results]
    assert outcomes == [("unknown", "NO_REPORT")] * len(asked)
    world.tick()
    assert not world.tables.presence.rows


def test_an_instance_that_is_gone_reports_nothing_while_its_calls_leave(world):
    """Nor does it call within them."""
    one = world.instance(world.app, declared(LOOK, timeout_ms=HOUR_MS))
    asked = [call_of(world, world.bot, LOOK) for _ in range(2 * limits.EXPIRED_PER_EVENT_MAX)]
    world.advance(limits.PRESENCE_MS)
    world.tick()
    left = next(iter(world.tables.calls.rows))
    outer = next(one for one in asked if one.decision_leaf == left)
    assert one.report(left).says == ("refused", "LATE_RESULT")
    assert world.within(outer, one.session, PAY, {"amount": 1}).says == ("denied", "PARENT_CALL")


def test_the_instances_of_a_principal_are_bounded(world, monkeypatch):
    """A call without a target looks at all of them."""
    monkeypatch.setattr(limits, "INSTANCES_PER_PRINCIPAL_MAX", 3)
    monkeypatch.setattr(limits, "OFFERS_PER_PRINCIPAL_MAX", 5)
    made = [world.instance(world.app, LOOK) for _ in range(3)]
    assert Instance(world, world.open_session(world.app)).offer(LOOK).says == ("refused", "LIMIT_EXCEEDED")
    assert made[0].offer(LOOK, SHOUT).says == ("accepted", "")
    world.advance(limits.PRESENCE_MS)
    world.instance(world.app, LOOK), world.instance(world.app, LOOK)
    assert Instance(world, world.open_session(world.app)).offer(LOOK).says == ("refused", "LIMIT_EXCEEDED")
    world.instance(world.other, "tool:other/x")


def test_a_page_of_agents_sorts_nothing(world):
    """Forty thousand keys were sorted after each offer."""
    made = [world.instance(world.app, LOOK) for _ in range(5)]
    assert list(world.tables.offers.of(("all",))) == sorted(one.id for one in made)


def test_an_offer_weighs_what_it_takes(world):
    """512 operations of 25 bytes each take 200 bytes each when they are decoded."""
    one = world.instance(world.app, *(f"tool:app/{at}" for at in range(512)))
    assert world.tables.offers.weight > 512 * 200
    world.close(one.session)


def test_what_an_enrolled_tool_declares_counts_with_all_its_paths(world):
    """Every client reads the registry, for ever."""
    enrolment = world.register("enrolment", "enrol", enrolment=grant())
    paths = tuple("x" * 100 + str(at) for at in range(500))
    tools = (replace(declared("tool:lab/x"), body_paths=paths, opaque_paths=paths),)
    before = world.tables.keys.rows[enrolment.kid].enrolled_bytes
    assert world.send(world.registration("tool", "lab", tools=tools), enrolment).says == ("accepted", "")
    assert world.tables.keys.rows[enrolment.kid].enrolled_bytes - before > 100_000


def test_callers_cannot_silence_an_instance_by_the_work_that_they_cause_it(world):
    """Its denied inner calls empty its bucket; its sign of life costs nothing, and is heard all the same."""
    one = world.instance(world.app, LOOK)
    world.tables.work.put(
        b"app", WorkRow(arrival=world.now * 1000 + limits.WORK_BUCKET_UNITS + 1_000_000, until=world.now + HOUR_MS)
    )
    assert world.ask(one.session, "agents").says == ("refused", "LIMIT_EXCEEDED")
    assert world.tell(one.session, "presence") == {"until": world.now + limits.PRESENCE_MS}
