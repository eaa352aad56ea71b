"""`masked_parameters` (docs/mapl.md 4): which places a path means, and whether the tool lets them be masked.

Written from the places themselves: each is the list of names and indexes that lead to it.
"""

from tests.reference.mapl.paths import Path, parse_path
from tests.reference.mapl.specs import EVERYWHERE, MaskedCheck

Place = list[str | int]


def mask_fault(check: MaskedCheck, params: dict[str, object], maskable: list[str]) -> str | None:
    """A path through a wrong type is PARAM_TYPE; a place that the tool does not declare is PARAM_NOT_MASKABLE."""
    found = places(check, params)
    if found is None:
        return "PARAM_TYPE"
    return None if all(is_declared(place, maskable) for place in found) else "PARAM_NOT_MASKABLE"


def is_masked(check: MaskedCheck, params: dict[str, object]) -> bool:
    """Whether a path means any place of a call."""
    return bool(places(check, params))


def places(check: MaskedCheck, params: dict[str, object]) -> list[Place] | None:
    """Every place that a path means, None if a step goes through a value of the wrong type."""
    if check.path is None:
        return [[name] for name in params]
    literal: list[Place] = [[check.text]] if len(check.path.steps) > 1 and check.text in params else []
    found = walked(check.path.steps, params)
    return None if found is None else literal + found


def walked(steps: list[tuple[str, str | int]], value: object) -> list[Place] | None:
    if not steps:
        return [[]]
    (kind, step), rest = steps[0], steps[1:]
    if not isinstance(value, dict if kind == "name" else list):
        return None
    inside: list[tuple[str | int, object]] = list(value.items() if isinstance(value, dict) else enumerate(value))
    found: list[Place] = []
    for key, member in inside:
        if kind == "every" or key == step:
            below = walked(rest, member)
            if below is None:
                return None
            found += [[key, *place] for place in below]
    return found


def is_declared(place: Place, maskable: list[str]) -> bool:
    """A declared path lets everything at it and below it be masked."""
    return any(text == EVERYWHERE or begins(parse_path(text, ""), place) for text in maskable)


def begins(path: Path, place: Place) -> bool:
    return len(path.steps) <= len(place) and all(
        isinstance(at, int) if kind == "every" else at == step
        for (kind, step), at in zip(path.steps, place, strict=False)
    )
