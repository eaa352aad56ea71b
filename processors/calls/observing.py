"""Observe mode and break-glass around one call: the denial that is told and not enforced (docs/observe.md).

A call is judged as ever first. If a reason in TOLD would deny it, or let it wait, it is judged again without the
documents that are lifted. Policies that are not lifted still judge, and charge; those that are lifted take nothing. A
call that would have waited still pays its rates, so the reasons of later calls are those of enforcement.

Nothing but TOLD is ever lifted: signatures, sessions, delegations, parameters, work, and rooms in tables are enforced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from processors.calls import awaiting, enforcement, verifying
from processors.calls.call import Call
from processors.calls.denial import DeniedCall
from processors.calls.judge import detail_of
from processors.calls.judged import JudgedCall, answers_of, with_rates
from processors.calls.provenance import is_person
from processors.calls.verifiers.verifier import Verification
from processors.identity.delegations import Chain
from processors.policy.evaluation import Work
from processors.policy.lifted import Lifted
from processors.policy.patterns import resource_name
from processors.policy.verdict import Consequences, Verdict
from processors.state.tables import Tables
from schemas.events.verdicts import Observed
from schemas.reasons import Reason
from schemas.rows import PendingRow
from schemas.words import EnforcementKind, Outcome, VerifierOutcome

OF_POLICIES = frozenset(
    {
        Reason.RESOURCE_DENIED,
        Reason.RESOURCE_NOT_ALLOWED,
        Reason.NO_POLICY,
        Reason.LAYER_MISSING,
        Reason.POLICY_NOT_YET_VALID,
        Reason.POLICY_EXPIRED,
        Reason.ROLE_REQUIRED,
        Reason.PARAM_REQUIRED,
        Reason.PARAM_TYPE,
        Reason.PARAM_NOT_ALLOWED,
        Reason.PARAM_OUT_OF_RANGE,
        Reason.PARAM_PATTERN,
        Reason.PARAM_SIZE,
        Reason.PARAM_UNLISTED,
        Reason.PARAM_DENIED,
        Reason.BODY_UNSEEN,
        Reason.CONDITION_DENIED,
        Reason.SEQUENCE_MISSING,
        Reason.SEQUENCE_LIMIT,
        Reason.SEQUENCE_TOTAL,
        Reason.SEQUENCE_TAINT,
        Reason.SEQUENCE_PROVENANCE,
        Reason.RATE_LIMITED,
        Reason.ATTESTATION_MISSING,
        Reason.ATTESTATION_EXPIRED,
        Reason.ATTESTATION_CONSUMED,
        Reason.ATTESTATION_REVOKED,
        Reason.ATTESTATION_WRONG_SETTER,
        Reason.APPROVAL_DENIED,
        Reason.APPROVAL_EXPIRED,
        Reason.APPROVAL_CONSUMED,
        Reason.APPROVAL_QUORUM,
        Reason.APPROVAL_REQUIRED,
        Reason.APPROVAL_PENDING,
    }
)
OF_VERIFIERS = frozenset(
    {
        Reason.PROMPT_INJECTION,
        Reason.COMMAND_INJECTION,
        Reason.PERSONAL_DATA,
        Reason.SECRET_FOUND,
        Reason.TEXT_UNREAD,
        Reason.PARAMETERS_INVALID,
        Reason.BODY_UNSEEN,
        Reason.VERIFIER_DENIED,
        Reason.VERIFIER_ASKS,
        Reason.VERDICT_MISSING,
        Reason.VERDICT_PENDING,
    }
)
TOLD = OF_POLICIES | OF_VERIFIERS
BREAK_GLASS = EnforcementKind.BREAK_GLASS  # in a detail, before the leaf of the event that opened the resource


class _Lifting(NamedTuple):
    """The exceptions from enforcement that meet a call. `glass` is the leaf of the break-glass that does."""

    documents: Lifted
    verifiers: bool = False
    glass: bytes | None = None

    def observed(self, would_be: Observed) -> Observed:
        """Return the denial that is told, with the break-glass that lifted it."""
        if self.glass is None:
            return would_be
        by = f"{BREAK_GLASS} {self.glass.hex()}"
        detail = f"{would_be.detail} {by}" if would_be.detail else by
        return Observed(outcome=would_be.outcome, reason=would_be.reason, detail=detail)


def lifted(tables: Tables, asked: Call, judged: JudgedCall, waited: PendingRow | None, budget: Work) -> JudgedCall:
    """Return a call that observe mode or a break-glass lets pass, with its denial; any other call as it is.

    Raises:
        WorkExceededError.
    """
    lifting = _lifting_of(tables, asked, judged.chain, judged.callers)
    if lifting is None or judged.judge is None:
        return judged
    would_be, enforced = _enforced(tables, asked, judged, waited, budget, verifiers=lifting.verifiers)
    if would_be is None or would_be.reason not in TOLD:
        return judged
    ignores = lifting.verifiers and not _is_broken(judged.verified.answers)
    verdict = judged.judge(lifting.documents)
    if verdict.outcome != Outcome.ALLOWED:  # by a document that is not lifted: that one is the reason now
        return judged._replace(verdict=verdict, lifted=lifting.documents, ignores_verifiers=ignores)
    return judged._replace(
        verdict=_charged(enforced, verdict),
        lifted=lifting.documents,
        observed=lifting.observed(would_be),
        answered=answers_of(tables, judged),
        ignores_verifiers=ignores,
    )


def _enforced(
    tables: Tables, asked: Call, judged: JudgedCall, waited: PendingRow | None, budget: Work, *, verifiers: bool
) -> tuple[Observed | None, Verdict]:
    """Return the answer that enforcement would give, None for an allowed call, and the verdict that it rests on.

    Verifiers are asked only if they are lifted as well. Raises WorkExceededError.
    """
    verdict = judged.verdict
    if not verifiers:
        return _of_verdict(verdict), verdict
    try:
        if awaiting.is_wanted(tables, verdict, judged.verified, judged.outside):
            verdict = with_rates(tables, asked, judged, waited, budget).verdict
            if waited is not None or verdict.outcome == Outcome.ALLOWED:
                pending = verdict._replace(outcome=Outcome.PENDING)
                return Observed(outcome=str(Outcome.PENDING), reason=str(Reason.VERDICT_PENDING), detail=""), pending
        else:
            verifying.check(verdict, judged.verified, judged.outside)
    except DeniedCall as denial:
        return Observed(outcome=str(Outcome.DENIED), reason=str(denial.reason), detail=denial.detail), verdict
    return _of_verdict(verdict), verdict


def _is_broken(answers: Sequence[Verification]) -> bool:
    """Return whether a verifier denies with a reason that is never observed, as one that broke does."""
    return any(one.outcome is VerifierOutcome.DENY and one.reason not in TOLD for one in answers)


def _lifting_of(tables: Tables, asked: Call, chain: Chain, callers: tuple[bytes, ...]) -> _Lifting | None:
    """Return the exceptions that meet a call, None if none does. Requires a well-formed resource.

    A break-glass is for its person alone: not for a delegate, a service or an actor, nor for a tool within a call.
    """
    standing, name = enforcement.current(tables), resource_name(asked.body.resource)
    if standing.observes(name):
        return _Lifting(Lifted(everything=True), verifiers=True)
    alone = is_person(asked.session) and not (chain.hops or chain.bound or chain.actors or callers)
    glass = standing.glass_for(name, asked.principal_id, tables.now) if alone else None
    if glass is not None:
        return _Lifting(Lifted(everything=True), glass=glass.event)
    return _Lifting(Lifted(policies=standing.policies)) if standing.policies else None


def _of_verdict(verdict: Verdict) -> Observed | None:
    """Return the answer of policies that would be enforced, None for an allowed call."""
    if verdict.outcome == Outcome.ALLOWED:
        return None
    detail = detail_of(verdict) if verdict.outcome == Outcome.DENIED else ""  # as the decision would have it
    return Observed(outcome=str(verdict.outcome), reason=str(verdict.reason), detail=detail)


def _charged(enforced: Verdict, lifted: Verdict) -> Verdict:
    """Return the verdict of an observed call: with the charges of policies that judge it, and of a call that waits."""
    effects = lifted.effects
    if enforced.outcome != Outcome.PENDING or not enforced.effects.buckets:
        return lifted
    buckets = tuple(dict.fromkeys((*effects.buckets, *enforced.effects.buckets)))
    return lifted._replace(effects=Consequences(buckets, effects.cells, effects.marks, effects.uses, effects.requests))
