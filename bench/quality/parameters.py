"""Calls that are right, held against the schemas of their tools, and the same calls with one fault each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.quality.rows import Row, read
from processors.content.parameter_schemas import check_schema, compiled

# Spellings of the corpus for types of JSON Schema. A `float` is given as a whole number too, a `tuple` as a list.
TYPES = {"dict": "object", "float": "number", "tuple": "array"}
OTHER: dict[str, Any] = {
    "object": [], "number": "1", "integer": 1.5, "string": 7, "array": {}, "boolean": "true", "null": 0,
}  # fmt: skip


def score(corpora: Path) -> list[Row]:
    """Return how many schemas are taken, how many right calls are refused, and how many spoilt ones."""
    calls = list(_calls(corpora))
    texts = [json.dumps(schema) for schema, _ in calls]
    refused = sum(bool(compiled(text).faults(given)) for text, (_, given) in zip(texts, calls, strict=True))
    rows = [
        Row("argument", "schemas of tools that are taken", sum(map(_is_taken, texts)), len(texts)),
        Row("argument", "right calls that are refused", refused, len(calls)),
    ]
    for what in ("a member of another type", "a required member is missing", "a member too many", "outside an enum"):
        spoilt = [
            (text, one)
            for text, (schema, given) in zip(texts, calls, strict=True)
            for kind, one in _spoilt(schema, given)
            if kind == what
        ]
        found = sum(bool(compiled(text).faults(one)) for text, one in spoilt)
        rows.append(Row("argument", f"spoilt calls that are refused: {what}", found, len(spoilt)))
    return rows


def _is_taken(text: str) -> bool:
    check_schema(text)
    return True


def _calls(corpora: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for row in read(corpora, "benign_bfcl"):
        schemas = {one["name"]: one["parameters"] for one in row.get("functions", [])}
        for call in row["calls"]:
            if call["tool"] in schemas:
                schema = _translated(schemas[call["tool"]])
                yield {**schema, "additionalProperties": False}, _without_blanks(schema, call["args"])


def _translated(schema: dict[str, Any]) -> dict[str, Any]:
    made = dict(schema)
    kind = made.get("type")
    if kind == "any":
        del made["type"]
    elif kind is not None:
        made["type"] = TYPES.get(kind, kind)
    if "properties" in made:
        made["properties"] = {name: _translated(one) for name, one in made["properties"].items()}
    if isinstance(made.get("items"), dict):
        made["items"] = _translated(made["items"])
    return made


def _without_blanks(schema: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Leave out optional members with an empty text: the corpus writes so that a default is as right.

    Inside an object, the corpus has a list of right answers for each member: the first is taken.
    """
    required = schema.get("required", [])
    return {
        name: _answers(schema["properties"].get(name, {}), one)
        for name, one in given.items()
        if one != "" or name in required
    }


def _answers(schema: dict[str, Any], value: Any) -> Any:
    members = schema.get("properties", {})
    if not isinstance(value, dict):
        return value
    return {
        name: one[0] if isinstance(one, list) and members.get(name, {}).get("type") != "array" else one
        for name, one in value.items()
    }


def _spoilt(schema: dict[str, Any], given: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "a member too many", {**given, "not in the schema": 1}
    for name in schema.get("required", []):
        yield "a required member is missing", {one: value for one, value in given.items() if one != name}
    for name in given:
        member = schema["properties"].get(name, {})
        if member.get("type") in OTHER:
            yield "a member of another type", {**given, name: OTHER[member["type"]]}
        if "enum" in member:
            yield "outside an enum", {**given, name: "not in the schema"}


if __name__ == "__main__":
    import sys

    for one in score(Path(sys.argv[1])):
        print(one)
