"""The keywords of JSON Schema (draft 2020-12) that a tool's schema may hold, and how each of them nests schemas.

The table is closed. A keyword that nothing judges would look like a check and be none, so it is refused by name. Names
that begin with `x-` are free for annotations, except `x-macaw-`.
"""

from __future__ import annotations

from collections.abc import Iterator

from processors.proof.jcs import JSONValue
from schemas.errors import InputError

DIALECT = "https://json-schema.org/draft/2020-12/schema"

SCHEMA_BYTES_MAX = 16_384  # of the text
SCHEMA_NODES_MAX = 4096  # JSON values in it
SCHEMA_DEPTH_MAX = 32  # containers inside each other
EXPANDED_BYTES_MAX = 131_072  # with every `$ref` replaced by its target: eight times the text
EXPANDED_DEPTH_MAX = 32  # schemas inside each other, then
SCHEMA_PATTERNS_MAX = 64  # regular expressions, then
SCHEMA_PROGRAMS_MAX = 10_000  # instructions of them together: 0.1 s to compile, about 3 MB
EVENT_SCHEMA_BYTES_MAX = 65_536  # of the texts of all schemas in one event, the same one counted once
EVENT_EXPANDED_BYTES_MAX = 262_144  # of all of them with every `$ref` replaced
EVENT_PROGRAMS_MAX = 30_000  # instructions of all their regular expressions: 45 ms to compile
POINTER_CHARS_MAX = 120  # of a place that an error names
DIVISOR_MIN = 1e-9  # of `multipleOf`: amounts have few places

RISK = "x-macaw-risk"
RISKS = ("files", "mail", "money", "network", "shell", "sql")  # the classifiers of `risks.py`

# Keywords whose value is one schema, a list of schemas, or an object of schemas.
ONE = frozenset({"additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"})
LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
MAPS = frozenset({"dependentSchemas", "patternProperties", "properties"})
ASSERTIONS = frozenset({
    "const", "dependentRequired", "enum", "exclusiveMaximum", "exclusiveMinimum", "maxContains", "maxItems",
    "maxLength", "maxProperties", "maximum", "minContains", "minItems", "minLength", "minProperties", "minimum",
    "multipleOf", "pattern", "required", "type", "uniqueItems",
})  # fmt: skip
# These decide nothing: draft 2020-12 makes `format` and the content keywords annotations.
ANNOTATIONS = frozenset({
    "$comment", "contentEncoding", "contentMediaType", "default", "deprecated", "description", "examples", "format",
    "readOnly", "title", "writeOnly",
})  # fmt: skip
ROOT_ONLY = frozenset({"$defs", "$schema"})
KNOWN = ONE | LISTS | MAPS | ASSERTIONS | ANNOTATIONS | ROOT_ONLY | {"$ref"}

# Members and items of any number lead to these schemas.
MANY = frozenset({"additionalProperties", "contains", "items", "patternProperties", "propertyNames"})
# These schemas stand for another value than the schema around them.
INSIDE = MANY | {"prefixItems", "properties"}

INSTEAD = {
    "definitions": "name the member `$defs`",
    "dependencies": "use `dependentSchemas` or `dependentRequired`",
    "additionalItems": "use `prefixItems` with `items`",
    "nullable": "write the type as a list with `null`",
    "unevaluatedProperties": "use `additionalProperties`",
    "unevaluatedItems": "use `items`",
    "$id": "leave it out: a schema stands alone",
    "$anchor": "refer to `#/$defs/NAME`",
    "$dynamicRef": "use `$ref`, and write its levels out",
    "$recursiveRef": "use `$ref`, and write its levels out",
    "contentSchema": "describe the content in words",
}


class SchemaRefusedError(InputError):
    """A JSON Schema is not one that calls can be judged by. `pointer` is the place in it (RFC 6901, "" is the root)."""

    def __init__(self, why: str, pointer: str = "") -> None:
        shown = pointer if len(pointer) <= POINTER_CHARS_MAX else f"{pointer[:POINTER_CHARS_MAX]}…"
        super().__init__(f"schema, {f'at {shown}' if shown else 'at its root'}: {why}")
        self.pointer = shown


def pointer_to(steps: tuple[str | int, ...]) -> str:
    """Return the JSON pointer (RFC 6901) of a place."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def inner(keyword: str, value: JSONValue) -> Iterator[tuple[tuple[str | int, ...], JSONValue]]:
    """Yield the schemas in a keyword's value with the steps to each; members in the order of their names."""
    if keyword in ONE:
        yield (keyword,), value
    elif keyword in LISTS and isinstance(value, list):
        yield from (((keyword, at), one) for at, one in enumerate(value))
    elif keyword in MAPS and isinstance(value, dict):
        yield from (((keyword, name), value[name]) for name in sorted(value))
