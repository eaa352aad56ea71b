"""Paths to parameters: `a`, `a.b`, `a[0]`, `a[*].b` (docs/mapl.md 3), and the values that they lead to."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import re2

from processors.policy import limits
from processors.policy.errors import PolicyError
from processors.policy.evaluation import ABSENT, Parameters, Work, member, seen, spend
from processors.text.characters import has_control
from processors.text.forms import nfc

ANYWHERE = "*"  # in denied parameters: every string and member name
_DECOMPOSED_MAX = 4  # characters that one becomes in NFD, and so those of any text that is it in NFC

_NAME = r"[^.\[\]*]+(?:\[(?:[0-9]+|\*)\])*"
_PATH = re2.compile(rf"{_NAME}(?:\.{_NAME})*")


class Every:
    """The step `[*]`."""


EVERY = Every()
MISMATCH = object()  # a step through a value of another type than it needs

Step = str | int | Every


class ParsedPath(NamedTuple):
    """A path, read. `steps` has one name where the path is a member at the top."""

    path: str
    steps: tuple[Step, ...]


def parse_path(path: str, pointer: str) -> ParsedPath:
    """Return the steps of a path. Raises PolicyError E_PARAM_PATH; also where it is too long, or has too many steps."""
    if len(path) > limits.PATH_CHARS_MAX:
        raise PolicyError("E_PARAM_PATH", pointer)
    # A star outside `[*]` is refused: it would read as a wildcard and constrain a parameter of that very name.
    if not _PATH.fullmatch(path) or has_control(path):
        raise PolicyError("E_PARAM_PATH", pointer)
    steps: list[Step] = []
    for part in path.split("."):
        name, *indexes = part.split("[")
        steps.append(name)
        for index in indexes:
            digits = index.removesuffix("]")
            if len(digits) > limits.PATH_INDEX_DIGITS_MAX:
                raise PolicyError("E_PARAM_PATH", pointer)
            steps.append(EVERY if digits == "*" else int(digits))
    if len(steps) > limits.PATH_STEPS_MAX:
        raise PolicyError("E_PARAM_PATH", pointer)
    return ParsedPath(path, tuple(steps))


def leads_to(place: ParsedPath, steps: Sequence[str | int]) -> bool:
    """Return whether a path leads to the value at these names and indexes. Requires the path's names in NFC."""
    return len(place.steps) == len(steps) and all(map(_is_step, place.steps, steps))


def is_called(name: str, taken: str) -> bool:
    """Return whether `taken` is `name`, which is in NFC. One that is too long for it is not normalised.

    Else a caller's long name would be, once for each value below it.
    """
    return taken == name or (len(taken) <= _DECOMPOSED_MAX * len(name) and nfc(taken) == name)


def _is_step(step: Step, taken: str | int) -> bool:
    if isinstance(taken, str):
        return isinstance(step, str) and is_called(step, taken)
    return step == taken if isinstance(step, int) else isinstance(step, Every)


def reached(
    parameters: Parameters, place: ParsedPath, work: Work, look: Callable[[object], object] = seen
) -> list[object]:
    """Return every value that a path leads to, MISMATCH where it leads through a value of a wrong type.

    A member at the top that is called like the whole path is one of them. Absent members and items are none. `look` is
    `evaluation.present` for a rule that asks only whether they are there.

    Raises:
        WorkExceededError: they are too many.
        BodyUnseenError: one of them travels beside the call.
    """
    found: list[object] = [parameters]
    for step in place.steps:
        found = [value for one in found for value in _step(one, step, work)]
        spend(work, limits.REACHED_VALUE_UNITS * len(found))
        if all(value is MISMATCH for value in found):
            break  # nothing is left, or nothing that the next step could go through
    literal = parameters.get(place.path, ABSENT) if len(place.steps) > 1 else ABSENT
    return list(map(look, found if literal is ABSENT else [literal, *found]))


def _step(value: object, step: Step, work: Work) -> Sequence[object]:
    if isinstance(step, str):
        if not isinstance(value, dict):
            return (MISMATCH,)
        item = member(value, step, work)
        return () if item is ABSENT else (item,)
    if not isinstance(value, list):
        return (MISMATCH,)
    if isinstance(step, int):
        return (value[step],) if step < len(value) else ()
    return value
