"""`allowed_parameters`: the parameters that a call may have, and no others (ADR 0016).

A path lists a value with all that is in it; its ancestors are listed only on the way to it. Names count to the
letter, as tools read them: `N` is another parameter than `n`, and a member called `a.b` is not the `b` in `a`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from processors.policy import limits
from processors.policy.errors import PolicyError
from processors.policy.evaluation import Parameters, Work, spend
from processors.policy.json_types import as_list, as_object, as_text, document_order, pointer_to
from processors.policy.paths import EVERY, ParsedPath, Step, parse_path
from processors.policy.patterns import check_pattern
from processors.proof.jcs import JSONValue
from processors.text.characters import is_printable
from processors.text.forms import nfc

_UNLISTED = "PARAM_UNLISTED"
_SHOWN_CHARS_MAX = 64  # of a name that a caller chose


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedParameters:
    """The paths that calls of the operations that `opkey` meets may have; `pointer` is the place in the document."""

    opkey: str
    pointer: str
    places: tuple[ParsedPath, ...] = field(compare=False)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths as they are written."""
        return tuple(place.path for place in self.places)


def parse_allowed_parameters(value: JSONValue, pointer: str) -> tuple[AllowedParameters, ...]:
    """Return the paths of `allowed_parameters`, in document order.

    Raises:
        PolicyError: at the first fault in the order of the text.
    """
    found = [_listed(opkey, paths, here) for opkey, paths, here in by_operation(value, pointer)]
    return tuple(sorted(found, key=lambda one: document_order(one.opkey)))


def by_operation(value: JSONValue, pointer: str) -> Iterator[tuple[str, JSONValue, str]]:
    """Yield (key of an operation, its value, pointer to it) of an object that has a member for each operation.

    Raises:
        PolicyError: at the first fault in the order of the text.
    """
    members = as_object(value, pointer)
    if len(members) > limits.OPKEYS_MAX:
        raise PolicyError("E_LIMIT", pointer)
    for opkey, inner in members.items():
        here = pointer_to(pointer, opkey)
        if not any(mark in opkey for mark in ":/*"):  # it would read as a parameter
            raise PolicyError("E_PARAM_FORM", here)
        check_pattern(opkey, here)
        yield opkey, inner, here


def _listed(opkey: str, value: JSONValue, here: str) -> AllowedParameters:
    paths = as_list(value, here, items_max=limits.PATHS_MAX)
    places = [
        parse_path(as_text(path, there), there) for at, path in enumerate(paths) if (there := pointer_to(here, at))
    ]
    return AllowedParameters(opkey=opkey, pointer=here, places=tuple(places))


class _Node:
    """A step of the listed paths: its permitted members, or all of them."""

    __slots__ = ("below", "whole")

    def __init__(self) -> None:
        self.whole = False
        self.below: dict[Step, _Node] = {}


class ListedTest:
    """The test that a call has no other parameters: a reason to deny, or an empty text."""

    __slots__ = ("_root",)

    def __init__(self, listed: AllowedParameters) -> None:
        self._root = _Node()
        for place in listed.places:
            node = self._root
            for step in place.steps:
                node = node.below.setdefault(step, _Node())
            node.whole = True

    def __call__(self, parameters: Parameters, work: Work) -> str:
        return "" if self.first_other(parameters, work) is None else _UNLISTED

    def first_other(self, parameters: Parameters, work: Work) -> str | None:
        """Return the path of the first parameter that is not listed, as far as it can be shown; None for none."""
        steps = _first_other(dict(parameters), [self._root], work)
        if steps is None:
            return None
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
        return path[:_SHOWN_CHARS_MAX] if is_printable(path) else ""


def _first_other(value: JSONValue, nodes: list[_Node], work: Work) -> list[str | int] | None:
    if any(node.whole for node in nodes):
        return None
    if not isinstance(value, (dict, list)):
        return []  # a path leads on from here, and there is nothing to lead to
    for step, member in value.items() if isinstance(value, dict) else enumerate(value):
        spend(work, limits.REACHED_VALUE_UNITS)
        steps: tuple[Step, ...] = (nfc(step),) if isinstance(step, str) else (step, EVERY)
        below = [node.below[one] for node in nodes for one in steps if one in node.below]
        further = _first_other(member, below, work) if below else []
        if further is not None:
            return [step, *further]
    return None
