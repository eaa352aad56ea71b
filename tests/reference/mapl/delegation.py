"""Delegation scopes, at the grant and at use (docs/mapl.md 11)."""

from dataclasses import dataclass

from tests.reference.mapl.fields import array_of, number_of, object_of, patterns_of, string_of, time_of
from tests.reference.mapl.jsontext import is_number, json_equal
from tests.reference.mapl.names import grants, last_segment
from tests.reference.mapl.refusals import RefusedError, below
from tests.reference.mapl.text import nfc_tree
from tests.reference.mapl.world import Call, Hop

HOPS_MAX = 8


@dataclass
class Scope:
    resources: list[str] | None = None
    operations: list[str] | None = None
    max_amount: float | None = None
    window: tuple[int, int] | None = None
    ticket_ids: list[object] | None = None


@dataclass
class BrokenHop:
    reason: str
    hop: int


def parse_scope(value: object) -> Scope:
    """Raises RefusedError DELEGATION_FORM. At least one of resources and operations, and none of them empty."""
    try:
        scope = read_scope(nfc_tree(value))
    except RefusedError as error:
        raise RefusedError("DELEGATION_FORM", error.pointer) from None
    if (scope.resources is None and scope.operations is None) or scope.resources == [] or scope.operations == []:
        raise RefusedError("DELEGATION_FORM")
    return scope


def read_scope(value: object) -> Scope:
    scope = Scope()
    for name, member in object_of(value, "").items():
        at = below("", name)
        match name:
            case "resources":
                scope.resources = patterns_of(member, at)
            case "operations":
                scope.operations = [string_of(item, at) for item in array_of(member, at)]
            case "conditions":
                for condition, argument in object_of(member, at).items():
                    read_condition(scope, condition, argument, below(at, condition))
            case _:
                raise RefusedError("E_UNKNOWN_FIELD", at)
    return scope


def read_condition(scope: Scope, name: str, argument: object, pointer: str) -> None:
    match name:
        case "max_amount":
            scope.max_amount = number_of(argument, pointer)
        case "ticket_ids":
            scope.ticket_ids = array_of(argument, pointer)
        case "time_window":
            members = object_of(argument, pointer)
            if set(members) != {"start", "end"}:
                raise RefusedError("E_UNKNOWN_FIELD", pointer)
            scope.window = (time_of(members["start"], pointer), time_of(members["end"], pointer))
        case _:
            raise RefusedError("E_UNKNOWN_FIELD", pointer)


def grant_refusal(hops: list[Hop], now: int) -> str | None:  # noqa: PLR0911
    """What refuses the last hop as a new DelegationGranted under the ones before it; in the order of section 11."""
    new, parents = hops[-1], hops[:-1]
    if new.delegator == new.delegate:
        return "DELEGATION_SELF"
    if new.delegate in {name for hop in parents for name in (hop.delegator, hop.delegate)}:
        return "DELEGATION_CYCLE"
    if len(hops) > HOPS_MAX:
        return "DELEGATION_DEPTH"
    if new.expires <= now or (parents and new.expires > parents[-1].expires):
        return "DELEGATION_EXPIRED"
    if parents and (parents[-1].delegate != new.delegator or parents[-1].revoked or parents[-1].expires <= now):
        return "DELEGATION_PARENT"
    try:
        parse_scope(new.scope)
    except RefusedError as error:
        return error.code
    return None


def use_refusal(call: Call, kinds: list[object], resource: str, params: dict[str, object]) -> BrokenHop | None:
    """Section 12: REVOKED, EXPIRED, BROKEN, DEPTH, SCOPE, CONDITION; first code, then hop from the root.

    `kinds` are the `type` attributes of the call's subjects.
    """
    hops = call.delegation
    found = [BrokenHop("DELEGATION_REVOKED", i) for i, hop in enumerate(hops) if hop.revoked]
    found += [BrokenHop("DELEGATION_EXPIRED", i) for i, hop in enumerate(hops) if call.now >= hop.expires]
    found += [BrokenHop("DELEGATION_BROKEN", i) for i in broken_hops(call, kinds)]
    found += [BrokenHop("DELEGATION_DEPTH", i) for i in range(HOPS_MAX, len(hops))]
    if found:
        return found[0]
    scopes = [parse_scope(hop.scope) for hop in hops]
    found += [BrokenHop("DELEGATION_SCOPE", i) for i, s in enumerate(scopes) if not in_scope(s, resource)]
    unmet = [i for i, s in enumerate(scopes) if not conditions_hold(s, params, call.now)]
    found += [BrokenHop("DELEGATION_CONDITION", i) for i in unmet]
    return found[0] if found else None


def broken_hops(call: Call, kinds: list[object]) -> list[int]:
    """The chain must lead from subject to subject and end at the signer; a bound call has one hop, to a service."""
    hops = call.delegation
    broken = []
    for i, hop in enumerate(hops):
        try:
            parse_scope(hop.scope)
        except RefusedError:
            broken.append(i)
            continue
        if call.subjects[i : i + 2] != [hop.delegator, hop.delegate]:
            broken.append(i)
    if not broken and len(call.subjects) != len(hops) + 1:
        broken.append(len(hops))
    if not broken and call.bound and (len(hops) != 1 or kinds[1] != "service"):
        broken.append(0)
    return broken


def in_scope(scope: Scope, resource: str) -> bool:
    """Resources in grant position; operations are the exact last segment of the name. What is absent defers."""
    by_resource = scope.resources is None or any(grants(pattern, resource) for pattern in scope.resources)
    by_operation = scope.operations is None or last_segment(resource) in scope.operations
    return by_resource and by_operation


def conditions_hold(scope: Scope, params: dict[str, object], now: int) -> bool:
    """Conditions fail closed on absence."""
    if scope.max_amount is not None:
        amount = params.get("amount")
        if not is_number(amount) or amount > scope.max_amount:  # type: ignore[operator]
            return False
    if scope.ticket_ids is not None:
        presented = [params["ticket_id"]] if "ticket_id" in params else []
        if not any(json_equal(ticket, listed) for ticket in presented for listed in scope.ticket_ids):
            return False
    return scope.window is None or scope.window[0] <= now < scope.window[1]
