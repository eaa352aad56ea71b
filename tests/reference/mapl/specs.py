"""Parameter constraints and denied parameters as documents write them (docs/mapl.md 3 and 4)."""

from dataclasses import dataclass

from tests.reference.mapl.fields import (
    array_of,
    boolean_of,
    check_pattern_size,
    integer_of,
    number_of,
    object_of,
    pattern_of,
    string_of,
)
from tests.reference.mapl.jsontext import INTEGER_MAX
from tests.reference.mapl.paths import Path, parse_path
from tests.reference.mapl.refusals import RefusedError, below
from tests.reference.mapl.text import jcs_order
from tests.reference.mapl.work import check_regex

OPERATION_KEYS_MAX = 256
PATHS_MAX = 128
MEMBERS_MAX = 1024
EVERYWHERE = "*"  # the path of denied_parameters that means every string and member name
SHORT_FORM_KEY = "**"

TYPES = {"integer", "number", "string", "boolean", "array", "object"}
KIND_OF_KEYWORD = {
    "min": "number", "max": "number", "range": "number",
    "pattern": "string", "min_length": "string", "max_length": "string",
    "min_items": "array", "max_items": "array",
}  # fmt: skip
SPEC_KEYWORDS = {"allowed_values", "type", "required", *KIND_OF_KEYWORD}


@dataclass
class ParameterCheck:
    """One (opkey, path) of `parameters`; `spec` holds the keywords, the array form as `allowed_values`."""

    pointer: str
    opkey: str
    path: Path
    spec: dict[str, object]


@dataclass
class DeniedCheck:
    """One (opkey, path) of `denied_parameters`; `path` None is the path `*`."""

    pointer: str
    opkey: str
    path: Path | None
    items: list[object]


@dataclass
class AllowedCheck:
    """One opkey of `allowed_parameters` (ADR 0016): the paths that a call may have, and no others."""

    pointer: str
    opkey: str
    paths: list[Path]


def parse_allowed(value: object, pointer: str) -> list[AllowedCheck]:
    members = object_of(value, pointer)
    if len(members) > OPERATION_KEYS_MAX:
        raise RefusedError("E_LIMIT", pointer)
    checks = []
    for key, member in members.items():
        at = below(pointer, key)
        if not any(mark in key for mark in ":/*"):
            raise RefusedError("E_PARAM_FORM", at)
        opkey = pattern_of(key, at)
        paths = array_of(member, at, PATHS_MAX)
        listed = [parse_path(string_of(path, below(at, i)), below(at, i)) for i, path in enumerate(paths)]
        checks.append(AllowedCheck(at, opkey, listed))
    return sorted(checks, key=lambda check: jcs_order(check.opkey))


@dataclass
class MaskedCheck:
    """One path of `masked_parameters`; `path` None is the path `*`."""

    pointer: str
    opkey: str
    path: Path | None
    text: str


def parse_masked(value: object, pointer: str) -> list[MaskedCheck]:
    """The paths of each operation in the order of its list, the operations in JCS order."""
    checks: dict[str, list[MaskedCheck]] = {}
    members = object_of(value, pointer)
    if len(members) > OPERATION_KEYS_MAX:
        raise RefusedError("E_LIMIT", pointer)
    for key, member in members.items():
        at = below(pointer, key)
        if not any(mark in key for mark in ":/*"):
            raise RefusedError("E_PARAM_FORM", at)
        opkey = pattern_of(key, at)
        checks[key] = []
        for i, path in enumerate(array_of(member, at, PATHS_MAX)):
            here = below(at, i)
            text = string_of(path, here)
            checks[key].append(MaskedCheck(here, opkey, None if text == EVERYWHERE else parse_path(text, here), text))
    return [check for key in sorted(checks, key=jcs_order) for check in checks[key]]


def parse_parameters(value: object, pointer: str) -> list[ParameterCheck]:
    """Refusals in the order of the text; the checks in document order, that is in JCS order."""
    checks = {}
    members = object_of(value, pointer)
    if len(members) > OPERATION_KEYS_MAX:
        raise RefusedError("E_LIMIT", pointer)
    for key, member in members.items():
        at = below(pointer, key)
        if is_short_parameter(key, member, at):
            checks[key, ""] = ParameterCheck(at, SHORT_FORM_KEY, parse_path(key, at), parse_spec(member, at))
            continue
        opkey = pattern_of(key, at)
        for path, spec in paths_of(member, at).items():
            here = below(at, path)
            checks[key, path] = ParameterCheck(here, opkey, parse_path(path, here), parse_spec(spec, here))
    return [checks[names] for names in sorted(checks, key=lambda names: [jcs_order(name) for name in names])]


def is_short_parameter(key: str, member: object, pointer: str) -> bool:
    """Section 3, the short form of the paper: the member is a path under `**`. Raises E_PARAM_FORM."""
    has_key_mark = any(mark in key for mark in ":/*")
    if isinstance(member, list):
        if has_key_mark:
            raise RefusedError("E_PARAM_FORM", pointer)
        return True
    if has_key_mark or not isinstance(member, dict):
        object_of(member, pointer)
        return False
    if set(member) <= SPEC_KEYWORDS:
        return True
    raise RefusedError("E_PARAM_FORM", pointer)


def parse_denied(value: object, pointer: str) -> list[DeniedCheck]:
    checks = {}
    members = object_of(value, pointer)
    if len(members) > OPERATION_KEYS_MAX:
        raise RefusedError("E_LIMIT", pointer)
    for key, member in members.items():
        at = below(pointer, key)
        if is_short_denial(key, member, at):
            checks[key, ""] = parse_denied_path(at, SHORT_FORM_KEY, key, member)
            continue
        opkey = pattern_of(key, at)
        for path, items in paths_of(member, at).items():
            checks[key, path] = parse_denied_path(below(at, path), opkey, path, items)
    return [checks[names] for names in sorted(checks, key=lambda names: [jcs_order(name) for name in names])]


def is_short_denial(key: str, member: object, pointer: str) -> bool:
    """As above, but `*` is a path here, and nothing but an array can be a path's value."""
    if isinstance(member, list):
        if ":" in key or "/" in key:
            raise RefusedError("E_PARAM_FORM", pointer)
        return True
    object_of(member, pointer)
    if not any(mark in key for mark in ":/*"):
        raise RefusedError("E_PARAM_FORM", pointer)
    return False


def parse_denied_path(pointer: str, opkey: str, path: str, items: object) -> DeniedCheck:
    parsed = None if path == EVERYWHERE else parse_path(path, pointer)
    return DeniedCheck(pointer, opkey, parsed, array_of(items, pointer, MEMBERS_MAX))


def paths_of(member: object, pointer: str) -> dict[str, object]:
    paths = object_of(member, pointer)
    if len(paths) > PATHS_MAX:
        raise RefusedError("E_LIMIT", pointer)
    return paths


def parse_spec(value: object, pointer: str) -> dict[str, object]:
    """Section 3, the table of specs."""
    if isinstance(value, list):
        return {"allowed_values": parse_members(value, pointer)}
    spec = object_of(value, pointer)
    if not spec:
        raise RefusedError("E_SPEC_EMPTY", pointer)
    for keyword, argument in spec.items():
        check_keyword(keyword, argument, below(pointer, keyword))
    check_spec_conflicts(spec, pointer)
    return spec


def parse_members(value: object, pointer: str) -> list[object]:
    members = array_of(value, pointer)
    if not members:
        raise RefusedError("E_ENUM_EMPTY", pointer)
    array_of(value, pointer, MEMBERS_MAX)
    for i, member in enumerate(members):
        if isinstance(member, str) and "*" in member:
            check_pattern_size(member, below(pointer, i))
    return members


def check_keyword(keyword: str, argument: object, pointer: str) -> None:
    match keyword:
        case "allowed_values":
            parse_members(argument, pointer)
        case "min" | "max":
            number_of(argument, pointer)
        case "range":
            bounds = array_of(argument, pointer)
            if len(bounds) != 2:
                raise RefusedError("E_TYPE", pointer)
            for i, bound in enumerate(bounds):
                number_of(bound, below(pointer, i))
        case "pattern":
            check_regex(string_of(argument, pointer), pointer)
        case "min_length" | "max_length" | "min_items" | "max_items":
            integer_of(argument, pointer, 0, INTEGER_MAX, code="E_TYPE")
        case "type":
            if string_of(argument, pointer) not in TYPES:
                raise RefusedError("E_TYPE", pointer)
        case "required":
            boolean_of(argument, pointer)
        case _:
            raise RefusedError("E_UNKNOWN_FIELD", pointer)


def check_spec_conflicts(spec: dict[str, object], pointer: str) -> None:
    """E_SPEC_CONFLICT: range with min or max, min above max, keywords of two types."""
    if "range" in spec and ("min" in spec or "max" in spec):
        raise RefusedError("E_SPEC_CONFLICT", pointer)
    bounds = [("min", "max"), ("min_length", "max_length"), ("min_items", "max_items")]
    if any(low in spec and high in spec and spec[low] > spec[high] for low, high in bounds):  # type: ignore[operator]
        raise RefusedError("E_SPEC_CONFLICT", pointer)
    if "range" in spec and spec["range"][0] > spec["range"][1]:  # type: ignore[index]
        raise RefusedError("E_SPEC_CONFLICT", pointer)
    if len(kinds_of(spec)) > 1:
        raise RefusedError("E_SPEC_CONFLICT", pointer)


def kinds_of(spec: dict[str, object]) -> set[str]:
    """The types that the keywords of a spec speak of."""
    kinds = {KIND_OF_KEYWORD[keyword] for keyword in spec if keyword in KIND_OF_KEYWORD}
    if "type" in spec:
        kinds.add("number" if spec["type"] == "integer" else str(spec["type"]))
    return kinds
