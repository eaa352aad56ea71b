"""A call with the values that its decision rests on, between its judgement and its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from processors.calls import awaiting, prompts, verifying
from processors.calls.call import Call
from processors.calls.denial import DeniedCall
from processors.calls.executor import Executor
from processors.calls.judge import detail_of, told_of
from processors.calls.masking import Masked
from processors.calls.parameters import Parameters
from processors.calls.verifiers.outside import Outside
from processors.calls.verifiers.pipeline import Verified
from processors.calls.verifying import VerifierAnswers
from processors.identity.delegations import Chain
from processors.policy.decide import digests_that_came
from processors.policy.evaluation import Work
from processors.policy.lifted import NOTHING_LIFTED, Lifted
from processors.policy.verdict import Verdict
from processors.proof.sealing import document_digest
from processors.state.tables import Tables
from schemas.events.verdicts import Observed
from schemas.rows import PendingRow
from schemas.words import Outcome

Judge = Callable[[Lifted], Verdict]


class JudgedCall(NamedTuple):
    """A call with all values that its decision rests on."""

    parameters: Parameters
    chain: Chain
    callers: tuple[bytes, ...]
    executor: Executor | None
    prompts: prompts.Checked
    verdict: Verdict
    verified: Verified
    outside: Outside
    executed: Masked  # the parameters as the tool gets them
    spoken: tuple[str, ...] = ()  # the texts that a person signs with the call
    judge: Judge | None = None  # judges the call again
    lifted: Lifted = NOTHING_LIFTED  # the documents that restrict nothing now
    observed: Observed | None = None  # the denial that is told, and not enforced
    answered: VerifierAnswers | None = None  # those of enforcement, of an observed call
    ignores_verifiers: bool = False


def answers_of(tables: Tables, judged: JudgedCall) -> VerifierAnswers:
    """Return the answers of all verifiers, as the decision holds them: of an observed call, those of enforcement."""
    if judged.answered is not None:
        return judged.answered
    return verifying.answers(tables, judged.verdict, judged.verified)


def salted(asked: Call, came: tuple[str, ...], verdict: Verdict) -> Verdict:
    """Return a verdict with salted digests for documents that came with the call, so that readers cannot guess them."""
    theirs = digests_that_came(came)

    def named(digest: bytes) -> bytes:
        return document_digest(asked.salt, digest) if digest in theirs else digest

    return verdict._replace(policies=tuple(sorted(map(named, verdict.policies))), deciding=named(verdict.deciding))


def with_rates(tables: Tables, asked: Call, judged: JudgedCall, waited: PendingRow | None, budget: Work) -> JudgedCall:
    """Return a call that is to wait for verdicts, judged by its rates alone if it begins to.

    Raises:
        WorkExceededError.
    """
    if waited is not None:
        return judged
    came = (*asked.body.intents, *judged.prompts.policies)
    verdict = awaiting.rates(tables, asked, judged.chain, judged.executor, came, budget, judged.lifted)
    return judged._replace(verdict=salted(asked, came, verdict) if came else verdict)


def check_verdict(verdict: Verdict) -> None:
    """Raise DeniedCall unless policies allow a call."""
    if verdict.outcome != Outcome.ALLOWED:
        raise DeniedCall(verdict.reason, detail_of(verdict), verdict.policies, told_of(verdict))
