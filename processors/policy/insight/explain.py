"""The explanation of a decision (docs/mapl.md 13): every check with its document and place, not only the first failure.

Takes the arguments of `decide` and gives the same verdict. Parameters appear by type only, never by value: this module
does not know their readers.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from processors.policy import limits
from processors.policy.attestations import External, Use, judge_external, judge_internal
from processors.policy.call import PLAIN, Circumstances
from processors.policy.compiled import CompiledPolicy
from processors.policy.conditions import kind_of, unusable
from processors.policy.decide import decide, lacks_layer, plan_for, with_names_in_nfc
from processors.policy.documents import AUDIT_LEVELS, pointer_to
from processors.policy.errors import RULE_ERRORS, BodyUnseenError, ResourceInvalidError, WorkExceededError
from processors.policy.evaluation import ABSENT, Evaluation, as_it_is, new_work
from processors.policy.index import PolicyIndex
from processors.policy.masks import judge_mask
from processors.policy.paths import MISMATCH, parse_path, reached
from processors.policy.patterns import ResourceName, grants, grants_a_spelling, resource_name
from processors.policy.plan import Alternative, Applied, Masking, Needed, ParameterTest, Ruled
from processors.policy.requirements import DENY
from processors.policy.resolve import Subject
from processors.policy.sequences import judge_rule
from processors.policy.stages import bucket_key, judge_alternative, kept_under, peek
from processors.policy.times import TZDATA_VERSION, iso_time
from processors.policy.verdict import Verdict
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.text.forms import casefold

Told = dict[str, JSONValue]
_UNITS_MAX = 10 * limits.WORK_UNITS_MAX  # of one explanation


def explain(
    index: PolicyIndex,
    subjects: Subject | Sequence[Subject],
    resource: str,
    parameters: Mapping[str, JSONValue],
    call: Circumstances = PLAIN,
) -> Told:
    """Return the explanation of one call as JSON. The subject that decided stands at the top.

    With several subjects, `judged` has the explanation of each.
    """
    everybody = [subjects] if isinstance(subjects, Subject) else list(subjects)
    verdict = decide(index, subjects, resource, parameters, call)
    told: Told = {
        **_result(verdict),
        "decided_by": {"sha256": verdict.deciding.hex(), "at": verdict.detail} if verdict.deciding else None,
        "now": iso_time(call.now),
        "resource": resource,
        "subjects": [attributes_of(subject) for subject in everybody],
        "settings_sha256": hashlib.sha256(_settings(call)).hexdigest(),
        "tzdata": TZDATA_VERSION,
        "to_caller": to_caller(verdict),
    }
    try:
        name = resource_name(resource)
    except ResourceInvalidError:
        return told
    told["resource"] = name.text
    named = with_names_in_nfc(parameters)
    judged = [_judged(index, subject, name, named, call) for subject in everybody]
    decided = (told["outcome"], told["reason"], told["stage"])
    deciding = (one for one in judged if (one["outcome"], one["reason"], one["stage"]) == decided)
    told = {**next(deciding, {}), **told}
    return told | ({"judged": [*judged]} if len(judged) > 1 else {})


def to_caller(verdict: Verdict) -> Told:
    """Return the part of a verdict for the caller: no text of any policy."""
    told: Told = {"outcome": str(verdict.outcome), "reason": verdict.reason or "ALLOWED"}
    if verdict.path:
        told["path"] = verdict.path
    if verdict.retry_after_ms is not None:
        told["retry_after_ms"] = verdict.retry_after_ms
    return told


def attributes_of(subject: Subject) -> Told:
    """Return the attributes of a subject that policies were looked up with."""
    found = {name: value for name, value in asdict(subject).items() if value and name not in _OURS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


_OURS = frozenset({"policy_ids", "bucket_prefix"})


def _result(verdict: Verdict) -> Told:
    told: Told = {
        "outcome": str(verdict.outcome),
        "reason": verdict.reason or "ALLOWED",
        "stage": verdict.stage.number,
    }
    return told | ({"masks": [*verdict.masks]} if verdict.masks else {})


def _settings(call: Circumstances) -> bytes:
    layers = call.settings.required_layers
    return jcs.canonical(
        {
            "required_layers": None if layers is None else sorted(layers),
            "strict_parameters": call.settings.strict_parameters,
        }
    )


# ---- one subject


def _judged(
    index: PolicyIndex, subject: Subject, name: ResourceName, parameters: Mapping[str, JSONValue], call: Circumstances
) -> Told:
    found, absent = index.tried(subject, name)
    verdict = decide(index, subject, name.text, parameters, call._replace(hops=(), bound=False, actors=0))
    told: Told = {
        "principal": subject.principal,
        **_result(verdict),
        "tried": {"found": list(found), "absent": list(absent)},
    }
    try:
        plan = plan_for(index, index.found(subject, name.text, call.owner), name, call)
    except (WorkExceededError, *RULE_ERRORS) as exc:
        return told | {"broken": str(exc)}
    if lacks_layer(index, subject, call.settings):
        told["lacks"] = True
    verdicts = [judge_alternative(one, plan, subject, name, parameters, call, new_work()) for one in plan.alternatives]
    chosen = next((one for one in plan.alternatives if one.branch == verdict.branch), plan.alternatives[0])
    evaluation = Evaluation(
        parameters, subject, name, call.now, call.session, call.tables, new_work(), call.resumed, call.rate_time
    )
    trace = Trace(chosen, evaluation, call.maskable)
    grant = next((one.policy.policy_id for one in chosen.applied if one.grants and one.policy.resources), None)
    told |= {
        "policies": [_applied(one) for one in chosen.applied],
        "audit_level": _audit_level(chosen),
        "branch": chosen.branch or None,
        "branches": [_branch(*pair) for pair in zip(plan.alternatives, verdicts, strict=True)],
        "grant": grant,
        "checks": list(trace.checks()),
        "buckets": trace.buckets(),
    }
    told["attestations"] = [_used(use) for use in verdict.effects.uses]
    return told


def _used(use: Use) -> Told:
    return {"key": use.key, "position": use.position}


def _applied(one: Applied) -> Told:
    return {
        "id": one.policy.policy_id,
        "sha256": one.policy.digest.hex(),
        "layer": casefold(one.layer.name),
        "via": one.via,
        "grants": one.grants,
    }


def _branch(alternative: Alternative, verdict: Verdict) -> Told:
    return {"branch": alternative.branch or None, **_result(verdict), "at": verdict.detail}


def _audit_level(alternative: Alternative) -> str | None:
    levels = [one.policy.document.audit_level for one in alternative.applied]
    return max((level for level in levels if level is not None), key=AUDIT_LEVELS.index, default=None)


# ---- every check


class Trace:
    """All checks of one alternative. Each is asked, also after another has failed."""

    def __init__(self, alternative: Alternative, evaluation: Evaluation, maskable: Sequence[str] = ()) -> None:
        self._alternative = alternative
        self._maskable = maskable
        self._call = evaluation
        self._left = _UNITS_MAX

    def checks(self) -> Iterator[Told]:
        """Yield every check with its document, pointer and result, in the order of the stages."""
        yield from self._validity()
        yield from self._resources()
        for roles, policy in self._alternative.roles:
            held = not roles.isdisjoint(self._call.subject.roles)
            yield _check(policy, "/constraints/roles", "pass" if held else "ROLE_REQUIRED")
        for one in self._alternative.tests:
            yield self._parameter(one)
        for mask in self._alternative.masks:
            yield self._mask(mask)
        for need in self._alternative.denials:
            yield self._required(need)
        for ruled in self._alternative.rules:
            yield self._ruled(ruled)
        for need in self._alternative.required:
            yield self._required(need)

    def buckets(self) -> list[JSONValue]:
        """Return every rate limit with its arrival times in µs, before and after."""
        told: list[JSONValue] = []
        for one in self._alternative.buckets:
            charges, limited = peek(self._alternative._replace(buckets=(one,)), self._call.subject, self._call)
            before = self._call.tables.buckets(bucket_key(one, self._call.subject, self._call.session))
            after = charges[0][1] if charges else before
            wait = limited[1] if limited is not None else 0
            told.append({"policy": one.policy.policy_id, "before": before, "after": after, "retry_after_ms": wait})
        return told

    def _validity(self) -> Iterator[Told]:
        now = self._call.now
        for begin, end, policy in self._alternative.validity:
            result = "POLICY_NOT_YET_VALID" if now < begin else "POLICY_EXPIRED" if now >= end else "pass"
            yield _check(policy, "/validity", result)

    def _resources(self) -> Iterator[Told]:
        name = self._call.name
        for policy in self._alternative.denying:
            for at, meets in enumerate(policy.denying):
                met = any(map(meets, name.spellings))
                yield _check(policy, pointer_to("/denied_resources", at), "RESOURCE_DENIED" if met else "no match")
        for one in self._alternative.applied:
            policy = one.policy
            for at, pattern in enumerate(policy.resources):
                met = (grants_a_spelling if one.spelt else grants)(pattern, name)
                yield _check(policy, pointer_to("/resources", at), "match" if met else "no match")
            if not one.lists(name):
                yield _check(policy, "/resources", "RESOURCE_NOT_ALLOWED")

    def _parameter(self, one: ParameterTest) -> Told:
        result = self._asked(lambda: one.test(self._call.parameters, self._call.work) or "pass")
        told = _check(one.policy, one.check.pointer, result)
        return told | {"path": one.check.path, "type": self._types(one.check.path)}

    def _mask(self, one: Masking) -> Told:
        def judged() -> str:
            found = judge_mask(one.check.path, self._call.parameters, self._maskable, self._call.work)
            return found.reason or ("masks" if found.reaches else "no match")

        told = _check(one.policy, one.check.pointer, self._asked(judged))
        return told | {"path": one.check.path, "type": self._types(one.check.path)}

    def _asked(self, ask: Callable[[], str]) -> str:
        """Return the answer of a check. Each may spend the budget of a whole decision, as long as some is left."""
        if self._left <= 0:
            return "not asked"
        self._call.work = work = new_work()
        try:
            return ask()
        except WorkExceededError:
            return "LIMIT_EXCEEDED"
        except BodyUnseenError:
            return "BODY_UNSEEN"
        except RULE_ERRORS:
            return "INTERNAL_ERROR"
        finally:
            self._left -= limits.WORK_UNITS_MAX - work[0]

    def _types(self, path: str) -> str:
        if path in {"", "*"}:  # all of them
            return "any"
        place = parse_path(path, "")
        values = reached(self._call.parameters, place, new_work(), as_it_is) or [ABSENT]
        return ", ".join(dict.fromkeys("mismatch" if value is MISMATCH else kind_of(value) for value in values))

    def _required(self, need: Needed) -> Told:
        requirement, policy = need
        told = _check(policy, requirement.pointer, "not required") | {"key": requirement.key}
        condition, expression = requirement.condition, requirement.expression
        if condition is not None and expression is not None:
            found = self._asked(lambda: _TRUTHS[condition(self._call)])
            told["condition"] = found
            if found == "unknown":
                told["unknown"] = [f"{name} is {kind}" for name, kind in unusable(expression, self._call)]
            if found == "false":
                return told
        return told | {"result": self._asked(lambda: self._met(need))}

    def _met(self, need: Needed) -> str:
        requirement, policy = need
        if requirement.key == DENY:
            return "CONDITION_DENIED"
        if not requirement.external:
            reason, _ = judge_internal(requirement, self._call)
            return reason or "met"
        answer = judge_external([External(requirement, policy.policy_id, policy.digest)], self._call)
        return "APPROVAL_PENDING" if answer.pending else answer.reason or "met"

    def _ruled(self, ruled: Ruled) -> Told:
        kept = kept_under(ruled.policy, self._call.session)

        def judged() -> str:
            found = judge_rule(ruled.rule, kept, self._call)
            if found.require is not None:
                return f"requires {found.require}"
            return found.reason or ("pass" if found.applies else "not required")

        return _check(ruled.policy, ruled.rule.pointer, self._asked(judged))


_TRUTHS = {True: "true", False: "false", None: "unknown"}


def _check(policy: CompiledPolicy, at: str, result: str) -> Told:
    return {"policy": policy.policy_id, "at": at, "result": result}
