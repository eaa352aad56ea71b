"""`allowed_parameters`: the parameters that a call may have, and no others (ADR 0016).

A path lists a value with all that is in it; what leads there is listed as far as it leads there. Names count to the
letter, as tools read them: `N` is another parameter than `n`, and a member called `a.b` is not the `b` in `a`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from processors.jcs import JSONValue
from processors.policy import limits
from processors.policy.errors import PolicyError
from processors.policy.evaluation import Parameters, Work, spend
from processors.policy.parameter_checks import Test
from processors.policy.paths import EVERY, Place, Step, parse_path
from processors.policy.patterns import check_pattern
from processors.policy.reading import as_list, as_object, as_text, document_order, pointer_to
from processors.policy.text import nfc

_UNLISTED = "PARAM_UNLISTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedParameters:
    """The paths that calls of the operations that `opkey` meets may have; `pointer` is the place in the document."""

    opkey: str
    pointer: str
    places: tuple[Place, ...] = field(compare=False)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths as they are written."""
        return tuple(place.path for place in self.places)


def parse_allowed_parameters(value: JSONValue, pointer: str) -> tuple[AllowedParameters, ...]:
    """Return what `allowed_parameters` lists, in document order.

    Raises:
        PolicyError: at the first fault in the order of the text.
    """
    members = as_object(value, pointer)
    if len(members) > limits.OPKEYS_MAX:
        raise PolicyError("E_LIMIT", pointer)
    found = [_listed(opkey, paths, pointer_to(pointer, opkey)) for opkey, paths in members.items()]
    return tuple(sorted(found, key=lambda one: document_order(one.opkey)))


def _listed(opkey: str, value: JSONValue, here: str) -> AllowedParameters:
    if not any(mark in opkey for mark in ":/*"):  # it would read as a parameter
        raise PolicyError("E_PARAM_FORM", here)
    check_pattern(opkey, here)
    paths = as_list(value, here, items_max=limits.PATHS_MAX)
    places = [
        parse_path(as_text(path, there), there) for at, path in enumerate(paths) if (there := pointer_to(here, at))
    ]
    return AllowedParameters(opkey=opkey, pointer=here, places=tuple(places))


class _Node:
    """A step of the listed paths: what may stand below it, or that everything may."""

    __slots__ = ("below", "whole")

    def __init__(self) -> None:
        self.whole = False
        self.below: dict[Step, _Node] = {}


def listed_test(listed: AllowedParameters) -> Test:
    """Return the test that a call has no other parameters: a reason to deny, or an empty text."""
    root = _Node()
    for place in listed.places:
        node = root
        for step in place.steps:
            node = node.below.setdefault(step, _Node())
        node.whole = True

    def test(parameters: Parameters, work: Work) -> str:
        return "" if _all_listed(dict(parameters), [root], work) else _UNLISTED

    return test


def _all_listed(value: JSONValue, nodes: list[_Node], work: Work) -> bool:
    if any(node.whole for node in nodes):
        return True
    if not isinstance(value, (dict, list)):
        return False  # a path leads on from here, and there is nothing to lead to
    members: Iterable[tuple[Iterable[Step], JSONValue]] = (
        (((nfc(name),), member) for name, member in value.items())
        if isinstance(value, dict)
        else (((at, EVERY), item) for at, item in enumerate(value))
    )
    for steps, member in members:
        spend(work, limits.REACHED_VALUE_UNITS)
        below = list(_below(nodes, steps))
        if not below or not _all_listed(member, below, work):
            return False
    return True


def _below(nodes: list[_Node], steps: Iterable[Step]) -> Iterator[_Node]:
    for node in nodes:
        for step in steps:
            if step in node.below:
                yield node.below[step]
