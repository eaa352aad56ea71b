"""Rules of the extended form in `rules:`: claims, conditions and transforms, each with its line.

rules:
  - attribute: roles                    where the value goes
    claim: groups[*]                    or `claims:`, a list of which the first that a token has counts
    when: {claim: hd, equals: acme.example}       one condition, or a list of which all must hold
    transforms: [{regex: "app-(.+)"}, lower]      in order
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from processors.identity.claims.conditions import ClaimComparison, ClaimCondition, Comparand
from processors.identity.claims.model import ATTRIBUTES, SUBJECT, ClaimRule
from processors.identity.claims.paths import ClaimPath
from processors.identity.claims.regexes import ClaimRegex
from processors.identity.claims.transforms import BARE, ClaimTransform, TransformKind
from producers.home.strict_yaml import Lined
from streams.identity_files.lined import (
    LinedError,
    at_line,
    cut,
    did_you_mean,
    elements,
    flag,
    members,
    named,
    table,
    text,
    whole_number,
)

# Names that people write for an attribute, and the attribute.
MEANT = {
    "organization": "company",
    "organisation": "company",
    "org": "company",
    "bu": "business_unit",
    "department": "business_unit",
    "division": "business_unit",
    "username": "user",
    "name": "user",
    "sub": SUBJECT,
    "role": "roles",
    "group": "groups",
    "mail": "email",
}


def path_of(part: Lined, what: str) -> ClaimPath:
    """Return a path to a claim. Raises LinedError."""
    with at_line(part.line):
        return ClaimPath(text(part, what))


def paths_of(part: Lined, what: str) -> tuple[ClaimPath, ...]:
    """Return the paths of a list, or the one path that a text is. Raises LinedError."""
    if isinstance(part.value, list):
        return tuple(path_of(one, f"an element of {what}") for one in part.value)
    return (path_of(part, what),)


def attribute_of(part: Lined, what: str) -> str:
    """Return the name of an attribute. Raises LinedError."""
    name = text(part, what)
    if name not in ATTRIBUTES and name != SUBJECT:
        names = (*ATTRIBUTES, SUBJECT)
        raise LinedError(part.line, f"no attribute is called `{cut(name)}`{did_you_mean(name, names, MEANT)}")
    return name


def rules_of(part: Lined) -> Iterator[ClaimRule]:
    """Yield the rules of `rules:`. Raises LinedError."""
    for one in elements(part, "`rules`"):
        yield _rule(one)


def _rule(part: Lined) -> ClaimRule:
    found = members(part, "a rule", ("attribute", "claim", "claims", "when", "transforms"))
    if "attribute" not in found or ("claim" in found) is ("claims" in found):
        raise LinedError(part.line, "a rule needs `attribute`, and either `claim` or `claims`")
    claims = (
        (path_of(found["claim"], "`claim`"),)
        if "claim" in found
        else tuple(path_of(one, "an element of `claims`") for one in elements(found["claims"], "`claims`"))
    )
    attribute = attribute_of(found["attribute"], "`attribute`")
    when = tuple(_conditions(found["when"])) if "when" in found else ()
    transforms = tuple(_transforms(found["transforms"])) if "transforms" in found else ()
    with at_line(part.line):
        return ClaimRule(attribute=attribute, claims=claims, when=when, transforms=transforms, line=part.line)


def _conditions(part: Lined) -> Iterator[ClaimCondition]:
    for one in part.value if isinstance(part.value, list) else [part]:
        yield _condition(one)


def _condition(part: Lined) -> ClaimCondition:
    found = members(part, "a condition", ("claim", *ClaimComparison))
    operands = [name for name in found if name != "claim"]
    if "claim" not in found or len(operands) != 1:
        choice = ", ".join(f"`{one}`" for one in ClaimComparison)
        raise LinedError(part.line, f"a condition needs `claim` and one of {choice}")
    comparison = ClaimComparison(operands[0])
    operand, what = found[comparison], f"`{comparison}`"
    claim = path_of(found["claim"], "`claim`")
    with at_line(operand.line):
        if comparison is ClaimComparison.MATCHES:
            return ClaimCondition(claim=claim, comparison=comparison, regex=ClaimRegex(text(operand, what)))
        if comparison is ClaimComparison.PRESENT:
            return ClaimCondition(claim=claim, comparison=comparison, is_present=flag(operand, what))
        return ClaimCondition(claim=claim, comparison=comparison, values=tuple(_comparands(operand, what)))


def _comparands(part: Lined, what: str) -> Iterator[Comparand]:
    listed = part.value if isinstance(part.value, list) else [part]
    if not listed:
        raise LinedError(part.line, f"{what} must name at least one value")
    for one in listed:
        if not isinstance(one.value, str | bool | int):
            raise LinedError(one.line, f"{what} must be a text, a whole number, `true` or `false`, or a list of these")
        yield one.value


def _transforms(part: Lined) -> Iterator[ClaimTransform]:
    for one in elements(part, "`transforms`"):
        with at_line(one.line):
            yield _transform(one)


def _transform(part: Lined) -> ClaimTransform:
    if isinstance(part.value, str):
        kind = _kind(part.value, part.line)
        if kind not in BARE:
            raise LinedError(part.line, f"the transform `{kind}` needs an option: write `{{{kind}: …}}`")
        return ClaimTransform(kind=kind)
    found = named(part, "a transform")
    if len(found) != 1:
        raise LinedError(part.line, 'a transform is one name, like `lower`, or one member, like `{prefix: "x-"}`')
    [(name, option)] = found.items()
    kind = _kind(name, option.line)
    if kind in BARE:
        raise LinedError(option.line, f"the transform `{kind}` has no option: write `{kind}`")
    return _WITH_OPTION.get(kind, _with_text)(kind, option)


def _kind(name: str, line: int) -> TransformKind:
    if name not in set(TransformKind):
        raise LinedError(line, f"no transform is called `{cut(name)}`{did_you_mean(name, [*TransformKind])}")
    return TransformKind(name)


def _with_text(kind: TransformKind, option: Lined) -> ClaimTransform:
    return ClaimTransform(kind=kind, text=text(option, f"`{kind}`"))


def _with_table(kind: TransformKind, option: Lined) -> ClaimTransform:
    return ClaimTransform(kind=kind, table=table(option, f"`{kind}`"))


def _with_regex(kind: TransformKind, option: Lined) -> ClaimTransform:
    if isinstance(option.value, str):
        return ClaimTransform(kind=kind, regex=ClaimRegex(option.value))
    found = members(option, "`regex`", ("pattern", "group"))
    if "pattern" not in found:
        raise LinedError(option.line, "`regex` needs `pattern`")
    group: int | str | None = None
    if "group" in found:
        part = found["group"]
        group = part.value if isinstance(part.value, str) else whole_number(part, "`group`")
    with at_line(found["pattern"].line):
        return ClaimTransform(kind=kind, regex=ClaimRegex(text(found["pattern"], "`pattern`"), group))


_WITH_OPTION: Mapping[TransformKind, Callable[[TransformKind, Lined], ClaimTransform]] = {
    TransformKind.MAP: _with_table,
    TransformKind.REGEX: _with_regex,
}
