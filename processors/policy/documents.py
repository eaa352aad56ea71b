"""Reading a policy document (MAPL.md 1): strict, complete, and with one stable code for each refusal.

A document that passes says nothing this version does not know how to honour. Nothing is decided here.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import re2

from processors import jcs
from processors.jcs import JSONValue
from processors.policy import limits
from processors.policy.errors import PolicyError
from processors.policy.patterns import check_pattern
from processors.policy.text import has_control, has_hidden, has_outer_blanks, nfc_value

__all__ = ["ParameterConstraint", "PolicyDocument", "PolicyError", "parse_policy"]

ORGANISATION_PREFIX = "org:"  # the organisation key's alone (DESIGN.md 4)
RESERVED_PREFIXES = ("intent:", "delegation:", "prompt:")  # documents that come with a call, never published

# What the language has and this version does not: refused rather than ignored, at the place where it stands.
_LATER_FIELDS = frozenset({"extends", "attestations", "sequence", "validity"})
_LATER_CONSTRAINTS = frozenset(
    {"rate_limit", "denied_parameters", "attestations", "roles", "audit_level", "require_approval"}
)
_LATER_KEYWORDS = frozenset(
    {"min", "max", "range", "pattern", "min_length", "max_length", "min_items", "max_items", "type"}
)
_KEYWORDS = _LATER_KEYWORDS | {"allowed_values", "required"}

_JSON_CODES = {"duplicate": "E_JSON_DUPLICATE", "number": "E_JSON_NUMBER", "surrogate": "E_TEXT"}
_LIMIT_CAUSES = frozenset({"depth", "nodes"})

_NAME = r"[^.\[\]*]+(?:\[(?:[0-9]+|\*)\])*"
_PATH = re2.compile(rf"{_NAME}(?:\.{_NAME})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterConstraint:
    """What one parameter of the operations that `opkey` meets must be; `pointer` is the place in the document.

    `allowed` is None where any value but null will do.
    """

    opkey: str
    path: str
    pointer: str
    required: bool
    allowed: tuple[JSONValue, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDocument:
    """A policy as published. Two documents are equal if their digests are.

    `digest` is the SHA-256 of `canonical`, the document's RFC 8785 form after NFC; `parameters` are in its order.
    """

    policy_id: str = field(compare=False)
    digest: bytes
    canonical: bytes = field(compare=False, repr=False)
    resources: tuple[str, ...] = field(compare=False)
    denied_resources: tuple[str, ...] = field(compare=False)
    parameters: tuple[ParameterConstraint, ...] = field(compare=False)


def parse_policy(text: bytes, *, organisation: bool = False) -> PolicyDocument:
    """Return the policy that a JSON text states. `organisation` says that the organisation key signed it.

    Raises:
        PolicyError: with the code and pointer of the first fault, in the order of the text. A member that is missing
            has no place and is reported last.
    """
    document = _read(text)
    _check_document(document, organisation=organisation)
    canonical = jcs.canonical(document)
    ordered = jcs.parse_strict(canonical, nodes_max=limits.DOCUMENT_BYTES_MAX)
    assert isinstance(ordered, dict)
    return PolicyDocument(
        policy_id=str(ordered["policy_id"]),
        digest=hashlib.sha256(canonical).digest(),
        canonical=canonical,
        resources=_texts(ordered.get("resources")),
        denied_resources=_texts(ordered.get("denied_resources")),
        parameters=tuple(_constraints(ordered.get("constraints"))),
    )


def pointer_to(base: str, step: str | int) -> str:
    """Return the JSON pointer (RFC 6901) to a member or item of the place that `base` points to."""
    return f"{base}/{str(step).replace('~', '~0').replace('/', '~1')}"


# ---- the text


def _read(text: bytes) -> dict[str, JSONValue]:
    if len(text) > limits.DOCUMENT_BYTES_MAX:
        raise PolicyError("E_LIMIT", "")
    try:
        # A document of 64 KiB holds fewer values than bytes, so the count needs no bound of its own.
        value = jcs.parse_strict(text, depth_max=limits.DOCUMENT_DEPTH_MAX, nodes_max=limits.DOCUMENT_BYTES_MAX)
    except jcs.MalformedJSONError as error:
        code = "E_LIMIT" if error.cause in _LIMIT_CAUSES else _JSON_CODES.get(error.cause, "E_JSON")
        raise PolicyError(code, "") from None
    return _object(nfc_value(value), "")


def _object(value: JSONValue, pointer: str) -> dict[str, JSONValue]:
    if not isinstance(value, dict):
        raise PolicyError("E_TYPE", pointer)
    return value


def _list(value: JSONValue, pointer: str, *, items_max: int) -> list[JSONValue]:
    if not isinstance(value, list):
        raise PolicyError("E_TYPE", pointer)
    if len(value) > items_max:
        raise PolicyError("E_LIMIT", pointer)
    return value


def _text(value: JSONValue, pointer: str) -> str:
    if not isinstance(value, str):
        raise PolicyError("E_TYPE", pointer)
    return value


# ---- checks, in the order of the text


def _check_document(document: dict[str, JSONValue], *, organisation: bool) -> None:
    for name, value in document.items():
        pointer = pointer_to("", name)
        match name:
            case "policy_id":
                _check_policy_id(_text(value, pointer), pointer, organisation=organisation)
            case "name" | "version" | "description" | "scope":
                _check_advisory(_text(value, pointer), pointer)
            case "resources" | "denied_resources":
                _check_patterns(value, pointer)
            case "constraints":
                _check_constraints(_object(value, pointer), pointer)
            case _:
                raise _not_a_member(name, pointer, later=_LATER_FIELDS)
    if "policy_id" not in document:
        raise PolicyError("E_POLICY_ID", "/policy_id")


def _not_a_member(name: str, pointer: str, *, later: frozenset[str]) -> PolicyError:
    return PolicyError("E_NOT_SUPPORTED" if name in later else "E_UNKNOWN_FIELD", pointer)


def _check_policy_id(policy_id: str, pointer: str, *, organisation: bool) -> None:
    if not 1 <= len(policy_id) <= limits.POLICY_ID_CHARS_MAX:
        raise PolicyError("E_POLICY_ID", pointer)
    if has_outer_blanks(policy_id) or has_hidden(policy_id) or "*" in policy_id or "\\" in policy_id:
        raise PolicyError("E_POLICY_ID", pointer)
    if policy_id.startswith(RESERVED_PREFIXES) or (policy_id.startswith(ORGANISATION_PREFIX) and not organisation):
        raise PolicyError("E_PREFIX_RESERVED", pointer)


def _check_advisory(text: str, pointer: str) -> None:
    if len(text) > limits.ADVISORY_CHARS_MAX:
        raise PolicyError("E_LIMIT", pointer)
    if has_control(text):
        raise PolicyError("E_TEXT", pointer)


def _check_patterns(value: JSONValue, pointer: str) -> None:
    for index, pattern in enumerate(_list(value, pointer, items_max=limits.PATTERNS_MAX)):
        here = pointer_to(pointer, index)
        check_pattern(_text(pattern, here), here)


def _check_constraints(constraints: dict[str, JSONValue], pointer: str) -> None:
    for name, value in constraints.items():
        here = pointer_to(pointer, name)
        if name != "parameters":
            raise _not_a_member(name, here, later=_LATER_CONSTRAINTS)
        _check_parameters(_object(value, here), here)


def _check_parameters(parameters: dict[str, JSONValue], pointer: str) -> None:
    if len(parameters) > limits.OPKEYS_MAX:
        raise PolicyError("E_LIMIT", pointer)
    for opkey, value in parameters.items():
        here = pointer_to(pointer, opkey)
        _check_form(opkey, value, here)
        check_pattern(opkey, here)
        paths = _object(value, here)
        if len(paths) > limits.PATHS_MAX:
            raise PolicyError("E_LIMIT", here)
        for path, spec in paths.items():
            there = pointer_to(here, path)
            _check_path(path, there)
            _check_spec(spec, there)


def _check_form(opkey: str, value: JSONValue, pointer: str) -> None:
    """Tell an operation key from a path of the short form (MAPL.md 3), which comes later."""
    is_path = not any(mark in opkey for mark in ":/*")
    if is_path and (isinstance(value, list) or (isinstance(value, dict) and value.keys() <= _KEYWORDS)):
        raise PolicyError("E_NOT_SUPPORTED", pointer)
    if is_path or isinstance(value, list):
        raise PolicyError("E_PARAM_FORM", pointer)


def _check_path(path: str, pointer: str) -> None:
    # A star outside `[*]` is refused too: it would read as a wildcard and constrain a parameter of that very name.
    if not _PATH.fullmatch(path) or has_control(path):
        raise PolicyError("E_PARAM_PATH", pointer)
    if "." in path or "[" in path:
        raise PolicyError("E_NOT_SUPPORTED", pointer)


def _check_spec(spec: JSONValue, pointer: str) -> None:
    if isinstance(spec, list):
        _check_literals(spec, pointer)
        return
    for keyword, value in _object(spec, pointer).items():
        here = pointer_to(pointer, keyword)
        if keyword == "allowed_values":
            _check_literals(value, here)
        elif keyword != "required":
            raise _not_a_member(keyword, here, later=_LATER_KEYWORDS)
        elif not isinstance(value, bool):
            raise PolicyError("E_TYPE", here)
    if not spec:
        raise PolicyError("E_SPEC_EMPTY", pointer)


def _check_literals(value: JSONValue, pointer: str) -> None:
    literals = _list(value, pointer, items_max=limits.ENUM_MEMBERS_MAX)
    if not literals:
        raise PolicyError("E_ENUM_EMPTY", pointer)
    for index, literal in enumerate(literals):
        if isinstance(literal, str) and "*" in literal:  # a pattern, in the whole language
            raise PolicyError("E_NOT_SUPPORTED", pointer_to(pointer, index))


# ---- values, from a document that passed


def _texts(value: JSONValue) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _constraints(constraints: JSONValue) -> Iterator[ParameterConstraint]:
    """Give the parameter constraints in document order, which is the order of RFC 8785."""
    parameters = constraints.get("parameters", {}) if isinstance(constraints, dict) else {}
    for opkey, paths in _object(parameters, "").items():
        for path, spec in _object(paths, "").items():
            keywords = spec if isinstance(spec, dict) else {"allowed_values": spec}
            allowed = keywords.get("allowed_values")
            yield ParameterConstraint(
                opkey=opkey,
                path=path,
                pointer=pointer_to(pointer_to("/constraints/parameters", opkey), path),
                required=keywords.get("required") is True,
                allowed=tuple(allowed) if isinstance(allowed, list) else None,
            )
