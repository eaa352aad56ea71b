"""The policy of a tool's owner: a monitor that lies makes no tool do what its owner forbids."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from processors.calls.parameters import parse_parameters
from processors.policy.documents import PolicyDocument, parse_policy
from processors.proof.sealing import parameters_digest, payload_salt
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.kafka.verified import MonitorSigned
from producers.tools.admission import AdmittedCall, admit
from producers.tools.execution import Ended
from producers.tools.owner_policy import OwnerPolicy, OwnerPolicyError
from schemas import codec, topics
from schemas.events.attributes import Attributes
from schemas.records import CallPayload, Decision, Event
from tests.builders import Folded
from tests.producers.forging import TwinRegistry, TwinSessions, forged
from tests.world import START_MS, Office

RESOURCE = "tool:calc/run"
SMALL = {"amount": {"max": 1000, "required": True}}


def document(policy_id: str = "tool:calc", **members: Any) -> PolicyDocument:
    written = {"policy_id": policy_id, "resources": ["tool:calc/*"], **members}
    return parse_policy(json.dumps(written).encode(), organisation=True)


def limited(**parameters: Any) -> PolicyDocument:
    return document(constraints={"parameters": {RESOURCE: parameters}})


def owned(*documents: PolicyDocument) -> OwnerPolicy:
    return OwnerPolicy(documents, app="calc", tenant="office", resources=[RESOURCE])


def opened(**attributes: Any) -> Office:
    """Return a tenant whose policies let the agent do as it likes up to 10."""
    office = Office.opened()
    agent = office.world.register("agent", "clerk", attributes=Attributes(**attributes))
    rule = {"parameters": {RESOURCE: {"amount": {"max": 10}}}}
    office.world.publish_policy({"policy_id": "agent:clerk", "resources": ["tool:**"], "constraints": rule})
    return replace(office, agent=agent, session=office.world.open_session(agent))


def lied(office: Office, asked: Folded, **untrue: Any) -> AdmittedCall:
    """Return a denied call as its host admits it: the monitor's own key has signed that it is allowed."""
    [denied] = asked.decisions
    assert denied.outcome == "denied"
    [output] = office.call({"amount": 1}).of(topics.DECISIONS)
    allowed: Decision = codec.decode_as(Decision, output.value or b"")
    event: Event = codec.decode_as(Event, asked.received.value or b"")
    canonical = parse_parameters(event.body.parameters).canonical.decode()  # type: ignore[union-attr]
    payload = replace(
        codec.decode(codec.current("CallPayload"), output.payload or b""),
        salt=payload_salt(denied.event, event.header.salt),
        event=asked.received.value or b"",
        proof=asked.received.header(PROOF_HEADER),
        kid=asked.received.header(KID_HEADER),
        parameters=canonical,
    )
    assert isinstance(payload, CallPayload)
    sealed = codec.encode(payload)
    lie = replace(
        allowed,
        event=denied.event,
        event_id=denied.event_id,
        parameters_sha256=parameters_digest(payload.salt, canonical.encode()),
        payload_sha256=sha256(sealed).digest(),
        **untrue,
    )
    moved = output._replace(partition=topics.keyed_partition(denied.event_id))
    registry, world = TwinRegistry(office), office.world
    trusted = MonitorSigned(registry, tenant=world.tenant, genesis=world.tables.genesis)
    call = admit(
        forged(office, moved, lie, sealed),
        trusted,
        TwinSessions(office, registry),
        tool="calc",
        key=office.tool.keys,
        now_ms=world.tables.now,
    )
    assert call is not None
    return call


def told(ended: Ended | None) -> dict[str, Any]:
    assert ended is not None
    assert ended.outcome == "failed"
    return json.loads(ended.body)  # type: ignore[no-any-return]


def test_a_stolen_monitor_key_moves_no_more_than_the_owner_permits() -> None:
    """Everything is signed, and the host admits the call: only the owner's own file stands between."""
    office = opened()
    large, small = office.call({"amount": 5000}), office.call({"amount": 500})
    policy = owned(limited(**SMALL))

    assert policy.refusal(lied(office, small), START_MS) is None
    assert told(policy.refusal(lied(office, large), START_MS)) == {
        "error": "OWNER_DENIED",
        "path": "amount",
        "policy": "tool:calc",
        "reason": "PARAM_OUT_OF_RANGE",
    }


def test_empty_means_no() -> None:
    """A file that grants nothing forbids everything."""
    office = opened()
    call = lied(office, office.call({"amount": 500}))

    assert told(owned().refusal(call, START_MS))["reason"] == "NO_POLICY"
    assert told(owned(document("agent:another")).refusal(call, START_MS)) == {
        "error": "OWNER_DENIED",
        "path": "",
        "policy": None,
        "reason": "NO_POLICY",
    }


def test_roles_are_those_that_the_callers_session_was_opened_with() -> None:
    """The names that a decision tells are the monitor's word, and count for nothing."""
    tellers = document(constraints={"roles": ["teller"]})
    office, stranger = opened(roles=("teller",)), opened()
    lie = lied(stranger, stranger.call({"amount": 500}), subjects=("user:teller", "clerk"))

    assert owned(tellers).refusal(lied(office, office.call({"amount": 500})), START_MS) is None
    assert told(owned(tellers).refusal(lie, START_MS))["reason"] == "ROLE_REQUIRED"


def test_a_call_without_a_verified_session_is_refused() -> None:
    office = opened()
    call = replace(lied(office, office.call({"amount": 500})), session=None)

    assert told(owned(document()).refusal(call, START_MS))["reason"] == "NO_SESSION"


def test_texts_that_travelled_beside_the_call_are_judged_as_they_are_executed() -> None:
    """The monitor saw only that they are there."""
    office = opened()
    call = lied(office, office.call({"amount": 500}))
    filled = replace(call, parameters={"amount": 500, "note": "pay the thief"})
    policy = owned(document(constraints={"denied_parameters": {RESOURCE: {"note": ["*thief*"]}}}))

    assert policy.refusal(call, START_MS) is None
    assert told(policy.refusal(filled, START_MS))["reason"] == "PARAM_DENIED"


def test_time_is_the_hosts_own() -> None:
    """A monitor that sets its clock back does not open a period that is over."""
    office = opened()
    call = lied(office, office.call({"amount": 500}))
    until = document(validity={"not_after": "2027-01-15T08:00:01Z"})  # a second after the world's beginning
    by_day = document(attestations=["deny::{time.hour >= 18}"])

    assert owned(until).refusal(call, START_MS) is None
    assert told(owned(until).refusal(call, START_MS + 1000))["reason"] == "POLICY_EXPIRED"
    assert owned(by_day).refusal(call, START_MS) is None
    assert told(owned(by_day).refusal(call, START_MS + 10 * 3_600_000))["reason"] == "CONDITION_DENIED"


def test_a_resource_in_another_spelling_is_no_way_around() -> None:
    office = opened()
    call = lied(office, office.call({"amount": 500}))
    shouted = replace(call, decision=replace(call.decision, resource="tool:calc/RUN"))
    policy = owned(document(denied_resources=["tool:calc/run"]))

    assert told(policy.refusal(shouted, START_MS))["reason"] == "RESOURCE_DENIED"


@pytest.mark.parametrize(
    ("members", "pointer", "named"),
    [
        ({"constraints": {"rate_limit": 5}}, "/constraints/rate_limit", "rate_limit"),
        (
            {"sequence": [{"id": "few", "when": RESOURCE, "at_most": 2, "per": "user", "window": "day"}]},
            "/sequence",
            "seq",
        ),
        ({"constraints": {"require_approval": True}}, "/constraints/require_approval", "approvals"),
        ({"attestations": ["checked"]}, "/attestations/0", "checked"),
        (
            {"constraints": {"attestations": {"checked": {"time_to_live": 5}}}},
            "/constraints/attestations",
            "attestations",
        ),
        ({"attestations": ["deny::{context.has_attestation('checked')}"]}, "/attestations/0", "has_attestation"),
        ({"attestations": ["deny::{NOT (context.is_delegated)}"]}, "/attestations/0", "context.is_delegated"),
        ({"attestations": ["deny::{amount > 1 AND stamps.secrets.found == true}"]}, "/attestations/0", "stamps"),
        ({"attestations": ["deny::{params.stamps.secrets.count > 0}"]}, "/attestations/0", "stamps"),
        ({"attestations": ["deny::{'x' IN params.stamps.secrets.kinds}"]}, "/attestations/0", "stamps"),
        (
            {"constraints": {"parameters": {RESOURCE: {"stamps.secrets.count": {"max": 0}}}}},
            f"/constraints/parameters/{RESOURCE.replace('/', '~1')}/stamps.secrets.count",
            "stamps",
        ),
        (
            {"constraints": {"denied_parameters": {RESOURCE: {"stamps.secrets.kinds[*]": ["*"]}}}},
            f"/constraints/denied_parameters/{RESOURCE.replace('/', '~1')}/stamps.secrets.kinds[*]",
            "stamps",
        ),
    ],
)
def test_a_rule_that_a_host_cannot_judge_stops_the_start(members: dict[str, Any], pointer: str, named: str) -> None:
    """It would hold in the file and nowhere else."""
    with pytest.raises(OwnerPolicyError, match=named) as raised:
        owned(document("agent:bot"), document(**members))

    assert (raised.value.at, raised.value.pointer) == (1, pointer)


@pytest.mark.parametrize("policy_id", ["tool:calk", "tool:calc/walk", "calc", "app:bank"])
def test_a_document_that_concerns_no_operation_stops_the_start(policy_id: str) -> None:
    """A slip of the pen in an id must not leave a tool without its rule."""
    with pytest.raises(OwnerPolicyError, match="none of the tool's operations") as raised:
        owned(document(), document(policy_id))

    assert (raised.value.at, raised.value.pointer) == (1, "/policy_id")


@pytest.mark.parametrize("policy_id", ["tool:calc", "tool:CALC", "tool:calc/run", "app:calc", "agent:bot", "org:all"])
def test_a_document_that_can_apply_is_taken(policy_id: str) -> None:
    owned(document(policy_id))


def test_a_parent_may_have_any_id() -> None:
    owned(document("base"), document("tool:calc", extends="base"))
