"""The rules that a host can judge alone, of a policy that its tool's owner wrote: the others are named, and refused.

A host has no tables: it cannot count calls, and knows neither earlier calls, attestations nor approvals. It has no
stamps of verifiers, since only the monitor vouches for them, and of a session only what its signed opening says. A rule
that asks for one of these would hold in the file and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from processors.policy.documents import PolicyDocument
from processors.policy.expressions import (
    Comparison,
    Expression,
    Joined,
    Match,
    Membership,
    Not,
    Path,
    PredicateCall,
    Truth,
)
from processors.policy.requirements import DENY, Requirement
from processors.policy.specs import DeniedParameter, ParameterConstraint
from processors.policy.stamped import STAMPS


class OwnerFault(NamedTuple):
    """A rule that a host cannot judge: the JSON pointer of its place in the document, and the reason in words."""

    pointer: str
    why: str


def faults_of(document: PolicyDocument) -> Iterator[OwnerFault]:
    """Yield every rule of a document that a host cannot judge."""
    if document.rate_limit is not None:
        yield OwnerFault("/constraints/rate_limit", "a host keeps no counts, so it cannot judge `rate_limit`")
    if document.sequence:
        yield OwnerFault("/sequence", "a host knows no earlier calls, so it cannot judge `sequence`")
    if document.metas:
        yield OwnerFault("/constraints/attestations", "a host has no attestations, so it cannot judge them")
    for mask in document.masked_parameters:
        yield OwnerFault(mask.pointer, "the monitor masks, and a host only checks it: publish this part as a policy")
    for one in document.requirements:
        yield from _of_requirement(one)
    rules: list[ParameterConstraint | DeniedParameter] = [*document.parameters, *document.denied_parameters]
    for rule in rules:
        if rule.place is not None and (rule.place.steps[:1] == (STAMPS,) or rule.path.startswith(f"{STAMPS}.")):
            yield OwnerFault(rule.pointer, _STAMPED)


_STAMPED = f"only the monitor vouches for `{STAMPS}`, so a host cannot judge them"


def _of_requirement(one: Requirement) -> Iterator[OwnerFault]:
    if one.external:
        yield OwnerFault(one.pointer, "a host asks no approvers, so it cannot judge approvals")
    elif one.key != DENY:
        yield OwnerFault(one.pointer, f"a host has no attestations, so it cannot judge `{one.key}`")
    for test in _tests(one.expression):
        yield from _of_test(one.pointer, test)


_Test = Comparison | Membership | Match | Truth | PredicateCall


def _tests(expression: Expression | None) -> Iterator[_Test]:
    """Yield the tests of a condition, in its order."""
    waiting = [] if expression is None else [expression]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Joined):
            waiting.extend(reversed(one.parts))
        elif isinstance(one, Not):
            waiting.append(one.inner)
        else:
            yield one


def _of_test(pointer: str, test: _Test) -> Iterator[OwnerFault]:
    if isinstance(test, PredicateCall):
        if test.question == "has_attestation":
            yield OwnerFault(
                pointer, f"a host has no attestations, so it cannot judge `has_attestation('{test.name}')`"
            )
        return
    for path in _paths(test):
        if path.root == "context":
            yield OwnerFault(pointer, f"only the monitor vouches for `{path}`, so a host cannot judge it")
        elif path.root == "params" and path.steps[:1] == (STAMPS,):
            yield OwnerFault(pointer, _STAMPED)


def _paths(test: Comparison | Membership | Match | Truth) -> Iterator[Path]:
    if isinstance(test, Comparison):
        operands: tuple[object, ...] = (test.left, test.right)
    elif isinstance(test, Membership):
        operands = (test.left, test.items)
    else:
        operands = (test.path,)
    yield from (one for one in operands if isinstance(one, Path))
