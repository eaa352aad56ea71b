"""A call from its request to its one outcome: decided, sealed to who must read it, reported, or unknown."""

import json
from hashlib import sha256

import pytest

from processors.proof import merkle
from processors.proof.sealing import PAYLOAD_SALT_TAG, SealingError, open_sealed, seal
from schemas import codec, limits, topics
from schemas.records import Attestation, CallPayload, ResultPayload
from tests.builders import invocation, noise, pairs, payload_of, recipients
from tests.world import Office, World

WAIT_MS = limits.EXECUTE_WITHIN_MS + 5_000 + limits.UNKNOWN_GRACE_MS  # of a tool with 5 s to run


@pytest.fixture
def office() -> Office:
    return Office.opened()


# ---- the decision


def test_an_allowed_call_is_one_decision_for_its_tool(office):
    """The decision names event, tool, parameters and policies; the call is open; the caller waits."""
    folded = office.call({"b": 1, "a": [True]})

    assert folded.says == ("allowed", "")
    assert [output.topic for output in folded.outputs] == [topics.DECISIONS, topics.AUDIT]
    (decision,) = folded.decisions
    canonical = b'{"a":[true],"b":1}'
    policy = office.world.tables.policies.rows[b"agent:bot"]
    assert (decision.outcome, decision.reason, decision.tool) == ("allowed", "", "calc")
    assert (decision.event, decision.origin, decision.audit_index) == (
        folded.entry.event,
        "test/acme",
        folded.entry.index,
    )
    assert (decision.session_id, decision.principal_id) == (office.session.kid, "bot")
    salt = codec.decode(codec.current("CallPayload"), payload_of(folded, topics.DECISIONS)).salt
    assert decision.parameters_sha256 == sha256(b"macaw/parameters/v1\n" + salt + canonical).digest()
    assert decision.payload_sha256 == sha256(payload_of(folded, topics.DECISIONS)).digest()
    assert decision.policies == (policy.digest,)
    assert decision.decided_at == office.world.now
    assert decision.execute_before == office.world.now + limits.EXECUTE_WITHIN_MS
    assert set(office.world.tables.calls.rows) == {folded.decision_leaf}


def test_the_payload_of_a_decision_is_the_callers_event_as_it_stood_on_the_log(office):
    """The tool gets it byte for byte, the parameters in canonical form, and the event that opened the session."""
    sent = office.world.signed(invocation(office.resource, {"b": 1, "a": 2}), office.session)
    folded = office.world.fold(*sent)
    payload = codec.decode(codec.current("CallPayload"), payload_of(folded, topics.DECISIONS))

    headers = dict(sent[1])
    event = codec.decode(codec.current("Event"), sent[0][codec.FRAME_BYTES :])
    salt = sha256(PAYLOAD_SALT_TAG + folded.entry.event + event.header.salt).digest()[:16]
    assert payload == CallPayload(
        salt=salt,
        event=sent[0],
        proof=headers["macaw-proof"],
        kid=office.session.kid,
        parameters='{"a":2,"b":1}',
        session=office.world.tables.sessions.rows[office.session.kid].opened,
    )
    [session] = [o for o in office.world.followed if o.topic is topics.SESSIONS]
    assert payload.session is not None
    assert (payload.session.event, payload.session.kid) == (session.value, office.agent.kid)


def test_a_decision_is_sealed_to_every_live_key_of_its_tool_and_to_nobody_else(office):
    """Revoked and expired instances, other tools and the caller are no recipients."""
    world = office.world
    same = world.tables.principals.rows[b"calc"].tools
    second = world.register("tool", "calc", tools=same)
    revoked = world.register("tool", "calc", tools=same)
    expiring = world.register("tool", "calc", tools=same, expires_at=world.now + 1000)
    world.register("tool", "other")
    world.revoke("calc", kid=revoked.kid)
    assert recipients(office.call(), topics.DECISIONS) == pairs(office.tool, second, expiring)

    world.advance(1000)
    assert recipients(office.call(), topics.DECISIONS) == pairs(office.tool, second)


def test_what_is_sealed_opens_for_a_recipient_and_for_nobody_else(office):
    """The recipients that the fold names can open the payload; another key of the same kid cannot."""
    folded = office.call({"a": 1})
    (output,) = folded.of(topics.DECISIONS)
    monitor = office.world.monitor.keys.sealing
    shared = [(kid, monitor.shared_with(x25519)) for kid, x25519 in output.recipients]
    sealed = seal(output.payload, monitor.public, shared, content_key=noise("key"), nonces=noise("n") * 2)
    digest = folded.decisions[0].payload_sha256

    opened = open_sealed(sealed, office.tool.kid, office.tool.keys.sealing, monitor.public, digest)
    assert opened == output.payload
    for kid, stranger in ((office.tool.kid, office.session), (office.session.kid, office.session)):
        with pytest.raises(SealingError):
            open_sealed(sealed, kid, stranger.keys.sealing, monitor.public, digest)


def test_the_clear_part_of_a_decision_holds_no_parameter(office):
    """Whoever may read the topic but is no recipient learns digests only."""
    secret = "correct horse battery staple"
    folded = office.call({"x": secret})

    assert secret.encode() in payload_of(folded, topics.DECISIONS)
    assert all(secret.encode() not in (output.value or b"") for output in folded.outputs)


def test_a_denied_call_is_a_decision_and_an_answer_that_points_at_it(office):
    """A denial stands on the log like a permission; the caller is told, no tool is, nothing is open."""
    folded = office.world.call(office.session, "data:secret")

    assert folded.says == ("denied", "RESOURCE_NOT_ALLOWED")
    (decision,), (result,) = folded.decisions, folded.results
    assert (decision.outcome, decision.reason, decision.tool) == ("denied", "RESOURCE_NOT_ALLOWED", None)
    assert (decision.payload_sha256, decision.parameters_sha256, decision.execute_before) == (None, None, None)
    assert (result.outcome, result.reason) == ("denied", "RESOURCE_NOT_ALLOWED")
    assert (result.to, result.decision) == (office.session.kid, folded.decision_leaf)
    assert not office.world.tables.calls.rows


@pytest.mark.parametrize(
    ("resource", "reason"),
    [("tool:calc/run", ""), ("tool:calc/nothing", "TOOL_UNAVAILABLE"), ("data:x", "RESOURCE_NOT_ALLOWED"),
     ("", "RESOURCE_INVALID"), ("tool:*", "RESOURCE_INVALID"), ("t" * 2000, "RESOURCE_INVALID")],
)  # fmt: skip
def test_each_resource_has_its_own_reason(office, resource, reason):
    """What is granted and offered is allowed; everything else says why not."""
    assert office.world.call(office.session, resource).says == (("denied", reason) if reason else ("allowed", ""))


def test_without_any_policy_nothing_is_allowed():
    """Empty means no."""
    world = World.founded()
    world.register("tool", "calc")
    session = world.open_session(world.register("agent", "bot"))

    assert world.call(session, "tool:calc/run").says == ("denied", "NO_POLICY")


def test_outputs_under_the_audit_entry_are_the_decisions_and_results_of_its_record(office):
    """The entry's root covers every decision and result that the record caused, in order, and not the entry itself."""
    denied = office.world.call(office.session, "data:secret")
    leaves = [output.leaf for output in denied.outputs if output.topic in (topics.DECISIONS, topics.RESULTS)]

    assert len(leaves) == 2
    assert denied.entry.outputs == merkle.root(leaves)
    assert office.call().entry.outputs != merkle.EMPTY_ROOT
    assert office.world.tick().entry.outputs == merkle.EMPTY_ROOT


# ---- the report


@pytest.mark.parametrize("outcome", ["ok", "failed", "unknown"])
def test_a_tools_report_is_final_and_sealed_to_the_session(office, outcome):
    """The caller gets the tool's signed report, sealed to the session that called; the call is closed."""
    call = office.call()
    sent = office.world.report(call.decision_leaf, office.tool, outcome=outcome, body='{"sum":3}')

    assert sent.says == ("accepted", "")
    assert [output.topic for output in sent.outputs] == [topics.RESULTS, topics.AUDIT]
    (result,) = sent.results
    assert (result.outcome, result.reason, result.to) == (outcome, "", office.session.kid)
    assert (result.event, result.decision, result.report) == (call.entry.event, call.decision_leaf, sent.entry.event)
    assert recipients(sent, topics.RESULTS) == pairs(office.session)
    payload = codec.decode(codec.current("ResultPayload"), payload_of(sent, topics.RESULTS))
    assert isinstance(payload, ResultPayload)
    assert (payload.event, payload.kid) == (sent.received.value, office.tool.kid)
    assert not office.world.tables.calls.rows


def test_any_instance_of_the_tool_may_report(office):
    """The tool is named by the decision, not one of its instances."""
    same = office.world.tables.principals.rows[b"calc"].tools
    second = office.world.register("tool", "calc", tools=same)

    assert office.world.report(office.call().decision_leaf, second).says == ("accepted", "")


def test_a_report_by_another_tool_is_refused_and_the_call_stays_open(office):
    """Only the tool that the decision names can say what became of it."""
    other = office.world.register("tool", "other")
    leaf = office.call().decision_leaf
    folded = office.world.report(leaf, other)

    assert folded.says == ("refused", "NOT_THE_TOOL")
    assert [(result.to, result.outcome) for result in folded.results] == [(other.kid, "refused")]
    assert office.world.report(leaf, office.tool).says == ("accepted", "")


def test_the_first_report_is_final(office):
    """A second report, from the same instance or another, changes nothing."""
    leaf = office.call().decision_leaf
    office.world.report(leaf, office.tool)
    again = office.world.report(leaf, office.tool, outcome="failed")

    assert again.says == ("refused", "LATE_RESULT")
    assert [result.to for result in again.results] == [office.tool.kid]


@pytest.mark.parametrize("decision", [bytes(32), b"", b"x" * 40], ids=["zeros", "empty", "long"])
def test_a_report_on_no_call_is_late(office, decision):
    """A decision that is not open has no outcome to report: final already, or never made."""
    office.call()

    assert office.world.report(decision, office.tool).says == ("refused", "LATE_RESULT")


def test_a_denied_decision_takes_no_report(office):
    """What was denied was never open."""
    denied = office.world.call(office.session, "data:secret")

    assert office.world.report(denied.decision_leaf, office.tool).says == ("refused", "LATE_RESULT")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"outcome": "done"}, "MALFORMED_RESULT"),
        ({"outcome": ""}, "MALFORMED_RESULT"),
        ({"body": ""}, "MALFORMED_RESULT"),
        ({"body": "{"}, "MALFORMED_RESULT"),
        ({"body": '{"a":1,"a":2}'}, "MALFORMED_RESULT"),
        ({"body": "NaN"}, "MALFORMED_RESULT"),
        ({"body": '"\\ud800"'}, "MALFORMED_RESULT"),
        ({"attestations": (Attestation(key="k", value="1", one_time=False),)}, "ATTESTATION_NOT_DECLARED"),
    ],
    ids=str,
)
def test_a_report_that_is_not_well_formed_is_refused_and_the_call_stays_open(office, more, reason):
    """A report is ok, failed or unknown with one strict JSON value; what cannot be honoured yet is not dropped."""
    leaf = office.call().decision_leaf

    assert office.world.report(leaf, office.tool, **more).says == ("refused", reason)
    assert office.world.report(leaf, office.tool).says == ("accepted", "")


@pytest.mark.parametrize("body", ["null", "1", '"text"', "[]", "[" * 20 + "]" * 20, json.dumps(list(range(20_000)))])
def test_a_result_is_any_one_json_value(office, body):
    """Results are not parameters: any value will do, and many more nodes."""
    assert office.world.report(office.call().decision_leaf, office.tool, body=body).says == ("accepted", "")


def test_a_report_of_a_revoked_tool_is_refused(office):
    """A tool whose key was revoked cannot close what it had begun; the call ends as unknown."""
    leaf = office.call().decision_leaf
    office.world.revoke("calc")

    assert office.world.report(leaf, office.tool).says == ("refused", "REVOKED_KEY")
    office.world.advance(WAIT_MS)
    assert [result.outcome for result in office.world.tick().results] == ["unknown"]


def test_a_report_on_another_call_than_its_decision_is_refused(office):
    """The tool signs whose call it reports on; a report that names another leaves the call open."""
    first, second = office.call(), office.call()
    mixed = office.world.report(first.decision_leaf, office.tool, causation_id=second.entry.event)

    assert mixed.says == ("refused", "MALFORMED_RESULT")
    assert office.world.report(first.decision_leaf, office.tool).says == ("accepted", "")
