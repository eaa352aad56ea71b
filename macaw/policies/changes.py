"""The smallest change that would have allowed a call: all failing checks of the role branch with the fewest, as edits.

For administrators: an edit names documents and places, and they judge whether the change is wise. Values of a call
appear only if its audit level lets everything be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from processors.policy.attestations import External, judge_external, judge_internal
from processors.policy.call import Circumstances
from processors.policy.decide import decide, lacks_layer, plan_for, with_names_in_nfc
from processors.policy.documents import AUDIT_LEVELS
from processors.policy.errors import (
    RULE_ERRORS,
    BrokenChainError,
    PolicyBrokenError,
    ResourceInvalidError,
    WorkExceededError,
)
from processors.policy.evaluation import Evaluation, as_it_is, new_work
from processors.policy.index import PolicyIndex
from processors.policy.insight.explain import Trace
from processors.policy.paths import MISMATCH, reached
from processors.policy.patterns import ResourceName, resource_name
from processors.policy.plan import Alternative
from processors.policy.requirements import Requirement
from processors.policy.resolve import Subject
from processors.policy.specs import ParameterConstraint
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from schemas.words import Outcome

_HOLDS = frozenset({"pass", "match", "no match", "masks", "not required", "met"})
_REQUIRES = "requires "
_VALUE_CHARS_MAX = 200
_OTHERWISE = "change or remove the rule at this place"


class Edit(NamedTuple):
    """One edit: the document (empty: a new one), the place in it, the change, and the refusal that it lifts."""

    policy: str
    sha256: str
    at: str
    do: str
    reason: str


def smallest_change(
    index: PolicyIndex, subject: Subject, resource: str, parameters: Mapping[str, JSONValue], call: Circumstances
) -> list[Edit]:
    """Return the edits that would have allowed one call of one subject; none where it is allowed."""
    verdict = decide(index, subject, resource, parameters, call)
    if verdict.outcome is Outcome.ALLOWED:
        return []
    try:
        name = resource_name(resource)
        plan = plan_for(index, index.found(subject, name.text, call.owner), name, call)
    except (WorkExceededError, *RULE_ERRORS) as exc:
        return [_unplannable(exc, resource, verdict.reason)]
    missing = []
    if lacks_layer(index, subject, call.settings):
        do = "give the subject the attribute by which a layer is found, such as `company`"
        missing.append(Edit("", "", "", do, "LAYER_MISSING"))
    named = with_names_in_nfc(parameters)
    branches = [_Branch(one, subject, name, named, call).edits() for one in plan.alternatives]
    return [*missing, *min(branches, key=len)]


def _unplannable(exc: Exception, resource: str, reason: str) -> Edit:
    """Return the edit for a call that fails before any policy is asked."""
    at = ""
    match exc:
        case ResourceInvalidError():
            do = f"{resource!r} is not a valid resource name; the caller must use DOMAIN:NAME, such as tool:bank/pay"
        case WorkExceededError():
            do = "let fewer or smaller policies apply, or send smaller intents"
        case BrokenChainError():
            at, do = "/extends", f"publish {exc.parent!r} again, or the policies that extend it without it"
        case PolicyBrokenError():
            do = f"the caller must mend or leave out the intent or prompt policy that came with the call: {exc}"
        case _:
            do = f"no document explains this: the rule broke with {type(exc).__name__}; report it"
    return Edit("", "", at, do, reason)


class _Branch:
    """The failing checks of one alternative."""

    def __init__(
        self,
        alternative: Alternative,
        subject: Subject,
        name: ResourceName,
        parameters: Mapping[str, JSONValue],
        call: Circumstances,
    ) -> None:
        self._alternative = alternative
        self._name = name
        self._call = call
        self._parameters = parameters
        self._subject = subject
        self._evaluation = Evaluation(
            parameters, subject, name, call.now, call.session, call.tables, new_work(), call.resumed, call.rate_time
        )
        self._trace = Trace(alternative, self._evaluation, call.maskable)
        policies = [one.policy for one in alternative.applied]
        self._policies = {one.policy_id: one for one in (*policies, *alternative.denying)}
        levels = [one.document.audit_level for one in policies if one.document.audit_level is not None]
        self._open = max(levels, key=AUDIT_LEVELS.index, default="standard") == "full"

    def edits(self) -> list[Edit]:
        """Return an edit for each failing check."""
        said = [(str(one["policy"]), str(one["at"]), self._result(one)) for one in self._trace.checks()]
        found = [self._edit(*one) for one in said if one[2] not in _HOLDS]
        return [*found, *self._grant(), *self._rates()]

    def _result(self, check: Mapping[str, JSONValue]) -> str:
        """Return the result of a check; for a rule with `require`, the result of its attestation."""
        result = str(check["result"])
        if not result.startswith(_REQUIRES):
            return result
        key, policy = result.removeprefix(_REQUIRES), self._policies[str(check["policy"])]
        meta = policy.document.meta_of(key)
        need = Requirement(key=key, text=key, pointer=str(check["at"]), condition=None, meta=meta)
        if not need.external:
            return judge_internal(need, self._evaluation)[0] or "met"
        answer = judge_external([External(need, policy.policy_id, policy.digest)], self._evaluation)
        return "APPROVAL_PENDING" if answer.pending else answer.reason or "met"

    def _edit(self, policy_id: str, at: str, reason: str) -> Edit:
        policy = self._policies[policy_id]
        constraint = next((one for one in policy.document.parameters if one.pointer == at), None)
        words = _WORDS.get(reason, _otherwise)
        of_value = constraint if reason != "BODY_UNSEEN" else None
        do = words(self) if of_value is None else self._parameter(of_value, reason)
        return Edit(policy_id, policy.digest.hex(), at, do, reason)

    def _grant(self) -> list[Edit]:
        if any(one.grants and one.policy.resources for one in self._alternative.applied):
            return []
        who = f"user:{self._subject.user}" if self._subject.user else f"agent:{self._subject.agent or 'NAME'}"
        do = f"publish a policy that grants, such as {who} with resources [{jcs.canonical(self._name.text).decode()}]"
        return [Edit("", "", "/resources", do, "NO_POLICY")]

    def _rates(self) -> list[Edit]:
        found = []
        for one in self._trace.buckets() if self._call.resumed is None else []:
            assert isinstance(one, dict)
            if one["retry_after_ms"]:
                policy = self._policies[str(one["policy"])]
                do = f"raise the limit, or wait {one['retry_after_ms']} ms"
                at = "/constraints/rate_limit"
                found.append(Edit(policy.policy_id, policy.digest.hex(), at, do, "RATE_LIMITED"))
        return found

    def _parameter(self, one: ParameterConstraint, reason: str) -> str:
        values = [v for v in reached(self._parameters, one.place, new_work(), as_it_is) if v is not MISMATCH]
        shown, numbers = self._shown(values), [v for v in values if isinstance(v, int | float)]
        above = one.high is not None and any(number > one.high for number in numbers)
        words = {
            "PARAM_NOT_ALLOWED": f"add {shown} to allowed_values",
            "PARAM_OUT_OF_RANGE": f"{'raise `max`' if above else 'lower `min`'} to {shown}",
            "PARAM_REQUIRED": f"drop `required`, or let the caller send {one.path!r}",
            "PARAM_PATTERN": f"widen `pattern` so that it matches the whole of {shown}",
            "PARAM_SIZE": f"widen the sizes so that {shown} fits",
            "PARAM_TYPE": f"the value is not of the type {one.kind}: change `type`, or let the caller send one",
        }
        return words.get(reason, _OTHERWISE)

    def _shown(self, values: list[object]) -> str:
        if not self._open or not values:
            return "the value of the call"
        return ", ".join(jcs.canonical(cast("JSONValue", value)).decode()[:_VALUE_CHARS_MAX] for value in values)

    @property
    def resource(self) -> str:
        """The name as JSON writes it."""
        return jcs.canonical(self._name.text).decode()

    @property
    def roles(self) -> str:
        """The subject's roles, for a sentence."""
        return ", ".join(self._subject.roles) or "none"


def _otherwise(_: _Branch) -> str:
    return _OTHERWISE


_WORDS: Mapping[str, Callable[[_Branch], str]] = {
    "POLICY_NOT_YET_VALID": lambda _: "let it begin earlier",
    "POLICY_EXPIRED": lambda _: "let it end later",
    "RESOURCE_DENIED": lambda branch: f"narrow or remove this pattern, which meets {branch.resource}",
    "RESOURCE_NOT_ALLOWED": lambda branch: f"add a pattern that meets {branch.resource}",
    "ROLE_REQUIRED": lambda branch: f"add a role that the subject holds ({branch.roles}), or give it one of these",
    "PARAM_UNLISTED": lambda _: "add the parameter's path, or let the caller omit it",
    "PARAM_DENIED": lambda _: "remove the item that meets the value of the call",
    "BODY_UNSEEN": lambda _: "drop the rule, or let the caller send the value inside the call: no rule sees a body",
    "PARAM_TYPE": lambda _: (
        "the path leads through a value of another type: change it, or let the caller send that type"
    ),
    "CONDITION_DENIED": lambda _: "change the condition, which forbids wherever it is true or unknown",
    "SEQUENCE_MISSING": lambda _: "drop the rule, or make the call that it asks for first",
    "SEQUENCE_LIMIT": lambda _: "raise the number of calls",
    "SEQUENCE_TOTAL": lambda _: "raise the total",
    "SEQUENCE_TAINT": lambda _: "drop the rule, or name an attestation that lifts it (`require`)",
    "SEQUENCE_PROVENANCE": lambda _: "drop the rule, list the value in `allowed_values`, or name an approval (`else`)",
    "ATTESTATION_MISSING": lambda _: "drop the requirement, or have it attested first",
    "ATTESTATION_EXPIRED": lambda _: "raise `time_to_live`, or have it attested again",
    "ATTESTATION_CONSUMED": lambda _: "raise `max_uses`, or have it attested again",
    "ATTESTATION_REVOKED": lambda _: "have it attested again",
    "ATTESTATION_WRONG_SETTER": lambda _: "add the setter to `set_by`",
    "APPROVAL_REQUIRED": lambda _: "drop the requirement, or have the call approved",
    "APPROVAL_PENDING": lambda _: "drop the requirement, or have the call approved",
    "APPROVAL_DENIED": lambda _: "drop the requirement: an approver has denied this call",
    "APPROVAL_EXPIRED": lambda _: "raise `time_to_live`, or ask again",
    "APPROVAL_CONSUMED": lambda _: "raise `max_uses`, or ask again",
    "LIMIT_EXCEEDED": lambda _: "make the rule cheaper, or the parameters smaller",
}
