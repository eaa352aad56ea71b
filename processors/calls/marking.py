"""Results that verifiers outside judge: shown to them when they are passed on, marked until one says pass.

A result goes to its caller at once, and nothing waits. The same record is sealed to the live keys of the verifiers with
the surface `result` whose scope has its resource, and names that resource. A verdict names the leaf of the report
as its cause, and counts if it fits call, session, resource and the body that was reported. It takes a mark away or not
(`clearing.py`); it changes no result. Where the tables have no room, no verifier is shown it: it stays marked.

No verifier is shown a result that the log does not see whole: one that was withheld, that is `unknown`, or that
travels beside its report or as a stream.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from processors.calls import provenance
from processors.calls import work as buckets
from processors.calls.verifiers import outside
from processors.calls.verifiers.outside import SCOPE_UNITS, BoundCall
from processors.effects import Effects, Recipients
from processors.identity import verifiers
from processors.identity.keys import live_keys
from processors.intake.identify import Signer
from processors.policy.patterns import resource_name
from processors.proof.sealing import RECIPIENTS_MAX
from processors.refusal import Refusal
from processors.state.engine import DETECTING
from processors.state.tables import Tables
from schemas import limits
from schemas.events.verdicts import VerdictReported
from schemas.reasons import Reason
from schemas.records import Event, ResultReported
from schemas.rows import CallRow, JudgedRow, ResultVerdict
from schemas.words import Outcome, Surface, VerifierOutcome


def show(tables: Tables, effects: Effects, call: CallRow, body: ResultReported) -> Recipients:
    """Note a result that is passed on, and return the keys of the verifiers that are shown it. Its tool pays."""
    every = verifiers.standing(tables) if tables.engine.number >= DETECTING else ()
    if not every or body.bodies or body.stream is not None or body.outcome == Outcome.UNKNOWN:
        return ()
    name = resource_name(call.resource)
    buckets.note(effects, call.tool, sum((SCOPE_UNITS + len(name.text)) * len(one.declared.resources) for one in every))
    asked: list[str] = []
    recipients: list[tuple[bytes, bytes]] = []
    for one in every:
        keys = live_keys(tables, one.principal_id) if one.judges(name, Surface.RESULT) else ()
        if keys and len(recipients) + len(keys) < RECIPIENTS_MAX:  # the caller is one more
            asked.append(one.principal_id)
            recipients += keys
    if not asked:
        return ()
    kept = provenance.kept_until(tables, tables.sessions.get(call.session_id))
    row = JudgedRow(
        session_id=call.session_id,
        event_id=call.event_id,
        resource=call.resource,
        body_sha256=sha256(body.body.encode()).digest(),
        own=provenance.is_own(tables, call),
        asked=tuple(asked),
        kept=kept,
        until=min(kept, tables.now + limits.RESULT_VERDICT_MS),
        payer=call.payer,
    )
    mark = tables.savepoint()
    tables.judged.put(effects.claim.leaf, row)
    if tables.judged.full_for(row) is not None:
        tables.undo_to(mark)
        return ()
    return tuple(recipients)


def report(tables: Tables, effects: Effects, signer: Signer, event: Event, body: VerdictReported) -> None:
    """Take a verdict on a result that its verifier was shown.

    Raises:
        Refusal: VERDICT_UNKNOWN, VERDICT_DUPLICATE, VERDICT_MISMATCH, VERDICT_FORM or VERDICT_STALE; the mark stays.
    """
    one = outside.verifier_called(tables, signer.principal_id)
    leaf = event.header.causation_id
    row = None if leaf is None else tables.judged.get(leaf)
    if leaf is None or row is None or tables.now >= row.until:
        raise Refusal(
            Reason.VERDICT_UNKNOWN, "no result waits whose report's leaf is the `causation_id` of the verdict"
        )
    if one.principal_id not in row.asked:
        raise Refusal(Reason.VERDICT_UNKNOWN, "the result was not shown to this verifier")
    if any(given.verifier == one.principal_id for given in row.verdicts):
        raise Refusal(Reason.VERDICT_DUPLICATE)
    result = BoundCall(row.event_id, row.session_id, row.resource, row.body_sha256, Surface.RESULT)
    outside.check_bound(one, body, result, resource_name(row.resource))
    if effects.claim.size > limits.VERDICT_EVENT_BYTES_MAX:
        raise Refusal(Reason.VERDICT_FORM, f"a verdict has at most {limits.VERDICT_EVENT_BYTES_MAX} bytes")
    outside.stamps_of(one, body)
    if why := outside.stale_because(tables, one, event.header, body):
        raise Refusal(Reason.VERDICT_STALE, why)
    ends = min(body.expires_at, event.header.issued_at + one.declared.max_age_ms, row.kept)
    given = ResultVerdict(
        verifier=one.principal_id, kid=signer.kid, outcome=body.outcome, catalogue=body.catalogue, until=ends
    )
    until = max(row.until, ends) if body.outcome == VerifierOutcome.PASS else row.until
    tables.judged.put(leaf, replace(row, verdicts=(*row.verdicts, given), until=until))
