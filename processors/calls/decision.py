"""A call and its decision.

The steps for an invocation, in order:

1. The chain of delegations is read from the log.
2. The caller's deadline is checked (`deadlines`), parameters are parsed once and strictly (`parameters`), the
   idempotency key is checked (`idempotency`), then bodies (`bodies`) and prompts (`prompts`). Content verifiers (none
   yet) belong here.
3. Policies judge (`judge`); the decision names every document that they consulted.

A call that people must approve waits, and is then decided a second time by the tables of that moment. An allowed call
stays open until its tool reports or its time is over (`outcome`). Every call gets an answer.
"""

from __future__ import annotations

from typing import NamedTuple

from processors.calls import answers, bodies, grants, idempotency, prompts, requests, within, work
from processors.calls.call import Call, asked_before, asked_now, body_of
from processors.calls.deadlines import ends_at
from processors.calls.executor import AWAY, Executor, executor_of
from processors.calls.judge import charge, decide_call, detail_of, settle, told_of
from processors.calls.parameters import MalformedParametersError, Parameters, parse_parameters
from processors.calls.standing import Attested
from processors.effects import Effects, PayloadTooLargeError, payload_digest
from processors.identity import delegations
from processors.identity.delegations import Chain
from processors.intake.identify import Signer
from processors.policy.decide import digests_that_came
from processors.policy.errors import RULE_ERRORS, ResourceInvalidError, WorkExceededError
from processors.policy.evaluation import Work, new_work, to_pay
from processors.policy.patterns import resource_name
from processors.policy.verdict import Verdict
from processors.proof.sealing import document_digest, parameters_digest
from processors.refusal import Refusal
from processors.state.shares import check_room
from processors.state.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import Decision, Event, InvocationRequested, Result
from schemas.rows import CallRow, PendingRow
from schemas.words import Outcome, Status


class _Judged(NamedTuple):
    """A call with all values that its decision rests on."""

    parameters: Parameters
    chain: Chain
    callers: tuple[bytes, ...]
    executor: Executor | None
    prompts: prompts.Checked
    verdict: Verdict


class _Denial(Refusal):
    """A refusal by a rule of the decision: the consulted documents, the log's `detail`, and the caller's (`told`)."""

    def __init__(
        self, reason: Reason | str, detail: str = "", policies: tuple[bytes, ...] = (), told: str | None = None
    ) -> None:
        super().__init__(reason, detail)
        self.policies = policies
        self.told = detail if told is None else told


def request(
    tables: Tables, effects: Effects, signer: Signer, event: Event, body: InvocationRequested
) -> tuple[str, str]:
    """Decide a call, send the decision to the tool or the caller, or let it wait. Return (outcome, reason)."""
    asked = asked_now(effects, signer, event, body)
    wait = work.wait_ms(tables, asked.principal_id)
    if not wait:
        return _decide(tables, effects, asked, None)
    reason, detail = Reason.LIMIT_EXCEEDED, f"the principal's work bucket is empty: {work.told(wait)}"
    denied = Outcome.DENIED
    decision = _decision(tables, effects, asked, outcome=denied, reason=reason, detail=detail, policies=(), chain=None)
    _deny(tables, effects, decision, asked.session_id, work.told(wait))
    return Outcome.DENIED, str(reason)


def resume(tables: Tables, effects: Effects, leaf: bytes) -> None:
    """Decide a waiting call again once all its requests are approved. The result may be to wait longer."""
    row = tables.pending.rows[leaf]
    asked = asked_before(tables, leaf, row)
    if asked is None:
        end(tables, effects, leaf, Reason.EXPIRED_SESSION, Status.CANCELLED)
        return
    outcome, _ = _decide(tables, effects, asked, row)
    if outcome != Outcome.PENDING:
        requests.close_all(tables, leaf, Status.APPROVED if outcome == Outcome.ALLOWED else Status.CANCELLED)


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
    )
    _deny(tables, effects, decision, row.session_id)
    requests.close_all(tables, leaf, how)


def pending_due(tables: Tables, effects: Effects, leaf: bytes) -> None:
    """Deny a waiting call at its deadline: approvals are missing, or its session has ended."""
    if requests.is_cancelled(tables, leaf):
        end(tables, effects, leaf, Reason.EXPIRED_SESSION, Status.CANCELLED)
    elif tables.now >= ends_at(body_of(tables.pending.rows[leaf].call), waited=True):
        end(tables, effects, leaf, Reason.DEADLINE_PASSED, Status.TIMEOUT)
    else:
        end(tables, effects, leaf, requests.timeout_reason(tables, leaf), Status.TIMEOUT)


def _decide(tables: Tables, effects: Effects, asked: Call, waited: PendingRow | None) -> tuple[str, str]:
    """Decide a call, now or again, write its consequences, and note its cost in work units."""
    budget = new_work()
    outcome, reason = _decided(tables, effects, asked, waited, budget)
    if outcome == Outcome.DENIED or asked.body.intents or asked.body.prompts:
        work.note(effects, asked.principal_id, to_pay(budget))
    return outcome, reason


def _decided(tables: Tables, effects: Effects, asked: Call, waited: PendingRow | None, budget: Work) -> tuple[str, str]:
    mark = effects.savepoint()
    judged: _Judged | None = None
    chain: Chain | None = None
    try:
        chain = delegations.chain_of(tables, asked.session, asked.event.header.on_behalf_of)
        callers = within.callers_of(tables, asked)
        outer = within.chains_of(tables, callers) if callers else ()
        chain = within.joined(chain, outer) if outer else chain
        judged = _judge(tables, asked, chain, (callers, outer), waited, budget)
        if judged.verdict.outcome == Outcome.PENDING:
            return _wait(tables, effects, asked, judged, waited)
        _check_verdict(judged.verdict)
        _allow(tables, effects, asked, judged, waited)
    except _Denial as denial:
        reason, detail, consulted, told = denial.reason, denial.detail, denial.policies, denial.told
    except Refusal as refusal:
        reason, detail, consulted, told = refusal.reason, refusal.detail, (), refusal.detail
    except WorkExceededError:
        reason, detail, consulted, told = Reason.LIMIT_EXCEEDED, "", (), ""
    except RULE_ERRORS as exc:
        # Fail closed: a rule that breaks denies the call, and the log names the kind of failure.
        reason, detail, consulted, told = Reason.INTERNAL_ERROR, type(exc).__name__, (), ""
    else:
        return Outcome.ALLOWED, ""
    effects.undo_to(mark)
    if reason == Reason.INTERNAL_ERROR:
        effects.broke(detail)
    if judged is not None and judged.verdict.effects.requests and waited is None and reason == Reason.APPROVAL_REQUIRED:
        _ask_for_later(tables, effects, asked, judged)
    decision = _decision(
        tables, effects, asked, outcome=Outcome.DENIED, reason=reason, detail=detail, policies=consulted, chain=chain
    )
    _deny(tables, effects, decision, asked.session_id, told)
    return Outcome.DENIED, str(reason)


def _judge(
    tables: Tables,
    asked: Call,
    chain: Chain,
    around: tuple[tuple[bytes, ...], tuple[Chain, ...]],
    waited: PendingRow | None,
    budget: Work,
) -> _Judged:
    """Return the verdict with the values that it rests on. Raises _Denial, Refusal, WorkExceededError.

    `around` are the callers around the call, and the chain of each.
    """
    body, (callers, outer) = asked.body, around
    try:
        resource_name(body.resource)
    except ResourceInvalidError as exc:
        raise _Denial(Reason.RESOURCE_INVALID) from exc
    if tables.now >= ends_at(body, waited=waited is not None):
        raise _Denial(Reason.DEADLINE_PASSED)
    if len(body.intents) > limits.INTENTS_PER_CALL_MAX:
        raise _Denial(Reason.POLICY_BROKEN, f"a call carries at most {limits.INTENTS_PER_CALL_MAX} intents")
    try:
        parameters = parse_parameters(body.parameters)
    except MalformedParametersError as exc:
        raise _Denial(Reason.MALFORMED_PARAMETERS, exc.cause) from exc
    idempotency.check(tables, asked, parameters.sha256)
    executor = executor_of(tables, body.resource, body.target)
    judged = bodies.judged(body.bodies, parameters, executor, budget)
    if outer:
        within.check_scopes(tables, outer, asked, judged, budget)
    declared = () if executor is None else executor.prompts
    checked = prompts.check(tables, asked, declared, parameters.value, budget)
    came = (*body.intents, *checked.policies) if checked.policies else body.intents
    verdict = decide_call(
        tables,
        asked.session,
        body.resource,
        judged,
        session_id=asked.session_id,
        intents=came,
        chain=chain,
        attested=Attested(tables, asked.session_id, chain, asked.leaf, outer),
        resumed=None if waited is None else waited.keys,
        owner="" if executor is None else executor.owner_beside(body.resource),
        work=budget,
    )
    verdict = _salted(asked, came, verdict) if came else verdict
    return _Judged(parameters, chain, callers, executor, checked, verdict)


def _salted(asked: Call, came: tuple[str, ...], verdict: Verdict) -> Verdict:
    """Return a verdict with salted digests for documents that came with the call, so that readers cannot guess them."""
    theirs = digests_that_came(came)

    def named(digest: bytes) -> bytes:
        return document_digest(asked.salt, digest) if digest in theirs else digest

    return verdict._replace(policies=tuple(sorted(map(named, verdict.policies))), deciding=named(verdict.deciding))


def _check_verdict(verdict: Verdict) -> None:
    if verdict.outcome != Outcome.ALLOWED:
        raise _Denial(verdict.reason, detail_of(verdict), verdict.policies, told_of(verdict))


# ---- allowed


def _allow(tables: Tables, effects: Effects, asked: Call, judged: _Judged, waited: PendingRow | None) -> None:
    """Write the allowed decision, sealed to the tool's live keys, and open the call. Raises _Denial."""
    verdict, executor, parameters = judged.verdict, judged.executor, judged.parameters
    policies = verdict.policies
    if executor is None or not executor.recipients:
        raise _Denial(Reason.TOOL_UNAVAILABLE, AWAY if asked.body.target is not None else "", policies)
    given = requests.given_for(tables, asked.leaf) if tables.pending.rows else ()
    try:
        payload = effects.call_payload(
            asked.salt, asked.signed, parameters.canonical, given, asked.session.opened, asked.session.renewed
        )
    except PayloadTooLargeError as exc:
        digest = parameters_digest(asked.salt, parameters.canonical)
        raise _Denial(Reason.OUTPUT_TOO_LARGE, f"sha256 {digest.hex()}", policies) from exc
    decision = _decision(
        tables, effects, asked, outcome=Outcome.ALLOWED, policies=policies, executor=executor,
        parameters=parameters, payload=payload, chain=judged.chain, waited=waited is not None,
    )  # fmt: skip
    assert decision.execute_before is not None
    leaf = effects.decide(decision, payload, executor.recipients)
    try:
        _open(tables, asked, judged, executor, decision.execute_before, leaf)
    except Refusal as refusal:
        raise _Denial(refusal.reason, refusal.detail, policies) from refusal


def _open(
    tables: Tables, asked: Call, judged: _Judged, executor: Executor, execute_before: int, decision: bytes
) -> None:
    """Charge an allowed call, consume its attestations and grants, and await its outcome. Raises Refusal."""
    paid_by = delegations.payer_of(asked.session, judged.chain)
    idempotency.use_up(tables, asked, judged.parameters.sha256, Outcome.ALLOWED, paid_by)
    marks = settle(tables, judged.verdict, asked.session_id, paid_by)
    grants.use_up(tables, asked.session_id, judged.chain, judged.verdict.effects.uses, event=asked.leaf)
    prompts.remember(tables, judged.prompts, paid_by)
    unknown_at = execute_before + executor.timeout_ms + limits.UNKNOWN_GRACE_MS
    row = CallRow(
        session_id=asked.session_id,
        caller_x25519=asked.session.x25519,
        tool=executor.principal_id,
        event=asked.leaf,
        event_id=asked.event.header.event_id,
        resource=asked.body.resource,
        unknown_at=unknown_at,
        marks=marks if executor.owns else None,  # else anybody could play the step that a rule asks for before another
        prompts=judged.prompts.keys,
        payer=paid_by,
        session_opened_at=asked.session.opened_at,
        target=executor.target,
        callers=(*judged.callers, within.own_caller(asked)),
    )
    tables.calls.put(decision, row)
    check_room(tables.calls, row)


# ---- waiting


def _wait(tables: Tables, effects: Effects, asked: Call, judged: _Judged, waited: PendingRow | None) -> tuple[str, str]:
    """Let a call wait for approvals. Raises _Denial if the tables have no room for it."""
    verdict = judged.verdict
    if waited is not None:
        return Outcome.PENDING, Reason.APPROVAL_PENDING  # its requests stay open, and their deadline never moves
    sha256 = judged.parameters.sha256
    try:
        paid_by = delegations.payer_of(asked.session, judged.chain)
        charge(tables, verdict, asked.session_id, paid_by)
        ends = ends_at(asked.body, waited=True)
        wanted = [one._replace(open_until=min(one.open_until, ends)) for one in verdict.effects.requests]
        answers.ask(tables, asked, judged.chain, wanted, sha256, waits=True)
        idempotency.use_up(tables, asked, sha256, Outcome.PENDING, paid_by)
    except Refusal as refusal:
        raise _Denial(refusal.reason, refusal.detail, verdict.policies) from refusal
    decision = _decision(
        tables, effects, asked, outcome=Outcome.PENDING, reason=Reason.APPROVAL_PENDING, policies=verdict.policies,
        parameters=judged.parameters, chain=judged.chain,
    )  # fmt: skip
    leaf = effects.decide(decision, None, ())
    until = tables.pending.rows[asked.leaf].deadline
    effects.answer(_result(tables, effects, decision, leaf, asked.session_id, f"until={until}"))
    return Outcome.PENDING, Reason.APPROVAL_PENDING


def _ask_for_later(tables: Tables, effects: Effects, asked: Call, judged: _Judged) -> None:
    """Open requests for grants although this call does not wait: a later call can use them."""
    mark = effects.savepoint()
    try:
        answers.ask(tables, asked, judged.chain, judged.verdict.effects.requests, judged.parameters.sha256, waits=False)
    except Refusal:
        # The tables have no room for the requests; the call is denied in any case.
        effects.undo_to(mark)


# ---- the records


def _deny(tables: Tables, effects: Effects, decision: Decision, to: bytes, told: str = "") -> None:
    """Write a denial. Its answer to the caller holds the reason, but no text of a policy (docs/mapl.md 13)."""
    leaf = effects.decide(decision, None, ())
    idempotency.give_back(tables, decision.event)
    effects.answer(_result(tables, effects, decision, leaf, to, told))


def _decision(
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
) -> Decision:
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
        execute_before=execute_before if payload else None,
        parameters_sha256=parameters_digest(asked.salt, parameters.canonical) if parameters else None,
        payload_sha256=payload_digest(payload),
        policies=policies,
        changed=(),
        subjects=chain.told if chain is not None else (),
        target=None if executor is None else executor.target,
    )


def _result(tables: Tables, effects: Effects, decision: Decision, leaf: bytes, to: bytes, detail: str) -> Result:
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
