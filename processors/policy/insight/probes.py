"""Calls made up from documents, to find differences between two versions: never a proof that there are none.

Each pattern is instantiated, each bound is met and missed by one, each member of a list is tried and one that is not
in it. Probes are values; their caller chooses the policies.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from processors.policy.documents import PolicyDocument
from processors.policy.globs import star_runs
from processors.policy.masks import MaskedParameters
from processors.policy.paths import ANYWHERE, EVERY, ParsedPath, parse_path
from processors.policy.patterns import is_resource_name, resource_name, restricts
from processors.policy.specs import DeniedParameter, ParameterConstraint
from processors.proof.jcs import JSONValue

NAMES_MAX = 2_000
PROBES_MAX = 20_000
NAMES_PER_KEY_MAX = 4
OUTSIDER = "macaw-probe-outsider"
_INDEX_MAX = 64  # an array of a probe is no longer

_ABSENT = object()
_Values = list[object]


class Probe(NamedTuple):
    """A made-up call, and its purpose."""

    resource: str
    parameters: dict[str, JSONValue]
    tries: str


def probes_of(documents: Sequence[PolicyDocument]) -> Iterator[Probe]:
    """Yield at most PROBES_MAX probes of both versions' documents, each once."""
    seen: set[str] = set()
    for probe in _probes(documents):
        key = f"{probe.resource}\n{probe.parameters!r}"
        if key not in seen:
            seen.add(key)
            yield probe
        if len(seen) >= PROBES_MAX:
            return


def _probes(documents: Sequence[PolicyDocument]) -> Iterator[Probe]:
    names = list(_names(documents))
    yield from (Probe(name, {}, "the name alone") for name in names)
    for name in names:
        # Of each version a call that passes, so that one wrong value is what decides.
        for document in documents:
            yield Probe(name, _passing(name, [document]), f"values that {document.policy_id} permits")
        together = _passing(name, documents)
        yield Probe(name, together, "values that all permit")
    for document in documents:
        for listed in document.allowed_parameters:
            met = [name for name in names if restricts(listed.opkey, resource_name(name))]
            for name in met[:NAMES_PER_KEY_MAX]:
                yield Probe(
                    name, _passing(name, documents) | {OUTSIDER: OUTSIDER}, f"another parameter at {listed.pointer}"
                )
        for mask in document.masked_parameters:
            met = [name for name in names if restricts(mask.opkey, resource_name(name))]
            for name in met[:NAMES_PER_KEY_MAX]:
                yield from _to_mask(name, mask, documents)
        for constraint in _constrained(document):
            met = [name for name in names if restricts(constraint.opkey, resource_name(name))]
            for name in met[:NAMES_PER_KEY_MAX]:
                yield from _varied(name, constraint, documents)


def _to_mask(name: str, mask: MaskedParameters, documents: Sequence[PolicyDocument]) -> Iterator[Probe]:
    for path in mask.paths:
        place = ParsedPath(OUTSIDER, (OUTSIDER,)) if path == ANYWHERE else parse_path(path, "")
        changed = _with(_passing(name, documents), place, OUTSIDER)
        if changed is not None:
            yield Probe(name, changed, f"{path} at {mask.pointer}")


def _constrained(document: PolicyDocument) -> list[ParameterConstraint | DeniedParameter]:
    return [*document.parameters, *document.denied_parameters]


def _varied(
    name: str, constraint: ParameterConstraint | DeniedParameter, documents: Sequence[PolicyDocument]
) -> Iterator[Probe]:
    place = (
        ParsedPath(OUTSIDER, (OUTSIDER,)) if constraint.place is None else constraint.place
    )  # of `*`: any path will do
    values = _spec_values(constraint) if isinstance(constraint, ParameterConstraint) else _denied_values(constraint)
    for base in (_passing(name, [one]) for one in documents):
        for value in values:
            changed = _with(base, place, value)
            if changed is not None:
                yield Probe(name, changed, f"{constraint.path} at {constraint.pointer}")
    together = _passing(name, documents)
    for value in values:
        changed = _with(together, place, value)
        if changed is not None:
            yield Probe(name, changed, f"{constraint.path} at {constraint.pointer}")


# ---- names


def _names(documents: Sequence[PolicyDocument]) -> Iterator[str]:
    found: dict[str, None] = {}
    for document in documents:
        keys = [
            one.opkey for one in (*_constrained(document), *document.allowed_parameters, *document.masked_parameters)
        ]
        rules = [rule.when for rule in document.sequence]
        for pattern in (*document.resources, *document.denied_resources, *keys, *rules):
            for text in instances(pattern):
                if is_resource_name(text):
                    found[text] = None
                if len(found) >= NAMES_MAX:
                    break
    yield from found


def instances(pattern: str) -> Iterator[str]:
    """Yield texts made of a pattern: stars as nothing, as a word, and as two segments."""
    if not star_runs(pattern):
        yield pattern
        yield f"{pattern}/x"
        return
    if pattern.strip("*") == "":
        yield from ("tool:x", "tool:x/y", "data:x")
        return
    at = pattern if ":" in pattern else f"tool:{pattern}"
    for single, double in (("x", "x"), ("x", "x/y"), ("x/y", "x/y"), ("", "")):
        text = at
        for run in sorted(set(star_runs(at)), key=len, reverse=True):
            text = text.replace(run, double if len(run) > 1 else single)
        yield text


# ---- values


def _passing(name: str, documents: Sequence[PolicyDocument]) -> dict[str, JSONValue]:
    """Return parameters that the constraints on a name permit, as far as one value for each can."""
    parameters: dict[str, JSONValue] = {}
    resource = resource_name(name)
    for constraint in (one for document in documents for one in document.parameters):
        if restricts(constraint.opkey, resource):
            changed = _with(parameters, constraint.place, _good(constraint))
            parameters = parameters if changed is None else changed
    return parameters


def _good(one: ParameterConstraint) -> object:
    if one.allowed:
        first = one.allowed[0]
        return first.replace("*", "x") if isinstance(first, str) else first
    if one.kind in {"integer", "number"}:
        bound = one.high if one.high is not None else one.low
        return 1 if bound is None else bound
    if one.kind == "array":
        return ["x"] * min(one.least_items or 1, 1000)
    text = "x" * min(one.least_length or 1, 1000)
    return {"boolean": True, "object": {}}.get(one.kind or "", text)


def _spec_values(one: ParameterConstraint) -> _Values:
    values: _Values = [_ABSENT, None, OUTSIDER, 1, True, [], _good(one)]
    for bound in (one.low, one.high):
        if bound is not None:
            values += [bound - 1, bound, bound + 1]
    for size in (one.least_length, one.most_length):
        if size is not None:
            values += ["x" * length for length in (size - 1, size, size + 1) if 0 <= length <= 10_000]
    for size in (one.least_items, one.most_items):
        if size is not None:
            values += [["x"] * length for length in (size - 1, size, size + 1) if 0 <= length <= 1000]
    for member in one.allowed or ():
        values += instances_of_value(member)
    return values


def _denied_values(one: DeniedParameter) -> _Values:
    values: _Values = [_ABSENT, OUTSIDER]
    for item in one.items:
        values += instances_of_value(item)
    return values


def instances_of_value(member: JSONValue) -> _Values:
    """Return values made of a member of a list: itself, or texts that its stars and question marks meet."""
    if not isinstance(member, str) or not any(mark in member for mark in "*?"):
        return [member]
    return [member.replace("?", "x").replace("*", text) for text in ("", "x", "x/y")]


def _with(parameters: Mapping[str, JSONValue], place: ParsedPath, value: object) -> dict[str, JSONValue] | None:
    """Return parameters with a value at a place, None where an index is too large for a probe."""
    first, *rest = place.steps
    assert isinstance(first, str)  # INVARIANT: the first step of a path is a name
    changed = dict(parameters)
    if not rest and value is _ABSENT:
        changed.pop(first, None)
        return changed
    inner = _nested(changed.get(first), rest, value)
    if inner is _ABSENT:
        return None
    changed[first] = inner  # type: ignore[assignment]
    return changed


def _nested(before: object, steps: Sequence[object], value: object) -> object:
    if not steps:
        return value
    step, *rest = steps
    if isinstance(step, str):
        members = dict(before) if isinstance(before, dict) else {}
        inner = _nested(members.get(step), rest, value)
        if inner is _ABSENT:
            members.pop(step, None)
            return members
        return members | {step: inner}
    at = 0 if step is EVERY else step
    assert isinstance(at, int)
    if at > _INDEX_MAX:
        return _ABSENT
    items = list(before) if isinstance(before, list) else []
    items += [None] * (at + 1 - len(items))
    inner = _nested(items[at], rest, value)
    if inner is _ABSENT:
        return items[:at]
    items[at] = inner
    return items
