"""The policy language as a JSON Schema, for editors: `python -m macaw.policies.schema`; with `--check` only compare.

Made from the engine's own bounds and words, as a help while writing. `macaw policy validate` decides: it also checks
rules that a schema cannot express.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from processors.policy import limits
from processors.policy.documents import AUDIT_LEVELS
from processors.policy.specs import TYPES

PAGE = Path(__file__).parents[2] / "docs" / "policy.schema.json"
_KEY = r"^[A-Za-z0-9_][A-Za-z0-9_.:/@-]{0,127}"
_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?(Z|[+-]\d\d:\d\d)$"
_SIZE_MAX = 2**53

Schema = dict[str, Any]


def schema() -> Schema:
    """Return the schema of a published policy."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A policy of MACAW",
        **_object(
            {
                "policy_id": {
                    "description": "Names the subject: `role:NAME`, `company:NAME`, `user:ID`, or a resource.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": limits.POLICY_ID_CHARS_MAX,
                    "pattern": r"^[^*\\]+$",
                },
                **{name: _text(limits.ADVISORY_CHARS_MAX) for name in ("name", "version", "description", "scope")},
                "extends": _described(_text(limits.POLICY_ID_CHARS_MAX), "One parent; all its rules hold as well."),
                "resources": _described(
                    _patterns(), "Resources that may be called; a call must meet one, in every document."
                ),
                "denied_resources": _described(
                    _patterns(), "Resources that must not be called, even if another document allows them."
                ),
                "attestations": {"$ref": "#/$defs/requirements"},
                "sequence": _list({"$ref": "#/$defs/rule"}, limits.SEQUENCE_RULES_MAX),
                "validity": _object({"not_before": {"$ref": "#/$defs/time"}, "not_after": {"$ref": "#/$defs/time"}}),
                "constraints": _constraints(),
            },
            required=["policy_id"],
        ),
        "$defs": {
            "pattern": {"type": "string", "minLength": 1, "maxLength": limits.PATTERN_CHARS_MAX},
            "time": {"type": "string", "pattern": _TIME},
            "requirements": _list({"type": "string", "pattern": _KEY + r"(::\{.*\})?$"}, limits.REQUIREMENTS_MAX),
            "criterion": {"type": "string", "pattern": "^(role|team|user|group):."},
            "meta": _meta(),
            "spec": _spec(),
            "rule": _rule(),
        },
    }


def _object(members: Schema, **more: Any) -> Schema:
    return {"type": "object", "properties": members, "additionalProperties": False, **more}


def _described(inner: Schema, text: str) -> Schema:
    return {"description": text, **inner}


def _list(items: Schema, most: int, **more: Any) -> Schema:
    return {"type": "array", "items": items, "maxItems": most, **more}


def _text(most: int) -> Schema:
    return {"type": "string", "maxLength": most}


def _whole(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def _patterns() -> Schema:
    return _list({"$ref": "#/$defs/pattern"}, limits.PATTERNS_MAX)


def _constraints() -> Schema:
    specs = {"type": "object", "maxProperties": limits.PATHS_MAX, "additionalProperties": {"$ref": "#/$defs/spec"}}
    items = _list({}, limits.ENUM_MEMBERS_MAX)
    denied = {"type": "object", "maxProperties": limits.PATHS_MAX, "additionalProperties": items}
    most = limits.OPKEYS_MAX + limits.PATHS_MAX
    metas = {
        "type": "object",
        "maxProperties": limits.REQUIREMENTS_MAX,
        "propertyNames": {"pattern": _KEY + "$"},
        "additionalProperties": {"$ref": "#/$defs/meta"},
    }
    return _object(
        {
            "rate_limit": _described(_whole(1, limits.RATE_MAX), "Calls a minute, for each principal."),
            "parameters": {
                "description": "By operation and path; or by path alone, for every operation.",
                "type": "object",
                "maxProperties": most,
                "additionalProperties": {"anyOf": [{"$ref": "#/$defs/spec"}, specs]},
            },
            "allowed_parameters": {
                "description": "By operation, the paths that a call may have, and no others.",
                "type": "object",
                "maxProperties": limits.OPKEYS_MAX,
                "propertyNames": {"pattern": "[:/*]"},
                "additionalProperties": _list({"type": "string"}, limits.PATHS_MAX),
            },
            "denied_parameters": {
                "description": "By operation and path, forbidden values; the path `*` is everywhere.",
                "type": "object",
                "maxProperties": most,
                "additionalProperties": {"anyOf": [items, denied]},
            },
            "masked_parameters": {
                "description": "By operation, paths below which values are masked for tools; `*` is every parameter.",
                "type": "object",
                "maxProperties": limits.OPKEYS_MAX,
                "propertyNames": {"pattern": "[:/*]"},
                "additionalProperties": _list({"type": "string"}, limits.PATHS_MAX),
            },
            "attestations": {"anyOf": [{"$ref": "#/$defs/requirements"}, metas]},
            "roles": _list(_text(limits.ADVISORY_CHARS_MAX), limits.CONSTRAINT_ROLES_MAX),
            "audit_level": {"enum": list(AUDIT_LEVELS)},
            "require_approval": {"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/criterion"}]},
        }
    )


def _spec() -> Schema:
    number, size = {"type": "number"}, _whole(0, _SIZE_MAX)
    values = _list({}, limits.ENUM_MEMBERS_MAX, minItems=1)
    keywords = _object(
        {
            "required": {"type": "boolean"},
            "type": {"enum": sorted(TYPES)},
            "allowed_values": values,
            "min": number,
            "max": number,
            "range": _list(number, 2, minItems=2),
            "pattern": {"type": "string", "maxLength": limits.REGEX_CHARS_MAX},
            "min_length": size,
            "max_length": size,
            "min_items": size,
            "max_items": size,
        },
        minProperties=1,
    )
    return {"anyOf": [values, keywords]}


def _meta() -> Schema:
    criterion = {"$ref": "#/$defs/criterion"}
    several = _list(criterion, limits.REQUIREMENTS_MAX, minItems=1)
    return _object(
        {
            "approval_criteria": {"anyOf": [criterion, several]},
            "quorum": _whole(1, limits.QUORUM_MAX),
            "timeout": _whole(0, limits.TIMEOUT_SECONDS_MAX),
            "time_to_live": _whole(1, limits.TIME_TO_LIVE_SECONDS_MAX),
            "one_time": {"type": "boolean"},
            "max_uses": _whole(1, limits.USES_MAX),
            "set_by": _patterns(),
            "priority": {"type": "number"},
            "description": _text(limits.ADVISORY_CHARS_MAX),
        },
        dependentRequired={"quorum": ["approval_criteria"], "timeout": ["approval_criteria"]},
    )


def _rule() -> Schema:
    pattern = {"$ref": "#/$defs/pattern"}
    seconds = _whole(1, limits.TIME_TO_LIVE_SECONDS_MAX)
    pair = _list({"type": "string"}, 2, minItems=2)
    after = {"resource": pattern, "same": _list(pair, limits.SEQUENCE_SAME_MAX), "within": seconds}
    return _object(
        {
            "id": {"type": "string", "minLength": 1},
            "when": pattern,
            "if": _text(limits.EXPRESSION_CHARS_MAX),
            "after": _object(after, required=["resource"]),
            "at_most": _whole(1, limits.RATE_MAX),
            "sum": {"type": "string"},
            "max": {"type": "number"},
            "per": {"enum": ["session", "user"]},
            "window": {"anyOf": [{"const": "day"}, seconds]},
            "tainted_by": pattern,
            "require": {"type": "string", "pattern": _KEY + "$"},
            "not_from": pattern,
            "argument": {
                "anyOf": [{"type": "string"}, _list({"type": "string"}, limits.SEQUENCE_ARGUMENTS_MAX, minItems=1)]
            },
            "else": {"type": "string", "pattern": _KEY + "$"},
            "unless_cleared_by": {"type": "string", "pattern": "^verifier:[a-z][a-z0-9_]{1,31}$"},
        },
        required=["id", "when"],
        oneOf=[{"required": [kind]} for kind in ("after", "at_most", "sum", "tainted_by", "not_from")],
    )


def field_names() -> frozenset[str]:
    """Return the names of all fields of the language, of documents and of the objects within them."""
    found: set[str] = set()
    todo: list[Any] = [schema()]
    while todo:
        match todo.pop():
            case dict() as inner:
                found.update(inner.get("properties", {}))
                todo += inner.values()
            case list() as inner:
                todo += inner
            case _:
                pass
    return frozenset(found)


def page() -> str:
    """Return the schema as the text of its page in docs/."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write the page; with `--check` only return 1 if the page is out of date."""
    if "--check" not in arguments:
        PAGE.write_text(page(), "utf-8")
        return 0
    same = PAGE.exists() and PAGE.read_text("utf-8") == page()
    if not same:
        print(
            f"{PAGE.name} is out of date with the engine's tables: run `python -m macaw.policies.schema`",
            file=sys.stderr,
        )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
