"""A call and its decision.

The steps for an invocation, in order:

1. The chain of delegations is read from the log.
2. The caller's deadline is checked (`deadlines`), parameters are parsed once and strictly (`parameters`), the
   idempotency key is checked (`idempotency`), then bodies (`bodies`) and prompts (`prompts`).
3. Verifiers look at the texts (`verifying`), and policies judge with their stamps (`judge`). The decision has the
   answer of each verifier, and names every document that the policies consulted.
4. Values are blanked where a policy says so (`masking`): people are asked about the masked form, and the tool gets it.

A call that people must approve, or that a verifier outside must judge (`awaiting`), waits, and is then decided again by
the tables of that moment. An allowed call stays open until its tool reports or its time is over (`outcome`). Every call
gets an answer.
"""

from __future__ import annotations

from processors.calls import (
    answers,
    awaiting,
    bodies,
    enforcement,
    grants,
    idempotency,
    masking,
    observing,
    prompts,
    provenance,
    requests,
    verifying,
    within,
    work,
)
from processors.calls.call import Call, asked_before, asked_now, body_of
from processors.calls.deadlines import ends_at
from processors.calls.deciding import decision_of, deny, end, result_of
from processors.calls.denial import DeniedCall
from processors.calls.executor import AWAY, Executor, executor_of
from processors.calls.judge import charge, decide_call, settle
from processors.calls.judged import JudgedCall, answers_of, check_verdict, salted, with_rates
from processors.calls.masking import Masked
from processors.calls.parameters import MalformedParametersError, parse_parameters
from processors.calls.standing import Attested
from processors.effects import Effects, PayloadTooLargeError
from processors.identity import delegations
from processors.identity.delegations import Chain
from processors.intake.identify import Signer
from processors.policy.errors import RULE_ERRORS, ResourceInvalidError, WorkExceededError
from processors.policy.evaluation import Work, new_work, to_pay
from processors.policy.lifted import NOTHING_LIFTED, Lifted
from processors.policy.patterns import resource_name
from processors.policy.verdict import Verdict
from processors.proof.sealing import parameters_digest
from processors.refusal import Refusal
from processors.state.shares import check_room
from processors.state.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import Event, InvocationRequested
from schemas.rows import CallRow, PendingRow
from schemas.words import Outcome, Status


def request(
    tables: Tables, effects: Effects, signer: Signer, event: Event, body: InvocationRequested
) -> tuple[str, str]:
    """Decide a call, send the decision to the tool or the caller, or let it wait. Return (outcome, reason)."""
    asked = asked_now(effects, signer, event, body)
    wait = work.wait_ms(tables, asked.principal_id)
    if not wait:
        return _decide(tables, effects, asked, None)
    reason, detail = Reason.LIMIT_EXCEEDED, f"the principal's work bucket is empty: {work.told(wait)}"
    decision = decision_of(
        tables, effects, asked, outcome=Outcome.DENIED, reason=reason, detail=detail, policies=(), chain=None,
        said=verifying.before_rules(tables, str(reason)),
    )  # fmt: skip
    deny(tables, effects, decision, asked.session_id, work.told(wait))
    return Outcome.DENIED, str(reason)


def resume(tables: Tables, effects: Effects, leaf: bytes) -> None:
    """Decide a waiting call again once all its requests are approved, or all its verdicts are there; or let it wait."""
    row = tables.pending.rows[leaf]
    asked = asked_before(tables, leaf, row)
    if asked is None:
        end(tables, effects, leaf, Reason.EXPIRED_SESSION, Status.CANCELLED)
        return
    outcome, _ = _decide(tables, effects, asked, row)
    if outcome != Outcome.PENDING:
        requests.close_all(tables, leaf, Status.APPROVED if outcome == Outcome.ALLOWED else Status.CANCELLED)


def pending_due(tables: Tables, effects: Effects, leaf: bytes) -> None:
    """Deny a waiting call at its deadline: approvals or verdicts are missing, or its session has ended."""
    row = tables.pending.rows[leaf]
    if requests.is_cancelled(tables, leaf) or awaiting.is_over(tables, leaf, row):
        end(tables, effects, leaf, Reason.EXPIRED_SESSION, Status.CANCELLED)
    elif tables.now >= ends_at(body_of(row.call), waited=bool(row.keys)):
        end(tables, effects, leaf, Reason.DEADLINE_PASSED, Status.TIMEOUT)
    elif awaiting.required_of(tables, row.awaits):
        end(tables, effects, leaf, Reason.VERDICT_MISSING, Status.TIMEOUT)
    else:
        end(tables, effects, leaf, requests.timeout_reason(tables, leaf), Status.TIMEOUT)


def _decide(tables: Tables, effects: Effects, asked: Call, waited: PendingRow | None) -> tuple[str, str]:
    """Decide a call, now or again, write its consequences, and note its cost in work units."""
    budget = new_work()
    outcome, reason, is_masked = _decided(tables, effects, asked, waited, budget)
    came = asked.body.intents or asked.body.prompts or asked.body.verdicts
    if (
        outcome != Outcome.ALLOWED
        or effects.observed
        or came
        or is_masked
        or verifying.asks(tables, asked.body.resource)
    ):
        work.note(effects, asked.principal_id, to_pay(budget))
    return outcome, reason


def _decided(
    tables: Tables, effects: Effects, asked: Call, waited: PendingRow | None, budget: Work
) -> tuple[str, str, bool]:
    """Return (outcome, reason, whether values were to be masked)."""
    mark = effects.savepoint()
    judged: JudgedCall | None = None
    chain: Chain | None = None
    try:
        chain = delegations.chain_of(tables, asked.session, asked.event.header.on_behalf_of)
        callers = within.callers_of(tables, asked)
        outer = within.chains_of(tables, callers) if callers else ()
        chain = within.joined(chain, outer) if outer else chain
        judged = _judge(tables, asked, chain, (callers, outer), waited, budget)
        if tables.enforcement.rows:
            judged = observing.lifted(tables, asked, judged, waited, budget)
        return *_answered(tables, effects, asked, judged, waited, budget), bool(judged.verdict.masks)
    except DeniedCall as denial:
        reason, detail, consulted, told = denial.reason, denial.detail, denial.policies, denial.told
    except Refusal as refusal:
        reason, detail, consulted, told = refusal.reason, refusal.detail, (), refusal.detail
    except WorkExceededError:
        reason, detail, consulted, told = Reason.LIMIT_EXCEEDED, "", (), ""
    except RULE_ERRORS as exc:
        # Fail closed: a rule that breaks denies the call, and the log names the kind of failure.
        reason, detail, consulted, told = Reason.INTERNAL_ERROR, type(exc).__name__, (), ""
    effects.undo_to(mark)
    if reason == Reason.INTERNAL_ERROR:
        effects.broke(detail)
    if judged is not None and judged.verdict.effects.requests and waited is None and reason == Reason.APPROVAL_REQUIRED:
        _ask_for_later(tables, effects, asked, judged)
    said = answers_of(tables, judged) if judged is not None else verifying.before_rules(tables, str(reason))
    decision = decision_of(
        tables, effects, asked, outcome=Outcome.DENIED, reason=reason, detail=detail, policies=consulted, chain=chain,
        said=said,
    )  # fmt: skip
    deny(tables, effects, decision, asked.session_id, told)
    return Outcome.DENIED, str(reason), False


def _answered(
    tables: Tables, effects: Effects, asked: Call, judged: JudgedCall, waited: PendingRow | None, budget: Work
) -> tuple[str, str]:
    """Let a judged call wait or begin. Raises DeniedCall, Refusal, WorkExceededError."""
    if not judged.ignores_verifiers:
        if awaiting.is_wanted(tables, judged.verdict, judged.verified, judged.outside):
            judged = with_rates(tables, asked, judged, waited, budget)
            return _wait_for_verdicts(tables, effects, asked, judged, waited)
        verifying.check(judged.verdict, judged.verified, judged.outside)
    if judged.verdict.outcome != Outcome.PENDING:
        check_verdict(judged.verdict)
    executed = masking.masked(tables, asked, judged.parameters, judged.verdict, judged.executor, budget)
    judged = judged._replace(executed=executed)
    if judged.verdict.outcome == Outcome.PENDING:
        return _wait(tables, effects, asked, judged, waited)
    _allow(tables, effects, asked, judged, waited, budget)
    return Outcome.ALLOWED, ""


def _judge(
    tables: Tables,
    asked: Call,
    chain: Chain,
    around: tuple[tuple[bytes, ...], tuple[Chain, ...]],
    waited: PendingRow | None,
    budget: Work,
) -> JudgedCall:
    """Return the verdict with the values that it rests on. Raises DeniedCall, Refusal, WorkExceededError.

    `around` are the callers around the call, and the chain of each.
    """
    body, (callers, outer) = asked.body, around
    try:
        resource_name(body.resource)
    except ResourceInvalidError as exc:
        raise DeniedCall(Reason.RESOURCE_INVALID) from exc
    if tables.now >= ends_at(body, waited=_for_people(waited)):
        raise DeniedCall(Reason.DEADLINE_PASSED)
    if len(body.intents) > limits.INTENTS_PER_CALL_MAX:
        raise DeniedCall(Reason.POLICY_BROKEN, f"a call carries at most {limits.INTENTS_PER_CALL_MAX} intents")
    try:
        parameters = parse_parameters(body.parameters)
    except MalformedParametersError as exc:
        raise DeniedCall(Reason.MALFORMED_PARAMETERS, exc.cause) from exc
    idempotency.check(tables, asked, parameters.sha256)
    executor = executor_of(tables, body.resource, body.target)
    if tables.enforcement.rows:
        behind = (asked.principal_id, *(one.principal for one in chain.subjects))
        tool = () if executor is None else (executor.principal_id,)
        enforcement.check_not_frozen(tables, (*behind, *tool), body.resource)
    judged = bodies.judged(body.bodies, parameters, executor, budget)
    if outer:
        within.check_scopes(tables, outer, asked, judged, budget)
    declared = () if executor is None else executor.prompts
    checked = prompts.check(tables, asked, declared, parameters.value, budget)
    kept = () if waited is None else waited.verdicts
    verified, outside, judged = verifying.arguments(tables, asked, parameters, judged, executor, budget, kept)
    spoken = provenance.spoken(tables, asked, parameters.value, budget)
    came = (*body.intents, *checked.policies) if checked.policies else body.intents

    def judge(lifted: Lifted = NOTHING_LIFTED) -> Verdict:
        verdict = decide_call(
            tables,
            asked.session,
            body.resource,
            judged,
            session_id=asked.session_id,
            intents=came,
            chain=chain,
            attested=Attested(tables, asked.session_id, chain, asked.leaf, outer),
            resumed=waited.keys if waited is not None and waited.keys else None,
            owner="" if executor is None else executor.owner_beside(body.resource),
            maskable=() if executor is None else executor.maskable_paths,
            work=budget,
            prompts=spoken,
            paid=waited is not None,
            lifted=lifted,
        )
        return salted(asked, came, verdict) if came else verdict

    unmasked = Masked(parameters)
    return JudgedCall(
        parameters, chain, callers, executor, checked, judge(), verified, outside, unmasked, spoken, judge
    )


def _wait_for_verdicts(
    tables: Tables, effects: Effects, asked: Call, judged: JudgedCall, waited: PendingRow | None
) -> tuple[str, str]:
    """Let a call wait for verdicts. Raises DeniedCall if its rates, or its tool that is away, deny it first."""
    if waited is None:
        check_verdict(judged.verdict)
        _there(asked, judged)
    verdict, verified, given = judged.verdict, judged.verified, judged.outside
    return awaiting.wait(tables, effects, asked, judged.parameters, judged.chain, verdict, verified, given, waited)


def _there(asked: Call, judged: JudgedCall) -> Executor:
    """Return the executor of a call. Raises DeniedCall TOOL_UNAVAILABLE if none is there now."""
    executor = judged.executor
    if executor is None or not executor.recipients:
        told = AWAY if asked.body.target is not None else ""
        raise DeniedCall(Reason.TOOL_UNAVAILABLE, told, judged.verdict.policies)
    return executor


def _for_people(waited: PendingRow | None) -> bool:
    """Return whether a call has waited for people; one that waited for verdicts alone keeps its time to begin."""
    return waited is not None and bool(waited.keys)


# ---- allowed


def _allow(
    tables: Tables, effects: Effects, asked: Call, judged: JudgedCall, waited: PendingRow | None, budget: Work
) -> None:
    """Write the allowed decision, sealed to the tool's live keys, and open the call. Raises DeniedCall."""
    executor, policies = _there(asked, judged), judged.verdict.policies
    parameters, changed = judged.executed
    given = requests.given_for(tables, asked.leaf) if tables.pending.rows else ()
    try:
        payload = effects.call_payload(
            asked.salt, asked.signed, parameters.canonical, given, asked.session.opened, asked.session.renewed
        )
    except PayloadTooLargeError as exc:
        digest = parameters_digest(asked.salt, parameters.canonical)
        raise DeniedCall(Reason.OUTPUT_TOO_LARGE, f"sha256 {digest.hex()}", policies) from exc
    decision = decision_of(
        tables, effects, asked, outcome=Outcome.ALLOWED, policies=policies, executor=executor,
        parameters=parameters, payload=payload, chain=judged.chain, waited=_for_people(waited),
        said=answers_of(tables, judged), observed=judged.observed, changed=changed,
    )  # fmt: skip
    effects.observed = None if judged.observed is None else judged.observed.reason
    assert decision.execute_before is not None
    leaf = effects.decide(decision, payload, executor.recipients)
    try:
        call = _open(tables, asked, judged, executor, decision.execute_before, leaf)
        provenance.handed_on(tables, asked, judged.chain, call, judged.parameters.value, budget)
    except Refusal as refusal:
        raise DeniedCall(refusal.reason, refusal.detail, policies) from refusal


def _open(
    tables: Tables, asked: Call, judged: JudgedCall, executor: Executor, execute_before: int, decision: bytes
) -> CallRow:
    """Charge an allowed call, consume its attestations and grants, and await its outcome. Raises Refusal."""
    paid_by = delegations.payer_of(asked.session, judged.chain)
    idempotency.use_up(tables, asked, judged.parameters.sha256, Outcome.ALLOWED, paid_by)
    marks = settle(tables, judged.verdict, asked.session_id, paid_by)
    grants.use_up(tables, asked.session_id, judged.chain, judged.verdict.effects.uses, event=asked.leaf)
    observed = judged.observed is not None or within.is_observed(tables, asked)
    if not observed:
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
        marks=marks
        if executor.owns and not observed
        else None,  # else anybody could play the step that a rule asks for before another
        prompts=() if observed else judged.prompts.keys,
        payer=paid_by,
        session_opened_at=asked.session.opened_at,
        target=executor.target,
        callers=(*judged.callers, within.own_caller(asked)),
        observed=observed,
    )
    tables.calls.put(decision, row)
    check_room(tables.calls, row)
    if not observed:  # words help later calls: a denied call leaves none
        provenance.said(tables, asked, judged.spoken, paid_by)
    provenance.opened(tables, row)
    return row


# ---- waiting


def _wait(
    tables: Tables, effects: Effects, asked: Call, judged: JudgedCall, waited: PendingRow | None
) -> tuple[str, str]:
    """Let a call wait for approvals. Raises DeniedCall if the tables have no room for it."""
    verdict = judged.verdict
    if waited is not None and waited.keys:
        return Outcome.PENDING, Reason.APPROVAL_PENDING  # its requests stay open, and their deadline never moves
    sha256 = judged.parameters.sha256
    try:
        paid_by = delegations.payer_of(asked.session, judged.chain)
        charge(tables, verdict, asked.session_id, paid_by)
        ends = ends_at(asked.body, waited=True)
        wanted = [one._replace(open_until=min(one.open_until, ends)) for one in verdict.effects.requests]
        answers.ask(tables, asked, judged.chain, wanted, judged.executed, waits=True)
        idempotency.use_up(tables, asked, sha256, Outcome.PENDING, paid_by)
    except Refusal as refusal:
        raise DeniedCall(refusal.reason, refusal.detail, verdict.policies) from refusal
    decision = decision_of(
        tables, effects, asked, outcome=Outcome.PENDING, reason=Reason.APPROVAL_PENDING, policies=verdict.policies,
        parameters=judged.executed.parameters, chain=judged.chain, said=answers_of(tables, judged),
        changed=judged.executed.changed,
    )  # fmt: skip
    leaf = effects.decide(decision, None, ())
    until = tables.pending.rows[asked.leaf].deadline
    effects.answer(result_of(tables, effects, decision, leaf, asked.session_id, f"until={until}"))
    return Outcome.PENDING, Reason.APPROVAL_PENDING


def _ask_for_later(tables: Tables, effects: Effects, asked: Call, judged: JudgedCall) -> None:
    """Open requests for grants although this call does not wait: a later call can use them."""
    mark = effects.savepoint()
    try:
        answers.ask(tables, asked, judged.chain, judged.verdict.effects.requests, judged.executed, waits=False)
    except Refusal:
        # The tables have no room for the requests; the call is denied in any case.
        effects.undo_to(mark)
