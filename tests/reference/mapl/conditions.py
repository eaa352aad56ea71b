"""The truth of a condition: true, false or unknown, here True, False and None (docs/mapl.md 7)."""

import datetime as dt
import importlib.resources
import operator
import zoneinfo
from dataclasses import dataclass, field

from tests.reference.mapl.expressions import Node
from tests.reference.mapl.jsontext import json_equal, kind_of
from tests.reference.mapl.names import restriction_forms, split_foreign
from tests.reference.mapl.text import fold, fold_literals, glob_tokens, tokens_match
from tests.reference.mapl.work import Work, regex_matches

ABSENT = object()
COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass
class Scope:
    """What a condition can name, for one subject."""

    params: dict[str, object]
    principal: dict[str, object]
    context: dict[str, object]
    tool: dict[str, object]
    attested: set[str]  # keys of which a valid unconsumed record exists
    now_ms: int
    work: Work
    spellings: list[dict[str, str]] = field(default_factory=list)


def applies(node: Node | None, scope: Scope) -> bool:
    """Section 7: a condition that is true or unknown makes its requirement apply; so does having none."""
    return node is None or value_of(node, scope) is not False


def value_of(node: Node, scope: Scope) -> bool | None:
    """ADR 0016: what a literal says of the resource's name is unknown where only another spelling would meet it."""
    value = value_as_written(node, scope)
    wanted = {"cmp": {("==", False), ("!=", True)}, "in": {("in", False)}, "glob": {("glob", False)}}
    wanted |= {"regex": {("regex", False)}}
    if (node[1] if node[0] == "cmp" else node[0], value) not in wanted.get(node[0], set()):
        return value
    sides = [node[2], node[3]] if node[0] == "cmp" else [node[1]]
    member = next((side[2][0] for side in sides if side[0] == "path" and side[1] == "tool"), None)
    if member not in {"id", "app", "op"}:
        return value
    return None if any(spelling_meets(node, parts[member]) for parts in scope.spellings) else value


def spelling_meets(node: Node, text: str) -> bool:
    match node[0]:
        case "cmp":
            literals = [side[1] for side in (node[2], node[3]) if side[0] == "lit"]
        case "in":
            literals = node[2][1] if node[2][0] == "list" else []
        case "glob":
            tokens = ["**" if one == "*" else one for one in fold_literals(glob_tokens(node[2], question=True))]
            return tokens_match(tokens, text)
        case _:
            return regex_matches(node[2], text, Work())
    return text in {fold(one) for one in literals if isinstance(one, str)}


def spellings_of(resource: str) -> list[dict[str, str]]:
    """`id`, `app` and `op` in each form that restrictions try."""
    tenant, _ = split_foreign(resource)
    found = []
    for form in restriction_forms(resource):
        if form.startswith(tenant):
            segments = form.removeprefix(tenant).partition(":")[2].split("/")
            found.append({"id": form, "app": segments[0] if len(segments) > 1 else "", "op": segments[-1]})
    return found


def value_as_written(node: Node, scope: Scope) -> bool | None:  # noqa: PLR0911
    match node[0]:
        case "or":
            return kleene_or([value_of(part, scope) for part in node[1]])
        case "and":
            return kleene_and([value_of(part, scope) for part in node[1]])
        case "not":
            inner = value_of(node[1], scope)
            return None if inner is None else not inner
        case "cmp":
            return compare(node[1], node[2], node[3], scope)
        case "in":
            return is_in(operand(node[1], scope), node[2], scope)
        case "bool":
            value = operand(node[1], scope)
            return value if isinstance(value, bool) else None
        case "glob" | "regex":
            return matches(node, scope)
        case "role":
            return has(scope.principal.get("roles"), node[1])
        case "group":
            return has(scope.principal.get("groups"), node[1])
        case _:
            return node[1] in scope.attested


def kleene_or(values: list[bool | None]) -> bool | None:
    if True in values:
        return True
    return None if None in values else False


def kleene_and(values: list[bool | None]) -> bool | None:
    if False in values:
        return False
    return None if None in values else True


def compare(symbol: str, left_node: Node, right_node: Node, scope: Scope) -> bool | None:
    left, right = operand(left_node, scope), operand(right_node, scope)
    for literal, other in ((left_node, right), (right_node, left)):
        if literal == ("lit", None):  # `== null` and `!= null` are never unknown
            is_null = other is ABSENT or other is None
            return is_null if symbol == "==" else not is_null
    if not usable(left) or not usable(right) or kind_of(left) != kind_of(right):
        return None
    if isinstance(left, bool) and symbol not in {"==", "!="}:
        return None
    return bool(COMPARISONS[symbol](left, right))  # type: ignore[arg-type]


def usable(value: object) -> bool:
    """Not absent, null, an array or an object."""
    return value is not ABSENT and kind_of(value) in {"boolean", "number", "string"}


def is_in(left: object, right_node: Node, scope: Scope) -> bool | None:
    right = right_node[1] if right_node[0] == "list" else operand(right_node, scope)
    if not usable(left) or not isinstance(right, list):
        return None
    if any(json_equal(left, item) for item in right):
        return True
    return None if any(kind_of(item) != kind_of(left) for item in right) else False


def matches(node: Node, scope: Scope) -> bool | None:
    """The whole text, case-sensitive, not folded; a glob or RE2."""
    text = operand(node[1], scope)
    if not isinstance(text, str):
        return None
    if node[0] == "regex":
        return regex_matches(node[2], text, scope.work)
    tokens = ["**" if token == "*" else token for token in glob_tokens(node[2], question=True)]  # `*` is any run here
    return tokens_match(tokens, text)


def has(values: object, wanted: str) -> bool:
    return isinstance(values, list) and wanted in values


def operand(node: Node, scope: Scope) -> object:
    if node[0] == "lit":
        return node[1]
    if node[0] == "time":
        return time_fields(scope.now_ms, node[2])[node[1]]
    roots = {"params": scope.params, "principal": scope.principal, "context": scope.context, "tool": scope.tool}
    value: object = time_fields(scope.now_ms, "UTC") if node[1] == "time" else roots[node[1]]
    for step in node[2]:
        has_member = isinstance(step, str) and isinstance(value, dict) and step in value
        has_item = isinstance(step, int) and isinstance(value, list) and step < len(value)
        if not has_member and not has_item:
            return ABSENT
        value = value[step]  # type: ignore[index]
    return value


def time_fields(now_ms: int, zone: str) -> dict[str, object]:
    """Section 10: event time, UTC unless a zone is named."""
    moment = (EPOCH + dt.timedelta(milliseconds=now_ms)).astimezone(zone_of(zone))
    return {
        "now": now_ms // 1000,
        "year": moment.year,
        "month": moment.month,
        "day": moment.day,
        "hour": moment.hour,
        "minute": moment.minute,
        "weekday": moment.isoweekday(),
        "date": f"{moment.year:04}-{moment.month:02}-{moment.day:02}",
        "clock": f"{moment.hour:02}:{moment.minute:02}",
    }


def zone_of(zone: str) -> dt.tzinfo:
    if zone == "UTC":
        return dt.UTC
    if zone[0] in "+-":
        minutes = int(zone[1:3]) * 60 + int(zone[4:6])
        return dt.timezone(dt.timedelta(minutes=-minutes if zone[0] == "-" else minutes))
    with (importlib.resources.files("tzdata") / "zoneinfo").joinpath(*zone.split("/")).open("rb") as data:
        return zoneinfo.ZoneInfo.from_file(data)  # the pinned package, never the machine's own tables
