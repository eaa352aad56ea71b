"""`masked_parameters`: parameters in which values are blanked before their tool gets them (docs/mapl.md 4).

    {"constraints": {"masked_parameters": {"tool:crm/note": ["text"]}}}

Here is only judged whether a call may be masked so: whether each place that a path reaches is one that the tool's own
declaration calls maskable. Without a declaration none is, so an answer without an execution is a denial.
`processors.calls.masking` blanks the values.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from processors.policy import limits
from processors.policy.evaluation import Parameters, Work, spend
from processors.policy.json_types import as_list, as_text, document_order, pointer_to
from processors.policy.listed import by_operation
from processors.policy.paths import ANYWHERE, ParsedPath, Step, is_called, leads_to, parse_path
from processors.proof.jcs import JSONValue
from processors.text.characters import utf8_size
from processors.text.forms import nfc

_TYPE, _NOT_MASKABLE = "PARAM_TYPE", "PARAM_NOT_MASKABLE"

Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedParameters:
    """The paths at which calls of the operations that `opkey` meets are masked; `*` is every parameter."""

    opkey: str
    pointer: str
    paths: tuple[str, ...] = field(compare=False)


class MaskJudged(NamedTuple):
    """The answer on one path: a reason to deny, or an empty text, and whether the path leads to a value of the call."""

    reason: str
    reaches: bool


def parse_masked_parameters(value: JSONValue, pointer: str) -> tuple[MaskedParameters, ...]:
    """Return the paths of `masked_parameters`, in document order.

    Raises:
        PolicyError: at the first fault in the order of the text.
    """
    found = [_masked(opkey, paths, here) for opkey, paths, here in by_operation(value, pointer)]
    return tuple(sorted(found, key=lambda one: document_order(one.opkey)))


def _masked(opkey: str, value: JSONValue, here: str) -> MaskedParameters:
    paths = []
    for at, path in enumerate(as_list(value, here, items_max=limits.PATHS_MAX)):
        there = pointer_to(here, at)
        paths.append(as_text(path, there))
        if paths[-1] != ANYWHERE:
            parse_path(paths[-1], there)
    return MaskedParameters(opkey=opkey, pointer=here, paths=tuple(paths))


def judge_mask(path: str, parameters: Parameters, maskable: Sequence[str], work: Work) -> MaskJudged:
    """Judge whether a call may be masked at a path. `maskable` are the paths of the executing tool's declaration.

    Raises:
        WorkExceededError.
    """
    places = _places(path, parameters, work)
    if places is None:
        return MaskJudged(_TYPE, reaches=True)
    spend(work, limits.REACHED_VALUE_UNITS * len(places) * (1 + len(maskable)))
    if any(covering(maskable, steps) is None for steps in places):
        return MaskJudged(_NOT_MASKABLE, reaches=True)
    return MaskJudged("", reaches=bool(places))


def covering(paths: Sequence[str], steps: Steps) -> str | None:
    """Return the first of some paths that leads to a place, or to a value around it; None if none does."""
    return next((path for path in paths if is_within(path, steps)), None)


def is_within(path: str, steps: Steps) -> bool:
    """Return whether a path leads to a place, or to a value around it; `*` leads everywhere."""
    if path == ANYWHERE:
        return bool(steps)
    place = _parsed(path)
    return leads_to(place, steps[: len(place.steps)])


def is_named(path: str, steps: Steps) -> bool:
    """Return whether a policy's path means a place: as `is_within`, or below the member that is called like it."""
    if is_within(path, steps):
        return True
    return bool(steps) and isinstance(steps[0], str) and is_called(_parsed(path).path, steps[0])


@functools.lru_cache(maxsize=1024)
def _parsed(path: str) -> ParsedPath:
    return parse_path(nfc(path), "")


def _places(path: str, parameters: Parameters, work: Work) -> list[Steps] | None:
    """Return every place that a path leads to, None where it leads through a value of a wrong type."""
    own: Mapping[str, JSONValue] = dict(parameters)  # the stamps of verifiers are no parameter
    if path == ANYWHERE:
        return [(name,) for name in own]
    place = _parsed(path)
    found: list[tuple[Steps, object]] = [((), own)]
    for step in place.steps:
        further: list[tuple[Steps, object]] = []
        for steps, value in found:
            inside = _inside(value, step, work)
            if inside is None:
                return None
            further += [((*steps, key), one) for key, one in inside]
        found = further
        spend(work, limits.REACHED_VALUE_UNITS * len(found))
    literal = [(place.path,)] if len(place.steps) > 1 and place.path in own else []
    return [*literal, *(steps for steps, _ in found)]


def _inside(value: object, step: Step, work: Work) -> Sequence[tuple[str | int, object]] | None:
    """Return the members or items that a step leads to, by their own names; None for a value of a wrong type."""
    if isinstance(step, str):
        if not isinstance(value, dict):
            return None
        if step in value:
            return [(step, value[step])]
        names = "".join(value)
        spend(
            work, limits.NAME_UNITS * len(value) + limits.TEXT_BYTE_UNITS * (0 if names.isascii() else utf8_size(names))
        )
        return [] if names.isascii() else [(name, one) for name, one in value.items() if nfc(name) == step]
    if not isinstance(value, list):
        return None
    if isinstance(step, int):
        return [(step, value[step])] if step < len(value) else []
    return list(enumerate(value))
