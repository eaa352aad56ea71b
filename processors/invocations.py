"""A call, its decision, and what became of it.

Order for an invocation: parameters are parsed once, strictly; content verifiers (none yet) may then stamp or mask them;
policy reads what they left; the decision names every document it consulted. An allowed call stays open until its tool
reports, or until its time is over: then its outcome is `unknown`. There is no silence.
"""

from __future__ import annotations

from processors import jcs, registry
from processors.intake import Signer
from processors.outputs import Effects, PayloadTooLargeError, Recipients, payload_digest
from processors.parameters import MalformedParametersError, Parameters, parse_parameters
from processors.policies import decide_call, detail_of, ended_well, settle
from processors.policy.errors import RULE_ERRORS, ResourceInvalidError
from processors.policy.patterns import resource_name
from processors.policy.verdict import Verdict
from processors.refusal import Refusal
from processors.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import Decision, Event, InvocationRequested, Result, ResultReported
from schemas.rows import CallRow

REPORTED_OUTCOMES = frozenset({"ok", "failed", "unknown"})


def request(
    tables: Tables, effects: Effects, signer: Signer, event: Event, body: InvocationRequested
) -> tuple[str, str]:
    """Decide a call, tell the tool or the caller, and return (outcome, reason)."""
    mark = len(effects.outputs), len(effects.leaves), tables.savepoint()
    try:
        parameters, verdict = _judge(tables, signer, body)
        _allow(tables, effects, signer, event, body, parameters, verdict)
    except _Denial as denial:
        reason, detail, consulted = denial.reason, denial.detail, denial.policies
    except RULE_ERRORS as exc:
        # Fail closed: a rule that breaks denies, with the kind of failure on the log.
        reason, detail, consulted = Reason.INTERNAL_ERROR, type(exc).__name__, ()
    else:
        return "allowed", ""
    del effects.outputs[mark[0] :], effects.leaves[mark[1] :]
    tables.undo_to(mark[2])
    decision = _decision(
        tables, effects, signer, event, body, outcome="denied", reason=reason, detail=detail, policies=consulted
    )
    leaf = effects.decide(decision, None, ())
    effects.answer(_refusal_result(tables, effects, signer, event, decision, leaf))
    return "denied", str(reason)


class _Denial(Refusal):
    """A refusal by a rule of the decision, with the documents it consulted."""

    def __init__(self, reason: Reason | str, detail: str = "", policies: tuple[bytes, ...] = ()) -> None:
        super().__init__(reason, detail)
        self.policies = policies


def _judge(tables: Tables, signer: Signer, body: InvocationRequested) -> tuple[Parameters, Verdict]:
    """Return the parameters to execute and the verdict that allowed them. Raises _Denial."""
    if body.prompts:
        # What narrows and cannot be honoured yet must not be dropped.
        raise _Denial(Reason.NOT_SUPPORTED, "prompts")
    try:
        resource_name(body.resource)
    except ResourceInvalidError as exc:
        raise _Denial(Reason.RESOURCE_INVALID) from exc
    if len(body.intents) > limits.INTENTS_PER_CALL_MAX:
        raise _Denial(Reason.POLICY_BROKEN, f"at most {limits.INTENTS_PER_CALL_MAX} intents")
    try:
        parameters = parse_parameters(body.parameters)
    except MalformedParametersError as exc:
        raise _Denial(Reason.MALFORMED_PARAMETERS, exc.cause) from exc
    assert signer.session is not None
    verdict = decide_call(
        tables, signer.session, body.resource, parameters.value, session_id=signer.kid, intents=body.intents
    )
    if verdict.outcome != "allowed":
        # Nobody can be asked for an approval yet: a call that would have to wait for one does not wait.
        reason = Reason.APPROVAL_REQUIRED if verdict.outcome == "pending" else verdict.reason
        raise _Denial(reason, detail_of(verdict), verdict.policies)
    if len(tables.calls) >= tables.limits.pending_calls:
        raise _Denial(Reason.LIMIT_EXCEEDED, f"at most {tables.limits.pending_calls} open calls", verdict.policies)
    return parameters, verdict


def _allow(
    tables: Tables,
    effects: Effects,
    signer: Signer,
    event: Event,
    body: InvocationRequested,
    parameters: Parameters,
    verdict: Verdict,
) -> None:
    """Write the allowed decision, sealed to the tool's live keys, and open the call. Raises _Denial."""
    policies = verdict.policies
    resource = tables.resources.get(body.resource.encode("utf-8", "surrogatepass"))
    recipients: Recipients = registry.live_keys(tables, resource.principal_id) if resource else ()
    if resource is None or not recipients:
        raise _Denial(Reason.TOOL_UNAVAILABLE, policies=policies)
    try:
        payload = effects.call_payload(event.header.salt, parameters.canonical)
    except PayloadTooLargeError as exc:
        raise _Denial(Reason.OUTPUT_TOO_LARGE, f"sha256 {parameters.sha256.hex()}", policies) from exc
    decision = _decision(
        tables, effects, signer, event, body, outcome="allowed", policies=policies, tool=resource.principal_id,
        parameters=parameters, payload=payload,
    )  # fmt: skip
    leaf = effects.decide(decision, payload, recipients)
    try:
        marks = settle(tables, verdict)
    except Refusal as refusal:
        raise _Denial(refusal.reason, refusal.detail, policies) from refusal
    unknown_at = tables.now + limits.EXECUTE_WITHIN_MS + resource.timeout_ms + limits.UNKNOWN_GRACE_MS
    row = CallRow(
        session_id=signer.kid,
        caller_x25519=signer.x25519,
        tool=resource.principal_id,
        event=effects.claim.leaf,
        event_id=event.header.event_id,
        resource=body.resource,
        unknown_at=unknown_at,
        marks=marks,
    )
    tables.calls.put(leaf, row)


def _decision(
    tables: Tables,
    effects: Effects,
    signer: Signer,
    event: Event,
    body: InvocationRequested,
    *,
    outcome: str,
    policies: tuple[bytes, ...],
    reason: str = "",
    detail: str = "",
    tool: str | None = None,
    parameters: Parameters | None = None,
    payload: bytes | None = None,
) -> Decision:
    return Decision(
        origin=tables.origin,
        audit_index=effects.index,
        event=effects.claim.leaf,
        event_id=event.header.event_id,
        session_id=signer.kid,
        principal_id=signer.principal_id,
        resource=body.resource,
        tool=tool,
        outcome=outcome,
        reason=str(reason),
        detail=detail,
        decided_at=tables.now,
        execute_before=tables.now + limits.EXECUTE_WITHIN_MS if payload else None,
        parameters_sha256=parameters.sha256 if parameters else None,
        payload_sha256=payload_digest(payload),
        policies=policies,
        changed=(),
    )


def _refusal_result(
    tables: Tables, effects: Effects, signer: Signer, event: Event, decision: Decision, leaf: bytes
) -> Result:
    return Result(
        origin=tables.origin,
        audit_index=effects.index,
        to=signer.kid,
        event=effects.claim.leaf,
        event_id=event.header.event_id,
        outcome="denied",
        reason=decision.reason,
        detail=decision.detail,
        decision=leaf,
        at=tables.now,
    )


def report(tables: Tables, effects: Effects, signer: Signer, event: Event, body: ResultReported) -> None:
    """Close a call with its tool's signed report and pass that on to the caller.

    Raises:
        Refusal: LATE_RESULT, NOT_THE_TOOL, MALFORMED_RESULT or NOT_SUPPORTED.
    """
    call = tables.calls.get(body.decision)
    if call is None or tables.now >= call.unknown_at:  # at most 64 expire with a record: it may be due and still here
        raise Refusal(Reason.LATE_RESULT)
    if call.tool != signer.principal_id:
        raise Refusal(Reason.NOT_THE_TOOL, f"the decision names {call.tool!r}")
    if body.attestations:
        raise Refusal(Reason.NOT_SUPPORTED, "attestations")
    if event.header.causation_id != call.event:
        raise Refusal(Reason.MALFORMED_RESULT, "causation_id is not the call's event")
    _check_result(body)
    tables.calls.delete(body.decision)
    if body.outcome == "ok":
        ended_well(tables, call)
    try:
        payload, reason = effects.result_payload(event.header.salt), ""
    except PayloadTooLargeError:
        payload, reason = None, Reason.OUTPUT_TOO_LARGE
    recipients = ((call.session_id, call.caller_x25519),) if payload else ()
    result = _outcome(tables, effects, body.decision, call, body.outcome, reason, effects.claim.leaf, payload)
    effects.answer(result, payload, recipients)


def _check_result(body: ResultReported) -> None:
    if body.outcome not in REPORTED_OUTCOMES:
        raise Refusal(Reason.MALFORMED_RESULT, "want outcome ok, failed or unknown")
    try:
        jcs.parse_strict(body.body.encode(), nodes_max=limits.RESULT_EVENT_BYTES_MAX)
    except (jcs.MalformedJSONError, UnicodeEncodeError) as exc:
        raise Refusal(Reason.MALFORMED_RESULT, str(exc)) from exc


def outcome_unknown(tables: Tables, effects: Effects, decision: bytes, call: CallRow) -> None:
    """Tell the caller that no report came in time."""
    effects.answer(_outcome(tables, effects, decision, call, "unknown", Reason.NO_REPORT, None, None))


def _outcome(
    tables: Tables,
    effects: Effects,
    decision: bytes,
    call: CallRow,
    outcome: str,
    reason: str,
    report_leaf: bytes | None,
    payload: bytes | None,
) -> Result:
    return Result(
        origin=tables.origin,
        audit_index=effects.index,
        to=call.session_id,
        event=call.event,
        event_id=call.event_id,
        outcome=outcome,
        reason=str(reason),
        detail="",
        decision=decision,
        report=report_leaf,
        at=tables.now,
        payload_sha256=payload_digest(payload),
    )
