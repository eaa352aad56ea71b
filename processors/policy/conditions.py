"""The truth of a condition for a call: true, false, or unknown (docs/mapl.md 7).

A tree of a condition is compiled to closures, once for each document.

Unknown is None. Nothing is coerced: values of two types are not comparable. A requirement applies unless its condition
is false, so an unknown condition protects.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from typing import Any, assert_never

from processors.policy import limits
from processors.policy.evaluation import (
    ABSENT,
    Evaluation,
    Record,
    Unseen,
    Work,
    as_it_is,
    inspected,
    member,
    present,
    seen,
    spend,
)
from processors.policy.expressions import (
    Comparison,
    Expression,
    Joined,
    Literal,
    Match,
    Membership,
    Not,
    Operand,
    Path,
    PredicateCall,
    Scalar,
    Time,
    Truth,
)
from processors.policy.globs import denying, matching
from processors.policy.named import Condition, is_of_name, spelt_otherwise
from processors.policy.times import FIELDS, NOW, local_time
from processors.text.characters import utf8_size
from processors.text.forms import fold

_Reader = Callable[[Evaluation], object]

_Compare = Callable[[Any, Any], bool]  # of two values of one type, which the caller has looked at
_ORDER: dict[str, _Compare] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_COMPARE: dict[str, _Compare] = {"==": operator.eq, "!=": operator.ne, **_ORDER}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def compile_condition(expression: Expression) -> Condition:
    """Return the test of an expression. For any call it raises WorkExceededError or BodyUnseenError."""
    match expression:
        case Joined():
            return _joined([compile_condition(part) for part in expression.parts], conjunction=expression.conjunction)
        case Not():
            return _not(compile_condition(expression.inner))
        case _:
            return _test(expression)


def _test(test: Comparison | Membership | Match | Truth | PredicateCall) -> Condition:
    match test:
        case Comparison():
            return _comparison(test)
        case Membership():
            return _membership(test)
        case Match():
            return _match(test)
        case Truth():
            return _truth(_reader(test.path))
        case PredicateCall():
            return _asked(test)
        case _ as unreachable:
            assert_never(unreachable)


# ---- logic, as Kleene has it


def _joined(parts: Sequence[Condition], *, conjunction: bool) -> Condition:
    decisive = not conjunction

    def joined(call: Evaluation) -> bool | None:
        known = True
        for part in parts:
            found = part(call)
            if found is decisive:
                return decisive
            if found is None:
                known = False
        return conjunction if known else None

    return joined


def _not(inner: Condition) -> Condition:
    def negated(call: Evaluation) -> bool | None:
        found = inner(call)
        return None if found is None else not found

    return negated


def _truth(read: _Reader) -> Condition:
    def truth(call: Evaluation) -> bool | None:
        value = read(call)
        return value if type(value) is bool else None

    return truth


# ---- comparing


def _comparison(test: Comparison) -> Condition:
    left, right, sign = test.left, test.right, test.operator
    if isinstance(left, Literal):
        left, right, sign = right, left, _MIRRORED[sign]
    if isinstance(left, Path) and isinstance(right, Literal) and sign == "!=" and is_of_name(left):
        return _not(_comparison(Comparison("==", left, right)))
    if isinstance(right, Literal) and right.value is None:
        return _null(_reader(left, present), equal=sign == "==")
    read = _reader(left)
    if not isinstance(right, Literal):
        return _two_values(read, _reader(right), sign)
    value = right.value
    compare = _COMPARE[sign]
    if isinstance(value, bool):
        return lambda call: compare(found, value) if type(found := read(call)) is bool else None
    if isinstance(value, str):
        with_text = _with_text(read, value, compare)
        return spelt_otherwise(with_text, left, fold(value).__eq__) if sign == "==" else with_text

    def with_number(call: Evaluation) -> bool | None:
        found = read(call)
        kind = type(found)
        return compare(found, value) if kind is int or kind is float else None

    return with_number


def _with_text(read: _Reader, text: str, compare: _Compare) -> Condition:
    def with_text(call: Evaluation) -> bool | None:
        found = read(call)
        if type(found) is not str:
            return None
        spelt = inspected(found, call.work)
        return None if spelt is None else compare(spelt, text)

    return with_text


def _null(read: _Reader, *, equal: bool) -> Condition:
    return lambda call: ((found := read(call)) is None or found is ABSENT) is equal


def _two_values(read_left: _Reader, read_right: _Reader, sign: str) -> Condition:
    compare, ordering = _COMPARE[sign], sign in _ORDER

    def two_values(call: Evaluation) -> bool | None:
        left, right = _comparable(read_left(call), call), _comparable(read_right(call), call)
        if left is None or right is None or _kind(left) is not _kind(right):
            return None
        if ordering and type(left) is bool:
            return None
        return compare(left, right)

    return two_values


def _comparable(value: object, call: Evaluation) -> str | float | bool | None:
    """Return a value that can be compared, a text in NFC; None for null, absent values, arrays and objects."""
    kind = type(value)
    if kind is str:
        return inspected(value, call.work)  # type: ignore[arg-type]
    if kind is int or kind is float or kind is bool:
        return value  # type: ignore[return-value]
    seen(value)
    return None


def _kind(value: object) -> type:
    kind = type(value)
    return float if kind is int else kind


def _membership(test: Membership) -> Condition:
    read = _reader(test.left)
    if isinstance(test.items, Path):
        read_items = _reader(test.items)

        def among(call: Evaluation) -> bool | None:
            items = read_items(call)
            if not isinstance(items, (list, tuple)):
                return None
            spend(call.work, limits.REACHED_VALUE_UNITS * len(items))
            return _among(_comparable(read(call), call), [_comparable(item, call) for item in items])

        return among
    members = test.items
    folded = {fold(one) for one in members if isinstance(one, str)}
    return spelt_otherwise(lambda call: _among(_comparable(read(call), call), members), test.left, folded.__contains__)


def _among(value: Scalar, items: Sequence[Scalar]) -> bool | None:
    if value is None:
        return None
    kind = _kind(value)
    if any(_kind(item) is kind and item == value for item in items):
        return True
    return None if any(_kind(item) is not kind for item in items) else False


def _match(test: Match) -> Condition:
    read, regex = _reader(test.path), test.regex
    if regex is None:
        meets, units, units_each = matching(test.glob or "")
    else:
        meets, units, units_each = regex.matches, limits.REGEX_UNITS, regex.units

    def match(call: Evaluation) -> bool | None:
        value = read(call)
        if type(value) is not str:
            return None
        spelt = inspected(value, call.work)
        if spelt is None:
            return None
        spend(call.work, units + units_each * utf8_size(spelt))
        return meets(spelt)

    if regex is not None:
        return spelt_otherwise(match, test.path, regex.matches, regex.units)
    widely = denying(test.glob or "")
    return spelt_otherwise(match, test.path, widely.meets, widely.units)


# ---- what could not be told


def unusable(expression: Expression, call: Evaluation) -> list[tuple[str, str]]:
    """Return the operands that no comparison can use, each with its kind: absent, null, array or object."""
    found = {operand: kind_of(_reader(operand[0], as_it_is)(call)) for operand in _operands(expression)}
    return [(str(path), kind) for (path, listed), kind in found.items() if (kind in _UNUSABLE) is not (kind == listed)]


def kind_of(value: object) -> str:
    """Return JSON's name for the type of a value, or `absent`, or `body` for a text that travels beside the call."""
    if value is ABSENT:
        return "absent"
    return _KINDS.get(type(value), "object")


_KINDS = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    tuple: "array",
    Unseen: "body",
}
_UNUSABLE = frozenset({"absent", "null", "array", "object"})


def _operands(expression: Expression) -> Iterator[tuple[Path, str]]:
    """Yield every operand, and `array` where an array can be used."""
    match expression:
        case Joined():
            for part in expression.parts:
                yield from _operands(part)
        case Not():
            yield from _operands(expression.inner)
        case Comparison():
            yield from ((side, "") for side in (expression.left, expression.right) if isinstance(side, Path))
        case Membership():
            if isinstance(expression.left, Path):
                yield expression.left, ""
            if isinstance(expression.items, Path):
                yield expression.items, "array"
        case Match() | Truth() if isinstance(expression.path, Path):
            yield expression.path, ""
        case _:
            return


# ---- what is asked of the call


def _asked(test: PredicateCall) -> Condition:
    name = test.name
    if test.question == "has_role":
        return lambda call: _among_names(call, name, call.subject.roles)
    if test.question == "has_group":
        return lambda call: _among_names(call, name, call.subject.groups)

    def has_attestation(call: Evaluation) -> bool:
        records = call.tables.attestations.records(name)
        spend(call.work, limits.RECORD_UNITS * (1 + len(records)))
        return any(_stands(record, call.now) for record in records)

    return has_attestation


def _among_names(call: Evaluation, name: str, names: Sequence[str]) -> bool:
    spend(call.work, limits.ITEM_UNITS + len(names))
    return name in names


def _stands(record: Record, now: int) -> bool:
    """Return whether a record is valid and not used up, by the terms of its setter."""
    uses_max = 1 if record.one_time else record.max_uses
    in_time = record.expires_at is None or now < record.expires_at
    return not record.revoked and in_time and (uses_max is None or record.uses < uses_max)


def _reader(operand: Operand, look: Callable[[object], object] = seen) -> _Reader:
    match operand:
        case Literal():
            value = operand.value
            return lambda _call: value
        case Time():
            return _time(operand.field, operand.zone)
        case Path():
            return _path(operand, look)
        case _ as unreachable:
            assert_never(unreachable)


def _time(field: str, zone: tzinfo) -> _Reader:
    if field == NOW:
        return lambda call: call.now // 1000
    read = FIELDS[field]
    return lambda call: read(local_time(call.now // 1000, zone))


def _path(path: Path, look: Callable[[object], object]) -> _Reader:
    first, *rest = path.steps
    steps = tuple(rest)
    match path.root:
        case "params" if not steps and isinstance(first, str):
            return lambda call: look(call.parameters.get(first, ABSENT))
        case "params":
            return lambda call: look(_walk(call.parameters, path.steps, call.work))
        case "principal":
            return lambda call: _walk(call.subject.attribute(str(first)), steps, call.work)
        case "context":
            return _CONTEXT[str(first)]
        case _:
            return _TOOL[str(first)]


def _walk(value: object, steps: Sequence[str | int], work: Work) -> object:
    """Return the value at the end of the steps, ABSENT where one of them leads nowhere."""
    for step in steps:
        if isinstance(step, str):
            value = member(value, step, work) if isinstance(value, dict) else ABSENT
        else:
            value = value[step] if isinstance(value, (list, tuple)) and step < len(value) else ABSENT
    return value


_CONTEXT: dict[str, _Reader] = {
    "session_id": lambda call: call.session.session_id or None,
    "app": lambda call: call.session.app,
    "source_agent": lambda call: call.session.source_agent,
    "is_delegated": lambda call: call.session.is_delegated,
    "delegation_depth": lambda call: call.session.delegation_depth,
}
_TOOL: dict[str, _Reader] = {
    "id": lambda call: call.name.text,
    "domain": lambda call: call.name.domain,
    "app": lambda call: call.name.app,
    "op": lambda call: call.name.operation,
    "tenant": lambda call: call.name.tenant.strip("@/") or call.session.tenant,
}
