"""Calls that two versions of policies decide differently: calls made up from both, and recorded ones.

Each difference found is real. Finding none says only that these calls show none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from processors.policy.call import Circumstances
from processors.policy.compiled import CompiledPolicy, compile_policy
from processors.policy.decide import decide
from processors.policy.documents import PolicyDocument, parse_policy
from processors.policy.index import PolicyIndex, index_policies
from processors.policy.insight.effective import Line, lines_of
from processors.policy.insight.probes import probes_of
from processors.policy.resolve import Subject
from processors.policy.verdict import Verdict

PROBER = "macaw-probe"
_COMPANY = "Macaw Probe"
_NOW = 1_772_463_600_000  # 2026-03-02T15:00:00Z, as in case files


class Flip(NamedTuple):
    """A call on which the versions disagree."""

    resource: str
    parameters: dict[str, Any]
    subject: str
    before: tuple[str, str]
    after: tuple[str, str]
    tries: str


class Changed(NamedTuple):
    """A line that only one version has: the new one if `added`, else the old one."""

    policy_id: str
    line: Line
    added: bool


def changed_lines(old: Mapping[str, PolicyDocument], new: Mapping[str, PolicyDocument]) -> Iterator[Changed]:
    """Yield the lines of the old version alone and those of the new one alone, policy by policy."""
    for policy_id in dict.fromkeys((*old, *new)):
        before = [one._replace(at="") for one in lines_of(old[policy_id])] if policy_id in old else []
        after = [one._replace(at="") for one in lines_of(new[policy_id])] if policy_id in new else []
        yield from (Changed(policy_id, one, added=False) for one in before if one not in after)
        yield from (Changed(policy_id, one, added=True) for one in after if one not in before)


def probe_flips(
    old: Sequence[PolicyDocument], new: Sequence[PolicyDocument], context: Sequence[PolicyDocument] = ()
) -> tuple[list[Flip], int]:
    """Return the probes that the versions decide differently, and the number of probes.

    `context` is in force beside both. Each probe is decided with and without a policy that grants everything, so that
    documents that only restrict show their effect.
    """
    changed = _changed(old, new)
    worlds = [[_index(part, context, granting=granting) for part in (old, new)] for granting in (False, True)]
    flips: dict[tuple[object, ...], Flip] = {}
    count = 0
    subjects = [_subject(document.policy_id) for document in changed]
    for probe in probes_of(changed):
        for subject in dict.fromkeys(subjects):
            count += 1
            for before, after in worlds:
                one, other = (_asked(index, subject, probe.resource, probe.parameters) for index in (before, after))
                if one != other:
                    key = (probe.resource, json.dumps(probe.parameters, sort_keys=True), subject)
                    flip = Flip(probe.resource, probe.parameters, _named(subject), one, other, probe.tries)
                    kept = flips.setdefault(key, flip)
                    if one[0] != other[0] and kept.before[0] == kept.after[0]:
                        flips[key] = flip  # another outcome says more than another reason
    found = sorted(flips.values(), key=lambda flip: flip.before[0] == flip.after[0])
    return found, count


def _changed(old: Sequence[PolicyDocument], new: Sequence[PolicyDocument]) -> list[PolicyDocument]:
    before, after = {one.digest for one in old}, {one.digest for one in new}
    return [one for one in old if one.digest not in after] + [one for one in new if one.digest not in before]


def _index(documents: Iterable[PolicyDocument], context: Iterable[PolicyDocument], *, granting: bool) -> PolicyIndex:
    by_id: dict[str, CompiledPolicy] = {one.policy_id: compile_policy(one) for one in (*context, *documents)}
    if granting:
        everything = parse_policy(json.dumps({"policy_id": f"agent:{PROBER}", "resources": ["**"]}).encode())
        by_id[everything.policy_id] = compile_policy(everything)
    return index_policies(by_id)


def _subject(policy_id: str) -> Subject:
    """Return a subject of the policy with this id; a policy of resources applies to every subject."""
    who: dict[str, Any] = {"agent": PROBER, "company": _COMPANY}
    for prefix, attribute in _SUBJECTS:
        if policy_id.startswith(prefix):
            value = policy_id.removeprefix(prefix)
            who[attribute] = (value,) if attribute == "roles" else value
            break
    return Subject(**who)


# A subject with the attribute `v` is looked up under `<prefix>v`; restrictions by the slug of `v`, its own slug.
_SUBJECTS = (
    ("role:", "roles"),
    ("base:role:", "roles"),
    ("company:", "company"),
    ("restrict:org:", "company"),
    ("bu:", "business_unit"),
    ("restrict:bu:", "business_unit"),
    ("team:", "team"),
    ("restrict:team:", "team"),
    ("user:", "user"),
    ("agent:", "agent"),
    ("service:", "service"),
    ("filter:clearance:", "clearance"),
)


def _named(subject: Subject) -> str:
    parts = {"company": subject.company, "unit": subject.business_unit, "team": subject.team, "user": subject.user}
    told = [f"{name} {value}" for name, value in parts.items() if value and value != _COMPANY]
    told += [f"role {role}" for role in subject.roles]
    told += [f"agent {subject.agent}"] if subject.agent not in (None, PROBER) else []
    return ", ".join(told) or "anybody"


def _asked(index: PolicyIndex, subject: Subject, resource: str, parameters: Mapping[str, Any]) -> tuple[str, str]:
    verdict: Verdict = decide(index, subject, resource, parameters, Circumstances(now=_NOW))
    return str(verdict.outcome), verdict.reason or "ALLOWED"
