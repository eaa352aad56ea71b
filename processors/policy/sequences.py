"""Rules over several calls (docs/mapl.md 14): after, at most, sum, taint, and where a value came from.

History is kept in cells, one for each rule and session or user, so the cost of a rule does not grow with the history.
Windows are fixed cells of time. A decision reads cells and returns the cells to write; others write them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

from processors.policy import limits
from processors.policy.amounts import NOTHING, added, amount
from processors.policy.conditions import compile_condition
from processors.policy.errors import PolicyError
from processors.policy.evaluation import Cell, Evaluation, spend
from processors.policy.expressions import parse_expression
from processors.policy.json_types import (
    as_choice,
    as_integer,
    as_label,
    as_list,
    as_number,
    as_object,
    as_text,
    pointer_to,
)
from processors.policy.named import Condition
from processors.policy.origins import NotFrom, constants_of, origin_of, parse_places, parse_verifier
from processors.policy.parameter_checks import equality_key
from processors.policy.paths import ANYWHERE, MISMATCH, ParsedPath, parse_path, reached
from processors.policy.patterns import ResourceName, check_pattern, grants, restricts
from processors.policy.regexes import Regexes
from processors.policy.requirements import parse_key
from processors.policy.specs import ParameterConstraint
from processors.proof.jcs import JSONValue
from processors.text.forms import fold

DAY_MS = 86_400_000
FOR_EVER = 2**62  # ms; until when a cell stays that nothing ends

_KINDS = frozenset({"after", "at_most", "sum", "tainted_by", "not_from"})
_MEMBERS = {
    "after": frozenset({"after"}),
    "at_most": frozenset({"at_most", "per", "window"}),
    "sum": frozenset({"sum", "max", "per", "window"}),
    "tainted_by": frozenset({"tainted_by", "require"}),
    "not_from": frozenset({"not_from", "argument", "else", "unless_cleared_by"}),
}
_BEFORE_PROVENANCE = _MEMBERS["not_from"]  # unknown to engine 1, and to documents that come with a call
_ID_CHARS_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """An earlier call in this session must have ended well; `same` pairs a path here with one there."""

    resource: str
    same: tuple[tuple[ParsedPath, ParsedPath], ...]
    within_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AtMost:
    """So many calls, for each session or user, in each window."""

    count: int
    per_session: bool
    window_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """So much of a parameter, for each session or user, in each window."""

    place: ParsedPath
    most: float
    per_session: bool
    window_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """Once such a call was allowed, the session is tainted; with `require`, only this attestation helps."""

    source: str
    require: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRule:
    """One rule of a document. It judges calls that `when` meets, unless its condition is false."""

    rule_id: str
    pointer: str
    when: str
    condition: Condition | None
    test: After | AtMost | Sum | Taint | NotFrom
    regexes: int = 0
    inline: bool = False  # it came with a call: whatever it remembers leaves with that call's session

    def judges(self, name: ResourceName) -> bool:
        """Return whether calls of a resource are judged by this rule, its condition aside."""
        return restricts(self.when, name)

    def marks(self, name: ResourceName) -> bool:
        """Return whether a call of this resource can satisfy the rule (`after`) or trigger it (`tainted_by`)."""
        if isinstance(self.test, After):
            return grants(self.test.resource, name)
        return isinstance(self.test, Taint) and restricts(self.test.source, name)


class Write(NamedTuple):
    """A cell to be written when the call is allowed; whether it leaves with the session, however that ends."""

    key: bytes
    cell: Cell
    of_session: bool = False


class Mark(NamedTuple):
    """A cell to be written when the call has ended well: that it did, and for how long that counts."""

    key: bytes
    within_ms: int | None


# ---- reading


def parse_sequence(
    value: JSONValue, pointer: str, regexes: Regexes, *, provenance: bool = True
) -> tuple[SequenceRule, ...]:
    """Return the rules of a document. `provenance` says that it may have rules on where a value came from.

    Raises:
        PolicyError: at the first fault in the order of the text.
    """
    rules = as_list(value, pointer, items_max=limits.SEQUENCE_RULES_MAX)
    found: dict[str, SequenceRule] = {}
    for at, rule in enumerate(rules):
        here = pointer_to(pointer, at)
        read = _rule(as_object(rule, here), here, regexes, provenance=provenance and not regexes.inline)
        if read.rule_id in found:
            raise PolicyError("E_SEQUENCE", here)
        found[read.rule_id] = read
    return tuple(found.values())


def with_constants(
    rules: tuple[SequenceRule, ...], parameters: tuple[ParameterConstraint, ...]
) -> tuple[SequenceRule, ...]:
    """Return the rules of a document, those on where a value came from with the values that the document lists."""
    constants = constants_of(parameters)
    return tuple(
        replace(one, test=replace(one.test, constants=constants)) if isinstance(one.test, NotFrom) else one
        for one in rules
    )


def _rule(rule: dict[str, JSONValue], pointer: str, regexes: Regexes, *, provenance: bool) -> SequenceRule:
    unknown = frozenset() if provenance else _BEFORE_PROVENANCE
    kinds = [kind for kind in rule if kind in _KINDS - unknown]
    allowed = frozenset({"id", "when", "if"}).union(*(_MEMBERS[kind] for kind in kinds))
    for name in rule:
        if name not in allowed:
            known = name not in unknown and any(name in members for members in _MEMBERS.values())
            raise PolicyError("E_SEQUENCE" if known else "E_UNKNOWN_FIELD", pointer_to(pointer, name))
    if len(kinds) != 1 or "id" not in rule or "when" not in rule:
        raise PolicyError("E_SEQUENCE", pointer)
    rule_id = as_label(rule["id"], pointer_to(pointer, "id"), chars_max=_ID_CHARS_MAX)
    if not rule_id:
        raise PolicyError("E_SEQUENCE", pointer_to(pointer, "id"))
    when = _pattern(rule["when"], pointer_to(pointer, "when"))
    condition, count = None, 0
    if "if" in rule:
        here = pointer_to(pointer, "if")
        parsed = parse_expression(as_text(rule["if"], here), here, regexes)
        condition, count = compile_condition(parsed.expression), parsed.regexes
    test = _test(kinds[0], rule, pointer)
    if regexes.inline and isinstance(test, AtMost | Sum) and not test.per_session and test.window_ms is None:
        # Nothing would ever end what it remembers, and whoever calls could have more of it remembered with each call.
        raise PolicyError("E_SEQUENCE", pointer)
    return SequenceRule(
        rule_id=rule_id,
        pointer=pointer,
        when=when,
        condition=condition,
        test=test,
        regexes=count,
        inline=regexes.inline,
    )


def _test(kind: str, rule: dict[str, JSONValue], pointer: str) -> After | AtMost | Sum | Taint | NotFrom:
    here = pointer_to(pointer, kind)
    value = rule[kind]
    if kind == "after":
        return _after(as_object(value, here), here)
    if kind == "tainted_by":
        source = _pattern(value, here)
        if "require" not in rule:
            return Taint(source=source, require=None)
        return Taint(source=source, require=parse_key(rule["require"], pointer_to(pointer, "require")))
    if kind == "not_from":
        return _not_from(rule, _pattern(value, here), pointer)
    per_session, window_ms = _per(rule, pointer), _window(rule, pointer)
    if kind == "at_most":
        count = as_integer(value, here, low=1, high=limits.RATE_MAX, code="E_SEQUENCE")
        return AtMost(count=count, per_session=per_session, window_ms=window_ms)
    if "max" not in rule:
        raise PolicyError("E_SEQUENCE", pointer)
    most = as_number(rule["max"], pointer_to(pointer, "max"))
    place = parse_path(as_text(value, here), here)
    return Sum(place=place, most=most, per_session=per_session, window_ms=window_ms)


def _not_from(rule: dict[str, JSONValue], source: str, pointer: str) -> NotFrom:
    places = parse_places(rule.get("argument", ANYWHERE), pointer_to(pointer, "argument"))
    otherwise = parse_key(rule["else"], pointer_to(pointer, "else")) if "else" in rule else None
    here = pointer_to(pointer, "unless_cleared_by")
    cleared_by = parse_verifier(rule["unless_cleared_by"], here) if "unless_cleared_by" in rule else ""
    return NotFrom(source=source, places=places, otherwise=otherwise, cleared_by=cleared_by)


def _after(after: dict[str, JSONValue], pointer: str) -> After:
    for name in after:
        if name not in {"resource", "same", "within"}:
            raise PolicyError("E_UNKNOWN_FIELD", pointer_to(pointer, name))
    if "resource" not in after:
        raise PolicyError("E_SEQUENCE", pointer)
    within = pointer_to(pointer, "within")
    return After(
        resource=_pattern(after["resource"], pointer_to(pointer, "resource")),
        same=tuple(_pairs(after.get("same", []), pointer_to(pointer, "same"))),
        within_ms=_seconds(after["within"], within) if "within" in after else None,
    )


def _pairs(value: JSONValue, pointer: str) -> Iterator[tuple[ParsedPath, ParsedPath]]:
    for at, pair in enumerate(as_list(value, pointer, items_max=limits.SEQUENCE_SAME_MAX)):
        here = pointer_to(pointer, at)
        paths = as_list(pair, here, items_max=2)
        if len(paths) != 2:
            raise PolicyError("E_SEQUENCE", here)
        ours, theirs = (parse_path(as_text(path, here), here) for path in paths)
        yield ours, theirs


def _per(rule: dict[str, JSONValue], pointer: str) -> bool:
    if "per" not in rule:
        raise PolicyError("E_SEQUENCE", pointer)
    return as_choice(rule["per"], pointer_to(pointer, "per"), {"session", "user"}) == "session"


def _window(rule: dict[str, JSONValue], pointer: str) -> int | None:
    if "window" not in rule:
        return None
    here = pointer_to(pointer, "window")
    return DAY_MS if rule["window"] == "day" else _seconds(rule["window"], here)


def _seconds(value: JSONValue, pointer: str) -> int:
    return 1000 * as_integer(value, pointer, low=1, high=limits.TIME_TO_LIVE_SECONDS_MAX, code="E_SEQUENCE")


def _pattern(value: JSONValue, pointer: str) -> str:
    pattern = as_text(value, pointer)
    check_pattern(pattern, pointer)
    return pattern


# ---- judging


class Judged(NamedTuple):
    """The result of one rule for a call: a reason to deny, a cell to write, or a key that is required now."""

    reason: str = ""
    write: Write | None = None
    require: str | None = None
    applies: bool = True
    origin: str = ""  # the place in the log that a denied value was heard from


def judge_rule(rule: SequenceRule, policy_id: str, call: Evaluation) -> Judged:
    """Judge a call that the rule's `when` meets."""
    if rule.condition is not None and rule.condition(call) is False:
        return Judged(applies=False)
    return _judged(rule, policy_id, call)


def _judged(rule: SequenceRule, policy_id: str, call: Evaluation) -> Judged:
    test = rule.test
    match test:
        case After():
            return Judged() if _came_before(rule, test, policy_id, call) else Judged("SEQUENCE_MISSING")
        case Taint():
            return _tainted(rule, test, policy_id, call)
        case NotFrom():
            return _came_from(test, call)
        case AtMost():
            return _counted(rule, test, policy_id, call, NOTHING)
        case Sum():
            values = reached(call.parameters, test.place, call.work)
            numbers = [value for value in values if type(value) is int or type(value) is float]
            # Nothing is ever given back: a negative amount is no amount.
            if not values or len(numbers) < len(values) or any(number < 0 for number in numbers):
                return Judged("SEQUENCE_TOTAL")
            spend(call.work, limits.AMOUNT_UNITS * len(numbers))
            return _counted(rule, test, policy_id, call, added(map(amount, numbers)))


def _came_before(rule: SequenceRule, test: After, policy_id: str, call: Evaluation) -> bool:
    same = _same([ours for ours, _ in test.same], call)
    if same is None:
        return False
    cell = call.tables.cells(_cell_key(policy_id, rule.rule_id, "after", call.session.session_id, same))
    return cell is not None and (test.within_ms is None or call.now < cell.at + test.within_ms)


def _same(places: list[ParsedPath], call: Evaluation) -> bytes | None:
    """Return the digest of the values at some paths, None where one of them is absent or cannot be reached."""
    found: list[list[object]] = []
    for place in places:
        values = reached(call.parameters, place, call.work)
        if not values or MISMATCH in values:
            return None
        found.append(values)
    written = equality_key(found, call.work)
    # No key: it cannot be written down, or normalising it would take too long.
    return hashlib.sha256(written).digest() if isinstance(written, bytes) and written else None


def _tainted(rule: SequenceRule, test: Taint, policy_id: str, call: Evaluation) -> Judged:
    sessions = dict.fromkeys((call.session.session_id, *call.session.chain))
    keys = (_cell_key(policy_id, rule.rule_id, "taint", session) for session in sessions)
    if not any(call.tables.cells(key) is not None for key in keys):
        return Judged()
    return Judged("SEQUENCE_TAINT") if test.require is None else Judged(require=test.require)


def _came_from(test: NotFrom, call: Evaluation) -> Judged:
    origin = origin_of(test, call)
    if not origin or test.otherwise is not None:
        return Judged(require=test.otherwise if origin else None)
    return Judged("SEQUENCE_PROVENANCE", origin=origin)


def _counted(rule: SequenceRule, test: AtMost | Sum, policy_id: str, call: Evaluation, spent: Decimal) -> Judged:
    who = call.session.session_id if test.per_session else fold(call.subject.principal)
    key = _cell_key(policy_id, rule.rule_id, "session" if test.per_session else "user", who)
    window = call.now // test.window_ms if test.window_ms is not None else 0
    cell = call.tables.cells(key)
    before = cell if cell is not None and cell.window == window else Cell(window, 0, NOTHING, 0, 0)
    count, total = before.calls + 1, added([spent], before.total)
    if isinstance(test, AtMost) and count > test.count:
        return Judged("SEQUENCE_LIMIT")
    if isinstance(test, Sum) and total > amount(test.most):
        return Judged("SEQUENCE_TOTAL")
    of_session = test.per_session or rule.inline
    until = call.session.lasts_until if of_session else FOR_EVER
    if test.window_ms is not None:
        until = min(until, (window + 1) * test.window_ms)
    return Judged(write=Write(key, Cell(window, count, total, call.now, until), of_session))


def marks_of(rule: SequenceRule, policy_id: str, call: Evaluation) -> Write | Mark | None:
    """Return the mark of an allowed call for a rule that `marks` it, or None."""
    test, session = rule.test, call.session
    if isinstance(test, Taint):
        key = _cell_key(policy_id, rule.rule_id, "taint", session.session_id)
        known = call.tables.cells(key) is not None
        # A published rule's taint outlives the session that closes: what it had delegated stays tainted.
        return None if known else Write(key, Cell(0, 1, NOTHING, call.now, session.lasts_until), rule.inline)
    assert isinstance(test, After)  # INVARIANT: the other kinds mark nothing
    same = _same([theirs for _, theirs in test.same], call)
    if same is None:
        return None
    return Mark(_cell_key(policy_id, rule.rule_id, "after", session.session_id, same), test.within_ms)


def _cell_key(policy_id: str, rule_id: str, scope: str, who: str, more: bytes = b"") -> bytes:
    parts = (policy_id.encode(), rule_id.encode(), scope.encode(), who.encode(), more)
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()
