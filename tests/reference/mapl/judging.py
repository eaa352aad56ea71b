"""The stages of `conj` (docs/mapl.md 12): each yields its failed checks in layer order, then document order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.reference.mapl.attesting import internal_fault, judge_externals
from tests.reference.mapl.checking import denial_fault, has_only, parameter_fault
from tests.reference.mapl.conditions import Scope, applies
from tests.reference.mapl.documents import Document
from tests.reference.mapl.hearing import Constants
from tests.reference.mapl.masking import is_masked, mask_fault
from tests.reference.mapl.names import grants, grants_a_spelling, restricts
from tests.reference.mapl.requirements import DENY, Meta, Requirement
from tests.reference.mapl.resolution import Applied
from tests.reference.mapl.sequencing import CellWrite, rule_fault, rule_is_met, rule_writes
from tests.reference.mapl.text import known_as
from tests.reference.mapl.world import Call, Finding, World

OPEN_REQUESTS_MAX = 100
APPROVAL_ORDER = (
    "APPROVAL_DENIED", "APPROVAL_EXPIRED", "APPROVAL_CONSUMED", "APPROVAL_QUORUM", "APPROVAL_REQUIRED",
)  # fmt: skip


@dataclass
class Subject:
    """One member of the call's subjects, and the name by which its buckets are kept."""

    name: str
    principal: dict[str, object]
    scope: Scope


@dataclass
class Conjunction:
    """A set of documents that must all pass, for one subject."""

    world: World
    call: Call
    resource: str
    subject: Subject
    applied: list[Applied]
    role_denials: list[Document]
    retry_after_ms: int | None = None
    used: list[int] = field(default_factory=list)
    outstanding: list[Requirement] = field(default_factory=list)

    @property
    def documents(self) -> list[Document]:
        return [a.document for a in self.applied]

    @property
    def denying(self) -> list[Document]:
        """The documents, and the roles' whose branch was not chosen: "denial wins"."""
        present = {document.policy_id for document in self.documents}
        return self.documents + [d for d in self.role_denials if d.policy_id not in present]


def validity(conj: Conjunction) -> Iterator[Finding]:
    """Stage 1, section 10: not_before <= now < not_after. NOT_YET_VALID is the earlier code."""
    now = conj.call.now
    for document in conj.documents:
        if document.not_before is not None and now < document.not_before:
            yield Finding("POLICY_NOT_YET_VALID", document.policy_id, "/validity/not_before")
    for document in conj.documents:
        if document.not_after is not None and now >= document.not_after:
            yield Finding("POLICY_EXPIRED", document.policy_id, "/validity/not_after")


def denied_resources(conj: Conjunction) -> Iterator[Finding]:
    """Stage 2."""
    for document in conj.denying:
        for i, pattern in enumerate(document.denied_resources):
            if restricts(pattern, conj.resource):
                yield Finding("RESOURCE_DENIED", document.policy_id, f"/denied_resources/{i}")


def resources(conj: Conjunction) -> Iterator[Finding]:
    """Stage 3: every non-empty resources matches."""
    for one in conj.applied:
        document, meets = one.document, grants_a_spelling if one.spelt else grants
        if document.resources and not any(meets(pattern, conj.resource) for pattern in document.resources):
            yield Finding("RESOURCE_NOT_ALLOWED", document.policy_id, "/resources")


def grant_exists(conj: Conjunction) -> Iterator[Finding]:
    """Stage 4."""
    if not any(a.grants and a.document.resources for a in conj.applied):
        yield Finding("NO_POLICY")


def roles(conj: Conjunction) -> Iterator[Finding]:
    """Stage 5: at least one of a list; every list."""
    held = conj.subject.principal.get("roles", [])
    for document in conj.documents:
        if document.roles and not any(role in held for role in document.roles):  # type: ignore[operator]
            yield Finding("ROLE_REQUIRED", document.policy_id, "/constraints/roles")


def parameters(conj: Conjunction) -> Iterator[Finding]:
    """Stage 6: all operation keys that match apply, not the most specific."""
    strict = conj.world.settings.get("strict_parameters") is True
    scope = conj.subject.scope
    for document in conj.documents:
        for listed in document.allowed_parameters:  # JCS order: before "parameters"
            if restricts(listed.opkey, conj.resource) and not has_only(listed.paths, scope.params):
                yield Finding("PARAM_UNLISTED", document.policy_id, listed.pointer)
        for check in document.parameters:
            if restricts(check.opkey, conj.resource):
                fault = parameter_fault(check, scope.params, scope.work, strict=strict)
                if fault is not None:
                    yield Finding(fault, document.policy_id, check.pointer, check.path.text)


def denied_parameters(conj: Conjunction) -> Iterator[Finding]:
    """Stage 7."""
    scope = conj.subject.scope
    for document in conj.denying:
        for check in document.denied_parameters:
            if restricts(check.opkey, conj.resource):
                fault = denial_fault(check, scope.params, scope.work)
                if fault is not None:
                    yield Finding(fault, document.policy_id, check.pointer, check.path.text if check.path else "*")


def masked_parameters(conj: Conjunction) -> Iterator[Finding]:
    """The end of stage 7: masks of every held role count, as denials do."""
    for document in conj.denying:
        for check in document.masked_parameters:
            if restricts(check.opkey, conj.resource):
                fault = mask_fault(check, conj.subject.scope.params, conj.call.maskable)
                if fault is not None:
                    yield Finding(fault, document.policy_id, check.pointer, check.text)


def masks(conj: Conjunction) -> set[str]:
    """The paths below which an allowed or pending call is masked."""
    return {
        check.text
        for document in conj.denying
        for check in document.masked_parameters
        if restricts(check.opkey, conj.resource) and is_masked(check, conj.subject.scope.params)
    }


def deny_conditions(conj: Conjunction) -> Iterator[Finding]:
    """Stage 8: nothing can satisfy the key `deny`."""
    for document in conj.documents:
        for requirement in document.requirements:
            if requirement.key == DENY and applies(requirement.condition, conj.subject.scope):
                yield Finding("CONDITION_DENIED", document.policy_id, requirement.pointer)


def sequence(conj: Conjunction) -> Iterator[Finding]:
    """Section 14: between 8 and 9."""
    for document in conj.documents:
        for rule in document.rules:
            if rule_is_met(rule, conj.resource, conj.subject.scope):
                listed = constants(document, conj.resource)
                fault = rule_fault(document.policy_id, rule, conj.world, conj.call, conj.subject.scope, listed)
                if fault is not None:
                    yield Finding(fault, document.policy_id, rule.pointer)


def constants(document: Document, resource: str) -> Constants:
    """The values that a document lists for the parameters of a resource."""
    return [
        (one.path, list(one.spec["allowed_values"]))  # type: ignore[call-overload]
        for one in document.parameters
        if one.spec.get("allowed_values") is not None and restricts(one.opkey, resource)
    ]


def rate(conj: Conjunction) -> Iterator[Finding]:
    """Stage 9, section 9. Only looks; a resumed call was charged when it became pending."""
    if conj.call.resumed:
        return
    for one in conj.applied:
        if one.document.rate_limit is None:
            continue
        spacing = emission_interval(one.document.rate_limit)
        tolerance = (one.document.rate_limit - 1) * spacing
        tat = conj.world.buckets.get((conj.subject.name, one.bucket), 0)
        ahead = believed(tat, conj.call.now * 1000, one.document.rate_limit) - tolerance - conj.call.now * 1000
        if ahead > 0:
            conj.retry_after_ms = max(conj.retry_after_ms or 0, -(-ahead // 1000))
            yield Finding("RATE_LIMITED", one.document.policy_id, "/constraints/rate_limit")


def emission_interval(limit: int) -> int:
    """T = ceil(60_000_000 / n), in µs."""
    return -(-60_000_000 // limit)


def believed(tat: int, now: int, limit: int) -> int:
    """ADR 0016: a tat that no call up to now can have left is from a clock that was ahead; one call is admitted."""
    spacing = emission_interval(limit)
    tolerance = (limit - 1) * spacing
    return now + tolerance if tat > now + tolerance + spacing else tat


def charges(conj: Conjunction) -> dict[tuple[str, str], int]:
    """tat := max(tat, t) + T for every bucket. Two intents of one call share a bucket: it is charged the larger T."""
    limits: dict[tuple[str, str], int] = {}
    for one in conj.applied:
        if one.document.rate_limit is not None:
            key = (conj.subject.name, one.bucket)
            limits[key] = min(limits.get(key, one.document.rate_limit), one.document.rate_limit)
    now = conj.call.now * 1000
    return {
        key: max(believed(conj.world.buckets.get(key, 0), now, limit), now) + emission_interval(limit)
        for key, limit in limits.items()
    }


def requirements(conj: Conjunction) -> list[tuple[Document, Requirement]]:
    """Every requirement that applies: true or unknown conditions, and taint rules that `require` a key."""
    scope = conj.subject.scope
    found = []
    for document in conj.documents:
        listed = [r for r in document.requirements if r.key != DENY and applies(r.condition, scope)]
        for rule in document.rules:
            lifted = rule.require is not None and rule_is_met(rule, conj.resource, scope)
            values = constants(document, conj.resource)
            if lifted and rule_fault(document.policy_id, rule, conj.world, conj.call, scope, values, required=True):
                meta = document.metas.get(str(rule.require), Meta())
                listed.append(Requirement(rule.pointer, str(rule.require), None, meta))
        found += [(document, requirement) for requirement in listed]
    return found


def internal_attestations(conj: Conjunction) -> Iterator[Finding]:
    """Stage 10: any failure denies and asks nobody. The signer's session counts for every subject."""
    conj.used = []
    for document, requirement in requirements(conj):
        if not requirement.is_external:
            fault, record = internal_fault(requirement, conj.world.attestations, conj.call.now)
            if fault is not None:
                yield Finding(fault, document.policy_id, requirement.pointer)
            elif record is not None:
                conj.used.append(record)


def external_attestations(conj: Conjunction) -> Iterator[Finding]:
    """Stage 11. What is outstanding and may be waited for is no failure: the outcome is then pending."""
    pairs = [(document, requirement) for document, requirement in requirements(conj) if requirement.is_external]
    owners = {id(requirement): document.policy_id for document, requirement in pairs}
    asking = [(name, conj.world.subjects[name]) for name in conj.call.subjects]
    requesters = {
        known_as(str(known)) for name, one in asking for known in (one.get("user", name), one.get("email")) if known
    }
    found = judge_externals([r for _, r in pairs], conj.call, conj.world.attestations, requesters)
    conj.used += found.used
    conj.outstanding = found.outstanding
    for code in APPROVAL_ORDER:
        for reason, requirement in found.failed:
            if reason == code:
                yield Finding(reason, owners[id(requirement)], requirement.pointer)
    wanted = 0 if conj.call.resumed else len({r.key for r in found.outstanding})
    if wanted and conj.world.open_requests + wanted > OPEN_REQUESTS_MAX:
        yield Finding("LIMIT_EXCEEDED")


def cells(conj: Conjunction) -> list[CellWrite]:
    """What the sequence rules count when the call is finally allowed."""
    scope = conj.subject.scope
    met = [(d, rule) for d in conj.documents for rule in d.rules if rule_is_met(rule, conj.resource, scope)]
    return [write for d, rule in met for write in rule_writes(d.policy_id, rule, conj.world, conj.call, scope)]


STAGES: list[tuple[float, Callable[[Conjunction], Iterator[Finding]]]] = [
    (1, validity),
    (2, denied_resources),
    (3, resources),
    (4, grant_exists),
    (5, roles),
    (6, parameters),
    (7, denied_parameters),
    (7, masked_parameters),
    (8, deny_conditions),
    (8.5, sequence),
    (9, rate),
    (10, internal_attestations),
    (11, external_attestations),
]
