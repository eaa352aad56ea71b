"""The four verifiers that are rules of the log and of the policies: signature, authorization, rate, and workflow.

They decide in their own rooms (`processors/intake`, `processors/policy`); here their verdict is told in the words of
the pipeline. A stage of a decision (docs/mapl.md 12) belongs to one of them.
"""

from __future__ import annotations

from processors.calls.verifiers.verifier import Verification
from processors.policy.verdict import Verdict
from schemas.words import Outcome, Stage, VerifierOutcome

SIGNATURE = Verification("signature", 10, VerifierOutcome.PASS)  # else the record had been refused before
AUTHORIZATION = Verification("tool_authorization", 20, VerifierOutcome.PASS)
RATE = Verification("rate_limit", 30, VerifierOutcome.PASS)
WORKFLOW = Verification("workflow_integrity", 80, VerifierOutcome.PASS)

_WORKFLOW_STAGES = frozenset({Stage.SEQUENCE, Stage.ATTESTATIONS, Stage.APPROVALS})


def of_policies(verdict: Verdict) -> tuple[Verification, ...]:
    """Return the answers of the rules. Those after the one that denied were not asked, and are absent."""
    if verdict.outcome == Outcome.ALLOWED:
        return SIGNATURE, AUTHORIZATION, RATE, WORKFLOW
    if verdict.outcome == Outcome.PENDING:
        return SIGNATURE, AUTHORIZATION, RATE, _said(WORKFLOW, VerifierOutcome.ASK, verdict.reason)
    passed, decided = _placed(verdict.stage)
    return *passed, _said(decided, VerifierOutcome.DENY, verdict.reason)


def _placed(stage: Stage) -> tuple[tuple[Verification, ...], Verification]:
    """Return the verifiers that passed before the one that a stage belongs to, and that one."""
    if stage in _WORKFLOW_STAGES:
        # Sequences are asked before rates: a rate that was not asked is no answer.
        asked = (SIGNATURE, AUTHORIZATION) if stage is Stage.SEQUENCE else (SIGNATURE, AUTHORIZATION, RATE)
        return asked, WORKFLOW
    if stage is Stage.RATE:
        return (SIGNATURE, AUTHORIZATION), RATE
    return (SIGNATURE,), AUTHORIZATION


def _said(one: Verification, outcome: VerifierOutcome, reason: str) -> Verification:
    return one._replace(outcome=outcome, reason=str(reason))
