"""The outcome of an allowed call: its tool's report, or `unknown` if no report comes in time."""

from __future__ import annotations

from processors.calls import attestations, bodies, enforcement, idempotency, marking, provenance, requests, results
from processors.calls.judge import ended_well
from processors.calls.results import PASSED_ON, Looked
from processors.effects import Effects, PayloadTooLargeError, payload_digest
from processors.identity import offers
from processors.intake.identify import Signer
from processors.proof import jcs
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.text.characters import quoted
from schemas import limits
from schemas.reasons import Reason
from schemas.records import Event, Result, ResultReported
from schemas.rows import CallRow
from schemas.words import Outcome

REPORTED_OUTCOMES = frozenset({Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN})


def report(tables: Tables, effects: Effects, signer: Signer, event: Event, body: ResultReported) -> None:
    """Close a call with its tool's signed report, and pass the report on to the caller.

    Raises:
        Refusal: LATE_RESULT, NOT_THE_TOOL, MALFORMED_RESULT, or a reason of `attestations.set_with_result`.
    """
    call = tables.calls.get(body.decision)
    if call is None or offers.is_over(tables, call):
        raise Refusal(Reason.LATE_RESULT)
    if call.tool != signer.principal_id or call.target != signer.offered_by:
        raise Refusal(Reason.NOT_THE_TOOL, f"only the tool that the decision names may report: {quoted(call.tool)}")
    if event.header.causation_id != call.event:
        raise Refusal(Reason.MALFORMED_RESULT, "`causation_id` is not the leaf of the call's event")
    _check_result(body)
    tables.calls.delete(body.decision)
    requests.note_outcome(tables, call.event, body.outcome)
    idempotency.note_outcome(tables, call.event, body.outcome)
    # Enforcement would have denied an observed call, and a frozen tool's word opens nothing.
    counts = not call.observed and not enforcement.is_frozen(tables, signer.principal_id)
    if counts and body.outcome == Outcome.OK and call.marks and attestations.session_of(tables, call) is not None:
        ended_well(tables, call.session_id, call.marks, call.payer, reported_by=signer.kid)
    if body.attestations:
        if body.outcome != Outcome.OK:
            raise Refusal(Reason.ATTESTATION_FORM, "attestations are accepted only with outcome `ok`")
        attestations.set_with_result(tables, signer, call, body.attestations, counts=counts)
    looked = results.look(tables, effects, call, body)
    payload: bytes | None = None
    try:
        reason = Reason.RESULT_WITHHELD if looked.withheld else ""
        payload = None if looked.withheld else effects.result_payload(event.header.salt)
    except PayloadTooLargeError:
        reason = Reason.OUTPUT_TOO_LARGE
    shown = marking.show(tables, effects, call, body) if payload else ()
    provenance.reported(tables, effects, call, body, passed_on=payload is not None)
    recipients = ((call.session_id, call.caller_x25519), *shown) if payload else ()
    looked = looked._replace(detail=call.resource) if shown else looked  # verifiers read no decisions of calls
    result = _outcome(tables, effects, body.decision, call, body.outcome, reason, effects.claim.leaf, payload, looked)
    effects.answer(result, payload, recipients)


def _check_result(body: ResultReported) -> None:
    if body.outcome not in REPORTED_OUTCOMES:
        raise Refusal(Reason.MALFORMED_RESULT, "`outcome` must be ok, failed or unknown")
    try:
        jcs.parse_strict(body.body.encode(), nodes_max=limits.RESULT_EVENT_BYTES_MAX)
    except (jcs.MalformedJSONError, UnicodeEncodeError) as exc:
        raise Refusal(Reason.MALFORMED_RESULT, str(exc)) from exc
    bodies.check_report(body)


def outcome_unknown(tables: Tables, effects: Effects, decision: bytes, call: CallRow) -> None:
    """Answer the caller of a call whose tool did not report in time."""
    effects.answer(_outcome(tables, effects, decision, call, Outcome.UNKNOWN, Reason.NO_REPORT, None, None))
    requests.note_outcome(tables, call.event, Outcome.UNKNOWN)
    idempotency.note_outcome(tables, call.event, Outcome.UNKNOWN)


def _outcome(
    tables: Tables,
    effects: Effects,
    decision: bytes,
    call: CallRow,
    outcome: str,
    reason: str,
    report_leaf: bytes | None,
    payload: bytes | None,
    looked: Looked = PASSED_ON,
) -> Result:
    return Result(
        origin=tables.origin,
        audit_index=effects.index,
        to=call.session_id,
        event=call.event,
        event_id=call.event_id,
        outcome=outcome,
        reason=str(reason),
        detail=looked.detail,
        decision=decision,
        report=report_leaf,
        at=tables.now,
        payload_sha256=payload_digest(payload),
    )
