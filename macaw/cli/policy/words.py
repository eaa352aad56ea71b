"""Policies and decisions as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Row = tuple[str, str, str]


def attributes_in_words(attributes: dict[str, Any]) -> str:
    """Return the attributes of a subject in one line."""
    parts = (f"{name} {', '.join(v) if isinstance(v, list) else v}" for name, v in attributes.items())
    return "; ".join(parts)


def merged_rows(merged: dict[str, Any], sources: dict[tuple[str, str], list[str]]) -> Iterator[Row]:
    """Yield (rule, value, sources) for the merged rules of several documents."""
    yield "may call", _resources(merged.get("resources", [])), _from(sources, "resource")
    if merged.get("denied_resources"):
        yield "never", ", ".join(merged["denied_resources"]), _from(sources, "denied resource")
    for roles in merged.get("roles", []):
        yield "roles", f"holds one of {', '.join(roles)}", _from(sources, "roles")
    yield from _parameter_rows(merged, sources)
    for need in merged.get("attestations", []):
        yield *required_in_words(need["requires"], need["says"]), need["of"]
    for rule in merged.get("sequence", []):
        yield rule["when"], rule["says"], rule["of"]
    if "rate_limit" in merged:
        yield "rate", f"{merged['rate_limit']} calls a minute", _from(sources, "rate")
    validity = {name: value for name, value in merged.get("validity", {}).items() if value is not None}
    for name, value in validity.items():
        yield name.replace("_", " "), value, _from(sources, "valid")
    if "audit_level" in merged:
        yield "audit", merged["audit_level"], _from(sources, "audit")


def required_in_words(text: str, says: str) -> tuple[str, str]:
    """Return the name and the text of a requirement. `deny::{e}` forbids; an unknown condition counts as true."""
    key, _, condition = text.partition("::")
    where = f"where {condition[1:-1]}, or if that is unknown" if condition else "always"
    return ("forbidden", where) if key == "deny" else (f"requires {key}", f"{says}; {where}")


def _parameter_rows(merged: dict[str, Any], sources: dict[tuple[str, str], list[str]]) -> Iterator[Row]:
    for opkey, lists in merged.get("allowed_parameters", {}).items():
        each = " and ".join(", ".join(paths) or "none" for paths in lists)
        yield opkey, f"only the parameters {each}", _from(sources, "allowed parameters", opkey)
    for opkey, paths in merged.get("masked_parameters", {}).items():
        yield opkey, f"values are masked at {', '.join(paths)}", _from(sources, "masked parameters", opkey)
    for kind, field, say in (
        ("parameter", "parameters", spec_in_words),
        ("denied parameter", "denied_parameters", _denied_in_words),
    ):
        for opkey, paths in merged.get(field, {}).items():
            for path, found in paths.items():
                yield f"{opkey} {path}", say(found), _from(sources, kind, f"{opkey} {path}")


def _denied_in_words(items: Sequence[Any]) -> str:
    return f"holds none of {_values(items)}"


def _from(sources: dict[tuple[str, str], list[str]], kind: str, scope: str = "") -> str:
    return ", ".join(dict.fromkeys(sources.get((kind, scope), [])))


def _resources(lists: Sequence[Sequence[str]]) -> str:
    from functools import reduce

    from processors.policy.insight.overlaps import intersection

    if not lists:
        return "nothing: no policy that applies names resources"
    if any(len(one) > PATTERNS_HELD_MAX for one in lists):
        return " and ".join(f"one of {len(one)} patterns" for one in lists)
    found = reduce(intersection, (tuple(one) for one in lists))
    return ", ".join(found) or "nothing: the lists of resources have nothing in common"


PATTERNS_HELD_MAX = 32


def spec_in_words(spec: dict[str, Any]) -> str:
    """Return the constraints on a parameter in one line."""
    parts = ["required" if spec.get("required") else ""]
    parts.append(_each(spec.get("type"), "", " and "))
    parts.append(_allowed(spec.get("allowed_values")))
    parts += [_bounds(spec, *names) for names in (("min", "max", ""), ("min_length", "max_length", "length "))]
    parts.append(_bounds(spec, "min_items", "max_items", "items "))
    parts.append(_each(spec.get("pattern"), "matches ", " and "))
    return ", ".join(filter(None, parts)) or "not null"


def _allowed(allowed: Any) -> str:
    if allowed is None:
        return ""
    if isinstance(allowed, dict):
        return " and ".join(f"one of {_values(one)}" for one in allowed["each_of"])
    return f"one of {_values(allowed)}" if allowed else "no value: the lists have nothing in common"


def _bounds(spec: dict[str, Any], low: str, high: str, what: str) -> str:
    least = f"at least {spec[low]}" if low in spec else ""
    most = f"at most {spec[high]}" if high in spec else ""
    both = " and ".join(filter(None, (least, most)))
    return f"{what}{both}" if both else ""


def _each(value: Any, before: str, between: str) -> str:
    if value is None:
        return ""
    return before + (between.join(map(str, value)) if isinstance(value, list) else str(value))


def _values(values: Sequence[Any]) -> str:
    from macaw.cli.terminal.output import plain_json

    return ", ".join(map(plain_json, values))
