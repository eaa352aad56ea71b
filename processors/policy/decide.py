"""The decision on one call by the policies in force (docs/mapl.md 12).

Empty means no: without a policy that may grant and does, the call is denied. Every policy that applies must agree,
roles are alternatives, denials of any held role count. Nothing is read but the arguments, so the same call under the
same policies and tables has the same verdict on any day; caches hold results of pure functions only. Nothing is
written: the verdict lists the charges, uses and marks of a decision.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from processors.policy import limits
from processors.policy.call import PLAIN, Circumstances
from processors.policy.compiled import CompiledPolicy
from processors.policy.delegation import chain_fault
from processors.policy.documents import PolicyDocument, check_inline, parse_inline
from processors.policy.errors import (
    RULE_ERRORS,
    BodyUnseenError,
    PolicyBrokenError,
    PolicyError,
    ResourceInvalidError,
    WorkExceededError,
)
from processors.policy.evaluation import Settings, Work, new_work, spend, spend_free
from processors.policy.index import Entry, PolicyIndex, index_policies
from processors.policy.patterns import ResourceName, resource_name
from processors.policy.plan import Denial, Plan, make_plan
from processors.policy.resolve import Subject
from processors.policy.stages import judge_alternative, rates_alone, without_parameters
from processors.policy.stamped import Stamped
from processors.policy.verdict import Verdict, denied, lowest
from processors.proof.jcs import JSONValue
from processors.text.characters import utf8_size
from processors.text.forms import nfc
from schemas.words import Outcome, Stage

__all__ = ["Circumstances", "PolicyIndex", "Verdict", "decide", "index_policies"]

_RESOURCE_INVALID = denied(Denial(Stage.RESOLUTION, "RESOURCE_INVALID"), ())
_BROKEN = Denial(Stage.RESOLUTION, "POLICY_BROKEN")
_TOO_MUCH = Denial(Stage.RESOLUTION, "LIMIT_EXCEEDED")
_UNSEEN = Denial(Stage.RESOLUTION, "BODY_UNSEEN")
_LAYER_MISSING = Denial(Stage.RESOLUTION, "LAYER_MISSING")


def decide(
    policies: Mapping[str, CompiledPolicy] | PolicyIndex,
    subjects: Subject | Sequence[Subject],
    resource: str,
    parameters: Mapping[str, JSONValue],
    call: Circumstances = PLAIN,
    work: Work | None = None,
) -> Verdict:
    """Judge one call. Never raises for any call; a rule that breaks denies with INTERNAL_ERROR.

    `work` is the rest of the call's budget, for callers that have spent some of it, or need the sum.

    Requires `parameters` as `parse_parameters` gave them, and policies under their own ids. A mapping is indexed at
    every call; keep a `PolicyIndex` to decide often. With several subjects (a bound or delegated call) each
    must pass. The last `call.actors` of them stand outside the chain.
    """
    index = policies if isinstance(policies, PolicyIndex) else index_policies(policies)
    try:
        name = resource_name(resource)
    except ResourceInvalidError:
        return _RESOURCE_INVALID
    named = with_names_in_nfc(parameters)
    work = new_work() if work is None else work
    everybody = (subjects,) if isinstance(subjects, Subject) else tuple(subjects)
    if len(everybody) == 1 and not call.hops and not call.bound:
        return _judge(index, everybody[0], name, named, call, work)
    return _delegated(index, everybody, name, named, call, work)


def _delegated(
    index: PolicyIndex,
    subjects: tuple[Subject, ...],
    name: ResourceName,
    parameters: Mapping[str, JSONValue],
    call: Circumstances,
    work: Work,
) -> Verdict:
    linked = subjects[: max(0, len(subjects) - call.actors)]
    if not linked:  # nobody asks: nobody may
        return denied(Denial(Stage.GRANT, "NO_POLICY"), ())
    # Several without a hop between them are no chain either: nobody let the last one act.
    if len(linked) > 1 or call.hops or call.bound:
        try:
            fault = chain_fault(call.hops, linked, name, parameters, call.now, work, bound=call.bound)
        except WorkExceededError:
            return denied(_TOO_MUCH, ())
        except BodyUnseenError:
            return denied(_UNSEEN, ())
        if fault is not None:
            reason, hop = fault
            return denied(Denial(Stage.RESOLUTION, reason, f"/{hop}"), ())
    # By plan, where it is impartial: the members of a chain are often alike.
    judged: dict[int, tuple[Plan, Verdict]] = {}
    return lowest([_judge(index, subject, name, parameters, call, work, judged) for subject in subjects])


# ---- one subject


def _judge(
    index: PolicyIndex,
    subject: Subject,
    name: ResourceName,
    parameters: Mapping[str, JSONValue],
    call: Circumstances,
    work: Work,
    judged: dict[int, tuple[Plan, Verdict]] | None = None,
) -> Verdict:
    found = index.found(subject, name.text, call.owner)
    try:
        plan = plan_for(index, found, name, call)
        spend_free(work, plan.published)
        spend(work, plan.units - plan.published)
    except PolicyBrokenError:
        return denied(_BROKEN, tuple(sorted({one.digest for one in found})))
    except WorkExceededError:
        return denied(_TOO_MUCH, tuple(sorted({one.digest for one in found})))
    except RULE_ERRORS as exc:
        internal = Denial(Stage.RESOLUTION, "INTERNAL_ERROR", type(exc).__name__)
        return denied(internal, tuple(sorted({one.digest for one in found})))
    if not call.lifted.everything and lacks_layer(index, subject, call.settings):
        return denied(_LAYER_MISSING, plan.digests)
    if judged is None or not plan.impartial:
        return _best(plan, subject, name, parameters, call, work)
    if id(plan) not in judged:  # the plan is kept with its verdict, so that no other gets its id meanwhile
        judged[id(plan)] = plan, _best(plan, subject, name, parameters, call, work)
    return judged[id(plan)][1]


def _best(
    plan: Plan,
    subject: Subject,
    name: ResourceName,
    parameters: Mapping[str, JSONValue],
    call: Circumstances,
    work: Work,
) -> Verdict:
    best: Verdict | None = None
    for alternative in plan.alternatives:
        verdict = judge_alternative(alternative, plan, subject, name, parameters, call, work)
        if verdict.outcome is Outcome.ALLOWED or verdict.reason == "INTERNAL_ERROR" or work[0] < 0:
            return verdict  # for what failed, or cost too much, no other role makes up
        # Best outcome, then furthest stage, which pending has; then the smallest id, whose turn comes first.
        if best is None or verdict.stage > best.stage:
            best = verdict
    assert best is not None  # INVARIANT: a plan has an alternative
    return best


def lacks_layer(index: PolicyIndex, subject: Subject, settings: Settings) -> bool:
    """Return whether a subject has no attribute for a layer that it must have (docs/mapl.md 6 "Missing attribute")."""
    if settings.required_layers is None:
        return index.has_company and subject.lacks_company
    return bool(subject.lacks(settings.required_layers))


def with_names_in_nfc(parameters: Mapping[str, JSONValue]) -> Mapping[str, JSONValue]:
    """Return parameters with the names at the top in NFC."""
    # A constraint on `é`, or on `K`, holds however the caller composes the name; the reader has refused names that
    # are equal after NFC, so none is lost.
    if "".join(parameters).isascii():
        return parameters
    named = {nfc(name): value for name, value in parameters.items()}
    return Stamped(named, parameters.stamps) if isinstance(parameters, Stamped) else named


def rates_of_waiting(
    index: PolicyIndex, subjects: Sequence[Subject], resource: str, call: Circumstances, work: Work
) -> Verdict:
    """Return the charges of a call that is to wait for verdicts, as an allowed verdict; or the denial of its rates.

    Of a subject's roles the first counts whose rates admit the call; another may decide once the verdicts are there.

    Raises:
        WorkExceededError.
    """
    name = resource_name(resource)
    verdicts = []
    for subject in subjects:
        try:
            plan = plan_for(index, index.found(subject, name.text, call.owner), name, call)
        except PolicyBrokenError:
            return denied(_BROKEN, ())
        spend_free(work, plan.published)
        spend(work, plan.units - plan.published)
        every = [rates_alone(one, plan, subject, call) for one in plan.alternatives]
        admitted = next((one for one in every if one.outcome is Outcome.ALLOWED), None)
        verdicts.append(admitted or max(every, key=lambda one: one.stage))
    return lowest(verdicts)


def admits_some(
    index: PolicyIndex, subjects: Sequence[Subject], resource: str, call: Circumstances, work: Work
) -> bool:
    """Return whether some call of a resource could be allowed, as far as its name and the subjects decide.

    Parameters, conditions, rates and approvals are not asked. Each subject must have a role that is admitted.

    Raises:
        WorkExceededError.
    """
    try:
        name = resource_name(resource)
    except ResourceInvalidError:
        return False
    for subject in subjects:
        if lacks_layer(index, subject, call.settings):
            return False
        try:
            plan = plan_for(index, index.found(subject, name.text, call.owner), name, call)
        except PolicyBrokenError:
            return False
        spend_free(work, plan.published)
        spend(work, plan.units - plan.published)
        if all(without_parameters(one, subject, call.now) is not None for one in plan.alternatives):
            return False
    return bool(subjects)


# ---- what is remembered


def plan_for(index: PolicyIndex, found: tuple[Entry, ...], name: ResourceName, call: Circumstances) -> Plan:
    """Return the plan for policies and a resource, made once while it is remembered.

    Raises:
        PolicyBrokenError: a policy that applies cannot be honoured, or a document of the call is faulty.
        WorkExceededError: it is too much.
    """
    intents, trusted, strict = call.intents, call.trusted, call.settings.strict_parameters
    plans = index.inline_plans if intents else index.plans
    key = (found, name.text, strict, intents, trusted, call.granted, call.lifted)
    plan = plans.get(key)
    if plan is None:
        try:
            documents = inline_documents(intents)
        except PolicyError as error:
            raise PolicyBrokenError(str(error)) from error
        plan = make_plan(
            index, found, documents, name, strict=strict, trusted=trusted, granted=call.granted, lifted=call.lifted
        )
        plans.put(key, plan, sum(len(one.tests) for one in plan.alternatives))
    assert isinstance(plan, Plan)
    return plan


def inline_documents(texts: Sequence[str]) -> tuple[PolicyDocument, ...]:
    """Return the documents that came with a call, as far as they keep their bounds: none is read beyond them.

    Raises:
        PolicyError: one of them is faulty.
        PolicyBrokenError: they are too many, or too large.
    """
    if len(texts) > limits.INLINE_DOCUMENTS_MAX or sum(map(utf8_size, texts)) > limits.INLINE_BYTES_MAX:
        raise PolicyBrokenError("the documents that came with the call exceed their bounds")
    documents: list[PolicyDocument] = []
    for text in texts:
        documents.append(_inline(text))
        check_inline(tuple(documents))
    return tuple(documents)


def digests_that_came(texts: Sequence[str]) -> frozenset[bytes]:
    """Return the digests of the documents that came with a call; none where one is faulty: then none was asked."""
    try:
        return frozenset(document.digest for document in inline_documents(texts))
    except (PolicyError, PolicyBrokenError):
        return frozenset()


@lru_cache(maxsize=limits.CACHED_INLINE_MAX)
def _inline(text: str) -> PolicyDocument:
    return parse_inline(text.encode("utf-8", "surrogatepass"))
