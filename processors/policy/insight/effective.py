"""The policies of a subject, line by line and merged (docs/mapl.md 5), each line with its document.

Merging is pointwise AND: the merged view says the same as the documents one after the other, which is how a call is
judged. Here nothing is judged.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from processors.policy.documents import AUDIT_LEVELS, PolicyDocument, pointer_to
from processors.policy.errors import PolicyBrokenError
from processors.policy.index import PolicyIndex
from processors.policy.origins import NotFrom
from processors.policy.parameter_checks import equality_key
from processors.policy.patterns import resource_name
from processors.policy.plan import Applied, layered
from processors.policy.requirements import Requirement
from processors.policy.resolve import Subject, resource_ids
from processors.policy.sequences import After, AtMost, SequenceRule, Sum
from processors.policy.specs import ParameterConstraint
from processors.policy.times import iso_time
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.text.forms import casefold


class Line(NamedTuple):
    """One statement of a document: its kind, its subject, its words, and its place in the document."""

    kind: str
    scope: str
    says: str
    at: str


def lines_of(document: PolicyDocument) -> list[Line]:
    """Return the statements of a document in the order in which a call is judged by it."""
    return [
        *_validity(document),
        *_patterns("denied resource", document.denied_resources, "/denied_resources"),
        *_patterns("resource", document.resources, "/resources"),
        *([Line("roles", "", f"one of {', '.join(document.roles)}", "/constraints/roles")] if document.roles else []),
        *(
            Line("allowed parameters", one.opkey, ", ".join(one.paths) or "none", one.pointer)
            for one in document.allowed_parameters
        ),
        *(Line("parameter", f"{one.opkey} {one.path}", spec_in_words(one), one.pointer) for one in document.parameters),
        *(
            Line("denied parameter", f"{one.opkey} {one.path}", _listed(one.items), one.pointer)
            for one in document.denied_parameters
        ),
        *(
            Line("masked parameters", one.opkey, ", ".join(one.paths) or "none", one.pointer)
            for one in document.masked_parameters
        ),
        *(Line("sequence", rule.when, rule_in_words(rule), rule.pointer) for rule in document.sequence),
        *_rate(document),
        *(Line("requires", one.text, requirement_in_words(one), one.pointer) for one in document.requirements),
        *([Line("audit", "", document.audit_level, "/constraints/audit_level")] if document.audit_level else []),
    ]


def _validity(document: PolicyDocument) -> Iterator[Line]:
    if document.not_before is not None:
        yield Line("valid", "", f"from {iso_time(document.not_before)}", "/validity/not_before")
    if document.not_after is not None:
        yield Line("valid", "", f"until {iso_time(document.not_after)}", "/validity/not_after")


def _patterns(kind: str, patterns: Sequence[str], pointer: str) -> Iterator[Line]:
    return (Line(kind, "", pattern, pointer_to(pointer, at)) for at, pattern in enumerate(patterns))


def _rate(document: PolicyDocument) -> Iterator[Line]:
    if document.rate_limit is not None:
        yield Line("rate", "", f"{document.rate_limit} calls a minute", "/constraints/rate_limit")


def spec_in_words(spec: ParameterConstraint) -> str:
    """Return the constraint of a parameter in words."""
    parts = ["required" if spec.required else "", spec.type or ""]
    parts.append(f"one of {_listed(spec.allowed)}" if spec.allowed is not None else "")
    parts.append(_between("", spec.low, spec.high))
    parts.append(f"matches {spec.pattern}" if spec.pattern is not None else "")
    parts.append(_between("length ", spec.least_length, spec.most_length))
    parts.append(_between("items ", spec.least_items, spec.most_items))
    return ", ".join(filter(None, parts)) or "not null"


def _between(what: str, low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if low is None or high is None:
        return f"{what}at most {high}" if low is None else f"{what}at least {low}"
    return f"{what}from {low} to {high}"


def _listed(values: Iterable[JSONValue]) -> str:
    return ", ".join(jcs.canonical(value).decode() for value in values)


def requirement_in_words(need: Requirement) -> str:
    """Return a requirement in words."""
    if need.key == "deny":
        return "nothing meets it: the call is forbidden"
    meta = need.meta
    who = f"approved by {meta.quorum} of {' or '.join(meta.criteria)}" if need.external else "attested by a tool"
    parts = [who, f"set by {', '.join(meta.set_by)}" if meta.set_by else ""]
    parts.append(f"waits {meta.timeout_ms // 1000} s" if meta.timeout_ms else "")
    parts.append(f"good for {meta.time_to_live_ms // 1000} s" if meta.time_to_live_ms is not None else "")
    parts.append("" if meta.uses_max is None else f"{meta.uses_max} use{'s' if meta.uses_max > 1 else ''}")
    return ", ".join(filter(None, parts))


def rule_in_words(rule: SequenceRule) -> str:
    """Return a sequence rule in words."""
    test = rule.test
    if isinstance(test, After):
        within = f" within {test.within_ms // 1000} s" if test.within_ms is not None else ""
        same = "".join(f", {ours.path} as its {theirs.path}" for ours, theirs in test.same)
        return f"after {test.resource} ended well{within}{same}"
    if isinstance(test, AtMost | Sum):
        what = f"at most {test.count} calls" if isinstance(test, AtMost) else f"{test.place.path} at most {test.most}"
        per = "session" if test.per_session else "user"
        window = f" in {test.window_ms // 1000} s" if test.window_ms is not None else ""
        return f"{what} in all for each {per}{window}"
    if isinstance(test, NotFrom):
        where = ", ".join(place.path for place in test.places) or "every argument"
        unless = f", unless {test.otherwise} is attested" if test.otherwise else ""
        cleared = f" and verifier {test.cleared_by} has not passed" if test.cleared_by else ""
        return f"{where} not from results of {test.source} that no person said{cleared}{unless}"
    return f"not after {test.source}" + (f", unless {test.require} is attested" if test.require else "")


# ---- everything that applies


def effective(index: PolicyIndex, subject: Subject, resource: str | None = None) -> dict[str, JSONValue]:
    """Return the policies of a subject, and of a resource if one is named, as JSON: each line with its document.

    Roles are alternatives: `alternatives` has one entry for each, with the layers that always apply merged in.

    Raises:
        ResourceInvalidError: the text is no resource name.
    """
    name = None if resource is None else resource_name(resource)
    ids = (*subject.policy_ids, *(() if name is None else resource_ids(name.text)))
    found = (*index.organisation, *filter(None, map(index.by_id.get, ids)))
    told: dict[str, JSONValue] = {
        "found": [one.policy_id for one in (*found, *(() if name is None else index.spelt(name)))],
        "absent": [one for one in dict.fromkeys(ids) if one not in index.by_id],
    }
    try:
        alternatives = layered(index, found, name)
    except PolicyBrokenError as error:
        return told | {"broken": str(error)}
    return told | {"alternatives": [_alternative(branch, applied) for branch, applied in alternatives]}


def _alternative(branch: str, applied: Sequence[Applied]) -> dict[str, JSONValue]:
    return {
        "branch": branch or None,
        "policies": [
            {"id": one.policy.policy_id, "sha256": one.policy.digest.hex(), "layer": casefold(one.layer.name),
             "via": one.via, "grants": one.grants}
            for one in applied
        ],
        "lines": [
            {"policy": one.policy.policy_id, "layer": casefold(one.layer.name), "kind": line.kind, "scope": line.scope,
             "says": line.says, "at": line.at}
            for one in applied
            for line in lines_of(one.policy.document)
        ],
        "merged": merged([one.policy.document for one in applied]),
    }  # fmt: skip


def merged(documents: Sequence[PolicyDocument]) -> dict[str, JSONValue]:
    """Return the merge of documents, field by field as the table of docs/mapl.md 5 has it.

    `resources` is a list of lists: a name must be met by each of them; so are `allowed_parameters`, by operation.
    """
    begins = [one.not_before for one in documents if one.not_before is not None]
    ends = [one.not_after for one in documents if one.not_after is not None]
    levels = [one.audit_level for one in documents if one.audit_level is not None]
    told: dict[str, JSONValue] = {
        "resources": [list(one.resources) for one in documents if one.resources],
        "denied_resources": list(dict.fromkeys(pattern for one in documents for pattern in one.denied_resources)),
        "rate_limit": min((one.rate_limit for one in documents if one.rate_limit is not None), default=None),
        "allowed_parameters": _allowed(documents),
        "parameters": _parameters(documents),
        "denied_parameters": _denied(documents),
        "masked_parameters": _masked(documents),
        "attestations": [
            {"requires": need.text, "of": one.policy_id, "says": requirement_in_words(need)}
            for one in documents
            for need in one.requirements
        ],
        "roles": [list(one.roles) for one in documents if one.roles],
        "audit_level": max(levels, key=AUDIT_LEVELS.index, default=None),
        "not_before": iso_time(max(begins)) if begins else None,
        "not_after": iso_time(min(ends)) if ends else None,
        "sequence": [
            {"id": rule.rule_id, "of": one.policy_id, "when": rule.when, "says": rule_in_words(rule)}
            for one in documents
            for rule in one.sequence
        ],
    }
    return {name: value for name, value in told.items() if value not in (None, [], {})}


def _allowed(documents: Sequence[PolicyDocument]) -> dict[str, JSONValue]:
    """Return lists of paths by operation: a parameter must stand in each of them."""
    together: dict[str, list[JSONValue]] = {}
    for one in (listed for document in documents for listed in document.allowed_parameters):
        together.setdefault(one.opkey, []).append(list(one.paths))
    return {opkey: [*lists] for opkey, lists in together.items()}


def _masked(documents: Sequence[PolicyDocument]) -> dict[str, JSONValue]:
    """Return the paths of all documents by operation."""
    together: dict[str, dict[str, None]] = {}
    for one in (mask for document in documents for mask in document.masked_parameters):
        together.setdefault(one.opkey, {}).update(dict.fromkeys(one.paths))
    return {opkey: [*paths] for opkey, paths in together.items()}


def _parameters(documents: Sequence[PolicyDocument]) -> dict[str, JSONValue]:
    together: dict[str, dict[str, list[ParameterConstraint]]] = {}
    for one in (spec for document in documents for spec in document.parameters):
        together.setdefault(one.opkey, {}).setdefault(one.path, []).append(one)
    return {opkey: {path: merged_spec(specs) for path, specs in paths.items()} for opkey, paths in together.items()}


def merged_spec(specs: Sequence[ParameterConstraint]) -> dict[str, JSONValue]:
    """Return constraints on one path as one: the tighter bound, the values that all lists share, every pattern."""
    told: dict[str, JSONValue] = {
        "required": True if any(one.required for one in specs) else None,
        "type": _only(sorted({one.type for one in specs if one.type is not None})),
        "allowed_values": _shared([one.allowed for one in specs if one.allowed is not None]),
        "min": _most([one.low for one in specs]),
        "max": _least([one.high for one in specs]),
        "pattern": _only([one.pattern for one in specs if one.pattern is not None]),
        "min_length": _most([one.least_length for one in specs]),
        "max_length": _least([one.most_length for one in specs]),
        "min_items": _most([one.least_items for one in specs]),
        "max_items": _least([one.most_items for one in specs]),
    }
    return {name: value for name, value in told.items() if value is not None}


def _only(values: Sequence[str]) -> JSONValue:
    different = list(dict.fromkeys(values))
    return (different[0] if len(different) == 1 else [*different]) if different else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _shared(lists: Sequence[Sequence[JSONValue]]) -> JSONValue:
    """Return the common values of lists. Lists with stars stay side by side: each of them must be met."""
    if not lists:
        return None
    if len(lists) > 1 and any(isinstance(value, str) and "*" in value for values in lists for value in values):
        return {"each_of": [list(values) for values in lists]}
    first, *others = lists
    held = [set(map(equality_key, values)) for values in others]
    return [value for value in first if all(equality_key(value) in values for values in held)]


def _denied(documents: Sequence[PolicyDocument]) -> dict[str, JSONValue]:
    together: dict[str, dict[str, dict[bytes, JSONValue]]] = {}
    for one in (denied for document in documents for denied in document.denied_parameters):
        items = together.setdefault(one.opkey, {}).setdefault(one.path, {})
        items |= {jcs.canonical(item): item for item in one.items}
    return {opkey: {path: list(items.values()) for path, items in paths.items()} for opkey, paths in together.items()}
