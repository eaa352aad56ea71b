"""How a call ends without its report: time, revocation, limits, and rules that break."""

import json
from dataclasses import replace

import pytest

from processors.proof import jcs, merkle
from processors.proof.sealing import parameters_digest, payload_salt
from processors.state.bounds import TenantLimits
from schemas import codec, limits, topics
from schemas.records import Event
from schemas.rows import PolicyRow
from tests.builders import Folded, keys_of, noise, pairs, recipients, tool
from tests.world import HOUR_MS, Office, World

WAIT_MS = limits.EXECUTE_WITHIN_MS + 5_000 + limits.UNKNOWN_GRACE_MS  # of a tool with 5 s to run


@pytest.fixture
def office() -> Office:
    return Office.opened()


# ---- unknown


def expired(folded: Folded) -> list[bytes]:
    """Return the decisions whose calls a record ended as unknown, in order."""
    return [result.decision or b"" for result in folded.results if result.outcome == "unknown"]


def test_a_call_without_a_report_ends_as_unknown_at_its_deadline(office):
    """One millisecond before the deadline it is open; at the deadline the caller is told that nobody knows."""
    call = office.call()
    office.world.advance(WAIT_MS - 1)
    assert expired(office.world.tick()) == []
    office.world.advance(1)
    folded = office.world.tick()

    assert expired(folded) == [call.decision_leaf]
    (result,) = folded.results
    assert (result.outcome, result.reason, result.to) == ("unknown", "NO_REPORT", office.session.kid)
    assert (result.event, result.report, result.payload_sha256) == (call.entry.event, None, None)
    assert folded.entry.outputs == merkle.root([folded.of(topics.RESULTS)[0].leaf])
    assert not office.world.tables.calls.rows
    assert expired(office.world.tick()) == []


def test_any_record_ends_what_is_due_even_bytes_that_are_no_event(office):
    """Time is the broker's: the next record, whatever it is, ends the call, and is judged by itself."""
    call = office.call()
    office.world.advance(WAIT_MS)
    folded = office.world.fold(b"garbage", [])

    assert folded.says == ("refused", "UNDECODABLE")
    assert expired(folded) == [call.decision_leaf]


def test_a_report_after_unknown_is_late(office):
    """Unknown is final: a tool that comes too late is heard, audited, and changes nothing."""
    call = office.call()
    office.world.advance(WAIT_MS)
    office.world.tick()

    assert office.world.report(call.decision_leaf, office.tool).says == ("refused", "LATE_RESULT")


def test_a_report_at_the_deadline_is_late(office):
    """The record that comes at the deadline ends the call first, be it the report itself."""
    call = office.call()
    office.world.advance(WAIT_MS)
    folded = office.world.report(call.decision_leaf, office.tool)

    assert folded.says == ("refused", "LATE_RESULT")
    assert expired(folded) == [call.decision_leaf]
    assert [result.outcome for result in folded.results] == ["unknown", "refused"]


def test_at_most_sixty_four_calls_end_with_one_record_earliest_first(office):
    """A backlog is worked off in order of deadlines, 64 for each record, none twice and none forgotten."""
    due = {}
    for i in range(150):
        office.world.advance(i % 3)
        due[office.call({"i": i}).decision_leaf] = office.world.now + WAIT_MS
    office.world.advance(WAIT_MS)
    batches = [expired(office.world.tick()) for _ in range(4)]

    assert [len(batch) for batch in batches] == [limits.EXPIRED_PER_EVENT_MAX, 64, 22, 0]
    assert [leaf for batch in batches for leaf in batch] == sorted(due, key=lambda leaf: (due[leaf], leaf))


def test_a_backlog_gives_no_report_more_time(office):
    """Of seventy due calls the last six are still in their rows: a report on one of them is late all the same."""
    leaves = sorted(office.call({"i": i}).decision_leaf for i in range(70))
    office.world.advance(WAIT_MS)
    folded = office.world.report(leaves[-1], office.tool)

    assert folded.says == ("refused", "LATE_RESULT")
    assert expired(folded) == leaves[:64]
    assert expired(office.world.tick()) == leaves[64:]


def test_a_longer_running_tool_has_its_own_deadline():
    """The time to wait is what the tool declared, beside what every call has."""
    office = Office.opened("slow")
    office.world.register("tool", "slow", tools=(tool("tool:slow/run", timeout_ms=600_000),))
    leaf = office.world.call(office.session, "tool:slow/run").decision_leaf

    (row,) = office.world.tables.calls.rows.values()
    assert row.unknown_at == office.world.now + limits.EXECUTE_WITHIN_MS + 600_000 + limits.UNKNOWN_GRACE_MS
    office.world.advance(600_000)
    assert office.world.report(leaf, office.tool).says == ("refused", "NOT_THE_TOOL")


# ---- revocation


def test_revoking_an_agents_key_ends_its_sessions_within_the_same_record(office):
    """From the next record on no session of that key is heard; sessions of other instances live."""
    world = office.world
    second = world.register("agent", "bot")
    sessions = [office.session, *(world.open_session(office.agent) for _ in range(3))]
    spared = world.open_session(second)
    folded = world.revoke("bot", kid=office.agent.kid)

    ended = [(change.session_id, change.status, change.expires_at) for change in folded.session_changes]
    assert ended == [(kid, "ended", world.now) for kid in sorted(session.kid for session in sessions)]
    for session in sessions:
        assert world.call(session, office.resource).says == ("refused", "EXPIRED_SESSION")
    assert world.call(spared, office.resource).says == ("allowed", "")


def test_a_principal_that_revokes_itself_ends_its_sessions(office):
    """The agent's own revocation counts like an admin's."""
    office.world.revoke("bot", by=office.agent)

    assert office.call().says == ("refused", "EXPIRED_SESSION")


def test_a_call_that_was_allowed_before_the_revocation_still_gets_its_answer(office):
    """Revoking the caller does not undo what was decided: the report goes to the session that asked."""
    leaf = office.call().decision_leaf
    office.world.revoke("bot")
    folded = office.world.report(leaf, office.tool)

    assert folded.says == ("accepted", "")
    assert recipients(folded, topics.RESULTS) == pairs(office.session)


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_call_of_a_tool_without_live_keys_is_denied(how):
    """Allowed by policy, but nobody could open it: the call is denied, not left to wait."""
    office = Office.opened()
    world = office.world
    world.register("tool", "brief", expires_at=world.now + 1000)
    assert world.call(office.session, "tool:brief/run").says == ("allowed", "")
    if how == "revoked":
        world.revoke("brief")
    else:
        world.advance(1000)
    folded = world.call(office.session, "tool:brief/run")

    assert folded.says == ("denied", "TOOL_UNAVAILABLE")
    assert folded.decisions[0].tool is None
    assert len(folded.decisions[0].policies) == 1


def test_a_session_leaves_its_row_only_when_its_events_are_stale(office):
    """The row stays while an old event of the session could still be in time; then it leaves with its sequence."""
    world = office.world
    world.advance(HOUR_MS + limits.SESSION_LINGER_MS - 1)
    assert not world.tick().session_changes
    assert office.session.kid in world.tables.sessions.rows
    world.advance(1)
    folded = world.tick()

    assert [(change.session_id, change.status) for change in folded.session_changes] == [(office.session.kid, "ended")]
    assert [(o.partition, o.key, o.value) for o in folded.of(topics.SESSIONS)] == [
        (office.session.kid[-1] % 4, f"session/{office.session.kid.hex()}".encode(), None)
    ]
    assert office.session.kid not in world.tables.sessions.rows
    assert office.session.kid not in world.tables.sequences.rows
    assert office.call().says == ("refused", "UNKNOWN_KEY")


# ---- limits and failures


def test_a_call_whose_payload_is_too_large_is_denied_with_its_digest():
    """Above the tenant's bound nothing is sealed: the denial names the digest of the parameters instead."""
    office = Office.opened(bounds=TenantLimits(output_payload_bytes=600))
    assert office.call({"x": "a"}).says == ("allowed", "")
    folded = office.call({"x": "a" * 600})

    assert folded.says == ("denied", "OUTPUT_TOO_LARGE")
    event = codec.decode_as(Event, folded.received.value)
    salt = payload_salt(folded.entry.event, event.header.salt)
    digest = parameters_digest(salt, jcs.canonical({"x": "a" * 600})).hex()
    assert [decision.detail for decision in folded.decisions] == [f"sha256 {digest}"]
    assert all(output.payload is None for output in folded.outputs)


def test_a_report_whose_payload_is_too_large_is_an_outcome_without_its_body():
    """The call ends as the tool said, with the reason why the body is not there; it does not stay open."""
    office = Office.opened(bounds=TenantLimits(output_payload_bytes=600))
    leaf = office.call().decision_leaf
    folded = office.world.report(leaf, office.tool, body=json.dumps("a" * 600))

    assert folded.says == ("accepted", "")
    (result,) = folded.results
    assert (result.outcome, result.reason, result.payload_sha256) == ("ok", "OUTPUT_TOO_LARGE", None)
    assert result.report == folded.entry.event
    assert [(output.payload, output.recipients) for output in folded.of(topics.RESULTS)] == [(None, ())]
    assert not office.world.tables.calls.rows


def test_a_rule_that_breaks_denies_with_its_reason_on_the_log(office):
    """A policy row that cannot be read is no permission: INTERNAL_ERROR, a decision, an answer, and life goes on."""
    world = office.world
    row = world.tables.policies.rows[b"agent:bot"]
    for broken in (
        PolicyRow(document="no JSON", digest=noise("x")),
        replace(row, digest=noise("another document")),
        PolicyRow(document='{"policy_id":"agent:bot","nonsense":1}', digest=noise("y")),
    ):
        world.tables.policies.put(b"agent:bot", broken)
        folded = office.call()
        assert folded.says == ("denied", "INTERNAL_ERROR")
        (decision,), (result,) = folded.decisions, folded.results
        digests = (broken.digest,)
        assert (decision.outcome, decision.policies, decision.payload_sha256) == ("denied", digests, None)
        assert result.reason == "INTERNAL_ERROR"
        assert not world.tables.calls.rows

    world.tables.policies.put(b"agent:bot", row)
    assert office.call().says == ("allowed", "")


def test_open_calls_are_bounded():
    """What one caller has open with one tool is a part of its share; above it a call is denied; a report makes room."""
    office = Office.opened(bounds=TenantLimits(pending_calls=32))
    first, _ = office.call(), office.call()
    folded = office.call()

    assert folded.says == ("denied", "LIMIT_EXCEEDED")
    assert len(folded.decisions[0].policies) == 1
    office.world.report(first.decision_leaf, office.tool)
    assert office.call().says == ("allowed", "")


def test_every_call_gets_exactly_one_final_answer(office):
    """Whatever happens, each call ends once: denied, reported or unknown."""
    world = office.world
    calls = [office.call({"i": i}) for i in range(10)] + [world.call(office.session, "data:x") for _ in range(3)]
    answers = [folded.results for folded in calls]
    answers += [world.report(calls[i].decision_leaf, office.tool).results for i in range(5)]
    answers += [
        [r for r in world.report(calls[i].decision_leaf, office.tool).results if r.to != office.tool.kid]
        for i in range(5)
    ]
    world.advance(WAIT_MS)
    answers += [world.tick().results, world.tick().results]

    final = [result.event for batch in answers for result in batch]
    assert sorted(final) == sorted(folded.entry.event for folded in calls)


def test_a_service_calls_like_an_agent():
    """A service opens its own session and is judged under its own name."""
    world = World.founded()
    world.register("tool", "calc")
    service = world.register("service", "billing")
    world.publish_policy({"policy_id": "service:billing", "resources": ["tool:calc/*"]})
    folded = world.call(world.open_session(service, keys=keys_of("s")), "tool:calc/run")

    assert folded.says == ("allowed", "")
    assert folded.decisions[0].principal_id == "billing"


def test_a_policy_judges_from_the_record_after_it(office):
    """A published policy is in force for the next call, and the decision names the version that judged."""
    world = office.world
    before = office.call().decisions[0]
    world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:other/**"]})
    after = office.call().decisions[0]

    assert (before.outcome, after.outcome, after.reason) == ("allowed", "denied", "RESOURCE_NOT_ALLOWED")
    assert before.policies != after.policies
