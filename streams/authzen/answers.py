"""The answer to a question, as advice: the decision that the policies would take, without its effects.

The effects of the decision are dropped: it charges no limit, uses up no attestation, requests no approval and writes
nothing. So two equal questions have equal answers, and a later call is decided again. A call that would wait for an
approval is answered with false.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from processors.policy.call import Circumstances
from processors.policy.decide import decide
from processors.policy.resolve import Subject
from processors.policy.verdict import Verdict
from processors.proof.jcs import JSONValue
from schemas.words import Outcome
from streams.authzen.questions import MalformedRequestError, Question, UnaskableError
from streams.authzen.standing import PoliciesStanding, Snapshot

ALLOWED = "ALLOWED"
SUBJECT_UNKNOWN = "SUBJECT_UNKNOWN"  # no such id in the directory, or not under this type
MALFORMED_REQUEST = "MALFORMED_REQUEST"  # one evaluation of a batch is not a question


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResponse:
    """The answer to one question. It holds no parameter value and no text of a policy.

    `policy` is the digest of the document that decided, empty if none did; `consulted` are the digests of all documents
    that apply. `as_of` is an audit index. `path` names the parameter that was denied.
    """

    decision: bool
    reason: str
    as_of: int | None
    policy: bytes = b""
    consulted: tuple[bytes, ...] = ()
    path: str = ""
    retry_after_ms: int | None = None
    ignored: tuple[str, ...] = ()
    error: str = ""

    def as_json(self) -> dict[str, JSONValue]:
        """Return the AuthZEN decision."""
        context: dict[str, JSONValue] = {
            "reason": self.reason,
            "advisory": True,
            "as_of": self.as_of,
            "policy": self.policy.hex() or None,
            "policies": [digest.hex() for digest in self.consulted],
        }
        if self.path:
            context["path"] = self.path
        if self.retry_after_ms is not None:
            context["retry_after_ms"] = self.retry_after_ms
        if self.ignored:
            context["ignored"] = list(self.ignored)
        if self.error:
            context["error"] = {"status": 400, "message": self.error}
        return {"decision": self.decision, "context": context}


def answer(standing: Snapshot, asked: Question | MalformedRequestError, now_ms: int) -> EvaluationResponse:
    """Return the answer to one question. A malformed question is denied with the error in the answer.

    Does not raise for any content of a request.
    """
    policies = standing.policies
    refused = EvaluationResponse(decision=False, reason=MALFORMED_REQUEST, as_of=policies.as_of)
    if isinstance(asked, MalformedRequestError):
        return replace(refused, error=str(asked))
    refused = replace(refused, ignored=asked.ignored)
    subject = standing.directory.find(asked.subject_type, asked.subject_id)
    if subject is None:
        return replace(refused, reason=SUBJECT_UNKNOWN)
    try:
        name, parameters = asked.resource_name(), asked.parameters()
    except UnaskableError as exc:
        return replace(refused, reason=exc.reason)
    verdict = _verdict(policies, subject, name, parameters, now_ms)
    return EvaluationResponse(
        decision=verdict.outcome is Outcome.ALLOWED,
        reason=verdict.reason or ALLOWED,
        as_of=policies.as_of,
        policy=verdict.deciding,
        consulted=verdict.policies,
        path=verdict.path,
        retry_after_ms=verdict.retry_after_ms,
        ignored=asked.ignored,
    )


def _verdict(
    policies: PoliciesStanding, subject: Subject, name: str, parameters: Mapping[str, JSONValue], now_ms: int
) -> Verdict:
    """Return the verdict of the policies. Its effects are not carried further."""
    call = Circumstances(
        now=max(now_ms, policies.now), appended=now_ms, tables=policies.tables, settings=policies.settings
    )
    return decide(policies.index, subject, name, parameters, call)
