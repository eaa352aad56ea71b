"""The verifier and the fold let the same sessions go, also where one of them knows more rows that are due."""

import pytest

from schemas import limits
from schemas.records import SessionRevoked
from tests.builders import keys_of
from tests.offers_world import LOOK, Offers, call_of
from tests.processors.test_evidence_monitor import said
from tests.reference.log_builder import SmallLog
from tests.workflow_world import declared
from tests.world import HOUR_MS, World


def test_signs_of_life_that_the_verifier_does_not_hear_hold_no_session_back() -> None:
    """Else one program could spoil every export: it opens a session again that has left the fold, not the verifier."""
    world = Offers.opened("silence")
    keys = keys_of("silence", "again")
    world.open_session(world.app, keys=keys, ttl_ms=1)
    leaves = world.now + 1 + limits.SESSION_LINGER_MS
    world.advance(leaves - world.now - limits.PRESENCE_MS - 1)
    made = [world.instance(world.app, LOOK) for _ in range(3 * limits.EXPIRED_PER_EVENT_MAX)]
    world.advance(limits.PRESENCE_MS - 1)
    for one in made:
        world.tell(one.session, "presence")
    world.advance(2)
    world.open_session(world.app, keys=keys)

    assert said(SmallLog.of(world).folder(), world.genesis) == ("UNWITNESSED", None)


def test_the_end_of_a_session_that_the_fold_still_knew_holds() -> None:
    """64 rows leave for each record, calls among them: an admin may revoke a session that has left the verifier."""
    world = World.founded("late end")
    agent = world.register("agent", "bot")
    world.register("tool", "calc")
    world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:**"]})
    early, other = world.open_session(agent, ttl_ms=1), world.open_session(agent)
    for n in range(130):
        assert world.call(other, "tool:calc/run", {"n": n}).says[0] == "allowed"
    world.advance(HOUR_MS)
    ended = world.send(SessionRevoked(session=early.kid, reason=""), world.admin)

    assert ended.says == ("accepted", "")
    assert said(SmallLog.of(world).folder(), world.genesis) == ("UNWITNESSED", None)


def test_an_offer_and_its_reports_hold_offline() -> None:
    """Also the report of a key whose session has left the verifier."""
    world = Offers.opened("offered")
    one = world.instance(world.app, declared(LOOK, timeout_ms=HOUR_MS))
    asked = call_of(world, world.bot, LOOK)
    assert one.report(asked.decision_leaf).says == ("accepted", "")
    world.close(one.session)
    world.advance(HOUR_MS)
    assert one.report(asked.decision_leaf).says[0] == "refused"

    assert said(SmallLog.of(world).folder(), world.genesis) == ("UNWITNESSED", None)


@pytest.mark.parametrize("later", [0, HOUR_MS])
def test_a_report_after_the_end_of_its_session_is_not_accepted(later: int) -> None:
    """A thief of the key of an offer has a friend at the monitor: the session was over, and everybody can see it."""
    world = Offers.opened("over")
    one = world.instance(world.app, declared(LOOK, timeout_ms=HOUR_MS))
    asked = call_of(world, world.bot, LOOK)
    world.close(one.session)
    world.advance(later)
    refused = one.report(asked.decision_leaf)
    assert refused.says == ("refused", "LATE_RESULT" if not later else "UNKNOWN_KEY") or later
    log = SmallLog.of(world)
    lie = log.resign(refused.entry.index, outcome="accepted", reason="")

    assert said(log.folder(), world.genesis) == ("UNWITNESSED", None)
    assert said(lie.folder(), world.genesis) == ("KEY_NOT_VALID", refused.entry.index)
