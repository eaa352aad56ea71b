"""The records of a decision: the decision itself, and the answer to its caller."""

from __future__ import annotations

from processors.calls import awaiting, idempotency, requests, verifying
from processors.calls.call import Call
from processors.calls.deadlines import ends_at
from processors.calls.executor import Executor
from processors.calls.parameters import Parameters
from processors.calls.verifying import NONE, VerifierAnswers
from processors.effects import Effects, payload_digest
from processors.identity.delegations import Chain
from processors.proof.sealing import parameters_digest
from processors.state.tables import Tables
from schemas import limits
from schemas.events.verdicts import Observed
from schemas.reasons import Reason
from schemas.records import Change, Decision, Result
from schemas.words import Outcome


def deny(tables: Tables, effects: Effects, decision: Decision, to: bytes, told: str = "") -> None:
    """Write a denial. Its answer to the caller holds the reason, but no text of a policy (docs/mapl.md 13)."""
    leaf = effects.decide(decision, None, ())
    idempotency.give_back(tables, decision.event)
    effects.answer(result_of(tables, effects, decision, leaf, to, told))


def decision_of(
    tables: Tables,
    effects: Effects,
    asked: Call,
    *,
    outcome: str,
    policies: tuple[bytes, ...],
    chain: Chain | None,
    reason: str = "",
    detail: str = "",
    executor: Executor | None = None,
    parameters: Parameters | None = None,
    payload: bytes | None = None,
    waited: bool = False,
    said: VerifierAnswers = NONE,
    observed: Observed | None = None,
    changed: tuple[Change, ...] = (),
) -> Decision:
    """Return the decision on a call; with a payload its tool executes it, or its verifiers judge it while it waits.

    `parameters` are those of the payload, or those that people are asked about; `changed` says where they are masked.
    """
    execute_before = min(tables.now + limits.EXECUTE_WITHIN_MS, ends_at(asked.body, waited=waited))
    return Decision(
        origin=tables.origin,
        audit_index=effects.index,
        event=asked.leaf,
        event_id=asked.event.header.event_id,
        session_id=asked.session_id,
        principal_id=asked.principal_id,
        resource=asked.body.resource,
        tool=None if executor is None else executor.principal_id,
        outcome=outcome,
        reason=str(reason),
        detail=detail,
        decided_at=tables.now,
        execute_before=execute_before if payload and outcome == Outcome.ALLOWED else None,
        parameters_sha256=parameters_digest(asked.salt, parameters.canonical) if parameters else None,
        payload_sha256=payload_digest(payload),
        policies=policies,
        changed=changed,
        subjects=chain.told if chain is not None else (),
        target=None if executor is None else executor.target,
        verdicts=said.verdicts,
        stamps=said.stamps,
        observed=observed,
    )


def result_of(tables: Tables, effects: Effects, decision: Decision, leaf: bytes, to: bytes, detail: str) -> Result:
    """Return the answer to the caller about a decision; `leaf` is the decision's."""
    return Result(
        origin=tables.origin,
        audit_index=effects.index,
        to=to,
        event=decision.event,
        event_id=decision.event_id,
        outcome=decision.outcome,
        reason=decision.reason,
        detail=detail,
        decision=leaf,
        at=tables.now,
    )


def end(tables: Tables, effects: Effects, leaf: bytes, reason: Reason, how: str) -> None:
    """Deny a waiting call for good, and close its requests for approval."""
    row = tables.pending.rows[leaf]
    decision = Decision(
        origin=tables.origin,
        audit_index=effects.index,
        event=leaf,
        event_id=row.event_id,
        session_id=row.session_id,
        principal_id=row.principal_id,
        resource=row.resource,
        outcome=Outcome.DENIED,
        reason=str(reason),
        detail="",
        decided_at=tables.now,
        policies=(),
        changed=(),
        subjects=row.subjects,
        verdicts=verifying.ended(tables, str(reason), awaiting.required_of(tables, row.awaits)),
    )
    deny(tables, effects, decision, row.session_id)
    requests.close_all(tables, leaf, how)
