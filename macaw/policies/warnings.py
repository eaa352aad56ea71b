"""Warnings about probable mistakes in a policy that may still be published (docs/mapl.md 1).

A warning has a code, the JSON pointer to the place and a sentence. The rules of the language are elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from macaw.policies.never import never_meets
from processors.policy.documents import PolicyDocument, pointer_to
from processors.policy.insight.overlaps import overlap
from processors.policy.requirements import DENY
from processors.policy.resolve import slug
from processors.policy.sequences import Taint
from processors.policy.specs import DeniedParameter, ParameterConstraint

# The sentence of each code, also for programs that show rules to people.
WARNINGS: Mapping[str, str] = {
    "W_OUTSIDE_PARENT": "no ancestor allows this resource, so it can never permit anything",
    "W_NO_DOMAIN": "the pattern begins with neither a star nor a domain such as `tool:`, so no name meets it",
    "W_ATT_ORPHAN": "nothing in this document requires this key",
    "W_ATT_SHADOW": "an ancestor requires people to approve this key, but here only a tool can attest it: add criteria",
    "W_BROAD_GRANT": "`**` is every resource of every domain",
    "W_NARROW_STAR": "a lone `*` stops at the first `/`: write `**` for everything",
    "W_ID_CASE": "ids are looked up letter by letter, and no look-up finds this spelling",
    "W_ORDINARY": "only stars are special in a pattern: `?`, `[`, `{` and `|` stand for themselves",
    "W_NEVER": "no resource name reads like this in any spelling, so the pattern never meets one",
    "W_REGEX_ANCHORED": "a regular expression must match the whole text: begin and end it with `.*` to search",
    "W_REGEX_LINES": "`.` stops at a line's end, so a text of several lines is not met: begin with `(?s)`",
    "W_MATCHES_CASE": "MATCHES minds case: begin a regular expression with `(?i)`, or use denied_parameters",
    "W_EMPTY": "the document permits nothing, forbids nothing and asks for nothing",
}

_PREFIXES = ("org", "role", "base:role", "company", "bu", "team", "user", "agent", "service", "app")
_SLUGGED = ("restrict:org:", "restrict:bu:", "restrict:team:", "filter:clearance:")
_BEGINS_WELL = re.compile(r"\*|(?:@[a-z][a-z0-9-]{1,39}/)?(?:[a-z][a-z0-9._-]{0,31}:|\*)")
_PAIRS_MAX = 20_000  # patterns held against those of ancestors, in one document


class Warned(NamedTuple):
    """One warning."""

    code: str
    pointer: str
    sentence: str


def warnings_of(document: PolicyDocument, ancestors: Sequence[PolicyDocument] = ()) -> list[Warned]:
    """Return the probable mistakes, in the order of WARNINGS. `ancestors` are the known ones."""
    found = [
        *_outside(document, ancestors),
        *_without_domain(document),
        *_orphans(document),
        *_shadows(document, ancestors),
        *_stars(document),
        *_id_case(document),
        *never_meets(document),
        *_empty(document),
    ]
    told = [Warned(code, pointer, WARNINGS[code] + more) for code, pointer, more in found]
    return sorted(told, key=lambda one: list(WARNINGS).index(one.code))


_Found = Iterator[tuple[str, str, str]]


def _outside(document: PolicyDocument, ancestors: Sequence[PolicyDocument]) -> _Found:
    pairs = 0
    for at, pattern in enumerate(document.resources):
        for ancestor in ancestors:
            pairs += len(ancestor.resources)
            if pairs > _PAIRS_MAX:
                return
            if ancestor.resources and not any(overlap(pattern, wide) for wide in ancestor.resources):
                yield "W_OUTSIDE_PARENT", pointer_to("/resources", at), f" ({ancestor.policy_id})"
                break


def _without_domain(document: PolicyDocument) -> _Found:
    for name, patterns in (("/resources", document.resources), ("/denied_resources", document.denied_resources)):
        for at, pattern in enumerate(patterns):
            if not _BEGINS_WELL.match(pattern):
                yield "W_NO_DOMAIN", pointer_to(name, at), ""
    constrained: list[ParameterConstraint | DeniedParameter] = [*document.parameters, *document.denied_parameters]
    keys = {one.opkey: one.pointer.rpartition("/")[0] for one in constrained}
    keys |= {one.opkey: one.pointer for one in document.allowed_parameters}
    keys |= {one.opkey: one.pointer for one in document.masked_parameters}
    for opkey, pointer in keys.items():
        if not _BEGINS_WELL.match(opkey):
            yield "W_NO_DOMAIN", pointer, ""


def _orphans(document: PolicyDocument) -> _Found:
    tests = (rule.test for rule in document.sequence)
    used = {one.key for one in document.requirements} | {one.require for one in tests if isinstance(one, Taint)}
    for key in document.metas:
        if key not in used:
            yield "W_ATT_ORPHAN", pointer_to("/constraints/attestations", key), ""


def _shadows(document: PolicyDocument, ancestors: Sequence[PolicyDocument]) -> _Found:
    external = {one.key: up.policy_id for up in ancestors for one in up.requirements if one.external}
    for one in document.requirements:
        if one.key != DENY and not one.external and one.key in external:
            yield "W_ATT_SHADOW", one.pointer, f" ({external[one.key]})"


def _stars(document: PolicyDocument) -> _Found:
    for at, pattern in enumerate(document.resources):
        if re.fullmatch(r"\*{2,}", pattern):
            yield "W_BROAD_GRANT", pointer_to("/resources", at), ""
        elif pattern == "*":
            yield "W_NARROW_STAR", pointer_to("/resources", at), ""


def _id_case(document: PolicyDocument) -> _Found:
    policy_id = document.policy_id
    lower = policy_id.lower()
    for prefix in (*(f"{one}:" for one in _PREFIXES), *_SLUGGED):
        if lower.startswith(prefix) and not policy_id.startswith(prefix):
            yield "W_ID_CASE", "/policy_id", f": write {prefix}"
            return
    for prefix in _SLUGGED:
        value = policy_id.removeprefix(prefix)
        if policy_id.startswith(prefix) and value != slug(value):
            yield "W_ID_CASE", "/policy_id", f": write {prefix}{slug(value)}"


def _empty(document: PolicyDocument) -> _Found:
    says = (
        document.resources, document.denied_resources, document.parameters, document.denied_parameters,
        document.requirements, document.sequence, document.roles, document.extends, document.allowed_parameters,
        document.masked_parameters,
    )  # fmt: skip
    numbers = (document.rate_limit, document.not_before, document.not_after, document.audit_level)
    if not any(says) and all(number is None for number in numbers):
        yield "W_EMPTY", "", ""
