"""Rules of the OWASP Core Rule Set, in ModSecurity's language: those that match the arguments of a request.

A rule is taken if it looks at `ARGS` with `@rx` or `@pm`, alone (not as a part of a chain), at the paranoia level that
is asked for or below. Of the transformations, the readings of a text (`processors/content/views.py`) do the decoding;
a rule with another one is taken, and told: here it matches less.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import re2

from macaw.verifiers.importing.directives import Directive, actions_of, directives_of
from macaw.verifiers.importing.imported import ImportedRules, RuleCollector, RuleFileError

FORM = "crs"
PARANOIA = range(1, 5)
_OTHERS = frozenset({"SecAction", "SecMarker", "SecComponentSignature", "SecDefaultAction", "SecCollectionTimeout",
                     "SecRuleEngine", "SecRequestBodyAccess", "SecResponseBodyAccess"})  # fmt: skip
_HONOURED = frozenset({"none", "urldecode", "urldecodeuni", "htmlentitydecode", "jsdecode", "escapeseqdecode",
                       "base64decode", "base64decodeext", "hexdecode", "utf8tounicode"})  # fmt: skip
_FOLDING = frozenset({"lowercase", "uppercase"})
_PHRASE_CHARS_MAX = 6_000  # of one pattern that is made from phrases
_LEVEL = "paranoia-level/"


class _Rule(NamedTuple):
    rule_id: str
    variables: tuple[str, ...]
    operator: str
    argument: str
    transformations: tuple[str, ...]
    level: int
    is_chained: bool
    line: int


def read_crs(text: str, paranoia: int = 1) -> ImportedRules:
    """Return the rules of a file up to a paranoia level. Raises RuleFileError."""
    found = RuleCollector(FORM)
    in_chain = False
    for directive in directives_of(text):
        if directive.name in _OTHERS:
            continue
        if directive.name != "SecRule":
            raise RuleFileError(f"{directive.name[:40]!r} is not a directive of a rule file", directive.line)
        found.count(directive.line)
        rule = _rule_of(directive, has_id=not in_chain)
        if not in_chain:
            _take(found, rule, paranoia)
        in_chain = rule.is_chained
    if in_chain:
        raise RuleFileError("the last rule is the beginning of a chain, and nothing follows")
    return found.imported()


def _rule_of(directive: Directive, *, has_id: bool) -> _Rule:
    if not 2 <= len(directive.arguments) <= 3 or (has_id and len(directive.arguments) < 3):
        raise RuleFileError("SecRule must have variables, an operator and actions", directive.line)
    variables, condition, *rest = directive.arguments
    actions = actions_of(rest[0], directive.line) if rest else []
    ids = [value for name, value in actions if name == "id"]
    if has_id and (len(ids) != 1 or not ids[0].isascii() or not ids[0].isdigit()):
        raise RuleFileError("a rule must have one `id`, a number", directive.line)
    operator, argument = _operator(condition)
    return _Rule(
        ids[0] if ids else "",
        tuple(one.strip().lstrip("&!") for one in variables.split("|") if not one.strip().startswith(("!", "&"))),
        operator,
        argument,
        tuple(value.lower() for name, value in actions if name == "t"),
        _level(value for name, value in actions if name == "tag"),
        any(name == "chain" for name, _ in actions),
        directive.line,
    )


def _operator(condition: str) -> tuple[str, str]:
    """Return the operator and its argument. Without an `@` it is a pattern."""
    sign = "!" if condition.startswith("!") else ""
    condition = condition.removeprefix("!")
    if not condition.startswith("@"):
        return f"{sign}rx", condition
    name, _, argument = condition[1:].partition(" ")
    return f"{sign}{name.lower()}", argument.strip() if name.lower() != "rx" else argument


def _level(tags: Iterable[str]) -> int:
    """Return the paranoia level of a rule by its tag, 1 without one, and above all for one that is not a level."""
    for tag in tags:
        if tag.startswith(_LEVEL):
            digits = tag.removeprefix(_LEVEL)
            return int(digits) if digits in {"1", "2", "3", "4"} else PARANOIA.stop
    return PARANOIA.start


def _take(found: RuleCollector, rule: _Rule, paranoia: int) -> None:
    name = rule.rule_id
    if why := _left_out(rule, paranoia):
        found.leave_out(name, why)
        return
    folded = any(one in _FOLDING for one in rule.transformations)
    if rule.operator == "pm":
        for pattern in _phrases(rule.argument):
            found.take(name, name, pattern)
    else:
        # As ModSecurity compiles them: a point is any character, a line's end too.
        found.take(name, name, f"(?is){rule.argument}" if folded else f"(?s){rule.argument}")
    others = sorted({one for one in rule.transformations if one not in _HONOURED and one not in _FOLDING})
    if others:
        found.alter(name, f"transformations that are not honoured: {', '.join(one[:40] for one in others)}")


def _left_out(rule: _Rule, paranoia: int) -> str:
    """Return why a rule is left out, "" if it is taken."""
    if rule.is_chained:
        return "it is a chain of rules, which must match together"
    if rule.operator not in {"rx", "pm"}:
        return f"its operator @{rule.operator[:40]} is not a pattern"
    if not any(one.split(":")[0] == "ARGS" for one in rule.variables):
        return f"it looks at {', '.join(rule.variables)[:60]}, not at arguments"
    if rule.level > paranoia:
        return f"its paranoia level is {rule.level}"
    if not rule.argument.strip():
        return "its operator has no argument"
    return ""


def _phrases(argument: str) -> list[str]:
    """Return patterns for a list of phrases, without regard to case (`@pm`)."""
    patterns: list[str] = []
    some: list[str] = []
    size = 0
    for phrase in dict.fromkeys(argument.split()):
        written = str(re2.escape(phrase.encode("utf-8", "replace").decode()))
        if some and size + len(written) > _PHRASE_CHARS_MAX:
            patterns.append(f"(?i)(?:{'|'.join(some)})")
            some, size = [], 0
        some.append(written)
        size += len(written) + 1
    return [*patterns, f"(?i)(?:{'|'.join(some)})"]
