"""Rules that look like denials and never deny anything, found by the spelling of their patterns.

Each finding is a code of `warnings.WARNINGS`, the JSON pointer to the place, and an addition to the sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from processors.policy.documents import PolicyDocument, pointer_to
from processors.policy.expressions import Expression, Joined, Match, Not, Path
from processors.policy.origins import NotFrom
from processors.policy.patterns import is_resource_name
from processors.policy.sequences import After, Taint
from processors.policy.specs import DeniedParameter, ParameterConstraint
from processors.text.forms import fold

_ORDINARY = re.compile(r"[?\[{|]")
_SET = re.compile(r"\[[^\[\]]+\]|\{[^{}]*,[^{}]*\}")  # a choice, as other languages write it
_FILLINGS = ("x", "x/x", "tool:x", "")  # tried for stars: a pattern that gives no name with any of them meets none
_FLAGS = re.compile(r"\(\?([a-zA-Z]*)(?:-[a-zA-Z]*)?[:)]")
_ANYTHING = (".*", r"[\s\S]*")

Found = Iterator[tuple[str, str, str]]


def never_meets(document: PolicyDocument) -> Found:
    """Yield the restrictions of a document that no call can meet, as far as their text tells."""
    for at, pattern in enumerate(document.resources):
        yield from _ordinary(pattern, pointer_to("/resources", at))
    for pointer, pattern in dict(_restrictions(document)).items():
        yield from _ordinary(pattern, pointer)
        if _is_no_name(pattern):
            yield "W_NEVER", pointer, ""
    for one in document.denied_parameters:
        for at, item in enumerate(one.items):
            if isinstance(item, str) and _SET.search(item):
                yield "W_ORDINARY", pointer_to(one.pointer, at), ""
    for need in document.requirements:
        for match in () if need.expression is None else _matches(need.expression):
            yield from _searches(match, need.pointer)


def _ordinary(pattern: str, pointer: str) -> Found:
    if _ORDINARY.search(pattern):
        yield "W_ORDINARY", pointer, ""


def _restrictions(document: PolicyDocument) -> Iterator[tuple[str, str]]:
    for at, pattern in enumerate(document.denied_resources):
        yield pointer_to("/denied_resources", at), pattern
    constrained: list[ParameterConstraint | DeniedParameter] = [*document.parameters, *document.denied_parameters]
    for one in constrained:
        if one.pointer.count("/") == 4:  # the short form has no text for the operation
            yield one.pointer.rpartition("/")[0], one.opkey
    yield from ((listed.pointer, listed.opkey) for listed in document.allowed_parameters)
    yield from ((mask.pointer, mask.opkey) for mask in document.masked_parameters)
    for rule in document.sequence:
        yield pointer_to(rule.pointer, "when"), rule.when
        if isinstance(rule.test, Taint):
            yield pointer_to(rule.pointer, "tainted_by"), rule.test.source
        elif isinstance(rule.test, NotFrom):
            yield pointer_to(rule.pointer, "not_from"), rule.test.source
        elif isinstance(rule.test, After):
            yield pointer_to(rule.pointer, "after"), rule.test.resource


def _is_no_name(pattern: str) -> bool:
    return not any(is_resource_name(re.sub(r"\*+", filling, fold(pattern))) for filling in _FILLINGS)


# ---- conditions


def _matches(expression: Expression) -> Iterator[Match]:
    """Yield the matches that make a condition true; under NOT a match that never comes true protects."""
    match expression:
        case Joined():
            for part in expression.parts:
                yield from _matches(part)
        case Not(inner=Not(inner=inner)):
            yield from _matches(inner)
        case Match(path=Path(root="params")):
            yield expression
        case _:
            return


def _searches(match: Match, pointer: str) -> Found:
    if match.regex is None:
        if _has_case(match.glob or ""):
            yield "W_MATCHES_CASE", pointer, f": '{match.glob}'"
        return
    text = match.regex.pattern
    flags = "".join(_FLAGS.findall(text))
    bare = _FLAGS.sub("(", text).strip("()^$")
    branches = [bare] if "(" in bare else bare.split("|")
    if not all(one.startswith(_ANYTHING) and one.rstrip("?").endswith(_ANYTHING) for one in branches):
        yield "W_REGEX_ANCHORED", pointer, f": /{text}/"
    elif "s" not in flags and ".*" in bare:
        yield "W_REGEX_LINES", pointer, f": /{text}/"
    if "i" not in flags and _has_case(re.sub(r"\\.", "", bare)):
        yield "W_MATCHES_CASE", pointer, f": /{text}/"


def _has_case(text: str) -> bool:
    return text.lower() != text.upper()
