"""Sessions that offer tools: whom a call reaches, who may report it, who owns a name, and the end of an instance."""

from dataclasses import replace

import pytest

from schemas import codec, limits, topics
from schemas.events.attributes import Attributes
from schemas.records import Event
from tests.builders import Actor, invocation, keys_of, pairs, recipients
from tests.offers_world import LOOK, SHOUT, Instance, Offers, call_of, names
from tests.workflow_world import ANYTHING, declared
from tests.world import HOUR_MS


@pytest.fixture
def world() -> Offers:
    return Offers.opened()


# ---- a call to a session


def test_a_call_reaches_the_session_that_offers_and_its_report_closes_it(world):
    """The decision names the session, is sealed to its key alone, and only that key reports it."""
    one = world.instance(world.app, LOOK)
    asked = call_of(world, world.bot, LOOK)
    (decision,) = asked.decisions
    assert (decision.outcome, decision.tool, decision.target) == ("allowed", "app", one.id)
    assert recipients(asked, topics.DECISIONS) == pairs(one.key)

    reported = one.report(asked.decision_leaf)

    assert reported.says == ("accepted", "")
    (result,) = reported.results
    assert (result.outcome, result.to) == ("ok", world.bot.kid)
    assert not world.tables.calls.rows


def test_the_log_tells_the_newest_instance_and_a_call_reaches_the_one_that_it_names(world):
    older, newer = world.instance(world.app, LOOK), None
    world.advance(1)
    newer = world.instance(world.app, LOOK)
    assert call_of(world, world.bot, LOOK).decisions[0].target == newer.id
    assert call_of(world, world.bot, LOOK, target=older.id).decisions[0].target == older.id


def test_a_call_that_names_nobody_reaches_no_session(world):
    """Its caller has looked up no key, so it could not believe the result of a call that has run."""
    world.instance(world.app, LOOK)
    asked = world.send(invocation(LOOK), world.bot)
    assert asked.says == ("denied", "TOOL_UNAVAILABLE")
    assert not world.tables.calls.rows


def test_a_tool_that_the_target_lacks_is_an_error_and_never_another_sessions(world):
    """Also where another session of the owner has it: a prompt would go to a stranger."""
    bare = world.instance(world.app)
    world.instance(world.app, LOOK)
    for target in (bare.id, bytes(32), world.bot.kid):
        asked = call_of(world, world.bot, LOOK, target=target)
        assert asked.says == ("denied", "TOOL_UNAVAILABLE"), target
        assert not world.tables.calls.rows


def test_an_offer_takes_the_place_of_the_one_before(world):
    one = world.instance(world.app)
    assert call_of(world, world.bot, LOOK).says == ("denied", "TOOL_UNAVAILABLE")
    one.offer(LOOK)
    assert call_of(world, world.bot, LOOK).says == ("allowed", "")
    one.offer(SHOUT)
    assert call_of(world, world.bot, LOOK).says == ("denied", "TOOL_UNAVAILABLE")
    assert call_of(world, world.bot, SHOUT).says == ("allowed", "")


def test_instances_differ_in_what_they_offer(world):
    """Each by its own declaration: a prompt that one requires is no concern of the other."""
    plain = world.instance(world.app, LOOK)
    strict = world.instance(world.app, declared(LOOK, prompts=("text",)))
    given = {"text": "hello"}
    assert call_of(world, world.bot, LOOK, target=plain.id, parameters=given).says == ("allowed", "")
    assert call_of(world, world.bot, LOOK, target=strict.id, parameters=given).says == ("denied", "PROMPT_MISSING")


def test_policies_judge_a_call_to_a_session_as_any_other(world):
    world.instance(world.app, LOOK)
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "denied_resources": [LOOK]})
    assert call_of(world, world.bot, LOOK).says == ("denied", "RESOURCE_DENIED")


# ---- who may report, and what the key of an offer may do


def test_nobody_but_the_key_of_the_chosen_instance_reports(world):
    """Not its session's key, not another instance of the same principal, not a registered tool."""
    one, twin = world.instance(world.app, LOOK), world.instance(world.app, LOOK)
    leaf = call_of(world, world.bot, LOOK, target=one.id).decision_leaf
    assert world.report(leaf, one.session).says == ("refused", "WRONG_ROLE")
    assert twin.report(leaf).says == ("refused", "NOT_THE_TOOL")
    assert world.report(leaf, world.bank).says == ("refused", "NOT_THE_TOOL")
    assert one.report(leaf, session_id=twin.id).says == ("refused", "WRONG_PRINCIPAL")
    assert one.report(leaf, session_id=None).says == ("refused", "WRONG_PRINCIPAL")
    assert one.report(leaf).says == ("accepted", "")


def test_the_key_of_an_instance_reports_no_call_of_a_registered_tool(world):
    world.instance(world.app, LOOK)
    other = world.instance(world.other)
    leaf = world.pay().decision_leaf
    assert other.report(leaf).says == ("refused", "NOT_THE_TOOL")


@pytest.mark.parametrize("body", sorted(cls.__name__ for cls in __import__("processors.handlers").handlers.HANDLERS))
def test_the_key_of_an_offer_signs_nothing_but_reports(body):
    """So a stolen one opens no session, asks for nothing, attests nothing."""
    from processors.intake.authority import MAY_SIGN

    allowed = {cls.__name__ for cls, roles in MAY_SIGN.items() if "offer" in roles}
    assert (body in allowed) == (body == "ResultReported")


def test_an_offered_operation_attests_nothing(world):
    one = Instance(world, world.open_session(world.app))
    assert one.offer(declared(LOOK, attests=("checked",))).says == ("refused", "NOT_SUPPORTED")


# ---- keys


def test_the_key_of_an_offer_is_nobody_elses_and_stays(world):
    one = world.instance(world.app, LOOK)
    other = Instance(world, world.open_session(world.other))
    taken = Actor("offer", "other", one.key.keys)
    assert other.offer("tool:other/x", keys=taken).says == ("refused", "KEY_TAKEN")
    own = Actor("offer", "other", other.session.keys)
    assert other.offer("tool:other/x", keys=own).says == ("refused", "KEY_TAKEN")
    fresh = Actor("offer", "app", keys_of("fresh"))
    assert one.offer(LOOK, keys=fresh).says == ("refused", "OFFER_KEY")
    registration = world.registration("agent", "later", keys=one.key.keys)
    assert world.send(registration, world.admin).says == ("refused", "KEY_TAKEN")


def test_the_offer_proves_that_its_key_is_held_for_this_principal(world):
    one = Instance(world, world.open_session(world.app))
    stolen = world.offer(one.key.keys, "offer", "other", principal_id="app")
    assert one.offer(LOOK, key=stolen).says == ("refused", "BAD_POSSESSION")
    session_proof = world.offer(one.key.keys, "session", "app")
    assert one.offer(LOOK, key=session_proof).says == ("refused", "BAD_POSSESSION")
    small = world.offer(one.key.keys, "offer", "app", x25519=bytes(32))
    assert one.offer(LOOK, key=small).says == ("refused", "BAD_KEY")


# ---- names


def test_a_name_belongs_to_the_first_principal_dead_or_alive(world):
    """Nobody inherits it: a caller's habit would send its prompts to a stranger."""
    world.register("service", "app2", attributes=Attributes(offers=("tool:app/**",)))
    one = world.instance(world.app, LOOK)
    thief = Instance(
        world, world.open_session(world.register("service", "app3", attributes=Attributes(offers=("tool:app/**",))))
    )
    assert thief.offer(LOOK).says == ("refused", "RESOURCE_TAKEN")
    world.close(one.session)
    world.revoke("app")
    assert thief.offer(LOOK).says == ("refused", "RESOURCE_TAKEN")


def test_a_registered_tools_name_is_not_offered_by_a_session(world):
    anyone = world.register("service", "wide", attributes=Attributes(offers=("tool:bank/**",)))
    assert Instance(world, world.open_session(anyone)).offer("tool:bank/pay").says == ("refused", "RESOURCE_TAKEN")


def test_a_name_must_meet_the_registrations_patterns(world):
    one = Instance(world, world.open_session(world.app))
    assert one.offer("tool:other/x").says == ("refused", "OFFER_NOT_ALLOWED")
    assert one.offer(LOOK, "tool:application/x").says == ("refused", "OFFER_NOT_ALLOWED")
    bare = Instance(world, world.bot)
    assert bare.offer("tool:bot/x").says == ("refused", "OFFER_NOT_ALLOWED")
    assert bare.offer().says == ("accepted", "")


def test_an_enrolment_key_gives_the_patterns_that_an_admin_gave_it(world):
    from tests.builders import grant

    given = grant(attributes=Attributes(offers=("tool:app/**", "tool:lab/*")))
    enrolment = world.register("enrolment", "enrol", enrolment=given)
    ok = world.registration("service", "lab", attributes=Attributes(offers=("tool:lab/*",)))
    assert world.send(ok, enrolment).says == ("accepted", "")
    wide = world.registration("service", "lab2", attributes=Attributes(offers=("tool:**",)))
    assert world.send(wide, enrolment).says == ("refused", "ATTRIBUTE_INVALID")


@pytest.mark.parametrize("role", ["tool", "approver", "attester", "bridge", "enrolment", "monitor"])
def test_only_agents_and_services_have_patterns(world, role):
    body = world.registration(role, "somebody")
    offered = replace(body.attributes, offers=("**",))
    assert world.send(replace(body, attributes=offered), world.admin).says == ("refused", "ATTRIBUTE_INVALID")


def test_a_persons_session_offers_any_name_and_is_reached_by_target_only(world):
    alice = Instance(world, world.person("alice"))
    assert alice.offer("tool:bank/pay", "prompt:x").says == ("accepted", "")
    assert call_of(world, world.bot, "tool:bank/pay").decisions[0].tool == "bank"
    assert call_of(world, world.bot, "prompt:x").says == ("denied", "TOOL_UNAVAILABLE")
    asked = call_of(world, world.bot, "prompt:x", target=alice.id)
    assert (asked.decisions[0].tool, asked.decisions[0].target) == ("user:alice", alice.id)
    assert alice.report(asked.decision_leaf).says == ("accepted", "")


def test_a_label_of_a_program_is_not_taken_for_a_person(world):
    one = Instance(world, world.open_session(world.app))
    assert one.offer(label="alice@app").says == ("refused", "NAME_INVALID")
    assert Instance(world, world.person("alice")).offer(label="alice@app").says == ("accepted", "")


# ---- the end of an instance


@pytest.mark.parametrize("way", ["closed", "revoked", "silent", "expired"])
def test_a_dead_instance_is_asked_no_more_and_its_open_calls_end_as_unknown(world, way):
    """At once, not after the tool's time-out of an hour."""
    one = Instance(world, world.open_session(world.app, ttl_ms=50_000 if way == "expired" else HOUR_MS))
    one.offer(declared(LOOK, timeout_ms=HOUR_MS))
    call_of(world, world.bot, LOOK)
    if way == "closed":
        world.close(one.session)
    elif way == "revoked":
        world.revoke_session(one.session)
    else:
        world.advance(limits.PRESENCE_MS)
    ended = world.tick()
    assert [(r.outcome, r.reason) for r in ended.results] == [("unknown", "NO_REPORT")]
    assert call_of(world, world.bot, LOOK).says == ("denied", "TOOL_UNAVAILABLE")
    assert call_of(world, world.bot, LOOK, target=one.id).says == ("denied", "TOOL_UNAVAILABLE")
    assert world.tell(world.bot, "agents")["agents"] == []


def test_a_sign_of_life_keeps_an_instance(world):
    one = world.instance(world.app, LOOK)
    for _ in range(5):
        world.advance(limits.PRESENCE_MS - 1)
        assert world.tell(one.session, "presence") == {"until": world.now + limits.PRESENCE_MS}
    assert call_of(world, world.bot, LOOK).says == ("allowed", "")


def test_only_an_instance_gives_a_sign_of_life(world):
    assert world.ask(world.bot, "presence").says == ("refused", "QUERY_INVALID")


def test_nothing_of_a_session_that_has_left_stays(world):
    one = world.instance(world.app, LOOK)
    world.close(one.session)
    world.advance(2 * HOUR_MS)
    for _ in range(3):
        world.tick()
    assert not world.tables.offers.rows
    assert not world.tables.presence.rows
    assert one.id not in world.tables.sessions.rows


def test_a_closed_session_offers_nothing_again(world):
    one = world.instance(world.app, LOOK)
    world.close(one.session)
    assert one.offer(LOOK).says == ("refused", "EXPIRED_SESSION")


# ---- discovery


def test_agents_are_told_with_their_tools_and_proof(world):
    one = world.instance(world.app, LOOK, SHOUT, label="local:dev/app:app")
    other = world.instance(world.other)
    told = world.tell(world.bot, "agents")
    assert told["next"] is None
    assert sorted(names(told["agents"])) == sorted([one.id.hex(), other.id.hex()])
    (mine,) = [row for row in told["agents"] if row["session"] == one.id.hex()]
    assert mine == {
        "session": one.id.hex(), "principal_id": "app", "role": "service", "label": "local:dev/app:app",
        "since": world.now, "tools": [LOOK, SHOUT],
    }  # fmt: skip
    agent = world.tell(world.bot, "agent", {"session": one.id.hex()})["agent"]
    assert [declared["resource"] for declared in agent["declarations"]] == [LOOK, SHOUT]
    event: Event = codec.decode_as(Event, world.tables.offers.rows[one.id].offered.event)
    assert event.body == one.body(LOOK, SHOUT, label="local:dev/app:app")
    assert world.tell(world.bot, "agent", {"resource": LOOK})["agent"]["session"] == one.id.hex()
    alice = Instance(world, world.person("alice", "payer", email="alice@example.com"))
    alice.offer(LOOK)
    told = world.tell(world.bot, "agent", {"session": alice.id.hex()})["agent"]
    assert told["opened"] is None
    assert "example.com" not in str(told)
    assert world.tell(world.bot, "agent", {"resource": "tool:nobody/x"}) == {"agent": None}


def test_agents_come_in_pages(world, monkeypatch):
    monkeypatch.setattr(limits, "QUERY_ROWS_MAX", 2)
    made = sorted(world.instance(world.app, LOOK).id.hex() for _ in range(5))
    seen, argument = [], None
    for _ in range(4):
        page = world.tell(world.bot, "agents", argument)
        seen += names(page["agents"])
        argument = page["next"]
        if argument is None:
            break
    assert seen == made


@pytest.mark.parametrize("what", ["agents", "agent"])
@pytest.mark.parametrize("argument", [1, "x", "A" * 64, [], {"session": 1}, {"session": "x"}, {}, {"more": "x"}])
def test_malformed_questions_are_refused(world, what, argument):
    assert world.ask(world.bot, what, argument).says[0] == "refused"


# ---- bounds


def test_an_offer_is_bounded(world):
    one = Instance(world, world.open_session(world.app))
    many = [f"tool:app/t{n}" for n in range(limits.TOOLS_PER_PRINCIPAL_MAX + 1)]
    assert one.offer(*many).says == ("refused", "LIMIT_EXCEEDED")
    assert one.offer(LOOK, LOOK).says == ("refused", "REGISTRATION_CONFLICT")
    assert one.offer(declared(LOOK, timeout_ms=limits.TOOL_TIMEOUT_MS_MAX + 1)).says == ("refused", "LIMIT_EXCEEDED")
    assert one.offer("tool:app/\u200bx").says[0] == "refused"
    assert one.offer(label="x" * 257).says == ("refused", "LIMIT_EXCEEDED")
    assert not world.tables.offers.rows


# ---- the owner's policy


def test_the_policy_of_the_owners_app_binds_calls_of_a_bare_name(world):
    """`tool:add` says nothing of the app that offers it; routing knows it."""
    calc = world.register("service", "calc", attributes=Attributes(offers=("tool:add",)))
    world.instance(calc, "tool:add")
    assert call_of(world, world.bot, "tool:add", parameters={"a": 9}).says == ("allowed", "")
    narrow = {"constraints": {"parameters": {"tool:add": {"a": {"max": 5}}}}}
    world.publish_policy({"policy_id": "app:calc", "resources": ["tool:add"], **narrow})
    assert call_of(world, world.bot, "tool:add", parameters={"a": 9}).says[0] == "denied"
    assert call_of(world, world.bot, "tool:add", parameters={"a": 3}).says == ("allowed", "")
    world.publish_policy({"policy_id": "app:other", **ANYTHING, "denied_resources": ["**"]})
    assert call_of(world, world.bot, "tool:add", parameters={"a": 3}).says == ("allowed", "")
