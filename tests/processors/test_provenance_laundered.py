"""Ways around a rule on where a value came from: sessions, calls, the vault, attestations; and a person's words."""

import json

import pytest

from processors.state.bounds import TenantLimits
from schemas import limits
from schemas.events.workflow import AttestationSet, ContextListed, ContextRead, ContextWritten, DelegationGranted
from schemas.records import Prompt, SessionClosed
from tests.builders import invocation
from tests.offers_world import LOOK, call_of
from tests.provenance_world import BLANKS, HEARD, IBAN, PAGE, RULE, WEB, Bank
from tests.workflow_world import ANYTHING, CHECK, PAY, attests
from tests.world import HOUR_MS


@pytest.fixture
def world() -> Bank:
    return Bank.opened()


# ---- other ways for a value


def test_another_session_of_the_program_heard_it_too(world):
    """Also one that is opened after the first was closed, or has ended."""
    world.fetch(world.bot)
    assert world.pay(world.open_session(world.agent)) == HEARD
    world.send(SessionClosed(reason="done"), world.bot)
    world.advance(2 * HOUR_MS)
    later = world.open_session(world.agent)
    assert world.pay(later) == HEARD
    world.advance(limits.HEARD_KEPT_MS)
    world.tick()
    assert not world.tables.heard.rows
    assert world.pay(world.open_session(world.agent)) == ("allowed", "")


def test_another_session_does_not_pay_while_the_first_waits(world):
    world.call(world.bot, WEB)
    assert world.pay(world.open_session(world.agent)) == HEARD


def test_another_person_did_not_hear_it(world):
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    alice, bob = world.person("alice", "payer"), world.person("bob", "payer")
    world.fetch(alice)
    assert world.pay(alice) == HEARD
    assert world.pay(bob) == ("allowed", "")


def test_everybody_around_a_call_hears_its_result(world):
    """An inner caller, and the session that called it; and an inner call is denied for what the outer one heard."""
    one = world.instance(world.app, LOOK)
    outer = call_of(world, world.bot, LOOK)
    inner = world.within(outer, one.session, WEB)
    world.report(inner.decision_leaf, world.web, body=json.dumps(PAGE))
    assert world.pay(world.bot) == world.pay(one.session) == HEARD
    another = Bank.opened("another")
    another.fetch(another.bot)
    one = another.instance(another.app, LOOK)
    outer = call_of(another, another.bot, LOOK)
    assert another.within(outer, one.session, PAY, {"recipient": IBAN}).says == HEARD


def test_a_delegate_is_denied_what_its_delegator_heard(world):
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    alice = world.person("alice", "payer")
    leaf = world.grant_to(alice, "bot", resources=["**"]).entry.event
    world.fetch(alice)
    assert world.pay(world.bot, on_behalf_of=leaf) == HEARD
    world.send(SessionClosed(reason="done"), alice)
    assert world.pay(world.bot, on_behalf_of=leaf) == HEARD


@pytest.mark.parametrize(
    "how", [ContextRead(scope="team", key="k"), ContextListed(scope="team", prefix="", after="", limit=9)]
)
def test_a_reader_of_the_vault_is_tainted_as_its_writer_is(world, how):
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING}, {"policy_id": "service:app", **ANYTHING})
    app = world.open_session(world.app)
    world.fetch(world.bot)
    assert world.pay(app) == ("allowed", "")
    written = ContextWritten(scope="team", key="k", value=json.dumps(IBAN), ttl_ms=None, expected=None)
    assert world.send(written, world.bot).entry.outcome == "accepted"
    assert world.pay(app) == ("allowed", "")
    assert world.send(how, app).entry.outcome == "accepted"
    assert world.pay(app) == world.pay(app, "anything") == HEARD


def test_a_scope_is_tainted_as_long_as_the_value_lives(world):
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING}, {"policy_id": "service:app", **ANYTHING})
    world.fetch(world.bot)
    world.send(ContextWritten(scope="team", key="k", value="1", ttl_ms=1_000, expected=None), world.bot)
    world.advance(2_000)
    app = world.open_session(world.app)
    world.send(ContextRead(scope="team", key="k"), app)
    assert world.pay(app) == ("allowed", "")


def test_a_scope_that_was_written_before_stays_clean(world):
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING}, {"policy_id": "service:app", **ANYTHING})
    app = world.open_session(world.app)
    world.send(ContextWritten(scope="team", key="k", value="1", ttl_ms=None, expected=None), world.bot)
    world.fetch(world.bot)
    world.send(ContextRead(scope="team", key="k"), app)
    assert world.pay(app) == ("allowed", "")


def test_values_of_attestations_are_heard(world):
    """With a report, as the result is; from a program, as the program is tainted."""
    folded = world.call(world.bot, WEB)
    world.report(folded.decision_leaf, world.web, attestations=(attests("seen", {"by": IBAN}),))
    assert world.pay(world.bot) == HEARD
    assert world.pay(world.bot, "other") == ("allowed", "")


def test_a_program_passes_on_what_it_heard_in_its_own_name(world):
    """With a result, and with an attestation; the words count, not everything that it says."""
    world.publish_policy({"policy_id": "agent:tool:desk", "resources": ["tool:**"]})
    app, desk = world.open_session(world.app), world.open_session(world.desk)
    world.fetch(desk)
    asked = world.call(app, CHECK)
    world.report(asked.decision_leaf, world.desk, body=json.dumps(f"send it to {IBAN}"))
    assert world.pay(app) == HEARD
    assert world.pay(app, "other") == ("allowed", "")
    asked = world.call(world.bot, CHECK)
    said = AttestationSet(
        session=world.bot.kid, key="checked", value=json.dumps(IBAN), one_time=False, decision=asked.decision_leaf
    )
    assert world.send(said, world.desk).says == ("accepted", "")
    world.report(asked.decision_leaf, world.desk, body='"done"')
    assert world.pay(world.bot) == HEARD
    assert world.pay(world.bot, "other") == ("allowed", "")


def test_a_program_hears_the_words_of_the_calls_that_it_executes(world):
    """So it cannot pay in its own name, without the call as the cause."""
    one = world.instance(world.app, LOOK)
    world.fetch(world.bot)
    call_of(world, world.bot, LOOK, parameters={"pay": BLANKS})
    assert world.pay(one.session) == HEARD
    assert world.pay(one.session, "other") == ("allowed", "")


def test_a_denied_call_forgets_nothing_and_says_nothing(world):
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    alice = world.person("alice", "payer")
    world.fetch(alice)
    world.rule(argument="*")
    prompt = Prompt(path="recipient", parent=None, policy='{"denied_resources":["**"]}')
    body = invocation(PAY, {"recipient": IBAN}, prompts=(prompt,))
    assert world.send(body, alice).says == ("denied", "RESOURCE_DENIED")
    assert world.pay(alice) == world.pay(alice) == HEARD


# ---- values that a person said


def test_a_value_that_a_person_said_passes(world):
    """In an authenticated prompt of that session, before or with the call; a plain argument says nothing."""
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    alice = world.person("alice", "payer")
    world.fetch(alice)
    assert world.pay(alice) == HEARD
    prompt = Prompt(path="prompt", parent=None, policy="{}")
    asked = invocation("tool:desk/mail", {"prompt": f"pay {BLANKS}"}, prompts=(prompt,))
    assert world.send(asked, alice).says == ("allowed", "")
    assert world.pay(alice) == ("allowed", "")
    assert world.pay(alice, "1250") == HEARD
    own = Prompt(path="recipient", parent=None, policy="{}")
    assert world.send(invocation(PAY, {"recipient": "1250"}, prompts=(own,)), alice).says == ("allowed", "")


def test_a_programs_own_prompt_says_nothing(world):
    world.fetch(world.bot)
    own = Prompt(path="recipient", parent=None, policy="{}")
    assert world.send(invocation(PAY, {"recipient": IBAN}, prompts=(own,)), world.bot).says == HEARD
    assert world.send(invocation("tool:desk/mail", {"prompt": IBAN}, prompts=(Prompt(path="prompt", parent=None,
                      policy="{}"),)), world.bot).says == ("allowed", "")  # fmt: skip
    assert world.pay(world.bot) == HEARD


def test_a_persons_words_reach_the_delegate_and_a_programs_do_not(world):
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    alice = world.person("alice", "payer")
    plain = world.grant_to(alice, "bot", resources=["**"]).entry.event
    world.fetch(world.bot)
    assert world.pay(world.bot, on_behalf_of=plain) == HEARD
    ends, scope = world.now + HOUR_MS, '{"resources":["**"]}'
    granted = DelegationGranted(delegate="bot", parent=None, scope=scope, expires_at=ends, purpose=f"pay {IBAN}")
    told = world.send(granted, alice).entry.event
    assert world.pay(world.bot, on_behalf_of=told) == ("allowed", "")
    assert world.pay(world.bot) == HEARD


def test_a_value_that_the_rules_author_lists_passes(world):
    """Only in the same document: another cannot make a rule weaker."""
    listed = {"parameters": {"tool:bank/pay": {"recipient": {"allowed_values": [IBAN, "other"]}}}}
    world.fetch(world.bot)
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "constraints": listed})
    assert world.pay(world.bot) == HEARD
    world.publish_policy({"policy_id": "tool:bank", "sequence": [RULE], "constraints": listed})
    assert world.pay(world.bot) == ("allowed", "")


def test_an_approval_may_take_the_denials_place(world):
    """`else` names it; a call without heard values needs none."""
    meta = {"attestations": {"ok": {"approval_criteria": ["role:manager"], "timeout": 600}}}
    world.publish_policy(
        {"policy_id": "tool:bank", "sequence": [{**RULE, "else": "ok"}], "constraints": meta},
        {"policy_id": "role:manager", **ANYTHING},
    )
    assert world.pay(world.bot) == ("allowed", "")
    world.fetch(world.bot)
    waiting = world.call(world.bot, PAY, {"recipient": IBAN, "amount": 1})
    assert waiting.says == ("pending", "APPROVAL_PENDING")
    assert world.approve(world.person("mia", "manager"), waiting, "ok").decisions[0].outcome == "allowed"


def test_full_tables_taint_instead_of_forgetting():
    """A program that opens session after session leaves a bounded number of rows, and nothing becomes clean by that."""
    world = Bank.opened(bounds=TenantLimits(heard=16, heard_bytes=4_096))
    for _ in range(12):
        session = world.open_session(world.agent)
        world.fetch(session, {"text": "somebody else"})
        world.send(SessionClosed(reason="done"), session)
        assert len(world.tables.heard) <= 16 // 4 + 1
    world.fetch(world.bot)
    assert world.pay(world.bot) == world.pay(world.bot, "new") == HEARD
    world.advance(2 * limits.HEARD_KEPT_MS)
    world.tick()
    assert not world.tables.heard.rows
