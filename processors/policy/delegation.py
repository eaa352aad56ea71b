"""Delegation scopes: the calls that a hop permits to its delegate (docs/mapl.md 11). Grant position throughout.

Scopes never grant: they are judged before any policy is, and each member of the chain must pass by its own policies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from processors.policy import limits
from processors.policy.errors import PolicyError
from processors.policy.evaluation import ABSENT, Work, spend
from processors.policy.json_types import as_list, as_number, as_object, as_text, pointer_to, read_object
from processors.policy.parameter_checks import equality_key
from processors.policy.patterns import ResourceName, check_pattern, grants
from processors.policy.resolve import SERVICE_TYPE, Subject
from processors.policy.times import parse_time
from processors.proof.jcs import JSONValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The bounds of a delegation. A bound of None does not restrict."""

    resources: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    max_amount: float | None = None
    window: tuple[int, int] | None = None
    ticket_ids: tuple[JSONValue, ...] | None = None

    def holds(self, name: ResourceName, parameters: Mapping[str, JSONValue], now: int, work: Work) -> bool:
        """Return whether a call is within the scope, and its conditions hold. Raises WorkExceededError."""
        return self.covers(name) and self.permits(parameters, now, work)

    @property
    def has_conditions(self) -> bool:
        """Whether it has a condition on parameters or on the time."""
        return not (self.max_amount is None and self.window is None and self.ticket_ids is None)

    def covers(self, name: ResourceName) -> bool:
        """Return whether a resource is within the scope."""
        covers = _remembered if len(name.text) <= limits.CACHED_NAME_CHARS_MAX else _covers
        return covers(self.resources, self.operations, name)

    def permits(self, parameters: Mapping[str, JSONValue], now: int, work: Work) -> bool:
        """Return whether its conditions hold. An absent value fails. Raises WorkExceededError."""
        if self.max_amount is not None:
            amount = parameters.get("amount", ABSENT)
            if type(amount) not in {int, float} or not amount <= self.max_amount:  # type: ignore[operator]
                return False
        if self.window is not None and not self.window[0] <= now < self.window[1]:
            return False
        if self.ticket_ids is None:
            return True
        ticket = parameters.get("ticket_id", ABSENT)
        if ticket is ABSENT:
            return False
        spend(work, limits.NUMBER_UNITS * len(self.ticket_ids))
        return equality_key(ticket, work) in set(map(equality_key, self.ticket_ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One delegation, as the tables have it now. `revoked` also where its delegator was."""

    delegator: str
    delegate: str
    scope: Scope
    expires_at: int
    revoked: bool = False


def parse_scope(text: bytes) -> Scope:
    """Return the scope that a delegation states.

    Raises:
        PolicyError: it is malformed, has an unknown member, or names neither resources nor operations.
    """
    if len(text) > limits.INLINE_BYTES_MAX:
        raise PolicyError("E_LIMIT", "")
    found: dict[str, object] = {}
    for name, value in read_object(text).items():
        here = pointer_to("", name)
        match name:
            case "resources":
                patterns = _texts(value, here)
                for at, pattern in enumerate(patterns):
                    check_pattern(pattern, pointer_to(here, at))
                found[name] = patterns
            case "operations":
                found[name] = _texts(value, here)
            case "conditions":
                found |= _conditions(as_object(value, here), here)
            case _:
                raise PolicyError("E_UNKNOWN_FIELD", here)
    if not found.keys() & {"resources", "operations"}:
        raise PolicyError("E_TYPE", "")
    return Scope(**found)  # type: ignore[arg-type]


def _texts(value: JSONValue, pointer: str) -> tuple[str, ...]:
    items = as_list(value, pointer, items_max=limits.INLINE_PATTERNS_MAX)
    if not items:
        raise PolicyError("E_ENUM_EMPTY", pointer)
    return tuple(as_text(item, pointer_to(pointer, at)) for at, item in enumerate(items))


def _conditions(conditions: dict[str, JSONValue], pointer: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in conditions.items():
        here = pointer_to(pointer, name)
        match name:
            case "max_amount":
                found[name] = as_number(value, here)
            case "ticket_ids":
                found[name] = tuple(as_list(value, here, items_max=limits.ENUM_MEMBERS_MAX))
            case "time_window":
                found["window"] = _window(as_object(value, here), here)
            case _:
                raise PolicyError("E_UNKNOWN_FIELD", here)
    return found


def _window(window: dict[str, JSONValue], pointer: str) -> tuple[int, int]:
    for name in window:
        if name not in {"start", "end"}:
            raise PolicyError("E_UNKNOWN_FIELD", pointer_to(pointer, name))
    if len(window) != 2:
        raise PolicyError("E_TIME", pointer)
    places = {name: pointer_to(pointer, name) for name in window}
    start, end = (parse_time(as_text(window[name], places[name]), places[name]) for name in ("start", "end"))
    return start, end


def chain_fault(
    hops: Sequence[Hop],
    subjects: Sequence[Subject],
    name: ResourceName,
    parameters: Mapping[str, JSONValue],
    now: int,
    work: Work,
    *,
    bound: bool,
) -> tuple[str, int] | None:
    """Return (reason, hop) of the first fault of a chain, by code and then from the root, or None.

    Raises WorkExceededError.

    Each hop leads from one subject of the call to the next, the root first. A bound call has one, to a service.
    """
    members = [*(hop.delegator for hop in hops[:1]), *(hop.delegate for hop in hops)]
    whole = bool(hops) and members == [subject.principal for subject in subjects]
    whole = whole and all(one.delegate == other.delegator for one, other in pairwise(hops))
    if bound:
        whole = whole and len(hops) == 1 and subjects[-1].type == SERVICE_TYPE
    short = len(hops) <= limits.DELEGATION_DEPTH_MAX
    if whole and short and all(_holds(hop, name, parameters, now, work) for hop in hops):
        return None
    checks = (
        ("DELEGATION_REVOKED", [not hop.revoked for hop in hops]),
        ("DELEGATION_EXPIRED", [now < hop.expires_at for hop in hops]),
        ("DELEGATION_BROKEN", [whole]),
        ("DELEGATION_DEPTH", [short]),
        ("DELEGATION_SCOPE", [hop.scope.covers(name) for hop in hops]),
        ("DELEGATION_CONDITION", [hop.scope.permits(parameters, now, work) for hop in hops]),
    )
    return next(((reason, held.index(False)) for reason, held in checks if False in held), None)


def _holds(hop: Hop, name: ResourceName, parameters: Mapping[str, JSONValue], now: int, work: Work) -> bool:
    alive = not hop.revoked and now < hop.expires_at
    return alive and hop.scope.holds(name, parameters, now, work)


def _covers(resources: tuple[str, ...], operations: tuple[str, ...], name: ResourceName) -> bool:
    listed = not resources or any(grants(pattern, name) for pattern in resources)
    return listed and (not operations or name.operation in operations)


_remembered = lru_cache(maxsize=limits.CACHED_SCOPES_MAX)(_covers)
