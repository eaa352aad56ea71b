"""The plan of a decision: the checks of a call once policies and resource are known (docs/mapl.md 6 and 12).

A plan is made once for each set of policies and each resource. Roles are alternatives: each alternative is a
conjunction of documents, sorted into the stages of a decision, with everything that no call can change judged already.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from processors.policy import limits
from processors.policy.compiled import CompiledPolicy, MaskCheck, ParameterCheck, compile_policy
from processors.policy.documents import PolicyDocument, pointer_to
from processors.policy.evaluation import Work, new_work, spend, spend_free
from processors.policy.index import Entry, PolicyIndex
from processors.policy.lifted import NOTHING_LIFTED, Lifted
from processors.policy.parameter_checks import Test
from processors.policy.patterns import ResourceName
from processors.policy.requirements import DENY, Requirement
from processors.policy.resolve import Layer
from processors.policy.sequences import SequenceRule, Taint
from processors.proof import jcs
from schemas.words import Stage


class Applied(NamedTuple):
    """A policy that applies to a call, and how it was reached.

    `spelt` ones are found under another spelling of the resource's name: they grant nothing, and their patterns are
    held against every spelling.
    """

    policy: CompiledPolicy
    layer: Layer
    grants: bool
    via: str  # lookup, spelling, extends, inline or trust
    spelt: bool = False

    def lists(self, name: ResourceName) -> bool:
        """Return whether its `resources` are none, or meet a name."""
        if not self.policy.resources:
            return True
        return self.policy.lists_a_spelling(name) if self.spelt else self.policy.lists(name)


class Denial(NamedTuple):
    """A denial: where it was decided, and by which document."""

    stage: Stage
    reason: str
    detail: str = ""
    deciding: bytes = b""
    path: str = ""


class ParameterTest(NamedTuple):
    """A check of parameters with the document that asks it."""

    test: Test
    check: ParameterCheck
    policy: CompiledPolicy
    stage: Stage


class Masking(NamedTuple):
    """A path at which calls are masked, with the document that asks it."""

    check: MaskCheck
    policy: CompiledPolicy


class Needed(NamedTuple):
    """A requirement with the document that states it."""

    requirement: Requirement
    policy: CompiledPolicy


class Ruled(NamedTuple):
    """A sequence rule with the document that states it."""

    rule: SequenceRule
    policy: CompiledPolicy


class Bucket(NamedTuple):
    """A rate limit with the document that states it. `policy_id` is None for a document of the call."""

    policy_id: bytes | None
    period: int  # µs
    tolerance: int  # µs
    policy: CompiledPolicy


class Alternative(NamedTuple):
    """The documents of one role branch with all the common ones, by the stages of a decision."""

    branch: str  # the smallest id of its roles' policies, empty where no role policy applies
    applied: tuple[Applied, ...]
    denying: tuple[CompiledPolicy, ...]  # whose denials count: also those of held roles that are not this branch
    validity: tuple[tuple[int, int, CompiledPolicy], ...]  # 1
    refusal: Denial | None  # 2 to 4
    roles: tuple[tuple[frozenset[str], CompiledPolicy], ...]  # 5
    tests: tuple[ParameterTest, ...]  # 6 and 7
    masks: tuple[Masking, ...]  # 7, after the tests
    denials: tuple[Needed, ...]  # 8
    rules: tuple[Ruled, ...]  # 8.5
    buckets: tuple[Bucket, ...]  # 9
    required: tuple[Needed, ...]  # 10 and 11
    remembers: bool  # whether rules or requirements ask what was before


class Plan(NamedTuple):
    """Alternatives by their branch, the marks of an allowed call, and the digests of all documents consulted.

    `impartial` says that no check asks for the caller or for earlier calls: two subjects with this plan are judged
    alike. `units` are what it costs to make, `published` those of them that the caller did not bring. They are spent by
    every call that has the plan, cached or not: the cache of a worker must not decide.
    """

    alternatives: tuple[Alternative, ...]
    marks: tuple[Ruled, ...]
    digests: tuple[bytes, ...]
    impartial: bool = False
    units: int = 0
    published: int = 0


_Layer = list[Applied]

TRUST_ID = "trust:"  # of what a tenant grants to a foreign one, which stands in no document
_FROM_THE_BEGINNING = -(2**62)
_WITHOUT_END = 2**62


def make_plan(
    index: PolicyIndex,
    found: Sequence[Entry],
    inline: tuple[PolicyDocument, ...],
    name: ResourceName,
    *,
    strict: bool,
    trusted: tuple[str, ...] = (),
    granted: bool = False,
    lifted: Lifted = NOTHING_LIFTED,
) -> Plan:
    """Return the checks that are left. `trusted` are the patterns under which a foreign caller is let in.

    A call that is `granted` needs no grant; of policies that list other resources only the denials count.
    Documents that are `lifted` ask nothing; such a call satisfies no rule of a later one, and still taints its session.

    Raises:
        PolicyBrokenError: a policy that applies cannot be honoured.
        WorkExceededError: the policies that apply are too large together.
    """
    work = new_work()
    layers = [_paid(layer, work) for layer in (*(_reach(index, one) for one in found), *_spelt(index, name))]
    if trusted:
        layers.append([Applied(compile_policy(_trusting(trusted)), Layer.RESOURCE, grants=True, via="trust")])
    if inline:
        documents_brought = (Applied(compile_policy(one), Layer.INLINE, grants=False, via="inline") for one in inline)
        layers += [_paid([one], work) for one in documents_brought]
    common, branches = _split(layers)
    held = [one for layer in layers if layer[0].layer is Layer.ROLE for one in layer]
    alternatives = []
    for branch, documents in branches or [("", [])]:
        applied, denying = _once([*common, *documents]), _once(held)
        for one in (*applied, *denying):
            (spend if one.layer is Layer.INLINE else spend_free)(work, limits.TEST_UNITS * one.policy.tests)
        alternatives.append(_alternative(branch, applied, denying, name, strict=strict, granted=granted, lifted=lifted))
    everything = _once(one for layer in layers for one in layer)
    marks = tuple(one for one in _marks(index, everything, name) if not lifted or isinstance(one.rule.test, Taint))
    return Plan(
        alternatives=tuple(alternatives),
        marks=marks,
        digests=tuple(sorted({one.policy.digest for one in everything})),
        impartial=not marks and all(map(_is_impartial, alternatives)),
        units=limits.WORK_UNITS_MAX - work[0],
        published=work[1],
    )


def _paid(layer: _Layer, work: Work) -> _Layer:
    """Return a layer, its documents paid for by their size. Raises WorkExceededError."""
    for one in layer:
        size = len(one.policy.document.canonical)
        if one.layer is Layer.INLINE and one.policy.document.inline:
            spend(work, limits.INLINE_BYTE_UNITS * size + limits.PROGRAM_UNITS * one.policy.document.programs)
        else:
            spend_free(work, limits.POLICY_BYTE_UNITS * size)
    return layer


def _is_impartial(alternative: Alternative) -> bool:
    """Return whether no check asks for the caller or for earlier calls."""
    asks = (alternative.roles, alternative.denials, alternative.rules, alternative.buckets, alternative.required)
    return not any(asks)


def layered(
    index: PolicyIndex, found: Sequence[Entry], name: ResourceName | None = None
) -> list[tuple[str, tuple[Applied, ...]]]:
    """Return the role branches among the policies found, each with the layers that always apply, in their order.

    With a name, also the policies under another spelling of it.

    Raises:
        PolicyBrokenError: a policy that applies cannot be honoured.
    """
    layers = [_reach(index, one) for one in found]
    common, branches = _split(layers if name is None else [*layers, *_spelt(index, name)])
    return [(branch, tuple(_once([*common, *documents]))) for branch, documents in branches or [("", [])]]


# ---- which documents


def _trusting(patterns: tuple[str, ...]) -> PolicyDocument:
    canonical = jcs.canonical({"resources": list(patterns)})
    digest = hashlib.sha256(canonical).digest()
    return PolicyDocument(policy_id=TRUST_ID, digest=digest, canonical=canonical, resources=patterns, inline=True)


def _reach(index: PolicyIndex, entry: Entry, direct: str = "lookup") -> _Layer:
    first, *ancestors = index.chain(entry)
    layer, grants = first.layer, first.grants
    reached = [Applied(first, layer, grants, direct)]
    return reached + [Applied(one, layer, grants and one.may_grant, "extends") for one in ancestors]


def _spelt(index: PolicyIndex, name: ResourceName) -> list[_Layer]:
    """Return the policies of a resource under another spelling of its name."""
    reached = [_reach(index, entry, "spelling") for entry in index.spelt(name)]
    return [[one._replace(grants=False, spelt=True) for one in layer] for layer in reached]


def _split(layers: list[_Layer]) -> tuple[_Layer, list[tuple[str, _Layer]]]:
    """Return the policies that always apply, and the role branches, which are alternatives, by their smallest id.

    A role whose policies name no resources, or none that can grant, is no alternative and joins the layers: otherwise
    an empty role policy would free its holder from the restrictions of the other roles.
    """
    by_role: dict[str, list[_Layer]] = {}
    for layer in layers:
        role = layer[0].policy.role if layer[0].layer is Layer.ROLE else None
        if role is not None:
            by_role.setdefault(role, []).append(layer)
    alternative = {
        role: ones
        for role, ones in by_role.items()
        if any(one.grants and one.policy.resources for layer in ones for one in layer)
    }
    branches = [
        (min(layer[0].policy.policy_id for layer in ones), [one for layer in ones for one in layer])
        for ones in alternative.values()
    ]
    common = [
        one
        for layer in layers
        if not (layer[0].layer is Layer.ROLE and layer[0].policy.role in alternative)
        for one in layer
    ]
    return common, sorted(branches, key=lambda branch: branch[0])


def _once(applied: Iterable[Applied]) -> list[Applied]:
    """Return each document once, where it stands first; it grants if any way to it grants."""
    found: dict[bytes, Applied] = {}
    for one in applied:
        before = found.setdefault(one.policy.key, one)
        if one is not before:
            found[one.policy.key] = before._replace(
                grants=before.grants or one.grants, spelt=before.spelt and one.spelt
            )
    return list(found.values())


# ---- what they ask


def _alternative(
    branch: str,
    applied: list[Applied],
    held: list[Applied],
    name: ResourceName,
    *,
    strict: bool,
    granted: bool,
    lifted: Lifted,
) -> Alternative:
    asking = [one for one in applied if not lifted.lifts(one.policy)] if lifted else applied
    policies = [one.policy for one in asking]
    held_asking = [one.policy for one in held if not lifted.lifts(one.policy)]
    denying = list({one.key: one for one in (*policies, *held_asking)}.values()) if held else policies
    # A document that is lifted denies nothing, and still keeps what it masks from the tool.
    masking = list({one.key: one for one in (one.policy for one in (*applied, *held))}.values()) if lifted else denying
    if granted:
        policies = [one.policy for one in asking if one.lists(name)]
    needs = [Needed(need, policy) for policy in policies for need in policy.document.requirements]
    required = tuple(one for one in needs if one.requirement.key != DENY)
    rules = tuple(Ruled(rule, one) for one in policies for rule in one.document.sequence if rule.judges(name))
    return Alternative(
        branch=branch,
        applied=tuple(applied),
        denying=tuple(denying),
        validity=tuple(_validity(policies)),
        refusal=_denial(denying, name) if granted else _refusal(applied, denying, name, lifted),
        roles=tuple((frozenset(one.document.roles), one) for one in policies if one.document.roles),
        tests=tuple(_tests(policies, denying, name, strict=strict)),
        masks=tuple(
            Masking(check, one) for one in masking for check in one.masks if any(map(check.meets, name.spellings))
        ),
        denials=tuple(one for one in needs if one.requirement.key == DENY),
        rules=rules,
        buckets=tuple(_buckets(policies)),
        required=required,
        remembers=bool(rules or required),
    )


def _validity(policies: list[CompiledPolicy]) -> Iterator[tuple[int, int, CompiledPolicy]]:
    for policy in policies:
        begin, end = policy.document.not_before, policy.document.not_after
        if begin is not None or end is not None:
            yield _FROM_THE_BEGINNING if begin is None else begin, _WITHOUT_END if end is None else end, policy


def _denial(denying: list[CompiledPolicy], name: ResourceName) -> Denial | None:
    for policy in denying:
        at = policy.denied_by(name)
        if at is not None:
            detail = pointer_to("/denied_resources", at)
            return Denial(Stage.DENIED_RESOURCES, "RESOURCE_DENIED", detail, policy.digest)
    return None


def _refusal(
    applied: list[Applied], denying: list[CompiledPolicy], name: ResourceName, lifted: Lifted
) -> Denial | None:
    denial = _denial(denying, name)
    if denial is not None:
        return denial
    for one in applied:
        if not one.lists(name) and not lifted.lifts(one.policy):
            return Denial(Stage.RESOURCES, "RESOURCE_NOT_ALLOWED", "/resources", one.policy.digest)
    # Each list that is not empty and not lifted has matched by now: a grant is one where granting is possible.
    may_grant = (one for one in applied if one.grants and one.policy.resources)
    if not lifted.everything and not any(one.lists(name) if lifted else True for one in may_grant):
        return Denial(Stage.GRANT, "NO_POLICY")
    return None


def _tests(
    policies: list[CompiledPolicy], denying: list[CompiledPolicy], name: ResourceName, *, strict: bool
) -> Iterator[ParameterTest]:
    # All operation keys that match apply, not the most specific one.
    for policy in policies:
        checks = compile_policy(policy.document, strict=True).checks if strict else policy.checks
        for check in checks:
            if any(map(check.meets, name.spellings)):
                yield ParameterTest(check.test, check, policy, Stage.PARAMETERS)
    for policy in denying:
        for check in policy.denials:
            if any(map(check.meets, name.spellings)):
                yield ParameterTest(check.test, check, policy, Stage.DENIED_PARAMETERS)


def _buckets(policies: list[CompiledPolicy]) -> Iterator[Bucket]:
    """Yield the buckets of the documents; those that came with the call share one, at the lowest of their rates."""
    inline: Bucket | None = None
    for policy in policies:
        if policy.rate is None:
            continue
        if not policy.document.inline:
            yield Bucket(policy.policy_id.encode(), policy.rate.period, policy.rate.tolerance, policy)
        elif inline is None or policy.rate.period > inline.period:
            inline = Bucket(None, policy.rate.period, policy.rate.tolerance, policy)
    if inline is not None:
        yield inline


def _marks(index: PolicyIndex, applied: list[Applied], name: ResourceName) -> Iterator[Ruled]:
    """Yield the rules to which an allowed call of a resource matters later, whichever document states them."""
    ours = {one.policy.key: one.policy for one in applied}
    others = (one for one in index.sequenced if one.policy_id in index.reachable and one.key not in ours)
    for policy in (*ours.values(), *others):
        for rule in policy.document.sequence:
            if rule.marks(name):
                yield Ruled(rule, policy)
