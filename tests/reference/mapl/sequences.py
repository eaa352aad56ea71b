"""Sequence rules as documents write them (docs/mapl.md 14)."""

import re
from dataclasses import dataclass, field

from tests.reference.mapl.expressions import Node, parse_expression
from tests.reference.mapl.fields import (
    array_of,
    integer_of,
    key_of,
    number_of,
    object_of,
    pattern_of,
    string_of,
    text_of,
)
from tests.reference.mapl.jsontext import INTEGER_MAX
from tests.reference.mapl.paths import Path, parse_path
from tests.reference.mapl.refusals import RefusedError, below

KINDS = ("after", "at_most", "sum", "tainted_by", "not_from")
MEMBERS = {
    "after": {"after"},
    "at_most": {"at_most", "per", "window"},
    "sum": {"sum", "max", "per", "window"},
    "tainted_by": {"tainted_by", "require"},
    "not_from": {"not_from", "argument", "else", "unless_cleared_by"},
}
NEEDED = {
    "after": {"after"},
    "at_most": {"at_most", "per"},
    "sum": {"sum", "max", "per"},
    "tainted_by": {"tainted_by"},
    "not_from": {"not_from"},
}
DAY_SECONDS = 86_400
ARGUMENTS_MAX = 16


@dataclass
class Rule:
    """`kind` says which of the five rules it is; only its own members are set."""

    pointer: str
    rule_id: str = ""
    when: str = ""
    condition: Node | None = None
    kind: str = ""
    resource: str = ""  # after
    same: list[tuple[Path, Path]] = field(default_factory=list)
    within: int | None = None
    at_most: int = 0
    sum: Path | None = None
    max: float = 0
    per: str = ""
    window: int | None = None  # in seconds
    tainted_by: str = ""
    require: str | None = None  # also of `else`
    not_from: str = ""
    arguments: list[Path] = field(default_factory=list)  # none: every argument
    cleared_by: str = ""  # the prefix of a verifier


def parse_rules(value: object, pointer: str, *, inline: bool = False) -> list[Rule]:
    rules = [parse_rule(item, below(pointer, i), inline=inline) for i, item in enumerate(array_of(value, pointer))]
    for i, rule in enumerate(rules):
        if inline and rule.per == "user" and rule.window is None:
            raise RefusedError("E_SEQUENCE", below(pointer, i))
        if rule.rule_id in {earlier.rule_id for earlier in rules[:i]}:
            raise RefusedError("E_SEQUENCE", below(pointer, i))
    return rules


def parse_rule(value: object, pointer: str, *, inline: bool) -> Rule:
    members = object_of(value, pointer)
    rule = Rule(pointer)
    for name, member in members.items():
        if inline and name in MEMBERS["not_from"]:
            raise RefusedError("E_UNKNOWN_FIELD", below(pointer, name))
        read_member(rule, name, member, below(pointer, name))
    kinds = [kind for kind in KINDS if kind in members]
    if len(kinds) != 1 or not rule.rule_id or not rule.when:
        raise RefusedError("E_SEQUENCE", pointer)
    rule.kind = kinds[0]
    if not set(members) <= {"id", "when", "if"} | MEMBERS[rule.kind] or not NEEDED[rule.kind] <= set(members):
        raise RefusedError("E_SEQUENCE", pointer)
    return rule


def read_member(rule: Rule, name: str, member: object, pointer: str) -> None:
    match name:
        case "id":
            rule.rule_id = text_of(member, pointer)
        case "when":
            rule.when = pattern_of(member, pointer)
        case "if":
            rule.condition = parse_expression(string_of(member, pointer), pointer)
        case "after":
            read_after(rule, member, pointer)
        case "at_most":
            rule.at_most = integer_of(member, pointer, 0, INTEGER_MAX, code="E_SEQUENCE")
        case "sum":
            rule.sum = parse_path(string_of(member, pointer), pointer)
        case "max":
            rule.max = number_of(member, pointer)
        case "per":
            rule.per = string_of(member, pointer)
            if rule.per not in {"session", "user"}:
                raise RefusedError("E_SEQUENCE", pointer)
        case "window":
            day = member == "day"
            rule.window = DAY_SECONDS if day else integer_of(member, pointer, 1, INTEGER_MAX, code="E_SEQUENCE")
        case "tainted_by":
            rule.tainted_by = pattern_of(member, pointer)
        case "not_from":
            rule.not_from = pattern_of(member, pointer)
        case "argument":
            rule.arguments = read_arguments(member, pointer)
        case "unless_cleared_by":
            found = re.fullmatch(r"verifier:([a-z][a-z0-9_]{1,31})", string_of(member, pointer))
            if found is None:
                raise RefusedError("E_SEQUENCE", pointer)
            rule.cleared_by = found[1]
        case "require" | "else":
            rule.require = key_of(member, pointer)
        case _:
            raise RefusedError("E_UNKNOWN_FIELD", pointer)


def read_arguments(member: object, pointer: str) -> list[Path]:
    """`*`, a path, or 1 to 16 paths."""
    if isinstance(member, str):
        return [] if member == "*" else [parse_path(member, pointer)]
    paths = array_of(member, pointer, ARGUMENTS_MAX)
    if not paths:
        raise RefusedError("E_SEQUENCE", pointer)
    return [parse_path(string_of(path, below(pointer, i)), below(pointer, i)) for i, path in enumerate(paths)]


def read_after(rule: Rule, value: object, pointer: str) -> None:
    members = object_of(value, pointer)
    for name, member in members.items():
        at = below(pointer, name)
        match name:
            case "resource":
                rule.resource = pattern_of(member, at)
            case "same":
                rule.same = [parse_pair(pair, below(at, i)) for i, pair in enumerate(array_of(member, at))]
            case "within":
                rule.within = integer_of(member, at, 1, INTEGER_MAX, code="E_SEQUENCE")
            case _:
                raise RefusedError("E_UNKNOWN_FIELD", at)
    if not rule.resource:
        raise RefusedError("E_SEQUENCE", pointer)


def parse_pair(value: object, pointer: str) -> tuple[Path, Path]:
    """This call's path, then the earlier call's."""
    pair = array_of(value, pointer)
    if len(pair) != 2:
        raise RefusedError("E_SEQUENCE", pointer)
    here, there = (parse_path(string_of(text, below(pointer, i)), below(pointer, i)) for i, text in enumerate(pair))
    return here, there
