"""Sequence rules, judged on one call (docs/mapl.md 14)."""

from fractions import Fraction

from tests.reference.mapl.conditions import Scope, applies
from tests.reference.mapl.hearing import Constants, is_heard
from tests.reference.mapl.jsontext import is_number, json_equal, json_text
from tests.reference.mapl.names import grants, restricts
from tests.reference.mapl.paths import Path, reach
from tests.reference.mapl.sequences import Rule
from tests.reference.mapl.world import Call, Past, World

CellKey = tuple[str, str, str, str]  # policy_id, rule id, scope, the session's or user's id
CellWrite = tuple[CellKey, int, Fraction]


def rule_is_met(rule: Rule, resource: str, scope: Scope) -> bool:
    """Only calls met by the document's own `when` are judged, and of those the ones whose `if` is not false."""
    return restricts(rule.when, resource) and applies(rule.condition, scope)


def rule_fault(
    policy_id: str, rule: Rule, world: World, call: Call, scope: Scope,
    constants: Constants, *, required: bool = False,
) -> str | None:  # fmt: skip
    """The reason of a broken rule. One with `require` or `else` is judged where attestations are (`required`)."""
    match rule.kind:
        case "after":
            return None if any(is_after(rule, past, call, scope) for past in world.history) else "SEQUENCE_MISSING"
        case "at_most":
            _, counted = cell_of(policy_id, rule, world, call, scope)
            return None if counted + 1 <= rule.at_most else "SEQUENCE_LIMIT"
        case "sum":
            amount = amount_of(rule, scope)
            _, total = cell_of(policy_id, rule, world, call, scope)
            return None if amount is not None and total + amount <= decimal_of(rule.max) else "SEQUENCE_TOTAL"
        case "not_from":
            heard = is_heard(rule, constants, world, call, scope.params)
            return "SEQUENCE_PROVENANCE" if heard and (rule.require is None or required) else None
        case _:
            tainted = is_tainted(rule, world, call)
            return "SEQUENCE_TAINT" if tainted and (rule.require is None or required) else None


def is_after(rule: Rule, past: Past, call: Call, scope: Scope) -> bool:
    """An `ok` result in the same session, of a resource in grant position, recent enough, with the same values."""
    if past.result != "ok" or past.session != call.session or not grants(rule.resource, past.resource):
        return False
    if rule.within is not None and call.now >= past.result_at + 1000 * rule.within:
        return False
    return all(is_same(here, scope.params, there, past.params) for here, there in rule.same)


def is_same(here: Path, params: dict[str, object], there: Path, past_params: dict[str, object]) -> bool:
    """Both paths reach exactly one value, and the two are equal as JSON."""
    one, other = reach(here, params).values, reach(there, past_params).values
    return len(one) == 1 and len(other) == 1 and json_equal(one[0], other[0])


def is_tainted(rule: Rule, world: World, call: Call) -> bool:
    """A tainting call was allowed in one of the sessions of the chain."""
    sessions = {call.session, *call.chain_sessions}
    return any(past.session in sessions and restricts(rule.tainted_by, past.resource) for past in world.history)


def cell_of(policy_id: str, rule: Rule, world: World, call: Call, scope: Scope) -> tuple[int, Fraction]:
    """The current window and what it holds so far. Windows are fixed cells: UTC day, or floor(now/s)."""
    window = 0 if rule.window is None else call.now // 1000 // rule.window
    stored_window, amount = world.cells.get(cell_key(policy_id, rule, call, scope), (window, Fraction(0)))
    return window, amount if stored_window == window else Fraction(0)


def cell_key(policy_id: str, rule: Rule, call: Call, scope: Scope) -> CellKey:
    owner = call.session if rule.per == "session" else str(scope.principal.get("user", ""))
    return policy_id, rule.rule_id, rule.per, owner


def decimal_of(number: float) -> Fraction:
    """The decimal that JSON writes for a double: 0.1 is a tenth (ADR 0016)."""
    return Fraction(json_text(number))


def amount_of(rule: Rule, scope: Scope) -> Fraction | None:
    """The exact sum of what the path reaches. Absent, not a number or below zero (it would return something): None."""
    assert rule.sum is not None
    reached = reach(rule.sum, scope.params)
    if reached.mismatch or not reached.values or not all(is_number(v) and v >= 0 for v in reached.values):  # type: ignore[operator]
        return None
    return sum((decimal_of(value) for value in reached.values), Fraction(0))  # type: ignore[arg-type]


def rule_writes(policy_id: str, rule: Rule, world: World, call: Call, scope: Scope) -> list[CellWrite]:
    if rule.kind not in {"at_most", "sum"}:
        return []
    window, amount = cell_of(policy_id, rule, world, call, scope)
    added = Fraction(1) if rule.kind == "at_most" else amount_of(rule, scope)
    return [(cell_key(policy_id, rule, call, scope), window, amount + (added or 0))]
