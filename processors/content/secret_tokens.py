"""Find credentials in a text: tokens in their providers' formats, keys, passwords in URLs, values named as secrets.

A hit tells kind and place, never the secret. `secret.generic` is the weaker kind: only the name beside the value speaks
for it. A text that stands where a secret will stand, such as `your-key-here` or `AKIA…EXAMPLE`, is not a hit.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import re2

from processors.content import yelp_patterns
from processors.content.entropy import is_placeholder, millibits
from processors.content.hits import Hit, code_points
from processors.content.rules import RuleSet, TextRule
from processors.content.secret_names import GENERIC, NAMED
from processors.content.secret_rules import ISSUED, SecretRule
from processors.content.value_readings import with_readings
from processors.proof.jcs import JSONValue

GENERIC_KIND = "secret.generic"
WEAKEST_RULE = "generic.password"
CHARS_MIN = 8  # a name, a sign and a password are longer
HITS_MAX = 1024  # for one text: 4 KiB hold fewer


class _Compiled(NamedTuple):
    """The rules, all together for the question whether one matches, and the floor of each."""

    together: RuleSet
    floors: dict[TextRule, int]


def find(text: str) -> tuple[Hit, ...]:
    """Return the secrets of a text in the order of places, at most HITS_MAX; none lies within another.

    Then those of its other readings (`value_readings`), one for each kind that the text itself has not: such a hit
    spans the whole text. Places count code points. Never raises. Takes time linear in the text for each rule that
    matches.
    """
    if len(text) < CHARS_MIN:
        return ()
    return with_readings(text, tuple(_in_one(text)[:HITS_MAX]), _in_one)


def _in_one(text: str) -> list[Hit]:
    """Return the secrets of one reading."""
    compiled = _compiled()
    rules = compiled.together.matching(text)
    if not rules:
        return []
    data = text.encode("utf-8", "replace")
    found = [hit for rule in rules for hit in _hits(rule, compiled.floors[rule], data)]
    return _outermost(found)


def statement() -> JSONValue:
    """Return all that verdicts depend on, for a digest: rules with floors, sources of the third party, refusals."""
    yelp = yelp_patterns.read()
    return {
        "rules": [[rule.name, rule.pattern, rule.floor] for rule in _all_rules()],
        "third_party": [yelp_patterns.PACKAGE, yelp_patterns.VERSION, yelp.digest],
        "refused": [[name, why] for name, why in yelp.refused],
    }


def _all_rules() -> tuple[SecretRule, ...]:
    return (*ISSUED, *NAMED, *yelp_patterns.read().rules, *GENERIC)


@cache
def _compiled() -> _Compiled:
    floors = {
        TextRule(one.name, f"secret.{one.name.partition('.')[0]}", one.pattern): one.floor for one in _all_rules()
    }
    return _Compiled(RuleSet.compile(floors), floors)


@cache
def _places(pattern: str) -> re2._Regexp:
    """Return one pattern, compiled when a text first matches it: most never do."""
    return re2.compile(pattern.encode())


def _hits(rule: TextRule, floor: int, data: bytes) -> list[Hit]:
    """Return the hits of one rule: its first group, where it has one."""
    pattern = _places(rule.pattern)
    group = 1 if pattern.groups else 0
    hits = []
    for match in pattern.finditer(data):
        start, end = match.span(group)
        if start < 0:
            start, end = match.span()
        value = data[start:end].decode("utf-8", "replace")
        if not floor or (
            millibits(value) >= floor
            and not is_placeholder(value)
            and (rule.kind != GENERIC_KIND or _looks_random(value, 1 if rule.name == WEAKEST_RULE else 2))
        ):
            first = code_points(data[:start])
            hits.append(Hit(rule.kind, first, first + len(value), rule.name))
    return hits


def _looks_random(value: str, digits_min: int) -> bool:
    """Return True for letters and digits together that are not a path, a host or words with a number behind them."""
    digits = sum(one in "0123456789" for one in value)
    return (
        digits_min <= digits < len(value)
        and not ("/" in value and "." in value)
        and value.count(".") + value.count("/") <= 2
    )


def _outermost(hits: list[Hit]) -> list[Hit]:
    """Return the hits without those that lie within another, and without weak ones that touch a strong one."""
    strong = _not_within([hit for hit in hits if hit.kind != GENERIC_KIND])
    weak = _not_within([hit for hit in hits if hit.kind == GENERIC_KIND])
    apart = [hit for hit in weak if all(hit.end <= one.start or one.end <= hit.start for one in strong)]
    return sorted([*strong, *apart], key=lambda hit: (hit.start, hit.end))


def _not_within(hits: list[Hit]) -> list[Hit]:
    kept: list[Hit] = []
    for hit in sorted(hits, key=lambda one: (one.start, -one.end)):  # stable: of equal places the earlier rule stays
        if not kept or hit.end > kept[-1].end:
            kept.append(hit)
    return kept
