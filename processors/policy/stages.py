"""The stages of one conjunction of documents (docs/mapl.md 12): in order, and the first that fails decides.

Fail closed: a rule that breaks denies with INTERNAL_ERROR, one that would cost too much with LIMIT_EXCEEDED, each in
the name of its document.
"""

from collections.abc import Mapping

from processors.policy.attestations import External, Use, judge_external, judge_internal
from processors.policy.call import Circumstances
from processors.policy.compiled import CompiledPolicy, ParameterCheck
from processors.policy.errors import RULE_ERRORS, BodyUnseenError, WorkExceededError
from processors.policy.evaluation import Evaluation, Session, Work
from processors.policy.masks import judge_mask
from processors.policy.patterns import ResourceName
from processors.policy.plan import Alternative, Bucket, Denial, Needed, Plan, Ruled
from processors.policy.rates import retry_after_ms, standing
from processors.policy.requirements import Requirement
from processors.policy.resolve import Subject
from processors.policy.sequences import Mark, Write, judge_rule, marks_of
from processors.policy.verdict import Charges, Consequences, Verdict, denied
from processors.proof.jcs import JSONValue
from schemas.words import Outcome, Stage

_UNSEEN = "BODY_UNSEEN"


def judge_alternative(
    alternative: Alternative,
    plan: Plan,
    subject: Subject,
    name: ResourceName,
    parameters: Mapping[str, JSONValue],
    call: Circumstances,
    work: Work,
) -> Verdict:
    """Return the verdict of the documents of one alternative. Requires parameters with names in NFC."""
    refusal = without_parameters(alternative, subject, call.now) or _parameters(alternative, parameters, work)
    if refusal is not None:
        return denied(refusal, plan.digests, branch=alternative.branch)
    if not alternative.masks:
        return _behind_parameters(alternative, plan, subject, name, parameters, call, work)
    masked = _masks(alternative, parameters, call.maskable, work)
    if isinstance(masked, Denial):
        return denied(masked, plan.digests, branch=alternative.branch)
    verdict = _behind_parameters(alternative, plan, subject, name, parameters, call, work)
    return verdict if verdict.outcome is Outcome.DENIED else verdict._replace(masks=masked)


def _behind_parameters(
    alternative: Alternative,
    plan: Plan,
    subject: Subject,
    name: ResourceName,
    parameters: Mapping[str, JSONValue],
    call: Circumstances,
    work: Work,
) -> Verdict:
    """Judge the stages from 8 on."""
    remembers = alternative.remembers or plan.marks
    if remembers or alternative.denials:
        evaluation = Evaluation(
            parameters, subject, name, call.now, call.session, call.tables, work, call.resumed, call.rate_time
        )
        refusal = _conditions(alternative, evaluation)
        if refusal is not None:
            return denied(refusal, plan.digests, branch=alternative.branch)
        if remembers:
            return _Later(alternative, plan, evaluation, paid=call.paid).verdict()
    # Most calls end here: nothing is left but the rate.
    charges: Charges = ()
    if alternative.buckets and call.resumed is None and not call.paid:
        charges, limited = peek(alternative, subject, call)
        if limited is not None:
            return _limited(limited, plan, alternative)
    return _allowed(alternative, plan, Consequences(charges))


def _parameters(alternative: Alternative, parameters: Mapping[str, JSONValue], work: Work) -> Denial | None:
    """Judge stages 6 and 7."""
    policy: CompiledPolicy | None = None  # whose rule is being asked
    check: ParameterCheck | None = None
    stage = Stage.PARAMETERS
    try:
        for test, check, policy, stage in alternative.tests:
            if reason := test(parameters, work):
                return Denial(stage, reason, check.pointer, policy.digest, check.told(parameters, work))
    except WorkExceededError:
        return Denial(stage, "LIMIT_EXCEEDED", deciding=policy.digest if policy else b"")
    except BodyUnseenError:
        where, path = (check.pointer, check.path) if check else ("", "")
        return Denial(stage, _UNSEEN, where, policy.digest if policy else b"", path)
    except RULE_ERRORS as exc:
        return Denial(stage, "INTERNAL_ERROR", type(exc).__name__, policy.digest if policy else b"")
    return None


def _masks(
    alternative: Alternative, parameters: Mapping[str, JSONValue], maskable: tuple[str, ...], work: Work
) -> tuple[str, ...] | Denial:
    """Return the paths at which a call must be masked, or the denial of one at which it cannot be. It ends stage 7."""
    reach: set[str] = set()
    policy: CompiledPolicy | None = None  # whose mask is being asked
    try:
        for check, policy in alternative.masks:
            judged = judge_mask(check.path, parameters, maskable, work)
            if judged.reason:
                return Denial(Stage.DENIED_PARAMETERS, judged.reason, check.pointer, policy.digest, check.path)
            if judged.reaches:
                reach.add(check.path)
    except WorkExceededError:
        return Denial(Stage.DENIED_PARAMETERS, "LIMIT_EXCEEDED", deciding=policy.digest if policy else b"")
    except RULE_ERRORS as exc:
        deciding = policy.digest if policy else b""
        return Denial(Stage.DENIED_PARAMETERS, "INTERNAL_ERROR", type(exc).__name__, deciding)
    return tuple(sorted(reach))


def _conditions(alternative: Alternative, evaluation: Evaluation) -> Denial | None:
    """Judge stage 8."""
    policy: CompiledPolicy | None = None  # whose rule is being asked
    try:
        for requirement, policy in alternative.denials:
            if applies(requirement, evaluation):
                return Denial(Stage.CONDITIONS, "CONDITION_DENIED", requirement.pointer, policy.digest)
    except WorkExceededError:
        return Denial(Stage.CONDITIONS, "LIMIT_EXCEEDED", deciding=policy.digest if policy else b"")
    except BodyUnseenError:
        return Denial(Stage.CONDITIONS, _UNSEEN, deciding=policy.digest if policy else b"")
    except RULE_ERRORS as exc:
        deciding = policy.digest if policy else b""
        return Denial(Stage.CONDITIONS, "INTERNAL_ERROR", type(exc).__name__, deciding)
    return None


def without_parameters(alternative: Alternative, subject: Subject, now: int) -> Denial | None:
    """Judge stages 1 to 5: validity, resources, roles."""
    if alternative.validity:
        early = next((policy for begin, _, policy in alternative.validity if now < begin), None)
        if early is not None:
            return Denial(Stage.VALIDITY, "POLICY_NOT_YET_VALID", "/validity/not_before", early.digest)
        late = next((policy for _, end, policy in alternative.validity if now >= end), None)
        if late is not None:
            return Denial(Stage.VALIDITY, "POLICY_EXPIRED", "/validity/not_after", late.digest)
    if alternative.refusal is not None:
        return alternative.refusal
    for roles, policy in alternative.roles:
        if roles.isdisjoint(subject.roles):
            return Denial(Stage.ROLES, "ROLE_REQUIRED", "/constraints/roles", policy.digest)
    return None


def rates_alone(alternative: Alternative, plan: Plan, subject: Subject, call: Circumstances) -> Verdict:
    """Return the charges of a call by its rates as an allowed verdict, or the denial of a stage that no stamp sways.

    Asked for a call that waits for verdicts: stages 1 to 5 and 9 alone, for the others may depend on stamps.
    """
    refusal = without_parameters(alternative, subject, call.now)
    if refusal is not None:
        return denied(refusal, plan.digests, branch=alternative.branch)
    charges, limited = peek(alternative, subject, call)
    return _limited(limited, plan, alternative) if limited else _allowed(alternative, plan, Consequences(charges))


def peek(
    alternative: Alternative, subject: Subject, call: Circumstances | Evaluation
) -> tuple[Charges, tuple[Denial, int] | None]:
    """Return the charges of a call, or the denial and the ms after which every bucket would admit it."""
    now, arrival_of, prefix = call.rate_time * 1000, call.tables.buckets, subject.bucket_prefix
    charges: list[tuple[bytes, int]] = []
    waits: list[tuple[int, CompiledPolicy]] = []
    for policy_id, period, tolerance, policy in alternative.buckets:
        key = prefix + (policy_id or inline_id(call.session).encode())
        arrival = standing(arrival_of(key), now, period, tolerance)
        if arrival - tolerance > now:
            waits.append((retry_after_ms(arrival - tolerance - now), policy))
        charges.append((key, (max(now, arrival)) + period))
    if not waits:
        return tuple(charges), None
    refusal = Denial(Stage.RATE, "RATE_LIMITED", "/constraints/rate_limit", waits[0][1].digest)
    return (), (refusal, max(wait for wait, _ in waits))


def bucket_key(bucket: Bucket, subject: Subject, session: Session) -> bytes:
    """Return the key of a bucket that a policy keeps for a subject."""
    return subject.bucket_prefix + (bucket.policy_id or inline_id(session).encode())


def inline_id(session: Session) -> str:
    """Return the name of buckets and cells for documents that came with a call of a session."""
    return f"intent:{session.session_id}"


def kept_under(policy: CompiledPolicy, session: Session) -> str:
    """Return under which name buckets and cells are kept for a policy."""
    return inline_id(session) if policy.document.inline else policy.policy_id


def applies(requirement: Requirement, evaluation: Evaluation) -> bool:
    """Return whether a requirement counts. An unknown condition does: an absent operand must not open a door."""
    return requirement.condition is None or requirement.condition(evaluation) is not False


def _limited(limited: tuple[Denial, int], plan: Plan, alternative: Alternative) -> Verdict:
    refusal, wait = limited
    return denied(refusal, plan.digests, branch=alternative.branch)._replace(retry_after_ms=wait)


def _allowed(alternative: Alternative, plan: Plan, effects: Consequences) -> Verdict:
    return Verdict(Outcome.ALLOWED, policies=plan.digests, branch=alternative.branch, effects=effects)


class _Later:
    """The stages behind the conditions, for calls that depend on earlier ones."""

    __slots__ = ("_alternative", "_cells", "_evaluation", "_needed", "_pays", "_plan", "_policy", "_stage")

    def __init__(self, alternative: Alternative, plan: Plan, evaluation: Evaluation, *, paid: bool) -> None:
        self._alternative = alternative
        self._plan = plan
        self._pays = bool(alternative.buckets) and evaluation.resumed is None and not paid
        self._evaluation = evaluation
        self._policy: CompiledPolicy | None = None  # whose rule is being asked
        self._stage = Stage.SEQUENCE
        self._cells: list[Write] = []
        self._needed: list[Needed] = []

    def verdict(self) -> Verdict:
        try:
            return self._verdict()
        except WorkExceededError:
            return self._refused("LIMIT_EXCEEDED", "")
        except BodyUnseenError:
            return self._refused(_UNSEEN, "")
        except RULE_ERRORS as exc:
            return self._refused("INTERNAL_ERROR", type(exc).__name__)

    def _refused(self, reason: str, detail: str) -> Verdict:
        deciding = self._policy.digest if self._policy else b""
        refusal = Denial(self._stage, reason, detail, deciding)
        return denied(refusal, self._plan.digests, branch=self._alternative.branch)

    def _verdict(self) -> Verdict:
        refused = self._sequence() if self._alternative.rules else None
        if refused is not None:
            return refused
        self._stage = Stage.RATE
        charges: Charges = ()
        if self._pays:
            charges, limited = peek(self._alternative, self._evaluation.subject, self._evaluation)
            if limited is not None:
                return _limited(limited, self._plan, self._alternative)
        return self._attested(charges)

    def _sequence(self) -> Verdict | None:
        for rule, policy in self._alternative.rules:
            self._policy = policy
            judged = judge_rule(rule, kept_under(policy, self._evaluation.session), self._evaluation)
            if judged.reason:
                where = f"{rule.pointer} {judged.origin}" if judged.origin else rule.pointer
                return self._refused(judged.reason, where)
            if judged.write is not None:
                self._cells.append(judged.write)
            if judged.require is not None:
                meta = policy.document.meta_of(judged.require)
                key, at = judged.require, rule.pointer
                requirement = Requirement(key=key, text=key, pointer=at, condition=None, meta=meta)
                self._needed.append(Needed(requirement, policy))
        return None

    def _attested(self, charges: Charges) -> Verdict:
        self._stage = Stage.ATTESTATIONS
        uses: list[Use] = []
        external: list[External] = []
        for requirement, policy in (*self._alternative.required, *self._needed):
            self._policy = policy
            if not applies(requirement, self._evaluation):
                continue
            if requirement.external:
                external.append(External(requirement, policy.policy_id, policy.digest))
                continue
            reason, use = judge_internal(requirement, self._evaluation)
            if use is None:
                return self._refused(reason, requirement.pointer)
            uses.append(use)
        return self._approved(charges, uses, external) if external else self._leaving(charges, uses)

    def _approved(self, charges: Charges, uses: list[Use], external: list[External]) -> Verdict:
        self._stage = Stage.APPROVALS
        answer = judge_external(external, self._evaluation)
        one = answer.deciding
        if one is None:
            return self._leaving(charges, [*uses, *answer.uses])
        requests = tuple(answer.requests)
        reason = "APPROVAL_PENDING" if answer.pending else answer.reason
        refusal = Denial(Stage.APPROVALS, reason, one.requirement.pointer, one.digest)
        verdict = denied(refusal, self._plan.digests, branch=self._alternative.branch)
        if not answer.pending:
            return verdict._replace(effects=Consequences(requests=requests))
        effects = Consequences(
            buckets=charges, requests=requests
        )  # an approval request costs, or approvers were flooded
        return verdict._replace(outcome=Outcome.PENDING, stage=Stage.OUTCOME, effects=effects)

    def _leaving(self, charges: Charges, uses: list[Use]) -> Verdict:
        """Return the verdict on an allowed call, with its marks for later ones."""
        if not (uses or self._cells or self._plan.marks):
            return _allowed(self._alternative, self._plan, Consequences(charges))
        left = [self._mark(ruled) for ruled in self._plan.marks]
        effects = Consequences(
            buckets=charges,
            cells=(*self._cells, *(one for one in left if isinstance(one, Write))),
            marks=tuple(one for one in left if isinstance(one, Mark)),
            uses=tuple(dict.fromkeys(uses)),
        )
        return _allowed(self._alternative, self._plan, effects)

    def _mark(self, ruled: Ruled) -> Write | Mark | None:
        return marks_of(ruled.rule, kept_under(ruled.policy, self._evaluation.session), self._evaluation)
