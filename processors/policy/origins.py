"""Rules on where the value of an argument came from (docs/mapl.md 14, `not_from`).

    {"id": "iban", "when": "tool:bank/pay", "argument": "recipient", "not_from": "tool:web/*",
     "unless_cleared_by": "verifier:stackone"}

The values are the texts and numbers of the arguments that the rule names, at any depth, and names of members in them. A
list in which a text is short counts also as one text: letters one by one, or an address in parts. A value that the
rule's own document lists among the `allowed_values` of its parameter is a constant of its author, and passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from processors.policy import limits
from processors.policy.errors import PolicyError
from processors.policy.evaluation import Evaluation, Heard, Unseen, Work, seen, spend
from processors.policy.globs import restricting
from processors.policy.json_types import as_list, as_text, pointer_to
from processors.policy.parameter_checks import equality_key
from processors.policy.paths import ANYWHERE, ParsedPath, leads_to, parse_path
from processors.policy.specs import ParameterConstraint
from processors.policy.stamped import is_stamp_name
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.text.words import SHORT_CHARS


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFrom:
    """A value of some arguments must not come from a source; no places stand for every argument.

    `otherwise` is the key of an approval or attestation that such a call needs, None where it is denied. `constants`
    are the constraints of the rule's document that list values. `cleared_by` is the prefix of a verifier outside: a
    result that it has passed is no source; "" for none.
    """

    source: str
    places: tuple[ParsedPath, ...]
    otherwise: str | None
    constants: tuple[ParameterConstraint, ...] = ()
    cleared_by: str = ""


class GivenValue(NamedTuple):
    """A text or number of a call's arguments, or texts that count as one, with the names and indexes to it."""

    steps: tuple[str | int, ...]
    value: object


def parse_places(value: JSONValue, pointer: str) -> tuple[ParsedPath, ...]:
    """Return the places that `argument` names; none for `*`. Raises PolicyError."""
    if isinstance(value, str):
        return () if value == ANYWHERE else (parse_path(value, pointer),)
    paths = as_list(value, pointer, items_max=limits.SEQUENCE_ARGUMENTS_MAX)
    if not paths:
        raise PolicyError("E_SEQUENCE", pointer)
    places = [(as_text(path, pointer_to(pointer, at)), pointer_to(pointer, at)) for at, path in enumerate(paths)]
    return tuple(parse_path(path, here) for path, here in places)


def parse_verifier(value: JSONValue, pointer: str) -> str:
    """Return the prefix of the verifier that `unless_cleared_by` names. Raises PolicyError."""
    domain, colon, prefix = as_text(value, pointer).partition(":")
    if (domain, colon) != ("verifier", ":") or not is_stamp_name(prefix):
        raise PolicyError("E_SEQUENCE", pointer)
    return prefix


def constants_of(parameters: Iterable[ParameterConstraint]) -> tuple[ParameterConstraint, ...]:
    """Return the constraints that list values."""
    return tuple(one for one in parameters if one.allowed)


def origin_of(test: NotFrom, call: Evaluation) -> str:
    """Return the place in the log that a value of a call was heard from, "" where none was.

    Raises:
        WorkExceededError: the arguments are too large to be looked through.
        BodyUnseenError: a text came from the source, and one of these values travels beside the call.
    """
    heard = call.tables.heard.from_resources(test.source, call.work, cleared_by=test.cleared_by)
    if heard is None:
        return ""
    for leaf in _leaves(call.parameters, test.places, call.work):
        if isinstance(leaf.value, list):
            parts = [one for one in leaf.value if one]
            found = "" if _are_constants(leaf, test, call) else heard.origin_of_parts(parts, call.work)
        else:
            found = _heard_from(leaf, test, call, heard)
        if found:
            return found
    return ""


def _are_constants(leaf: GivenValue, test: NotFrom, call: Evaluation) -> bool:
    values: list[object] = leaf.value  # type: ignore[assignment]
    return all(_is_constant(GivenValue((*leaf.steps, at), one), test, call) for at, one in enumerate(values))


def _heard_from(leaf: GivenValue, test: NotFrom, call: Evaluation, heard: Heard) -> str:
    value = seen(leaf.value)
    text = value if isinstance(value, str) else jcs.canonical(value).decode()
    found = heard.origin(text, call.work, exact=bool(test.places))
    return "" if found and _is_constant(leaf, test, call) else found


def _is_constant(leaf: GivenValue, test: NotFrom, call: Evaluation) -> bool:
    """Return whether the author of the rule lists this very value for its parameter."""
    if isinstance(leaf.value, str) and ANYWHERE in leaf.value:
        return False
    own = equality_key(leaf.value, call.work)
    for one in test.constants:
        meets = restricting(one.opkey)
        if leads_to(one.place, leaf.steps) and any(map(meets, call.name.spellings)):
            spend(call.work, limits.ITEM_UNITS * len(one.allowed or ()))
            if own and any(equality_key(item) == own for item in one.allowed or ()):
                return True
    return False


# ---- the values of a call


def _leaves(parameters: Mapping[str, JSONValue], places: Sequence[ParsedPath], work: Work) -> Iterator[GivenValue]:
    """Yield the texts and numbers at some places, in order, names of members there, and lists of parts of a text.

    Where no place is named, the name of a member is a value only if it does not look like one of a schema, or if there
    is nothing but the name: the names that a tool's schema gives stand in many results.
    """
    waiting: list[tuple[tuple[str | int, ...], object]] = [
        ((name,), parameters[name]) for name in reversed([*parameters])
    ]
    while waiting:
        steps, value = waiting.pop()
        spend(work, limits.REACHED_VALUE_UNITS * (1 + len(places)))
        if isinstance(value, dict):
            if len(steps) > 0 and _is_within(steps, places):
                yield from (
                    GivenValue(steps, name)
                    for name, inner in value.items()
                    if places or not _is_plain_name(name) or _is_nothing(inner)
                )
            waiting += [((*steps, name), one) for name, one in reversed(value.items())]
        elif isinstance(value, list):
            if _are_parts(value) and _is_within(steps, places):
                yield GivenValue(steps, value)
            waiting += [((*steps, at), value[at]) for at in range(len(value) - 1, -1, -1)]
        elif type(value) in _VALUES and _is_within(steps, places):
            yield GivenValue(steps, value)


_VALUES = frozenset({str, int, float, Unseen})


def _is_within(steps: tuple[str | int, ...], places: Sequence[ParsedPath]) -> bool:
    if not places:
        return True
    if any(leads_to(place, steps[: len(place.steps)]) for place in places):
        return True
    return any(place.path == steps[0] for place in places)  # a member that is called like the whole path


def _is_nothing(value: object) -> bool:
    return value is None or isinstance(value, bool) or value in ({}, [])


def _are_parts(values: list[object]) -> bool:
    """Return whether a list may be a text in parts: only texts, and one of them as short as a part is."""
    if not all(isinstance(one, str) for one in values):
        return False
    sizes = [len(one) for one in values if one]  # type: ignore[arg-type]
    return len(sizes) > 1 and min(sizes) <= SHORT_CHARS


def _is_plain_name(name: str) -> bool:
    """Return whether the name of a member is one that a schema gives: letters, and nothing that a value needs."""
    return name.isascii() and name.replace("_", "a").isalpha()
