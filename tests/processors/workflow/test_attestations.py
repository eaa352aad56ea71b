"""Attestations: a step proves that it happened, to whoever asks for it, as often as was said and no longer."""

import pytest

from processors.calls.attestations import record_id
from schemas import topics
from schemas.events.attributes import Attributes
from tests.builders import Actor
from tests.workflow_world import CHECK, MAIL, PAY, Workflow, attests, forgotten, reply, told
from tests.world import HOUR_MS


@pytest.fixture
def world() -> Workflow:
    world = Workflow.opened()
    world.require("checked")
    return world


def row_of(world: Workflow, key: str = "checked", setter: str = CHECK, session: Actor | None = None):
    return world.tables.attestations.get(record_id((session or world.bot).kid, key, setter))


def test_a_call_that_needs_a_step_passes_once_the_step_is_attested(world):
    """Before the check: ATTESTATION_MISSING. After the tool reported and attested it: allowed, again and again."""
    assert world.pay().says == ("denied", "ATTESTATION_MISSING")

    done = world.ran(world.bot, CHECK, attests("checked", {"by": "desk"}))

    assert done.says == ("accepted", "")
    row = row_of(world)
    assert (row.setter, row.by, row.value, row.uses, row.until) == (
        CHECK, "desk", '{"by": "desk"}', 0, world.tables.sessions.rows[world.bot.kid].expires_at,
    )  # fmt: skip
    [change] = told(done, topics.OPS_ATTESTATIONS)
    assert (change.kind, change.key, change.status, change.resource) == ("record", "checked", "active", CHECK)
    for uses in (1, 2):
        asked = world.pay()
        assert (world.final(asked).outcome, world.final(asked).subjects) == ("allowed", ())
        assert row_of(world).uses == uses


def test_a_tool_may_attest_while_it_executes(world):
    """AttestationSet names the open decision; it counts before the tool has reported."""
    open_call = world.call(world.bot, CHECK)
    said = world.attest(world.desk, world.bot, "checked", decision=open_call.decision_leaf)

    assert said.says == ("accepted", "")
    assert world.pay().says == ("allowed", "")


def test_what_is_attested_once_serves_one_call(world):
    """`one_time` by the tool's word: consumed with the decision, and not given back when the tool fails."""
    world.ran(world.bot, CHECK, attests("checked", one_time=True))

    first = world.pay()
    assert first.says == ("allowed", "")
    [change] = told(first, topics.OPS_ATTESTATIONS)
    assert (change.status, change.uses, change.uses_max) == ("consumed", 1, 1)
    world.report(first.decision_leaf, world.bank, outcome="failed")

    world.is_denied("ATTESTATION_CONSUMED", world.pay)


@pytest.mark.parametrize(("said", "asked", "uses"), [(3, None, 3), (None, 2, 2), (3, 2, 2), (2, 3, 2)])
def test_the_stricter_number_of_uses_counts(world, said, asked, uses):
    """What the setter says and what the policy says: the smaller one."""
    world.require("checked", **({} if asked is None else {"max_uses": asked}))
    world.ran(world.bot, CHECK, attests("checked", max_uses=said))

    assert [world.pay().says[0] for _ in range(uses + 1)] == ["allowed"] * uses + ["denied"]
    world.is_denied("ATTESTATION_CONSUMED", world.pay)


@pytest.mark.parametrize(("said_ms", "asked_s", "ends_ms"), [(5_000, None, 5_000), (None, 3, 3_000), (5_000, 3, 3_000)])
def test_an_attestation_lives_as_long_as_the_stricter_says(world, said_ms, asked_s, ends_ms):
    """At the last millisecond it counts; at its end it does not, and is told to have expired."""
    world.require("checked", **({} if asked_s is None else {"time_to_live": asked_s}))
    world.ran(world.bot, CHECK, attests("checked", ttl_ms=said_ms))

    world.advance(ends_ms - 1)
    assert world.pay().says == ("allowed", "")
    world.advance(1)
    world.is_denied("ATTESTATION_EXPIRED", world.pay)


def test_setting_again_replaces_with_fresh_uses(world):
    """One record for each (session, key, setter)."""
    world.ran(world.bot, CHECK, attests("checked", 1, one_time=True))
    world.pay()
    world.ran(world.bot, CHECK, attests("checked", 2, one_time=True))

    assert len(world.tables.attestations) == 1
    assert (row_of(world).value, row_of(world).uses) == ("2", 0)
    assert world.pay().says == ("allowed", "")


@pytest.mark.parametrize("unlimited", [CHECK, MAIL])
def test_of_several_records_the_one_that_loses_least_is_used(world, unlimited):
    """Two setters of one key: unlimited before limited, and only that one is counted."""
    world.require("shared")
    world.ran(world.bot, CHECK, attests("shared", one_time=unlimited != CHECK))
    prompt = world.prompted(world.bot, "hi")
    world.report(prompt.decision_leaf, world.desk, attestations=(attests("shared", one_time=unlimited != MAIL),))

    assert [world.pay().says[0] for _ in range(2)] == ["allowed"] * 2
    uses = {setter: row_of(world, "shared", setter).uses for setter in (CHECK, MAIL)}
    assert uses == {CHECK: 0, MAIL: 0, unlimited: 2}


@pytest.mark.parametrize("by", ["desk", "admin"])
def test_its_setter_or_an_admin_revokes_an_attestation(world, by):
    """Revoked: it is there, and counts no more."""
    world.ran(world.bot, CHECK, attests("checked"))
    revoked = world.take_back(getattr(world, by), world.bot, "checked", CHECK)

    assert revoked.says == ("accepted", "")
    assert [one.status for one in told(revoked, topics.OPS_ATTESTATIONS)] == ["revoked"]
    world.is_denied("ATTESTATION_REVOKED", world.pay)


def test_a_policy_names_whose_word_counts(world):
    """`set_by`: the key from another operation is the wrong setter's."""
    world.require("shared", set_by=[CHECK])
    prompt = world.prompted(world.bot, "hi")
    world.report(prompt.decision_leaf, world.desk, attestations=(attests("shared"),))
    world.is_denied("ATTESTATION_WRONG_SETTER", world.pay)

    world.ran(world.bot, CHECK, attests("shared"))
    assert world.pay().says == ("allowed", "")


def test_an_attestation_is_one_sessions_alone(world):
    """Another session of the same agent has to take the step itself."""
    world.ran(world.bot, CHECK, attests("checked"))
    other = world.open_session(world.agent)

    world.is_denied("ATTESTATION_MISSING", lambda: world.pay(by=other))


def test_the_bridge_says_that_a_login_was_phishing_resistant(world):
    """Its own key, into a session that it opened; a delegate inherits what its root was when it delegated."""
    alice = world.person("alice", "payer")
    world.require("phishing_resistant", who="role:payer")
    world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:**"]})
    world.is_denied("ATTESTATION_MISSING", lambda: world.pay(by=alice))
    before = world.grant_to(alice, "bot").entry.event

    assert world.attest(world.bridge, alice, "phishing_resistant").says == ("accepted", "")

    assert world.pay(by=alice).says == ("allowed", "")
    world.is_denied("ATTESTATION_MISSING", lambda: world.pay(on_behalf_of=before))
    after = world.grant_to(alice, "bot").entry.event
    assert world.pay(on_behalf_of=after).says == ("allowed", "")


def test_an_attester_says_what_its_registration_lists(world):
    """A third system with a key of its own: key patterns, subject patterns, and its name as the setter."""
    told_of = Attributes(attests=("kyc.*",), subjects=("bot",))
    attester = world.register("attester", "kyc", attributes=told_of)
    world.require("kyc.done", set_by=["attester:kyc"])

    assert world.attest(attester, world.bot, "kyc.done").says == ("accepted", "")
    assert world.pay().says == ("allowed", "")
    assert world.take_back(attester, world.bot, "kyc.done", "attester:kyc").says == ("accepted", "")
    world.is_denied("ATTESTATION_REVOKED", world.pay)


def test_records_leave_when_they_are_over_and_with_their_session(world):
    """A TTL keeps a row for a while to say `expired`; then, and with the session, it leaves."""
    short = world.open_session(world.agent, ttl_ms=2 * HOUR_MS)
    world.ran(short, CHECK, attests("checked", ttl_ms=1_000), attests("checked.twice"))
    assert len(world.tables.attestations) == 2

    ended = world.passes(1_000 + HOUR_MS)
    assert forgotten(ended, topics.OPS_ATTESTATIONS) == [record_id(short.kid, "checked", CHECK).hex()]
    ended = world.passes(HOUR_MS)
    assert forgotten(ended, topics.OPS_ATTESTATIONS) == [record_id(short.kid, "checked.twice", CHECK).hex()]
    assert len(world.tables.attestations) == 0


def test_one_use_is_counted_however_many_requirements_a_record_meets(world):
    """Two policies of one call ask for the key with a single use: it serves both, once."""
    both = {"attestations": ["checked"], "constraints": {"attestations": {"checked": {"max_uses": 1}}}}
    world.publish_policy(
        {"policy_id": "team:t", **both}, {"policy_id": "agent:bot", "resources": ["**"], "extends": "team:t", **both}
    )
    world.publish_policy({"policy_id": "team:t"}, {"policy_id": "agent:bot", "resources": ["**"]})
    world.ran(world.bot, CHECK, attests("checked"))
    world.publish_policy(
        {"policy_id": "team:t", **both}, {"policy_id": "agent:bot", "resources": ["**"], "extends": "team:t", **both}
    )

    assert world.pay().says == ("allowed", "")
    assert row_of(world).uses == 1
    world.is_denied("ATTESTATION_CONSUMED", world.pay)


def test_the_asker_sees_its_own_attestations(world):
    """StateQueried tells records of the asking session, and of no other."""
    world.ran(world.bot, CHECK, attests("checked", {"n": 1}, one_time=True))
    other = world.open_session(world.agent)

    answer = world.nothing_changes(lambda: world.ask(world.bot, "attestations"))
    [record] = reply(answer)["attestations"]
    assert (record["key"], record["setter"], record["value"], record["max_uses"]) == ("checked", CHECK, {"n": 1}, 1)
    assert record["id"] == record_id(world.bot.kid, "checked", CHECK).hex()
    assert reply(world.ask(other, "attestations")) == {"attestations": [], "next": None}
    assert PAY not in str(reply(world.ask(world.bot, "attestations", "mailed")))
