"""The decision on one call by the policies in force (MAPL.md 12, stages 2 to 6).

Empty means no: without a policy that may grant and does, the call is denied. Every policy that applies must agree,
roles are alternatives, denials of any held role count. Nothing is read but the arguments, so the same call under the
same policies has the same verdict on any day; what is remembered between calls is arithmetic.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache

from processors.jcs import JSONValue
from processors.policy import limits
from processors.policy.compiled import CompiledPolicy, Test
from processors.policy.documents import pointer_to
from processors.policy.errors import ResourceInvalidError
from processors.policy.patterns import Position, ResourceName, matches, resource_name
from processors.policy.resolve import Subject, resource_ids
from processors.policy.text import nfc


class Outcome(StrEnum):
    """What a verdict says."""

    ALLOWED = "allowed"
    DENIED = "denied"


class Stage(IntEnum):
    """How far a call came (MAPL.md 12); of two denials that are alternatives the one that came further is told."""

    RESOLUTION = 0
    DENIED_RESOURCES = 2
    RESOURCES = 3
    GRANT = 4
    PARAMETERS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer to one call, with no parameter value in it.

    `reason` is a code of MAPL.md 12, empty when allowed. `detail` is the JSON pointer of the check that decided, in the
    document whose digest is `deciding`. `policies` are the sorted digests of all documents that were consulted.
    """

    outcome: Outcome
    reason: str = ""
    detail: str = ""
    policies: tuple[bytes, ...] = ()
    deciding: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyIndex:
    """The policies in force, with what would otherwise be searched for at every call. Made by `index_policies`.

    INVARIANT: `by_id` does not change; when a policy is published or withdrawn, another index is made.
    """

    by_id: Mapping[str, CompiledPolicy]
    organisation: tuple[CompiledPolicy, ...]  # layer 1, by id
    has_company: bool  # whether some policy binds the members of some company


def index_policies(policies: Mapping[str, CompiledPolicy]) -> PolicyIndex:
    """Return the index of policies by their ids; costs one pass over all ids."""
    shared = [policy_id for policy_id in policies if policy_id.startswith(("org:", "company:", "restrict:org:"))]
    organisation = sorted(policy_id for policy_id in shared if policy_id.startswith("org:"))
    return PolicyIndex(
        by_id=policies,
        organisation=tuple(policies[policy_id] for policy_id in organisation),
        has_company=len(shared) > len(organisation),
    )


def decide(
    policies: Mapping[str, CompiledPolicy] | PolicyIndex,
    subject: Subject,
    resource: str,
    parameters: Mapping[str, JSONValue],
) -> Verdict:
    """Judge one call. Never raises for what a caller can send.

    Requires `parameters` as `parse_parameters` gave them, and policies under their own ids. A mapping is indexed at
    every call; whoever decides often keeps the `PolicyIndex`.
    """
    index = policies if isinstance(policies, PolicyIndex) else index_policies(policies)
    try:
        ids = resource_ids(resource)
    except ResourceInvalidError:
        return _RESOURCE_INVALID
    get = index.by_id.get
    found = (*index.organisation, *filter(None, map(get, subject.policy_ids)), *filter(None, map(get, ids)))
    if index.has_company and subject.lacks_company:
        return _denied("LAYER_MISSING", found)
    plan = _plan(found, resource)
    return plan if isinstance(plan, Verdict) else plan.judge(_with_names_in_nfc(parameters))


_RESOURCE_INVALID = Verdict(outcome=Outcome.DENIED, reason="RESOURCE_INVALID")


# ---- what does not depend on parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    stage: Stage
    reason: str
    detail: str = ""
    deciding: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Plan:
    """What is left to ask once policies and resource are known: alternatives, each a list of tests to be passed."""

    alternatives: tuple[tuple[tuple[Test, str, bytes], ...], ...]
    found: tuple[CompiledPolicy, ...]
    allowed: Verdict

    def judge(self, parameters: Mapping[str, JSONValue]) -> Verdict:
        first: Verdict | None = None
        for tests in self.alternatives:
            for test, pointer, digest in tests:
                if reason := test(parameters):
                    first = first or _denied(reason, self.found, detail=pointer, deciding=digest)
                    break
            else:
                return self.allowed
        assert first is not None  # INVARIANT: a plan has an alternative
        return first


@lru_cache(maxsize=limits.CACHED_PLANS_MAX)
def _plan(found: tuple[CompiledPolicy, ...], resource: str) -> _Plan | Verdict:
    """Return the verdict if parameters cannot change it, else what to ask them. Requires a valid resource name."""
    name = resource_name(resource)
    common, branches = _split(found)
    held = tuple(policy for policy in found if policy.role is not None)
    refusals = []
    alternatives = []
    for branch in branches or [()]:
        policies = (*common, *branch)
        refusal = _refusal(policies, dict.fromkeys((*policies, *held)), name)
        if refusal is None:
            alternatives.append(tuple(_tests(policies, name)))
        else:
            refusals.append(refusal)
    if alternatives:
        allowed = Verdict(outcome=Outcome.ALLOWED, policies=_digests(found))
        return _Plan(alternatives=tuple(alternatives), found=found, allowed=allowed)
    furthest = max(refusals, key=lambda refusal: refusal.stage)  # the first of equals: the smallest id
    return _denied(furthest.reason, found, detail=furthest.detail, deciding=furthest.deciding)


_Policies = tuple[CompiledPolicy, ...]


def _split(found: _Policies) -> tuple[_Policies, list[_Policies]]:
    """Return the layers that always apply, and the role branches, which are alternatives, by their smallest id.

    A role whose policies name no resources is no alternative and joins the layers: otherwise an empty role policy
    would free its holder from what the other roles are held to.
    """
    roles = dict.fromkeys(policy.role for policy in found if policy.role is not None and policy.resources)
    branches = [tuple(policy for policy in found if policy.role == role) for role in roles]
    common = tuple(policy for policy in found if policy.role is None or policy.role not in roles)
    return common, sorted(branches, key=lambda branch: min(policy.policy_id for policy in branch))


def _refusal(policies: _Policies, denying: Iterable[CompiledPolicy], name: ResourceName) -> _Refusal | None:
    for policy in denying:
        for at, pattern in enumerate(policy.denied_resources):
            if matches(pattern, name, Position.RESTRICTION):
                pointer = pointer_to("/denied_resources", at)
                return _Refusal(
                    stage=Stage.DENIED_RESOURCES, reason="RESOURCE_DENIED", detail=pointer, deciding=policy.digest
                )
    for policy in policies:
        if policy.resources and not any(matches(pattern, name, Position.GRANT) for pattern in policy.resources):
            return _Refusal(
                stage=Stage.RESOURCES, reason="RESOURCE_NOT_ALLOWED", detail="/resources", deciding=policy.digest
            )
    # Each list that is not empty has matched by now, so a grant is one that stands where granting is possible.
    if not any(policy.grants and policy.resources for policy in policies):
        return _Refusal(stage=Stage.GRANT, reason="NO_POLICY")
    return None


def _tests(policies: _Policies, name: ResourceName) -> Iterator[tuple[Test, str, bytes]]:
    for policy in policies:
        for check in policy.checks:  # all keys that match apply, not the most specific one
            if matches(check.opkey, name, Position.RESTRICTION):
                yield check.test, check.pointer, policy.digest


# ---- values


def _with_names_in_nfc(parameters: Mapping[str, JSONValue]) -> Mapping[str, JSONValue]:
    # A constraint on `é`, or on `K`, holds however the caller composes the name; the reader has refused names that
    # are equal after NFC, so none is lost.
    if "".join(parameters).isascii():
        return parameters
    return {nfc(name): value for name, value in parameters.items()}


def _denied(reason: str, found: _Policies, *, detail: str = "", deciding: bytes = b"") -> Verdict:
    return Verdict(outcome=Outcome.DENIED, reason=reason, detail=detail, policies=_digests(found), deciding=deciding)


def _digests(found: _Policies) -> tuple[bytes, ...]:
    return tuple(sorted({policy.digest for policy in found}))
