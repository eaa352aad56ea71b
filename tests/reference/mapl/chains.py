"""`extends` chains, and the merged view of several documents (docs/mapl.md 5)."""

from tests.reference.mapl.documents import AUDIT_LEVELS, Document, parse_document
from tests.reference.mapl.jsontext import json_equal
from tests.reference.mapl.refusals import RefusedError

CHAIN_DOCUMENTS_MAX = 16


class BrokenPolicyError(Exception):
    """POLICY_BROKEN, for the whole call."""

    def __init__(self, policy_id: str) -> None:
        super().__init__(policy_id)
        self.policy_id = policy_id


def current(policies: dict[str, str], policy_id: str) -> Document:
    try:
        return parse_document(policies[policy_id])
    except (KeyError, RefusedError):
        raise BrokenPolicyError(policy_id) from None


def chain(policies: dict[str, str], document: Document) -> list[Document]:
    """The document and its ancestors, nearest first. A cycle, an unknown parent or a 17th document is broken."""
    documents = [document]
    while documents[-1].extends is not None:
        parent = documents[-1].extends
        if parent in {d.policy_id for d in documents} or len(documents) == CHAIN_DOCUMENTS_MAX:
            raise BrokenPolicyError(parent)
        documents.append(current(policies, parent))
    return documents


def merged_view(documents: list[Document]) -> dict[str, object]:
    """Section 5's table, as the effective view prints it. Decisions never use it: merging is pointwise AND."""
    rates = [d.rate_limit for d in documents if d.rate_limit is not None]
    befores = [d.not_before for d in documents if d.not_before is not None]
    afters = [d.not_after for d in documents if d.not_after is not None]
    levels = [AUDIT_LEVELS.index(d.audit_level) for d in documents if d.audit_level is not None]
    return {
        "resources": [d.resources for d in documents if d.resources],
        "denied_resources": sorted({pattern for d in documents for pattern in d.denied_resources}),
        "rate_limit": min(rates, default=None),
        "parameters": merged_parameters(documents),
        "denied_parameters": [(c.opkey, c.path, c.items) for d in documents for c in d.denied_parameters],
        "masked_parameters": sorted({(c.opkey, c.text) for d in documents for c in d.masked_parameters}),
        "attestations": merged_requirements(documents),
        "validity": (max(befores, default=None), min(afters, default=None)),
        "roles": [d.roles for d in documents if d.roles],
        "audit_level": AUDIT_LEVELS[max(levels)] if levels else None,
        "require_approval": any(d.approver is not None for d in documents),
    }


def merged_parameters(documents: list[Document]) -> dict[tuple[str, str], dict[str, object]]:
    merged: dict[tuple[str, str], dict[str, object]] = {}
    for document in documents:
        for check in document.parameters:
            spec = merged.setdefault((check.opkey, check.path.text), {})
            for keyword, argument in bounds_of(check.spec).items():
                spec[keyword] = merge_keyword(keyword, spec[keyword], argument) if keyword in spec else argument
    return merged


def bounds_of(spec: dict[str, object]) -> dict[str, object]:
    """`range` is min and max; patterns and types are lists, so that each of several is kept."""
    bounds: dict[str, object] = {}
    for keyword, argument in spec.items():
        if keyword == "range":
            bounds["min"], bounds["max"] = argument  # type: ignore[misc]
        elif keyword in {"pattern", "type"}:
            bounds[keyword] = [argument]
        else:
            bounds[keyword] = argument
    return bounds


def merge_keyword(keyword: str, one: object, other: object) -> object:
    """Min of max, max of min, enum intersection (of equal members), all patterns, type AND, required OR."""
    if keyword == "required":
        return bool(one) or bool(other)
    if keyword == "allowed_values":
        return [v for v in one if any(json_equal(v, w) for w in other)]  # type: ignore[attr-defined]
    if keyword in {"pattern", "type"}:
        return one + other  # type: ignore[operator]
    return min(one, other) if keyword.startswith("max") else max(one, other)  # type: ignore[call-overload]


def merged_requirements(documents: list[Document]) -> dict[str, dict[str, object]]:
    """Per key: min timeout, min ttl, min uses, one_time OR, every criterion with its quorum."""
    merged: dict[str, dict[str, object]] = {}
    for requirement in [r for d in documents for r in d.requirements]:
        meta = requirement.meta
        shown = merged.setdefault(requirement.key, {"one_time": False, "criteria": []})
        shown["one_time"] = bool(shown["one_time"]) or requirement.is_one_time
        if requirement.is_external:
            shown["criteria"] = [*shown["criteria"], (meta.criteria, meta.quorum)]  # type: ignore[misc]
            shown["timeout"] = min(meta.timeout, shown.get("timeout", meta.timeout))  # type: ignore[call-overload]
        for name, value in (("time_to_live", meta.time_to_live), ("max_uses", meta.max_uses)):
            if value is not None:
                shown[name] = min(value, shown.get(name, value))  # type: ignore[call-overload]
    return merged
